//! Levels of samples: peak, RMS, loudness, and whether somebody talks.

use ebur128::{EbuR128, Mode};
use vox_frame::{Channels, Rate};

/// The level of digital silence, in dB: JSON has no infinity.
pub(crate) const SILENCE_DB: f64 = -120.0;

/// How much sound is looked at at once to tell talk from silence, in ns.
const WINDOW_NS: i64 = 20_000_000;

/// How long it goes on to be talk after the last loud window, in ns: pauses between words are shorter.
const HANG_NS: i64 = 300_000_000;

/// How fast the peak of a bar falls, in dB a second (IEC 60268-18: 20 dB in 1.7 s).
const FALL_DB_S: f64 = 11.8;

/// The meters of one stream.
pub(crate) struct Level {
    rate: Rate,
    channels: usize,
    loudness: Option<EbuR128>,
    talk_from: f64,
    window: Window,
    /// Since the last report.
    peak: f32,
    power: f64,
    frames: u64,
    /// The largest peak of all.
    pub(crate) max_peak: f32,
    /// The peak that a bar shows, in dB.
    falling: f64,
    hang: u64,
    /// Frames in which somebody talked.
    pub(crate) talked: u64,
    pub(crate) all: u64,
}

#[derive(Default)]
struct Window {
    power: f64,
    frames: u64,
}

/// What there was since the last report, in dB of full scale and LUFS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    pub(crate) peak_db: f64,
    pub(crate) rms_db: f64,
    /// Of the last 400 ms, the last 3 s, and all of it (EBU Tech 3341).
    pub(crate) momentary: f64,
    pub(crate) short_term: f64,
    pub(crate) integrated: f64,
}

impl Level {
    pub(crate) fn new(rate: Rate, channels: Channels, talk_from: f64) -> Self {
        let count = channels.count();
        // A histogram keeps the memory of an endless stream bounded. Without K-weighting for so odd a rate or so many
        // channels there is no loudness.
        let mode = Mode::M | Mode::S | Mode::I | Mode::HISTOGRAM;
        Self {
            rate,
            channels: count,
            loudness: EbuR128::new(count as u32, rate.hz(), mode).ok(),
            talk_from,
            window: Window::default(),
            peak: 0.0,
            power: 0.0,
            frames: 0,
            max_peak: 0.0,
            falling: SILENCE_DB,
            hang: 0,
            talked: 0,
            all: 0,
        }
    }

    /// The meters of a stream of which only levels are known: there is no loudness.
    pub(crate) fn told(rate: Rate, talk_from: f64) -> Self {
        Self { loudness: None, ..Self::new(rate, Channels::MONO, talk_from) }
    }

    /// Whether there is a loudness.
    pub(crate) const fn has_loudness(&self) -> bool {
        self.loudness.is_some()
    }

    /// Takes frames of which only the level is known, in dB of full scale.
    pub(crate) fn add_level(&mut self, db: f64, frames: u64) {
        let amplitude = if db <= -127.0 { 0.0 } else { 10f64.powf(db / 20.0) };
        // No record lasts longer than a minute, whatever it says.
        let frames = frames.min(60 * u64::from(self.rate.hz())) as usize;
        self.add(&vec![amplitude as f32; frames]);
    }

    /// Takes interleaved samples.
    pub(crate) fn add(&mut self, samples: &[f32]) {
        if let Some(loudness) = &mut self.loudness {
            let _cannot = loudness.add_frames_f32(samples);
        }
        let window = self.rate.ticks(WINDOW_NS).max(1);
        let before = self.peak;
        for frame in samples.chunks_exact(self.channels) {
            let power = frame.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / self.channels as f64;
            self.peak = frame.iter().fold(self.peak, |peak, sample| peak.max(sample.abs()));
            self.power += power;
            self.window.power += power;
            self.window.frames += 1;
            if self.window.frames == window {
                self.close_window();
            }
        }
        let frames = (samples.len() / self.channels) as u64;
        self.frames += frames;
        self.all += frames;
        self.max_peak = self.max_peak.max(self.peak);
        self.fall(frames, if self.peak > before { self.peak } else { peak_of(samples) });
    }

    /// Takes that much silence.
    pub(crate) fn add_silence(&mut self, frames: u64) {
        // Long silence changes no meter that a second of it does not.
        let second = u64::from(self.rate.hz());
        let mut left = frames.min(4 * second) as usize;
        let zeros = vec![0.0; 960 * self.channels];
        while left > 0 {
            let chunk = left.min(960);
            self.add(&zeros[..chunk * self.channels]);
            left -= chunk;
        }
        self.all += frames.saturating_sub(4 * second);
    }

    /// Whether somebody talks, or has until a moment ago.
    pub(crate) const fn talks(&self) -> bool {
        self.hang > 0
    }

