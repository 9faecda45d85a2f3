//! Recordings keep true time, whatever the network did, and are whole whatever happened to the recorder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vox_e2e::{Entry, Scratch, Speech, Wav, await_until, free_port, locate, need, read_vox, signal, speech, unshare};
use vox_frame::{
    Audio, Channels, Codec, End, EndReason, Format, Gap, GapReason, MediaTime, Opening, Rate, Record, SequenceNumber,
    Stamp, StreamId, Times,
};

const LIMIT: Duration = Duration::from_secs(30);
/// When simulated sessions begin.
const START: i64 = 1_795_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;
/// A frame of 20 ms, in ns.
const FRAME: i64 = 20_000_000;

/// A session whose records are put into the order of their times.
#[derive(Default)]
struct Session {
    records: Vec<(i64, Vec<u8>)>,
}

impl Session {
    fn add(&mut self, at: i64, record: &Record<'_>) {
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        self.records.push((at, bytes));
    }

    fn open(&mut self, at: i64, id: u32, format: &Format) {
        self.add(at, &Record::Format(StreamId(id), format.clone()));
    }

    fn packet(&mut self, at: i64, id: u32, media: u64, duration: u32, times: Times, payload: &[u8]) {
        self.add(
            at,
            &Record::Audio(Audio {
                id: StreamId(id),
                sequence: SequenceNumber(media / u64::from(duration)),
                timestamp: MediaTime(media),
                duration,
                marker: false,
                recovered: false,
                padding: false,
                times,
                slot: None,
                extensions: &[],
                payload,
            }),
        );
    }

    fn end(&mut self, at: i64, id: u32, media: u64) {
        let (id, timestamp) = (StreamId(id), MediaTime(media));
        self.add(at, &Record::End(End { id, timestamp, times: Times::default(), reason: EndReason::Bye }));
    }

    fn save(mut self, path: &Path) {
        let mut bytes = Vec::new();
        Opening::new(0, [9; 16]).write(&mut bytes);
        self.records.sort_by_key(|(at, _)| *at);
        bytes.extend(self.records.into_iter().flat_map(|(_, record)| record));
        fs::write(path, bytes).expect("a session");
    }
}

fn captured(at: i64) -> Times {
    Times { captured: Some(Stamp::from_ns(at)), ..Times::default() }
}

fn arrived(at: i64) -> Times {
    Times { arrived: Some(Stamp::from_ns(at)), ..Times::default() }
}

fn telephone(label: &str) -> Format {
    let mut format = Format::new(Codec::Pcmu, Rate::HZ_8000, Channels::MONO, 160);
    format.live = true;
    format.label = Some(label.to_owned());
    format
}

/// A number that looks like noise.
fn noise(seed: u64, n: u64) -> u64 {
    let mixed = (n ^ seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
}

/// Files of a folder that end so, by name.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder of takes").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    files.sort();
    files
}

/// Samples of a file as ffmpeg decodes it.
#[track_caller]
fn decoded(path: &Path) -> Vec<i16> {
    need(&["ffmpeg"]);
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:a", "-f", "s16le", "-"])
        .output()
        .expect("ffmpeg runs");
    assert!(done.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&done.stderr));
    vox_e2e::raw_samples(&done.stdout)
}

/// Samples before the decoder's own padding: seconds of audio as ffprobe's packets say is not exact, this is.
#[track_caller]
fn opus_frames(path: &Path) -> usize {
    need(&["opusdec"]);
    let wav = path.with_extension("decoded.wav");
    let done = Command::new("opusdec").args(["--quiet", "--rate", "48000"]).arg(path).arg(&wav).output();
    let done = done.expect("opusdec runs");
    assert!(done.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&done.stderr));
    Wav::read(&wav).frames()
}

#[test]
fn pcm_is_recorded_bit_by_bit_in_every_format() {
    let scratch = Scratch::new("record-formats");
    let said = speech(&scratch, "said.wav", Speech::stereo(44_100, 100_003));
    for file in ["out.wav", "out.flac"] {
        for bits in ["16", "24"] {
            let name = format!("{bits}-{file}");
            scratch.run(&format!("vox-capture said.wav | vox-record {name} --bits {bits}")).succeeded_silently();
            assert!(decoded(&scratch.path(&name)) == said.samples, "{name}");
        }
    }
    scratch.run("vox-capture said.wav | vox-record float.wav --bits float").succeeded_silently();
    assert!(decoded(&scratch.path("float.wav")) == said.samples);
}

