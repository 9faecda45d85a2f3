//! Ways to be found: groups heard by several, by one source, over IPv6, and session descriptions read by GStreamer and
//! made as it makes them. Calls of each codec with each peer are the matrix in `interop`.

use std::fs;
use std::time::Duration;

use vox_e2e::{
    Running, Scratch, Speech, Wav, alaw, align, await_udp, await_until, free_port, heard_in_full, locate, need,
    raw_samples, speech, ulaw, unshare,
};

const LIMIT: Duration = Duration::from_secs(30);

/// A codec as each side calls it.
struct Call {
    /// `vox-encode` and its options.
    encode: &'static str,
    /// RTP payload type.
    payload_type: u8,
    /// GStreamer: encoder and payloader.
    gst_send: &'static str,
    /// GStreamer: caps, depayloader and decoder.
    gst_recv: &'static str,
    /// Speech of 2 s.
    speech: Speech,
    /// What a sample sounds like behind the codec, or none where only the wave form is kept.
    exact: Option<fn(i16) -> i16>,
}

const PCMU: Call = Call {
    encode: "pcmu",
    payload_type: 0,
    gst_send: "mulawenc ! rtppcmupay min-ptime=20000000 max-ptime=20000000",
    gst_recv: "application/x-rtp,media=audio,clock-rate=8000,encoding-name=PCMU,payload=0:rtppcmudepay ! mulawdec",
    speech: Speech::mono(8_000, 16_000),
    exact: Some(ulaw),
};

const PCMA: Call = Call {
    encode: "pcma",
    payload_type: 8,
    gst_send: "alawenc ! rtppcmapay min-ptime=20000000 max-ptime=20000000",
    gst_recv: "application/x-rtp,media=audio,clock-rate=8000,encoding-name=PCMA,payload=8:rtppcmadepay ! alawdec",
    speech: Speech::mono(8_000, 16_000),
    exact: Some(alaw),
};

const L16: Call = Call {
    encode: "l16",
    payload_type: 10,
    gst_send: "audioconvert ! audio/x-raw,format=S16BE ! rtpL16pay pt=10",
    gst_recv: "application/x-rtp,media=audio,clock-rate=44100,encoding-name=L16,encoding-params=(string)2,channels=2,payload=10:rtpL16depay ! audioconvert ! audio/x-raw,format=S16LE",
    speech: Speech::stereo(44_100, 88_200),
    exact: Some(|sample| sample),
};

const OPUS: Call = Call {
    encode: "opus --application audio --bitrate 64k",
    payload_type: 97,
    gst_send: "opusenc frame-size=20 bitrate=64000 ! rtpopuspay pt=97",
    gst_recv: "application/x-rtp,media=audio,clock-rate=48000,encoding-name=OPUS,payload=97:rtpopusdepay ! opusdec ! audio/x-raw,rate=48000,channels=1",
    speech: Speech::mono(48_000, 96_000),
    exact: None,
};

#[test]
fn a_multicast_group_is_heard_by_two() {
    let scratch = Scratch::new("multicast");
    let said = speech(&scratch, "said.wav", PCMU.speech);
    let port = free_port();
    let group = format!("239.255.{}.{}:{port}", port >> 8 & 0xff, port & 0xff);
    let listen = |name: &str| {
        scratch.spawn(&format!(
            "vox-recv {group} --interface lo --idle-timeout 2s --wait 20 --max-age off | vox-jitter --delay 500 | vox-play {name}"
        ))
    };
    let first = listen("first.wav");
    let second = listen("second.wav");
    for receiver in [&first, &second] {
        await_member(receiver, port);
    }
    scratch
        .run(&format!("vox-capture said.wav | vox-encode pcmu | vox-send {group} --interface lo --ttl 1"))
        .succeeded_silently();
    first.wait(LIMIT).succeeded();
    second.wait(LIMIT).succeeded();
    for name in ["first.wav", "second.wav"] {
        assert_eq!(Wav::read(&scratch.path(name)).samples, said.through(ulaw).samples, "{name}");
    }
}

#[test]
fn gstreamer_learns_pcmu_from_the_description_of_vox() {
    vox_to_gstreamer_by_sdp("pcmu", &PCMU);
}

#[test]
fn gstreamer_learns_opus_from_the_description_of_vox() {
    vox_to_gstreamer_by_sdp("opus", &OPUS);
}

