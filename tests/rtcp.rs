//! Reports both ways, with GStreamer, ffmpeg and each other; both ways over one socket; keys of a telephone.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use vox_e2e::{Entry, Scratch, Speech, Wav, await_udp, await_until, free_port, need, read_vox, signal, speech, ulaw};
use vox_frame::{Audio, Channels, Codec, EndReason, Event, Format, MediaTime, Opening, Rate, Record};
use vox_frame::{SequenceNumber, StreamId, Times};

const LIMIT: Duration = Duration::from_secs(30);
const PCMU: Speech = Speech::mono(8_000, 16_000);

/// The lines of a statistics file.
fn lines(scratch: &Scratch, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(scratch.path(name)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

#[test]
fn gstreamer_reports_to_vox() {
    need(&["gst-launch-1.0"]);
    let scratch = Scratch::new("rtcp-from-gst");
    let (port, own) = (free_port(), free_port());
    let _receiver = scratch.spawn(&format!(
        "gst-launch-1.0 -q rtpbin name=r rtp-profile=avpf udpsrc port={port} \
         caps='application/x-rtp,media=audio,clock-rate=8000,encoding-name=PCMU,payload=0' ! r.recv_rtp_sink_0 \
         r. ! rtppcmudepay ! mulawdec ! fakesink udpsrc port={} ! r.recv_rtcp_sink_0 \
         r.send_rtcp_src_0 ! udpsink host=127.0.0.1 port={} sync=false async=false",
        port + 1,
        own + 1
    ));
    await_udp(port);
    let sender = scratch.spawn(&format!(
        "vox-capture tone:440 --rate 8000 --duration 60 | vox-encode pcmu | vox-send 127.0.0.1:{port} \
         --local 127.0.0.1:{own} --rtcp-interval 0.3 --stats sent.json"
    ));
    // Its first report may come before it has heard one of ours, and the next is up to seven seconds later.
    let answer = || {
        let told = fs::read_to_string(scratch.path("sent.json")).unwrap_or_default();
        let lines: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let reports = of_kind(&lines, "remote-inbound-rtp");
        reports.into_iter().find(|report| report["roundTripTime"].is_f64()).cloned()
    };
    assert!(await_until(LIMIT, || answer().is_some()), "its report answers one of ours");
    sender.interrupt();
    sender.wait(LIMIT).succeeded_silently();
    let report = answer().expect("it was there");
    assert!(report["fractionLost"].as_f64().expect("loss") < 0.05, "{report}");
    assert!((0.0..0.5).contains(&report["roundTripTime"].as_f64().expect("seconds")), "{report}");
}

#[test]
fn vox_reports_to_gstreamer_and_learns_its_clock() {
    need(&["gst-launch-1.0"]);
    // Its session forgets to end, and to say goodbye, in one run of fifty, also when nobody reports to it.
    let (scratch, log) = (0..4).find_map(call_of_gstreamer).expect("GStreamer ends in one of four calls");
    let round_trips: Vec<f64> = log.split("round trip ").skip(1).filter_map(round_trip_ms).collect();
    // It takes its first from a report that answers none of its own yet.
    let least = round_trips.iter().copied().filter(|ms| *ms > 0.0).fold(f64::MAX, f64::min);
    let both = 2.0 * WAY_MS;
    assert!((both - 0.1..both + 15.0).contains(&least), "what GStreamer takes of our reports: {round_trips:?}");
    let entries = read_vox(&scratch.path("heard.vox"));
    let latencies = latencies(&entries);
    assert!(latencies.len() > 100, "{} records are dated", latencies.len());
    assert!(latencies.iter().all(|latency| (-0.1..0.5).contains(latency)), "{latencies:?}");
    let goodbye = |entry: &Entry| matches!(entry, Entry::End(end) if end.reason == EndReason::Bye);
    assert!(entries.iter().any(goodbye), "it says goodbye");
}

/// Five seconds of GStreamer are received into `heard.vox`: gives what it logged, or nothing where it does not end.
fn call_of_gstreamer(attempt: u32) -> Option<(Scratch, String)> {
    let scratch = Scratch::new(&format!("rtcp-to-gst-{attempt}"));
    let (port, there, back, own) = (free_port(), free_port(), free_port(), free_port());
    let _there = scratch.spawn(&control_relay(there, port + 1));
    let _back = scratch.spawn(&control_relay(back, own));
    let receiver = scratch.spawn(&format!(
        "vox-recv :{port} --rtcp-interval 0.3 --rtcp-to 127.0.0.1:{back} --idle-timeout 2s --wait 20 --max-age off > heard.vox"
    ));
    [port, there, back].into_iter().for_each(await_udp);
    let mut sender = scratch.spawn(&format!(
        "GST_DEBUG_NO_COLOR=1 GST_DEBUG=rtpsource:6 gst-launch-1.0 -q rtpbin name=r rtp-profile=avpf \
         audiotestsrc num-buffers=250 samplesperbuffer=160 is-live=true ! audio/x-raw,rate=8000,channels=1 \
         ! mulawenc ! rtppcmupay ! r.send_rtp_sink_0 r.send_rtp_src_0 ! udpsink host=127.0.0.1 port={port} \
         r.send_rtcp_src_0 ! udpsink host=127.0.0.1 port={there} sync=false async=false \
         udpsrc port={own} ! r.recv_rtcp_sink_0 2> gst.log"
    ));
    receiver.wait(LIMIT).succeeded();
    if !await_until(LIMIT, || sender.has_ended()) {
        return None;
    }
    sender.wait(LIMIT).succeeded();
    let log = fs::read_to_string(scratch.path("gst.log")).expect("a log");
    Some((scratch, log))
}

/// The round trip at the beginning of a text, as GStreamer logs it: seconds and their fraction, hexadecimal.
fn round_trip_ms(text: &str) -> Option<f64> {
    let (seconds, fraction) = text.get(..9)?.split_once(':')?;
    let read = |hex| u32::from_str_radix(hex, 16).ok();
    Some((f64::from(read(seconds)?) + f64::from(read(fraction)?) / 65_536.0) * 1e3)
}

#[test]
fn reports_of_ffmpeg_date_its_stream() {
    need(&["ffmpeg"]);
    let scratch = Scratch::new("rtcp-from-ffmpeg");
    let port = free_port();
    let receiver = scratch.spawn(&format!("vox-recv :{port} --idle-timeout 2s --wait 20 --max-age off > heard.vox"));
    await_udp(port);
    scratch
        .run(&format!(
            "ffmpeg -nostdin -v error -re -f lavfi -i sine=440:duration=2 -ar 8000 -ac 1 -c:a pcm_mulaw \
             -f rtp 'rtp://127.0.0.1:{port}?pkt_size=172' >/dev/null"
        ))
        .succeeded();
    receiver.wait(LIMIT).succeeded();
    let latencies = latencies(&read_vox(&scratch.path("heard.vox")));
    assert!(latencies.len() > 50, "{} records are dated", latencies.len());
    // It begins its clock before it sends, and sends in bursts.
    assert!(latencies.iter().all(|latency| (-1.0..2.0).contains(latency)), "{latencies:?}");
}

/// Seconds from capture to arrival of each record that is dated.
fn latencies(entries: &[Entry]) -> Vec<f64> {
    let times = entries.iter().filter_map(|entry| match entry {
        Entry::Audio { times, .. } => Some((times.arrived?, times.captured?)),
        _ => None,
    });
    times.map(|(arrived, captured)| arrived.since(captured) as f64 / 1e9).collect()
}

/// What the relays are set to: each way 40 ms, the media on top of it up to 16 ms, and one packet in ten lost.
const WAY_MS: f64 = 40.0;
const JITTER_MS: f64 = 16.0;
const LOSS: f64 = 0.1;
const SECONDS: usize = 10;

/// A relay for media to `to` that is set to all of it, as a command; its figures go to `stats`.
fn media_relay(through: u16, to: u16) -> String {
    format!(
        "exec vox-impair --udp :{through}=127.0.0.1:{to} --delay {WAY_MS} --jitter uniform:{JITTER_MS}ms --loss {LOSS} \
         --seed 7 --stats media.json"
    )
}

/// A relay that only takes its time.
fn control_relay(through: u16, to: u16) -> String {
    format!("exec vox-impair --udp :{through}=127.0.0.1:{to} --delay {WAY_MS}")
}

/// Holds what the far end reported against what the relays were set to.
///
/// - Loss: one in ten of n packets is lost with a standard deviation of sqrt(0.09 / n); four of them are allowed. The
///   relay's own count is met but for what was lost before the first packet that came, and after the last report.
/// - Jitter: RFC 3550 takes the mean of |D|, the difference of two delays; of two uniform ones within J it is J / 3. One
///   estimate deviates by a seventh of it (the gain of 1/16 leaves 1/31 of the variance of |D|, which is J^2 / 18, and
///   neighbours share a delay). The median of many is within a quarter, and what a busy machine adds is on top.
/// - Round trip: never less than both ways together (the clock of a report counts in 15 us), and what processes take
///   on top of it.
fn assert_as_set(reports: &[&Value], media: &Value) {
    let settled = &reports[reports.len() / 4..];
    assert!(settled.len() >= 10, "{} reports", reports.len());
    let figure = |report: &Value, name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name}: {report}"));
    let median = |name: &str| {
        let mut figures: Vec<f64> = settled.iter().map(|report| figure(report, name)).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let packets = (SECONDS * 50) as f64;
    let lost = figure(reports[reports.len() - 1], "packetsLost");
    let deviation = (LOSS * (1.0 - LOSS) / packets).sqrt();
    assert!((lost / packets - LOSS).abs() < 4.0 * deviation, "{lost} of {packets}");
    let truly = media["there"]["packetsLost"].as_f64().expect("the relay counts");
    // Half a second after the last report, and the packets before the first that came.
    assert!((truly - 8.0..=truly).contains(&lost), "{lost} reported, {truly} lost");
    let fractions: f64 = reports.iter().map(|report| figure(report, "fractionLost")).sum();
    assert!((fractions / reports.len() as f64 - lost / packets).abs() < 0.04, "{fractions} in {}", reports.len());
    let (jitter, expected) = (median("jitter") * 1e3, JITTER_MS / 3.0);
    assert!((0.75 * expected..1.4 * expected).contains(&jitter), "{jitter} ms where {expected} are expected");
    let round_trip = median("roundTripTime") * 1e3;
    assert!((2.0 * WAY_MS - 0.1..2.0 * WAY_MS + 15.0).contains(&round_trip), "{round_trip} ms");
}

#[test]
fn reports_tell_what_the_network_was_set_to_and_reach_an_encoder() {
    let scratch = Scratch::new("rtcp-network");
    let (port, through) = (free_port(), free_port());
    let media = scratch.spawn(&media_relay(through, port));
    let _control = scratch.spawn(&control_relay(through + 1, port + 1));
    assert!(Command::new("mkfifo").arg(scratch.path("control")).status().expect("mkfifo").success());
    let receiver = scratch.spawn(&format!(
        "vox-recv :{port} --rtcp-interval 0.3 --bandwidth 1000000 --stats heard.json --idle-timeout 2s --wait 20 --max-age off > heard.vox"
    ));
    [port, through, through + 1].into_iter().for_each(await_udp);
    let reader = scratch.spawn("cat control > advice");
    scratch
        .run(&format!(
            "vox-capture tone:440 --rate 8000 --duration {SECONDS} | vox-encode pcmu | vox-send 127.0.0.1:{through} \
             --rtcp-interval 0.3 --bandwidth 1000000 --stats sent.json --adapt control --adapt-floor 5"
        ))
        .succeeded_silently();
    receiver.wait(LIMIT).succeeded();
    reader.wait(LIMIT).succeeded();
    media.interrupt();
    media.wait(LIMIT);
    let media = lines(&scratch, "media.json").pop().expect("a summary");
    let sent = lines(&scratch, "sent.json");
    assert_as_set(&of_kind(&sent, "remote-inbound-rtp"), &media);
    let heard = lines(&scratch, "heard.json");
    let round_trip = of_kind(&heard, "inbound-rtp").last().and_then(|line| line["roundTripTime"].as_f64());
    assert!(round_trip.is_some_and(|seconds| seconds > 0.0799), "the receiver learns it too: {round_trip:?}");
    let advice = fs::read_to_string(scratch.path("advice")).expect("advice");
    let advised: Vec<u8> =
        advice.lines().map(|line| line.strip_prefix("loss ").expect("loss").parse().expect("a number")).collect();
    assert!(advised.iter().any(|percent| (5..=20).contains(percent)), "{advised:?}");
}

#[test]
fn reports_of_gstreamer_on_the_same_network_say_the_same() {
    need(&["gst-launch-1.0"]);
    let scratch = Scratch::new("rtcp-network-gst");
    let (port, through, own, back) = (free_port(), free_port(), free_port(), free_port());
    let media = scratch.spawn(&media_relay(through, port));
    let _there = scratch.spawn(&control_relay(through + 1, port + 1));
    let _back = scratch.spawn(&control_relay(back, own + 1));
    let _receiver = scratch.spawn(&format!(
        "gst-launch-1.0 -q rtpsession name=r rtp-profile=avpf rtcp-min-interval=300000000 bandwidth=1000000 \
         udpsrc port={port} caps='application/x-rtp,media=audio,clock-rate=8000,encoding-name=PCMU,payload=0' \
         ! r.recv_rtp_sink r.recv_rtp_src ! fakesink udpsrc port={} caps=application/x-rtcp ! r.recv_rtcp_sink \
         r.send_rtcp_src ! udpsink host=127.0.0.1 port={back} sync=false async=false",
        port + 1
    ));
    [port, port + 1, through, through + 1, back].into_iter().for_each(await_udp);
    scratch
        .run(&format!(
            "vox-capture tone:440 --rate 8000 --duration {SECONDS} | vox-encode pcmu | vox-send 127.0.0.1:{through} \
             --local 127.0.0.1:{own} --rtcp-interval 0.3 --bandwidth 1000000 --stats sent.json"
        ))
        .succeeded_silently();
    media.interrupt();
    media.wait(LIMIT);
    let media = lines(&scratch, "media.json").pop().expect("a summary");
    let sent = lines(&scratch, "sent.json");
    assert_as_set(&of_kind(&sent, "remote-inbound-rtp"), &media);
}

#[test]
fn reports_share_the_port_where_that_is_agreed() {
    let scratch = Scratch::new("rtcp-mux");
    let port = free_port();
    let receiver = scratch.spawn(&format!(
        "vox-recv :{port} --rtcp-mux --rtcp-interval 0.3 --idle-timeout 2s --wait 20 --max-age off > heard.vox"
    ));
    await_udp(port);
    scratch
        .run(&format!(
            "vox-capture tone:440 --rate 8000 --duration 3 | vox-encode pcmu | vox-send 127.0.0.1:{port} --rtcp-mux \
             --rtcp-interval 0.3 --stats sent.json"
        ))
        .succeeded_silently();
    receiver.wait(LIMIT).succeeded();
    let lines = lines(&scratch, "sent.json");
    assert!(!of_kind(&lines, "remote-inbound-rtp").is_empty(), "{lines:?}");
}

#[test]
fn a_sender_that_is_interrupted_says_goodbye() {
    let scratch = Scratch::new("rtcp-bye");
    let port = free_port();
    let receiver = scratch
        .spawn(&format!("vox-recv :{port} --stats heard.json --idle-timeout 3s --wait 20 --max-age off > heard.vox"));
    await_udp(port);
    let sender = scratch.spawn(&format!(
        "vox-capture tone:440 --rate 8000 | vox-encode pcmu | vox-send 127.0.0.1:{port} --stats sent.json"
    ));
    let heard = || fs::metadata(scratch.path("heard.vox")).is_ok_and(|meta| meta.len() > 10_000);
    assert!(await_until(LIMIT, heard), "the call is on");
    signal(sender.pid_of("vox-send"), Signal::INT);
    sender.wait(LIMIT);
    receiver.wait(LIMIT).succeeded();
    let entries = read_vox(&scratch.path("heard.vox"));
    let goodbye = |entry: &Entry| matches!(entry, Entry::End(end) if end.reason == EndReason::Bye);
    assert!(entries.iter().any(goodbye), "{:?}", entries.last());
}

#[test]
fn a_call_goes_both_ways_over_one_socket() {
    let scratch = Scratch::new("duplex");
    let said = speech(&scratch, "said.wav", PCMU);
    let (here, there) = (free_port(), free_port());
    let call = |own: u16, other: u16, name: &str| {
        format!(
            "vox-capture said.wav | vox-encode pcmu | vox-send --duplex 127.0.0.1:{other} --local 127.0.0.1:{own} \
             --max-age off > {name}"
        )
    };
    let first = scratch.spawn(&call(here, there, "first.vox"));
    let second = scratch.spawn(&call(there, here, "second.vox"));
    first.wait(LIMIT).succeeded();
    second.wait(LIMIT).succeeded();
    let whole = said.through(ulaw).samples;
    for name in ["first.vox", "second.vox"] {
        scratch.run(&format!("vox-decode < {name} | vox-play {name}.wav")).succeeded();
        let heard = Wav::read(&scratch.path(&format!("{name}.wav"))).samples;
        // Who began first may have spoken to nobody for a moment, but what was heard is what was said, to its end.
        assert!(heard.len() >= whole.len() / 2 && whole.ends_with(&heard), "{} of {}", heard.len(), whole.len());
    }
}

#[test]
fn a_key_that_is_pressed_is_heard_as_an_event() {
    let scratch = Scratch::new("keys");
    let port = free_port();
    fs::write(scratch.path("keys.vox"), stream_with_key("7")).expect("a stream");
    let receiver = scratch.spawn(&format!(
        "vox-recv :{port} --map 101=telephone-event/8000 --idle-timeout 2s --wait 20 --max-age off > heard.vox"
    ));
    await_udp(port);
    scratch.run(&format!("vox-send 127.0.0.1:{port} < keys.vox")).succeeded_silently();
    receiver.wait(LIMIT).succeeded();
    let entries = read_vox(&scratch.path("heard.vox"));
    let events: Vec<&Event> =
        entries.iter().filter_map(|entry| if let Entry::Event(event) = entry { Some(event) } else { None }).collect();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!((events[0].event.as_str(), &events[0].details["key"]), ("telephone-event", &Value::from("7")));
    assert_eq!(events[0].details["duration_ms"], 100);
    let formats = entries.iter().filter(|entry| matches!(entry, Entry::Format(..))).count();
    assert_eq!(formats, 1, "the key is no change of codec");
}

/// 1 s of PCMU in which a key is pressed for 100 ms.
fn stream_with_key(key: &str) -> Vec<u8> {
    let id = StreamId(1);
    let mut bytes = Vec::new();
    Opening::new(0, [0; 16]).write(&mut bytes);
    Record::Format(id, Format::new(Codec::Pcmu, Rate::HZ_8000, Channels::MONO, 160)).write(&mut bytes);
    for number in 0..50u64 {
        if number == 10 {
            let mut details = serde_json::Map::new();
            details.insert("key".to_owned(), key.into());
            details.insert("duration_ms".to_owned(), 100.into());
            let (timestamp, times) = (MediaTime(number * 160), Times::default());
            Record::Event(Event { id, timestamp, times, event: "telephone-event".to_owned(), details })
                .write(&mut bytes);
        }
        Record::Audio(Audio {
            id,
            sequence: SequenceNumber(number),
            timestamp: MediaTime(number * 160),
            duration: 160,
            marker: false,
            recovered: false,
            padding: false,
            times: Times::default(),
            slot: None,
            extensions: &[],
            payload: &[0x55; 160],
        })
        .write(&mut bytes);
    }
    let end = vox_frame::End { id, timestamp: MediaTime(8_000), times: Times::default(), reason: EndReason::Complete };
    Record::End(end).write(&mut bytes);
    bytes
}

#[test]
fn a_relay_keeps_numbers_times_markers_and_sizes() {
    let scratch = Scratch::new("relay");
    let (first, second) = (free_port(), free_port());
    let receiver =
        scratch.spawn(&format!("vox-recv :{second} --idle-timeout 2s --wait 20 --max-age off --no-rtcp > second.vox"));
    await_udp(second);
    let relay = scratch.spawn(&format!(
        "vox-recv :{first} --map 101=telephone-event/8000 --idle-timeout 2s --wait 20 --max-age off --no-rtcp | tee first.vox \
         | vox-send 127.0.0.1:{second} --no-rtcp --max-age off"
    ));
    await_udp(first);
    fs::write(scratch.path("keys.vox"), stream_with_key("#")).expect("a stream");
    scratch.run(&format!("vox-send 127.0.0.1:{first} --no-rtcp < keys.vox")).succeeded_silently();
    relay.wait(LIMIT).succeeded();
    receiver.wait(LIMIT);
    let of = |name: &str| -> Vec<_> {
        let entries = read_vox(&scratch.path(name)).into_iter();
        let audio = entries.filter_map(|entry| match entry {
            Entry::Audio { sequence, timestamp, payload, .. } => Some((sequence.rtp(), timestamp as u32, payload)),
            _ => None,
        });
        audio.collect()
    };
    let (before, after) = (of("first.vox"), of("second.vox"));
    assert_eq!(before.len(), 50);
    assert_eq!(before, after);
}

#[test]
fn a_broken_destination_does_not_hold_up_the_others() {
    let scratch = Scratch::new("refused");
    let (nobody, port) = (free_port(), free_port());
    let receiver = scratch.spawn(&format!("vox-recv :{port} --idle-timeout 1s --wait 20 --max-age off > heard.vox"));
    await_udp(port);
    let began = Instant::now();
    scratch
        .run(&format!(
            "vox-capture tone:440 --rate 8000 --duration 1 | vox-encode pcmu \
             | vox-send 127.0.0.1:{nobody} 127.0.0.1:{port}"
        ))
        .succeeded();
    assert!(began.elapsed() < LIMIT);
    receiver.wait(LIMIT).succeeded();
    let audio = |entry: &&Entry| matches!(entry, Entry::Audio { .. });
    assert_eq!(read_vox(&scratch.path("heard.vox")).iter().filter(audio).count(), 50);
}
