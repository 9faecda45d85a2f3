//! Speakers whose clocks differ, stall and begin anew stay together.

use std::fs;

use vox_e2e::{Scratch, Speech, Wav, speech};
use vox_frame::{Channels, Codec, Format, Rate, Stamp, Times};

use crate::session::{FRAME, SECOND, START, Session, arrived, captured, noise, opus_frames, payloads, telephone};

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
    let packets = payloads(&scratch.path("said.vox"));
    let mut opus = Format::new(Codec::Opus, Rate::HZ_48000, Channels::MONO, 960);
    opus.live = true;
    // An hour, and ten minutes the other way.
    for (ppm, packets_sent) in [(100, 180_000_u64), (-100, 30_000)] {
        let mut session = Session::default();
        session.open(START, 1, &opus);
        for n in 0..packets_sent {
            let at = START + n as i64 * (FRAME + ppm * FRAME / 1_000_000);
            session.packet(at, 1, n * 960, 960, captured(at), &packets[n as usize % packets.len()]);
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
fn an_end_hours_behind_the_last_packet_makes_no_hours_of_silence() {
    let scratch = Scratch::new("record-end");
    for (name, later, seconds) in [("hour", 3_599, 3_600), ("hours", 7_199, 1), ("never", u64::MAX / 8_000, 1)] {
        let mut session = Session::default();
        session.open(START, 1, &telephone("phone"));
        for n in 0..50_u64 {
            let at = START + n as i64 * FRAME;
            session.packet(at, 1, n * 160, 160, arrived(at), &[7; 160]);
        }
        session.end(START + SECOND, 1, 8_000_u64.saturating_add(later * 8_000));
        session.save(&scratch.path(&format!("{name}.vox")));
        // A disk that is filled instead is none of ours.
        scratch.run(&format!("ulimit -f 1000000; vox-record {name}.wav <{name}.vox")).succeeded_silently();
        assert_eq!(Wav::read(&scratch.path(&format!("{name}.wav"))).frames(), seconds * 8_000, "{name}");
    }
}