#[test]
fn opus_packets_are_recorded_as_they_are_and_cut_to_the_sample() {
    let scratch = Scratch::new("record-opus");
    speech(&scratch, "said.wav", Speech::mono(48_000, 150_001));
    scratch.run("vox-capture said.wav | vox-encode opus >said.vox").succeeded_silently();
    scratch.run("vox-record said.opus <said.vox; vox-record said-decoded.wav <said.vox").succeeded_silently();
    let path = scratch.path("said.opus");
    assert_eq!(opus_frames(&path), 150_001);
    let ours = Wav::read(&scratch.path("said-decoded.wav"));
    let theirs = Wav::read(&path.with_extension("decoded.wav"));
    let worst = ours.samples.iter().zip(&theirs.samples).map(|(a, b)| (a - b).abs()).max();
    assert!(ours.frames() == 150_001 && worst < Some(40), "off by {worst:?} at worst");
    need(&["opusinfo"]);
    let info = Command::new("opusinfo").arg(&path).output().expect("opusinfo runs");
    let text = String::from_utf8_lossy(&info.stdout).into_owned() + &String::from_utf8_lossy(&info.stderr);
    assert!(info.status.success() && !text.contains("WARNING"), "{text}");
}

#[test]
fn a_recording_is_as_long_as_the_session_whatever_was_lost() {
    let scratch = Scratch::new("record-loss");
    speech(&scratch, "said.wav", Speech::mono(48_000, 480_000));
    scratch.run("vox-capture said.wav | vox-encode opus >said.vox").succeeded_silently();
    let packets: Vec<Vec<u8>> = read_vox(&scratch.path("said.vox"))
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Audio { payload, .. } => Some(payload),
            _ => None,
        })
        .collect();
    let mut opus = Format::new(Codec::Opus, Rate::HZ_48000, Channels::MONO, 960);
    opus.live = true;
    opus.label = Some("opus".to_owned());
    for (loss, burst) in [(0, 1), (5, 1), (10, 1), (30, 1), (10, 25)] {
        let mut session = Session::default();
        session.open(START, 1, &opus);
        session.open(START, 2, &telephone("phone"));
        for n in 0..500_u64 {
            let sent = START + n as i64 * FRAME;
            let wait = (noise(3, n) % 30_000_000) as i64;
            let heard = |seed| n == 0 || n == 499 || noise(seed, n / burst) % 100 >= loss;
            // The first and the last come at once, so that the session's length is known.
            let at = if n == 0 || n == 499 { sent } else { sent + wait };
            if heard(1) {
                session.packet(at, 1, 90_000 + n * 960, 960, arrived(at), &packets[n as usize]);
            }
            if heard(2) {
                session.packet(at, 2, 77 + n * 160, 160, arrived(at), &[n as u8; 160]);
            }
        }
        for (id, media) in [(1, 90_000 + 480_000), (2, 77 + 80_000)] {
            session.end(START + 10 * SECOND, id, media);
        }
        session.save(&scratch.path("session.vox"));
        let name = format!("{loss}-{burst}");
        scratch.run(&format!("vox-record {name}/ --name {{label}} <session.vox")).succeeded_silently();
        scratch.run(&format!("vox-record {name}/ --name {{label}} --format opus <session.vox")).succeeded_silently();
        scratch
            .run(&format!("vox-jitter --virtual <session.vox | vox-record {name}/ --name j-{{label}} --conceal"))
            .succeeded_silently();
        let folder = scratch.path(&name);
        for (file, wall) in [("opus.wav", 480_000), ("phone.wav", 80_000), ("j-opus.wav", 480_000)] {
            let frames = Wav::read(&folder.join(file)).frames();
            assert!(frames.abs_diff(wall) <= wall / 500, "{name}/{file}: {frames} frames instead of {wall}");
        }
        let frames = opus_frames(&folder.join("opus.opus"));
        assert!(frames.abs_diff(480_000) <= 960, "{name}/opus.opus: {frames} frames");
        let spoken = Wav::read(&folder.join("phone.wav"));
        let right = (0..500).filter(|&n| spoken.samples[n * 160 + 80] == ulaw_byte(n as u8)).count();
        let wanted = if burst > 1 { 350 } else { 490 - 6 * loss as usize };
        assert!(right > wanted, "{name}: {right} of 500 packets lie where they were said");
    }
}

/// What a mu-law byte means (ITU-T G.711).
fn ulaw_byte(code: u8) -> i16 {
    let code = !code;
    let magnitude = ((i16::from(code & 0x0f) << 3) + 0x84) << ((code & 0x70) >> 4);
    if code & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }
}

/// The frames at which a recording of clicks clicks.
fn clicks(samples: &[i16]) -> Vec<f64> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = samples[at..].iter().position(|sample| sample.unsigned_abs() > 12_000) {
        let begin = at + next;
        let end = samples.len().min(begin + 40);
        let peak = (begin..end).max_by_key(|&n| samples[n].unsigned_abs()).expect("one at least");
        found.push(peak as f64);
        at = end;
    }
    found
}