fn vox_to_gstreamer_by_sdp(name: &str, call: &Call) {
    need(&["gst-launch-1.0"]);
    let scratch = Scratch::new(&format!("vox-gst-sdp-{name}"));
    let said = speech(&scratch, "said.wav", call.speech);
    let port = free_port();
    let send = format!(
        "vox-encode {} | vox-send --payload-type {} --sdp call.sdp 127.0.0.1:{port}",
        call.encode, call.payload_type
    );
    scratch.run(&format!("vox-capture said.wav --duration 0.02 | {send}")).succeeded_silently();
    let (_, decode) = call.gst_recv.split_once(':').expect("caps and elements");
    let receiver = scratch.spawn(&format!(
        "gst-launch-1.0 -q filesrc location=call.sdp ! sdpdemux latency=100 ! {decode} \
         ! filesink location=heard.raw buffer-mode=unbuffered"
    ));
    await_udp(port);
    scratch.run(&format!("vox-capture said.wav | {send}")).succeeded_silently();
    await_raw(&scratch, &receiver, &said);
    drop(receiver);
    arrived(&said, &raw(&scratch), call, call.exact);
}

#[test]
fn vox_learns_pcma_of_gstreamer_from_a_description() {
    gstreamer_to_vox_by_sdp("pcma", &PCMA, "m=audio PORT RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n");
}

#[test]
fn vox_learns_l16_of_gstreamer_from_a_description() {
    gstreamer_to_vox_by_sdp("l16", &L16, "m=audio PORT RTP/AVP 10\r\na=rtpmap:10 L16/44100/2\r\n");
}

/// GStreamer's launcher writes no description: this is what its library makes of the payloader's caps.
fn gstreamer_to_vox_by_sdp(name: &str, call: &Call, media: &str) {
    need(&["gst-launch-1.0"]);
    let scratch = Scratch::new(&format!("gst-vox-sdp-{name}"));
    let said = speech(&scratch, "said.wav", call.speech);
    let port = free_port();
    let head = "v=0\r\no=- 1188340656180883 1 IN IP4 127.0.0.1\r\ns=Session streamed by GStreamer\r\n\
                i=server\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=tool:GStreamer\r\na=type:broadcast\r\n";
    let description = format!("{head}{}", media.replace("PORT", &port.to_string()));
    fs::write(scratch.path("call.sdp"), description).expect("a description");
    let receiver = scratch.spawn("vox-recv --sdp call.sdp --idle-timeout 3s --wait 20 --max-age off >heard.vox");
    await_udp(port);
    let (source, encode) = ("gst-launch-1.0 -q filesrc location=said.wav ! wavparse", call.gst_send);
    scratch.run(&format!("{source} ! {encode} ! udpsink host=127.0.0.1 port={port}")).succeeded();
    receiver.wait(LIMIT).succeeded();
    let heard = heard_in_full(&scratch);
    // Its A-law encoder is asked as in the calls without a description; here the wave form is enough.
    if name == "l16" {
        arrived(&said, &heard, call, Some(|sample| sample));
    } else {
        let alignment = align(&said.samples, &heard.samples, 3_000);
        assert!(alignment.correlation > 0.99, "{alignment:?}");
    }
}

#[test]
fn a_call_goes_over_ipv6() {
    let scratch = Scratch::new("ipv6");
    let said = speech(&scratch, "said.wav", PCMU.speech);
    let port = free_port();
    let receiver =
        scratch.spawn(&format!("vox-recv '[::1]:{port}' --idle-timeout 2s --wait 20 --max-age off >heard.vox"));
    await_udp(port);
    scratch.run(&format!("vox-capture said.wav | vox-encode pcmu | vox-send '[::1]:{port}'")).succeeded_silently();
    receiver.wait(LIMIT).succeeded();
    assert_eq!(heard_in_full(&scratch).samples, said.through(ulaw).samples);
}

