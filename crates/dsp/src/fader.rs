//! A gain that somebody moves while samples pass: no step of it is heard.

use vox_frame::{Channels, Rate};

/// How long a move takes, in ns: short for a person, long for a loudspeaker.
const MOVE_NS: i64 = 5_000_000;

/// Multiplies samples by a gain that may change at any time, and moves there in a straight line.
#[derive(Debug, Clone)]
pub struct Fader {
    channels: usize,
    /// Frames of a move.
    frames: u64,
    gain: f32,
    target: f32,
    /// Frames until the target is reached.
    left: u64,
}

impl Fader {
    /// For samples of that rate and with those channels, at `gain` from the beginning.
    pub fn new(rate: Rate, channels: Channels, gain: f32) -> Self {
        let frames = rate.ticks(MOVE_NS).max(1);
        Self { channels: channels.count(), frames, gain, target: gain, left: 0 }
    }

    /// Whether [`apply`](Self::apply) would change nothing.
    pub fn is_idle(&self, gain: f32) -> bool {
        gain == 1.0 && self.gain == 1.0
    }

    /// Whether [`apply`](Self::apply) would leave nothing.
    pub fn is_silent(&self, gain: f32) -> bool {
        gain == 0.0 && self.gain == 0.0
    }

    /// Moves to `gain`, and multiplies interleaved samples on the way and there.
    pub fn apply(&mut self, samples: &mut [f32], gain: f32) {
        if gain != self.target {
            (self.target, self.left) = (gain, self.frames);
        }
        for frame in samples.chunks_mut(self.channels) {
            if self.left > 0 {
                self.gain += (self.target - self.gain) / self.left as f32;
                self.left -= 1;
                if self.left == 0 {
                    self.gain = self.target;
                }
            }
            frame.iter_mut().for_each(|sample| *sample *= self.gain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fader(gain: f32) -> Fader {
        Fader::new(Rate::HZ_48000, Channels::STEREO, gain)
    }

    #[test]
    fn a_move_takes_5_ms_in_equal_steps() {
        let mut fader = fader(1.0);
        let mut samples = [1.0; 960];
        fader.apply(&mut samples, 0.0);
        for (n, frame) in samples.chunks(2).enumerate() {
            let expected = 1.0 - (n as f32 + 1.0).min(240.0) / 240.0;
            assert!((frame[0] - expected).abs() < 1e-4 && frame[0] == frame[1], "{n}: {frame:?}");
        }
        assert!(samples[480..].iter().all(|sample| *sample == 0.0), "and there it stays");
        assert!(fader.is_silent(0.0) && !fader.is_silent(1.0));
    }

    #[test]
    fn whoever_changes_his_mind_halfway_hears_no_step() {
        let mut fader = fader(1.0);
        let mut samples = [1.0; 200];
        fader.apply(&mut samples, 0.0);
        let before = samples[199];
        let mut samples = [1.0; 960];
        fader.apply(&mut samples, 1.0);
        assert!((samples[0] - before).abs() < 0.01 && samples[479] == 1.0, "{before} {}", samples[0]);
    }

    #[test]
    fn where_nothing_is_asked_for_nothing_changes() {
        let mut fader = fader(1.0);
        assert!(fader.is_idle(1.0) && !fader.is_idle(0.5));
        let mut samples = [0.3, -0.7];
        fader.apply(&mut samples, 1.0);
        assert_eq!(samples, [0.3, -0.7]);
    }
}
