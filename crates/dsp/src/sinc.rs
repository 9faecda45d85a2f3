//! A stream between its frames, a little faster or slower: interpolation by a windowed sinc.
//!
//! A library's resampler takes every channel for itself. Most of what is played is speech, mono on the channels of a
//! stereo loudspeaker: here channels that are alike are computed once.

use core::f64::consts::{PI, TAU};

/// Steps between two frames for which the filter is tabulated, as a power of two; between these it is linear.
const PHASE_BITS: u32 = 7;

/// A part of a frame is counted in bits; of a step between two phases so many are left.
const STEP_BITS: u32 = u32::BITS - PHASE_BITS;

/// Floats that are summed beside each other.
const LANES: usize = 8;

/// Frames that are computed at once.
const AT_ONCE: usize = 32;

/// Interpolates interleaved `f32` frames by a filter of so many of them. What comes out next lies half of them behind the end
/// of the input.
pub(crate) struct Sinc<const TAPS: usize> {
    /// A row of taps for each phase, and the one behind the last.
    table: Vec<[f32; TAPS]>,
    /// The frames that are still needed, a channel each.
    planes: Vec<Vec<f32>>,
    next: Place,
    /// How many of the last frames have the same in all channels.
    alike: usize,
    /// What comes out of one channel.
    single: Vec<f32>,
}

/// Where the next frame lies that comes out.
#[derive(Clone, Copy)]
struct Place {
    /// The first frame that it is made of.
    at: usize,
    /// How far it lies behind the middle of these, in parts of a frame: 2^32 are one.
    fraction: u32,
}

impl Place {
    /// Frames that lie before `until`, one every `step` parts of a frame.
    fn before(self, until: usize, step: u64) -> usize {
        let parts = ((until as u64) << u32::BITS).saturating_sub(self.parts());
        parts.div_ceil(step) as usize
    }

    const fn after(self, frames: usize, step: u64) -> Self {
        let parts = self.parts() + frames as u64 * step;
        Self { at: (parts >> u32::BITS) as usize, fraction: parts as u32 }
    }

    const fn parts(self) -> u64 {
        ((self.at as u64) << u32::BITS) + self.fraction as u64
    }
}

/// How far a filter has come in its input.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    next: Place,
    /// Frames that it holds.
    length: usize,
}

impl<const TAPS: usize> Sinc<TAPS> {
    /// For so many channels, behind silence.
    pub(crate) fn new(channels: usize) -> Self {
        assert!(TAPS.is_multiple_of(LANES), "a filter is a number of whole lanes");
        let planes = vec![vec![0.0; TAPS - 1]; channels];
        let next = Place { at: 0, fraction: 0 };
        Self { table: table(), planes, next, alike: TAPS - 1, single: Vec::new() }
    }

    /// Takes whole frames and appends what can be computed so far to `out`, played at `speed`: 1.001 gives 999 frames for
    /// 1000.
    pub(crate) fn process(&mut self, input: &[f32], speed: f64, out: &mut Vec<f32>) {
        self.take(input);
        let channels = self.planes.len();
        let length = self.planes[0].len();
        // 32 bits before the point, 32 behind it.
        let step = (speed * 2_f64.powi(32)).round() as u64;
        let whole = (length + 1).saturating_sub(TAPS);
        let apart = self.next.before(whole.min(length - self.alike), step);
        let start = out.len();
        out.resize(start + apart * channels, 0.0);
        for channel in 0..channels {
            self.compute(channel, apart, step);
            let places = out[start..].iter_mut().skip(channel).step_by(channels);
            places.zip(&self.single).for_each(|(place, sample)| *place = *sample);
        }
        self.next = self.next.after(apart, step);
        let alike = self.next.before(whole, step);
        self.compute(0, alike, step);
        match channels {
            1 => out.extend_from_slice(&self.single),
            2 => out.extend(self.single.iter().flat_map(|&sample| [sample; 2])),
            _ => out.extend(self.single.iter().flat_map(|&sample| core::iter::repeat_n(sample, channels))),
        }
        self.next = self.next.after(alike, step);
        let done = self.next.at.min(length);
        self.next.at -= done;
        self.planes.iter_mut().for_each(|plane| drop(plane.drain(..done)));
        self.alike = self.alike.min(length - done);
    }

    /// Both of two channels hold what one did.
    pub(crate) fn widen(&mut self) {
        let one = self.planes[0].clone();
        self.alike = one.len();
        self.planes.push(one);
    }

