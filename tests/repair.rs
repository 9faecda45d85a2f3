//! Loss repaired before the jitter buffer sees it, between ourselves and with GStreamer, behind a relay that loses.

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use vox_e2e::{
    Entry, Scratch, Speech, Wav, await_udp, await_until, free_port, heard_in_full, locate, need, raw_samples, read_vox,
    speech, ulaw,
};

const LIMIT: Duration = Duration::from_secs(30);

/// A relay to a local port that loses the packets that `loses` says, by their place; it ends when nothing more comes.
struct Relay {
    port: u16,
    thread: thread::JoinHandle<usize>,
}

impl Relay {
    fn new(to: u16, loses: fn(usize) -> bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let port = socket.local_addr().expect("an address").port();
        let thread = thread::spawn(move || {
            let (mut buffer, mut count, mut lost) = ([0; 2048], 0, 0);
            socket.set_read_timeout(Some(LIMIT)).expect("a time-out");
            while let Ok(length) = socket.recv(&mut buffer) {
                socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a time-out");
                if loses(count) {
                    lost += 1;
                } else {
                    socket.send_to(&buffer[..length], ("127.0.0.1", to)).expect("sent");
                }
                count += 1;
            }
            lost
        });
        Self { port, thread }
    }

    /// How many packets were lost.
    fn finish(self) -> usize {
        self.thread.join().expect("a relay")
    }
}

