//! ffmpeg: libavformat's own RTP.

use crate::cell::{Call, Cell, Coding, Path, Plan, Way};
use crate::stage::{KEY_BASE64, PORT, end_peer, file, receive, send};

pub(crate) fn plan(cell: Cell) -> Plan {
    match cell.way {
        Way::To if cell.path == Path::Reports => Plan::Cannot("as a receiver by a description it sends no reports"),
        Way::To => Plan::Run(to(cell)),
        Way::From => Plan::Run(from(cell)),
    }
}

const QUIET: &str = "ffmpeg -nostdin -v error";

/// It learns what comes from the description that vox-send writes: a short call before the real one writes it.
fn to(cell: Cell) -> Call {
    let channels = cell.coding.speech().channels;
    let describe = send(cell, "--sdp call.sdp").replacen(" |", " --duration 0.02 |", 1);
    let script = format!(
        "{describe}{QUIET} -protocol_whitelist file,udp,rtp,srtp -i call.sdp -ac {channels} -f s16le -flush_packets 1 \
         heard.raw &\npeer=$!\nawait udp {PORT}\n{}{}",
        send(cell, "--sdp call.sdp"),
        end_peer(cell, "heard.raw")
    );
    Call::new(script, "heard.raw")
}

const fn coder(coding: Coding) -> &'static str {
    match coding {
        Coding::Pcmu => "-c:a pcm_mulaw",
        Coding::Pcma => "-c:a pcm_alaw",
        Coding::L16 => "-c:a pcm_s16be",
        Coding::Opus => "-c:a libopus -b:a 64k -frame_duration 20",
    }
}

fn from(cell: Cell) -> Call {
    let (coder, payload_type, host) = (coder(cell.coding), cell.coding.payload_type(), cell.path.host());
    let (scheme, key) = match cell.path {
        Path::Srtp => ("srtp", format!("-srtp_out_suite AES_CM_128_HMAC_SHA1_80 -srtp_out_params {KEY_BASE64}")),
        Path::Unicast | Path::Multicast | Path::Reports => ("rtp", String::new()),
    };
    let (ask, own) = own(cell.coding);
    let file = file(cell.path);
    let script = format!(
        "{ask}{}{QUIET} -re -i {file} {coder} -payload_type {payload_type} {key} -f rtp \
         '{scheme}://{host}:{PORT}?pkt_size=1200' >/dev/null\nwait $receiver\n",
        receive(cell, "")
    );
    Call { own, ..Call::new(script, "heard.wav") }
}

/// The G.711 encoders of libavcodec do not follow the ITU in every sample: what they make is asked of ffmpeg itself.
pub(crate) fn own(coding: Coding) -> (String, Option<&'static str>) {
    if !matches!(coding, Coding::Pcmu | Coding::Pcma) {
        return (String::new(), None);
    }
    let coder = coder(coding);
    let ask = format!("{QUIET} -i said.wav {coder} own.wav && {QUIET} -i own.wav -c:a pcm_s16le -f s16le own.raw\n");
    (ask, Some("own.raw"))
}