    /// Where it is: what [`go_on`](Self::go_on) takes.
    pub(crate) fn mark(&self) -> Mark {
        Mark { next: self.next, length: self.planes[0].len() }
    }

    /// Goes on from where it was, `offset` parts of a frame later, as if `past`, whole frames, had come before: silence,
    /// where that is shorter than the filter.
    pub(crate) fn go_on(&mut self, mark: Mark, past: &[f32], offset: f64) {
        let channels = self.planes.len();
        // A part of a frame earlier may be the frame before.
        let length = mark.length + 1;
        let there = (past.len() / channels).min(length);
        for plane in &mut self.planes {
            plane.clear();
            plane.resize(length - there, 0.0);
        }
        self.alike = length - there;
        self.take(&past[past.len() - there * channels..]);
        let offset = (offset.clamp(-1.0, 1.0) * 2_f64.powi(32)).round() as i64;
        let parts = mark.next.after(1, 1 << u32::BITS).parts().saturating_add_signed(offset);
        self.next = Place { at: (parts >> u32::BITS) as usize, fraction: parts as u32 };
    }

    fn take(&mut self, input: &[f32]) {
        let frames = input.len() / self.planes.len();
        let differs = match self.planes.as_mut_slice() {
            [plane] => {
                plane.extend_from_slice(input);
                None
            }
            // The usual loudspeaker.
            [left, right] => {
                let pairs = input.as_chunks::<2>().0;
                left.extend(pairs.iter().map(|pair| pair[0]));
                right.extend(pairs.iter().map(|pair| pair[1]));
                pairs.iter().rposition(|pair| pair[0] != pair[1])
            }
            planes => {
                let channels = planes.len();
                for (channel, plane) in planes.iter_mut().enumerate() {
                    plane.extend(input.iter().skip(channel).step_by(channels));
                }
                input.chunks_exact(channels).rposition(|frame| frame.iter().any(|sample| *sample != frame[0]))
            }
        };
        self.alike = differs.map_or(self.alike + frames, |last| frames - 1 - last);
    }

    /// Computes the next `frames` of a channel.
    fn compute(&mut self, channel: usize, frames: usize, step: u64) {
        let mut sums = [[0.0; LANES]; AT_ONCE];
        self.single.resize(frames, 0.0);
        for (n, samples) in self.single.chunks_mut(AT_ONCE).enumerate() {
            let sums = &mut sums[..samples.len()];
            interpolate(&self.planes[channel], &self.table, self.next.after(n * AT_ONCE, step), step, sums);
            samples.iter_mut().zip(sums).for_each(|(sample, lanes)| *sample = sum(lanes));
        }
    }
}

/// Sums the frames around what lies at `next` and every `step` parts of a frame behind it, weighted, in lanes. These are
/// stored, not summed at once: a compiler keeps what it stores side by side, and only then computes it side by side.
#[inline(never)]
fn interpolate<const TAPS: usize>(
    frames: &[f32],
    table: &[[f32; TAPS]],
    next: Place,
    step: u64,
    sums: &mut [[f32; LANES]],
) {
    for (n, lanes) in sums.iter_mut().enumerate() {
        let Place { at, fraction } = next.after(n, step);
        let row = (fraction >> STEP_BITS) as usize;
        let part = (fraction & ((1 << STEP_BITS) - 1)) as f32 / (1_u32 << STEP_BITS) as f32;
        let frames = frames[at..at + TAPS].as_chunks::<LANES>().0;
        let (a, b) = (table[row].as_chunks::<LANES>().0, table[row + 1].as_chunks::<LANES>().0);
        let (mut first, mut second) = ([0.0_f32; LANES], [0.0_f32; LANES]);
        for ((frames, a), b) in frames.iter().zip(a).zip(b) {
            for lane in 0..LANES {
                first[lane] += frames[lane] * a[lane];
                second[lane] += frames[lane] * b[lane];
            }
        }
        *lanes = core::array::from_fn(|lane| first[lane] + (second[lane] - first[lane]) * part);
    }
}

