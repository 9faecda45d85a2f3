//! trx: Opus between sound cards, here those of a PulseAudio without hardware. Its payload type is 0, its clock 8 kHz.

use crate::cell::{Call, Cell, Coding, Judge, Path, Plan, Way};
use crate::stage::PORT;

pub(crate) fn plan(cell: Cell) -> Plan {
    match cell {
        Cell { path: Path::Srtp, .. } => Plan::Cannot("it has no SRTP"),
        Cell { path: Path::Reports, .. } => Plan::Cannot("it has no RTCP"),
        Cell { coding: Coding::Opus, way: Way::To, .. } => Plan::Run(to(cell)),
        Cell { coding: Coding::Opus, way: Way::From, .. } => Plan::Run(from(cell)),
        Cell { .. } => Plan::Cannot("it has only Opus"),
    }
}

const CARD: &str = concat!("eval \"$(", env!("CARGO_MANIFEST_DIR"), "/rig/pulse-up card)\"\n");
const OUT: &str = "kill $trx\nkill $(cat card/pids)\nwait\ntrue\n";

fn to(cell: Cell) -> Call {
    let host = cell.path.host();
    let script = format!(
        "{CARD}PULSE_SINK=spk $promptly trx-rx -d pulse -h {host} -p {PORT} -c 1 -m 100 -j 100 &\ntrx=$!\n\
         await udp {PORT}\n\
         $promptly parec -d spk.monitor --raw --rate=48000 --channels=1 --format=s16le >heard.raw &\n\
         await holds heard.raw 48000\n\
         vox-capture said.wav | {} | vox-send --map 0=opus/8000 --no-rtcp {host}:{PORT}\n\
         await holds heard.raw $(($(stat -c %s heard.raw) + 96000))\nkill $!\n{OUT}",
        cell.coding.encode()
    );
    Call { judge: Judge::Parts, ..Call::new(script, "heard.raw") }
}

fn from(cell: Cell) -> Call {
    let host = cell.path.host();
    let script = format!(
        "{CARD}vox-recv {host}:{PORT} --map 0=opus/8000 --no-rtcp --idle-timeout 1s --wait 20 --max-age off \
         | vox-jitter --delay 200 | vox-play heard.wav &\nreceiver=$!\nawait udp {PORT}\n\
         PULSE_SOURCE=micsrc $promptly trx-tx -d pulse -h {host} -p {PORT} -c 1 -b 64 -m 100 &\ntrx=$!\n\
         await holds heard.wav 20000\n$promptly paplay -d mic said.wav\n\
         await holds heard.wav $(($(stat -c %s heard.wav) + 96000))\nkill $trx\nwait $receiver\n{OUT}"
    );
    Call { judge: Judge::Parts, ..Call::new(script, "heard.wav") }
}
