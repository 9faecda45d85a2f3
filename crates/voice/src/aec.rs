//! WebRTC's AEC3, with a suppressor that trusts its filter more than the library's own does: the filter takes out what it
//! can predict of the echo, the suppressor turns down what may be left of it, and with it who speaks at the same time.

use sonora::high_pass_filter::HighPassFilter;
use sonora::three_band_filter_bank::ThreeBandFilterBank;
use sonora_aec3::block::Block;
use sonora_aec3::block_processor::BlockProcessor;
use sonora_aec3::config::EchoCanceller3Config;
use vox_dsp::Resampler;
use vox_frame::{Channels, Rate};

use crate::follow::Follower;

/// Samples of 10 ms in a band of 16 kHz, and of a block that the library works on.
const PIECE: usize = 160;
const BLOCK: usize = 64;

/// Samples that come out before the first block does, so that every 10 ms are whole.
const AHEAD: usize = 32;

/// Full scale of the library, and where it takes a microphone for overdriven.
const FULL_SCALE: f32 = 32_768.0;
const OVERDRIVEN: f32 = 32_700.0;

/// An echo canceller for a microphone at 16 or 48 kHz, in pieces of 10 ms.
pub(crate) struct Aec {
    rate: Rate,
    bands: usize,
    processor: BlockProcessor,
    high_pass: HighPassFilter,
    /// One for each channel of the microphone.
    banks: Vec<ThreeBandFilterBank>,
    far_bank: ThreeBandFilterBank,
    resampler: Option<(Rate, Resampler)>,
    /// What the loudspeaker plays, at the rate of the microphone.
    far: Vec<f32>,
    /// What waits for a whole block, by bands: of the loudspeaker, of the channels, and what has come out of them.
    far_waits: Vec<Vec<f32>>,
    waits: Vec<Vec<Vec<f32>>>,
    out: Vec<Vec<Vec<f32>>>,
    follower: Follower,
    /// What was played of the piece that is heard next, below 8 kHz.
    played: Vec<f32>,
    moved: Option<f64>,
}

impl Aec {
    /// For a microphone of that rate and with that many channels; none at other rates.
    pub(crate) fn new(rate: Rate, channels: usize) -> Option<Self> {
        let bands = match rate.hz() {
            16_000 => 1,
            48_000 => 3,
            _ => return None,
        };
        let hz = rate.hz() as usize;
        Some(Self {
            rate,
            bands,
            processor: BlockProcessor::new(&tuning(), hz, 1, channels),
            high_pass: HighPassFilter::new(rate.hz().cast_signed(), channels),
            banks: (0..channels).map(|_| ThreeBandFilterBank::new()).collect(),
            far_bank: ThreeBandFilterBank::new(),
            resampler: None,
            far: Vec::new(),
            far_waits: vec![Vec::new(); bands],
            waits: vec![vec![Vec::new(); channels]; bands],
            out: vec![vec![vec![0.0; AHEAD]; channels]; bands],
            follower: Follower::new(),
            played: Vec::new(),
            moved: None,
        })
    }

    /// Hears 10 ms of what the loudspeaker plays, mono.
    pub(crate) fn hear(&mut self, rate: Rate, samples: &[f32]) {
        let piece = PIECE * self.bands;
        if rate == self.rate {
            self.far.extend_from_slice(samples);
        } else {
            if self.resampler.as_ref().is_none_or(|(from, _)| *from != rate) {
                self.resampler = Some((rate, Resampler::new(rate, self.rate, Channels::MONO)));
                // Its first samples come a little late, and so do all others: that much silence goes before.
                self.far.clear();
                self.far.resize(piece, 0.0);
            }
            if let Some((_, resampler)) = &mut self.resampler {
                resampler.process(samples, &mut self.far);
            }
        }
        self.far.resize(self.far.len().max(piece), 0.0);
        let far: Vec<f32> = self.far.drain(..piece).map(|sample| sample * FULL_SCALE).collect();
        let far = split(&mut self.far_bank, self.bands, &far);
        self.played.clone_from(&far[0]);
        for (waits, band) in self.far_waits.iter_mut().zip(far) {
            waits.extend(band);
        }
    }

    /// How much later the echo comes than it did at first, in seconds, where that was found anew.
    pub(crate) fn moved(&mut self) -> Option<f64> {
        self.moved.take()
    }

    /// What is played is from now on placed otherwise.
    pub(crate) fn placed_anew(&mut self) {
        self.follower.forget();
        self.moved = None;
    }

