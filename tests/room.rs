//! A room with real clients in it: what is said into it is what is heard out of it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use vox_e2e::{Entry, Running, Scratch, Wav, await_until, free_port, locate, need, read_vox, room_server, signal};
use vox_frame::{EndReason, GapReason};

const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody who listens, once he does.
fn tape(scratch: &Scratch, port: u16, name: &str, options: &str) -> Running {
    let running = scratch.spawn(&format!("exec vox-join 127.0.0.1:{port}/lobby --name {name} {options} >{name}.vox"));
    let file = scratch.path(&format!("{name}.vox"));
    let begun = await_until(PATIENCE, || fs::metadata(&file).is_ok_and(|file| file.len() > 0));
    assert!(begun, "{}", running.stderr());
    running
}

/// Ends somebody in good order.
fn end(tape: Running) {
    tape.interrupt();
    tape.wait(PATIENCE);
}

fn payloads(entries: &[Entry]) -> Vec<u8> {
    let parts = entries.iter().filter_map(|entry| match entry {
        Entry::Audio { payload, .. } => Some(payload.clone()),
        _ => None,
    });
    parts.flatten().collect()
}

fn labels(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Format(_, format) => format.label.clone(),
            _ => None,
        })
        .collect()
}

/// The media time at which the only stream ends, from its first packet.
fn duration(entries: &[Entry]) -> u64 {
    let begin = entries.iter().find_map(|entry| match entry {
        Entry::Audio { timestamp, .. } => Some(*timestamp),
        _ => None,
    });
    let end = entries.iter().find_map(|entry| match entry {
        Entry::End(end) => Some(end.timestamp.0),
        _ => None,
    });
    end.expect("an end") - begin.expect("a beginning")
}

fn has_ended(path: &Path) -> bool {
    // While it is being written it may end inside a record: only whole files are read.
    fs::read(path).is_ok_and(|bytes| {
        let (mut splitter, mut rest, mut ended) = (vox_frame::Splitter::new(), &bytes[..], false);
        while !rest.is_empty() {
            rest = &rest[splitter.feed(rest)..];
            ended |= vox_e2e::read_entries(&mut splitter).iter().any(|entry| matches!(entry, Entry::End(_)));
        }
        ended
    })
}

/// What is said comes live, from vox-replay: where vox-join paces by itself, a machine that stalls moves its time on.
#[test]
fn what_is_streamed_into_a_room_is_heard_bit_for_bit() {
    let scratch = Scratch::new("room-exact");
    let port = free_port();
    let _server = room_server(&scratch, port, "");
    for (codec, carrier) in [("l16", "udp"), ("pcmu", "tcp")] {
        scratch
            .run(&format!("vox-capture noise: --duration 2.0125 --rate 8000 | vox-encode {codec} >{codec}.said.vox"))
            .succeeded();
        let name = format!("tape-{codec}");
        let tape = tape(&scratch, port, &name, &format!("--carrier {carrier}"));
        let said = scratch.run(&format!(
            "vox-replay {codec}.said.vox | \
             vox-join 127.0.0.1:{port}/lobby --name lecturer --carrier {carrier} --leave-at-end --max-age off >/dev/null"
        ));
        said.succeeded();
        let heard = scratch.path(&format!("{name}.vox"));
        assert!(await_until(PATIENCE, || has_ended(&heard)));
        end(tape);
        let (said, heard) = (read_vox(&scratch.path(&format!("{codec}.said.vox"))), read_vox(&heard));
        assert_eq!(labels(&heard), ["lecturer"]);
        let (sent, got) = (payloads(&said), payloads(&heard));
        assert_eq!(sent.len(), got.len(), "{codec} by {carrier}");
        assert!(sent == got, "{codec} by {carrier}: other bytes");
        assert_eq!(duration(&heard), 16_100, "{codec} by {carrier}");
        let complete = heard.iter().any(|entry| matches!(entry, Entry::End(end) if end.reason == EndReason::Complete));
        assert!(complete, "it ends as it ended");
    }
}

