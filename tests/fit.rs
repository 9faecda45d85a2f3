//! Decoders: what they make of gaps and slots, and to other rates.

use std::fs;
use std::time::Duration;

use vox_e2e::{Entry, Scratch, Speech, Wav, align, await_udp, free_port, read_vox, speech};
use vox_frame::{
    Audio, Channels, Codec, End, EndReason, Format, Gap, GapReason, MediaTime, Opening, Rate, Record, SequenceNumber,
    Stamp, StreamId, Times,
};

const LIMIT: Duration = Duration::from_secs(30);

const ID: StreamId = StreamId(7);

/// A stream of records, as bytes.
struct Tape {
    bytes: Vec<u8>,
    sequence: u64,
    timestamp: u64,
    due: i64,
}

impl Tape {
    fn new(codec: Codec, rate: u32) -> Self {
        let mut bytes = Vec::new();
        Opening::new(0, [0; 16]).write(&mut bytes);
        let rate = Rate::new(rate).expect("a rate");
        let format = Format::new(codec, rate, Channels::MONO, rate.hz() / 50);
        Record::Format(ID, format).write(&mut bytes);
        Self { bytes, sequence: 0, timestamp: 0, due: 0 }
    }

    fn audio(&mut self, samples: &[i16]) {
        self.slotted(samples, None);
    }

    /// Audio that must fill a slot of that many ns.
    fn slotted(&mut self, samples: &[i16], slot: Option<u32>) {
        let payload: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let duration = samples.len() as u32;
        let audio = Audio {
            id: ID,
            sequence: SequenceNumber(self.sequence),
            timestamp: MediaTime(self.timestamp),
            duration,
            marker: false,
            recovered: false,
            padding: false,
            times: Times { due: slot.map(|_| Stamp::from_ns(self.due)), ..Times::default() },
            slot,
            extensions: &[],
            payload: &payload,
        };
        Record::Audio(audio).write(&mut self.bytes);
        self.sequence += 1;
        self.timestamp += u64::from(duration);
        self.due += i64::from(slot.unwrap_or(0));
    }

    fn gap(&mut self, duration: u64) {
        self.gap_in(duration, None);
    }

    fn gap_in(&mut self, duration: u64, slot: Option<u64>) {
        let gap = Gap {
            id: ID,
            sequence: SequenceNumber(self.sequence),
            timestamp: MediaTime(self.timestamp),
            duration,
            packets: 1,
            reason: GapReason::Lost,
            times: Times::default(),
            slot,
            later: None,
        };
        Record::Gap(gap).write(&mut self.bytes);
        self.sequence += 1;
        self.timestamp = self.timestamp.saturating_add(duration);
    }

    fn end(mut self) -> Vec<u8> {
        let (timestamp, times) = (MediaTime(self.timestamp), Times::default());
        Record::End(End { id: ID, timestamp, times, reason: EndReason::Complete }).write(&mut self.bytes);
        self.bytes
    }
}

#[test]
fn an_endless_gap_stays_a_gap_behind_ten_seconds() {
    let scratch = Scratch::new("fit-endless-gap");
    let mut tape = Tape::new(Codec::PcmS16, 8_000);
    tape.audio(&[1_000; 160]);
    tape.gap(u64::MAX);
    fs::write(scratch.path("in.vox"), tape.end()).expect("the tape is written");
    scratch.run("vox-decode <in.vox >out.vox").succeeded();
    let entries = read_vox(&scratch.path("out.vox"));
    let decoded: u64 = entries.iter().map(|e| if let Entry::Audio { duration, .. } = e { *duration } else { 0 }).sum();
    assert!((80_160..82_000).contains(&decoded), "{decoded} frames of samples");
    let gaps: Vec<_> = entries
        .iter()
        .filter_map(|e| if let Entry::Gap { duration, .. } = e { Some(*duration) } else { None })
        .collect();
    assert_eq!(gaps, [u64::MAX - decoded]);
}

#[test]
fn a_gap_of_no_end_in_a_short_slot_is_over_at_once() {
    let scratch = Scratch::new("fit-crowded-gap");
    let mut tape = Tape::new(Codec::Opus, 48_000);
    tape.gap_in(1_000_000_000_000_000, Some(20_000_000));
    fs::write(scratch.path("in.vox"), tape.end()).expect("the tape is written");
    scratch.run("vox-play out.wav <in.vox").succeeded();
}