    /// Takes the echo out of 10 ms of what the microphone hears, channel by channel.
    pub(crate) fn process(&mut self, planes: &mut [Vec<f32>]) {
        planes.iter_mut().flatten().for_each(|sample| *sample *= FULL_SCALE);
        let overdriven = planes.iter().flatten().any(|sample| sample.abs() >= OVERDRIVEN);
        self.high_pass.process_channels(planes);
        for (channel, (plane, bank)) in planes.iter().zip(&mut self.banks).enumerate() {
            let bands = split(bank, self.bands, plane);
            if channel == 0 && !self.played.is_empty() {
                let scaled = |samples: &[f32]| -> Vec<f32> { samples.iter().map(|x| x / FULL_SCALE).collect() };
                self.moved = self.follower.listen(&scaled(&self.played), &scaled(&bands[0])).or(self.moved);
                self.played.clear();
            }
            for (waits, band) in self.waits.iter_mut().zip(bands) {
                waits[channel].extend(band);
            }
        }
        while self.waits[0][0].len() >= BLOCK && self.far_waits[0].len() >= BLOCK {
            self.block(planes.len(), overdriven);
        }
        for (channel, (plane, bank)) in planes.iter_mut().zip(&mut self.banks).enumerate() {
            let out: Vec<Vec<f32>> = self.out.iter_mut().map(|band| band[channel].drain(..PIECE).collect()).collect();
            join(bank, &out, plane);
            plane.iter_mut().for_each(|sample| *sample /= FULL_SCALE);
        }
    }

    fn block(&mut self, channels: usize, overdriven: bool) {
        let (mut far, mut near) = (Block::new(self.bands, 1), Block::new(self.bands, channels));
        for band in 0..self.bands {
            let played: Vec<f32> = self.far_waits[band].drain(..BLOCK).collect();
            far.view_mut(band, 0).copy_from_slice(&played);
            for channel in 0..channels {
                let heard: Vec<f32> = self.waits[band][channel].drain(..BLOCK).collect();
                near.view_mut(band, channel).copy_from_slice(&heard);
            }
        }
        self.processor.buffer_render(&far);
        self.processor.process_capture(false, overdriven, None, &mut near);
        for band in 0..self.bands {
            for channel in 0..channels {
                self.out[band][channel].extend_from_slice(near.view(band, channel));
            }
        }
    }
}

/// The filter's length in blocks of 4 ms. What a room does later than that it cannot take out, and who speaks meanwhile is
/// turned down with it; a longer one is slower to follow what changes.
const FILTER: usize = 20;

/// How many times louder the suppressor may become from one block to the next once the echo is over.
const RISE: f32 = 4.0;

/// The library guesses what its filter leaves of an echo, and guesses high: that it is a quarter of the power (two thirds
/// above 2 kHz) at best, and that there is a long tail behind it. Where it is known to the sample what the loudspeaker
/// plays, the filter leaves far less, and who speaks is not to pay for it.
fn tuning() -> EchoCanceller3Config {
    let mut config = EchoCanceller3Config::default();
    let EchoCanceller3Config { filter, erle, ep_strength, suppressor, .. } = &mut config;
    (filter.refined.length_blocks, filter.coarse.length_blocks) = (FILTER, FILTER);
    (filter.refined_initial.length_blocks, filter.coarse_initial.length_blocks) = (FILTER, FILTER);
    (erle.max_l, erle.max_h) = (20.0, 10.0);
    // The tail of the room, where somebody speaks: 3 dB less with every block. And its colour is as measured.
    ep_strength.nearend_len = 0.5;
    ep_strength.use_conservative_tail_frequency_response = false;
    // While somebody speaks: as much echo beside his consonants as beside his vowels.
    let consonants = &mut suppressor.nearend_tuning.mask_hf;
    (consonants.enr_transparent, consonants.enr_suppress) = (1.0, 1.5);
    (suppressor.normal_tuning.max_inc_factor, suppressor.nearend_tuning.max_inc_factor) = (RISE, RISE);
    config
}

/// 10 ms in bands of 16 kHz.
fn split(bank: &mut ThreeBandFilterBank, bands: usize, samples: &[f32]) -> Vec<Vec<f32>> {
    let Some(samples) = samples.first_chunk().filter(|_| bands == 3) else { return vec![samples.to_vec()] };
    let mut out = [[0.0; PIECE]; 3];
    bank.analysis(samples, &mut out);
    out.iter().map(|band| band.to_vec()).collect()
}

/// 10 ms of bands of 16 kHz.
fn join(bank: &mut ThreeBandFilterBank, bands: &[Vec<f32>], samples: &mut [f32]) {
    let Some(out) = samples.first_chunk_mut().filter(|_| bands.len() == 3) else {
        return samples.copy_from_slice(&bands[0]);
    };
    let mut split = [[0.0; PIECE]; 3];
    split.iter_mut().zip(bands).for_each(|(band, samples)| band.copy_from_slice(samples));
    bank.synthesis(&split, out);
}