#[test]
fn a_wav_in_a_room_is_recorded_as_it_was() {
    let scratch = Scratch::new("room-record");
    let port = free_port();
    let _server = room_server(&scratch, port, "");
    scratch.run("vox-capture noise:3 --duration 2 --rate 16000 | vox-play said.wav").succeeded();
    let mut recorder =
        scratch.spawn(&format!("vox-join 127.0.0.1:{port}/lobby --name tape | vox-record takes/ --timeline media"));
    assert!(await_until(PATIENCE, || _server.stderr().contains("I/VOICE")), "{}", recorder.stderr());
    scratch
        .run(&format!(
            "vox-capture said.wav | vox-encode l16 | vox-replay - | vox-join 127.0.0.1:{port}/lobby --name lecturer --send-only \
             --max-age off"
        ))
        .succeeded();
    assert!(await_until(PATIENCE, || _server.stderr().contains("STREAMEND lecturer")));
    assert!(!recorder.has_ended(), "it listens on");
    signal(recorder.pid_of("vox-join"), Signal::INT);
    recorder.wait(PATIENCE).succeeded();
    let takes: Vec<_> =
        fs::read_dir(scratch.path("takes")).expect("a folder").flatten().map(|file| file.path()).collect();
    let wav = takes.iter().find(|file| file.extension().is_some_and(|end| end == "wav")).expect("a WAV");
    let (said, heard) = (Wav::read(&scratch.path("said.wav")), Wav::read(wav));
    assert_eq!(said.rate, heard.rate);
    assert!(locate(&said.samples, &heard.samples).is_some(), "sample by sample");
}

#[test]
fn everybody_hears_the_others_and_nobody_himself() {
    let scratch = Scratch::new("room-two");
    let port = free_port();
    let _server = room_server(&scratch, port, "");
    let listener = tape(&scratch, port, "tape", "--listen-only");
    let talk = |name: &str| {
        scratch.spawn(&format!(
            "vox-capture noise: --duration 3 --rate 8000 | vox-encode pcmu | \
             vox-join 127.0.0.1:{port}/lobby --name {name} --leave-at-end >{name}.vox"
        ))
    };
    let (ana, bob) = (talk("ana"), talk("bob"));
    ana.wait(PATIENCE).succeeded();
    bob.wait(PATIENCE).succeeded();
    end(listener);
    let mut all = labels(&read_vox(&scratch.path("tape.vox")));
    all.sort();
    assert_eq!(all, ["ana", "bob"]);
    for (own, other) in [("ana", "bob"), ("bob", "ana")] {
        let heard = read_vox(&scratch.path(&format!("{own}.vox")));
        assert!(labels(&heard).iter().all(|label| label == other), "{own} hears {:?}", labels(&heard));
        assert!(!payloads(&heard).is_empty());
    }
}

#[test]
fn who_is_muted_is_not_heard_until_he_is_not() {
    let scratch = Scratch::new("room-mute");
    let port = free_port();
    let server = room_server(&scratch, port, "");
    let listener = tape(&scratch, port, "tape", "");
    scratch.run("mkfifo chat").succeeded();
    let talker = scratch.spawn(&format!(
        "vox-capture noise: --duration 30 --rate 8000 | vox-encode pcmu | \
         vox-join 127.0.0.1:{port}/lobby --name ana --mute --chat chat --send-only"
    ));
    let mut chat = fs::OpenOptions::new().write(true).open(scratch.path("chat")).expect("the chat is read");
    assert!(await_until(PATIENCE, || server.stderr().contains("STREAM ana")));
    std::io::Write::write_all(&mut chat, b"hello there\n").expect("it is read");
    assert!(await_until(PATIENCE, || server.stderr().contains("MSG ana #lobby: hello there")));
    assert!(!server.stderr().contains("talk-start"));
    std::io::Write::write_all(&mut chat, b"/unmute\n").expect("it is read");
    assert!(await_until(PATIENCE, || server.stderr().contains("talk-start ana")));
    std::io::Write::write_all(&mut chat, b"/mute\n").expect("it is read");
    assert!(await_until(PATIENCE, || server.stderr().contains("talk-stop ana")));
    end(talker);
    end(listener);
    let heard = read_vox(&scratch.path("tape.vox"));
    let events: Vec<&str> = heard
        .iter()
        .filter_map(|entry| match entry {
            Entry::Event(event) => Some(event.event.as_str()),
            _ => None,
        })
        .collect();
    for event in ["joined", "muted", "message", "unmuted", "talk-start", "talk-stop", "left"] {
        assert!(events.contains(&event), "{event} of {events:?}");
    }
    assert!(!payloads(&heard).is_empty());
}

