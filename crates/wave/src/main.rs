//! Draws what a recording looks like.

mod args;
mod canvas;
mod draw;
mod page;
mod peaks;
mod recording;
mod spectrum;
mod term;

use std::path::Path;
use std::process::ExitCode;

use vox_cli::{Failure, note};

use crate::args::{Args, Color, Kind};
use crate::canvas::{Raster, Svg};
use crate::page::Samples;
use crate::peaks::Peaks;
use crate::recording::{Recording, offset, picture, spectra};

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

fn draw(args: &Args, kind: Option<Kind>, files: &mut [Recording], shift: f64) -> Result<(), Failure> {
    let (width, height) = match kind {
        Some(_) => (args.width.unwrap_or(1200) as i32, args.height.unwrap_or(160) as i32),
        None => (args.width.map_or_else(term::width, |width| width as i32) * 2 + 16, args.height.unwrap_or(6) as i32),
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
