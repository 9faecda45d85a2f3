//! A stage that is stopped for 3 s, and a system clock that steps: the rest of the call is as if nothing had been.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vox_e2e::{
    Entry, Running, Scratch, Speech, Sshd, Wav, await_udp, await_until, free_port, need, read_entries, read_vox,
    signal, speech,
};
use vox_frame::Splitter;

const STALL: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(30);
/// Ticks of a frame of 20 ms at 48 kHz.
const FRAME: u64 = 960;

/// A record as it left the pipeline.
struct Heard {
    at: Instant,
    entry: Entry,
}

#[test]
fn a_jitter_buffer_that_was_stopped_reports_what_was_lost_and_is_current_again() {
    let change = current_again("vox-jitter", "--delay 60");
    assert!(change.abs() < 0.010, "latency has changed by {change} s");
}

#[test]
fn a_receiver_that_was_stopped_reports_what_was_lost_and_is_current_again() {
    let change = current_again("vox-recv", "--delay 60");
    assert!(change.abs() < 0.010, "latency has changed by {change} s");
}

#[test]
fn a_stop_does_not_lengthen_a_delay_that_follows_the_network() {
    for stage in ["vox-jitter", "vox-recv"] {
        // In its first seconds that delay still settles: it may be shorter afterwards.
        let change = current_again(stage, "--delay auto");
        assert!(change < 0.010, "latency has grown by {change} s");
    }
}

/// Stops a stage for 3 s before a jitter buffer with that delay; gives by how much latency changes, in s.
fn current_again(stage: &str, delay: &str) -> f64 {
    let scratch = Scratch::new(&format!("stall-{stage}{}", delay.replace(' ', "")));
    let port = free_port();
    let command = format!("vox-recv :{port} --idle-timeout 2s --wait 20 | vox-jitter {delay}");
    let mut receiver = scratch.shell(&command).read_stdout().spawn();
    let records = record(receiver.stdout());
    await_udp(port);
    let sender = live_sender(&scratch, port, 9);
    thread::sleep(Duration::from_secs(2));
    let (stopped, continued) = stall(&receiver, stage);
    sender.wait(LIMIT).succeeded();
    let heard = records.join().expect("the reader ends");
    receiver.wait(LIMIT).succeeded();
    let heard: Vec<Heard> = heard.into_iter().filter(|heard| span(&heard.entry).is_some()).collect();
    let media = media_time_is_gapless(heard.iter().map(|heard| &heard.entry));
    // A sender that is held up before it says goodbye leaves some more to conceal.
    assert!((432_000..=432_000 + 24_000).contains(&media), "9 s were sent, {media} ticks come");
    let lost = lost_ticks(heard.iter().map(|heard| &heard.entry));
    assert_eq!(lost % FRAME, 0, "whole frames are lost");
    let lost = Duration::from_micros(lost * 1_000 / 48);
    let least = STALL.saturating_sub(Duration::from_millis(600));
    assert!((least..STALL + Duration::from_secs(1)).contains(&lost), "{lost:?} of a stop of {STALL:?} are lost");
    let before = delays(&heard, |at| at < stopped);
    let after = delays(&heard, |at| at > continued + Duration::from_secs(1));
    assert!(before.len() > 50 && after.len() > 50, "{} records before, {} after", before.len(), after.len());
    median(&after) - median(&before)
}

#[test]
fn an_ssh_that_was_stopped_leaves_no_delay_behind() {
    let scratch = Scratch::new("stall-ssh");
    let server = Sshd::start(&scratch, &[]);
    let live = "vox-capture tone:440 --rate 48000 --duration 9 | vox-encode opus | vox-impair perfect --live";
    let command = format!("{}\nssh studio.example '{live}' | vox-jitter", server.environment);
    let mut link = scratch.shell(&command).read_stdout().spawn();
    let records = record(link.stdout());
    let begun = await_until(LIMIT, || link.members().iter().any(|(_, name)| name == "vox-jitter"));
    assert!(begun, "{}", link.stderr());
    thread::sleep(Duration::from_secs(3));
    let (stopped, continued) = stall(&link, "ssh");
    let heard = records.join().expect("the reader ends");
    link.wait(LIMIT).succeeded();
    let heard: Vec<Heard> = heard.into_iter().filter(|heard| span(&heard.entry).is_some()).collect();
    let media = media_time_is_gapless(heard.iter().map(|heard| &heard.entry));
    assert!((432_000..=432_000 + 24_000).contains(&media), "9 s were said, {media} ticks come");
    let lost = lost_ticks(heard.iter().map(|heard| &heard.entry)) as f64 / 48_000.0;
    assert!((2.0..4.0).contains(&lost), "{lost} s of a stop of {STALL:?} are lost");
    let before = delays(&heard, |at| at < stopped);
    let after = delays(&heard, |at| at > continued + Duration::from_secs(1));
    assert!(before.len() > 30 && after.len() > 30, "{} records before, {} after", before.len(), after.len());
    let change = median(&after) - median(&before);
    assert!(change < 0.050, "latency has grown by {change} s");
}

