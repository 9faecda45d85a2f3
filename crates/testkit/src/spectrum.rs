//! What has become of tones: is there anything beside them, and do they click or waver?

use core::f64::consts::TAU;

/// Farther than this from a tone, in Hz, a component is not the tone's.
const BESIDE_HZ: f64 = 25.0;

/// How much the strongest component beside a tone of `hz` lies below it, in dB: of the longest power of two of samples,
/// through a window whose side lobes lie 92 dB down (Blackman and Harris).
pub fn spurious(samples: &[f32], hz: f64, rate: u32) -> f64 {
    let n = (samples.len() + 1).next_power_of_two() / 2;
    let window = |k: usize| {
        let x = TAU * k as f64 / n as f64;
        0.358_75 - 0.488_29 * x.cos() + 0.141_28 * (2.0 * x).cos() - 0.011_68 * (3.0 * x).cos()
    };
    let mut re: Vec<f64> = samples[..n].iter().enumerate().map(|(k, x)| f64::from(*x) * window(k)).collect();
    let mut im = vec![0.0; n];
    fft(&mut re, &mut im);
    let width = f64::from(rate) / n as f64;
    let (mut main, mut other) = (0.0f64, 0.0f64);
    for (k, (re, im)) in re.iter().zip(&im).take(n / 2).enumerate() {
        let power = re * re + im * im;
        if (k as f64 * width - hz).abs() <= BESIDE_HZ {
            main = main.max(power);
        } else {
            other = other.max(power);
        }
    }
    10.0 * (main / other).log10()
}

/// The largest second difference, as a multiple of what a tone of that frequency and amplitude has itself: 1 is a tone
/// without a click.
pub fn roughness(samples: &[f32], hz: f64, amplitude: f64, rate: u32) -> f64 {
    let own = amplitude * (TAU * hz / f64::from(rate)).powi(2);
    samples.windows(3).map(|w| f64::from((w[0] - 2.0 * w[1] + w[2]).abs())).fold(0.0, f64::max) / own
}

/// The amplitude of the component at `hz` in windows of 60 ms, one every 10 ms.
pub fn envelope(samples: &[f32], hz: f64, rate: u32) -> Vec<f64> {
    let (window, step) = (rate as usize * 60 / 1_000, rate as usize / 100);
    let turn = TAU * hz / f64::from(rate);
    let hann = |k: usize| 0.5 - 0.5 * (TAU * k as f64 / window as f64).cos();
    let amplitude = |part: &[f32]| {
        let (mut re, mut im) = (0.0, 0.0);
        for (k, sample) in part.iter().enumerate() {
            let (sin, cos) = (turn * k as f64).sin_cos();
            let value = f64::from(*sample) * hann(k);
            re += value * cos;
            im += value * sin;
        }
        4.0 * re.hypot(im) / window as f64
    };
    samples.windows(window).step_by(step).map(amplitude).collect()
}

/// Radix 2, in place.
fn fft(re: &mut [f64], im: &mut [f64]) {
    let n = re.len();
    let mut j = 0;
    for i in 1..n {
        let mut bit = n >> 1;
        while j & bit != 0 {
            j ^= bit;
            bit >>= 1;
        }
        j |= bit;
        if i < j {
            re.swap(i, j);
            im.swap(i, j);
        }
    }
    let mut len = 2;
    while len <= n {
        for i in (0..n).step_by(len) {
            for k in 0..len / 2 {
                let (s, c) = (-TAU * k as f64 / len as f64).sin_cos();
                let (a, b) = (i + k, i + k + len / 2);
                let (x, y) = (re[b] * c - im[b] * s, re[b] * s + im[b] * c);
                (re[b], im[b]) = (re[a] - x, im[a] - y);
                (re[a], im[a]) = (re[a] + x, im[a] + y);
            }
        }
        len *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tone;

    fn tone(hz: f64, amplitude: f64) -> Vec<f32> {
        Tone::new(hz, amplitude, 8_000).take(16_384).collect()
    }

    #[test]
    fn a_second_tone_is_found_at_its_level_and_a_pure_one_has_none() {
        assert!(spurious(&tone(440.0, 0.5), 440.0, 8_000) > 80.0);
        let both: Vec<f32> = tone(440.0, 0.5).iter().zip(tone(1_000.0, 0.005)).map(|(a, b)| a + b).collect();
        assert!((spurious(&both, 440.0, 8_000) - 40.0).abs() < 1.0);
    }

    #[test]
    fn a_step_is_rough_and_a_tone_is_not() {
        let mut tone = tone(440.0, 0.5);
        assert!((roughness(&tone, 440.0, 0.5, 8_000) - 1.0).abs() < 0.02);
        tone.drain(5_000..5_005);
        assert!(roughness(&tone, 440.0, 0.5, 8_000) > 2.0);
    }

    #[test]
    fn a_tone_that_wavers_has_an_envelope_that_does() {
        assert!(envelope(&tone(440.0, 0.5), 440.0, 8_000).iter().all(|level| (level - 0.5).abs() < 0.01));
        let wavering = tone(440.0, 0.5).into_iter().zip(tone(4.0, 0.5)).map(|(a, b)| a * (1.0 + b));
        let levels = envelope(&wavering.collect::<Vec<_>>(), 440.0, 8_000);
        let (least, most) = levels.iter().fold((f64::MAX, 0.0f64), |(least, most), &x| (least.min(x), most.max(x)));
        assert!(least < 0.3 && most > 0.7, "{least} {most}");
    }
}
