//! Who is muted, talks only while a key is down, or is made softer while the pipe runs: time goes on all the same.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use vox_e2e::{Entry, Scratch, Wav, await_udp, await_until, free_port, read_vox, signal};
use vox_frame::GapReason;

const PATIENCE: Duration = Duration::from_secs(15);

/// Bytes of a file so far.
fn size(scratch: &Scratch, name: &str) -> u64 {
    fs::metadata(scratch.path(name)).map_or(0, |meta| meta.len())
}

/// Waits until a file has grown by `bytes`.
#[track_caller]
fn await_growth(scratch: &Scratch, name: &str, bytes: u64) {
    let from = size(scratch, name);
    assert!(await_until(PATIENCE, || size(scratch, name) >= from + bytes), "{name} does not grow");
}

/// Somebody at a control socket.
struct Client(BufReader<UnixStream>);

impl Client {
    #[track_caller]
    fn connect(scratch: &Scratch, name: &str) -> Self {
        let mut stream = None;
        assert!(
            await_until(PATIENCE, || {
                stream = UnixStream::connect(scratch.path(name)).ok();
                stream.is_some()
            }),
            "nobody listens at {name}"
        );
        let stream = stream.expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self(BufReader::new(stream))
    }

    /// Says a line; gives the answer.
    #[track_caller]
    fn say(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).expect("somebody hears");
        let mut answer = String::new();
        self.0.read_line(&mut answer).expect("an answer");
        answer.trim_end().to_owned()
    }
}

/// Spans of a stream: media time, duration, and why there is nothing; none for audio. Media time has no holes.
#[track_caller]
fn spans(entries: &[Entry]) -> Vec<(u64, u64, Option<GapReason>)> {
    let spans: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Audio { timestamp, duration, .. } => Some((*timestamp, *duration, None)),
            Entry::Gap { timestamp, duration, reason, .. } => Some((*timestamp, *duration, Some(*reason))),
            _ => None,
        })
        .collect();
    for pair in spans.windows(2) {
        assert_eq!(pair[0].0 + pair[0].1, pair[1].0, "a hole in media time");
    }
    spans
}