#[test]
fn gaps_that_stay_gaps_lie_where_packets_were_lost_with_slots_and_without() {
    let scratch = Scratch::new("fit-kept-gaps");
    speech(&scratch, "said.wav", Speech::mono(48_000, 98_765));
    for jitter in ["", "| vox-jitter --virtual --delay 60"] {
        let line = format!("vox-capture said.wav | vox-encode opus | vox-impair --loss 20% --seed 5 {jitter}");
        scratch.run(&format!("{line} | vox-decode --plc off >off.vox && {line} >lossy.vox")).succeeded();
        let mut next = None;
        let mut begins = Vec::new();
        for entry in read_vox(&scratch.path("off.vox")) {
            let (timestamp, duration) = match entry {
                Entry::Audio { timestamp, duration, .. } => (timestamp, duration),
                Entry::Gap { timestamp, duration, .. } => {
                    begins.push(timestamp);
                    (timestamp, duration)
                }
                Entry::End(end) => (end.timestamp.0, 0),
                _ => continue,
            };
            assert_eq!(next.unwrap_or(timestamp), timestamp, "one record behind the other {jitter}");
            next = Some(timestamp + duration);
        }
        assert_eq!(next, Some(98_765), "as long as what was said {jitter}");
        // The encoder's delay of 6.5 ms is cut off at the beginning.
        let lost = holes(&scratch).iter().map(|at| at - 312).collect::<Vec<_>>();
        assert!(begins.len() > 10 && begins == lost, "{begins:?} and {lost:?} {jitter}");
    }
}

#[test]
fn an_end_is_cut_exactly_behind_a_jitter_buffer_and_a_decoder() {
    let scratch = Scratch::new("fit-end");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 98_765));
    scratch
        .run("vox-capture said.wav | vox-encode opus | vox-jitter --virtual | vox-decode | vox-play heard.wav")
        .succeeded();
    assert_eq!(Wav::read(&scratch.path("heard.wav")).frames(), said.frames());
}

#[test]
fn a_transcoder_makes_what_every_telephone_takes() {
    let scratch = Scratch::new("fit-transcoder");
    let said = speech(&scratch, "said.wav", Speech::stereo(48_000, 144_000));
    let [from, to] = [(); 2].map(|()| free_port());
    // Static payload type 0 needs no map: it is mu-law at 8000 Hz, mono (RFC 3551, table 4).
    let heard = scratch.spawn(&format!(
        "vox-recv :{to} --idle-timeout 2 --wait 20 --max-age off | vox-jitter --delay 500 | vox-play heard.wav"
    ));
    let transcoder = scratch.spawn(&format!(
        "vox-recv :{from} --idle-timeout 2 --wait 20 --max-age off --map 96=opus/48000/2 | vox-jitter --delay 500 | vox-decode --rate 8000 \
         --channels 1 | vox-encode pcmu | vox-send 127.0.0.1:{to}"
    ));
    await_udp(from);
    await_udp(to);
    let encode = "vox-encode opus --application audio --bitrate 96k";
    scratch.run(&format!("vox-capture said.wav | {encode} | vox-send 127.0.0.1:{from}")).succeeded();
    transcoder.wait(LIMIT).succeeded();
    heard.wait(LIMIT).succeeded();
    let heard = Wav::read(&scratch.path("heard.wav"));
    assert_eq!((heard.rate, heard.channels), (8_000, 1));
    let low: Vec<i16> = lowered(&said);
    let found = align(&low, &heard.samples, 4_000);
    assert!(found.correlation > 0.9, "{found:?}");
}

/// Every sixth frame of a 48 kHz stereo file, mixed to mono and smoothed.
fn lowered(wav: &Wav) -> Vec<i16> {
    let mono: Vec<i32> =
        wav.samples.chunks_exact(2).map(|frame| (i32::from(frame[0]) + i32::from(frame[1])) / 2).collect();
    mono.chunks_exact(6).map(|six| (six.iter().sum::<i32>() / 6) as i16).collect()
}

