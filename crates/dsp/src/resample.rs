//! From one sampling rate to another, in a stream, aligned and exact in length.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Async, FixedAsync, SincInterpolationParameters, SincInterpolationType, WindowFunction};
use vox_frame::{Channels, Rate};

/// Frames that the filter takes at once: what a resampler in a live pipeline waits for (1.3 ms at 48 kHz).
const CHUNK: usize = 64;

/// Filter length in input frames where the rate goes up; it grows with the ratio where the rate goes down, so that
/// the transition band stays as narrow in the output.
const SINC_LEN: usize = 128;

/// The longest filter, in input frames: 192 kHz to 5 kHz needs 4915.
const MAX_SINC_LEN: usize = 8192;

/// The most silence that is fed ahead of the input so that the filter's delay is a whole number of output frames.
/// Where more would be needed the output lies up to half an output frame beside the exact place.
const MAX_LEAD: u64 = 8192;

/// Resamples a stream of interleaved `f32` frames.
///
/// The filter's delay is taken out: output frame `n` stands at the time of input frame `n * from / to`, and after
/// [`finish`](Self::finish) exactly `round(input * to / from)` frames have come out. Equal rates pass through
/// untouched.
pub struct Resampler {
    from: Rate,
    to: Rate,
    channels: usize,
    filter: Option<Filter>,
    taken: u64,
    given: u64,
}

struct Filter {
    sinc: Async<f32>,
    /// Frames that wait for a whole chunk.
    waiting: Vec<f32>,
    /// Output frames of the delay that are still to be dropped.
    skip: usize,
    scratch: Vec<f32>,
}

impl Resampler {
    /// A resampler from one rate to another.
    pub fn new(from: Rate, to: Rate, channels: Channels) -> Self {
        let channels = channels.count();
        let filter = (from != to).then(|| Filter::new(from, to, channels));
        Self { from, to, channels, filter, taken: 0, given: 0 }
    }

    /// Whether the rates are equal and samples pass through bit by bit.
    pub const fn is_identity(&self) -> bool {
        self.filter.is_none()
    }

    /// Frames that are still to come out for what was taken in; may be negative by a frame.
    pub fn pending(&self) -> i64 {
        self.from.convert(self.taken, self.to).cast_signed().wrapping_sub(self.given.cast_signed())
    }

    /// Takes whole frames and appends what can be computed so far to `out`.
    pub fn process(&mut self, input: &[f32], out: &mut Vec<f32>) {
        self.taken += (input.len() / self.channels) as u64;
        let before = out.len();
        match &mut self.filter {
            Some(filter) => filter.process(input, self.channels, out),
            None => out.extend_from_slice(input),
        }
        self.given += ((out.len() - before) / self.channels) as u64;
    }

    /// Appends the rest of the stream to `out`; the next [`process`](Self::process) begins a new stream.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let total = self.from.convert(self.taken, self.to);
        let begin = out.len();
        if let Some(filter) = &mut self.filter {
            let silence = [0.0; CHUNK];
            let missing = usize::try_from(total.saturating_sub(self.given)).unwrap_or(0) * self.channels;
            while out.len() - begin < missing {
                for _ in 0..self.channels {
                    filter.process(&silence, self.channels, out);
                }
            }
            // More than the total cannot have come out before: the filter looks ahead by half its length.
            out.truncate(begin + missing);
            *filter = Filter::new(self.from, self.to, self.channels);
        }
        self.taken = 0;
        self.given = 0;
    }
}

impl Filter {
    fn new(from: Rate, to: Rate, channels: usize) -> Self {
        let ratio = f64::from(to.hz()) / f64::from(from.hz());
        let length = ((SINC_LEN as f64 / ratio.min(1.0)).ceil() as usize).next_multiple_of(8).min(MAX_SINC_LEN);
        let parameters = SincInterpolationParameters {
            sinc_len: length,
            f_cutoff: None,
            oversampling_factor: if length > 1024 { 32 } else { 128 },
            interpolation: SincInterpolationType::Cubic,
            window: WindowFunction::BlackmanHarris2,
        };
        let sinc = Async::new_sinc(ratio, 1.0, &parameters, CHUNK, channels, FixedAsync::Input)
            .expect("a positive ratio of two rates, a chunk and a channel");
        let (lead, skip) = lead_and_skip(from, to, length);
        let longest = (CHUNK as f64 * ratio) as usize + 16;
        Self { sinc, waiting: vec![0.0; lead * channels], skip, scratch: vec![0.0; longest * channels] }
    }

    fn process(&mut self, input: &[f32], channels: usize, out: &mut Vec<f32>) {
        self.waiting.extend_from_slice(input);
        let chunk = CHUNK * channels;
        let mut done = 0;
        while self.waiting.len() - done >= chunk {
            let taken = &self.waiting[done..done + chunk];
            done += chunk;
            let frames = run(&mut self.sinc, taken, channels, &mut self.scratch);
            let dropped = self.skip.min(frames);
            self.skip -= dropped;
            out.extend_from_slice(&self.scratch[dropped * channels..frames * channels]);
        }
        self.waiting.drain(..done);
    }
}

