//! WebRTC's audio processing on samples in pieces of any length.

use sonora::config::{
    AdaptiveDigital, EchoCanceller, GainController2, MaxProcessingRate, NoiseSuppression, NoiseSuppressionLevel,
    Pipeline,
};
use sonora::{AudioProcessing, Config, StreamConfig};
use thiserror::Error;
use vox_frame::{Channels, Rate};

use crate::aec::Aec;

/// The rates that the library takes, in Hz.
const RATES: core::ops::RangeInclusive<u32> = 8_000..=384_000;

/// The channels that it is asked to take.
const MAX_CHANNELS: usize = 8;

/// The library works on so many pieces a second.
pub(crate) const PIECES: u32 = 100;

/// Pieces of a probe that finds how far the library lags behind: none of it comes near to this.
const PROBE: usize = 12;

/// What is done to samples.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Effects {
    /// Noise is suppressed.
    pub noise: Option<Strength>,
    /// The level of speech is made even.
    pub gain: Option<Automatic>,
}

/// How much noise is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// 6 dB.
    Low,
    /// 12 dB.
    Moderate,
    /// 18 dB.
    High,
    /// 21 dB.
    VeryHigh,
}

/// How the level of speech is made even.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Automatic {
    /// How far below full scale the loudest speech lies, in dB.
    pub headroom_db: f32,
    /// The most that is added, in dB.
    pub max_gain_db: f32,
}

impl Default for Automatic {
    fn default() -> Self {
        Self { headroom_db: 5.0, max_gain_db: 30.0 }
    }
}

/// Why a stream cannot be processed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0} {1}: voices are processed at 8000 Hz and more, with 1 to 8 channels")]
pub struct Unsupported(Rate, Channels);

/// Effects on one stream.
pub struct Processor {
    sonora: AudioProcessing,
    /// Does instead of the library what it is for, where that is known.
    aec: Option<Aec>,
    channels: usize,
    /// Frames of a piece.
    piece: usize,
    delay: usize,
    /// Samples that wait for a whole piece.
    pending: Vec<f32>,
    /// A piece by channels, and what becomes of it.
    planes: Vec<Vec<f32>>,
    processed: Vec<Vec<f32>>,
    far: Vec<f32>,
}

impl Processor {
    /// Effects on samples of that rate and with those channels.
    ///
    /// # Errors
    /// Where the library does not take such a stream.
    pub fn new(rate: Rate, channels: Channels, effects: Effects) -> Result<Self, Unsupported> {
        Self::build(rate, channels, effects.config(), false)
    }

    /// One that takes echo out: before each piece it must [`hear`](Self::hear) what a loudspeaker plays.
    pub(crate) fn against_echo(rate: Rate, channels: Channels) -> Result<Self, Unsupported> {
        let echo_canceller = Some(EchoCanceller::default());
        Self::build(rate, channels, Config { echo_canceller, ..Effects::default().config() }, true)
    }

    fn build(rate: Rate, channels: Channels, config: Config, echo: bool) -> Result<Self, Unsupported> {
        if !RATES.contains(&rate.hz()) || channels.count() > MAX_CHANNELS {
            return Err(Unsupported(rate, channels));
        }
        let make = || {
            let mut made = Self::unmeasured(rate, channels, config.clone());
            made.aec = Aec::new(rate, channels.count()).filter(|_| echo);
            made
        };
        Ok(Self { delay: make().measure(echo), ..make() })
    }

    fn unmeasured(rate: Rate, channels: Channels, config: Config) -> Self {
        let stream = StreamConfig::new(rate.hz(), channels.count() as u16);
        let sonora = AudioProcessing::builder().config(config).capture_config(stream).render_config(stream).build();
        let (count, piece) = (channels.count(), (rate.hz() / PIECES) as usize);
        let planes = vec![vec![0.0; piece]; count];
        let (pending, far) = (Vec::new(), Vec::new());
        let aec = None;
        Self { sonora, aec, channels: count, piece, delay: 0, pending, processed: planes.clone(), planes, far }
    }

    /// Frames by which what comes out lies behind what went in.
    pub const fn delay(&self) -> usize {
        self.delay
    }

    /// Takes frames and appends those that have come out.
    pub fn process(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.process_beside(samples, out, |_| ());
    }

    /// Frames of a piece.
    pub(crate) const fn piece(&self) -> usize {
        self.piece
    }

    /// Frames that wait for a whole piece.
    pub(crate) const fn waiting(&self) -> usize {
        self.pending.len() / self.channels
    }

    /// As [`process`](Self::process); before each piece `beside` may let the library hear something else.
    pub(crate) fn process_beside(
        &mut self,
        mut samples: &[f32],
        out: &mut Vec<f32>,
        mut beside: impl FnMut(&mut Self),
    ) {
        let whole = self.piece * self.channels;
        while self.pending.len() + samples.len() >= whole {
            let (first, rest) = samples.split_at(whole - self.pending.len());
            self.pending.extend_from_slice(first);
            samples = rest;
            beside(self);
            self.process_piece(out);
            self.pending.clear();
        }
        self.pending.extend_from_slice(samples);
    }

