//! GStreamer: its RTP elements, with libsrtp.

use crate::cell::{Call, Cell, Coding, Path, Plan, Way};
use crate::stage::{KEY, PORT, end_peer, receive, send};

pub(crate) fn plan(cell: Cell) -> Plan {
    Plan::Run(match (cell.path, cell.way) {
        (Path::Reports, Way::To) => reports_to(cell),
        (Path::Reports, Way::From) => reports_from(cell),
        (_, Way::To) => to(cell),
        (_, Way::From) => from(cell),
    })
}

const CIPHERS: &str = "aes-128-icm";
const AUTH: &str = "hmac-sha1-80";

/// Caps of the packets, and what makes samples of them.
const fn decoding(coding: Coding) -> (&'static str, &'static str) {
    match coding {
        Coding::Pcmu => ("clock-rate=8000,encoding-name=PCMU,payload=0", "rtppcmudepay ! mulawdec"),
        Coding::Pcma => ("clock-rate=8000,encoding-name=PCMA,payload=8", "rtppcmadepay ! alawdec"),
        Coding::L16 => (
            "clock-rate=44100,encoding-name=L16,encoding-params=(string)2,channels=2,payload=10",
            "rtpL16depay ! audioconvert ! audio/x-raw,format=S16LE",
        ),
        Coding::Opus => (
            "clock-rate=48000,encoding-name=OPUS,payload=97",
            "rtpopusdepay ! opusdec ! audio/x-raw,rate=48000,channels=1",
        ),
    }
}

fn to(cell: Cell) -> Call {
    let (caps, decode) = decoding(cell.coding);
    let host = cell.path.host();
    let (kind, opened, ssrc) = match cell.path {
        Path::Srtp => (
            format!(
                "application/x-srtp,srtp-key=(buffer){KEY},srtp-cipher=(string){CIPHERS},srtp-auth=(string){AUTH},\
                 srtcp-cipher=(string){CIPHERS},srtcp-auth=(string){AUTH},roc=(uint)0,ssrc=(uint)4242"
            ),
            "srtpdec !",
            "--ssrc 4242",
        ),
        Path::Unicast | Path::Multicast | Path::Reports => ("application/x-rtp".to_owned(), "", ""),
    };
    let script = format!(
        "gst-launch-1.0 -q udpsrc address={host} port={PORT} caps='{kind},media=audio,{caps}' ! {opened} \
         rtpjitterbuffer latency=200 ! {decode} ! filesink location=heard.raw buffer-mode=unbuffered &\n\
         peer=$!\nawait udp {PORT}\n{}{}",
        send(cell, ssrc),
        end_peer(cell, "heard.raw")
    );
    Call::new(script, "heard.raw")
}

/// What makes packets of samples.
const fn coding(coding: Coding) -> (&'static str, &'static str) {
    match coding {
        Coding::Pcmu => ("mulawenc", "rtppcmupay min-ptime=20000000 max-ptime=20000000"),
        Coding::Pcma => ("alawenc", "rtppcmapay min-ptime=20000000 max-ptime=20000000"),
        Coding::L16 => ("audioconvert ! audio/x-raw,format=S16BE", "rtpL16pay pt=10"),
        Coding::Opus => ("opusenc frame-size=20 bitrate=64000", "rtpopuspay pt=97"),
    }
}

fn from(cell: Cell) -> Call {
    const SOURCE: &str = "gst-launch-1.0 -q filesrc location=said.wav ! wavparse";
    let (encode, pay) = coding(cell.coding);
    let locked = match cell.path {
        Path::Srtp => {
            format!("srtpenc key={KEY} rtp-cipher={CIPHERS} rtp-auth={AUTH} rtcp-cipher={CIPHERS} rtcp-auth={AUTH} !")
        }
        Path::Unicast | Path::Multicast | Path::Reports => String::new(),
    };
    // Its G.711 encoders are asked as ffmpeg's are.
    let own = matches!(cell.coding, Coding::Pcmu | Coding::Pcma);
    let (_, decode) = decoding(cell.coding);
    let decoder = decode.rsplit(" ! ").next().expect("a decoder");
    let ask = format!("{SOURCE} ! {encode} ! {decoder} ! filesink location=own.raw\n");
    let script = format!(
        "{}{}{SOURCE} ! {encode} ! {pay} ! {locked} udpsink host={} port={PORT}\nwait $receiver\n",
        if own { &ask } else { "" },
        receive(cell, ""),
        cell.path.host()
    );
    Call { own: own.then_some("own.raw"), ..Call::new(script, "heard.wav") }
}

const RTPBIN: &str = "gst-launch-1.0 -q rtpbin name=r rtp-profile=avpf";

fn reports_to(cell: Cell) -> Call {
    let (caps, decode) = decoding(cell.coding);
    let script = format!(
        "{RTPBIN} udpsrc port={PORT} caps='application/x-rtp,media=audio,{caps}' ! r.recv_rtp_sink_0 r. ! {decode} \
         ! filesink location=heard.raw buffer-mode=unbuffered udpsrc port={} ! r.recv_rtcp_sink_0 \
         r.send_rtcp_src_0 ! udpsink host=127.0.0.1 port=6001 sync=false async=false &\npeer=$!\nawait udp {PORT}\n{}{}",
        PORT + 1,
        send(cell, "--local 127.0.0.1:6000"),
        end_peer(cell, "heard.raw")
    );
    Call::new(script, "heard.raw")
}

/// It logs the round trip that it takes of our reports.
fn reports_from(cell: Cell) -> Call {
    let (encode, pay) = coding(cell.coding);
    let script = format!(
        "{}GST_DEBUG_NO_COLOR=1 GST_DEBUG=rtpsource:6 {RTPBIN} filesrc location=long.wav ! wavparse ! {encode} ! {pay} \
         ! r.send_rtp_sink_0 r.send_rtp_src_0 ! udpsink host=127.0.0.1 port={PORT} \
         r.send_rtcp_src_0 ! udpsink host=127.0.0.1 port={} sync=false async=false \
         udpsrc port=6001 ! r.recv_rtcp_sink_0 2>gst.log\nwait $receiver\n",
        receive(cell, "--rtcp-to 127.0.0.1:6001"),
        PORT + 1
    );
    Call { says: Some(("gst.log", "round trip 0000:")), ..Call::new(script, "heard.wav") }
}
