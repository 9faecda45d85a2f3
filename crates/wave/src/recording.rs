//! A recording in a file, and how much later one is than another.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;

use vox_cli::Failure;
use vox_media::Listener;
use vox_media::align::Loudness;

use crate::draw::{Lane, Picture};
use crate::peaks::Track;
use crate::spectrum::Spectrum;

/// The most of stdin that is drawn, in bytes: it is read more than once.
const MAX_STDIN: u64 = 4 << 30;

/// A file that can be read again and again.
pub(crate) struct Recording {
    /// Its name, without its folder.
    pub(crate) name: String,
    bytes: Box<dyn ReadSeek>,
    /// What was heard in it, once it was read for that.
    pub(crate) tracks: Vec<Track>,
}

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

impl Recording {
    /// Opens a file, or reads all of stdin for `-`.
    ///
    /// # Errors
    /// Where it cannot be read (3).
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::input(format_args!("cannot read {}: {error}", path.display()));
        if path.as_os_str() == "-" {
            let mut all = Vec::new();
            std::io::stdin().lock().take(MAX_STDIN).read_to_end(&mut all).map_err(failed)?;
            return Ok(Self { name: "stdin".to_owned(), bytes: Box::new(Cursor::new(all)), tracks: Vec::new() });
        }
        let file = File::open(path).map_err(failed)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, bytes: Box::new(BufReader::with_capacity(1 << 17, file)), tracks: Vec::new() })
    }

    /// Reads it from its beginning.
    ///
    /// # Errors
    /// Where it is no audio that is known here (3).
    pub(crate) fn read(&mut self, listener: &mut impl Listener) -> Result<(), Failure> {
        let named = |what: String| Failure::input(format_args!("{}: {what}", self.name));
        self.bytes.rewind().map_err(|error| named(format!("cannot be read: {error}")))?;
        vox_media::read(&mut self.bytes, listener).map_err(|what| Failure::input(format_args!("{}: {what}", self.name)))
    }

    /// What is said of a track.
    pub(crate) fn title(&self, track: usize) -> String {
        let heard = &self.tracks[track];
        let about = &heard.about;
        let label = about.label.as_ref().map_or_else(String::new, |label| format!(" {label}"));
        let missing: u64 = heard.gaps.iter().map(|gap| gap.frames).sum();
        let mut title = format!(
            "{}{label}  {} {} {}  {}",
            self.name,
            about.codec,
            about.rate,
            about.channels,
            crate::draw::clock(heard.seconds(), 0.001)
        );
        if missing > 0 {
            let ms = missing as f64 * 1e3 / f64::from(about.rate.hz());
            title.push_str(&format!("  {} gaps, {ms:.0} ms", heard.gaps.len()));
        }
        title.chars().filter(|letter| !letter.is_control()).collect()
    }
}

/// Seconds by which the second file is later than the first.
///
/// # Errors
/// As for [`Recording::read`].
pub(crate) fn offset(first: &mut Recording, second: &mut Recording) -> Result<f64, Failure> {
    let measure = |file: &mut Recording, fine_at| {
        let mut loudness = Loudness::new(fine_at);
        file.read(&mut loudness).map(|()| loudness)
    };
    let (a, b) = (measure(first, u64::MAX / 2)?, measure(second, u64::MAX / 2)?);
    let coarse = a.later(&b);
    let hz = a.hz() as f64;
    let guess = (coarse * hz).round() as i64;
    let at = a.loudest().max((-guess).max(0).unsigned_abs());
    let there = at.saturating_add_signed(guess);
    let (a, b) = (measure(first, at)?, measure(second, there)?);
    let fine = a.fine_later(&b, (hz / 200.0) as usize);
    Ok(fine.map_or(coarse, |fine| (guess + fine) as f64 / hz))
}

/// All tracks of all files above each other; the second file is moved by `shift` seconds.
pub(crate) fn picture(
    files: &[Recording],
    shift: f64,
    width: i32,
    height: i32,
    mut spectra: Vec<Vec<Vec<Vec<f32>>>>,
) -> Picture<'_> {
    let mut lanes = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let mut spectra = spectra.get_mut(index).map(std::mem::take).unwrap_or_default();
        for (number, track) in file.tracks.iter().enumerate() {
            let mut title = file.title(number);
            if index == 1 {
                title.push_str(&format!("  {:+.3} ms", shift * 1e3));
            }
            let spectrum = spectra.get_mut(number).map(std::mem::take).unwrap_or_default();
            lanes.push(Lane { track, title, shift: if index == 1 { -shift } else { 0.0 }, spectrum });
        }
    }
    Picture { lanes, width, height }
}

/// The frequencies of all files: for every file, every track, every column.
///
/// # Errors
/// As for [`Recording::read`].
pub(crate) fn spectra(
    files: &mut [Recording],
    shift: f64,
    width: i32,
    height: i32,
) -> Result<Vec<Vec<Vec<Vec<f32>>>>, Failure> {
    let places: Vec<Vec<Vec<Option<u64>>>> = {
        let picture = picture(files, shift, width, height, Vec::new());
        let mut lanes = picture.lanes.iter();
        let places_of = |lane: &Lane<'_>| {
            let columns = 0..picture.columns();
            columns.map(|column| picture.frames_at(lane, column).map(|(from, to)| from.midpoint(to))).collect()
        };
        files.iter().map(|file| lanes.by_ref().take(file.tracks.len()).map(places_of).collect()).collect()
    };
    files
        .iter_mut()
        .zip(places)
        .map(|(file, places)| {
            let mut spectrum = Spectrum::new(places);
            file.read(&mut spectrum)?;
            Ok(spectrum.finish())
        })
        .collect()
}
