//! Concealment for codecs that have none: the last pitch period goes on, and fades.
//!
//! After the idea of G.711 Appendix I: the period is where the recent past resembles itself most.

/// The pitch periods that are looked for, in ms: 400 Hz down to 66 Hz.
const PERIODS_MS: (usize, usize) = (2, 15);

/// How long the repeated past takes to fade to silence, in ms (G.711 Appendix I, section I.2).
const FADE_MS: usize = 60;

/// Remembers what was heard last, and goes on from there.
#[derive(Debug)]
pub(crate) struct Concealer {
    rate: usize,
    channels: usize,
    /// The last 45 ms, interleaved.
    history: Vec<f32>,
    /// The period that goes on, interleaved; empty while nothing is missing.
    period: Vec<f32>,
    /// Frames concealed in a row.
    concealed: usize,
}

impl Concealer {
    pub(crate) fn new(rate: usize, channels: usize) -> Self {
        Self { rate, channels, history: Vec::new(), period: Vec::new(), concealed: 0 }
    }

    /// Takes what is heard.
    pub(crate) fn heard(&mut self, samples: &[f32]) {
        let most = 3 * self.ms(PERIODS_MS.1) * self.channels;
        let recent = &samples[samples.len().saturating_sub(most)..];
        self.history.extend_from_slice(recent);
        let excess = self.history.len().saturating_sub(most);
        self.history.drain(..excess);
        self.period.clear();
        self.concealed = 0;
    }

    /// Appends `frames` of what might have been.
    pub(crate) fn conceal(&mut self, frames: usize, out: &mut Vec<f32>) {
        if self.period.is_empty() {
            let period = self.best_period() * self.channels;
            self.period.extend_from_slice(&self.history[self.history.len() - period.min(self.history.len())..]);
        }
        let fade = self.ms(FADE_MS).max(1);
        let period = self.period.len() / self.channels;
        for _ in 0..frames {
            let gain = 1.0 - self.concealed.min(fade) as f32 / fade as f32;
            let at = self.concealed.checked_rem(period).unwrap_or(0) * self.channels;
            for channel in 0..self.channels {
                out.push(self.period.get(at + channel).map_or(0.0, |sample| sample * gain));
            }
            self.concealed = self.concealed.saturating_add(1);
        }
    }

    const fn ms(&self, ms: usize) -> usize {
        self.rate * ms / 1000
    }

    /// The lag, in frames, at which the past is most like itself.
    fn best_period(&self) -> usize {
        let mono: Vec<f32> = self.history.chunks_exact(self.channels).map(|frame| frame.iter().sum()).collect();
        let (least, most) = (self.ms(PERIODS_MS.0).max(1), self.ms(PERIODS_MS.1).max(2));
        let window = most;
        if mono.len() < window + most {
            return mono.len();
        }
        let recent = &mono[mono.len() - window..];
        // Every second sample is enough to find a period, and the search stays cheap at high rates.
        let step = (self.rate / 16_000).max(1);
        let likeness = |lag: usize| {
            let past = &mono[mono.len() - window - lag..mono.len() - lag];
            let (mut dot, mut power) = (0.0f32, 1e-9f32);
            for (a, b) in recent.iter().zip(past).step_by(step) {
                dot += a * b;
                power += b * b;
            }
            dot / power.sqrt()
        };
        (least..=most)
            .step_by(step)
            .map(|lag| (likeness(lag), lag))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map_or(most, |(_, lag)| lag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_goes_on_in_phase() {
        let tone = |n: usize| (n as f32 * 200.0 * core::f32::consts::TAU / 8000.0).sin() * 0.5;
        let mut concealer = Concealer::new(8000, 1);
        concealer.heard(&(0..800).map(tone).collect::<Vec<_>>());
        let mut out = Vec::new();
        concealer.conceal(40, &mut out);
        for (n, sample) in out.iter().enumerate() {
            assert!((sample - tone(800 + n)).abs() < 0.06, "sample {n}: {sample} instead of {}", tone(800 + n));
        }
    }

    #[test]
    fn a_long_gap_fades_to_silence() {
        let mut concealer = Concealer::new(8000, 1);
        concealer.heard(&[0.5; 800]);
        let mut out = Vec::new();
        concealer.conceal(800, &mut out);
        assert!(out[..8].iter().all(|sample| *sample > 0.4));
        assert!(out[480..].iter().all(|sample| *sample == 0.0));
    }

    #[test]
    fn nothing_heard_is_concealed_by_silence() {
        let mut out = Vec::new();
        Concealer::new(8000, 2).conceal(3, &mut out);
        assert_eq!(out, [0.0; 6]);
    }
}
