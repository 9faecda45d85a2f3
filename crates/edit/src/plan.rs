//! The edits as one stream sees them: in frames of its rate, with what comes from files at hand.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use vox_cli::Failure;
use vox_container::ogg_opus;
use vox_dsp::{Remix, Resampler};
use vox_frame::{Channels, Format, GapReason, Rate};
use vox_media::{About, Listener};

use crate::list::{Change, FOREVER, List};

/// The most samples of a file that is put in: 45 minutes in stereo at 48 kHz.
const MAX_SAMPLES: usize = 1 << 28;

/// The changes of ranges for one stream.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// From a frame to behind another, what is done to them.
    changes: Vec<(u64, u64, Change)>,
    keeps: bool,
    /// Where something begins or ends, ascending.
    borders: Vec<u64>,
}

impl Plan {
    /// The edits at that rate.
    pub(crate) fn new(list: &List, rate: Rate) -> Self {
        let frame = |ns: i64| if ns == FOREVER { u64::MAX } else { rate.ticks(ns) };
        let changes: Vec<_> =
            list.changes.iter().map(|(range, change)| (frame(range.from), frame(range.to), *change)).collect();
        let keeps = changes.iter().any(|(_, _, change)| *change == Change::Keep);
        let mut borders: Vec<u64> = changes.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
        borders.extend(list.others.iter().map(|other| frame(other.at)));
        borders.sort_unstable();
        borders.dedup();
        Self { changes, keeps, borders }
    }

    /// Where the next change lies behind `at`.
    pub(crate) fn border(&self, at: u64) -> u64 {
        let behind = self.borders.partition_point(|border| *border <= at);
        self.borders.get(behind).copied().unwrap_or(u64::MAX)
    }

    /// Whether that frame is taken out.
    pub(crate) fn is_removed(&self, at: u64) -> bool {
        self.at(at).any(|(_, _, change)| change == Change::Cut)
            || self.keeps && !self.at(at).any(|(_, _, change)| change == Change::Keep)
    }

    /// Whether that frame is made silent.
    pub(crate) fn is_silent(&self, at: u64) -> bool {
        self.at(at).any(|(_, _, change)| change == Change::Silence)
    }

    /// The change of pace at that frame, and the range that has it.
    pub(crate) fn pace(&self, at: u64) -> Option<(u64, Change)> {
        self.at(at)
            .find(|(_, _, change)| matches!(change, Change::Speed(_) | Change::Pitch(_)))
            .map(|(from, _, change)| (from, change))
    }

    /// Makes samples louder or quieter; the first is at frame `at`, and no border lies among them.
    pub(crate) fn level(&self, at: u64, channels: usize, samples: &mut [f32]) {
        if self.is_silent(at) {
            samples.fill(0.0);
            return;
        }
        for (from, to, change) in self.at(at) {
            match change {
                Change::Gain(gain) => samples.iter_mut().for_each(|sample| *sample *= gain),
                Change::FadeIn | Change::FadeOut => {
                    let length = (to - from) as f64;
                    for (frame, values) in (at - from..).zip(samples.chunks_mut(channels)) {
                        let part = (frame as f64 / length) as f32;
                        let gain = if change == Change::FadeIn { part } else { 1.0 - part };
                        values.iter_mut().for_each(|sample| *sample *= gain);
                    }
                }
                _ => {}
            }
        }
    }

    fn at(&self, at: u64) -> impl Iterator<Item = (u64, u64, Change)> {
        self.changes.iter().copied().filter(move |(from, to, _)| (*from..*to).contains(&at))
    }
}

/// A file that is put in or laid over, as one stream needs it.
pub(crate) struct Clip {
    /// The frame at which it begins.
    pub(crate) at: u64,
    /// Its samples, interleaved.
    pub(crate) samples: Vec<f32>,
}

#[derive(Default)]
struct Loader {
    about: Option<About>,
    samples: Vec<f32>,
    too_long: bool,
}

impl Listener for Loader {
    fn track(&mut self, track: usize, about: &About) {
        if track == 0 {
            self.about = Some(about.clone());
        }
    }

    fn samples(&mut self, track: usize, at: u64, samples: &[f32]) {
        let Some(about) = self.about.as_ref().filter(|_| track == 0) else { return };
        let begin = usize::try_from(at).unwrap_or(usize::MAX).saturating_mul(about.channels.count());
        if begin.saturating_add(samples.len()) > MAX_SAMPLES {
            self.too_long = true;
            return;
        }
        self.samples.resize(begin, 0.0);
        self.samples.extend_from_slice(samples);
    }

    fn gap(&mut self, _: usize, _: u64, _: u64, _: GapReason) {}

    fn talk(&mut self, _: usize, _: u64, _: bool) {}
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    let file = File::open(path);
    let file = file.map_err(|error| Failure::input(format_args!("cannot read {}: {error}", path.display())))?;
    Ok(BufReader::with_capacity(1 << 16, file))
}

/// The files of a list that are laid over what is there (`over`) or put in, for a PCM stream, by where they begin.
///
/// # Errors
/// Where a file cannot be read or is none that is known (3).
pub(crate) fn clips(list: &List, over: bool, rate: Rate, channels: Channels) -> Result<Vec<Clip>, Failure> {
    let mut clips = Vec::new();
    for other in list.others.iter().filter(|other| other.over == over) {
        let name = other.path.display();
        let mut loader = Loader::default();
        vox_media::read(&mut open(&other.path)?, &mut loader)
            .map_err(|what| Failure::input(format_args!("{name}: {what}")))?;
        let about = loader.about.ok_or_else(|| Failure::input(format_args!("{name}: no audio in it")))?;
        if loader.too_long {
            return Err(Failure::failed(format_args!("{name}: too long to be put in")));
        }
        let (mut mixed, mut samples) = (Vec::new(), Vec::new());
        Remix::new(about.channels, channels).process(&loader.samples, &mut mixed);
        let mut resampler = Resampler::new(about.rate, rate, channels);
        resampler.process(&mixed, &mut samples);
        resampler.finish(&mut samples);
        samples.iter_mut().for_each(|sample| *sample *= other.gain);
        clips.push(Clip { at: rate.ticks(other.at), samples });
    }
    clips.sort_by_key(|clip| clip.at);
    Ok(clips)
}

/// Packets that are put in, with their ticks.
pub(crate) struct Packets {
    /// The tick at which they begin.
    pub(crate) at: u64,
    /// The packets.
    pub(crate) packets: Vec<(Vec<u8>, u32)>,
}

/// The files of a list that are put into an Opus stream.
///
/// # Errors
/// Where a file cannot be read (1) or is no Ogg Opus with as many channels (3).
pub(crate) fn packets(list: &List, format: &Format) -> Result<Vec<Packets>, Failure> {
    let mut all = Vec::new();
    for other in &list.others {
        let bad = |what: &str| Failure::input(format_args!("{}: {what}", other.path.display()));
        let mut reader = ogg_opus::Reader::open(open(&other.path)?).map_err(|what| bad(&what))?;
        if reader.channels != format.channels {
            return Err(bad(&format!("{} do not fit a stream of {}", reader.channels, format.channels)));
        }
        let mut packets = Vec::new();
        while let Some(packet) = reader.next_packet().map_err(|what| bad(&what))? {
            packets.push(packet);
        }
        all.push(Packets { at: Rate::HZ_48000.ticks(other.at), packets });
    }
    all.sort_by_key(|packets| packets.at);
    Ok(all)
}
