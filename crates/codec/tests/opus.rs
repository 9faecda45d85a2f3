//! Streams through Opus: exact in time, whatever is missing or damaged.

use vox_codec::{Coded, Concealment, DecoderOptions, OpusSettings, OpusStreamEncoder, StreamDecoder};
use vox_frame::{
    Audio, Channels, Codec, End, EndReason, Format, Gap, GapReason, LaterPacket, MediaTime, Rate, SequenceNumber,
    StreamId, Times,
};
use vox_testkit::SpeechLike;

const ID: StreamId = StreamId(1);

struct Coding {
    format: Format,
    packets: Vec<(MediaTime, u32, Vec<u8>)>,
    end: MediaTime,
}

/// Something like speech, the other channels at half the level.
fn speech(frames: usize, rate: u32, channels: usize) -> Vec<f32> {
    let voice = SpeechLike::new(1, rate).take(frames);
    voice.flat_map(|sample| (0..channels).map(move |n| if n == 0 { sample } else { sample * 0.5 })).collect()
}

fn encode(pcm: &[f32], rate: u32, channels: Channels, settings: &OpusSettings, frame_ns: i64) -> Coding {
    let input = Format::new(Codec::PcmF32, Rate::new(rate).expect("a rate"), channels, 0);
    let mut encoder = OpusStreamEncoder::new(&input, settings, frame_ns).expect("settings that libopus takes");
    let format = encoder.format(&input);
    let mut packets = Vec::new();
    let mut emit = |coded: Coded<'_>| match coded {
        Coded::Packet { timestamp, duration, payload, .. } => packets.push((timestamp, duration, payload.to_vec())),
        Coded::Silence { .. } => panic!("no DTX was asked for"),
    };
    let mut at = MediaTime(0);
    // Chunks of a size that fits no frame.
    for chunk in pcm.chunks(777 * channels.count()) {
        encoder.audio(chunk, channels, at, None, &mut emit).expect("encodes");
        at = at.plus((chunk.len() / channels.count()) as u64);
    }
    let end = encoder.end(at, &mut emit).expect("encodes");
    Coding { format, packets, end }
}

fn audio<'a>(timestamp: MediaTime, duration: u32, payload: &'a [u8]) -> Audio<'a> {
    Audio {
        id: ID,
        sequence: SequenceNumber(0),
        timestamp,
        duration,
        marker: false,
        recovered: false,
        padding: false,
        times: Times::default(),
        slot: None,
        extensions: &[],
        payload,
    }
}

fn end(timestamp: MediaTime) -> End {
    End { id: ID, timestamp, times: Times::default(), reason: EndReason::Complete }
}

fn decode(coding: &Coding) -> Vec<f32> {
    let mut decoder = StreamDecoder::new(&coding.format, DecoderOptions::default()).expect("a decoder");
    let mut out = Vec::new();
    for (timestamp, duration, payload) in &coding.packets {
        decoder.audio(&audio(*timestamp, *duration, payload), &mut out);
    }
    decoder.end(&end(coding.end), &mut out);
    assert_eq!(decoder.damaged(), 0);
    out
}

fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let dot: f32 = a.iter().zip(b).map(|(x, y)| x * y).sum();
    let power = |s: &[f32]| s.iter().map(|x| x * x).sum::<f32>();
    dot / (power(a) * power(b)).sqrt().max(1e-9)
}

#[test]
fn every_frame_duration_gives_the_same_length_back_in_place() {
    let pcm = speech(48_000 + 123, 48_000, 1);
    for frame_us in [2_500, 5_000, 10_000, 20_000, 40_000, 60_000] {
        let settings = OpusSettings { bitrate: Some(64_000), ..OpusSettings::default() };
        let coding = encode(&pcm, 48_000, Channels::MONO, &settings, frame_us * 1000);
        let heard = decode(&coding);
        assert_eq!(heard.len(), pcm.len(), "{frame_us} us");
        let here = correlation(&pcm[1000..], &heard[1000..]);
        let beside = correlation(&pcm[1000..], &heard[1040..]).max(correlation(&pcm[1040..], &heard[1000..]));
        assert!(here > 0.85 && here > beside, "{frame_us} us: {here}, 40 samples beside it {beside}");
        let durations: u64 = coding.packets.iter().map(|(_, duration, _)| u64::from(*duration)).sum();
        assert!(durations >= coding.end.0, "the packets reach the end");
    }
}

#[test]
fn rates_that_opus_does_not_take_keep_their_length_in_time() {
    for rate in [5_000, 8_000, 11_025, 16_000, 22_050, 44_100, 96_000, 192_000] {
        let pcm = speech(rate as usize, rate, 1);
        let settings = OpusSettings { bitrate: Some(64_000), ..OpusSettings::default() };
        let coding = encode(&pcm, rate, Channels::MONO, &settings, 20_000_000);
        assert_eq!(coding.end, MediaTime(48_000), "{rate} Hz");
        assert_eq!(decode(&coding).len(), 48_000, "{rate} Hz");
    }
}