/// Pairs of pairs: a sum in order would wait for itself.
fn sum(lanes: &[f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = *lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

fn table<const TAPS: usize>() -> Vec<[f32; TAPS]> {
    let half = TAPS as f64 / 2.0;
    // Three eighths of the transition lie beyond half the rate. What is mirrored there comes out where it was, as the speed is
    // 1 but for the drift of a clock.
    let cutoff = 1.0 - 5.0 / TAPS as f64;
    let tap = |phase: usize, tap: usize| {
        let x = tap as f64 - (half - 1.0) - phase as f64 / f64::from(1 << PHASE_BITS);
        let angle = PI * cutoff * x;
        let sinc = if x == 0.0 { 1.0 } else { angle.sin() / angle };
        cutoff * sinc * window(x / half)
    };
    let rows = (0..=1 << PHASE_BITS).map(|phase| core::array::from_fn(|n| tap(phase, n)));
    // What is constant stays as it is at every phase.
    rows.map(|row: [f64; TAPS]| row.map(|tap| (tap / row.iter().sum::<f64>()) as f32)).collect()
}

/// Blackman-Harris, from -1 to 1.
fn window(x: f64) -> f64 {
    if x.abs() >= 1.0 {
        return 0.0;
    }
    let angle = TAU * (x + 1.0) / 2.0;
    0.35875 - 0.48829 * angle.cos() + 0.14128 * (2.0 * angle).cos() - 0.01168 * (3.0 * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(frames: usize) -> impl Iterator<Item = f32> {
        (0..frames).map(|n| ((n * 7_919 % 2_001) as f32 / 1_000.0 - 1.0) * 0.5)
    }

    #[test]
    fn channels_that_are_alike_come_out_as_one_alone_and_differ_as_soon_as_they_do() {
        let mono: Vec<f32> = noise(1_000).collect();
        // Alike, then not, then alike again.
        let stereo = mono.iter().enumerate().flat_map(|(n, &x)| [x, if (400..500).contains(&n) { -x } else { x }]);
        let stereo: Vec<f32> = stereo.collect();
        let right: Vec<f32> = stereo.iter().skip(1).step_by(2).copied().collect();
        let play = |channels: usize, input: &[f32], piece: usize| {
            let (mut sinc, mut out) = (Sinc::<64>::new(channels), Vec::new());
            input.chunks(piece * channels).for_each(|part| sinc.process(part, 1.000_3, &mut out));
            out
        };
        let (left_alone, right_alone) = (play(1, &mono, 1_000), play(1, &right, 1_000));
        for piece in [1, 7, 240, 1_000] {
            let both = play(2, &stereo, piece);
            assert!(both.iter().step_by(2).eq(&left_alone) && both.iter().skip(1).step_by(2).eq(&right_alone));
        }
    }

    #[test]
    fn what_telephones_and_wideband_speech_carry_passes() {
        // Up to 3.4 of 4 kHz, 6.8 of 8, and 18 of 24.
        fn gain<const TAPS: usize>(of_rate: f64) -> f64 {
            let input: Vec<f32> = (0..8_000).map(|n| (TAU * of_rate * f64::from(n)).sin() as f32).collect();
            let (mut sinc, mut out) = (Sinc::<TAPS>::new(1), Vec::new());
            sinc.process(&input, 1.000_3, &mut out);
            let power = out[500..7_500].iter().map(|x| f64::from(x * x)).sum::<f64>() / 7_000.0;
            10.0 * (2.0 * power).log10()
        }
        for gain in [gain::<64>(0.3), gain::<64>(0.425), gain::<32>(0.3), gain::<32>(0.375)] {
            assert!(gain.abs() < 1.0, "{gain:.1} dB");
        }
    }

    #[test]
    fn it_goes_on_elsewhere_as_if_it_had_always_been_there() {
        let input: Vec<f32> = (0..2_000).map(|n| (TAU * 0.05 * f64::from(n)).sin() as f32).collect();
        for (there, offset) in [(1_000, 0.0), (1_020, 0.0), (995, 0.5), (1_003, -0.4)] {
            let (mut sinc, mut out) = (Sinc::<32>::new(1), Vec::new());
            sinc.process(&input[..1_000], 1.0, &mut out);
            let (from, mark) = (out.len(), sinc.mark());
            sinc.go_on(mark, &input[..there], offset);
            sinc.process(&input[there..there + 500], 1.0, &mut out);
            let ahead = there as f64 - 1_000.0 + offset;
            for (n, sample) in out.iter().enumerate().skip(from) {
                // The first that came out lies half a filter before the input.
                let wanted = (TAU * 0.05 * (n as f64 - 16.0 + ahead)).sin();
                assert!((f64::from(*sample) - wanted).abs() < 1e-3, "{n}, {there} and {offset}: {sample} for {wanted}");
            }
        }
    }

    #[test]
    fn what_is_constant_stays_constant_at_any_phase() {
        let (mut sinc, mut out) = (Sinc::<64>::new(1), Vec::new());
        sinc.process(&[0.5; 4_000], 1.003_7, &mut out);
        assert!(out[64..].iter().all(|sample| (sample - 0.5).abs() < 1e-6));
    }
}