#[test]
fn muted_time_is_a_gap_that_says_so_and_no_hole() {
    let scratch = Scratch::new("control-mute");
    // As fast as it is read here; muted time takes few bytes, so there must be much of it.
    let mut talk =
        scratch.shell("vox-capture tone:440 --rate 8000 --duration 600 --control unix:talk").read_stdout().spawn();
    let mut stdout = talk.stdout();
    let mut client = Client::connect(&scratch, "talk");
    let mode = fs::metadata(scratch.path("talk")).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others have no say");
    let mut said = Vec::new();
    read_until(&mut stdout, &mut said, |said| said.len() > 10_000);
    assert_eq!(client.say("mute"), r#"{"gainDb":0.0,"heard":false,"muted":true}"#);
    read_until(&mut stdout, &mut said, |said| contains(said, b"\"muted\""));
    assert!(client.say("shout").starts_with(r#"{"error":"#), "a line that is none changes nothing");
    assert_eq!(client.say("unmute"), r#"{"gainDb":0.0,"heard":true,"muted":false}"#);
    stdout.read_to_end(&mut said).expect("the rest");
    talk.wait(PATIENCE).succeeded_silently();
    fs::write(scratch.path("said.vox"), said).expect("a file");
    assert!(!scratch.path("talk").exists(), "the socket is removed");
    let entries = read_vox(&scratch.path("said.vox"));
    let spans = spans(&entries);
    assert_eq!(spans.iter().map(|span| span.1).sum::<u64>(), 600 * 8_000);
    let gaps: Vec<_> = spans.iter().filter(|span| span.2.is_some()).collect();
    assert!(!gaps.is_empty() && gaps.iter().all(|gap| gap.2 == Some(GapReason::Muted)), "{gaps:?}");
    assert!(spans.first().is_some_and(|span| span.2.is_none()) && spans.last().is_some_and(|span| span.2.is_none()));
    let told: Vec<&str> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Event(event) => Some(event.event.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["muted", "unmuted"]);
}

fn read_until(stdout: &mut impl Read, said: &mut Vec<u8>, enough: impl Fn(&[u8]) -> bool) {
    let mut piece = [0; 4096];
    while !enough(said) {
        let read = stdout.read(&mut piece).expect("stdout");
        assert!(read > 0, "it ended early");
        said.extend_from_slice(&piece[..read]);
    }
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_signal_mutes_the_player_for_as_long_as_it_likes_and_no_click_is_heard() {
    let scratch = Scratch::new("control-signal");
    let play = scratch
        .spawn("vox-capture tone:440,-6 --duration 4 | vox-replay - | vox-play heard.wav --gain -6 --stats heard.json");
    assert!(await_until(PATIENCE, || size(&scratch, "heard.wav") > 40_000), "{}", play.stderr());
    let player = play.pid_of("vox-play");
    signal(player, Signal::USR1);
    await_growth(&scratch, "heard.wav", 60_000);
    signal(player, Signal::USR1);
    play.wait(PATIENCE).succeeded_silently();
    let heard = Wav::read(&scratch.path("heard.wav")).samples;
    assert_eq!(heard.len(), 4 * 48_000, "time went on");
    let silent = heard.windows(480).filter(|window| window.iter().all(|sample| *sample == 0)).count();
    assert!(silent > 20_000 && silent < 150_000, "{silent} samples of silence");
    // A sine of 440 Hz at a quarter of full scale: no step is larger than its own.
    let steepest = (0.25 * 32_768.0 * core::f64::consts::TAU * 440.0 / 48_000.0) as i16;
    let step = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs()).max();
    assert!(step <= Some(steepest + 40), "a step of {step:?}, the tone's own are {steepest}");
    let peak = f64::from(heard[..4_800].iter().copied().max().unwrap_or(0));
    assert!((peak / 32_768.0 - 0.2512).abs() < 0.0005, "{peak}: twice 6 dB below full scale");
}

#[test]
fn nothing_is_sent_while_the_key_is_up_and_no_packet_counts_as_lost() {
    let scratch = Scratch::new("control-key");
    let port = free_port();
    assert!(Command::new("mkfifo").arg(scratch.path("key")).status().expect("mkfifo").success());
    let hear = scratch.spawn(&format!("vox-recv :{port} --idle-timeout 3s --wait 20 --max-age off >heard.vox"));
    await_udp(port);
    let say = scratch.spawn(&format!(
        "vox-capture tone:440 --rate 8000 --duration 30 | vox-encode pcmu \
         | vox-send 127.0.0.1:{port} --no-rtcp --push-to-talk --control key"
    ));
    let press = |line: &str| fs::write(scratch.path("key"), format!("{line}\n")).expect("a FIFO");
    for _ in 0..2 {
        press("press");
        await_growth(&scratch, "heard.vox", 20 * 220);
        press("release");
        // Who has let go is silent from the next packet on.
        let mut before = 0;
        assert!(await_until(PATIENCE, || {
            std::thread::sleep(Duration::from_millis(200));
            std::mem::replace(&mut before, size(&scratch, "heard.vox")) == before
        }));
    }
    say.interrupt();
    say.wait(PATIENCE).succeeded();
    hear.wait(PATIENCE).succeeded();
    let entries = read_vox(&scratch.path("heard.vox"));
    let packets: Vec<(u64, u64)> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Audio { sequence, timestamp, .. } => Some((sequence.0, *timestamp)),
            _ => None,
        })
        .collect();
    assert!(packets.len() >= 40, "{} packets", packets.len());
    assert!(packets.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "a number is missing");
    let pauses: Vec<u64> = packets.windows(2).map(|pair| pair[1].1 - pair[0].1).filter(|ticks| *ticks != 160).collect();
    assert!(pauses.len() == 1 && pauses[0] >= 8 * 200, "pauses of {pauses:?} ticks");
}

#[test]
fn a_relay_that_is_muted_sends_the_numbers_without_the_audio() {
    let scratch = Scratch::new("control-relay");
    let (near, far) = (free_port(), free_port());
    assert!(Command::new("mkfifo").arg(scratch.path("relay")).status().expect("mkfifo").success());
    let hear = scratch.spawn(&format!("vox-recv :{far} --idle-timeout 3s --wait 20 --max-age off >heard.vox"));
    await_udp(far);
    let relay = scratch.spawn(&format!(
        "vox-recv :{near} --idle-timeout 2s --wait 20 --max-age off | vox-send 127.0.0.1:{far} --no-rtcp --control relay"
    ));
    await_udp(near);
    let say = scratch.spawn(&format!(
        "vox-capture tone:440 --rate 8000 --duration 30 | vox-encode pcmu | vox-send 127.0.0.1:{near} --no-rtcp"
    ));
    let tell = |line: &str| fs::write(scratch.path("relay"), format!("{line}\n")).expect("a FIFO");
    await_growth(&scratch, "heard.vox", 20 * 220);
    tell("mute");
    // A record without audio is smaller.
    await_growth(&scratch, "heard.vox", 20 * 60);
    tell("unmute");
    await_growth(&scratch, "heard.vox", 20 * 220);
    say.interrupt();
    say.wait(PATIENCE).succeeded();
    relay.wait(PATIENCE).succeeded();
    hear.wait(PATIENCE).succeeded();
    let entries = read_vox(&scratch.path("heard.vox"));
    let packets: Vec<(u64, bool)> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Audio { sequence, payload, .. } => Some((sequence.0, payload.is_empty())),
            _ => None,
        })
        .collect();
    assert!(packets.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "a number is missing: {packets:?}");
    assert!(packets.iter().filter(|packet| packet.1).count() > 5, "{packets:?}");
    assert!(packets.first().is_some_and(|packet| !packet.1) && packets.last().is_some_and(|packet| !packet.1));
}

