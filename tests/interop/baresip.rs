//! baresip: a telephone with a stack of its own (libre). It calls; sipp answers for `vox-send --duplex`.

use crate::cell::{Call, Cell, Coding, Judge, Path, Plan, Way};
use crate::stage::{ELSEWHERE, KEY_BASE64, PORT};

/// Where it hears.
const ITS: u16 = 7000;

pub(crate) fn plan(cell: Cell) -> Plan {
    match cell.path {
        Path::Multicast => Plan::Cannot("a telephone call has two ends"),
        _ => Plan::Run(call(cell)),
    }
}

/// Both speak at once, and each cell looks at one direction.
fn call(cell: Cell) -> Call {
    let rig = concat!(env!("CARGO_MANIFEST_DIR"), "/rig");
    let coding = cell.coding;
    let (number, rtpmap) = (coding.payload_type().max(if coding == Coding::L16 { 98 } else { 0 }), coding.rtpmap());
    let name = if coding == Coding::Opus { "opus/48000/2" } else { rtpmap.trim_end_matches("/8000") };
    let (profile, secret, key) = match cell.path {
        Path::Srtp => ("RTP/SAVP", ";mediaenc=srtp-mand", "--srtp key --srtp-theirs theirs"),
        _ => ("RTP/AVP", "", ""),
    };
    // Its key is in its offer.
    let offered = match cell.path {
        Path::Srtp => "await grep -q inline: key.log\nsed 's/.*inline://' key.log >theirs\nchmod 600 theirs\n",
        _ => "",
    };
    let file = if cell.path == Path::Reports { "long.wav" } else { "late.wav" };
    let map = rtpmap.to_lowercase();
    let script = format!(
        "{rig}/baresip-home home {ELSEWHERE} '{name}{secret}' {ITS} {file}\n\
         sipp -sf {rig}/answer.xml -i {ELSEWHERE} -p 5060 -m 1 -nostdin -key audio '{PORT} {profile} {number}' \
         -key rtpmap '{number} {rtpmap}' -key more ptime:20 -key key {KEY_BASE64} -trace_logs -log_file key.log >answer.log 2>&1 &\n\
         await udp 5060\n\
         timeout 25 baresip -f home -e '/dial sip:vox@{ELSEWHERE}:5060' -t 20 >baresip.log 2>&1 &\nbaresip=$!\n{offered}\
         vox-capture {file} | {} | vox-send --duplex {ELSEWHERE}:{ITS} --local {ELSEWHERE}:{PORT} \
         --payload-type {number} --map {number}={map} --hear {number}={map} {key} --stats sent.json --rtcp-interval 1 --linger 1 \
         --max-age off | vox-jitter --delay 1000 | vox-play heard.wav\n\
         kill -TERM $baresip\nwait\ncp sent.json heard.json\nmv home/*-dec.wav peer.wav\n",
        coding.encode()
    );
    let heard = if cell.way == Way::To { "peer.wav" } else { "heard.wav" };
    // Its mu-law and its A-law encoder are not quite those of the ITU.
    let own = coding == Coding::Pcmu || (coding == Coding::Pcma && cell.way == Way::From);
    let judge = if own { Judge::Wave } else { Judge::Standard };
    // As many packets as we said that we had heard.
    let says = (cell.path == Path::Reports).then_some(("baresip.log", "lost:                 0            0"));
    Call { judge, says, ..Call::new(script, heard) }
}