fn summary(scratch: &Scratch) -> Value {
    let text = fs::read_to_string(scratch.path("stats")).expect("statistics");
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

fn said(scratch: &Scratch) -> Wav {
    speech(scratch, "said.wav", Speech::mono(8_000, 16_000))
}

/// Sends to ourselves through a relay; gives how many packets were lost and what was told of them.
fn through_a_relay(name: &str, protection: &str, loses: fn(usize) -> bool) -> (usize, Value) {
    let scratch = Scratch::new(name);
    let (said, port) = (said(&scratch), free_port());
    let receiver = scratch.spawn(&format!(
        "vox-recv --no-rtcp --idle-timeout 1.5 --wait 20 --max-age off --stats stats :{port} >heard.vox"
    ));
    await_udp(port);
    let relay = Relay::new(port, loses);
    scratch
        .run(&format!(
            "vox-capture said.wav | vox-encode pcmu | vox-send --no-rtcp {protection} 127.0.0.1:{}",
            relay.port
        ))
        .succeeded_silently();
    let lost = relay.finish();
    receiver.wait(LIMIT).succeeded();
    let heard = heard_in_full(&scratch);
    assert!(
        locate(&said.through(ulaw).samples, &heard.samples).is_some(),
        "{name}: {lost} lost, {}",
        summary(&scratch)
    );
    (lost, summary(&scratch))
}

#[test]
fn redundancy_repairs_what_is_lost_to_the_sample() {
    let (lost, told) = through_a_relay("red", "--red 2", |place| place > 3 && matches!(place % 6, 1 | 2) && place < 95);
    assert!(lost > 20);
    assert_eq!(told["packetsRecoveredByRed"], lost, "{told}");
    assert_eq!(told["packetsRecovered"], lost, "{told}");
}

#[test]
fn parity_repairs_bursts_to_the_sample() {
    // Groups of 15 packets and 3 parity packets; the first one tells that there is parity at all.
    let (lost, told) = through_a_relay("fec", "--fec 5x3", |place| place > 18 && matches!(place % 18, 4..=6));
    assert!(lost >= 12, "{lost}");
    assert_eq!(told["packetsRecoveredByFec"], lost, "{told}");
}

#[test]
fn everything_together_and_encrypted_is_repaired() {
    let scratch = Scratch::new("repair-key");
    fs::write(scratch.path("key"), "30".repeat(30)).expect("a key");
    let (said, port) = (said(&scratch), free_port());
    let receiver = scratch.spawn(&format!(
        "vox-recv --no-rtcp --srtp key --idle-timeout 1.5 --wait 20 --max-age off --stats stats :{port} >heard.vox"
    ));
    await_udp(port);
    let relay = Relay::new(port, |place| place > 18 && place % 7 == 3 && place < 100);
    scratch
        .run(&format!(
            "vox-capture said.wav | vox-encode pcmu | vox-send --no-rtcp --srtp key --red 1 --fec 5 127.0.0.1:{}",
            relay.port
        ))
        .succeeded();
    assert!(relay.finish() > 8);
    receiver.wait(LIMIT).succeeded();
    let heard = heard_in_full(&scratch);
    assert!(locate(&said.through(ulaw).samples, &heard.samples).is_some(), "{}", summary(&scratch));
}

/// Sends to ourselves over a network that loses one in ten both ways; what is missing is asked for. Options of both
/// sides may name the files `key` and `call.sdp`.
fn asked_for(name: &str, send: &str, recv: &str) -> Value {
    let scratch = Scratch::new(name);
    fs::write(scratch.path("key"), "30".repeat(30)).expect("a key");
    speech(&scratch, "said.wav", Speech::mono(8_000, 40_000));
    let (port, to) = (free_port(), free_port());
    let relay = scratch.spawn(&format!("vox-impair --udp :{port}=127.0.0.1:{to} --loss 10% --delay 10 --seed 5"));
    await_udp(port);
    let send = format!("vox-encode pcmu | vox-send {send} --rtcp-mux --rtcp-interval 0.4 127.0.0.1:{port}");
    if recv.contains("call.sdp") {
        scratch.run(&format!("vox-capture said.wav --duration 0.02 | {send} --sdp call.sdp")).succeeded();
        scratch.run(&format!("sed -i 's/m=audio {port}/m=audio {to}/' call.sdp")).succeeded();
    }
    let from = if recv.contains("call.sdp") { String::new() } else { format!(":{to}") };
    let receiver = scratch.spawn(&format!(
        "vox-recv --rtcp-mux {recv} {from} --idle-timeout 1.5 --wait 20 --max-age off --stats stats >heard.vox"
    ));
    await_udp(to);
    scratch.run(&format!("vox-capture said.wav | {send}")).succeeded();
    receiver.wait(LIMIT).succeeded();
    relay.interrupt();
    let told = summary(&scratch);
    let count = |name: &str| told[name].as_u64().unwrap_or_default();
    let missing = 250 - count("packetsReceived");
    assert!(missing >= 10, "the relay loses: {told}");
    // The first of them are lost before the sender's first report has shown the way to ask.
    assert!(count("packetsRecovered") * 10 >= missing * 6, "{told}");
    assert_eq!((count("streams"), count("packetsUnknown")), (1, 0), "{told}");
    told
}

#[test]
fn what_is_missing_is_asked_for_and_sent_again_as_it_was() {
    let told = asked_for("nack", "--resend", "--nack 400");
    assert_eq!(told["packetsRecovered"], told["packetsRetransmitted"], "{told}");
}

#[test]
fn what_is_missing_is_sent_again_in_a_stream_of_its_own() {
    let told = asked_for("nack-rtx", "--rtx", "--nack 400");
    assert_eq!(told["packetsRecovered"], told["packetsRetransmitted"], "{told}");
}

#[test]
fn a_description_that_wants_to_be_asked_is_and_both_streams_are_encrypted() {
    let told = asked_for("nack-sdp", "--rtx --srtp key", "--sdp call.sdp");
    assert_eq!(told["packetsRecovered"], told["packetsRetransmitted"], "{told}");
    assert_eq!((&told["srtpForged"], &told["srtpReplayed"]), (&0.into(), &0.into()), "{told}");
}

/// A call through a network that loses one in ten both ways, encrypted and protected by all that `protection` says:
/// how many packets of 250 were heard, and how many came twice.
fn encrypted_call(protection: &str) -> (usize, usize) {
    let scratch = Scratch::new(&format!("matrix{}", protection.replace(' ', "")));
    fs::write(scratch.path("key"), "1d".repeat(44)).expect("a key");
    speech(&scratch, "said.wav", Speech::mono(8_000, 40_000));
    let (port, to) = (free_port(), free_port());
    let relay = scratch.spawn(&format!("vox-impair --udp :{port}=127.0.0.1:{to} --loss 10% --delay 10 --seed 5"));
    await_udp(port);
    let secure = "--srtp key --srtp-suite AEAD_AES_256_GCM";
    let reports = "--rtcp-mux --rtcp-interval 0.3 --bandwidth 1000000";
    let nack = if protection.contains("--rtx") { "--nack 400" } else { "" };
    let receiver = scratch.spawn(&format!(
        "vox-recv :{to} {secure} {reports} {nack} --idle-timeout 1.5 --wait 20 --max-age off --stats stats >heard.vox"
    ));
    await_udp(to);
    scratch
        .run(&format!(
            "vox-capture said.wav | vox-encode pcmu | vox-send {secure} {reports} {protection} 127.0.0.1:{port}"
        ))
        .succeeded();
    receiver.wait(LIMIT).succeeded();
    relay.interrupt();
    let told = summary(&scratch);
    assert_eq!((&told["srtpForged"], &told["srtpReplayed"]), (&0.into(), &0.into()), "{protection}: {told}");
    let audio = read_vox(&scratch.path("heard.vox")).into_iter().filter_map(|entry| match entry {
        Entry::Audio { timestamp, payload, .. } if !payload.is_empty() => Some(timestamp),
        _ => None,
    });
    let times: Vec<u64> = audio.collect();
    let once: BTreeSet<u64> = times.iter().copied().collect();
    (once.len(), times.len() - once.len())
}

#[test]
fn all_that_mends_loss_goes_together_and_with_encryption() {
    let all =
        ["--red 2", "--fec 4", "--red 1 --fec 5", "--rtx", "--red 1 --rtx", "--fec 5 --rtx", "--red 1 --fec 5 --rtx"];
    let calls = all.map(|protection| thread::spawn(move || encrypted_call(protection)));
    for (protection, call) in all.iter().zip(calls) {
        let (heard, twice) = call.join().expect("the call is made");
        // Of 250, 225 come unrepaired. Parity alone gives back two thirds of the rest, the others nearly all.
        assert!(heard >= 232 && twice == 0, "{protection}: {heard} were heard, {twice} of them twice");
    }
}

/// A receiver report of SSRC 1 on `ssrc` that echoes a sender report, and a request for packet `number` of it.
fn request(ssrc: u32, echo: [u8; 4], number: u16) -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7, 0, 0, 0, 1];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[0; 12]);
    packet.extend_from_slice(&echo);
    packet.extend_from_slice(&[0, 0, 0, 1, 0x81, 205, 0, 3, 0, 0, 0, 1]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[number.to_be_bytes(), [0; 2]].concat());
    packet
}