#[test]
fn whoever_holds_the_key_and_goes_away_is_not_heard_any_more() {
    let scratch = Scratch::new("control-left");
    // Nobody reads it, so it waits.
    let mut talk = scratch.shell("vox-capture silence: --control unix:talk --push-to-talk").read_stdout().spawn();
    let stdout = talk.stdout();
    let mut ana = Client::connect(&scratch, "talk");
    assert_eq!(ana.say("press"), r#"{"gainDb":0.0,"heard":true,"muted":false,"pressed":true}"#);
    let mut bob = Client::connect(&scratch, "talk");
    drop(ana);
    let up = || bob.say("status").contains(r#""heard":false"#);
    assert!(await_until(PATIENCE, up), "{}", talk.stderr());
    drop(stdout);
    talk.wait(PATIENCE).succeeded_silently();
}

#[test]
fn what_cannot_be_a_control_is_named() {
    let scratch = Scratch::new("control-wrong");
    fs::write(scratch.path("file"), "").expect("a file");
    for (control, expected) in [("absent", "mkfifo absent"), ("file", "file is no FIFO"), ("unix:no/where", "no/where")]
    {
        let outcome =
            scratch.run(&format!("vox-capture silence: --duration 1 --control {control} >out.vox")).exited(&[1]);
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
    }
    // A socket that somebody listens at is his; one that a dead process left behind gives way.
    let first = scratch.spawn("vox-capture tone:440 --duration 60 --control unix:talk | vox-replay - >/dev/null");
    let mut client = Client::connect(&scratch, "talk");
    let outcome = scratch.run("vox-capture silence: --duration 1 --control unix:talk >out.vox").exited(&[1]);
    assert!(outcome.stderr.contains("in use"), "{}", outcome.stderr);
    assert!(client.say("status").contains("heard"));
    signal(first.pid_of("vox-capture"), Signal::KILL);
    assert!(await_until(PATIENCE, || UnixStream::connect(scratch.path("talk")).is_err()));
    assert!(scratch.path("talk").exists());
    scratch.run("vox-capture silence: --duration 1 --control unix:talk >out.vox").succeeded_silently();
}