    /// The peak that a bar shows, in dB.
    pub(crate) const fn bar_peak_db(&self) -> f64 {
        self.falling
    }

    /// What there was since the last reading; begins anew.
    pub(crate) fn read(&mut self) -> Reading {
        let reading = self.peek();
        (self.peak, self.power, self.frames) = (0.0, 0.0, 0);
        reading
    }

    /// What there was since the last reading.
    pub(crate) fn peek(&self) -> Reading {
        let lufs = |of: fn(&EbuR128) -> Result<f64, ebur128::Error>| {
            let value = self.loudness.as_ref().and_then(|loudness| of(loudness).ok());
            value.filter(|value| value.is_finite()).map_or(SILENCE_DB, |value| value.max(SILENCE_DB))
        };
        Reading {
            peak_db: db(f64::from(self.peak)),
            rms_db: db((self.power / self.frames.max(1) as f64).sqrt()),
            momentary: lufs(EbuR128::loudness_momentary),
            short_term: lufs(EbuR128::loudness_shortterm),
            integrated: lufs(EbuR128::loudness_global),
        }
    }

    fn close_window(&mut self) {
        let Window { power, frames } = std::mem::take(&mut self.window);
        let loud = db((power / frames as f64).sqrt()) >= self.talk_from;
        self.hang = if loud { self.rate.ticks(HANG_NS) } else { self.hang.saturating_sub(frames) };
        if self.hang > 0 {
            self.talked += frames;
        }
    }

    fn fall(&mut self, frames: u64, peak: f32) {
        let fallen = self.falling - FALL_DB_S * frames as f64 / f64::from(self.rate.hz());
        self.falling = fallen.max(db(f64::from(peak))).max(SILENCE_DB);
    }
}

fn peak_of(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
}

/// An amplitude in dB of full scale.
pub(crate) fn db(amplitude: f64) -> f64 {
    if amplitude > 0.0 { (20.0 * amplitude.log10()).max(SILENCE_DB) } else { SILENCE_DB }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::HZ_48000;

    fn tone(hz: f64, amplitude: f64, frames: usize) -> Vec<f32> {
        let step = core::f64::consts::TAU * hz / 48_000.0;
        (0..frames).map(|n| (amplitude * (n as f64 * step).sin()) as f32).collect()
    }

    #[test]
    fn a_sine_has_its_rms_3_db_below_its_peak() {
        let mut level = Level::new(RATE, Channels::MONO, -45.0);
        level.add(&tone(997.0, 0.5, 48_000));
        let reading = level.read();
        assert!((reading.peak_db + 6.02).abs() < 0.01 && (reading.rms_db + 9.03).abs() < 0.01, "{reading:?}");
        assert_eq!(level.read().peak_db, SILENCE_DB, "a reading begins anew");
    }

    #[test]
    fn loudness_is_that_of_ebu_tech_3341() {
        // Test 1: a stereo sine of 1 kHz at -23 dBFS is -23 LUFS.
        let mut level = Level::new(RATE, Channels::STEREO, -45.0);
        let amplitude = 10f64.powf(-23.0 / 20.0);
        for chunk in tone(1_000.0, amplitude, 48_000 * 20).chunks(960) {
            level.add(&chunk.iter().flat_map(|sample| [*sample, *sample]).collect::<Vec<_>>());
        }
        let reading = level.read();
        for loudness in [reading.momentary, reading.short_term, reading.integrated] {
            assert!((loudness + 23.0).abs() < 0.1, "{reading:?}");
        }
    }

    #[test]
    fn talk_ends_a_moment_after_the_last_loud_sound() {
        let mut level = Level::new(RATE, Channels::MONO, -45.0);
        level.add_silence(48_000);
        assert!(!level.talks());
        level.add(&tone(300.0, 0.1, 48_000));
        assert!(level.talks());
        level.add_silence(9_600);
        assert!(level.talks(), "a pause between words");
        level.add_silence(9_600);
        assert!(!level.talks());
        assert!((level.talked as f64 / 48_000.0 - 1.3).abs() < 0.05, "{}", level.talked);
    }

    #[test]
    fn a_level_that_is_told_is_the_one_that_is_shown() {
        let mut level = Level::told(RATE, -45.0);
        level.add_level(-30.0, 9_600);
        let reading = level.read();
        assert!((reading.rms_db + 30.0).abs() < 0.01 && level.talks() && !level.has_loudness(), "{reading:?}");
        level.add_level(-127.0, 48_000);
        assert!(level.read().rms_db == SILENCE_DB && !level.talks());
    }

    #[test]
    fn a_day_of_silence_takes_no_time() {
        let mut level = Level::new(RATE, Channels::MONO, -45.0);
        level.add_silence(48_000 * 86_400);
        assert_eq!(level.all, 48_000 * 86_400);
        assert_eq!(level.read().integrated, SILENCE_DB);
    }
}
