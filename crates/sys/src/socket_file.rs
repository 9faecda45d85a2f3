//! Sockets that lie in the file system.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Removes the socket that a process which died left at `path`, so that another can be made there; does nothing where
/// there is none.
///
/// # Errors
/// `AddrInUse` where somebody listens, `AlreadyExists` where something else than a socket lies there, which is left alone,
/// and what the system says.
pub fn remove_abandoned_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "what lies there is no socket: give another name"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        _ => Err(io::Error::new(ErrorKind::AddrInUse, "it is in use: another program listens there")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_a_socket_that_nobody_listens_at_gives_way() {
        let folder = std::env::temp_dir().join(format!("vox-socket-file-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let [file, socket, link] = ["file", "socket", "link"].map(|name| folder.join(name));
        fs::write(&file, "precious").expect("a file");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        for path in [&file, &link, &folder] {
            let error = remove_abandoned_socket(path).expect_err("no socket");
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{}", path.display());
        }
        assert_eq!(fs::read(&link).expect("it is there"), b"precious");
        let listener = UnixListener::bind(&socket).expect("a socket");
        assert_eq!(remove_abandoned_socket(&socket).expect_err("in use").kind(), ErrorKind::AddrInUse);
        drop(listener);
        remove_abandoned_socket(&socket).expect("abandoned");
        assert!(!socket.exists());
        remove_abandoned_socket(&socket).expect("none is there");
        fs::remove_dir_all(&folder).expect("the folder goes");
    }
}