#[test]
fn a_player_that_was_stopped_is_current_again_within_a_second() {
    let scratch = Scratch::new("stall-play");
    let port = free_port();
    let mut receiver = scratch
        .shell(&format!("vox-recv :{port} --idle-timeout 2s --wait 20 | vox-jitter | vox-play - --raw"))
        .read_stdout()
        .spawn();
    let stdout = receiver.stdout();
    let samples = thread::spawn(move || read_samples(stdout));
    await_udp(port);
    let sender = live_sender(&scratch, port, 9);
    thread::sleep(Duration::from_secs(2));
    let (stopped, continued) = stall(&receiver, "vox-play");
    sender.wait(LIMIT).succeeded();
    let heard = samples.join().expect("the reader ends");
    receiver.wait(LIMIT).succeeded();
    let behind = |from: Instant, to: Instant| -> Vec<f64> {
        let span = heard.iter().filter(|(at, _)| (from..to).contains(at));
        span.map(|(at, samples)| at.duration_since(heard[0].0).as_secs_f64() - *samples as f64 / 48_000.0).collect()
    };
    let before = behind(heard[0].0 + Duration::from_millis(500), stopped);
    let after = behind(continued + Duration::from_secs(1), continued + Duration::from_secs(3));
    let change = median(&after) - median(&before);
    assert!(change.abs() < 0.030, "latency has changed by {change} s");
}

#[test]
fn a_stopped_stage_of_a_pipeline_from_a_file_loses_nothing() {
    for stage in ["vox-capture", "vox-encode", "vox-decode", "vox-play"] {
        let scratch = Scratch::new(&format!("stall-file-{stage}"));
        let said = speech(&scratch, "said.wav", Speech::mono(48_000, 48_000 * 60));
        let pipeline = scratch.spawn(
            "cat said.wav | vox-capture - | vox-encode l16 | vox-decode | vox-inspect 2>/dev/null | vox-play heard.wav",
        );
        let pid = pipeline.pid_of(stage);
        signal(pid, Signal::STOP);
        thread::sleep(Duration::from_secs(1));
        signal(pid, Signal::CONT);
        pipeline.wait(LIMIT).succeeded();
        assert!(Wav::read(&scratch.path("heard.wav")).samples == said.samples, "behind a stop of {stage}");
    }
}

#[test]
fn a_sender_of_a_file_that_was_stopped_loses_nothing_and_bursts_nothing() {
    let scratch = Scratch::new("stall-send");
    let port = free_port();
    let said = speech(&scratch, "said.wav", Speech::mono(8_000, 8_000 * 4));
    let receiver = scratch.spawn(&format!("vox-recv :{port} --idle-timeout 4s --wait 20 >heard.vox"));
    await_udp(port);
    let sender = scratch.spawn(&format!("vox-capture said.wav | vox-encode pcma | vox-send 127.0.0.1:{port}"));
    let size = || fs::metadata(scratch.path("heard.vox")).map_or(0, |meta| meta.len());
    assert!(await_until(LIMIT, || size() > 10_000), "the call is under way");
    stall(&sender, "vox-send");
    sender.wait(LIMIT).succeeded();
    receiver.wait(LIMIT).succeeded();
    let (mut packets, mut arrivals, mut timestamps) = (0, Vec::new(), Vec::new());
    for entry in read_vox(&scratch.path("heard.vox")) {
        if let Entry::Audio { times, timestamp, duration, .. } = entry {
            packets += duration;
            arrivals.push(times.arrived.expect("the kernel says").ns());
            timestamps.push(timestamp as i64);
        }
    }
    assert_eq!(packets, said.frames() as u64, "all samples arrive");
    let gap = arrivals.windows(2).map(|pair| pair[1] - pair[0]).max().expect("packets");
    let jump = timestamps.windows(2).map(|pair| pair[1] - pair[0] - 160).max().expect("packets");
    let jump_ns = jump * 125_000;
    assert!(
        (jump_ns - (gap - 20_000_000)).abs() < 20_000_000,
        "the timestamp moves on by the stall: {jump_ns} of {gap}"
    );
    let burst = arrivals.windows(10).map(|run| run[9] - run[0]).min().expect("packets");
    assert!(burst > 120_000_000, "ten packets within {burst} ns");
}

