//! A sound card that is none: clicks played into PulseAudio's null sink come back, each once, at a stable delay.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use vox_e2e::{Card, Running, Scratch, Tape, Wav, await_until, signal};

const RATE: usize = 48_000;

/// A sound card is a matter of time: two of them beside each other would make each other late.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn a_click_that_is_said_is_heard_once_at_the_delay_that_is_reported() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = Scratch::new("clicks");
    let card = Card::insert(&scratch);
    let environment = &card.environment;
    let wire = scratch
        .spawn(&format!("{environment}\nPULSE_SOURCE=micsrc vox-capture | PULSE_SINK=spk vox-play --stats play.json"));
    let (said, heard) = click(&scratch, &card, 8, |_| ());
    wire.interrupt();
    wire.wait(Duration::from_secs(20)).succeeded();
    let stats = fs::read_to_string(scratch.path("play.json")).expect("statistics");
    assert_eq!(said.len(), 8, "clicks said, at {said:?}");
    let summary: serde_json::Value = serde_json::from_str(stats.lines().last().unwrap_or_default()).expect("a summary");
    let delays: Vec<f64> = said.iter().filter_map(|said| delay_of(*said, &heard)).collect();
    assert_eq!(heard.len(), delays.len(), "nothing is heard twice; said at {said:?}, heard at {heard:?}; {stats}");
    // A machine that is too busy for its sound card loses a click now and then, and says that it lost something.
    let stumbles =
        ["xruns", "underruns", "cuts"].iter().filter_map(|name| summary[name].as_u64()).sum::<u64>() as usize;
    assert!(delays.len() >= 4 && 8 - delays.len() <= stumbles, "said at {said:?}, heard at {heard:?}; {stats}");
    // The first click may still find a player that starts.
    let stable = &delays[1..];
    let late = stable.iter().filter(|&&delay| delay > 250.0).count();
    assert!(late <= stumbles.min(2), "delays in ms: {delays:?}; {stats}");
    // What a busy machine adds comes and goes: delay that was added to stay would show in the least one.
    let (earlier, later) = stable.split_at(stable.len() / 2);
    // What vox-play keeps back for such a machine it says, and comes on top.
    let kept = output_latencies(&stats);
    let more = (most(&kept) - least(&kept)).max(0.0);
    assert!(least(later) < least(earlier) + more + 15.0, "delays in ms: {delays:?}; {stats}");
    // The mean of both, as a machine that is busy at times makes both later at times.
    let reported = summary["mouthToEar"].as_f64().expect("a latency") * 1e3;
    // Behind the device that reports its latency there is still the sound server.
    let measured = stable.iter().sum::<f64>() / stable.len() as f64;
    assert!((-15.0..35.0).contains(&(measured - reported)), "{reported} ms reported, {measured} ms measured; {stats}");
}

#[test]
fn a_device_that_is_taken_away_ends_the_stream_and_is_named() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = Scratch::new("unplugged");
    let card = Card::insert(&scratch);
    let environment = &card.environment;
    let microphone = scratch.spawn(&format!("{environment}\nPULSE_SOURCE=micsrc vox-capture >said.vox"));
    let speaker = scratch.spawn(&format!(
        "{environment}\nvox-capture tone:440 --duration 60 | PULSE_SINK=spk vox-play --stats play.json"
    ));
    let size = |name: &str| fs::metadata(scratch.path(name)).map_or(0, |meta| meta.len());
    let both_run = await_until(Duration::from_secs(15), || size("said.vox") > 100_000 && size("play.json") > 0);
    assert!(both_run, "{} {}", microphone.stderr(), speaker.stderr());
    card.pull_out();
    let microphone = microphone.wait(Duration::from_secs(20)).exited(&[4]);
    assert!(microphone.stderr.contains("vox-capture: the default microphone is gone"), "{}", microphone.stderr);
    let speaker = speaker.wait(Duration::from_secs(20)).exited(&[0, 4]);
    assert!(speaker.stderr.contains("vox-play: the default loudspeaker is gone"), "{}", speaker.stderr);
    // The End is there, and says that it was not meant to be.
    let said = scratch.run("vox-inspect --strict --summary <said.vox").succeeded();
    assert!(format!("{}{}", said.text(), said.stderr).contains("ended: interrupted"), "{}", said.stderr);
}

