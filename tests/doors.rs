//! What a server of rooms has to stand: other ways in, bad networks, crowds in the door, clients that die, restarts.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use vox_e2e::{
    Entry, Running, Scratch, Speech, Wav, align, await_udp, await_until, free_port, need, read_vox, room_server,
    signal, speech,
};
use vox_frame::GapReason;

const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who listens, once he does.
fn tape(scratch: &Scratch, port: u16, name: &str, options: &str) -> Running {
    let running = scratch
        .spawn(&format!("exec vox-join 127.0.0.1:{port}/lobby --name {name} --listen-only {options} >{name}.vox"));
    let file = scratch.path(&format!("{name}.vox"));
    let begun = await_until(PATIENCE, || fs::metadata(&file).is_ok_and(|file| file.len() > 0));
    assert!(begun, "{}", running.stderr());
    running
}

fn end(running: Running) {
    running.interrupt();
    running.wait(PATIENCE);
}

/// How many streams have ended in a file that is still being written.
fn ended(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap_or_default();
    // It may end inside a record: what is whole is read.
    let (mut splitter, mut rest, mut ended) = (vox_frame::Splitter::new(), &bytes[..], 0);
    while !rest.is_empty() {
        rest = &rest[splitter.feed(rest)..];
        ended += vox_e2e::read_entries(&mut splitter).iter().filter(|entry| matches!(entry, Entry::End(_))).count();
    }
    ended
}

/// How often a line was written.
fn count(running: &Running, what: &str) -> usize {
    running.stderr().matches(what).count()
}

/// What was heard of the stream with that label: its payloads, and the media time of them and of its gaps.
fn heard_of(entries: &[Entry], name: &str) -> (Vec<u8>, u64, u64) {
    let own: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Format(id, format) if format.label.as_deref() == Some(name) => Some(*id),
            _ => None,
        })
        .collect();
    assert_eq!(own.len(), 1, "{name} is one stream");
    let (mut payloads, mut said, mut missing) = (Vec::new(), 0, 0);
    for entry in entries {
        match entry {
            Entry::Audio { id, payload, duration, .. } if *id == own[0] => {
                payloads.extend_from_slice(payload);
                said += *duration;
            }
            Entry::Gap { id, duration, reason: GapReason::Lost, .. } if *id == own[0] => missing += *duration,
            _ => {}
        }
    }
    (payloads, said, missing)
}

#[test]
fn a_session_is_held_by_websocket_in_plain_and_by_tls() {
    need(&["python3"]);
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("rig/websocket_room.py");
    for (options, how) in [("", ""), ("--tls-folder identity", "tls")] {
        let (scratch, port) = (Scratch::new(&format!("doors-websocket{how}")), free_port());
        let server = room_server(&scratch, port, &format!("--allow-origin https://talk.example {options}"));
        let outcome = scratch.run(&format!("python3 {} 127.0.0.1 {port} {how}", client.display()));
        assert_eq!(outcome.codes, [0], "{}\n{}", outcome.stderr, server.stderr());
    }
}

#[test]
fn opus_in_a_room_survives_a_bad_network() {
    let (scratch, port, lossy) = (Scratch::new("doors-lossy"), free_port(), free_port());
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 6 * 48_000));
    let server = room_server(&scratch, port, &format!("--voice-address 127.0.0.1:{lossy}"));
    let network = scratch.spawn(&format!(
        "exec vox-impair --udp 127.0.0.1:{lossy}=127.0.0.1:{} --loss 5% --jitter 30 --seed 3 --stats network",
        port + 1
    ));
    await_udp(lossy);
    // The recorder gets by TCP what the server got through the bad network.
    let mut recorder = scratch.spawn(&format!(
        "vox-join 127.0.0.1:{port}/lobby --name tape --listen-only --carrier tcp | vox-record takes/ --format wav --timeline media"
    ));
    assert!(await_until(PATIENCE, || server.stderr().contains("O/VOICE")), "{}", recorder.stderr());
    scratch
        .run(&format!(
            "vox-capture said.wav | vox-encode opus | \
             vox-join 127.0.0.1:{port}/lobby --name lecturer --send-only --carrier udp"
        ))
        .succeeded();
    assert!(await_until(PATIENCE, || server.stderr().contains("STREAMEND lecturer")), "{}", server.stderr());
    assert!(!recorder.has_ended(), "it listens on");
    signal(recorder.pid_of("vox-join"), Signal::INT);
    recorder.wait(PATIENCE).succeeded();
    end(network);
    let stats = fs::read_to_string(scratch.path("network")).expect("counters");
    let stats: serde_json::Value = serde_json::from_str(stats.lines().last().expect("a line")).expect("JSON");
    let takes: Vec<_> =
        fs::read_dir(scratch.path("takes")).expect("a folder").flatten().map(|file| file.path()).collect();
    let wav = takes.iter().find(|file| file.extension().is_some_and(|end| end == "wav")).expect("a WAV");
    let heard = Wav::read(wav);
    assert_eq!(heard.samples.len(), said.samples.len(), "as long as it was; {stats}");
    let alignment = align(&said.samples, &heard.samples, 200);
    // Without loss it is 0.99; one packet in 20 is made up.
    assert!(alignment.lag.abs() <= 20 && alignment.correlation > 0.8, "{alignment:?}; {stats}");
}

