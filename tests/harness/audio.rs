//! WAV files, through a library that is not the product's own code, and how one signal lies in another.

use std::fs;
use std::path::Path;

use crate::shell::Scratch;

/// 16-bit PCM, channels interleaved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wav {
    /// Samples a second.
    pub rate: u32,
    /// Channels.
    pub channels: u16,
    /// Interleaved samples.
    pub samples: Vec<i16>,
}

impl Wav {
    /// Reads a 16-bit WAV file. The lengths in its headers must be right.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::parse(&bytes, &path.display().to_string())
    }

    /// As [`read`](Self::read), from memory.
    #[track_caller]
    pub fn parse(bytes: &[u8], name: &str) -> Self {
        assert!(bytes.starts_with(b"RIFF"), "{name} is no WAV file");
        let said = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
        assert_eq!(said as usize + 8, bytes.len(), "{name}: the RIFF length is not the file's");
        let reader = hound::WavReader::new(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let hound::WavSpec { channels, sample_rate: rate, bits_per_sample, sample_format } = reader.spec();
        assert_eq!((bits_per_sample, sample_format), (16, hound::SampleFormat::Int), "{name}: its samples");
        let samples = reader.into_samples().collect::<Result<_, _>>();
        Self { rate, channels, samples: samples.unwrap_or_else(|error| panic!("{name}: {error}")) }
    }

    /// Writes a 16-bit WAV file.
    ///
    /// # Panics
    /// When it cannot.
    pub fn write(&self, path: &Path) {
        let sample_format = hound::SampleFormat::Int;
        let spec =
            hound::WavSpec { channels: self.channels, sample_rate: self.rate, bits_per_sample: 16, sample_format };
        hound::WavWriter::create(path, spec)
            .and_then(|mut writer| {
                self.samples.iter().try_for_each(|&sample| writer.write_sample(sample))?;
                writer.finalize()
            })
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Samples of one channel.
    pub const fn frames(&self) -> usize {
        self.samples.len() / self.channels as usize
    }

    /// Its first channel.
    pub fn left(&self) -> Vec<i16> {
        self.samples.iter().copied().step_by(usize::from(self.channels)).collect()
    }

    /// Each sample through `codec`.
    #[must_use]
    pub fn through(&self, codec: fn(i16) -> i16) -> Self {
        Self { samples: self.samples.iter().map(|&sample| codec(sample)).collect(), ..*self }
    }
}

/// What `heard.vox` holds, through a buffer that waits for whatever a busy machine makes late: into `heard.wav`.
pub fn heard_in_full(scratch: &Scratch) -> Wav {
    scratch.run("vox-jitter --virtual --delay 3000 <heard.vox | vox-play heard.wav").succeeded();
    Wav::read(&scratch.path("heard.wav"))
}

/// Raw s16le as samples.
pub fn raw_samples(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// Where `said` begins in `heard`, sample by sample equal to its end.
pub fn locate(said: &[i16], heard: &[i16]) -> Option<usize> {
    // The first stretch that is not silence makes the search quick.
    let anchor = said.iter().position(|&sample| sample.unsigned_abs() > 64)?;
    let needle = &said[anchor..said.len().min(anchor + 64)];
    heard
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| *window == needle)
        .filter_map(|(at, _)| at.checked_sub(anchor))
        .find(|&at| heard[at..].starts_with(said))
}

/// How one signal lies in another.
#[derive(Debug, Clone, Copy)]
pub struct Alignment {
    /// How many samples later it is heard than it was said.
    pub lag: i64,
    /// Normalised correlation at that lag, 1.0 for the same wave form.
    pub correlation: f64,
}

/// The lag within ±`reach` samples at which two signals correlate best.
pub fn align(said: &[i16], heard: &[i16], reach: i64) -> Alignment {
    // A stretch of it finds the lag, the whole of it says how well it fits.
    let loudest = (0..said.len().saturating_sub(24_000).max(1))
        .step_by(4_000)
        .max_by_key(|&at| said[at..].iter().take(24_000).map(|&s| i64::from(s) * i64::from(s)).sum::<i64>())
        .unwrap_or(0);
    let stretch = &said[loudest..said.len().min(loudest + 24_000)];
    let score = |lag: i64| correlation(stretch, heard, lag + loudest as i64);
    let coarse = (-reach..=reach).max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap_or(0);
    Alignment { lag: coarse, correlation: correlation(said, heard, coarse) }
}

/// Normalised correlation of `said` with `heard` from `lag` on; what reaches beyond either counts as silence.
fn correlation(said: &[i16], heard: &[i16], lag: i64) -> f64 {
    let skip = (-lag).max(0) as usize;
    let start = lag.max(0) as usize;
    let (Some(said), Some(heard)) = (said.get(skip..), heard.get(start..)) else { return 0.0 };
    let (mut product, mut said_power, mut heard_power) = (0i64, 0i64, 0i64);
    for (&a, &b) in said.iter().zip(heard) {
        let (a, b) = (i64::from(a), i64::from(b));
        product += a * b;
        said_power += a * a;
        heard_power += b * b;
    }
    product as f64 / ((said_power as f64 * heard_power as f64).sqrt() + 1.0)
}

/// The correlation of each loud part of what was said, 0.4 s at 48 kHz, with what was heard at about its place: what
/// comes behind a part that is lost may be later or earlier.
pub fn likeness(said: &[i16], heard: &[i16]) -> Vec<f64> {
    const PART: usize = 19_200;
    const REACH: usize = 6_000;
    let onset = |samples: &[i16]| samples.iter().position(|sample| sample.unsigned_abs() > 1_500).unwrap_or(0);
    let from = onset(heard).saturating_sub(onset(said));
    let parts = said.chunks_exact(PART).enumerate();
    let loud = parts.filter(|(_, part)| part.iter().any(|sample| sample.unsigned_abs() > 3_000));
    let place = |n: usize| (from + n * PART).saturating_sub(REACH).min(heard.len());
    loud.map(|(n, part)| {
        let end = (place(n) + PART + 2 * REACH).min(heard.len());
        align(part, &heard[place(n)..end], 2 * REACH as i64).correlation
    })
    .collect()
}
