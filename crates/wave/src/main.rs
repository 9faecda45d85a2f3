//! Draws what a recording looks like.

mod args;
mod canvas;
mod draw;
mod page;
mod peaks;
mod spectrum;
mod term;

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;
use std::process::ExitCode;

use vox_cli::{Failure, note};
use vox_media::Listener;
use vox_media::align::Loudness;

use crate::args::{Args, Color, Kind};
use crate::canvas::{Raster, Svg};
use crate::draw::{Lane, Picture};
use crate::page::Samples;
use crate::peaks::{Peaks, Track};
use crate::spectrum::Spectrum;

/// The most of stdin that is drawn, in bytes: it is read more than once.
const MAX_STDIN: u64 = 4 << 30;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| wave(&args))
}

fn wave(args: &Args) -> Result<(), Failure> {
    let kind = match &args.output {
        None => None,
        Some(path) => Some(Kind::of(path).ok_or_else(|| Failure::usage("-o names a .png, .svg or .html"))?),
    };
    if args.spectrogram && !matches!(kind, Some(Kind::Png | Kind::Svg)) {
        return Err(Failure::usage("a spectrogram needs pixels: -o FILE.png or FILE.svg"));
    }
    if kind == Some(Kind::Html) && args.other.is_some() {
        return Err(Failure::usage("a page is of one file"));
    }
    let mut files = vec![Recording::open(&args.file)?];
    if let Some(other) = &args.other {
        files.push(Recording::open(other)?);
    }
    let shift = match &mut files[..] {
        [first, second] => offset(first, second)?,
        _ => 0.0,
    };
    for file in &mut files {
        let mut peaks = Peaks::default();
        file.read(&mut peaks)?;
        file.tracks = peaks.tracks;
    }
    if kind == Some(Kind::Html) {
        return make_page(&mut files[0], args.output.as_deref().unwrap_or_else(|| Path::new("page.html")));
    }
    draw(args, kind, &mut files, shift)
}

/// A file that can be read again and again.
struct Recording {
    name: String,
    bytes: Box<dyn ReadSeek>,
    tracks: Vec<Track>,
}

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

impl Recording {
    fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::failed(format_args!("cannot read {}: {error}", path.display()));
        if path.as_os_str() == "-" {
            let mut all = Vec::new();
            std::io::stdin().lock().take(MAX_STDIN).read_to_end(&mut all).map_err(failed)?;
            return Ok(Self { name: "stdin".to_owned(), bytes: Box::new(Cursor::new(all)), tracks: Vec::new() });
        }
        let file = File::open(path).map_err(failed)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, bytes: Box::new(BufReader::with_capacity(1 << 17, file)), tracks: Vec::new() })
    }

    fn read(&mut self, listener: &mut impl Listener) -> Result<(), Failure> {
        let named = |what: String| Failure::input(format_args!("{}: {what}", self.name));
        self.bytes.rewind().map_err(|error| named(format!("cannot be read: {error}")))?;
        vox_media::read(&mut self.bytes, listener).map_err(|what| Failure::input(format_args!("{}: {what}", self.name)))
    }

    fn title(&self, track: usize) -> String {
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
            draw::clock(heard.seconds(), 0.001)
        );
        if missing > 0 {
            let ms = missing as f64 * 1e3 / f64::from(about.rate.hz());
            title.push_str(&format!("  {} gaps, {ms:.0} ms", heard.gaps.len()));
        }
        title.chars().filter(|letter| !letter.is_control()).collect()
    }
}

/// Seconds by which the second file is later than the first.
fn offset(first: &mut Recording, second: &mut Recording) -> Result<f64, Failure> {
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

fn draw(args: &Args, kind: Option<Kind>, files: &mut [Recording], shift: f64) -> Result<(), Failure> {
    let (width, height) = match kind {
        Some(_) => (args.width.unwrap_or(1200) as i32, args.height.unwrap_or(160) as i32),
        None => {
            (args.width.map_or_else(terminal_width, |width| width as i32) * 2 + 16, args.height.unwrap_or(6) as i32)
        }
    };
    if shift != 0.0 || files.len() == 2 {
        note(format_args!("{} is {:.3} ms later than {}", files[1].name, shift * 1e3, files[0].name));
    }
    let spectra = if args.spectrogram { spectra(files, shift, width, height)? } else { Vec::new() };
    let picture = picture(files, shift, width, height, spectra);
    if picture.lanes.is_empty() {
        return Err(Failure::input("there is no audio in it"));
    }
    let bytes = match kind {
        Some(Kind::Png) => {
            let mut raster = Raster::new(width, picture.total_height());
            picture.draw(&mut raster);
            raster.png().map_err(Failure::failed)?
        }
        Some(_) => {
            let mut svg = Svg::new(width, picture.total_height());
            picture.draw(&mut svg);
            svg.finish().into_bytes()
        }
        None => {
            let color = match args.color {
                Color::Auto => rustix::termios::isatty(rustix::stdio::stdout()),
                Color::Always => true,
                Color::Never => false,
            };
            return vox_cli::print(&term::text(&picture, color));
        }
    };
    save(args.output.as_deref().unwrap_or_else(|| Path::new("wave")), &bytes)
}

fn picture(
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
fn spectra(files: &mut [Recording], shift: f64, width: i32, height: i32) -> Result<Vec<Vec<Vec<Vec<f32>>>>, Failure> {
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

fn make_page(file: &mut Recording, to: &Path) -> Result<(), Failure> {
    let mut samples = Samples::default();
    file.read(&mut samples)?;
    if samples.too_many {
        return Err(Failure::failed(
            "it is too long for a page: cut it first, or `vox-capture --rate 16000 FILE | vox-wave -`",
        ));
    }
    let titles: Vec<String> = (0..file.tracks.len()).map(|track| file.title(track)).collect();
    save(to, page::page(&file.name, &file.tracks, &titles, &samples).as_bytes())
}

fn save(to: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(to, bytes).map_err(|error| Failure::failed(format_args!("cannot write {}: {error}", to.display())))
}

fn terminal_width() -> i32 {
    rustix::termios::tcgetwinsize(rustix::stdio::stdout()).map_or(80, |size| i32::from(size.ws_col).clamp(40, 400))
}
