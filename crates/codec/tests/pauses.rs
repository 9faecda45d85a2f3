//! Pauses sound like the room that they are in, and are told from losses.

use vox_codec::{Coded, DecoderOptions, OpusSettings, OpusStreamEncoder, StreamDecoder};
use vox_frame::{
    Audio, Channels, Codec, Extension, Format, Gap, GapReason, MediaTime, Rate, SequenceNumber, StreamId, Times,
};

const ID: StreamId = StreamId(1);

fn audio<'a>(timestamp: u64, duration: u32, payload: &'a [u8], extensions: &'a [u8]) -> Audio<'a> {
    Audio {
        id: ID,
        sequence: SequenceNumber(0),
        timestamp: MediaTime(timestamp),
        duration,
        marker: false,
        recovered: false,
        padding: duration == 0,
        times: Times::default(),
        slot: None,
        extensions,
        payload,
    }
}

fn gap(timestamp: u64, duration: u64, reason: GapReason) -> Gap<'static> {
    Gap {
        id: ID,
        sequence: SequenceNumber(0),
        timestamp: MediaTime(timestamp),
        duration,
        packets: 0,
        reason,
        times: Times::default(),
        slot: None,
        later: None,
    }
}

/// Level below full scale, in dB.
fn level(samples: &[f32]) -> f32 {
    let power = samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32;
    -10.0 * power.max(1e-12).log10()
}

/// A room: noise 50 dB below full scale, evenly distributed, and for the first second a voice.
fn room(frames: usize) -> Vec<f32> {
    let mut random = 1u32;
    let mut noise = move || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((random >> 8) as f32 / 8_388_608.0 - 1.0) * 0.0055
    };
    let voice = |n: usize| {
        let t = n as f32 / 48_000.0;
        (1..12).map(|h| (t * 130.0 * core::f32::consts::TAU * h as f32).sin() / h as f32).sum::<f32>() * 0.2
    };
    (0..frames).map(|n| noise() + if n < 48_000 { voice(n) } else { 0.0 }).collect()
}

#[test]
fn a_pause_of_opus_is_the_noise_of_the_room_and_counts_as_silent() {
    let input = Format::new(Codec::PcmF32, Rate::HZ_48000, Channels::MONO, 0);
    let settings = OpusSettings { bitrate: Some(24_000), dtx: true, ..OpusSettings::default() };
    let mut encoder = OpusStreamEncoder::new(&input, &settings, 20_000_000).expect("settings that libopus takes");
    let mut decoder = StreamDecoder::new(&encoder.format(&input), DecoderOptions::default()).expect("a decoder");
    let (mut out, mut order) = (Vec::new(), String::new());
    let emit = |coded: Coded<'_>| match coded {
        Coded::Packet { timestamp, duration, payload, .. } => {
            order.push(if payload.len() <= 2 { 'e' } else { 'p' });
            decoder.audio(&audio(timestamp.0, duration, payload, &[]), &mut out);
        }
        Coded::Silence { timestamp, duration } => {
            order.push('s');
            decoder.gap(&gap(timestamp.0, u64::from(duration), GapReason::Silent), &mut out);
        }
    };
    encoder.audio(&room(6 * 48_000), Channels::MONO, MediaTime(0), None, emit).expect("encodes");
    decoder.flush(&mut out);
    assert!(order.contains("pes"), "{order}");
    assert!(!order.contains("ps") && !order.contains("ee"), "a pause begins with one empty packet: {order}");
    let pauses = order.chars().filter(|kind| *kind == 's').count();
    assert!(pauses > 100, "{order}");
    assert_eq!((decoder.silent(), decoder.concealed()), (pauses as u64 * 960, pauses as u64 * 960));
    // Everywhere in the pause there is noise, near the level of the room: libopus makes it quieter.
    for at in (3 * 48_000..5 * 48_000).step_by(4_800) {
        let level = level(&out[at..at + 4_800]);
        assert!((44.0..70.0).contains(&level), "{level} dB below full scale at {at}");
    }
}

#[test]
fn a_pause_of_a_telephone_is_the_noise_that_the_sender_describes() {
    let format = Format::new(Codec::Pcmu, Rate::HZ_8000, Channels::MONO, 160);
    let mut decoder = StreamDecoder::new(&format, DecoderOptions::default()).expect("a decoder");
    let mut out = Vec::new();
    decoder.audio(&audio(0, 160, &[0x9a; 160], &[]), &mut out);
    decoder.gap(&gap(160, 160, GapReason::Silent), &mut out);
    assert!(out[160..].iter().all(|sample| *sample == 0.0), "nobody has said what it sounds like");
    let mut noise = Vec::new();
    Extension::RtpPayload { payload_type: 13, payload: &[55] }.write(&mut noise);
    decoder.audio(&audio(320, 0, &[], &noise), &mut out);
    decoder.gap(&gap(320, 8_000, GapReason::Silent), &mut out);
    assert!((level(&out[320..]) - 55.0).abs() < 0.5, "{}", level(&out[320..]));
    decoder.gap(&gap(8_320, 160, GapReason::Muted), &mut out);
    assert!(out[8_320..].iter().all(|sample| *sample == 0.0), "muted is not silent");
    assert_eq!((decoder.silent(), decoder.concealed()), (8_320, 8_320));
    decoder.gap(&gap(8_480, 160, GapReason::Lost), &mut out);
    assert_eq!((decoder.silent(), decoder.concealed(), out.len()), (8_320, 8_480, 8_640));
}