/// A stream of silence with a click at every full second since `START`, by a clock that is off by `ppm`.
fn clicking(session: &mut Session, id: u32, ppm: f64, begins: f64, seconds: f64, times: impl Fn(i64, u64) -> Times) {
    session.open(START + (begins * 1e9) as i64, id, &telephone(&format!("s{id}")));
    let rate = 8_000.0 * (1.0 + ppm * 1e-6);
    let when = |sample: u64| begins + sample as f64 / rate;
    let mut sample = 0;
    let first = 1_000_000 * u64::from(id);
    while when(sample) < seconds {
        let mut payload = vec![0xff_u8; 160];
        for second in [when(sample).floor(), when(sample).ceil()] {
            let inside = ((second - begins) * rate).round() as i64 - sample as i64;
            if (0..160).contains(&inside) {
                payload[inside as usize] = 0;
            }
        }
        let at = START + (when(sample) * 1e9).round() as i64;
        session.packet(at, id, first + sample, 160, times(at, sample / 160), &payload);
        sample += 160;
    }
    session.end(START + (when(sample) * 1e9) as i64, id, first + sample);
}

#[test]
fn speakers_whose_clocks_differ_stay_together_by_their_stamps_of_capture() {
    let scratch = Scratch::new("record-drift");
    let mut session = Session::default();
    let seconds = if std::env::var_os("VOX_LONG").is_some() { 3_600.0 } else { 400.0 };
    let talkers = [(1, 100.0, 0.0), (2, -100.0, 0.013), (3, 0.0, 0.4), (4, 37.0, 1.25)];
    for (id, ppm, begins) in talkers {
        clicking(&mut session, id, ppm, begins, seconds, |at, _| captured(at));
    }
    session.save(&scratch.path("session.vox"));
    scratch.run("vox-record takes/ --name {label} <session.vox").succeeded_silently();
    let mut lengths = Vec::new();
    for (id, ppm, _) in talkers {
        let take = Wav::read(&scratch.path(&format!("takes/s{id}.wav")));
        let clicks = clicks(&take.samples);
        assert!(clicks.len() as f64 > seconds - 4.0, "{} clicks", clicks.len());
        for click in clicks {
            let off = click - (click / 8_000.0).round() * 8_000.0;
            let limit = if ppm == 0.0 { 1.0 } else { 8.0 };
            assert!(off.abs() <= limit, "s{id} is {off} samples off at {} s", click / 8_000.0);
        }
        lengths.push(take.frames());
    }
    assert!(lengths.iter().all(|length| *length == lengths[0]), "all are equally long: {lengths:?}");
}

#[test]
fn speakers_whose_clocks_differ_stay_together_by_their_arrivals() {
    let scratch = Scratch::new("record-arrivals");
    let mut session = Session::default();
    for (id, ppm) in [(1, 100.0), (2, -100.0)] {
        clicking(&mut session, id, ppm, 0.0, 300.0, |at, n| {
            arrived(at + 15_000_000 + (noise(u64::from(id), n) % 25_000_000) as i64)
        });
    }
    session.save(&scratch.path("session.vox"));
    scratch.run("vox-record takes/ --name {label} <session.vox").succeeded_silently();
    scratch.run("vox-record media/ --name {label} --timeline media <session.vox").succeeded_silently();
    for id in [1, 2] {
        let worst = |folder: &str| {
            let take = Wav::read(&scratch.path(&format!("{folder}/s{id}.wav")));
            let clicks = clicks(&take.samples);
            let offs = clicks[30..].iter().map(|click| (click - (click / 8_000.0).round() * 8_000.0).abs());
            offs.fold(0.0, f64::max) / 8.0
        };
        assert!(worst("takes") < 4.0, "{} ms off", worst("takes"));
        assert!(worst("media") > 20.0, "without the clock it drifts: {} ms", worst("media"));
    }
}

