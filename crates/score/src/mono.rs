//! A recording as one channel.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use vox_cli::Failure;
use vox_dsp::{Remix, Resampler};
use vox_frame::{Channels, GapReason, Rate};
use vox_media::align::Loudness;
use vox_media::{About, Listener};

/// The most frames of a recording that is compared: an hour and a half at 48 kHz.
const MAX_FRAMES: usize = 1 << 28;

/// A recording in mono.
pub(crate) struct Mono {
    /// Frames a second.
    pub(crate) rate: Rate,
    remix: Remix,
    /// The mean of all channels of the first track.
    pub(crate) samples: Vec<f32>,
    too_long: bool,
}

/// Reads a file.
///
/// # Errors
/// Where it cannot be read or is no audio that is known here (3).
pub(crate) fn load(path: &Path) -> Result<Mono, Failure> {
    let file = File::open(path);
    let file = file.map_err(|error| Failure::input(format_args!("cannot read {}: {error}", path.display())))?;
    let remix = Remix::new(Channels::MONO, Channels::MONO);
    let mut mono = Mono { rate: Rate::HZ_48000, remix, samples: Vec::new(), too_long: false };
    vox_media::read(&mut BufReader::with_capacity(1 << 16, file), &mut mono)
        .map_err(|what| Failure::input(format_args!("{}: {what}", path.display())))?;
    if mono.too_long {
        return Err(Failure::failed(format_args!("{}: too long to be compared in one piece", path.display())));
    }
    if mono.samples.is_empty() {
        return Err(Failure::input(format_args!("{}: no audio in it", path.display())));
    }
    Ok(mono)
}

impl Mono {
    /// Changes its rate.
    pub(crate) fn resample(&mut self, rate: Rate) {
        let mut resampler = Resampler::new(self.rate, rate, Channels::MONO);
        let mut out = Vec::new();
        resampler.process(&self.samples, &mut out);
        resampler.finish(&mut out);
        (self.rate, self.samples) = (rate, out);
    }

    /// How loud it is where.
    pub(crate) fn loudness(&self) -> Loudness {
        let mut loudness = Loudness::new(u64::MAX / 2);
        let about = About { label: None, rate: self.rate, channels: Channels::MONO, codec: String::new() };
        loudness.track(0, &about);
        loudness.samples(0, 0, &self.samples);
        loudness
    }
}

impl Listener for Mono {
    fn track(&mut self, track: usize, about: &About) {
        if track == 0 {
            self.rate = about.rate;
            self.remix = Remix::new(about.channels, Channels::MONO);
        }
    }

    fn samples(&mut self, track: usize, at: u64, samples: &[f32]) {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        self.too_long |= at.saturating_add(samples.len()) > MAX_FRAMES;
        if track == 0 && !self.too_long {
            self.samples.resize(at, 0.0);
            self.remix.process(samples, &mut self.samples);
        }
    }

    fn gap(&mut self, _: usize, _: u64, _: u64, _: GapReason) {}

    fn talk(&mut self, _: usize, _: u64, _: bool) {}
}
