//! Branches of a stream: none of them can stall the main line.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::Signal;
use vox_e2e::{Entry, Scratch, await_until, read_entries, read_vox, signal};
use vox_frame::{GapReason, Splitter};

const LIMIT: Duration = Duration::from_secs(30);

/// A tone in real time: records of PCM, 96 kB a second.
const LIVE: &str = "vox-capture tone:440 --rate 48000 --duration";

#[test]
fn every_branch_gets_what_the_main_line_gets() {
    let scratch = Scratch::new("tee-same");
    scratch
        .run(
            "vox-capture tone:440 --duration 5 | vox-encode opus | tee -i sent.vox \
             | vox-tee a.vox 'exec:cat >b.vox' --stats stats >main.vox",
        )
        .succeeded_silently();
    let sent = fs::read(scratch.path("sent.vox")).expect("a stream");
    for copy in ["main.vox", "a.vox", "b.vox"] {
        assert!(fs::read(scratch.path(copy)).expect("a copy") == sent, "{copy}");
    }
    let stats = fs::read_to_string(scratch.path("stats")).expect("statistics");
    assert!(stats.lines().last().is_some_and(|line| line.contains("\"recordsMissed\":0")), "{stats}");
}

#[test]
fn a_stopped_reader_misses_a_gap_and_the_main_line_nothing() {
    let scratch = Scratch::new("tee-stopped");
    let script = format!("{LIVE} 7 | vox-replay - | vox-tee 'exec:exec cat >slow.vox' --hold 1s --linger 10s");
    let mut running = scratch.shell(&script).read_stdout().spawn();
    let main = record(running.stdout());
    let cat = running.pid_of("cat");
    assert!(await_until(LIMIT, || grown(&scratch, "slow.vox") > 40_000), "the branch begins");
    signal(cat, Signal::STOP);
    thread::sleep(Duration::from_secs(4));
    signal(cat, Signal::CONT);
    let heard = main.join().expect("the reader ends");
    running.wait(LIMIT).succeeded_silently();
    assert_eq!(media(heard.iter().map(|(_, entry)| entry)), 336_000, "7 s");
    assert!(!heard.iter().any(|(_, entry)| matches!(entry, Entry::Gap { .. })), "the main line misses nothing");
    let mut delays: Vec<i64> = heard.iter().filter_map(|(at, entry)| delay(*at, entry)).collect();
    delays.sort_unstable();
    // The branch stood still for more than half of the time; a busy machine may be late by itself.
    let (half, most) = (delays[delays.len() / 2], delays[delays.len() * 9 / 10]);
    assert!(most - half < 100, "half within {half} ms, nine of ten within {most} ms");
    let slow = read_vox(&scratch.path("slow.vox"));
    assert_eq!(media(slow.iter()), 336_000, "what the branch has missed is there as time");
    let gaps: Vec<u64> = slow.iter().filter_map(overrun).collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!((48_000..4 * 48_000).contains(&gaps[0]), "{gaps:?}");
    assert!(matches!(slow.last(), Some(Entry::End(_))));
}

#[test]
fn a_reader_that_comes_later_hears_of_the_streams_first() {
    let scratch = Scratch::new("tee-late");
    scratch.run("mkfifo branch").succeeded_silently();
    let running = scratch.spawn(&format!("{LIVE} 5 | vox-replay - | vox-tee branch --hold 300ms >main.vox"));
    assert!(await_until(LIMIT, || grown(&scratch, "main.vox") > 100_000), "it runs");
    scratch.run("head -c 50000 branch >first.vox").succeeded_silently();
    // That it left is seen with the next record.
    let left = grown(&scratch, "main.vox");
    assert!(await_until(LIMIT, || grown(&scratch, "main.vox") > left + 20_000), "it goes on");
    scratch.run("cat branch >second.vox").succeeded_silently();
    running.wait(LIMIT).succeeded_silently();
    let first = fs::read(scratch.path("first.vox")).expect("a copy");
    let mut splitter = Splitter::new();
    splitter.feed(&first);
    let first = read_entries(&mut splitter);
    assert!(matches!(first[0], Entry::Format(..)), "{:?}", first[0]);
    assert!(overrun(&first[1]).is_some_and(|ticks| ticks > 24_000), "what was before is a gap: {:?}", first[1]);
    let second = read_vox(&scratch.path("second.vox"));
    assert!(matches!(second[0], Entry::Format(..)), "{:?}", second[0]);
    assert!(second.len() > 10 && matches!(second.last(), Some(Entry::End(_))));
    assert_eq!(media(read_vox(&scratch.path("main.vox")).iter()), 240_000);
}

#[test]
fn a_branch_that_fails_is_told_and_the_rest_goes_on() {
    let scratch = Scratch::new("tee-fails");
    let script = "vox-capture tone:440 --duration 2 | vox-tee 'exec:cat >/dev/null; exit 3' good.vox | cat >main.vox";
    let outcome = scratch.run(script).exited(&[0, 1, 0]);
    assert!(outcome.stderr.contains("exit status: 3"), "{}", outcome.stderr);
    assert!(fs::read(scratch.path("good.vox")).ok() == fs::read(scratch.path("main.vox")).ok());
    scratch.run("vox-capture tone:440 --duration 2 | vox-tee /proc/no-such-file | cat >main.vox").exited(&[0, 1, 0]);
    let script = "vox-capture tone:440 --duration 2 | vox-tee 'exec:exit 7' | cat >main.vox";
    let outcome = scratch.run(script).exited(&[0, 1, 0]);
    assert!(outcome.stderr.contains("exit status: 7"), "{}", outcome.stderr);
    let script = "vox-capture tone:440 --duration 2 | vox-tee 'exec:head -c 100 >/dev/null' | cat >main.vox";
    scratch.run(script).succeeded_silently();
}

/// Reads records as they come, with the time of each.
fn record(mut from: impl Read + AsFd + Send + 'static) -> JoinHandle<Vec<(i64, Entry)>> {
    thread::spawn(move || {
        let (mut splitter, mut heard) = (Splitter::new(), Vec::new());
        loop {
            let read = from.read(splitter.space()).expect("the pipe can be read");
            if read == 0 {
                return heard;
            }
            splitter.commit(read);
            let at = now_ms();
            heard.extend(read_entries(&mut splitter).into_iter().map(|entry| (at, entry)));
        }
    })
}

/// The wall clock, which the stamps of a stream that begins now are on.
fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    now.as_millis() as i64
}

fn delay(at_ms: i64, entry: &Entry) -> Option<i64> {
    match entry {
        Entry::Audio { times, .. } => times.captured.map(|captured| at_ms - captured.ns() / 1_000_000),
        _ => None,
    }
}

/// Ticks of audio and gaps; they must follow each other.
#[track_caller]
fn media<'a>(entries: impl Iterator<Item = &'a Entry>) -> u64 {
    let mut next = None;
    let mut sum = 0;
    for entry in entries {
        let (Entry::Audio { timestamp, duration, .. } | Entry::Gap { timestamp, duration, .. }) = entry else {
            continue;
        };
        assert!(next.is_none_or(|next| next == *timestamp), "media time jumps from {next:?} to {timestamp}");
        next = Some(timestamp + duration);
        sum += duration;
    }
    sum
}

fn overrun(entry: &Entry) -> Option<u64> {
    match entry {
        Entry::Gap { reason: GapReason::Overrun, duration, .. } => Some(*duration),
        _ => None,
    }
}

fn grown(scratch: &Scratch, name: &str) -> u64 {
    fs::metadata(scratch.path(name)).map_or(0, |metadata| metadata.len())
}