/// Speech in frames of 20 ms, the slot of each as long as `slot` says, in ns.
fn stretched(said: &[i16], rate: u32, slot: impl Fn(usize) -> u32) -> Vec<u8> {
    let mut tape = Tape::new(Codec::PcmS16, rate);
    for (n, frame) in said.chunks_exact(rate as usize / 50).enumerate() {
        tape.slotted(frame, Some(slot(n)));
    }
    tape.end()
}

#[test]
fn slots_are_filled_to_the_frame_and_the_same_every_time() {
    let scratch = Scratch::new("fit-slots");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 480_000));
    let change = [0, 3_000_000, -2_700_001, 7_919, 5_000_000, -4_000_000];
    let slot = |n: usize| 20_000_000_u32.wrapping_add_signed(change[n / 25 % 6]);
    fs::write(scratch.path("in.vox"), stretched(&said.samples, 48_000, slot)).expect("the tape is written");
    let due: u64 = (0..500).map(|n| u64::from(slot(n))).sum();
    scratch.run("vox-play one.wav <in.vox; vox-play two.wav <in.vox; vox-decode <in.vox >out.vox").succeeded_silently();
    let one = Wav::read(&scratch.path("one.wav"));
    assert_eq!(one.frames() as u64, Rate::HZ_48000.ticks(due as i64));
    assert_eq!(one, Wav::read(&scratch.path("two.wav")));
    let mut next = 0;
    for entry in read_vox(&scratch.path("out.vox")) {
        if let Entry::Audio { timestamp, duration, times, .. } = entry {
            assert_eq!(timestamp, next, "records lie side by side");
            let due = times.due.map_or(0, Stamp::ns);
            assert!((due - Rate::HZ_48000.ns(timestamp)).abs() < 50_000, "{due} ns at {timestamp}");
            next += duration;
        }
    }
    assert_eq!(next, one.frames() as u64);
}

#[test]
fn real_speech_keeps_its_pitch_through_fifteen_percent() {
    let scratch = Scratch::new("fit-pitch");
    let said = speech(&scratch, "said.wav", Speech::mono(16_000, 96_000));
    for (percent, name) in [(115_usize, "slower"), (85, "faster")] {
        let tape = stretched(&said.samples, 16_000, |_| 200_000 * percent as u32);
        fs::write(scratch.path("in.vox"), tape).expect("the tape is written");
        scratch.run(&format!("vox-play {name}.wav <in.vox")).succeeded_silently();
        let heard = Wav::read(&scratch.path(&format!("{name}.wav")));
        assert_eq!(heard.frames(), said.frames() * percent / 100);
        let mut errors = Vec::new();
        for at in (1_600..said.samples.len() - 3_200).step_by(320) {
            // What is left out or repeated shifts the rest by up to a piece: the pitch is that of a place so near.
            let there = at * percent / 100 + 60;
            let Some(after) = pitch(&heard.samples, there) else { continue };
            let near = (at - 352..=at + 352).step_by(32).filter_map(|at| pitch(&said.samples, at));
            let error = near.map(|before| (after / before - 1.0).abs()).min_by(f64::total_cmp);
            errors.extend(error);
        }
        errors.sort_by(f64::total_cmp);
        assert!(errors.len() > 40, "{} voiced places", errors.len());
        let (most, worst) = (errors[errors.len() * 98 / 100], errors[errors.len() - 1]);
        assert!(
            most < 0.01,
            "two of a hundred places are off by {most:.4} to {worst:.4} when {name}, of {}",
            errors.len()
        );
    }
}

/// The pitch at `at` of speech at 16 kHz, in Hz; none where it has none.
fn pitch(samples: &[i16], at: usize) -> Option<f64> {
    const WINDOW: usize = 640;
    let likeness = |lag: usize| {
        let (a, b) = (samples.get(at..at + WINDOW)?, samples.get(at + lag..at + lag + WINDOW)?);
        let (mut dot, mut power) = (0.0, 1.0);
        for (&a, &b) in a.iter().zip(b) {
            let (a, b) = (f64::from(a), f64::from(b));
            dot += a * b;
            power += a * a + b * b;
        }
        (power > WINDOW as f64 * 2e5).then_some(2.0 * dot / power)
    };
    let values: Option<Vec<f64>> = (40..240).map(likeness).collect();
    let values = values?;
    let top = values.iter().copied().fold(f64::MIN, f64::max);
    let peak = (1..values.len() - 1)
        .find(|&k| values[k] > 0.95 * top && values[k] >= values[k - 1] && values[k] >= values[k + 1])?;
    let (a, b, c) = (values[peak - 1], values[peak], values[peak + 1]);
    (top > 0.85).then(|| 16_000.0 / (40.0 + peak as f64 + 0.5 * (a - c) / (a - 2.0 * b + c)))
}

