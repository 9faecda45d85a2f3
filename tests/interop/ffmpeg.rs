//! ffmpeg: libavformat's own RTP.

use crate::cell::{Call, Cell, Coding, Path, Plan, Way};
use crate::stage::{KEY_BASE64, PORT, end_peer, receive, send};

pub(crate) fn plan(cell: Cell) -> Plan {
    Plan::Run(match cell.way {
        Way::To => to(cell),
        Way::From => from(cell),
    })
}

const QUIET: &str = "ffmpeg -nostdin -v error";

/// It learns what comes from the description that vox-send writes: a short call before the real one writes it.
fn to(cell: Cell) -> Call {
    let channels = cell.coding.speech().channels;
    let describe = send(cell, "--sdp call.sdp").replace("said.wav |", "said.wav --duration 0.02 |");
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
        Path::Unicast | Path::Multicast => ("rtp", String::new()),
    };
    // Its G.711 encoders do not follow the ITU in every sample: what they make is asked of ffmpeg itself.
    let own = matches!(cell.coding, Coding::Pcmu | Coding::Pcma);
    let ask = format!("{QUIET} -i said.wav {coder} own.wav && {QUIET} -i own.wav -c:a pcm_s16le -f s16le own.raw\n");
    let script = format!(
        "{}{}{QUIET} -re -i said.wav {coder} -payload_type {payload_type} {key} -f rtp \
         '{scheme}://{host}:{PORT}?pkt_size=1200' >/dev/null\nwait $receiver\n",
        if own { &ask } else { "" },
        receive(cell, "")
    );
    Call { own: own.then_some("own.raw"), ..Call::new(script, "heard.wav") }
}