#[test]
fn a_step_of_the_system_clock_by_an_hour_changes_nothing() {
    need(&["faketime"]);
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    let library = [library, "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"]
        .into_iter()
        .find(|path| fs::exists(path).is_ok_and(|there| there))
        .expect("libfaketime is missing: run scripts/setup, which installs it");
    let scratch = Scratch::new("clock-step");
    let port = free_port();
    let offset = scratch.path("offset");
    fs::write(&offset, "+0").expect("a file");
    let mut receiver = scratch
        .shell(&format!(
            "LD_PRELOAD={library} vox-recv :{port} --idle-timeout 2s --wait 20 | LD_PRELOAD={library} vox-jitter --delay 300"
        ))
        .env("FAKETIME_TIMESTAMP_FILE", &offset.display().to_string())
        .env("FAKETIME_NO_CACHE", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .read_stdout()
        .spawn();
    let records = record(receiver.stdout());
    await_udp(port);
    let sender = live_sender(&scratch, port, 6);
    thread::sleep(Duration::from_secs(2));
    fs::write(&offset, "+3600").expect("a file");
    let forward = Instant::now();
    thread::sleep(Duration::from_secs(2));
    fs::write(&offset, "-3600").expect("a file");
    let back = Instant::now();
    sender.wait(LIMIT).succeeded();
    let heard = records.join().expect("the reader ends");
    receiver.wait(LIMIT).succeeded();
    let heard: Vec<Heard> = heard.into_iter().filter(|heard| span(&heard.entry).is_some()).collect();
    assert_eq!(lost_ticks(heard.iter().map(|heard| &heard.entry)), 0, "nothing is lost");
    let spans = [
        delays(&heard, |at| at < forward),
        delays(&heard, |at| (forward..back).contains(&at)),
        delays(&heard, |at| at > back),
    ];
    for span in &spans {
        assert!(span.len() > 50, "{} records", span.len());
        let change = median(span) - median(&spans[0]);
        assert!(change.abs() < 0.010, "latency has changed by {change} s");
    }
}

/// Sends `seconds` of speech as Opus in real time.
fn live_sender(scratch: &Scratch, port: u16, seconds: usize) -> Running {
    speech(scratch, "said.wav", Speech::mono(48_000, 48_000 * seconds));
    scratch.spawn(&format!("vox-capture said.wav | vox-encode opus | vox-send 127.0.0.1:{port}"))
}

/// Stops a stage for 3 s; says when.
fn stall(pipeline: &Running, stage: &str) -> (Instant, Instant) {
    let pid = pipeline.pid_of(stage);
    signal(pid, Signal::STOP);
    let stopped = Instant::now();
    thread::sleep(STALL);
    signal(pid, Signal::CONT);
    (stopped, Instant::now())
}

/// Reads the records of a running pipeline and when each came.
fn record(mut stdout: impl Read + AsFd + Send + 'static) -> JoinHandle<Vec<Heard>> {
    thread::spawn(move || {
        let (mut splitter, mut heard, mut buffer) = (Splitter::new(), Vec::new(), [0; 4096]);
        loop {
            let read = stdout.read(&mut buffer).expect("a pipe");
            let at = Instant::now();
            if read == 0 {
                return heard;
            }
            splitter.feed(&buffer[..read]);
            heard.extend(read_entries(&mut splitter).into_iter().map(|entry| Heard { at, entry }));
        }
    })
}

/// When how many samples had come.
fn read_samples(mut stdout: impl Read) -> Vec<(Instant, usize)> {
    let (mut total, mut heard, mut buffer) = (0, Vec::new(), [0; 65_536]);
    loop {
        let read = stdout.read(&mut buffer).expect("a pipe");
        if read == 0 {
            return heard;
        }
        total += read;
        heard.push((Instant::now(), total / 2));
    }
}

/// Media time and duration of a record that has them.
const fn span(entry: &Entry) -> Option<(u64, u64)> {
    match entry {
        Entry::Audio { timestamp, duration, .. } | Entry::Gap { timestamp, duration, .. } => {
            Some((*timestamp, *duration))
        }
        _ => None,
    }
}

/// How many ticks all records span, none of them missing or twice.
#[track_caller]
fn media_time_is_gapless<'a>(entries: impl Iterator<Item = &'a Entry>) -> u64 {
    let (mut next, mut total) = (None, 0);
    for (timestamp, duration) in entries.filter_map(span) {
        assert_eq!(timestamp, next.unwrap_or(timestamp), "media time goes on where it was");
        next = Some(timestamp + duration);
        total += duration;
    }
    total
}

fn lost_ticks<'a>(entries: impl Iterator<Item = &'a Entry>) -> u64 {
    entries
        .map(|entry| match entry {
            Entry::Gap { duration, .. } => *duration,
            _ => 0,
        })
        .sum()
}

/// For each audio record that came at a time that `wanted` names: when it came, less its media time, in seconds.
fn delays(heard: &[Heard], wanted: impl Fn(Instant) -> bool) -> Vec<f64> {
    let origin = heard[0].at;
    heard
        .iter()
        .filter(|heard| wanted(heard.at))
        .filter_map(|heard| match &heard.entry {
            Entry::Audio { timestamp, .. } => {
                Some(heard.at.duration_since(origin).as_secs_f64() - *timestamp as f64 / 48_000.0)
            }
            _ => None,
        })
        .collect()
}

#[track_caller]
fn median(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "nothing was heard");
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
