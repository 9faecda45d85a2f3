//! Payloads.

use vox_codec::{DecoderOptions, StreamDecoder};
use vox_frame::{
    Audio, Channels, Codec, Format, Gap, GapReason, LaterPacket, MediaTime, Rate, SequenceNumber, StreamId, Times,
};

use crate::pieces::Pieces;

/// Ticks that the gaps of one run last at most.
const MAX_GAP: u64 = 48_000;

/// Any payloads and gaps, through the decoder of any codec: samples, and no more of them than time has passed.
pub fn decoder(data: &[u8]) {
    let mut steps = Pieces::new(data);
    let choice = steps.byte();
    let channels = Channels::new(1 + choice / 128).expect("not zero");
    let (codec, rate) = match choice % 5 {
        0 => (Codec::Pcmu, Rate::new(8000).expect("not zero")),
        1 => (Codec::PcmS16, Rate::new(44_100).expect("not zero")),
        2 => (Codec::L16, Rate::new(16_000).expect("not zero")),
        _ => (Codec::Opus, Rate::HZ_48000),
    };
    let format = Format::new(codec, rate, channels, 960);
    let Ok(mut decoder) = StreamDecoder::new(&format, DecoderOptions::default()) else { return };
    let mut out = Vec::new();
    let mut timestamp = 0;
    let mut sequence = 0;
    while !steps.is_empty() && sequence < 200 {
        let step = steps.byte();
        let duration = u32::from(steps.byte()) * 16;
        let payload = steps.piece();
        let id = StreamId(1);
        if step & 3 == 0 {
            let later = (step & 4 != 0).then_some(LaterPacket { ahead: duration, payload });
            let duration = (u64::from(duration) * u64::from(step)).min(MAX_GAP);
            decoder.gap(
                &Gap {
                    id,
                    sequence: SequenceNumber(sequence),
                    timestamp: MediaTime(timestamp),
                    duration,
                    packets: 1,
                    reason: GapReason::Lost,
                    times: Times::default(),
                    slot: (step & 8 != 0).then(|| rate.ns(duration) as u64),
                    later,
                },
                &mut out,
            );
            timestamp += duration;
        } else {
            decoder.audio(
                &Audio {
                    id,
                    sequence: SequenceNumber(sequence),
                    timestamp: MediaTime(timestamp),
                    duration,
                    marker: step & 16 != 0,
                    recovered: step & 32 != 0,
                    padding: false,
                    times: Times::default(),
                    slot: None,
                    extensions: &[],
                    payload,
                },
                &mut out,
            );
            timestamp += u64::from(duration);
        }
        sequence += 1;
        assert!(out.iter().all(|sample| !sample.is_nan()), "a sample that is no number");
        let most = (timestamp + 2 * 48_000) as usize * channels.count();
        assert!(out.len() <= most, "{} samples of {timestamp} ticks", out.len());
    }
    decoder.flush(&mut out);
}