/// Runs a receiver and a sender for the group in a network of their own, where groups may go round.
fn group_call(name: &str, group: &str, receive: &str) -> (Wav, Wav, String) {
    need(&["unshare", "ip"]);
    let scratch = Scratch::new(name);
    let said = speech(&scratch, "said.wav", PCMU.speech);
    fs::write(
        scratch.path("call.sh"),
        format!(
            "set -e\n\
             ip link set lo up; ip link add d0 type veth peer name d1; ip link set d1 up\n\
             ip addr add 192.0.2.1/24 dev d0; ip link set d0 up multicast on\n\
             ip -6 addr add 2001:db8::1/64 dev d0 nodad; ip route add 224.0.0.0/4 dev d0\n\
             vox-recv '{group}:5004' --interface d0 {receive} --idle-timeout 2s --wait 20 --max-age off | vox-jitter --delay 500 | vox-play heard.wav &\n\
             until grep -qi ':138C ' /proc/net/udp /proc/net/udp6; do sleep 0.05; done\n\
             vox-capture said.wav | vox-encode pcmu | vox-send '{group}:5004' --interface d0 --sdp call.sdp\n\
             wait\n"
        ),
    )
    .expect("a script");
    scratch.spawn(&format!("{} bash call.sh", unshare("n"))).wait(LIMIT).succeeded();
    let description = fs::read_to_string(scratch.path("call.sdp")).expect("a description");
    (said, Wav::read(&scratch.path("heard.wav")), description)
}

#[test]
fn an_ipv6_group_is_heard_on_the_link() {
    let (said, heard, _) = group_call("group6", "[ff12::4242]", "");
    assert_eq!(heard.samples, said.through(ulaw).samples);
}

#[test]
fn a_source_specific_group_is_heard_from_its_source() {
    for (name, group, source, filter) in [
        ("ssm4", "232.1.2.3", "192.0.2.1", "incl IN IP4 232.1.2.3 192.0.2.1"),
        ("ssm6", "[ff35::4242]", "2001:db8::1", "incl IN IP6 ff35::4242 2001:db8::1"),
    ] {
        let (said, heard, description) = group_call(name, group, &format!("--source {source}"));
        assert_eq!(heard.samples, said.through(ulaw).samples, "{name}");
        assert!(description.contains(&format!("a=source-filter: {filter}\r\n")), "{description}");
    }
}

/// Waits until this receiver has its own socket on the port.
#[track_caller]
fn await_member(receiver: &Running, port: u16) {
    let pid = receiver.pid_of("vox-recv").as_raw_nonzero();
    let sockets = || -> Option<bool> {
        let wanted = format!(":{port:04X}");
        let table = fs::read_to_string("/proc/net/udp").ok()?;
        let inodes: Vec<String> = table
            .lines()
            .filter(|line| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&wanted)))
            .filter_map(|line| line.split_whitespace().nth(9).map(|inode| format!("socket:[{inode}]")))
            .collect();
        let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let links = files.filter_map(|entry| fs::read_link(entry.path()).ok());
        Some(links.into_iter().any(|link| inodes.iter().any(|inode| link.to_str() == Some(inode))))
    };
    assert!(await_until(LIMIT, || sockets() == Some(true)), "no socket on {port}: {}", receiver.stderr());
}

/// What a peer wrote.
fn raw(scratch: &Scratch) -> Wav {
    Wav { rate: 0, channels: 0, samples: samples(scratch, "heard.raw") }
}

fn samples(scratch: &Scratch, name: &str) -> Vec<i16> {
    raw_samples(&fs::read(scratch.path(name)).expect("the peer has written"))
}

/// Waits until a peer has written as many samples as were said: peers do not know when a call ends.
#[track_caller]
fn await_raw(scratch: &Scratch, receiver: &Running, said: &Wav) {
    let size = || fs::metadata(scratch.path("heard.raw")).map_or(0, |meta| meta.len() as usize / 2);
    let whole = await_until(LIMIT, || size() >= said.samples.len());
    assert!(whole, "{} of {} samples arrive\n{}", size(), said.samples.len(), receiver.stderr());
}

/// Exact codecs: every sample, at the beginning. Opus: the wave form, not before it was said and not much later.
#[track_caller]
fn arrived(said: &Wav, heard: &Wav, call: &Call, exact: Option<fn(i16) -> i16>) {
    if let Some(codec) = exact {
        let said = said.through(codec);
        let at = locate(&said.samples, &heard.samples);
        assert!(at.is_some(), "what was said is not among the {} samples heard", heard.samples.len());
        // A player's timeline may begin earlier, but nothing may be heard before the call or after it.
        let extra = heard.samples.len() - said.samples.len();
        assert!(extra < 2 * said.channels as usize * 960, "{extra} samples more than were said");
    } else {
        let channels = usize::from(heard.channels.max(1));
        let heard: Vec<i16> = heard.samples.iter().copied().step_by(channels).collect();
        let alignment = align(&said.samples, &heard, 3_000);
        assert!(alignment.correlation > 0.9, "{}: {alignment:?}", call.encode);
        assert!((0..=1_500).contains(&alignment.lag), "{}: {alignment:?}", call.encode);
    }
}