#[test]
fn retransmissions_are_as_rfc_4588_has_them_and_only_for_who_has_heard_a_report() {
    let scratch = Scratch::new("rtx-wire");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(LIMIT)).expect("a time-out");
    let to = socket.local_addr().expect("an address");
    let sender = scratch.spawn(&format!(
        "vox-capture tone:440 --rate 8000 | vox-encode pcmu | vox-send --rtx --rtcp-mux --rtcp-interval 0.4 \
         --sdp call.sdp --stats sent {to}"
    ));
    let (mut buffer, mut seen, mut echo) = ([0; 2048], Vec::<Vec<u8>>::new(), None);
    let mut asked = false;
    let again = loop {
        let (length, from) = socket.recv_from(&mut buffer).expect("a packet");
        let packet = &buffer[..length];
        match packet[1] & 0x7f {
            0 => seen.push(packet.to_vec()),
            62 => break packet.to_vec(),
            // A sender report: the middle of its time.
            72 => echo = packet.get(10..14).and_then(|middle| middle.try_into().ok()),
            other => panic!("payload type {other}"),
        }
        let Some(last) = seen.last() else { continue };
        let ssrc = u32::from_be_bytes(last[8..12].try_into().expect("four bytes"));
        let number = u16::from_be_bytes([last[2], last[3]]);
        if let (Some(echo), false) = (echo, asked) {
            asked = true;
            socket.send_to(&request(ssrc, echo, number), from).expect("sent");
        } else if echo.is_none() {
            // A forger has not heard a report: nothing is sent again for it.
            socket.send_to(&request(ssrc, [9; 4], number), from).expect("sent");
        }
    };
    sender.interrupt();
    sender.wait(LIMIT);
    let original = seen.iter().find(|packet| packet[2..4] == again[12..14]).expect("its number is in the payload");
    assert_ne!(again[8..12], original[8..12], "another SSRC");
    assert_eq!((&again[4..8], &again[14..]), (&original[4..8], &original[12..]), "its timestamp and its payload");
    let told = fs::read_to_string(scratch.path("call.sdp")).expect("a description");
    for line in ["RTP/AVPF", "a=rtpmap:62 rtx/8000", "a=fmtp:62 apt=0;rtx-time=500", "a=rtcp-fb:* nack"] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
    let group = format!("a=ssrc-group:FID {} {}\r\n", number(&original[8..12]), number(&again[8..12]));
    assert!(told.contains(&group), "{group}: {told}");
    let sent = fs::read_to_string(scratch.path("sent")).expect("statistics");
    assert!(sent.contains("\"retransmittedPacketsSent\":1"), "{sent}");
}

