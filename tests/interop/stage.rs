//! The product's side of a call, as shell lines.

use crate::cell::{Cell, Coding, Path};

/// The address of `rig/network.sh` for programs that do not take loopback's.
pub(crate) const ELSEWHERE: &str = "192.0.2.1";
pub(crate) const PORT: u16 = 5004;

/// Key and salt of every encrypted call, in hexadecimal; the file `key` has it.
pub(crate) const KEY: &str = "000510151a1f24292e33383d42474c51565b60656a6f74797e83888d9297";
/// The same in base64.
pub(crate) const KEY_BASE64: &str = "AAUQFRofJCkuMzg9QkdMUVZbYGVqb3R5foOIjZKX";

/// Sends `said.wav`.
pub(crate) fn send(cell: Cell, options: &str) -> String {
    send_file(file(cell.path), cell, options)
}

/// What is said.
pub(crate) const fn file(path: Path) -> &'static str {
    match path {
        Path::Reports => "long.wav",
        Path::Unicast | Path::Multicast | Path::Srtp => "said.wav",
    }
}

pub(crate) fn send_file(file: &str, cell: Cell, options: &str) -> String {
    let Cell { coding, path, .. } = cell;
    let (key, host) = (key(path), path.host());
    format!(
        "vox-capture {file} | {} | vox-send {} {key} --rtcp-interval 1 --stats sent.json {options} {host}:{PORT}\n",
        coding.encode(),
        payload_type(coding),
    )
}

fn payload_type(coding: Coding) -> String {
    format!("--payload-type {}", coding.payload_type())
}

const fn key(path: Path) -> &'static str {
    match path {
        Path::Srtp => "--srtp key",
        Path::Unicast | Path::Multicast | Path::Reports => "",
    }
}

/// Starts a receiver that ends by itself when nothing more comes, and waits until it listens.
pub(crate) fn receive(cell: Cell, options: &str) -> String {
    receive_at(cell.path.host(), cell, options)
}

pub(crate) fn receive_at(host: &str, cell: Cell, options: &str) -> String {
    let key = key(cell.path);
    let map = cell.coding.rtpmap().to_lowercase();
    format!(
        "vox-recv {host}:{PORT} --map {}={map} {key} {options} --idle-timeout 5s --max-age off --rtcp-interval 1 --stats heard.json \
         | vox-jitter --delay 1000 | vox-play heard.wav &\nreceiver=$!\nawait udp {PORT}\n",
        cell.coding.payload_type()
    )
}

/// Waits until the peer, `$peer`, has heard what was said, and ends it.
pub(crate) fn end_peer(cell: Cell, heard: &str) -> String {
    let speech = cell.coding.speech();
    let bytes = speech.frames * usize::from(speech.channels) * 2;
    format!("await holds {heard} {bytes}\nkill -INT $peer\nwait $peer\ntrue\n")
}