/// Runs one chunk through the filter and gives the number of frames that came out.
fn run(sinc: &mut Async<f32>, chunk: &[f32], channels: usize, scratch: &mut Vec<f32>) -> usize {
    use rubato::Resampler as _;
    let room = sinc.output_frames_next();
    if scratch.len() < room * channels {
        scratch.resize(room * channels, 0.0);
    }
    let frames = scratch.len() / channels;
    let input = InterleavedSlice::new(chunk, channels, CHUNK).expect("the chunk is whole");
    let mut output = InterleavedSlice::new_mut(scratch, channels, frames).expect("the scratch is whole");
    let (_, given) =
        sinc.process_into_buffer(&input, &mut output, None).expect("both buffers are as long as the filter asks");
    given
}

/// How many silent frames to feed first, and how many output frames to drop, so that the first frame kept stands at
/// the time of the first frame of the input.
///
/// rubato's output frame `n` (from 0) stands at input position `(n + 1) * from / to - length / 2`.
fn lead_and_skip(from: Rate, to: Rate, length: usize) -> (usize, usize) {
    let (from, to) = (u64::from(from.hz()), u64::from(to.hz()));
    let half = (length / 2) as u64;
    let period = from / gcd(from, to);
    let lead = (period - half % period) % period;
    let lead = if lead <= MAX_LEAD { lead } else { 0 };
    let delay = ((half + lead) * to + from / 2) / from;
    (lead as usize, delay.saturating_sub(1) as usize)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(hz: u32) -> Rate {
        Rate::new(hz).unwrap()
    }

    fn sine(hz: f64, rate: u32, frames: usize) -> Vec<f32> {
        vox_testkit::Tone::new(hz, 0.5, rate).take(frames).collect()
    }

    fn convert(from: u32, to: u32, channels: u8, input: &[f32], piece: usize) -> Vec<f32> {
        let mut resampler = Resampler::new(rate(from), rate(to), Channels::new(channels).unwrap());
        let mut out = Vec::new();
        for part in input.chunks(piece * usize::from(channels)) {
            resampler.process(part, &mut out);
        }
        resampler.finish(&mut out);
        out
    }

    const PAIRS: [(u32, u32); 10] = [
        (48_000, 8_000),
        (8_000, 48_000),
        (44_100, 48_000),
        (48_000, 44_100),
        (16_000, 48_000),
        (5_000, 192_000),
        (192_000, 5_000),
        (11_025, 8_000),
        (22_050, 44_100),
        (44_101, 47_999),
    ];

    #[test]
    fn length_is_exactly_the_input_times_the_ratio() {
        for (from, to) in PAIRS {
            for frames in [0, 1, 63, 64, 65, 999, 4321] {
                let out = convert(from, to, 1, &vec![0.25; frames], 160);
                let expected = (frames as f64 * f64::from(to) / f64::from(from)).round() as usize;
                assert_eq!(out.len(), expected, "{frames} frames from {from} to {to}");
            }
        }
    }

    #[test]
    fn a_sine_comes_out_in_place_and_clean() {
        for (from, to) in PAIRS {
            let hz = 500.0;
            let input = sine(hz, from, from as usize / 2);
            let out = convert(from, to, 1, &input, 160);
            let expected = sine(hz, to, out.len());
            let edge = out.len() / 4;
            let error = out[edge..out.len() - edge]
                .iter()
                .zip(&expected[edge..])
                .fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
            // rubato places a frame up to 1/128 of an input frame early; an odd pair of rates may lie half an output
            // frame beside its place.
            let limit = if from == 44_101 { 0.02 } else { 3e-3 };
            assert!(error < limit, "error {error} from {from} to {to}");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_carry_is_filtered_out() {
        let input = sine(5_000.0, 48_000, 48_000);
        let out = convert(48_000, 8_000, 1, &input, 960);
        let edge = 400;
        let loudest = out[edge..out.len() - edge].iter().fold(0.0_f32, |loudest, x| loudest.max(x.abs()));
        assert!(loudest < 1e-4, "alias of {loudest}");
    }

    #[test]
    fn the_size_of_the_pieces_changes_nothing() {
        let input: Vec<f32> = (0..6_000).map(|n| ((n * 7919) % 2001) as f32 / 1000.0 - 1.0).collect();
        let whole = convert(44_100, 48_000, 2, &input, 3_000);
        for piece in [1, 37, 882] {
            assert_eq!(convert(44_100, 48_000, 2, &input, piece), whole, "pieces of {piece}");
        }
    }

    #[test]
    fn channels_stay_apart() {
        let mono = sine(300.0, 16_000, 1_600);
        let stereo: Vec<f32> = mono.iter().flat_map(|&x| [x, 0.0]).collect();
        let out = convert(16_000, 48_000, 2, &stereo, 320);
        assert!(out.chunks(2).all(|frame| frame[1] == 0.0));
        assert_eq!(out.len(), 2 * 4_800);
    }

    #[test]
    fn equal_rates_pass_bit_by_bit() {
        let input = sine(300.0, 16_000, 1_000);
        assert_eq!(convert(16_000, 16_000, 1, &input, 320), input);
    }

    #[test]
    fn after_finish_a_new_stream_begins() {
        let input = sine(300.0, 16_000, 1_000);
        let mut resampler = Resampler::new(rate(16_000), rate(48_000), Channels::MONO);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        resampler.process(&input, &mut first);
        resampler.finish(&mut first);
        resampler.process(&input, &mut second);
        resampler.finish(&mut second);
        assert_eq!(first, second);
    }
}
