//! What a change of the delay does to tones and to music, whatever codec brought them.

use core::f64::consts::TAU;

use vox_codec::{BlockEncoder, DecoderOptions, OpusSettings, StreamDecoder};
use vox_frame::{Audio, Channels, Codec, Format, MediaTime, Rate, SequenceNumber, StreamId, Times};
use vox_testkit::{Tone, envelope, roughness, spurious};

/// How much longer each frame of 20 ms is played, in percent.
type Change = fn(usize) -> i64;

const AS_IT_IS: Change = |_| 0;

/// As it is, 15 % longer, 15 % shorter, in turns of 0.8 s.
const IN_TURNS: Change = |n| [0, 15, -15][n / 40 % 3];

/// Sends `sound` through a codec and fits it into slots; the first half second, in which a codec finds its way, is left
/// out.
fn heard(codec: &Codec, rate: u32, sound: &[f32], change: Change) -> Vec<f32> {
    let (hz, duration) = (Rate::new(rate).expect("a rate"), rate / 50);
    let settings = OpusSettings { bitrate: Some(64_000), ..OpusSettings::default() };
    let mut encoder = BlockEncoder::new(codec, hz, Channels::MONO, &settings).expect("an encoder");
    let format = Format::new(codec.clone(), hz, Channels::MONO, duration);
    let options = DecoderOptions { fit: true, ..DecoderOptions::default() };
    let mut decoder = StreamDecoder::new(&format, options).expect("a decoder");
    let (mut out, mut payload) = (Vec::new(), Vec::new());
    for (n, frame) in sound.chunks_exact(duration as usize).enumerate() {
        payload.clear();
        encoder.encode(frame, &mut payload).expect("encodes");
        let slot = u32::try_from(20_000_000 + 200_000 * change(n)).expect("a slot");
        let audio = Audio {
            id: StreamId(1),
            sequence: SequenceNumber(n as u64),
            timestamp: MediaTime(n as u64 * u64::from(duration)),
            duration,
            marker: false,
            recovered: false,
            padding: false,
            times: Times::default(),
            slot: Some(slot),
            extensions: &[],
            payload: &payload,
        };
        decoder.audio(&audio, &mut out);
    }
    assert_eq!(decoder.damaged(), 0);
    out.split_off(rate as usize / 2)
}

/// Codecs, and the rates at which they are used most.
fn codecs() -> [(Codec, u32); 4] {
    [(Codec::L16, 48_000), (Codec::L16, 8_000), (Codec::Pcmu, 8_000), (Codec::Opus, 48_000)]
}

#[test]
fn a_tone_stays_clean_through_every_codec() {
    for (codec, rate) in codecs() {
        for hz in [440.0, 997.0, 1_760.0] {
            let tone: Vec<f32> = Tone::new(hz, 0.5, rate).take(6 * rate as usize).collect();
            let (before, after) = (heard(&codec, rate, &tone, AS_IT_IS), heard(&codec, rate, &tone, IN_TURNS));
            let clean = spurious(&after, hz, rate);
            assert!(clean >= 40.0, "{codec:?} at {rate}, {hz} Hz: {clean:.1} dB");
            // The steps of mu-law are no clicks.
            let [own, rough] = [&before, &after].map(|sound| roughness(sound, hz, 0.5, rate));
            assert!(rough < 1.2 * own, "{codec:?} at {rate}, {hz} Hz: a click of {rough:.2}, {own:.2} as it is");
        }
    }
}

/// Three voices that are held, as a keyboard is tuned: no period fits all of them.
const CHORD: [f64; 3] = [220.0, 277.18, 329.63];

#[test]
fn music_does_not_warble() {
    // As a jitter buffer does it, 10 % for a quarter of a second, every two seconds; and for as long as it lasts.
    let changes: [Change; 5] =
        [|n| if n % 100 < 12 { 10 } else { 0 }, |n| if n % 100 < 12 { -10 } else { 0 }, |_| 15, |_| -15, IN_TURNS];
    for ((codec, rate), change) in codecs().into_iter().flat_map(|codec| changes.map(|change| (codec.clone(), change)))
    {
        let at = |n: u32, hz: f64| (TAU * hz * f64::from(n) / f64::from(rate)).sin();
        let chord = (0..6 * rate).map(|n| (CHORD.iter().map(|hz| at(n, *hz)).sum::<f64>() * 0.2) as f32);
        let out = heard(&codec, rate, &chord.collect::<Vec<_>>(), change);
        for hz in CHORD {
            for level in envelope(&out, hz, rate) {
                let level = level / 0.2;
                assert!((0.9..1.1).contains(&level), "{codec:?} at {rate}, {hz} Hz: {level:.2} of its level");
            }
        }
    }
}