/// Sends what GStreamer makes through a relay, to ourselves.
fn from_gstreamer(name: &str, protect: &str, loses: fn(usize) -> bool) -> (usize, Value) {
    need(&["gst-launch-1.0"]);
    let scratch = Scratch::new(name);
    said(&scratch);
    let source = "gst-launch-1.0 -q filesrc location=said.wav ! wavparse ! mulawenc";
    scratch.run(&format!("{source} ! mulawdec ! filesink location=coded.raw")).succeeded();
    let port = free_port();
    let receiver = scratch.spawn(&format!(
        "vox-recv --no-rtcp --idle-timeout 1.5 --wait 20 --max-age off --stats stats :{port} >heard.vox"
    ));
    await_udp(port);
    let relay = Relay::new(port, loses);
    scratch
        .run(&format!(
            "{source} ! rtppcmupay min-ptime=20000000 max-ptime=20000000 ! {protect} ! udpsink host=127.0.0.1 port={}",
            relay.port
        ))
        .succeeded();
    let lost = relay.finish();
    receiver.wait(LIMIT).succeeded();
    let coded = raw_samples(&fs::read(scratch.path("coded.raw")).expect("samples"));
    let heard = heard_in_full(&scratch);
    assert!(locate(&coded, &heard.samples).is_some(), "{name}: {lost} lost, {}", summary(&scratch));
    (lost, summary(&scratch))
}

#[test]
fn redundancy_of_gstreamer_is_understood() {
    let (lost, told) =
        from_gstreamer("gst-red", "rtpredenc pt=63 distance=2", |place| place > 3 && place % 6 == 1 && place < 95);
    assert!(lost > 10);
    assert_eq!(told["packetsRecoveredByRed"], lost, "{told}");
}

#[test]
fn parity_of_gstreamer_is_understood() {
    // A parity packet for each packet: without a marker it would wait for one, as video has them.
    let (lost, told) = from_gstreamer(
        "gst-fec",
        "rtpulpfecenc pt=127 percentage=100 percentage-important=100 multipacket=false",
        |place| place > 20 && place % 8 == 2 && place < 190,
    );
    assert!(lost > 10 && told["fecPacketsReceived"].as_u64() > Some(50), "{told}");
}

