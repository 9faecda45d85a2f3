//! `--repair`: mends WAV files in place.

use std::fs::OpenOptions;
use std::path::Path;

use vox_cli::{Failure, note};
use vox_container::repair::mend_wav;

use crate::name::cannot;

/// Mends a file and says what was wrong with it.
///
/// # Errors
/// Where it cannot be opened (1), or is none that can be mended (3).
pub(crate) fn mend(path: &Path) -> Result<(), Failure> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let mut file = file.map_err(|error| cannot("open", path, &error))?;
    let mended = mend_wav(&mut file)
        .map_err(|fault| Failure::input(format_args!("{}: {fault}; nothing was changed", path.display())))?;
    if let Some(length) = mended.length {
        file.set_len(length).map_err(|error| cannot("write", path, &error))?;
    }
    file.sync_all().map_err(|error| cannot("write", path, &error))?;
    let seconds = mended.frames as f64 / f64::from(mended.rate);
    if mended.faults.is_empty() {
        note(format_args!("{}: {seconds:.3} s, nothing is wrong", path.display()));
    } else {
        note(format_args!("{}: {seconds:.3} s; mended: {}", path.display(), mended.faults.join(", ")));
    }
    Ok(())
}
