//! What goes beside the audio: telephone keys, and levels that nobody has to decode for.

use std::fs;

use serde_json::Value;
use vox_e2e::{Entry, Scratch, await_udp, free_port, need, raw_samples, read_vox};

const PRESS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/press.py");

/// Hands on packets of telephone events only: GStreamer takes one payload type at a time.
const EVENTS_ONLY: &str = "import socket
here, there = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in 'ab')
here.bind(('127.0.0.1', FROM)); here.settimeout(10)
while True:
    packet = here.recv(2000)
    if packet[1] & 127 == 101: there.sendto(packet, ('127.0.0.1', TO))
";

/// The two frequencies of a stretch of 8 kHz samples that are loudest, of those that keys have.
fn loudest(samples: &[i16]) -> [u32; 2] {
    let power = |hz: u32| {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let angle = core::f64::consts::TAU * f64::from(hz) * n as f64 / 8_000.0;
            re += f64::from(*sample) * angle.cos();
            im += f64::from(*sample) * angle.sin();
        }
        re * re + im * im
    };
    [[697, 770, 852, 941], [1209, 1336, 1477, 1633]]
        .map(|group| group.into_iter().max_by(|a, b| power(*a).total_cmp(&power(*b))).expect("there are some"))
}

#[test]
fn keys_are_heard_by_gstreamer_and_by_us_as_the_description_says() {
    need(&["gst-launch-1.0", "python3"]);
    let scratch = Scratch::new("keys");
    let (own, all, events) = (free_port(), free_port(), free_port());
    let script = EVENTS_ONLY.replace("FROM", &all.to_string()).replace("TO", &events.to_string());
    fs::write(scratch.path("events-only.py"), script).expect("a script");
    let say = |keys: &str, rest: &str| {
        format!(
            "vox-capture silence: --rate 8000 --duration 2.5 | vox-encode pcmu | {PRESS} '{keys}' | vox-send {rest}"
        )
    };
    // What a telephone would be told.
    scratch.run(&say("", &format!("127.0.0.1:{own} --sdp keys.sdp"))).succeeded();
    let sdp = fs::read_to_string(scratch.path("keys.sdp")).expect("a description");
    assert!(sdp.contains("a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"), "{sdp}");
    let receiver = scratch.spawn("vox-recv --sdp keys.sdp --idle-timeout 2 --wait 20 --max-age off >heard.vox");
    let forward = scratch.spawn("python3 events-only.py");
    let peer = scratch.spawn(&format!(
        "gst-launch-1.0 -q udpsrc port={events} \
         caps='application/x-rtp,media=audio,clock-rate=8000,encoding-name=TELEPHONE-EVENT,payload=(int)101' \
         ! rtpdtmfdepay ! filesink location=keys.raw buffer-mode=unbuffered"
    ));
    [own, all, events].into_iter().for_each(await_udp);
    scratch.run(&say("1A#", &format!("127.0.0.1:{own} 127.0.0.1:{all}"))).succeeded();
    receiver.wait(std::time::Duration::from_secs(20)).succeeded();
    let keys: Vec<(String, u64)> = read_vox(&scratch.path("heard.vox"))
        .iter()
        .filter_map(|entry| match entry {
            Entry::Event(event) if event.event == "telephone-event" => {
                Some((event.details["key"].as_str()?.to_owned(), event.details["duration_ms"].as_u64()?))
            }
            _ => None,
        })
        .collect();
    assert_eq!(keys, [("1".to_owned(), 100), ("A".to_owned(), 100), ("#".to_owned(), 100)]);
    drop((forward, peer));
    let tones = raw_samples(&fs::read(scratch.path("keys.raw")).expect("GStreamer has written"));
    let tones: Vec<[u32; 2]> = tones.chunks_exact(800).map(loudest).collect();
    assert_eq!(tones, [[697, 1209], [697, 1633], [941, 1477]]);
}

fn lines(scratch: &Scratch) -> Vec<Value> {
    let text = fs::read_to_string(scratch.path("levels")).expect("lines");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn levels_cross_the_network_and_are_shown_without_decoding() {
    for codec in ["opus", "pcmu", "l16 --rate 16000"] {
        let scratch = Scratch::new(&format!("levels-{}", &codec[..3]));
        let port = free_port();
        let described = format!("127.0.0.1:{port} --extmap 3=audio-level --sdp call.sdp");
        scratch.run(&format!("vox-capture silence: --duration 0.02 | vox-encode {codec} | vox-send {described}"));
        let receiver = scratch.spawn(
            "vox-recv --sdp call.sdp --idle-timeout 2 --wait 20 --max-age off | vox-meter --no-decode --json --stats levels --interval 500 >/dev/null",
        );
        await_udp(port);
        scratch
            .run(&format!(
                "{{ vox-capture tone:997,-20 --duration 1; vox-capture silence: --duration 1; }} \
                 | vox-encode {codec} | vox-send {described}"
            ))
            .succeeded();
        receiver.wait(std::time::Duration::from_secs(20)).succeeded();
        let lines: Vec<Value> = lines(&scratch).into_iter().filter(|line| line["type"] == "meter").collect();
        let shown = |line: &Value| (line["audioLevelDb"].as_i64(), line["voiceActivity"].as_bool());
        assert_eq!(shown(&lines[0]), (Some(-23), Some(true)), "{codec}: {lines:?}");
        let last = shown(lines.last().expect("some lines"));
        assert!(last.0.is_some_and(|level| level < -80) && last.1 == Some(false), "{codec}: {last:?}");
        assert!(lines[0].get("momentaryLufs").is_none(), "nothing was decoded");
    }
}

#[test]
fn levels_of_gstreamer_are_read() {
    need(&["gst-launch-1.0"]);
    let scratch = Scratch::new("levels-gst");
    let port = free_port();
    let receiver = scratch.spawn(&format!(
        "vox-recv 127.0.0.1:{port} --extmap 1=audio-level --idle-timeout 2 --wait 20 --max-age off \
         | vox-meter --no-decode --json --stats levels --interval 500 >/dev/null"
    ));
    await_udp(port);
    scratch
        .run(&format!(
            "gst-launch-1.0 -q audiotestsrc num-buffers=75 samplesperbuffer=160 volume=0.1 is-live=true \
             ! audio/x-raw,rate=8000,channels=1 ! level audio-level-meta=true ! mulawenc ! rtppcmupay \
             ! 'application/x-rtp,extmap-1=(string)<\"\",\"urn:ietf:params:rtp-hdrext:ssrc-audio-level\",\"vad=on\">' \
             ! udpsink host=127.0.0.1 port={port}"
        ))
        .succeeded();
    receiver.wait(std::time::Duration::from_secs(20)).succeeded();
    assert_eq!(lines(&scratch)[1]["audioLevelDb"], -23);
}