#[test]
fn stereo_stays_stereo() {
    let pcm = speech(48_000, 48_000, 2);
    let settings = OpusSettings { bitrate: Some(96_000), ..OpusSettings::default() };
    let heard = decode(&encode(&pcm, 48_000, Channels::STEREO, &settings, 20_000_000));
    assert_eq!(heard.len(), pcm.len());
    let level = |channel: usize| heard.iter().skip(channel).step_by(2).map(|x| x * x).sum::<f32>();
    assert!((level(0) / level(1)).log10() > 0.4, "the left channel is 6 dB louder");
}

#[test]
fn a_stream_may_become_stereo_at_any_packet() {
    let settings = OpusSettings { bitrate: Some(96_000), ..OpusSettings::default() };
    let [mono, mut coding] = [1, 2].map(|channels| {
        let kind = Channels::new(channels as u8).expect("channels");
        encode(&speech(96_000, 48_000, channels), 48_000, kind, &settings, 20_000_000)
    });
    // Both are announced with two channels, as all streams of Opus are.
    for (n, packet) in mono.packets.into_iter().enumerate().take(50) {
        coding.packets[n] = packet;
    }
    let heard = decode(&coding);
    assert_eq!(heard.len(), 2 * 96_000);
    let sides = |from: usize, to: usize| {
        [0, 1].map(|side| heard[2 * from..2 * to].iter().skip(side).step_by(2).copied().collect::<Vec<f32>>())
    };
    let [left, right] = sides(0, 47_000);
    assert!(left == right && left.iter().any(|sample| sample.abs() > 0.1));
    let [left, right] = sides(50_000, 96_000);
    let power = |side: &[f32]| side.iter().map(|sample| sample * sample).sum::<f32>();
    let softer = power(&right) / power(&left);
    assert!((0.2..0.3).contains(&softer), "the right side is at half the level: {softer}");
}

#[test]
fn a_lost_packet_comes_back_better_from_the_copy_in_the_next() {
    let pcm = speech(3 * 48_000, 48_000, 1);
    let settings = OpusSettings { bitrate: Some(32_000), fec: true, loss: 20, ..OpusSettings::default() };
    let coding = encode(&pcm, 48_000, Channels::MONO, &settings, 20_000_000);
    let whole = decode(&coding);
    let error = |fec: bool| {
        let options = DecoderOptions { fec, ..DecoderOptions::default() };
        let mut decoder = StreamDecoder::new(&coding.format, options).expect("a decoder");
        let mut out = Vec::new();
        for (n, (timestamp, duration, payload)) in coding.packets.iter().enumerate() {
            let later = coding.packets.get(n + 1);
            match later.filter(|_| n % 5 == 3) {
                Some((_, _, next)) => decoder.gap(
                    &Gap {
                        id: ID,
                        sequence: SequenceNumber(n as u64),
                        timestamp: *timestamp,
                        duration: u64::from(*duration),
                        packets: 1,
                        reason: GapReason::Lost,
                        times: Times::default(),
                        slot: None,
                        later: Some(LaterPacket { ahead: *duration, payload: next }),
                    },
                    &mut out,
                ),
                None => decoder.audio(&audio(*timestamp, *duration, payload), &mut out),
            }
        }
        decoder.end(&end(coding.end), &mut out);
        assert_eq!(out.len(), whole.len());
        out.iter().zip(&whole).map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
    };
    let (with, without) = (error(true), error(false));
    assert!(with < without * 0.7, "error {with} with the copies, {without} without");
}

/// How loud eight bands are, in dB, in 20 ms at `at`.
fn bands(samples: &[f32], at: usize) -> Vec<f32> {
    let frame = &samples[at..at + 960];
    let power = |hz: f32| {
        let (mut re, mut im) = (0.0f32, 0.0f32);
        for (n, sample) in frame.iter().enumerate() {
            let (sin, cos) = (core::f32::consts::TAU * hz * n as f32 / 48_000.0).sin_cos();
            re += sample * cos;
            im += sample * sin;
        }
        re * re + im * im
    };
    (0..8)
        .map(|band| (0..8).map(|k| power(100.0 + 50.0 * (band * 8 + k) as f32)).sum::<f32>())
        .map(|power| 10.0 * (power + 0.1).log10())
        .collect()
}

