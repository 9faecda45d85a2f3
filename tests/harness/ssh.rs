//! An ssh server on loopback, with keys, port and configuration of its own, and an `ssh` that takes it for every host.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::shell::binaries;
use crate::{Running, Scratch, await_until, free_port, need};

/// The server; stopped when dropped.
pub struct Sshd {
    /// Shell lines that make `ssh` and `scp` talk to it.
    pub environment: String,
    server: Running,
}

impl Sshd {
    /// Starts it. Commands find the stages, and have `variables` (`NAME=value`, without blanks) in their environment.
    ///
    /// # Panics
    /// When OpenSSH is missing or does not start.
    #[track_caller]
    pub fn start(scratch: &Scratch, variables: &[String]) -> Self {
        need(&["ssh", "ssh-keygen"]);
        let sshd = Path::new("/usr/sbin/sshd");
        assert!(sshd.is_file(), "sshd is missing: run scripts/setup --peers, which installs it");
        for key in ["hostkey", "userkey"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(scratch.path(key))
                .status();
            assert!(made.is_ok_and(|status| status.success()), "ssh-keygen makes {key}");
        }
        // As root it wants the folder in which its helper is confined.
        let _not_root = fs::create_dir_all("/run/sshd");
        let (dir, port) = (scratch.dir().display(), free_port());
        let path = format!("PATH={}:/usr/local/bin:/usr/bin:/bin", binaries().display());
        let variables = [&[path], variables].concat().join(" ");
        let server = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/hostkey\nAuthorizedKeysFile {dir}/userkey.pub\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nSetEnv {variables}\n"
        );
        fs::write(scratch.path("sshd.conf"), server).expect("a file");
        let client = format!(
            "Host *\nHostName 127.0.0.1\nPort {port}\nIdentityFile {dir}/userkey\nIdentitiesOnly yes\nBatchMode yes\n\
             UserKnownHostsFile {dir}/known\nStrictHostKeyChecking accept-new\nLogLevel ERROR\n"
        );
        fs::write(scratch.path("ssh.conf"), client).expect("a file");
        let bin = scratch.path("ssh-bin");
        fs::create_dir_all(&bin).expect("a folder");
        fs::write(bin.join("ssh"), format!("#!/bin/sh\nexec /usr/bin/ssh -F '{dir}/ssh.conf' \"$@\"\n"))
            .expect("a file");
        fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o755)).expect("permissions");
        let server = scratch.spawn(&format!("exec {} -D -e -f sshd.conf", sshd.display()));
        let answers = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(await_until(Duration::from_secs(20), answers), "{}", server.stderr());
        Self { environment: format!("PATH='{}':$PATH", bin.display()), server }
    }

    /// What the server has said.
    pub fn stderr(&self) -> String {
        self.server.stderr()
    }
}