#[test]
fn speakers_lie_where_their_reports_say_whatever_their_ways_took() {
    let scratch = Scratch::new("record-reports");
    let mut session = Session::default();
    let seconds = if std::env::var_os("VOX_LONG").is_some() { 3_600.0 } else { 400.0 };
    // The first report comes after more than a second, and the ways are as long as they are.
    let talkers = [(1, 100.0, 5_000_000), (2, -100.0, 70_000_000), (3, 0.0, 40_000_000), (4, 37.0, 20_000_000)];
    for (id, ppm, way) in talkers {
        clicking(&mut session, id, ppm, 0.0, seconds, |at, n| Times {
            captured: (n > 70).then(|| Stamp::from_ns(at)),
            arrived: Some(Stamp::from_ns(at + way + (noise(u64::from(id), n) % 25_000_000) as i64)),
            due: None,
        });
    }
    session.save(&scratch.path("session.vox"));
    scratch.run("vox-record takes/ --name {label} <session.vox").succeeded_silently();
    let mut worst: Vec<f64> = Vec::new();
    let takes = talkers.map(|(id, ..)| clicks(&Wav::read(&scratch.path(&format!("takes/s{id}.wav"))).samples));
    // A millisecond a second is what nobody hears: after less than two minutes all are in their places.
    let first = |take: &Vec<f64>| take.iter().copied().filter(|click| *click > 120.0 * 8_000.0).collect::<Vec<f64>>();
    let [one, others @ ..] = takes.each_ref().map(first);
    for other in others {
        assert!(other.len() as f64 > seconds - 125.0, "{} clicks", other.len());
        worst.push(one.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / 8.0);
    }
    assert!(worst.iter().all(|worst| *worst <= 1.0), "ms between the first and the others: {worst:?}");
}

#[test]
fn a_stall_and_a_restart_of_the_sender_keep_their_length() {
    let scratch = Scratch::new("record-stall");
    let mut session = Session::default();
    // Stream 1 stands still from 3 s to 5 s and goes on with the timestamp it had; stream 2 with the one it should
    // have; stream 3 begins anew at 4 s, with other timestamps.
    // Stream 4 is stopped as a process is: the packet that was on its way comes with the first of the new ones.
    // Stream 5 begins anew as 3 does, with timestamps ahead.
    for id in [1_u32, 2, 3, 4, 5] {
        session.open(START, id, &telephone(&format!("s{id}")));
    }
    let mut media = [1_000_u64, 2_000, 900_000, 3_000, 70_000];
    for n in 0..400_u64 {
        let at = START + n as i64 * FRAME;
        let stalled = (150..250).contains(&n);
        let mut payload = [0xff_u8; 160];
        if n % 50 == 0 {
            payload[0] = 0;
        }
        if !stalled {
            session.packet(at, 1, media[0], 160, arrived(at), &payload);
            media[0] += 160;
            session.packet(at, 2, media[1], 160, arrived(at), &payload);
        }
        media[1] += 160;
        if !stalled {
            session.packet(at, 4, media[3], 160, arrived(at), &payload);
        } else if n == 150 {
            session.packet(START + 250 * FRAME - 1_000_000, 4, media[3], 160, arrived(START + 250 * FRAME), &payload);
        }
        media[3] += 160;
        if n == 200 {
            media[2] = 5;
            media[4] += 8_000 * 200;
        }
        session.packet(at, 5, media[4], 160, arrived(at), &payload);
        media[4] += 160;
        session.packet(at, 3, media[2], 160, arrived(at), &payload);
        media[2] += 160;
    }
    for id in [1, 2, 3, 4, 5] {
        session.end(START + 8 * SECOND, id, media[id as usize - 1]);
    }
    session.save(&scratch.path("session.vox"));
    scratch.run("vox-record takes/ --name {label} <session.vox").succeeded_silently();
    for (id, expected) in [
        (1, vec![0, 1, 2, 5, 6, 7]),
        (2, vec![0, 1, 2, 5, 6, 7]),
        (3, (0..8).collect()),
        (4, vec![0, 1, 2, 3, 5, 6, 7]),
        (5, (0..8).collect()),
    ] {
        let take = Wav::read(&scratch.path(&format!("takes/s{id}.wav")));
        assert_eq!(take.frames(), 64_000, "s{id}");
        let seconds: Vec<i64> = clicks(&take.samples).iter().map(|click| (click / 8_000.0).round() as i64).collect();
        assert_eq!(seconds, expected, "s{id}");
        assert!(clicks(&take.samples).iter().all(|click| click % 8_000.0 == 0.0), "s{id}: to the sample");
    }
}

