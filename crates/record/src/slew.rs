//! Stretches a stream by parts in a million, and not at all where there is nothing to stretch.
//!
//! The filter is a windowed sinc that is all-pass at a shift of zero: as long as the ratio is 1, samples pass bit by
//! bit, and when it changes nothing jumps. A general resampler filters always, so it would change every recording whose
//! clocks are equal.

/// Input frames on either side of an output frame.
const HALF: usize = 16;

/// Shifts between two frames for which the filter is kept; between them it is interpolated.
const SHIFTS: usize = 256;

/// How the window falls off (Kaiser): side lobes are 80 dB down.
const BETA: f64 = 8.0;

/// A resampler whose ratio is near 1 and changes all the time.
pub(crate) struct Slew {
    channels: usize,
    filter: Vec<f32>,
    /// Frames that are still needed, interleaved; the first `HALF` lie before the next output frame.
    frames: Vec<f32>,
    /// How far behind frame `HALF` the next output frame lies, 0 to 1.
    shift: f64,
}

impl Slew {
    pub(crate) fn new(channels: usize) -> Self {
        Self { channels, filter: Vec::new(), frames: vec![0.0; HALF * channels], shift: 0.0 }
    }

    /// Input frames that have not come out yet.
    pub(crate) fn pending(&self) -> f64 {
        (self.frames.len() / self.channels - HALF) as f64 - self.shift
    }

    /// Appends what `input` becomes when each frame lasts `ratio` frames.
    pub(crate) fn process(&mut self, input: &[f32], ratio: f64, out: &mut Vec<f32>) {
        self.frames.extend_from_slice(input);
        let there = self.frames.len() / self.channels;
        if ratio == 1.0 && self.shift == 0.0 {
            let ready = there.saturating_sub(2 * HALF);
            out.extend_from_slice(&self.frames[HALF * self.channels..(HALF + ready) * self.channels]);
            self.frames.drain(..ready * self.channels);
            return;
        }
        if self.filter.is_empty() {
            self.filter = filter();
        }
        let step = 1.0 / ratio;
        let mut at = 0;
        while at + 2 * HALF < there {
            self.output(at, out);
            self.shift += step;
            let whole = self.shift as usize;
            self.shift -= whole as f64;
            at += whole;
        }
        let at = at.min(there - HALF);
        self.frames.drain(..at * self.channels);
    }

    /// Appends the rest and begins anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<f32>) {
        let wanted = (self.pending().round().max(0.0) as usize) * self.channels;
        let begin = out.len();
        self.process(&vec![0.0; 2 * HALF * self.channels], 1.0, out);
        out.truncate(begin + wanted);
        self.frames.clear();
        self.frames.resize(HALF * self.channels, 0.0);
        self.shift = 0.0;
    }

    /// The output frame that lies `shift` behind frame `at + HALF`.
    fn output(&self, at: usize, out: &mut Vec<f32>) {
        let exact = self.shift * SHIFTS as f64;
        let (row, part) = (exact as usize, (exact - exact.floor()) as f32);
        let taps = 2 * HALF;
        let (low, high) =
            (&self.filter[row * taps..(row + 1) * taps], &self.filter[(row + 1) * taps..(row + 2) * taps]);
        for channel in 0..self.channels {
            let mut sum = 0.0;
            for tap in 0..taps {
                let weight = low[tap] + (high[tap] - low[tap]) * part;
                sum += weight * self.frames[(at + 1 + tap) * self.channels + channel];
            }
            out.push(sum);
        }
    }
}

/// For every shift, the weights of the frames from `1 - HALF` to `HALF` around it.
fn filter() -> Vec<f32> {
    let mut rows = Vec::with_capacity((SHIFTS + 1) * 2 * HALF);
    for row in 0..=SHIFTS {
        let shift = row as f64 / SHIFTS as f64;
        for tap in 0..2 * HALF {
            let distance = tap as f64 + 1.0 - HALF as f64 - shift;
            rows.push((sinc(distance) * window(distance / HALF as f64)) as f32);
        }
    }
    rows
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    if x.fract() == 0.0 {
        return 0.0;
    }
    let x = x * core::f64::consts::PI;
    x.sin() / x
}

/// Kaiser's window at -1 to 1.
fn window(x: f64) -> f64 {
    bessel(BETA * (1.0 - x * x).max(0.0).sqrt()) / bessel(BETA)
}

/// The modified Bessel function of the first kind and order zero.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..40 {
        term *= (x / 2.0 / f64::from(n)).powi(2);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frames: usize, step: f64) -> Vec<f32> {
        (0..frames).map(|n| ((n as f64 * step * 0.1).sin() * 0.5) as f32).collect()
    }

    #[test]
    fn a_ratio_of_one_changes_no_bit() {
        let input: Vec<f32> = (0..5_000).map(|n| ((n * 7919) % 2001) as f32 / 1000.0 - 1.0).collect();
        let (mut slew, mut out) = (Slew::new(2), Vec::new());
        for piece in input.chunks(74) {
            slew.process(piece, 1.0, &mut out);
        }
        slew.finish(&mut out);
        assert_eq!(out, input);
    }

    #[test]
    fn a_stretched_tone_is_the_slower_tone() {
        for ppm in [-1000.0, -20.0, 20.0, 1000.0] {
            let ratio = 1.0 + ppm * 1e-6;
            let (mut slew, mut out) = (Slew::new(1), Vec::new());
            for piece in tone(48_000, 1.0).chunks(480) {
                slew.process(piece, ratio, &mut out);
            }
            slew.finish(&mut out);
            let length = 48_000.0 * ratio;
            assert!((out.len() as f64 - length).abs() <= 1.5, "{} frames for {length}", out.len());
            let expected = tone(out.len(), 1.0 / ratio);
            let worst = out[100..out.len() - 100].iter().zip(&expected[100..]).map(|(a, b)| (a - b).abs());
            assert!(worst.fold(0.0_f32, f32::max) < 3e-4, "{ppm} ppm");
        }
    }

    #[test]
    fn nothing_jumps_when_the_ratio_changes() {
        let (mut slew, mut out) = (Slew::new(1), Vec::new());
        for (n, piece) in tone(48_000, 1.0).chunks(480).enumerate() {
            slew.process(piece, [1.0, 1.0005, 0.9995][n / 20 % 3], &mut out);
        }
        let steepest = out.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0_f32, f32::max);
        assert!(steepest < 0.0505, "{steepest}");
    }
}