#[test]
fn a_lost_server_is_a_gap_of_its_true_length() {
    let scratch = Scratch::new("room-lost");
    let port = free_port();
    let first = room_server(&scratch, port, "");
    let listener = tape(&scratch, port, "tape", "--reconnect");
    let talker = scratch.spawn(&format!(
        "vox-capture noise: --duration 6 --rate 8000 | vox-encode pcmu | tee said.vox | vox-replay - | \
         vox-join 127.0.0.1:{port}/lobby --name ana --reconnect --send-only --max-age off"
    ));
    assert!(await_until(PATIENCE, || first.stderr().contains("talk-start ana")));
    signal(first.pid_of("vox-roomd"), Signal::KILL);
    first.wait(PATIENCE);
    let _second = room_server(&scratch, port, "");
    talker.wait(PATIENCE).succeeded();
    let heard = scratch.path("tape.vox");
    assert!(await_until(PATIENCE, || has_ended(&heard)));
    end(listener);
    let heard = read_vox(&heard);
    assert_eq!(labels(&heard), ["ana"], "the stream is the same one");
    let gaps: Vec<(&GapReason, u64)> = heard
        .iter()
        .filter_map(|entry| match entry {
            Entry::Gap { duration, reason, .. } => Some((reason, *duration)),
            _ => None,
        })
        .collect();
    // A machine that stalls may leave out something else, which is a gap of another kind.
    assert_eq!(gaps.iter().filter(|(reason, _)| **reason == GapReason::Lost).count(), 1, "{gaps:?}");
    assert_eq!(duration(&heard), 48_000);
    let missing: u64 = gaps.iter().map(|(_, duration)| duration).sum();
    assert_eq!(payloads(&heard).len() as u64 + missing, 48_000, "what was not heard is the gap: {gaps:?}");
}

#[test]
fn a_session_of_voix_runs_line_by_line() {
    need(&["python3"]);
    let scratch = Scratch::new("room-voix");
    let port = free_port();
    let server = room_server(&scratch, port, "");
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("voix.py");
    let outcome = scratch.run(&format!("python3 {} 127.0.0.1 {port}", client.display()));
    assert_eq!(outcome.codes, [0], "{}\n{}", outcome.stderr, server.stderr());
}

#[test]
fn a_room_that_is_locked_or_a_name_that_is_taken_is_denied() {
    let scratch = Scratch::new("room-denied");
    let port = free_port();
    let server = room_server(&scratch, port, "");
    let _listener = tape(&scratch, port, "tape", "");
    let again = scratch.run(&format!("vox-join 127.0.0.1:{port}/lobby --name TAPE >/dev/null"));
    assert!(again.exited(&[10]).stderr.contains("TAPE is taken"));
    let nobody = scratch.run(&format!("vox-join 127.0.0.1:{}/lobby --name x >/dev/null", port + 1));
    assert!(nobody.exited(&[5]).stderr.contains("cannot reach"));
    assert!(!server.stderr().contains("panicked"));
}

/// A client in the test itself, which may behave badly.
fn dial(port: u16, lines: &str) -> std::net::TcpStream {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    std::io::Write::write_all(&mut stream, lines.as_bytes()).expect("it takes lines");
    stream
}