#[test]
fn opus_of_another_clock_stays_within_a_frame_for_an_hour() {
    let scratch = Scratch::new("record-opus-drift");
    speech(&scratch, "said.wav", Speech::mono(48_000, 48_000));
    scratch.run("vox-capture said.wav | vox-encode opus >said.vox").succeeded_silently();
    let entries = read_vox(&scratch.path("said.vox"));
    let packets: Vec<&Vec<u8>> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Audio { payload, .. } => Some(payload),
            _ => None,
        })
        .collect();
    let mut opus = Format::new(Codec::Opus, Rate::HZ_48000, Channels::MONO, 960);
    opus.live = true;
    // An hour, and ten minutes the other way.
    for (ppm, packets_sent) in [(100, 180_000_u64), (-100, 30_000)] {
        let mut session = Session::default();
        session.open(START, 1, &opus);
        for n in 0..packets_sent {
            let at = START + n as i64 * (FRAME + ppm * FRAME / 1_000_000);
            session.packet(at, 1, n * 960, 960, captured(at), packets[n as usize % packets.len()]);
        }
        session.end(START + 3_700 * SECOND, 1, packets_sent * 960);
        session.save(&scratch.path("session.vox"));
        scratch.run(&format!("vox-record drift{ppm}.opus <session.vox")).succeeded_silently();
        let frames = opus_frames(&scratch.path(&format!("drift{ppm}.opus"))) as i64;
        let wall = packets_sent as i64 * (960_000_000 + 960 * ppm) / 1_000_000;
        assert!((frames - wall).abs() <= 960, "{frames} frames for {wall}");
        // 360 ms are 18 packets, 60 ms are 3.
        let expected = packets_sent as usize / 10_000;
        let notes = fs::read_to_string(scratch.path(&format!("drift{ppm}.jsonl"))).expect("a sidecar");
        let adjusted = notes.lines().filter(|line| line.contains("\"adjusted\"")).count();
        assert!(adjusted.abs_diff(expected) <= 1, "the sidecar says where:\n{notes}");
    }
}

#[test]
fn recorders_are_killed_at_any_moment_and_leave_whole_files() {
    let scratch = Scratch::new("record-kill");
    need(&["ffmpeg", "sox", "opusinfo"]);
    let rounds: u64 = std::env::var("VOX_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(12);
    std::thread::scope(|scope| {
        for (lane, kind) in ["wav", "opus", "flac"].into_iter().enumerate() {
            let scratch = &scratch;
            scope.spawn(move || {
                for round in 0..rounds / 3 {
                    killed(scratch, kind, 400 + noise(11 + lane as u64, round) % 1_600);
                }
            });
        }
    });
}

fn killed(scratch: &Scratch, kind: &str, after_ms: u64) {
    let (port, name) = (free_port(), format!("{kind}-{after_ms}.{kind}"));
    let source = "vox-capture tone:440 --duration 20 | vox-encode opus";
    let script = format!("({source} | vox-send 127.0.0.1:{port}) & vox-recv :{port} | vox-record {name}");
    let running = scratch.spawn(&script);
    let path = scratch.path(&name);
    assert!(await_until(LIMIT, || path.is_file()), "{}", running.stderr());
    let began = Instant::now();
    let victim = running.pid_of("vox-record");
    std::thread::sleep(Duration::from_millis(after_ms));
    let lived = began.elapsed().as_secs_f64();
    signal(victim, Signal::KILL);
    drop(running);
    let heard = decoded(&path).len() as f64 / 48_000.0;
    assert!(heard > lived - 1.0, "{kind}: {heard} s of {lived} s");
    if kind != "opus" {
        let sox = Command::new("sox").arg(&path).args(["-n", "stat"]).output().expect("sox runs");
        assert!(sox.status.success(), "{}", String::from_utf8_lossy(&sox.stderr));
    }
}

#[test]
fn a_killed_recorder_leaves_streams_that_were_over_as_long_as_the_others() {
    let scratch = Scratch::new("record-killed-late");
    let mut opus = Format::new(Codec::Opus, Rate::HZ_48000, Channels::MONO, 960);
    opus.label = Some("opus".to_owned());
    let mut session = Session::default();
    session.open(START, 1, &telephone("short"));
    session.open(START, 2, &opus);
    session.open(START, 3, &telephone("long"));
    for n in 0..300_u64 {
        let at = START + n as i64 * FRAME;
        if n < 50 {
            session.packet(at, 1, n * 160, 160, arrived(at), &[7; 160]);
            session.packet(at, 2, n * 960, 960, arrived(at), &[0xf8, 0xff, 0xfe]);
        }
        session.packet(at, 3, n * 160, 160, arrived(at), &[9; 160]);
    }
    session.end(START + SECOND, 1, 8_000);
    session.end(START + SECOND, 2, 48_000);
    session.save(&scratch.path("session.vox"));
    for (format, files) in [("wav", ["short.wav", "opus.wav"]), ("opus", ["short.wav", "opus.opus"])] {
        let take = "vox-record --name {label} --format";
        let running = scratch.spawn(&format!("{{ cat session.vox; sleep 30; }} | {take} {format} {format}/"));
        let long = scratch.path(&format!("{format}/long.wav"));
        let grown = || fs::metadata(&long).is_ok_and(|file| file.len() > 5 * 16_000);
        assert!(await_until(LIMIT, grown), "{}", running.stderr());
        // As often as files are made whole.
        std::thread::sleep(Duration::from_millis(600));
        signal(running.pid_of("vox-record"), Signal::KILL);
        for file in files {
            let path = scratch.path(&format!("{format}/{file}"));
            let seconds = decoded(&path).len() as f64 / if file.starts_with("opus") { 48_000.0 } else { 8_000.0 };
            assert!(seconds > 4.5, "{format}/{file}: {seconds} s");
        }
    }
}

#[test]
fn a_full_disk_is_said_and_leaves_a_whole_file() {
    let scratch = Scratch::new("record-full");
    speech(&scratch, "said.wav", Speech::stereo(48_000, 2_000_000));
    scratch.run("vox-capture said.wav | vox-encode opus --bitrate 128k >said.vox").succeeded_silently();
    for (kind, size) in [("wav", "2m"), ("flac", "2m"), ("opus", "300k")] {
        let input = if kind == "opus" { "said.vox" } else { "pcm.vox" };
        let script = format!(
            "mkdir -p full; vox-capture said.wav >pcm.vox; {} bash -c 'mount -t tmpfs -o size={size} none full \
             && vox-record full/a.{kind} <{input}; code=$?; cp full/* .; exit $code'",
            unshare("m")
        );
        let outcome = scratch.run(&script).exited(&[1]);
        assert!(outcome.stderr.contains("a.") && outcome.stderr.contains("No space left"), "{}", outcome.stderr);
        let frames = decoded(&scratch.path(&format!("a.{kind}"))).len() / 2;
        assert!(frames > 300_000, "{kind}: {frames} frames before the disk was full");
        if kind == "opus" {
            let whole = scratch.run("opusinfo a.opus").text();
            assert!(!whole.contains("sequence number gap"), "{whole}");
        }
    }
}

#[test]
fn a_broken_wav_of_anyones_is_mended() {
    let scratch = Scratch::new("record-repair");
    need(&["ffmpeg", "sox"]);
    let said = speech(&scratch, "said.wav", Speech::stereo(48_000, 48_000));
    let good = fs::read(scratch.path("said.wav")).expect("speech");
    let broken = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        fs::write(scratch.path(name), bytes).expect("a broken file");
    };
    broken("zero.wav", &|bytes| {
        bytes[4..8].fill(0);
        bytes[40..44].fill(0);
    });
    broken("huge.wav", &|bytes| bytes[40..44].fill(0xff));
    broken("cut.wav", &|bytes| bytes.truncate(100_001));
    broken("half.wav", &|bytes| bytes[40..44].copy_from_slice(&96_000_u32.to_le_bytes()));
    broken("block.wav", &|bytes| bytes[28..34].fill(0));
    scratch.run("ffmpeg -v error -i said.wav -f wav - >pipe.wav").succeeded();
    scratch.run("sox said.wav -t wav - >soxpipe.wav; true").succeeded();
    let all = "zero.wav huge.wav cut.wav half.wav block.wav pipe.wav soxpipe.wav";
    scratch.run(&format!("vox-record --repair {all}")).succeeded();
    for name in all.split(' ') {
        let mended = Wav::read(&scratch.path(name));
        let whole = if name == "cut.wav" { (100_001 - 44) / 4 } else { 48_000 };
        assert!(mended.samples == said.samples[..whole * 2], "{name}: {} frames", mended.frames());
    }
    let again = scratch.run(&format!("vox-record --repair {all}")).succeeded();
    assert_eq!(again.stderr.matches("nothing is wrong").count(), 7, "{}", again.stderr);
    scratch.run("echo no audio >text.wav; vox-record --repair text.wav").exited(&[3]);
}

