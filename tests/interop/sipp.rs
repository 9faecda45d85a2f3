//! sipp places a call and replays the one that it was shipped with: A-law in packets of 30 ms, then the key 1, from a
//! source of its own that has no audio (which is no stream to vox-recv).

use crate::cell::{Call, Cell, Coding, Path, Plan, Way};
use crate::stage::{ELSEWHERE, receive_at};

pub(crate) fn plan(cell: Cell) -> Plan {
    match cell {
        Cell { way: Way::To, .. } => Plan::Cannot("it listens to nothing"),
        Cell { path: Path::Multicast, .. } => Plan::Cannot("a telephone call has two ends"),
        Cell { path: Path::Srtp, .. } => Plan::Cannot("its capture is not encrypted"),
        Cell { path: Path::Reports, .. } => Plan::Cannot("it has no RTCP"),
        Cell { coding: Coding::Pcma, .. } => Plan::Run(replayed(cell)),
        Cell { .. } => Plan::Cannot("its capture is A-law"),
    }
}

fn replayed(cell: Cell) -> Call {
    let rig = concat!(env!("CARGO_MANIFEST_DIR"), "/rig");
    let sipp = format!("sipp -i {ELSEWHERE} -m 1 -nostdin");
    let script = format!(
        "mkdir pcap && cp /usr/share/sip-tester/*.pcap pcap\n\
         {rig}/payloads.py pcap/g711a.pcap | sox -t al -r 8000 -c 1 - -t raw -e signed -b 16 own.raw\n\
         {sipp} -sf {rig}/answer.xml -p 5060 -key audio '5004 RTP/AVP 8 101' -key rtpmap '8 PCMA/8000' \
         -key more 'rtpmap:101 telephone-event/8000' -key key none >answer.log 2>&1 &\nawait udp 5060\n{}\
         {sipp} -sn uac_pcap -p 5061 {ELSEWHERE}:5060 >call.log 2>&1 || tail -20 call.log >&2\nwait\n",
        receive_at(ELSEWHERE, cell, "--map 101=telephone-event/8000")
    );
    Call { own: Some("own.raw"), ..Call::new(script, "heard.wav") }
}
