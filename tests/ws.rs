//! Voice bots over WebSocket, both sides against peers in Python that know the RFC and nothing of ours.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use vox_e2e::{Entry, Scratch, Speech, await_until, free_port, need, read_vox, speech};

const LIMIT: Duration = Duration::from_secs(40);

/// The peer.
fn peer() -> String {
    need(&["python3"]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rig/mediastream.py");
    format!("python3 {}", path.display())
}

/// Bytes that no codec would make of anything else.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

fn report(scratch: &Scratch, name: &str) -> Value {
    let text = fs::read_to_string(scratch.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

fn bytes(scratch: &Scratch, name: &str) -> Vec<u8> {
    fs::read(scratch.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A second of speech as mu-law: in `said.vox`, and its bytes.
fn said(scratch: &Scratch) -> Vec<u8> {
    speech(scratch, "said.wav", Speech::mono(8_000, 8_000));
    scratch.run("vox-capture said.wav | vox-encode pcmu >said.vox").succeeded();
    payloads(&read_vox(&scratch.path("said.vox")))
}

/// All audio of a pipe, one record after the other.
fn payloads(entries: &[Entry]) -> Vec<u8> {
    let of = |entry: &Entry| match entry {
        Entry::Audio { payload, .. } => payload.clone(),
        _ => Vec::new(),
    };
    entries.iter().flat_map(of).collect()
}

/// What is told of the time in a pipe: where each piece begins, none beyond the end of the one before.
#[track_caller]
fn assert_whole(entries: &[Entry]) -> u64 {
    let mut end = None;
    for entry in entries {
        if let Entry::Audio { timestamp, duration, .. } | Entry::Gap { timestamp, duration, .. } = entry {
            assert_eq!(end.unwrap_or(*timestamp), *timestamp, "{entry:?}");
            end = Some(timestamp + duration);
        }
    }
    let ended = entries.iter().any(|entry| matches!(entry, Entry::End(told) if Some(told.timestamp.0) == end));
    assert!(ended, "it ends where its audio does: {:?} {end:?}", entries.last());
    end.unwrap_or(0)
}

fn gaps(entries: &[Entry]) -> Vec<(u64, u64, u32, &'static str)> {
    let of = |entry: &Entry| match entry {
        Entry::Gap { timestamp, duration, packets, reason, .. } => {
            Some((*timestamp, *duration, *packets, reason.name()))
        }
        _ => None,
    };
    entries.iter().filter_map(of).collect()
}

fn event<'a>(entries: &'a [Entry], name: &str) -> &'a serde_json::Map<String, Value> {
    let found = entries.iter().find_map(|entry| match entry {
        Entry::Event(event) if event.event == name => Some(&event.details),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no {name} in {entries:?}"))
}

#[test]
fn a_telephone_is_heard_and_told_bit_by_bit() {
    let scratch = Scratch::new("ws-bot");
    let told = said(&scratch);
    let voice = noise(1, 16_000);
    fs::write(scratch.path("voice"), &voice).expect("a file");
    let port = free_port();
    let bot = scratch
        .spawn(&format!("vox-ws --listen 127.0.0.1:{port} --path /media --once --stats stats <said.vox >heard.vox"));
    // Pieces 10 and 11 are lost on the way, and from piece 50 on everything is half a second later.
    let plan =
        json!({"lost": [10, 11], "late": 50, "pause": 500, "fragments": true, "dtmf": "#", "expect": told.len()});
    let phone = scratch.spawn(&format!("{} phone {port} voice got report '{plan}'", peer()));
    phone.wait(LIMIT).succeeded();
    bot.wait(LIMIT).succeeded();

    assert_eq!(bytes(&scratch, "got"), told);
    let entries = read_vox(&scratch.path("heard.vox"));
    let expected = [&voice[..1_600], &voice[1_920..]].concat();
    assert_eq!(payloads(&entries), expected);
    assert_eq!(gaps(&entries), [(1_600, 320, 2, "lost"), (8_000, 4_000, 0, "silent")]);
    assert_eq!(assert_whole(&entries), 20_000);
    assert_eq!(event(&entries, "telephone-event")["key"], "#");
    assert_eq!(event(&entries, "joined")["call"], "CAMZphone");
    let report = report(&scratch, "report");
    assert_eq!((&report["pongs"], &report["closed"]), (&json!(["there?"]), &json!(true)), "{report}");
}

#[test]
fn a_bot_is_heard_and_told_bit_by_bit_and_takes_back_what_it_said() {
    let scratch = Scratch::new("ws-phone");
    let told = said(&scratch);
    let voice = noise(2, 8_000);
    fs::write(scratch.path("voice"), &voice).expect("a file");
    let port = free_port();
    let bot = scratch.spawn(&format!("{} bot {port} voice got report", peer()));
    assert!(await_until(LIMIT, || scratch.path("report.ready").exists()), "{}", bot.stderr());
    let phone = format!("vox-ws ws://127.0.0.1:{port}/media --parameter name=Ana --linger 1 <said.vox >heard.vox");
    scratch.run(&phone).succeeded();
    bot.wait(LIMIT).succeeded();

    let report = report(&scratch, "report");
    assert_eq!(bytes(&scratch, "got"), told);
    assert_eq!(report["start"]["customParameters"], json!({"name": "Ana"}));
    assert_eq!(report["start"]["mediaFormat"], json!({"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}));
    assert_eq!(report["marks"], json!(["all", "begun", "never"]), "{report}");
    let times = report["times"].as_array().expect("times");
    let begins = times[0][1].as_u64().expect("a time");
    for (n, time) in times.iter().enumerate() {
        assert_eq!(time, &json!([n + 1, begins + 20 * n as u64]), "20 ms apart");
    }
    let numbers = report["sequence"].as_array().expect("numbers");
    assert!(numbers.iter().enumerate().all(|(n, number)| number == &json!(n + 1)), "{numbers:?}");

    let entries = read_vox(&scratch.path("heard.vox"));
    assert_whole(&entries);
    let heard = payloads(&entries);
    assert_eq!(heard[..8_000], voice);
    // What came after it was begun, and taken back before it was over: one piece at least, and not the minute.
    let begun = &heard[8_000..];
    assert!((160..240_000).contains(&begun.len()) && begun.iter().all(|byte| *byte == 0x55), "{}", begun.len());
    let dropped = event(&entries, "clear")["dropped_ms"].as_u64().expect("a time");
    assert_eq!(dropped, (480_160 - begun.len() as u64) / 8);
}

#[test]
fn everybody_hears_his_own_echo_and_nobody_else_s() {
    let scratch = Scratch::new("ws-echo");
    let port = free_port();
    let echo = scratch.spawn(&format!(
        "mkfifo back; vox-ws --listen 127.0.0.1:{port} --max-age off --stats stats <back | vox-inspect >back 2>seen"
    ));
    let phones: Vec<_> = (0..4)
        .map(|n| {
            fs::write(scratch.path(&format!("voice{n}")), noise(n, 12_000)).expect("a file");
            let plan = json!({"sid": format!("MZ{n}"), "expect": 12_000});
            scratch.spawn(&format!("{} phone {port} voice{n} got{n} report{n} '{plan}'", peer()))
        })
        .collect();
    for phone in phones {
        phone.wait(LIMIT).succeeded();
    }
    for n in 0..4 {
        assert_eq!(bytes(&scratch, &format!("got{n}")), noise(n, 12_000), "the echo of {n}");
    }
    echo.interrupt();
    echo.wait(LIMIT).succeeded();
    assert_eq!(report(&scratch, "stats")["calls"], 4);
}

#[test]
fn strangers_harm_no_call_and_are_counted() {
    let scratch = Scratch::new("ws-strangers");
    let told = said(&scratch);
    let voice = noise(3, 8_000);
    fs::write(scratch.path("voice"), &voice).expect("a file");
    let port = free_port();
    let bot = scratch.spawn(&format!("mkfifo say; vox-ws --listen 127.0.0.1:{port} --stats stats 0<>say >heard.vox"));
    let strangers = scratch.spawn(&format!("{} strangers {port}", peer()));
    let outcome = strangers.wait(LIMIT).succeeded();
    let refused: Value = serde_json::from_str(&outcome.text()).expect("JSON");
    assert_eq!(refused["refused"], json!(["HTTP/1.1 403 Forbidden", "HTTP/1.1 403 Forbidden"]), "{refused}");
    assert_eq!(refused["format"], 1003, "unsupported data (RFC 6455, section 7.4.1)");
    let plan = json!({"expect": told.len()});
    let phone = scratch.spawn(&format!("{} phone {port} voice got report '{plan}'", peer()));
    scratch.run("cat said.vox >say").succeeded();
    phone.wait(LIMIT).succeeded();
    assert_eq!(bytes(&scratch, "got"), told);
    let status = fs::read_to_string(format!("/proc/{}/status", bot.pid_of("vox-ws").as_raw_pid())).expect("it lives");
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok());
    assert!(peak.is_some_and(|kib| kib < 60_000), "{peak:?} KiB");
    bot.interrupt();
    bot.wait(LIMIT).succeeded();
    let stats = report(&scratch, "stats");
    let count = |name: &str| stats[name].as_u64().unwrap_or_else(|| panic!("{name}: {stats}"));
    assert!(count("connectionsRefused") >= 5 && count("messagesMalformed") >= 20, "{stats}");
    assert!(count("messagesUnexpected") >= 1, "{stats}");
    // The last call is whole.
    let entries = read_vox(&scratch.path("heard.vox"));
    assert!(payloads(&entries).ends_with(&voice));
}

#[test]
fn a_bot_behind_tls_is_called_where_it_is_who_it_says() {
    need(&["openssl"]);
    let scratch = Scratch::new("ws-tls");
    let told = said(&scratch);
    fs::write(scratch.path("voice"), noise(4, 160)).expect("a file");
    let subject = "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    scratch
        .run(&format!("openssl req -x509 -newkey ed25519 -nodes -keyout key.pem -out cert.pem -days 2 {subject} 2>&1"))
        .succeeded();
    let call = |name: &str, options: &str| {
        let port = free_port();
        let bot = scratch.spawn(&format!("{} bot {port} voice got{name} report{name} cert.pem key.pem", peer()));
        let ready = scratch.path(&format!("report{name}.ready"));
        assert!(await_until(LIMIT, || ready.exists()), "{}", bot.stderr());
        let url = format!("wss://127.0.0.1:{port}/media");
        let outcome = scratch.run(&format!("vox-ws {url} {options} --linger 0 <said.vox >heard.vox"));
        (outcome, bot)
    };
    let (outcome, bot) = call("good", "--ca cert.pem");
    outcome.succeeded();
    bot.wait(LIMIT).succeeded();
    assert_eq!(bytes(&scratch, "gotgood"), told);
    // Nobody vouches for it: another certificate is trusted.
    scratch
        .run("openssl req -x509 -newkey ed25519 -nodes -keyout o.pem -out other.pem -days 2 -subj /CN=other 2>&1")
        .succeeded();
    let (outcome, _bot) = call("bad", "--ca other.pem");
    let outcome = outcome.exited(&[5]);
    assert!(outcome.stderr.contains("certificate"), "{}", outcome.stderr);
}

#[test]
fn what_it_cannot_carry_and_whom_it_cannot_reach_it_says() {
    let scratch = Scratch::new("ws-refusals");
    speech(&scratch, "said.wav", Speech::mono(16_000, 1_600));
    let port = free_port();
    let outcome = scratch.run(&format!("vox-capture said.wav | vox-ws --listen 127.0.0.1:{port} >heard.vox"));
    let hint = "`vox-decode --rate 8000 --channels 1 | vox-encode pcmu`";
    assert!(outcome.stderr.contains(hint), "{}", outcome.stderr);
    assert_eq!(outcome.codes.last(), Some(&3));
    let outcome = scratch.run(&format!("vox-ws ws://127.0.0.1:{port}/ </dev/null >heard.vox")).exited(&[5]);
    assert!(outcome.stderr.contains("refused"), "{}", outcome.stderr);
    scratch.run("vox-ws http://x/ </dev/null >heard.vox").exited(&[2]);
    scratch.run("vox-ws </dev/null >heard.vox").exited(&[2]);
}