#[test]
fn gstreamer_sends_again_what_we_ask_for_in_a_stream_of_its_own() {
    need(&["gst-launch-1.0"]);
    let scratch = Scratch::new("rtx-gst");
    let (port, through, back) = (free_port(), free_port(), free_port());
    let relay = scratch.spawn(&format!("vox-impair --udp :{through}=127.0.0.1:{port} --loss 10% --seed 5"));
    await_udp(through);
    let receiver = scratch.spawn(&format!(
        "vox-recv :{port} --nack 400 --rtcp-to 127.0.0.1:{back} --rtcp-interval 0.3 --bandwidth 1000000 \
         --idle-timeout 1.5 --wait 20 --max-age off --stats stats >heard.vox"
    ));
    [port, port + 1].into_iter().for_each(await_udp);
    // Whether it ends is its own affair: its session forgets to in one run of fifty, also when nobody reports to it.
    let _sender = scratch.spawn(&format!(
        "gst-launch-1.0 -q rtpsession name=r rtp-profile=avpf rtcp-min-interval=300000000 bandwidth=1000000 \
         audiotestsrc num-buffers=250 samplesperbuffer=160 is-live=true ! audio/x-raw,rate=8000,channels=1 \
         ! mulawenc ! rtppcmupay ! rtprtxsend payload-type-map='application/x-rtp-pt-map,0=(uint)62' \
         ! r.send_rtp_sink r.send_rtp_src ! udpsink host=127.0.0.1 port={through} \
         r.send_rtcp_src ! udpsink host=127.0.0.1 port={} sync=false async=false \
         udpsrc port={back} caps=application/x-rtcp ! r.recv_rtcp_sink",
        port + 1
    ));
    receiver.wait(LIMIT).succeeded();
    relay.interrupt();
    let told = summary(&scratch);
    let count = |name: &str| told[name].as_u64().unwrap_or_default();
    assert!(count("packetsRetransmitted") >= 8, "{told}");
    assert_eq!((count("packetsRecovered"), count("streams")), (count("packetsRetransmitted"), 1), "{told}");
}

/// Sends to GStreamer through a relay, and waits until it has heard everything.
fn to_gstreamer(name: &str, protection: &str, pipeline: &str, loses: fn(usize) -> bool) {
    need(&["gst-launch-1.0"]);
    let scratch = Scratch::new(name);
    let (said, port) = (said(&scratch), free_port());
    let receiver = scratch.spawn(&pipeline.replace("PORT", &port.to_string()));
    await_udp(port);
    let relay = Relay::new(port, loses);
    scratch
        .run(&format!(
            "vox-capture said.wav | vox-encode pcmu | vox-send --no-rtcp {protection} 127.0.0.1:{}",
            relay.port
        ))
        .succeeded_silently();
    assert!(relay.finish() > 5);
    let expected = said.through(ulaw).samples;
    let arrived = || {
        let heard = raw_samples(&fs::read(scratch.path("heard.raw")).unwrap_or_default());
        locate(&expected[..expected.len() - 800], &heard).is_some()
    };
    assert!(await_until(LIMIT, arrived), "{}", receiver.stderr());
}

#[test]
fn gstreamer_understands_our_redundancy() {
    let pipeline = "gst-launch-1.0 -q udpsrc port=PORT caps='application/x-rtp,media=audio,clock-rate=8000,encoding-name=PCMU,payload=0' ! rtpreddec pt=63 ! \
                    rtpjitterbuffer latency=300 ! rtppcmudepay ! mulawdec ! filesink buffer-mode=unbuffered location=heard.raw";
    to_gstreamer("red-gst", "--red 1", pipeline, |place| place > 3 && place % 6 == 1 && place < 90);
}

#[test]
fn gstreamer_understands_our_parity() {
    let rig = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/gst_parity.py");
    let pipeline = format!("{rig} PORT heard.raw");
    // Groups of five packets and one of parity: one of each group is lost once the first has told that there is parity.
    to_gstreamer("fec-gst", "--fec 5", &pipeline, |place| place > 6 && place % 6 == 3 && place < 90);
}
