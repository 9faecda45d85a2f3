//! VLC, without a screen. Debian builds it without live555, so that it hears what has a payload type of its own and
//! reads no session descriptions.

use crate::cell::{Call, Cell, Coding, Judge, Path, Plan, Way};
use crate::stage::{PORT, receive, send_file};

/// It refuses to be root: root can be somebody else, and where that is not allowed a user namespace is enough.
const VLC: &str = "HOME=$PWD $(nobody='setpriv --reuid=65534 --regid=65534 --clear-groups'; \
     $nobody true 2>/dev/null && echo $nobody || echo unshare -U --map-user=65534 --map-group=65534) \
     cvlc -I dummy -q --no-video";

pub(crate) fn plan(cell: Cell) -> Plan {
    match cell.way {
        _ if cell.path == Path::Srtp => Plan::Cannot(
            "its SRTP carries the roll-over counter in the tag (RFC 4771), which no suite of a description stands for",
        ),
        Way::To if cell.path == Path::Reports => Plan::Cannot("as a receiver it sends no reports"),
        Way::To if cell.coding == Coding::Opus => {
            Plan::Cannot("built without live555, it hears only payload types that RFC 3551 fixes")
        }
        Way::To => Plan::Run(to(cell)),
        Way::From => Plan::Run(from(cell)),
    }
}

fn to(cell: Cell) -> Call {
    let speech = cell.coding.speech();
    let bytes = speech.frames * usize::from(speech.channels) * 2;
    let script = format!(
        "chmod 777 .\n{VLC} rtp://@{}:{PORT} \
         --sout '#transcode{{acodec=s16l}}:std{{access=file,mux=dummy,dst=heard.raw}}' &\npeer=$!\nawait udp {PORT}\n\
         {}await holds heard.raw {}\nkill -TERM $peer\nwait $peer\ntrue\n",
        cell.path.host(),
        send_file(file(cell), cell, ""),
        bytes * 2
    );
    Call::new(script, "heard.raw")
}

fn from(cell: Cell) -> Call {
    let coder = match cell.coding {
        Coding::Pcmu => "ulaw,samplerate=8000,channels=1",
        Coding::Pcma => "alaw,samplerate=8000,channels=1",
        Coding::L16 => "s16b,samplerate=44100,channels=2",
        Coding::Opus => "opus,ab=64,samplerate=48000,channels=2",
    };
    let script = format!(
        "{}{VLC} {} --sout '#transcode{{acodec={coder}}}:rtp{{dst={},port={PORT}}}' vlc://quit\n\
         wait $receiver\n",
        receive(cell, "--map 96=opus/48000/2"),
        file(cell),
        cell.path.host()
    );
    let judge = if cell.coding == Coding::L16 { Judge::Standard } else { Judge::Wave };
    Call { judge, ..Call::new(script, "heard.wav") }
}

const fn file(cell: Cell) -> &'static str {
    match cell.path {
        Path::Reports => "long.wav",
        Path::Unicast | Path::Multicast | Path::Srtp => "late.wav",
    }
}