#[test]
fn strangers_floods_and_slow_readers_cost_the_others_nothing() {
    let scratch = Scratch::new("room-flood");
    let port = free_port();
    let server = room_server(&scratch, port, "--max-per-address 300");
    // One who never reads, and many who never speak.
    let _slow = dial(port, "CONNECT: \"slow\" \"x\" 1.0.0\r\nVOICE #lobby: tcp\r\n");
    let silent: Vec<_> = (0..250).map(|_| dial(port, "")).collect();
    let listener = tape(&scratch, port, "tape", "--carrier udp");
    scratch.run("vox-capture noise: --duration 3 --rate 8000 | vox-encode l16 >said.vox").succeeded();
    let talker = scratch.spawn(&format!("vox-join 127.0.0.1:{port}/lobby --name ana --send-only <said.vox"));
    assert!(await_until(PATIENCE, || server.stderr().contains("talk-start ana")));
    let forger = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut loud = dial(port, "CONNECT: \"loud\" \"x\" 1.0.0\r\n");
    let mut forged = [0x80; 172];
    for round in 0..2000u32 {
        forged[8..12].copy_from_slice(&round.to_be_bytes());
        forger.send_to(&forged, ("127.0.0.1", port + 1)).expect("loopback takes it");
        forger.send_to(b"TALKSESSION: 00000000000000000000000000000000", ("127.0.0.1", port + 1)).expect("it too");
        // Whoever floods is dropped: then this fails, which is as it should be.
        let _dropped = std::io::Write::write_all(&mut loud, b"MSG #lobby: spam spam spam\r\n");
    }
    talker.wait(PATIENCE).succeeded();
    let heard = scratch.path("tape.vox");
    assert!(await_until(PATIENCE, || has_ended(&heard)));
    end(listener);
    let heard = read_vox(&heard);
    assert!(payloads(&read_vox(&scratch.path("said.vox"))) == payloads(&heard), "every packet, and nobody else's");
    drop(silent);
    let mut crowd: Vec<_> = (0..300).map(|_| dial(port, "")).collect();
    let refused = crowd.iter_mut().any(|stream| {
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
        let mut text = [0; 256];
        std::io::Read::read(stream, &mut text).is_ok_and(|length| text[..length].starts_with(b"NOTACCEPTED: too many"))
    });
    assert!(refused, "one connection too many is told so");
}

#[test]
fn a_reader_that_goes_away_ends_a_listener_in_good_order() {
    let scratch = Scratch::new("room-reader");
    let port = free_port();
    let server = room_server(&scratch, port, "");
    let listener = scratch.spawn(&format!("vox-join 127.0.0.1:{port}/lobby --name tape | head -c 2000 >/dev/null"));
    assert!(await_until(PATIENCE, || server.stderr().contains("I/VOICE")));
    scratch
        .run(&format!(
            "vox-capture noise: --duration 2 --rate 8000 | vox-encode pcmu | vox-join 127.0.0.1:{port}/lobby --name ana >/dev/null"
        ))
        .succeeded();
    listener.wait(PATIENCE).succeeded();
}

#[test]
fn a_call_is_between_two_and_its_end_is_an_exit_code() {
    let scratch = Scratch::new("room-call");
    let port = free_port();
    let server = room_server(&scratch, port, "--ring 1");
    let others = tape(&scratch, port, "others", "--listen-only");
    let _denies = tape(&scratch, port, "dan", "--listen-only --accept none");
    let callee = tape(&scratch, port, "bob", "--listen-only --accept ask:true");
    let _slow = dial(port, "CONNECT: \"slow\" \"x\" 1.0.0\r\n");
    scratch.run("vox-capture noise: --duration 2 --rate 8000 | vox-encode pcmu >said.vox").succeeded();
    let call = |whom: &str| scratch.run(&format!("vox-call {whom}@127.0.0.1:{port} --name ana <said.vox >/dev/null"));
    call("bob").succeeded();
    assert!(call("dan").exited(&[10]).stderr.contains("does not take the call"));
    assert!(call("slow").exited(&[12]).stderr.contains("does not answer"));
    assert!(call("nobody").exited(&[12]).stderr.contains("there is no nobody here"));
    assert!(await_until(PATIENCE, || has_ended(&scratch.path("bob.vox"))));
    end(callee);
    end(others);
    let heard = read_vox(&scratch.path("bob.vox"));
    assert!(payloads(&heard) == payloads(&read_vox(&scratch.path("said.vox"))), "from the first sample to the last");
    assert!(payloads(&read_vox(&scratch.path("others.vox"))).is_empty(), "nobody else hears it");
    assert!(!server.stderr().contains("panicked"));
}