#[test]
fn a_stage_stopped_between_microphone_and_loudspeaker_adds_no_delay() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = Scratch::new("clicks-stall");
    let card = Card::insert(&scratch);
    let environment = &card.environment;
    let wire = scratch.spawn(&format!(
        "{environment}\nPULSE_SOURCE=micsrc vox-capture --rate 48000 --channels 1 | vox-encode pcmu \
         | PULSE_SINK=spk vox-play --device plugged --stats play.json"
    ));
    let (said, heard) = click(&scratch, &card, 14, |_| {
        thread::sleep(Duration::from_secs(5));
        let pid = wire.pid_of("vox-encode");
        signal(pid, Signal::STOP);
        thread::sleep(Duration::from_secs(3));
        signal(pid, Signal::CONT);
    });
    wire.interrupt();
    wire.wait(Duration::from_secs(20)).succeeded();
    let stats = fs::read_to_string(scratch.path("play.json")).expect("statistics");
    let kept = output_latencies(&stats);
    let delays: Vec<Option<f64>> = said
        .iter()
        .map(|said| heard.iter().map(|heard| ms_between(*said, *heard)).find(|delay| (0.0..900.0).contains(delay)))
        .collect();
    assert!(delays.len() == 14, "clicks said, at {said:?}");
    // Clicks 1 to 3 come before the stop, 4 to 8 may fall into it, the last ones come more than a second after it.
    let before: Vec<f64> = delays[1..3].iter().copied().flatten().collect();
    let after: Vec<f64> = delays[10..].iter().copied().flatten().collect();
    assert!(before.len() == 2 && after.len() == 4, "delays in ms: {delays:?}");
    // What vox-play keeps back for a machine that is busy it says, and comes on top; what stayed in the pipe would be
    // 85 ms and more.
    let (first, last) = (least(&kept[..4]), most(&kept));
    assert!(least(&after) - last < least(&before) - first + 40.0, "delays in ms: {delays:?}; {stats}");
}

/// Says clicks into the microphone while `meanwhile` happens; gives where they were said and where they were heard.
fn click(scratch: &Scratch, card: &Card, count: usize, meanwhile: impl FnOnce(&Running)) -> (Vec<usize>, Vec<usize>) {
    clicks(count).write(&scratch.path("clicks.wav"));
    let tape = Tape::start(scratch, card);
    let mut speaker = scratch.spawn(&format!("{}\nexec $promptly paplay -d mic clicks.wav", card.environment));
    meanwhile(&speaker);
    let spoken = await_until(Duration::from_secs(count as u64 + 12), || speaker.has_ended());
    assert!(spoken, "{}", speaker.stderr());
    tape.roll_on();
    let both = tape.stop();
    (onsets(&both, 0), onsets(&both, 1))
}

/// How long after it was said a click was heard, in ms.
fn delay_of(said: usize, heard: &[usize]) -> Option<f64> {
    heard.iter().map(|heard| ms_between(said, *heard)).find(|delay| (0.0..500.0).contains(delay))
}

fn ms_between(said: usize, heard: usize) -> f64 {
    (heard as f64 - said as f64) / 48.0
}

/// The delays from due to heard that the lines of statistics tell, in ms.
fn output_latencies(stats: &str) -> Vec<f64> {
    let lines =
        stats.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line of statistics"));
    lines.filter_map(|line| Some(line["outputLatency"].as_f64()? * 1e3)).collect()
}

fn most(delays: &[f64]) -> f64 {
    delays.iter().copied().fold(f64::MIN, f64::max)
}

fn least(delays: &[f64]) -> f64 {
    delays.iter().copied().fold(f64::MAX, f64::min)
}

#[test]
fn devices_are_listed() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = Scratch::new("list-devices");
    let card = Card::insert(&scratch);
    let list = scratch.run(&format!("{}\nvox-capture --list-devices", card.environment)).succeeded();
    assert!(list.text().contains("default") || list.text().contains("pulse"), "{}", list.text());
}

/// A second of silence, then clicks of 4 ms at 1 kHz, a second apart.
fn clicks(count: usize) -> Wav {
    let mut samples = vec![0; RATE * (count + 1)];
    for click in 1..=count {
        for (step, sample) in samples[click * RATE..].iter_mut().take(192).enumerate() {
            *sample = ((step as f64 * std::f64::consts::TAU / 48.0).cos() * 20_000.0) as i16;
        }
    }
    Wav { rate: RATE as u32, channels: 1, samples }
}

/// Where clicks begin in one side of a stereo tape.
fn onsets(tape: &[i16], side: usize) -> Vec<usize> {
    let mut onsets: Vec<usize> = Vec::new();
    for (at, sample) in tape.iter().skip(side).step_by(2).enumerate() {
        let rests = onsets.last().is_none_or(|last| at - last > RATE / 50);
        if sample.unsigned_abs() > 6_000 && rests {
            onsets.push(at);
        }
    }
    onsets
}