    /// Lets the library hear 10 ms of what a loudspeaker plays, mono.
    pub(crate) fn hear(&mut self, rate: Rate, samples: &[f32]) {
        if let Some(aec) = &mut self.aec {
            return aec.hear(rate, samples);
        }
        let stream = StreamConfig::new(rate.hz(), 1);
        self.far.resize(samples.len(), 0.0);
        // The library passes on what it hears; nobody wants that.
        let _heard = self.sonora.process_render_f32_with_config(&[samples], &stream, &stream, &mut [&mut self.far]);
    }

    /// Lets the library hear that nothing is played: it lags by as much as if something were.
    pub(crate) fn hear_nothing(&mut self) {
        self.hear(Rate::HZ_48000, &[0.0; (Rate::HZ_48000.hz() / PIECES) as usize]);
    }

    /// What knows how an echo moves.
    pub(crate) const fn aec(&mut self) -> Option<&mut Aec> {
        self.aec.as_mut()
    }

    fn process_piece(&mut self, out: &mut Vec<f32>) {
        for (n, frame) in self.pending.chunks_exact(self.channels).enumerate() {
            for (plane, sample) in self.planes.iter_mut().zip(frame) {
                plane[n] = *sample;
            }
        }
        if let Some(aec) = &mut self.aec {
            aec.process(&mut self.planes);
            for n in 0..self.piece {
                out.extend(self.planes.iter().map(|plane| plane[n]));
            }
            return;
        }
        let from: Vec<&[f32]> = self.planes.iter().map(Vec::as_slice).collect();
        let mut to: Vec<&mut [f32]> = self.processed.iter_mut().map(Vec::as_mut_slice).collect();
        let done = self.sonora.process_capture_f32(&from, &mut to);
        let result = if done.is_ok() { &self.processed } else { &self.planes };
        for n in 0..self.piece {
            out.extend(result.iter().map(|plane| plane[n]));
        }
    }

    /// Where a click comes out.
    fn measure(&mut self, echo: bool) -> usize {
        let mut click = vec![0.0; PROBE * self.piece * self.channels];
        let at = 4 * self.piece;
        click[at * self.channels] = 0.5;
        let mut out = Vec::new();
        self.process_beside(&click, &mut out, |library| {
            if echo {
                library.hear_nothing();
            }
        });
        let left = out.iter().step_by(self.channels).enumerate();
        let (peak, _) = left.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).unwrap_or((at, &0.0));
        peak.saturating_sub(at)
    }
}

impl Effects {
    fn config(self) -> Config {
        let noise_suppression = self.noise.map(|strength| NoiseSuppression {
            level: match strength {
                Strength::Low => NoiseSuppressionLevel::Low,
                Strength::Moderate => NoiseSuppressionLevel::Moderate,
                Strength::High => NoiseSuppressionLevel::High,
                Strength::VeryHigh => NoiseSuppressionLevel::VeryHigh,
            },
            ..NoiseSuppression::default()
        });
        // The library takes no 0.
        let most = self.gain.map_or(0.0, |gain| gain.max_gain_db).max(0.1);
        let gain_controller2 = self.gain.map(|gain| GainController2 {
            adaptive_digital: Some(AdaptiveDigital {
                headroom_db: gain.headroom_db,
                max_gain_db: most,
                initial_gain_db: AdaptiveDigital::default().initial_gain_db.min(most),
                ..AdaptiveDigital::default()
            }),
            ..GainController2::default()
        });
        let pipeline =
            Pipeline { maximum_internal_processing_rate: MaxProcessingRate::Rate48kHz, ..Pipeline::default() };
        Config { pipeline, noise_suppression, gain_controller2, ..Config::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(hz: u32) -> Rate {
        Rate::new(hz).unwrap()
    }

    #[test]
    fn what_comes_out_lies_the_delay_behind_what_went_in() {
        for hz in [8_000, 11_025, 16_000, 32_000, 44_100, 48_000, 96_000] {
            for effects in [
                Effects { noise: Some(Strength::Low), ..Effects::default() },
                Effects { gain: Some(Automatic { max_gain_db: 0.0, ..Automatic::default() }), ..Effects::default() },
            ] {
                let mut processor = Processor::new(rate(hz), Channels::MONO, effects).unwrap();
                let said: Vec<f32> = chirp(hz);
                let mut heard = Vec::new();
                for piece in said.chunks(777) {
                    processor.process(piece, &mut heard);
                }
                let lag = best_lag(&said, &heard, hz as usize / 20);
                assert!(lag.abs_diff(processor.delay()) <= 2, "{hz}: {lag}, said to be {}", processor.delay());
            }
        }
    }

    /// A second of a tone that rises, loud and soft as words are.
    fn chirp(hz: u32) -> Vec<f32> {
        let mut phase = 0.0_f64;
        (0..hz)
            .map(|n| {
                let t = f64::from(n) / f64::from(hz);
                phase += core::f64::consts::TAU * (200.0 + 1_500.0 * t) / f64::from(hz);
                (0.3 * phase.sin() * (t * 25.0).sin().powi(2)) as f32
            })
            .collect()
    }

    fn best_lag(said: &[f32], heard: &[f32], reach: usize) -> usize {
        let score = |lag: usize| said.iter().zip(&heard[lag..]).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        (0..reach).max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap()
    }

    #[test]
    fn what_the_library_does_not_take_is_refused() {
        assert!(Processor::new(rate(5_000), Channels::MONO, Effects::default()).is_err());
        assert!(Processor::new(rate(48_000), Channels::new(9).unwrap(), Effects::default()).is_err());
    }
}
