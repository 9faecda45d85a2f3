//! RTP over TCP: either side connects, slow and hostile clients harm nobody, the TCP streamer is understood.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;
use vox_e2e::{Running, Scratch, Speech, Wav, await_until, free_port, heard_in_full, locate, need, speech, ulaw};

const LIMIT: Duration = Duration::from_secs(30);

const SPEECH: Speech = Speech::mono(8_000, 8_000);

/// How many connections of that state (as /proc has it) a local TCP port has.
fn connections(port: u16, state: &str) -> usize {
    let wanted = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let is_one = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(1).is_some_and(|local| local.ends_with(&wanted)) && fields.get(3) == Some(&state)
    };
    table.lines().skip(1).filter(is_one).count()
}

#[track_caller]
fn await_listener(port: u16) {
    assert!(await_until(LIMIT, || connections(port, "0A") > 0), "nobody listens on {port}");
}

#[track_caller]
fn await_clients(port: u16, count: usize) {
    assert!(await_until(LIMIT, || connections(port, "01") >= count), "nobody connects to {port}");
}

/// A sender whose audio begins when `gate` is opened.
fn gated(scratch: &Scratch, encode: &str, send: &str) -> Running {
    scratch.run("mkfifo gate").succeeded();
    scratch.spawn(&format!("{{ read -r _ <gate; vox-capture said.wav; }} | vox-encode {encode} | vox-send {send}"))
}

fn open_gate(scratch: &Scratch) {
    fs::write(scratch.path("gate"), "go\n").expect("the gate opens");
}