#[test]
fn a_broken_ogg_of_anyones_is_mended() {
    let scratch = Scratch::new("record-repair-ogg");
    need(&["ffmpeg", "opusenc", "opusdec", "opusinfo"]);
    speech(&scratch, "said.wav", Speech::mono(48_000, 480_000));
    scratch
        .run(
            "ffmpeg -v error -i said.wav -c:a libopus theirs.opus
             opusenc --quiet said.wav others.opus
             vox-capture said.wav | vox-encode opus | vox-record ours.opus",
        )
        .succeeded();
    for name in ["theirs", "others", "ours"] {
        let good = fs::read(scratch.path(&format!("{name}.opus"))).expect("a file");
        let whole = opus_frames(&scratch.path(&format!("{name}.opus")));
        let save = |kind: &str, bytes: &[u8]| fs::write(scratch.path(&format!("{name}-{kind}.opus")), bytes);
        save("cut", &good[..good.len() * 3 / 4]).expect("a file");
        let mut hole = good.clone();
        hole[good.len() / 2] ^= 1;
        save("hole", &hole).expect("a file");
        scratch.run(&format!("vox-record --repair {name}-cut.opus {name}-hole.opus")).succeeded();
        for (kind, least) in [("cut", whole / 2), ("hole", whole)] {
            let path = scratch.path(&format!("{name}-{kind}.opus"));
            let frames = opus_frames(&path);
            assert!((least..=whole).contains(&frames), "{name}, {kind}: {frames} of {whole} frames");
            let info = Command::new("opusinfo").arg(&path).output().expect("opusinfo runs");
            let text = String::from_utf8_lossy(&info.stdout).into_owned() + &String::from_utf8_lossy(&info.stderr);
            assert!(info.status.success() && !text.contains("WARNING"), "{name}, {kind}: {text}");
        }
        let again =
            scratch.run(&format!("vox-record --repair {name}.opus {name}-cut.opus {name}-hole.opus")).succeeded();
        assert_eq!(again.stderr.matches("nothing is wrong").count(), 3, "{}", again.stderr);
        assert!(fs::read(scratch.path(&format!("{name}.opus"))).expect("a file") == good, "{name} is left alone");
    }
}