/// What `vox-decode --stats` says, in frames: concealed and recovered.
fn decoded(scratch: &Scratch, options: &str) -> (u64, u64) {
    scratch.run(&format!("vox-decode {options} --stats stats.json <lossy.vox >out.vox")).succeeded();
    let value = |name: &str| told(scratch, "stats.json", name);
    (value("concealedSamples"), value("recoveredSamples"))
}

/// The last that a file of statistics says of `name`.
fn told(scratch: &Scratch, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(scratch.path(file)).expect("the statistics are there");
    let stats = text.lines().rev().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line of JSON"));
    stats.filter_map(|stats| stats[name].as_u64()).next().unwrap_or_else(|| panic!("{name} in {text}"))
}

/// What is left of what was said, and what is said about the rest.
fn lossy(scratch: &Scratch, encode: &str, network: &str, jitter: &str) {
    scratch
        .run(&format!(
            "vox-capture said.wav | vox-encode {encode} | vox-impair {network} --seed 5 | \
             vox-jitter --virtual {jitter} >lossy.vox"
        ))
        .succeeded();
}

/// Where packets are missing: media time and duration.
fn lost(scratch: &Scratch) -> Vec<(u64, u64)> {
    let missing = |entry| match entry {
        Entry::Gap { timestamp, duration, .. } => Some((timestamp, duration)),
        _ => None,
    };
    read_vox(&scratch.path("lossy.vox")).into_iter().filter_map(missing).filter(|(_, length)| *length > 0).collect()
}

/// Where media time is missing, said or not.
fn holes(scratch: &Scratch) -> Vec<u64> {
    let (mut next, mut holes) = (None, Vec::new());
    for entry in read_vox(&scratch.path("lossy.vox")) {
        match entry {
            Entry::Audio { timestamp, duration, .. } => {
                holes.extend(next.filter(|next| *next < timestamp));
                next = Some(timestamp + duration);
            }
            Entry::Gap { timestamp, duration, .. } => {
                holes.push(timestamp);
                next = Some(timestamp + duration);
            }
            _ => {}
        }
    }
    holes
}

#[test]
fn copies_bring_back_most_of_single_lost_packets() {
    let scratch = Scratch::new("fit-fec");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 1_440_000));
    // With the delay that the jitter buffer chooses by itself.
    lossy(&scratch, "opus --fec --loss 10", "--loss 10%", "");
    let gaps = lost(&scratch);
    let begins = |at: u64| gaps.iter().any(|&(begin, _)| begin == at);
    // Pauses have no copy, and need none.
    let spoken = |at: u64| {
        let frame = said.samples.iter().skip(at as usize).take(960);
        frame.map(|&sample| i64::from(sample).pow(2)).sum::<i64>() > 960 * 200 * 200
    };
    // Of every burst the packet before the one that came.
    let followed = gaps.iter().filter(|&&(at, length)| !begins(at + length) && spoken(at + length - 960)).count();
    let (_, recovered) = decoded(&scratch, "");
    let recovered = recovered as usize / 960;
    assert!(followed > 50 && recovered * 100 >= followed * 85, "{recovered} of {followed}");
    assert_eq!(decoded(&scratch, "--fec off").1, 0);
}

#[test]
fn deep_redundancy_brings_back_bursts() {
    let scratch = Scratch::new("fit-dred");
    speech(&scratch, "said.wav", Speech::mono(48_000, 1_920_000));
    let encode = "opus --bitrate 32k --dred 200 --loss 20";
    lossy(&scratch, encode, "--loss ge:0.08,0.33", "--delay 300");
    let (concealed, most) = decoded(&scratch, "");
    let whole = concealed + most;
    assert!(most > concealed, "{most} frames came back, {concealed} did not");
    assert_eq!(decoded(&scratch, "--fec off"), (whole, 0));
    // The jitter buffer waits for it by itself, once it has met a few bursts.
    lossy(&scratch, encode, "--loss ge:0.08,0.33", "");
    let (_, recovered) = decoded(&scratch, "");
    assert!(recovered * 100 >= most * 85, "{recovered} of {most} that could come back did");
}

