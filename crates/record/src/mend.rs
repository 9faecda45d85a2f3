//! `--repair`: mends files of audio.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use vox_cli::{Failure, note};
use vox_container::mend_opus::mend_opus;
use vox_container::repair::mend_wav;

use crate::name::cannot;

/// Mends a file and says what was wrong with it: a WAV where it says that it is one, else Ogg Opus.
///
/// # Errors
/// Where it cannot be opened or written (1), or is none that can be mended (3).
pub fn mend(path: &Path) -> Result<(), Failure> {
    let mut begin = Vec::new();
    let file = File::open(path).map_err(|error| cannot("open", path, &error))?;
    file.take(4).read_to_end(&mut begin).map_err(|error| cannot("read", path, &error))?;
    match &begin[..] {
        b"RIFF" | b"RF64" | b"BW64" | [] => wav(path),
        _ => opus(path),
    }
}

/// Mends the header in place.
fn wav(path: &Path) -> Result<(), Failure> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let mut file = file.map_err(|error| cannot("open", path, &error))?;
    let mended = mend_wav(&mut file).map_err(|fault| beyond(path, &fault))?;
    if let Some(length) = mended.length {
        file.set_len(length).map_err(|error| cannot("write", path, &error))?;
    }
    file.sync_all().map_err(|error| cannot("write", path, &error))?;
    tell(path, mended.frames as f64 / f64::from(mended.rate), &mended.faults);
    Ok(())
}

/// Writes what the file should have been beside it, and puts that in its place when it is whole.
fn opus(path: &Path) -> Result<(), Failure> {
    let broken = File::open(path).map_err(|error| cannot("open", path, &error))?;
    let metadata = broken.metadata().map_err(|error| cannot("read", path, &error))?;
    // A link stays one: what it leads to is what is mended.
    let place = fs::canonicalize(path).map_err(|error| cannot("open", path, &error))?;
    let beside = Beside::create(&place)?;
    let mut file = BufWriter::new(&beside.file);
    let mended = mend_opus(BufReader::new(broken), &mut file).map_err(|fault| beyond(path, &fault))?;
    file.flush().map_err(|error| cannot("write", &beside.path, &error))?;
    drop(file);
    if !mended.faults.is_empty() {
        let whole = beside.file.set_permissions(metadata.permissions()).and_then(|()| beside.file.sync_all());
        whole.and_then(|()| fs::rename(&beside.path, &place)).map_err(|error| cannot("write", path, &error))?;
    }
    tell(path, mended.ticks as f64 / 48_000.0, &mended.faults);
    Ok(())
}

/// A file beside another, which is gone in the end unless it took its place.
struct Beside {
    path: PathBuf,
    file: File,
}

impl Beside {
    fn create(path: &Path) -> Result<Self, Failure> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".mending");
        let path = path.with_file_name(name);
        let file = File::create_new(&path).map_err(|error| cannot("create", &path, &error))?;
        Ok(Self { path, file })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _renamed = fs::remove_file(&self.path);
    }
}

fn beyond(path: &Path, fault: &str) -> Failure {
    Failure::input(format_args!("{}: {fault}; nothing was changed", path.display()))
}

fn tell(path: &Path, seconds: f64, faults: &[String]) {
    if faults.is_empty() {
        note(format_args!("{}: {seconds:.3} s, nothing is wrong", path.display()));
    } else {
        note(format_args!("{}: {seconds:.3} s; mended: {}", path.display(), faults.join(", ")));
    }
}