#[test]
fn beyond_4_gib_a_wav_becomes_rf64_or_bw64() {
    let scratch = Scratch::new("record-large");
    let mut session = Session::default();
    let mut format = Format::new(Codec::PcmF32, Rate::new(192_000).expect("a rate"), Channels::STEREO, 256);
    format.label = Some("big".to_owned());
    session.open(0, 1, &format);
    let loud: Vec<u8> = (0..512).flat_map(|n| (n as f32 / 1_000.0).to_le_bytes()).collect();
    // 50 minutes of silence are a hole in the file.
    let far = 192_000 * 3_000;
    session.packet(1, 1, 0, 256, Times::default(), &loud);
    session.packet(2, 1, far, 256, Times::default(), &loud);
    session.end(3, 1, far + 256);
    session.save(&scratch.path("big.vox"));
    for (form, magic) in [("rf64", b"RF64"), ("bw64", b"BW64")] {
        scratch.run(&format!("vox-record {form}.wav --large {form} <big.vox")).succeeded_silently();
        let path = scratch.path(&format!("{form}.wav"));
        let length = fs::metadata(&path).expect("a file").len();
        assert!(length > 4 << 30, "{length} bytes");
        let mut head = [0; 4];
        std::io::Read::read_exact(&mut fs::File::open(&path).expect("a file"), &mut head).expect("four bytes");
        assert_eq!(&head, magic);
        let tail = scratch.run(&format!("ffmpeg -v error -ss 3000 -i {form}.wav -f f32le tail.raw -y")).succeeded();
        drop(tail);
        assert!(
            fs::read(scratch.path("tail.raw")).expect("a tail") == loud,
            "{form}: what is said at its end is there"
        );
        fs::remove_file(&path).expect("no more of it");
    }
}

#[test]
fn a_name_overwrites_nothing_and_leads_nowhere() {
    let scratch = Scratch::new("record-names");
    let mut session = Session::default();
    for (id, label) in [(1, "../../escape"), (2, "ana"), (3, "ana"), (4, "")] {
        session.open(START, id, &telephone(label));
        for n in 0..20 {
            let at = START + n * FRAME;
            session.packet(at, id, n as u64 * 160, 160, captured(at), &[0x55; 160]);
        }
        session.end(START + SECOND, id, 3_200);
    }
    session.save(&scratch.path("session.vox"));
    scratch.run("vox-record a/b/takes/ --name {label} <session.vox").succeeded_silently();
    let named: Vec<String> = files(&scratch.path("a/b/takes"), ".wav")
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    assert_eq!(named, ["00000004.wav", "ana-2.wav", "ana.wav", "escape.wav"]);
    scratch.run("echo mine >talk.wav; vox-record talk.wav --mix <session.vox").succeeded_silently();
    assert_eq!(fs::read(scratch.path("talk.wav")).expect("mine"), b"mine\n");
    assert_eq!(Wav::read(&scratch.path("talk-2.wav")).frames(), 3_200);
    let sum = Wav::read(&scratch.path("talk-2.wav")).samples[100];
    assert_eq!(i32::from(sum), 4 * i32::from(ulaw_byte(0x55)));
    scratch.run("vox-record x/ --name ../{label} <session.vox").exited(&[2]);
}

#[test]
fn files_are_split_at_the_same_places_and_join_to_the_whole() {
    let scratch = Scratch::new("record-split");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 168_000));
    scratch.run("vox-capture said.wav | vox-record parts/ --split 1s --name p").succeeded_silently();
    let parts = files(&scratch.path("parts"), ".wav");
    let lengths: Vec<usize> = parts.iter().map(|part| Wav::read(part).frames()).collect();
    assert_eq!(lengths, [48_000, 48_000, 48_000, 24_000]);
    let whole: Vec<i16> = parts.iter().flat_map(|part| Wav::read(part).samples).collect();
    assert!(whole == said.samples);
    scratch
        .run("vox-capture said.wav | vox-encode opus | vox-record opus/ --format opus --split 1s --name p")
        .succeeded();
    let total: usize = files(&scratch.path("opus"), ".opus").iter().map(|part| opus_frames(part)).sum();
    assert!(total.abs_diff(168_000) <= 960, "{total} frames");
}

