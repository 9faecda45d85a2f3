//! aiortc: RTP, RTCP, jitter buffer and codecs in Python, with libsrtp; over a socket of the rig in place of ICE and
//! DTLS.

use std::path::PathBuf;

use crate::cell::{Call, Cell, Coding, Path, Plan, Way};
use crate::ffmpeg::own;
use crate::stage::{KEY, PORT, end_peer, receive, send_file};

/// The Python that has it, where `scripts/setup --peers` could install it.
pub(crate) fn python() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let python = exe.ancestors().nth(3)?.join("peers/bin/python");
    python.is_file().then_some(python)
}

pub(crate) fn plan(cell: Cell) -> Plan {
    let Some(python) = python() else { return Plan::NotRun("aiortc is not installed: scripts/setup --peers") };
    if cell.coding == Coding::L16 {
        return Plan::Cannot("it has no L16");
    }
    let (name, number) = (cell.coding.rtpmap().split('/').next().unwrap_or_default(), cell.coding.payload_type());
    let key = if cell.path == Path::Srtp { KEY } else { "" };
    let rig = format!("{} {}/rig/aiortc_peer.py", python.display(), env!("CARGO_MANIFEST_DIR"));
    let ends = format!("{}:{PORT} {number}={name}", cell.path.host());
    let file = file(cell);
    Plan::Run(match cell.way {
        Way::To => to(cell, &format!("{rig} hear {ends} heard.raw {key}")),
        Way::From => from(cell, &format!("{rig} say {ends} {file} {key}")),
    })
}

fn to(cell: Cell, hear: &str) -> Call {
    let script = format!(
        "{hear} &\npeer=$!\nawait udp {PORT}\n{}{}",
        send_file(file(cell), cell, "--rtcp-mux"),
        end_peer(cell, "heard.raw")
    );
    Call::new(script, "heard.raw")
}

/// Its encoders are those of libav, as ffmpeg's are.
fn from(cell: Cell, say: &str) -> Call {
    let (ask, own) = own(cell.coding);
    let script = format!("{ask}{}{say}\nwait $receiver\n", receive(cell, "--rtcp-mux"));
    let says = (cell.path == Path::Reports).then_some(("peer.json", "\"roundTripTime\": 0."));
    Call { own, says, ..Call::new(script, "heard.wav") }
}

const fn file(cell: Cell) -> &'static str {
    match cell.path {
        Path::Reports => "long.wav",
        Path::Unicast | Path::Multicast | Path::Srtp => "late.wav",
    }
}
