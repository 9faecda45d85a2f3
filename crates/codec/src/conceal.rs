//! Concealment for codecs that have none: the last pitch periods go on, and fade.
//!
//! After G.711 Appendix I, without its delay of 3.75 ms: instead of holding the last samples back to blend them, what is
//! made up begins where the sound left off and comes back to the period within a quarter of it.

/// The pitch periods that are looked for, in us: 400 Hz down to 66 Hz (Appendix I.2.2).
const PERIODS_US: (usize, usize) = (2_500, 15_000);

/// How much of the past is compared, in us (Appendix I.2.2: 20 ms).
const WINDOW_US: usize = 20_000;

/// After each of these one period more takes part, up to three, so that nothing buzzes (Appendix I.2.5).
const STAGE_US: usize = 10_000;

/// The periods that take part at most.
const STAGES: usize = 3;

/// How long it lasts until there is silence (Appendix I.2.6: 20 % less every 10 ms after the first).
const SILENT_US: usize = 60_000;

/// What is blended with the next packet, in us: a quarter of a period, and 4 ms for every 10 ms of gap, at most this
/// (Appendix I.2.7).
const MERGE_US: usize = 10_000;

/// Remembers what was heard last, and goes on from there.
#[derive(Debug)]
pub(crate) struct Concealer {
    rate: usize,
    channels: usize,
    /// The last frames that were heard, interleaved.
    history: Vec<f32>,
    /// What goes on: a template of every number of periods, interleaved; empty while nothing is missing.
    templates: Vec<Vec<f32>>,
    /// The period, in frames.
    period: usize,
    /// The step at the seam, for every channel.
    step: Vec<f32>,
    /// Frames concealed in a row.
    concealed: usize,
}

impl Concealer {
    pub(crate) const fn new(rate: usize, channels: usize) -> Self {
        Self { rate, channels, history: Vec::new(), templates: Vec::new(), period: 0, step: Vec::new(), concealed: 0 }
    }

    /// Takes what was decoded; behind a gap its beginning is blended with what would have gone on.
    pub(crate) fn heard(&mut self, samples: &mut [f32]) {
        if self.concealed > 0 {
            self.merge(samples);
            self.concealed = 0;
            self.templates.clear();
        }
        self.remember(samples);
    }

    /// Appends `frames` of what might have been.
    pub(crate) fn conceal(&mut self, frames: usize, out: &mut Vec<f32>) {
        if self.templates.is_empty() {
            self.prepare();
        }
        let begin = out.len();
        out.reserve(frames * self.channels);
        for _ in 0..frames {
            let gain = self.gain(self.concealed);
            for channel in 0..self.channels {
                out.push(gain * self.sample(self.concealed, channel));
            }
            self.concealed = self.concealed.saturating_add(1);
        }
        // The next gap looks back at what was heard, made up or not.
        self.remember(&out[begin..]);
    }

    /// Blends what would have gone on into the beginning of `samples`.
    fn merge(&mut self, samples: &mut [f32]) {
        let gap_ms = self.concealed * 1_000 / self.rate;
        let length = self.period / 4 + self.frames(4_000) * (gap_ms / 10).min(9);
        let length = length.clamp(self.frames(1_000), self.frames(MERGE_US)).min(samples.len() / self.channels);
        for frame in 0..length {
            let share = (frame as f32 + 0.5) / length as f32;
            let gain = self.gain(self.concealed) * (1.0 - share);
            for channel in 0..self.channels {
                let made = gain * self.sample(self.concealed, channel);
                let sample = &mut samples[frame * self.channels + channel];
                *sample = *sample * share + made;
            }
            self.concealed += 1;
        }
    }

    fn remember(&mut self, samples: &[f32]) {
        let most = (self.frames(WINDOW_US) + (STAGES + 1) * self.frames(PERIODS_US.1)) * self.channels;
        let recent = &samples[samples.len().saturating_sub(most)..];
        self.history.extend_from_slice(recent);
        let excess = self.history.len().saturating_sub(most);
        self.history.drain(..excess);
    }

    /// How loud the frame `at` of the gap is.
    fn gain(&self, at: usize) -> f32 {
        let (first, last) = (self.frames(STAGE_US), self.frames(SILENT_US));
        1.0 - at.saturating_sub(first).min(last - first) as f32 / (last - first) as f32
    }

    /// The frame `at` of the gap, before it is faded.
    fn sample(&self, at: usize, channel: usize) -> f32 {
        let stage = at / self.frames(STAGE_US).max(1);
        let blend = (self.period / 4).max(1);
        let value = |stage: usize| {
            self.templates.get(stage.min(STAGES - 1)).map_or(0.0, |template| self.turn(template, at, channel))
        };
        let now = value(stage);
        let since = at - stage * self.frames(STAGE_US).max(1);
        let sound = if (1..STAGES).contains(&stage) && since < blend {
            let share = since as f32 / blend as f32;
            value(stage - 1) * (1.0 - share) + now * share
        } else {
            now
        };
        let step = if at < blend {
            self.step.get(channel).copied().unwrap_or(0.0) * (1.0 - at as f32 / blend as f32)
        } else {
            0.0
        };
        sound + step
    }

    /// The sample of a template that is played `at` frames into the gap: the last of its periods comes first.
    fn turn(&self, template: &[f32], at: usize, channel: usize) -> f32 {
        let frames = template.len() / self.channels;
        if frames == 0 {
            return 0.0;
        }
        let at = (at + frames - self.period) % frames;
        template.get(at * self.channels + channel).copied().unwrap_or(0.0)
    }