#[test]
fn each_talk_spurt_gets_a_file_of_its_own() {
    let scratch = Scratch::new("record-spurts");
    let mut session = Session::default();
    session.open(START, 1, &telephone("ana"));
    // Nothing is sent between the spurts, and a packet is lost in the second.
    for n in (0..50).chain(100..175).filter(|n| *n != 120) {
        let at = START + n * FRAME;
        session.packet(at, 1, n as u64 * 160, 160, captured(at), &[0x22; 160]);
    }
    let gap = Gap {
        id: StreamId(1),
        sequence: SequenceNumber(50),
        timestamp: MediaTime(8_000),
        duration: 8_000,
        packets: 0,
        reason: GapReason::Silent,
        times: Times::default(),
        slot: None,
        later: None,
    };
    session.add(START + 99 * FRAME, &Record::Gap(gap));
    session.end(START + 4 * SECOND, 1, 28_000);
    session.save(&scratch.path("session.vox"));
    scratch.run("vox-record takes/ --split talkspurt --name {label} <session.vox").succeeded_silently();
    let lengths: Vec<usize> =
        files(&scratch.path("takes"), ".wav").iter().map(|take| Wav::read(take).frames()).collect();
    assert_eq!(lengths, [8_000, 12_000]);
    let notes = fs::read_to_string(&files(&scratch.path("takes"), ".jsonl")[0]).expect("a sidecar");
    let second = notes.lines().find(|line| line.contains("ana-0002.wav")).expect("a line for the second file");
    assert!(second.contains("\"at\":2.0"), "{second}");
    assert!(notes.contains("\"gap\":\"lost\"") && notes.contains("\"gap\":\"silent\""), "{notes}");
}

#[test]
fn what_has_no_pauses_is_one_file_and_it_says_what_makes_them() {
    let scratch = Scratch::new("record-pauseless");
    let mut words = speech(&scratch, "word.wav", Speech::mono(16_000, 16_000)).samples;
    words.extend([0; 24_000]);
    let samples = [words.clone(), words].concat();
    Wav { rate: 16_000, channels: 1, samples }.write(&scratch.path("words.wav"));
    let outcome = scratch.run("vox-capture words.wav | vox-record one/ --split talkspurt").succeeded();
    assert!(outcome.stderr.contains("put `vox-gate` before"), "{}", outcome.stderr);
    assert_eq!(files(&scratch.path("one"), ".wav").len(), 1);
    let gate = "vox-gate --detect level --level -40";
    scratch.run(&format!("vox-capture words.wav | {gate} | vox-record two/ --split talkspurt")).succeeded_silently();
    assert!(files(&scratch.path("two"), ".wav").len() >= 2);
}

#[test]
fn a_stream_that_says_nothing_for_a_while_begins_where_it_begins_to_speak() {
    let scratch = Scratch::new("record-late");
    let mut session = Session::default();
    session.open(START, 1, &telephone("phone"));
    session.save(&scratch.path("announced.vox"));
    let announced = fs::metadata(scratch.path("announced.vox")).expect("a file").len();
    let mut session = Session::default();
    session.open(START, 1, &telephone("phone"));
    for n in 0..50_u64 {
        session.packet(START + n as i64 * FRAME, 1, n * 160, 160, arrived(START + n as i64 * FRAME), &[n as u8; 160]);
    }
    session.end(START + SECOND, 1, 8_000);
    session.save(&scratch.path("session.vox"));
    // The recorder makes its files whole meanwhile, before it knows what the stream's clock says.
    let slow = format!("{{ head -c {announced} session.vox; sleep 0.5; tail -c +{} session.vox; }}", announced + 1);
    scratch.run(&format!("{slow} | vox-record takes/ --mix --name {{label}}")).succeeded_silently();
    for file in ["takes/phone.wav", "takes/mix.wav"] {
        assert_eq!(Wav::read(&scratch.path(file)).frames(), 8_000, "{file}");
    }
}

#[test]
fn a_live_call_is_recorded_next_to_its_mix() {
    let scratch = Scratch::new("record-mix");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 96_000));
    scratch.run("vox-capture said.wav | vox-record both/ --mix --name {label}").succeeded_silently();
    let takes = files(&scratch.path("both"), ".wav");
    assert_eq!(takes.len(), 2);
    for take in takes {
        assert_eq!(locate(&said.samples, &Wav::read(&take).samples), Some(0), "{}", take.display());
    }
}
