//! `--stats FILE`: JSON lines, the last of them the summary that scripts assert on.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::Failure;

/// A file of JSON lines; `-` is stderr.
pub struct StatsFile {
    to: Box<dyn Write + Send>,
}

impl StatsFile {
    /// Creates the file.
    ///
    /// # Errors
    /// Where it cannot be created (1).
    pub fn create(path: &Path) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            return Ok(Self { to: Box::new(std::io::stderr()) });
        }
        let file = File::create(path)
            .map_err(|error| Failure::failed(format_args!("cannot write statistics to {}: {error}", path.display())))?;
        Ok(Self { to: Box::new(file) })
    }

    /// Writes one line, at once.
    pub fn line(&mut self, value: &impl Serialize) {
        let Ok(mut line) = serde_json::to_vec(value) else { return };
        line.push(b'\n');
        // Statistics that cannot be written are no reason to stop the audio.
        let _lost = self.to.write_all(&line);
    }
}