/// What those say who never come to an end.
const HALVES: [&[u8]; 4] =
    [b"", b"CONNECT: \"half", b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET / HTTP/1.1\r\nUpgrade: webso"];

#[test]
fn ten_thousand_half_open_connections_keep_nobody_from_talking_and_are_dropped() {
    // As many as there may be descriptors in one process, some set aside.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("up to its own limit");
    let crowd = most.map_or(10_000, |most| most.saturating_sub(500).min(10_000)) as usize;
    let (scratch, port) = (Scratch::new("doors-crowd"), free_port());
    let options = "--max-connections 12000 --max-per-address 12000 --handshake 3 --tls-folder identity";
    let server = room_server(&scratch, port, options);
    scratch.run("vox-capture noise: --duration 4 --rate 8000 | vox-encode l16 >said.vox").succeeded();
    let listener = tape(&scratch, port, "tape", "--carrier udp");
    let talker = scratch.spawn(&format!("vox-join 127.0.0.1:{port}/lobby --name ana --send-only <said.vox"));
    assert!(await_until(PATIENCE, || server.stderr().contains("talk-start ana")), "{}", server.stderr());
    let mut open: Vec<_> = (0..crowd)
        .map(|at| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("there is room for one more");
            stream.write_all(HALVES[at % HALVES.len()]).expect("it takes that");
            stream.set_nonblocking(true).expect("a socket");
            stream
        })
        .collect();
    talker.wait(PATIENCE).succeeded();
    let all_gone = await_until(PATIENCE, || {
        let mut bytes = [0; 1024];
        open.retain_mut(|stream| {
            loop {
                match stream.read(&mut bytes) {
                    Ok(0) => return false,
                    Ok(_) => {}
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                }
            }
        });
        open.is_empty()
    });
    assert!(all_gone, "{} of {crowd} are still there", open.len());
    let heard = scratch.path("tape.vox");
    assert!(await_until(PATIENCE, || ended(&heard) == 1), "{}", server.stderr());
    end(listener);
    let said: Vec<u8> = read_vox(&scratch.path("said.vox"))
        .into_iter()
        .filter_map(|entry| if let Entry::Audio { payload, .. } = entry { Some(payload) } else { None })
        .flatten()
        .collect();
    let (heard, ..) = heard_of(&read_vox(&heard), "ana");
    assert!(heard == said, "{} of {} bytes were heard", heard.len(), said.len());
}

#[test]
fn who_is_killed_has_left_and_nobody_else_is_the_worse_for_it() {
    let (scratch, port) = (Scratch::new("doors-killed"), free_port());
    let server = room_server(&scratch, port, "");
    let listener = tape(&scratch, port, "tape", "");
    let talk = |name: &str, seconds: u32| {
        scratch.spawn(&format!(
            "vox-capture noise: --duration {seconds} --rate 8000 | vox-encode pcmu | \
             vox-join 127.0.0.1:{port}/lobby --name {name} --send-only"
        ))
    };
    let (ana, bob) = (talk("ana", 60), talk("bob", 4));
    for name in ["ana", "bob"] {
        assert!(await_until(PATIENCE, || server.stderr().contains(&format!("talk-start {name}"))), "{name}");
    }
    signal(ana.pid_of("vox-join"), Signal::KILL);
    assert!(await_until(PATIENCE, || server.stderr().contains("USERLEAVE #lobby: ana")), "{}", server.stderr());
    ana.wait(PATIENCE);
    // The name is free again.
    talk("ana", 1).wait(PATIENCE).succeeded();
    bob.wait(PATIENCE).succeeded();
    let heard = scratch.path("tape.vox");
    assert!(await_until(PATIENCE, || ended(&heard) == 3), "{}", server.stderr());
    end(listener);
    let (_, said, missing) = heard_of(&read_vox(&heard), "bob");
    assert_eq!((said, missing), (32_000, 0), "all of bob was heard");
}

#[test]
fn everybody_comes_back_by_himself_after_a_restart_on_the_same_media_time() {
    let (scratch, port) = (Scratch::new("doors-restart"), free_port());
    let first = room_server(&scratch, port, "");
    let listeners =
        [tape(&scratch, port, "udp", "--reconnect"), tape(&scratch, port, "tcp", "--reconnect --carrier tcp")];
    let talkers = ["ana", "bob"].map(|name| {
        scratch.spawn(&format!(
            "vox-capture noise: --duration 8 --rate 8000 | vox-encode pcmu | \
             vox-join 127.0.0.1:{port}/lobby --name {name} --reconnect --send-only"
        ))
    });
    for name in ["ana", "bob"] {
        assert!(await_until(PATIENCE, || count(&first, &format!("talk-start {name}")) >= 2), "{}", first.stderr());
    }
    signal(first.pid_of("vox-roomd"), Signal::TERM);
    let outcome = first.wait(PATIENCE);
    assert!(outcome.stderr.contains("is closing"), "{}", outcome.stderr);
    let second = room_server(&scratch, port, "");
    let began = Instant::now();
    let back = await_until(PATIENCE, || count(&second, "O/VOICE") == 4);
    assert!(back, "{}", second.stderr());
    // Two seconds on a machine that does nothing else.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for talker in talkers {
        talker.wait(PATIENCE).succeeded();
    }
    for tape in ["udp.vox", "tcp.vox"] {
        let heard = scratch.path(tape);
        assert!(await_until(PATIENCE, || ended(&heard) == 2), "{}", second.stderr());
    }
    listeners.into_iter().for_each(end);
    for tape in ["udp.vox", "tcp.vox"] {
        let entries = read_vox(&scratch.path(tape));
        for name in ["ana", "bob"] {
            let (_, said, missing) = heard_of(&entries, name);
            assert!(missing > 0 && said + missing == 64_000, "{tape}: {said} of {name} were heard, {missing} not");
        }
    }
}