fn summary(scratch: &Scratch, name: &str) -> Value {
    let text = fs::read_to_string(scratch.path(name)).expect("statistics");
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

fn assert_whole(scratch: &Scratch, said: &Wav) {
    let heard = heard_in_full(scratch);
    assert_eq!(heard.rate, said.rate);
    assert!(locate(&said.through(ulaw).samples, &heard.samples).is_some(), "{} samples", heard.samples.len());
}

#[test]
fn who_is_connected_to_hears_everything() {
    let scratch = Scratch::new("tcp-listen");
    let (said, port) = (speech(&scratch, "said.wav", SPEECH), free_port());
    let receiver = scratch.spawn(&format!("vox-recv --idle-timeout 1.5 --wait 20 tcp://127.0.0.1:{port} >heard.vox"));
    await_listener(port);
    scratch
        .run(&format!("vox-capture said.wav | vox-encode pcmu | vox-send tcp://localhost:{port}"))
        .succeeded_silently();
    receiver.wait(LIMIT).succeeded_silently();
    assert_whole(&scratch, &said);
}

#[test]
fn who_connects_hears_everything() {
    let scratch = Scratch::new("tcp-connect");
    let (said, port) = (speech(&scratch, "said.wav", SPEECH), free_port());
    let sender = gated(&scratch, "pcmu", &format!("--listen tcp://127.0.0.1:{port}"));
    await_listener(port);
    let receiver = scratch.spawn(&format!("vox-recv --connect tcp://127.0.0.1:{port} >heard.vox"));
    await_clients(port, 1);
    open_gate(&scratch);
    sender.wait(LIMIT).succeeded();
    receiver.wait(LIMIT).succeeded_silently();
    assert_whole(&scratch, &said);
}

#[test]
fn a_stuck_client_loses_its_own_oldest_audio_and_nobody_elses() {
    need(&["python3"]);
    let scratch = Scratch::new("tcp-stuck");
    let said = speech(&scratch, "said.wav", Speech::stereo(44_100, 3 * 44_100));
    let port = free_port();
    let sender = gated(&scratch, "l16", &format!("--stats sent --listen tcp://127.0.0.1:{port}"));
    await_listener(port);
    // It has room for little, and reads when it is told to: then it says which numbers it got.
    let stuck = scratch.spawn(&format!(
        "python3 -c '
import os, socket, struct, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096); s.connect((\"127.0.0.1\", {port}))
while not os.path.exists(\"go\"): time.sleep(0.01)
held = b\"\"
while more := s.recv(65536): held += more
while len(held) >= 2 and len(held) >= 2 + struct.unpack(\">H\", held[:2])[0]:
    n = struct.unpack(\">H\", held[:2])[0]
    if not 192 <= held[3] <= 223: print(struct.unpack(\">H\", held[4:6])[0])  # a report has no number
    held = held[2 + n:]
'"
    ));
    let receiver = scratch.spawn(&format!("vox-recv --connect tcp://127.0.0.1:{port} >heard.vox"));
    await_clients(port, 2);
    open_gate(&scratch);
    // Far more than lies in the buffers between, and the audio goes on.
    let heard_much = || fs::metadata(scratch.path("heard.vox")).is_ok_and(|data| data.len() > 300_000);
    assert!(await_until(LIMIT, heard_much), "{}", receiver.stderr());
    fs::write(scratch.path("go"), "").expect("a file");
    receiver.wait(LIMIT).succeeded_silently();
    sender.wait(LIMIT).succeeded();
    let numbers: Vec<i64> =
        stuck.wait(LIMIT).succeeded().text().lines().map(|line| line.parse().expect("a number")).collect();
    let heard = heard_in_full(&scratch);
    assert!(locate(&said.samples, &heard.samples).is_some(), "the other client hears everything");
    let dropped = summary(&scratch, "sent")["tcp"][0]["packetsDropped"].as_u64().expect("a count");
    assert!(dropped > 20, "{dropped} packets were dropped");
    let steps: Vec<i64> = numbers.windows(2).map(|pair| (pair[1] - pair[0]).rem_euclid(65_536)).collect();
    assert!(steps.iter().all(|step| *step >= 1), "whole packets in order: {numbers:?}");
    assert!(steps.iter().any(|step| *step > 20), "what it is given last is the newest: {numbers:?}");
}

#[test]
fn a_listener_that_talks_all_the_time_harms_no_other() {
    let scratch = Scratch::new("tcp-chatty");
    let (said, port) = (speech(&scratch, "said.wav", SPEECH), free_port());
    let sender = gated(&scratch, "pcmu", &format!("--listen tcp://127.0.0.1:{port}"));
    await_listener(port);
    let chatty = scratch.spawn(&format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; cat /dev/zero >&3'"));
    let receiver = scratch.spawn(&format!("vox-recv --connect tcp://127.0.0.1:{port} >heard.vox"));
    await_clients(port, 2);
    open_gate(&scratch);
    sender.wait(LIMIT).succeeded();
    receiver.wait(LIMIT).succeeded_silently();
    assert_whole(&scratch, &said);
    chatty.wait(LIMIT);
}

#[test]
fn hostile_clients_harm_nobody() {
    let scratch = Scratch::new("tcp-hostile");
    let (said, port) = (speech(&scratch, "said.wav", SPEECH), free_port());
    let receiver = scratch.spawn(&format!(
        "vox-recv --idle-timeout 1.5 --wait 20 --max-sources 24 --stats stats tcp://127.0.0.1:{port} >heard.vox"
    ));
    await_listener(port);
    let mut clients = Vec::new();
    let lies: [&[u8]; 6] = [
        b"",
        b"\xff\xff\x80\x00half a packet",
        &[0; 6000],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00",
        b"\x00\x0c\x80\x00\x00\x01",
    ];
    for lie in lies.iter().cycle().take(18) {
        let mut client = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        client.write_all(lie).expect("written");
        clients.push(client);
    }
    // Some leave at once, in the middle of what they said.
    clients.truncate(9);
    scratch
        .run(&format!("vox-capture said.wav | vox-encode pcmu | vox-send tcp://127.0.0.1:{port}"))
        .succeeded_silently();
    receiver.wait(LIMIT).succeeded();
    assert_whole(&scratch, &said);
    let summary = summary(&scratch, "stats");
    assert_eq!((&summary["connections"], &summary["streams"]), (&19.into(), &1.into()), "{summary}");
}

/// Reads frames of RFC 4571 and gives the numbers of their packets.
fn numbers(stream: &mut TcpStream, count: usize) -> Vec<u16> {
    stream.set_read_timeout(Some(LIMIT)).expect("a time-out");
    let mut read = || {
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("a length");
        let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut packet).expect("a packet");
        packet
    };
    // Reports come between them.
    let packets = std::iter::repeat_with(&mut read).filter(|packet| !(192..=223).contains(&packet[1]));
    packets.take(count).map(|packet| u16::from_be_bytes([packet[2], packet[3]])).collect()
}

/// The lines of a statistics file of that type.
fn told(scratch: &Scratch, name: &str, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(scratch.path(name)).expect("statistics");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line["type"] == kind).collect()
}

#[test]
fn reports_share_the_connection_whoever_makes_it() {
    for (listens, key) in [("recv", ""), ("send", "--srtp key")] {
        let scratch = Scratch::new(&format!("tcp-reports-{listens}"));
        fs::write(scratch.path("key"), "30".repeat(30)).expect("a key");
        let port = free_port();
        let often = format!("--rtcp-interval 0.2 --bandwidth 1000000 {key} tcp://127.0.0.1:{port}");
        let (connect, listen) = if listens == "recv" { ("", "") } else { ("--connect", "--listen") };
        let hear = format!("vox-recv {connect} {often} --idle-timeout 1 --wait 20 --stats heard >heard.vox");
        let say = format!(
            "vox-capture tone:440 --rate 8000 --duration 2 | vox-encode pcmu | vox-send {listen} {often} --stats sent"
        );
        let (first, second) = if listens == "recv" { (hear, say) } else { (say, hear) };
        let first = scratch.spawn(&first);
        await_listener(port);
        let second = scratch.spawn(&second);
        first.wait(LIMIT).succeeded();
        second.wait(LIMIT).succeeded();
        let reports = told(&scratch, "sent", "remote-inbound-rtp");
        let last = reports.last().unwrap_or_else(|| panic!("{listens} listens: no report"));
        assert_eq!(last["packetsLost"], 0, "{last}");
        assert!(reports.iter().any(|report| report["roundTripTime"].is_f64()), "{last}");
        let heard = told(&scratch, "heard", "inbound-rtp");
        assert!(heard.iter().any(|source| source["roundTripTime"].is_f64()), "{heard:?}");
        let dated = vox_e2e::read_vox(&scratch.path("heard.vox")).into_iter().any(|entry| match entry {
            vox_e2e::Entry::Audio { times, .. } => times.captured.is_some(),
            _ => false,
        });
        assert!(dated, "sender reports date what follows");
    }
}

#[test]
fn a_connection_that_breaks_is_made_anew() {
    let scratch = Scratch::new("tcp-reconnect");
    speech(&scratch, "said.wav", Speech::mono(8_000, 40_000));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let sender = scratch
        .spawn(&format!("vox-capture said.wav | vox-encode pcmu | vox-send --reconnect --stats sent tcp://{to}"));
    let before = numbers(&mut listener.accept().expect("a client").0, 5);
    let (mut again, _) = listener.accept().expect("the client comes back");
    let after = numbers(&mut again, 5);
    assert!(after[0] > before[4] && after[0] < before[4] + 200, "{before:?} {after:?}");
    drop((again, listener));
    sender.interrupt();
    sender.wait(LIMIT);
    assert_eq!(summary(&scratch, "sent")["tcp"][0]["connections"], 2);
}

#[test]
fn without_reconnect_a_connection_that_breaks_ends_with_5() {
    let scratch = Scratch::new("tcp-broken");
    speech(&scratch, "said.wav", SPEECH);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let sender = scratch.spawn(&format!("vox-capture said.wav | vox-encode pcmu | vox-send tcp://{to}"));
    numbers(&mut listener.accept().expect("a client").0, 5);
    let outcome = sender.wait(LIMIT);
    assert_eq!(outcome.codes.last(), Some(&5), "{}", outcome.stderr);
    drop(listener);
    scratch.run(&format!("vox-recv --connect tcp://{to} >/dev/null")).exited(&[5]);
}

const STREAMER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/tcpstreamer.py");

/// Speech at that rate, and as raw mu-law in `said.ul`.
fn streamed(scratch: &Scratch, rate: u32) -> Wav {
    need(&["python3", "ffmpeg"]);
    let said = speech(scratch, "said.wav", Speech::mono(rate, rate as usize));
    scratch.run("ffmpeg -nostdin -v error -i said.wav -f mulaw said.ul").succeeded_silently();
    scratch
        .run(&format!("ffmpeg -nostdin -v error -f mulaw -ar {rate} -i said.ul -c:a pcm_s16le coded.wav"))
        .succeeded();
    said
}

/// What was said, as the raw mu-law says it.
fn coded(scratch: &Scratch) -> Vec<i16> {
    let bytes = fs::read(scratch.path("coded.wav")).expect("a file");
    let data = bytes.windows(4).position(|word| word == b"data").expect("samples") + 8;
    vox_e2e::raw_samples(&bytes[data..])
}

#[test]
fn the_tcp_streamer_as_a_server_is_heard_at_each_of_its_rates() {
    for rate in [5_000, 8_000, 22_050, 44_100] {
        let scratch = Scratch::new(&format!("streamer-server-{rate}"));
        streamed(&scratch, rate);
        let port = free_port();
        let server = scratch.spawn(&format!("{STREAMER} server say {port} {rate} said.ul"));
        await_listener(port);
        scratch
            .run(&format!("vox-recv --compat tcpstreamer --connect tcp://127.0.0.1:{port} >heard.vox"))
            .succeeded_silently();
        server.wait(LIMIT).succeeded();
        let heard = heard_in_full(&scratch);
        assert_eq!(heard.rate, rate);
        assert!(locate(&coded(&scratch), &heard.samples).is_some(), "{rate}");
    }
}

#[test]
fn the_tcp_streamer_as_a_client_is_greeted_and_heard() {
    let scratch = Scratch::new("streamer-client");
    streamed(&scratch, 22_050);
    let port = free_port();
    let receiver = scratch.spawn(&format!(
        "vox-recv --compat tcpstreamer --rate 22050 --idle-timeout 1.5 --wait 20 tcp://127.0.0.1:{port} >heard.vox"
    ));
    await_listener(port);
    scratch.run(&format!("{STREAMER} client say {port} 22050 said.ul")).succeeded();
    receiver.wait(LIMIT).succeeded_silently();
    assert!(locate(&coded(&scratch), &heard_in_full(&scratch).samples).is_some());
}

#[test]
fn the_tcp_streamer_hears_us_as_client_and_as_server() {
    let scratch = Scratch::new("streamer-hears");
    let said = speech(&scratch, "said.wav", SPEECH);
    let expected: Vec<i16> = said.through(ulaw).samples;
    let heard = |name: &str| {
        scratch.run(&format!(
            "ffmpeg -nostdin -v error -y -f mulaw -ar 8000 -i {name} -c:a pcm_s16le -f s16le {name}.raw"
        ));
        vox_e2e::raw_samples(&fs::read(scratch.path(&format!("{name}.raw"))).expect("samples"))
    };
    let port = free_port();
    let server = scratch.spawn(&format!("{STREAMER} server hear {port} 8000 server.ul"));
    await_listener(port);
    scratch
        .run(&format!("vox-capture said.wav | vox-encode pcmu | vox-send --compat tcpstreamer tcp://127.0.0.1:{port}"))
        .succeeded_silently();
    server.wait(LIMIT).succeeded();
    assert_eq!(heard("server.ul"), expected);
    let port = free_port();
    let sender = gated(&scratch, "pcmu", &format!("--compat tcpstreamer --listen tcp://127.0.0.1:{port}"));
    await_listener(port);
    let client = scratch.spawn(&format!("{STREAMER} client hear {port} 8000 client.ul"));
    await_clients(port, 1);
    open_gate(&scratch);
    sender.wait(LIMIT).succeeded();
    client.wait(LIMIT).succeeded();
    assert_eq!(heard("client.ul"), expected);
}

#[test]
fn a_rate_that_the_tcp_streamer_did_not_ask_for_is_refused() {
    let scratch = Scratch::new("streamer-rate");
    speech(&scratch, "said.wav", SPEECH);
    let port = free_port();
    let server = scratch.spawn(&format!("{STREAMER} server hear {port} 44100 heard.ul"));
    await_listener(port);
    let outcome = scratch
        .run(&format!("vox-capture said.wav | vox-encode pcmu | vox-send --compat tcpstreamer tcp://127.0.0.1:{port}"));
    assert!(outcome.stderr.contains("asks for 44100 Hz, and the stream has 8000"), "{}", outcome.stderr);
    server.wait(LIMIT);
}

#[test]
fn what_is_dropped_for_want_of_a_map_is_said() {
    let scratch = Scratch::new("tcp-unknown");
    let port = free_port();
    let heard = scratch.spawn(&format!("vox-recv tcp://127.0.0.1:{port} --duration 30 >heard.vox"));
    await_listener(port);
    let line = "vox-capture tone:440 --rate 8000 --duration 0.5 | vox-encode l16";
    scratch.run(&format!("{line} | vox-send tcp://127.0.0.1:{port}")).succeeded();
    assert!(await_until(Duration::from_secs(20), || heard.stderr().contains("--map")), "{}", heard.stderr());
    heard.interrupt();
}
