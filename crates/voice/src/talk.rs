//! When somebody talks.

use core::ops::Range;
use std::collections::VecDeque;

use sonora_agc2::vad_wrapper::VoiceActivityDetectorWrapper;
use vox_dsp::{Remix, Resampler};
use vox_frame::{Channels, Rate};

/// What the detector listens to: 24 kHz in pieces of 10 ms, full scale as in 16 bits.
const RATE: Rate = Rate::new(24_000).expect("not zero");
const PIECE: usize = 240;
const FULL_SCALE: f32 = 32_768.0;

/// The most spans of talk that are remembered: more than a minute of syllables.
const MAX_SPANS: usize = 1024;

/// What counts as talk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Criterion {
    /// How sure the detector must be that it is a voice, 0 to 1; none where any sound counts.
    pub voice: Option<f32>,
    /// How loud it must be, in dB of full scale (RMS of 10 ms).
    pub level_db: f32,
}

/// Says when somebody talks. Times are frames since the first that was pushed.
pub struct Talk {
    rate: Rate,
    criterion: Criterion,
    least: f32,
    remix: Remix,
    resampler: Resampler,
    detector: VoiceActivityDetectorWrapper,
    scaled: [f32; PIECE],
    mono: Vec<f32>,
    /// Samples of 24 kHz that wait for a whole piece.
    pending: Vec<f32>,
    /// Pieces that the detector has heard.
    pieces: u64,
    /// When somebody talked, in frames that were pushed.
    spans: VecDeque<Range<u64>>,
}

impl Talk {
    /// Listens to samples of that rate and with those channels.
    pub fn new(rate: Rate, channels: Channels, criterion: Criterion) -> Self {
        Self {
            rate,
            criterion,
            least: 10_f32.powf(criterion.level_db / 20.0),
            remix: Remix::new(channels, Channels::MONO),
            resampler: Resampler::new(rate, RATE, Channels::MONO),
            detector: VoiceActivityDetectorWrapper::new(sonora_simd::detect_backend(), RATE.hz().cast_signed()),
            scaled: [0.0; PIECE],
            mono: Vec::new(),
            pending: Vec::new(),
            pieces: 0,
            spans: VecDeque::new(),
        }
    }

    /// Hears interleaved samples.
    pub fn push(&mut self, samples: &[f32]) {
        self.mono.clear();
        self.remix.process(samples, &mut self.mono);
        let mut pending = std::mem::take(&mut self.pending);
        self.resampler.process(&self.mono, &mut pending);
        let mut pieces = pending.chunks_exact(PIECE);
        for piece in &mut pieces {
            self.hear(piece);
        }
        self.pending.extend_from_slice(pieces.remainder());
    }

    /// Whether somebody talked at some time in `during`, as far as it was heard.
    pub fn was_heard(&self, during: Range<u64>) -> bool {
        self.spans.iter().any(|span| span.start < during.end && span.end > during.start)
    }

    /// What was said before is of no interest any more.
    pub fn forget(&mut self, before: u64) {
        while self.spans.front().is_some_and(|span| span.end <= before) {
            self.spans.pop_front();
        }
    }

    fn hear(&mut self, piece: &[f32]) {
        let begins = RATE.convert(self.pieces * PIECE as u64, self.rate);
        self.pieces += 1;
        let ends = RATE.convert(self.pieces * PIECE as u64, self.rate);
        for (scaled, sample) in self.scaled.iter_mut().zip(piece) {
            *scaled = sample * FULL_SCALE;
        }
        // It hears on while nothing counts: it remembers what was before.
        let voice = self.detector.analyze(&self.scaled);
        let power = piece.iter().map(|sample| sample * sample).sum::<f32>() / PIECE as f32;
        let loud = power.sqrt() >= self.least;
        if !loud || self.criterion.voice.is_some_and(|least| voice < least) {
            return;
        }
        match self.spans.back_mut() {
            Some(span) if span.end == begins => span.end = ends,
            _ => {
                if self.spans.len() == MAX_SPANS {
                    self.spans.pop_front();
                }
                self.spans.push_back(begins..ends);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVEL: Criterion = Criterion { voice: None, level_db: -40.0 };

    /// Half a second of silence, half a second of a tone, half a second of silence.
    fn beep(hz: u32, channels: usize) -> Vec<f32> {
        let half = hz / 2;
        let tone =
            (0..half).map(|n| (f64::from(n) * core::f64::consts::TAU * 300.0 / f64::from(hz)).sin() as f32 * 0.1);
        let silence = core::iter::repeat_n(0.0, half as usize);
        let mono = silence.clone().chain(tone).chain(silence);
        mono.flat_map(|sample| core::iter::repeat_n(sample, channels)).collect()
    }

    #[test]
    fn a_sound_is_heard_where_it_is_at_any_rate() {
        for (hz, channels) in [(8_000, 1), (16_000, 2), (44_100, 1), (48_000, 2)] {
            let rate = Rate::new(hz).unwrap();
            let mut talk = Talk::new(rate, Channels::new(channels as u8).unwrap(), LEVEL);
            beep(hz, channels).chunks(777 * channels).for_each(|piece| talk.push(piece));
            let at = |ms: u64| ms * u64::from(hz) / 1_000;
            assert!(!talk.was_heard(0..at(475)), "{hz}: {:?}", talk.spans);
            assert!(talk.was_heard(at(520)..at(525)) && talk.was_heard(at(900)..at(990)), "{hz}: {:?}", talk.spans);
            assert!(!talk.was_heard(at(1_030)..at(1_500)), "{hz}: {:?}", talk.spans);
            assert!(talk.was_heard(0..at(520)), "a part is enough");
            talk.forget(at(1_100));
            assert!(!talk.was_heard(0..at(1_500)));
        }
    }

    #[test]
    fn noise_is_no_voice() {
        let voice = Criterion { voice: Some(0.75), level_db: -90.0 };
        let mut seed = 1_u32;
        let noise = core::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((seed >> 8) as f32 / f32::from(1_u16 << 12).powi(2) - 0.5) * 0.1
        });
        let noise: Vec<f32> = noise.take(10 * 48_000).collect();
        let mut talk = Talk::new(Rate::HZ_48000, Channels::MONO, voice);
        talk.push(&noise);
        let heard: u64 = talk.spans.iter().map(|span| span.end - span.start).sum();
        assert!(heard < 48_000 / 2, "{heard} frames of noise are taken for a voice");
    }

    #[test]
    fn a_day_of_talk_takes_no_room() {
        let mut talk = Talk::new(RATE, Channels::MONO, LEVEL);
        let (loud, soft) = ([0.5; PIECE], [0.0; PIECE]);
        for _ in 0..3_000 {
            talk.push(&loud);
            talk.push(&soft);
        }
        assert_eq!(talk.spans.len(), MAX_SPANS);
    }
}