#[test]
fn a_player_counts_what_was_missing_as_the_jitter_buffer_and_the_decoder_do() {
    let scratch = Scratch::new("fit-counted");
    speech(&scratch, "said.wav", Speech::mono(48_000, 960_000));
    for codec in ["pcmu", "opus --fec --loss 10"] {
        // Bursts: a gap for each packet, one behind the other.
        lossy(&scratch, codec, "--loss ge:0.08,0.5", "--delay 120 --stats buffer.json");
        let (concealed, recovered) = decoded(&scratch, "");
        scratch.run("vox-play --stats player.json heard.wav <lossy.vox").succeeded();
        let player = |name: &str| told(&scratch, "player.json", name);
        assert_eq!((player("concealedSamples"), player("recoveredSamples")), (concealed, recovered), "{codec}");
        let events = told(&scratch, "buffer.json", "concealmentEvents");
        assert_eq!(player("concealmentEvents"), events, "{codec}");
        assert!(events > 30 && lost(&scratch).len() as u64 > events, "{codec}: {events}");
    }
}

#[test]
fn redundancy_costs_no_delay_where_nothing_is_lost() {
    let scratch = Scratch::new("fit-lossless");
    speech(&scratch, "said.wav", Speech::mono(48_000, 960_000));
    let delays = ["", "--fec --loss 10", "--dred 500 --loss 20"].map(|redundancy| {
        lossy(&scratch, &format!("opus --bitrate 40k {redundancy}"), "lan", "--stats delay.json");
        let text = fs::read_to_string(scratch.path("delay.json")).expect("the statistics are there");
        let summary: serde_json::Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        assert_eq!(summary["packetsLost"], 0);
        summary["delayMs"].as_f64().expect("a delay")
    });
    assert!(delays.iter().all(|delay| (delay - delays[0]).abs() < 0.5), "{delays:?} ms");
}

#[test]
fn every_rung_of_the_ladder_is_as_long_as_the_gap() {
    let scratch = Scratch::new("fit-ladder");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 240_000));
    for codec in ["opus", "pcmu", "pcma", "l16"] {
        lossy(&scratch, codec, "--loss 10%", "--delay 120");
        let mut sounds = Vec::new();
        for plc in ["zero", "repeat", "plain", "deep"] {
            scratch.run(&format!("vox-play --plc {plc} {plc}.wav <lossy.vox")).succeeded();
            sounds.push(Wav::read(&scratch.path(&format!("{plc}.wav"))));
        }
        assert!(sounds.iter().all(|sound| sound.frames() == said.frames()), "as long as what was said");
        let differ = |a: usize, b: usize| sounds[a].samples != sounds[b].samples;
        assert!(differ(0, 1) && differ(1, 2), "{codec}: each sounds its own way");
        assert_eq!(differ(2, 3), codec == "opus", "only Opus has a neural model");
    }
    scratch.run("vox-decode --plc off <lossy.vox >out.vox").succeeded();
    let entries = read_vox(&scratch.path("out.vox"));
    assert!(entries.iter().any(|entry| matches!(entry, Entry::Gap { .. })), "off leaves gaps");
}

#[test]
fn every_program_that_decodes_leaves_out_what_only_lace_looks_at() {
    let script = "cd \"$(dirname \"$(command -v vox-play)\")\"
        for program in vox-*; do
            [ -x \"$program\" ] || continue
            nm \"$program\" | grep -q ' [TW] osce_calculate_features$' || continue
            nm \"$program\" | grep -q ' T __wrap_osce_calculate_features$' && echo \"$program\" || echo \"$program: not\"
        done";
    let programs = Scratch::new("without-lace").run(script).succeeded().text();
    assert!(programs.lines().any(|program| program == "vox-play"), "{programs:?}");
    assert!(!programs.contains(": not"), "build = \"../codec/build.rs\" is missing in Cargo.toml: {programs:?}");
}