    /// Finds the period, and makes the templates: the end of each flows into its beginning.
    fn prepare(&mut self) {
        self.period = self.best_period().max(1);
        let (channels, heard) = (self.channels, self.history.len() / self.channels);
        let at = |frame: usize, channel: usize| self.history.get(frame * channels + channel).copied().unwrap_or(0.0);
        self.templates = (1..=STAGES)
            .map(|periods| {
                let length = (self.period * periods).min(heard);
                let blend = (self.period / 4).min(heard - length);
                let begin = heard - length;
                let mut template = self.history[begin * channels..].to_vec();
                for frame in 0..blend {
                    // The last of it turns into what was before its beginning.
                    let share = (frame + 1) as f32 / blend as f32;
                    for channel in 0..channels {
                        let sample = &mut template[(length - blend + frame) * channels + channel];
                        *sample = *sample * (1.0 - share) + at(begin - blend + frame, channel) * share;
                    }
                }
                template
            })
            .collect();
        self.step = (0..channels)
            .map(|channel| match (heard.checked_sub(1), heard.checked_sub(self.period + 1)) {
                (Some(last), Some(before)) => at(last, channel) - at(before, channel),
                (Some(last), None) => at(last, channel) - self.turn(&self.templates[0], 0, channel),
                _ => 0.0,
            })
            .collect();
    }

    const fn frames(&self, us: usize) -> usize {
        self.rate * us / 1_000_000
    }

    /// The lag, in frames, at which the past is most like itself.
    fn best_period(&self) -> usize {
        let mono: Vec<f32> = self.history.chunks_exact(self.channels).map(|frame| frame.iter().sum()).collect();
        let (least, most) = (self.frames(PERIODS_US.0).max(1), self.frames(PERIODS_US.1).max(2));
        let window = self.frames(WINDOW_US);
        if mono.len() < window + most {
            return mono.len().min(most);
        }
        let recent = &mono[mono.len() - window..];
        let likeness = |lag: usize, step: usize| {
            let past = &mono[mono.len() - window - lag..mono.len() - lag];
            let (mut dot, mut power) = (0.0f32, 1e-9f32);
            for (a, b) in recent.iter().zip(past).step_by(step) {
                dot += a * b;
                power += b * b;
            }
            dot / power.sqrt()
        };
        // Every eighth of a millisecond is enough to find it, and then every frame around.
        let step = (self.rate / 8_000).max(1);
        let best = |lags: std::iter::StepBy<core::ops::RangeInclusive<usize>>, step| {
            lags.map(|lag| (likeness(lag, step), lag)).max_by(|a, b| a.0.total_cmp(&b.0)).map_or(most, |(_, lag)| lag)
        };
        let near = best((least..=most).step_by(step), step);
        best((near.saturating_sub(step - 1).max(least)..=(near + step - 1).min(most)).step_by(1), 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f32, rate: f32, from: usize, frames: usize) -> Vec<f32> {
        (from..from + frames).map(|n| (n as f32 * hz * core::f32::consts::TAU / rate).sin() * 0.5).collect()
    }

    #[test]
    fn a_tone_goes_on_in_phase() {
        let mut concealer = Concealer::new(8000, 1);
        concealer.heard(&mut tone(200.0, 8000.0, 0, 800));
        let mut out = Vec::new();
        concealer.conceal(80, &mut out);
        for (n, (made, real)) in out.iter().zip(tone(200.0, 8000.0, 800, 80)).enumerate() {
            assert!((made - real).abs() < 0.02, "sample {n}: {made} instead of {real}");
        }
    }

    #[test]
    fn a_long_gap_fades_to_silence() {
        let mut concealer = Concealer::new(8000, 1);
        concealer.heard(&mut tone(200.0, 8000.0, 0, 800));
        let mut out = Vec::new();
        concealer.conceal(800, &mut out);
        assert!(out[..80].iter().any(|sample| sample.abs() > 0.4));
        assert!(out[480..].iter().all(|sample| *sample == 0.0));
    }

    #[test]
    fn nothing_heard_is_concealed_by_silence() {
        let mut out = Vec::new();
        Concealer::new(8000, 2).conceal(3, &mut out);
        assert_eq!(out, [0.0; 6]);
    }

    #[test]
    fn neither_the_beginning_nor_the_end_of_a_gap_clicks() {
        for (rate, hz) in [(8_000, 210.0), (48_000, 333.0)] {
            let frame = rate / 50;
            let mut concealer = Concealer::new(rate, 1);
            let mut out = Vec::new();
            for n in 0..100 {
                if n % 5 == 4 || n % 13 == 6 {
                    concealer.conceal(frame, &mut out);
                } else {
                    let mut samples = tone(hz, rate as f32, n * frame, frame);
                    concealer.heard(&mut samples);
                    out.extend_from_slice(&samples);
                }
            }
            let own = 0.5 * (core::f32::consts::TAU * hz / rate as f32).powi(2);
            let worst = out[2..].windows(3).map(|w| (w[0] - 2.0 * w[1] + w[2]).abs()).fold(0.0, f32::max);
            let step = out[2..].windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
            let slope = 0.5 * core::f32::consts::TAU * hz / rate as f32;
            assert!(worst < own + 0.12 * slope, "a kink of {worst} at {rate} Hz, the tone's own is {own}");
            assert!(step < 1.15 * slope, "a step of {step} at {rate} Hz, the tone's own is {slope}");
        }
    }

    #[test]
    fn channels_stay_apart() {
        let mut concealer = Concealer::new(8000, 2);
        let mut heard: Vec<f32> = tone(200.0, 8000.0, 0, 800).iter().flat_map(|&x| [x, 0.0]).collect();
        concealer.heard(&mut heard);
        let mut out = Vec::new();
        concealer.conceal(160, &mut out);
        assert!(out.chunks(2).all(|frame| frame[1] == 0.0) && out.iter().any(|x| x.abs() > 0.3));
    }
}
