//! Takes out of a microphone what a loudspeaker plays.

use vox_frame::{Channels, Rate};

use crate::processor::PIECES;
use crate::reference::Reference;
use crate::{Processor, Unsupported};

/// How much earlier than its time the loudspeaker is taken to be heard, in ns: the canceller finds any echo that comes
/// after what it is of, but none that comes before, and what sound systems say of their delays is not that exact.
const MARGIN_NS: i64 = 20_000_000;

/// A microphone that does not hear the loudspeaker beside it: WebRTC's AEC3. Both have clocks of their own; times say
/// what belongs together.
pub struct EchoCanceller {
    processor: Processor,
    rate: Rate,
    reference: Option<Reference>,
    far: Vec<f32>,
}

impl EchoCanceller {
    /// For a microphone of that rate and with those channels.
    ///
    /// # Errors
    /// Where the library does not take such a stream.
    pub fn new(rate: Rate, channels: Channels) -> Result<Self, Unsupported> {
        Ok(Self { processor: Processor::against_echo(rate, channels)?, rate, reference: None, far: Vec::new() })
    }

    /// Frames that come out before the first that went in does.
    pub const fn delay(&self) -> usize {
        self.processor.delay()
    }

    /// Learns what the loudspeaker plays: mono samples at `rate`, from its frame `frame` on, heard from `at` on, in ns.
    pub fn play(&mut self, rate: Rate, frame: u64, at: i64, samples: &[f32]) {
        if self.reference.as_ref().is_none_or(|reference| reference.rate() != rate) {
            self.reference = Some(Reference::new(rate));
        }
        if let Some(reference) = &mut self.reference {
            reference.push(frame, at, samples);
        }
    }

