//! Which sound server there is, and whether ALSA's name for it says no more than that.

use core::ffi::{CStr, c_char};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use alsa_sys as sys;

use super::wire::COOKIE;

/// Settings of the server's library that would lead elsewhere.
const ELSEWHERE: [&str; 4] = ["default-server", "default-sink", "cookie-file", ".include"];

/// Whether ALSA's device of that name is the default sink of the sound server here, and nothing else is said about it.
pub(crate) fn is_plain(name: &str) -> bool {
    is_plugin(name) && socket().is_some() && !settings().iter().any(|file| leads_elsewhere(file))
}

/// The server's socket; none where there is none, or it was named in a way that only its library understands.
pub(super) fn socket() -> Option<PathBuf> {
    let path = match (variable("PULSE_SERVER"), variable("PULSE_RUNTIME_PATH"), variable("XDG_RUNTIME_DIR")) {
        (Some(server), _, _) => {
            let path = server.strip_prefix("unix:").unwrap_or(&server).to_owned();
            Some(path).filter(|path| path.starts_with('/') && !path.contains(char::is_whitespace))?.into()
        }
        (None, Some(folder), _) => Path::new(&folder).join("native"),
        (None, None, folder) => Path::new(&folder?).join("pulse/native"),
    };
    path.exists().then_some(path)
}

/// What shows the server that we are its user, who it knows by the socket as well: zeros where there is none.
pub(super) fn cookie() -> [u8; COOKIE] {
    let home = variable("HOME").map(PathBuf::from);
    let of_home = [".config/pulse/cookie", ".pulse-cookie"].map(|file| Some(home.as_ref()?.join(file)));
    let files = [variable("PULSE_COOKIE").map(PathBuf::from)].into_iter().chain(of_home).flatten();
    let mut cookies = files.filter_map(|file| <[u8; COOKIE]>::try_from(std::fs::read(file).ok()?).ok());
    cookies.next().unwrap_or([0; COOKIE])
}

/// What this program is called.
pub(super) fn program() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    Path::new(&path).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The files with settings of the server's library.
fn settings() -> Vec<PathBuf> {
    let home = variable("HOME").map(|home| Path::new(&home).join(".config/pulse"));
    let mut files = vec![PathBuf::from("/etc/pulse/client.conf")];
    files.extend(variable("PULSE_CLIENTCONFIG").map(PathBuf::from));
    files.extend(home.as_ref().map(|home| home.join("client.conf")));
    let folders = [Some(PathBuf::from("/etc/pulse/client.conf.d")), home.map(|home| home.join("client.conf.d"))];
    for folder in folders.iter().flatten() {
        files.extend(std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    files
}

fn leads_elsewhere(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| ELSEWHERE.iter().any(|setting| line.trim_start().starts_with(setting)))
}

/// Whether that is a device of type `pulse` of which neither a server nor a sink is told.
fn is_plugin(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    let (mut top, mut found) = (null_mut(), null_mut());
    // SAFETY: the pointers that are written to and the strings outlive the calls; what was found is a tree of its own,
    // freed once, and the reference to the whole is given back once.
    unsafe {
        if sys::snd_config_update_ref(&raw mut top) < 0 {
            return false;
        }
        let plain = sys::snd_config_search_definition(top, c"pcm".as_ptr(), name.as_ptr(), &raw mut found) >= 0 && {
            let mut entry = null_mut();
            let mut has = |key: &CStr| sys::snd_config_search(found, key.as_ptr(), &raw mut entry) >= 0;
            let plain = text(found, c"type").is_some_and(|kind| kind == c"pulse") && !has(c"device") && !has(c"server");
            sys::snd_config_delete(found);
            plain
        };
        sys::snd_config_unref(top);
        plain
    }
}

/// A text in ALSA's settings.
///
/// # Safety
/// `tree` must be one, and outlive the text.
unsafe fn text<'a>(tree: *mut sys::snd_config_t, key: &CStr) -> Option<&'a CStr> {
    let (mut entry, mut text): (_, *const c_char) = (null_mut(), core::ptr::null());
    // SAFETY: the tree is one, and the pointers outlive the calls.
    unsafe {
        let found = sys::snd_config_search(tree, key.as_ptr(), &raw mut entry) >= 0
            && sys::snd_config_get_string(entry, &raw mut text) >= 0
            && !text.is_null();
        found.then(|| CStr::from_ptr(text))
    }
}