#[test]
fn deep_redundancy_knows_what_was_lost() {
    let pcm = speech(4 * 48_000, 48_000, 1);
    let settings = OpusSettings { bitrate: Some(40_000), dred_ms: 300, loss: 30, ..OpusSettings::default() };
    let coding = encode(&pcm, 48_000, Channels::MONO, &settings, 20_000_000);
    let whole = decode(&coding);
    // Of ten packets the last `lost` are missing.
    let run = |fec: bool, lost: usize| {
        let options = DecoderOptions { fec, method: Concealment::Deep, ..DecoderOptions::default() };
        let mut decoder = StreamDecoder::new(&coding.format, options).expect("a decoder");
        let (mut out, mut missing) = (Vec::new(), Vec::new());
        for (n, (timestamp, duration, payload)) in coding.packets.iter().enumerate() {
            let ahead = 10 - n % 10;
            let Some((_, _, next)) = coding.packets.get(n + ahead).filter(|_| ahead <= lost) else {
                decoder.audio(&audio(*timestamp, *duration, payload), &mut out);
                continue;
            };
            missing.push(timestamp.0 as usize);
            let gap = Gap {
                id: ID,
                sequence: SequenceNumber(n as u64),
                timestamp: *timestamp,
                duration: u64::from(*duration),
                packets: 1,
                reason: GapReason::Lost,
                times: Times::default(),
                slot: None,
                later: Some(LaterPacket { ahead: *duration * ahead as u32, payload: next }),
            };
            decoder.gap(&gap, &mut out);
        }
        decoder.end(&end(coding.end), &mut out);
        assert_eq!(out.len(), whole.len());
        let frames: Vec<usize> = missing.into_iter().filter(|at| at + 960 < whole.len()).collect();
        let off = |at: usize| {
            let pairs = bands(&out, at).into_iter().zip(bands(&whole, at));
            pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / 8.0
        };
        let distance = frames.iter().map(|&at| off(at).sqrt()).sum::<f32>() / frames.len() as f32;
        (distance, decoder.recovered())
    };
    for lost in [1, 4] {
        let ((with, recovered), (without, none)) = (run(true, lost), run(false, lost));
        assert!(recovered > 0 && none == 0);
        assert!(with < without, "{lost} lost: {with:.1} dB off with redundancy, {without:.1} dB without");
    }
}

#[test]
fn damaged_packets_are_concealed_counted_and_never_longer_than_their_duration() {
    let format = Format::new(Codec::Opus, Rate::HZ_48000, Channels::MONO, 960);
    let mut decoder = StreamDecoder::new(&format, DecoderOptions::default()).expect("a decoder");
    let mut out = Vec::new();
    let mut seed = 1u32;
    for n in 0..2000usize {
        let payload: Vec<u8> = (0..n % 90)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .collect();
        out.clear();
        decoder.audio(&audio(MediaTime(n as u64 * 960), 960, &payload), &mut out);
        assert_eq!(out.len(), 960);
        assert!(out.iter().all(|sample| sample.is_finite()));
    }
    assert!(decoder.damaged() > 0);
}

#[test]
fn a_gap_of_hours_is_made_in_pieces() {
    let format = Format::new(Codec::Pcmu, Rate::HZ_8000, Channels::MONO, 160);
    let mut decoder = StreamDecoder::new(&format, DecoderOptions::default()).expect("a decoder");
    let mut out = Vec::new();
    let gap = Gap {
        id: ID,
        sequence: SequenceNumber(0),
        timestamp: MediaTime(0),
        duration: u64::MAX,
        packets: 0,
        reason: GapReason::Lost,
        times: Times::default(),
        slot: None,
        later: None,
    };
    decoder.gap(&gap, &mut out);
    assert_eq!(out.len() as u64, 8000 * StreamDecoder::MAX_AT_ONCE_S);
}

#[test]
fn sixteen_bit_codecs_are_exact() {
    let samples: Vec<i16> = (-500..500).map(|n| n * 65).collect();
    let little: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let big: Vec<u8> = samples.iter().flat_map(|sample| sample.to_be_bytes()).collect();
    for (codec, payload) in [(Codec::PcmS16, &little), (Codec::L16, &big)] {
        let format = Format::new(codec, Rate::HZ_48000, Channels::STEREO, 960);
        let mut decoder = StreamDecoder::new(&format, DecoderOptions::default()).expect("a decoder");
        let mut out = Vec::new();
        decoder.audio(&audio(MediaTime(0), 500, payload), &mut out);
        let mut bytes = Vec::new();
        vox_codec::linear::f32_to_s16le(&out, &mut bytes);
        assert_eq!(bytes, little);
    }
}

#[test]
fn a_record_that_claims_a_day_takes_no_memory_for_it() {
    for codec in [Codec::Opus, Codec::Pcmu, Codec::PcmS16] {
        let format = Format::new(codec, Rate::HZ_48000, Channels::MONO, 960);
        let mut decoder = StreamDecoder::new(&format, DecoderOptions::default()).expect("a decoder");
        let mut out = Vec::new();
        decoder.audio(&audio(MediaTime(0), u32::MAX, &[0xff; 100]), &mut out);
        assert!(out.len() <= 65_535, "{} samples", out.len());
        assert_eq!(decoder.damaged(), 1);
    }
}