    /// Takes what the microphone heard, interleaved, from `at` on, in ns, and appends what remains of it.
    pub fn process(&mut self, at: i64, samples: &[f32], out: &mut Vec<f32>) {
        let Self { processor, rate, reference, far } = self;
        let mut piece_at = at - rate.ns(processor.waiting() as u64);
        let piece_ns = rate.ns(processor.piece() as u64);
        processor.process_beside(samples, out, |library| {
            far.clear();
            match reference {
                Some(reference) => {
                    if let Some(aec) = library.aec() {
                        if let Some(later) = aec.moved() {
                            reference.found_later(later);
                        }
                        if reference.was_placed_anew() {
                            aec.placed_anew();
                        }
                    }
                    reference.take(piece_at + MARGIN_NS, (reference.rate().hz() / PIECES) as usize, far);
                    library.hear(reference.rate(), far);
                }
                None => library.hear_nothing(),
            }
            piece_at += piece_ns;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: usize = 16_000;
    const MS: i64 = 1_000_000;

    /// Noise with the rise and fall of syllables, and pauses.
    fn babble(seconds: usize, seed: u32, syllables: f64) -> Vec<f32> {
        let (mut state, mut low) = (seed, 0.0_f32);
        (0..seconds * HZ)
            .map(|n| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let white = (state >> 8) as f32 / 8_388_608.0 - 1.0;
                low += (white - low) * 0.4;
                let t = n as f64 / HZ as f64;
                let syllable = (t * syllables * core::f64::consts::PI).sin().powi(2);
                let word = f64::from(u8::from((t * 0.7 + f64::from(seed)).sin() > -0.6));
                low * (0.3 * syllable * word) as f32
            })
            .collect()
    }

    /// A room: the direct sound after 12 ms, 60 reflections that die away within 80 ms.
    fn room(dry: &[f32]) -> Vec<f32> {
        let mut taps = vec![(12 * HZ / 1_000, 0.5_f32)];
        let mut state = 99_u32;
        for _ in 0..60 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let ms = 13.0 + (state >> 16) as f32 / 65_536.0 * 70.0;
            let sign = if state & 0x1000 == 0 { 1.0 } else { -1.0 };
            taps.push(((ms * HZ as f32 / 1_000.0) as usize, sign * 0.25 * (-ms / 18.0).exp()));
        }
        let mut wet = vec![0.0; dry.len()];
        for (at, gain) in taps {
            wet[at..].iter_mut().zip(dry).for_each(|(out, sample)| *out += gain * sample);
        }
        wet
    }

    fn rms(samples: &[f32]) -> f64 {
        (samples.iter().map(|x| f64::from(x * x)).sum::<f64>() / samples.len() as f64).sqrt()
    }

    fn db(ratio: f64) -> f64 {
        20.0 * ratio.log10()
    }

    /// What a microphone that hears `near` and the echo of `far` gives; the loudspeaker's clock runs `ppm` faster than
    /// the microphone's, and the sound system is wrong by `wrong` ns about when it is heard.
    fn cancel(near: &[f32], far: &[f32], ppm: f64, wrong: i64) -> (Vec<f32>, Vec<f32>) {
        let rate = Rate::new(HZ as u32).unwrap();
        let echo = room(far);
        let mut canceller = EchoCanceller::new(rate, Channels::MONO).unwrap();
        let (mut heard, mut left) = (Vec::new(), Vec::new());
        let mut played = 0;
        for (n, piece) in near.chunks_exact(320).enumerate() {
            let now = n as i64 * 20 * MS;
            // What the loudspeaker will play in the next 80 ms is known.
            while played + 80 <= far.len() && at(played, ppm) < now + 80 * MS {
                canceller.play(rate, played as u64, at(played, ppm) + wrong, &far[played..played + 80]);
                played += 80;
            }
            let mixed: Vec<f32> = piece
                .iter()
                .enumerate()
                .map(|(k, near)| {
                    // The echo, on the microphone's clock.
                    let position = (n * 320 + k) as f64 * (1.0 + ppm * 1e-6);
                    let (whole, part) = (position as usize, position.fract() as f32);
                    let [a, b] = [whole, whole + 1].map(|at| echo.get(at).copied().unwrap_or(0.0));
                    near + a * (1.0 - part) + b * part
                })
                .collect();
            heard.extend_from_slice(&mixed);
            canceller.process(now, &mixed, &mut left);
        }
        left.drain(..canceller.delay());
        (heard, left)
    }

    /// When the loudspeaker plays a frame, by the microphone's clock.
    fn at(frame: usize, ppm: f64) -> i64 {
        (frame as f64 / HZ as f64 / (1.0 + ppm * 1e-6) * 1e9) as i64
    }

    #[test]
    fn at_least_40_db_of_echo_are_gone_whatever_the_clocks() {
        for (ppm, wrong) in [(0.0, 0), (60.0, 0), (-60.0, 10 * MS), (0.0, -25 * MS)] {
            let far = babble(20, 3, 3.1);
            let silence = vec![0.0; far.len()];
            let (heard, left) = cancel(&silence, &far, ppm, wrong);
            let last = 14 * HZ..19 * HZ;
            let gone = db(rms(&heard[last.clone()]) / rms(&left[last]));
            assert!(gone >= 40.0, "{gone} dB at {ppm} ppm, {wrong} ns wrong");
        }
    }

    fn alike(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>() / (rms(a) * rms(b) * a.len() as f64)
    }

    #[test]
    fn who_speaks_while_the_loudspeaker_does_is_heard() {
        let (far, near) = (babble(20, 3, 3.1), babble(20, 8, 2.3));
        for ppm in [0.0, 60.0] {
            let (heard, left) = cancel(&near, &far, ppm, 0);
            // What becomes of it where there is no echo: the filter against rumble turns the phase of the depths.
            let (_, alone) = cancel(&near, &vec![0.0; far.len()], 0.0, 0);
            let last = 12 * HZ..19 * HZ;
            let (alone, heard, left) = (&alone[last.clone()], &heard[last.clone()], &left[last]);
            let whole = alike(alone, left);
            let pieces = || alone.chunks(HZ / 8).zip(left.chunks(HZ / 8)).filter(|(alone, _)| rms(alone) > 0.01);
            let kept = pieces().filter(|(alone, left)| db(rms(left) / rms(alone)).abs() < 3.0).count();
            let share = kept as f64 / pieces().count() as f64;
            // The same colour and the same level as the loudspeaker's: real voices differ more.
            assert!(whole > 0.85, "{whole} like it at {ppm} ppm");
            assert!(share > 0.7, "{share} of it as loud at {ppm} ppm");
            assert!(rms(heard) > rms(alone));
        }
    }

    #[test]
    fn without_a_loudspeaker_the_microphone_is_as_it_was() {
        let near = babble(6, 8, 2.3);
        let silence = vec![0.0; near.len()];
        let (heard, left) = cancel(&near, &silence, 0.0, 0);
        let last = 2 * HZ..5 * HZ;
        assert!(db(rms(&left[last.clone()]) / rms(&heard[last])).abs() < 1.0);
    }
}
