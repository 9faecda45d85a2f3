//! The PCM of one stream (or of the mix) on its way into files: one, or one after the other.

use std::fs::File;
use std::sync::Arc;

use serde_json::json;
use vox_cli::Failure;
use vox_container::wav::Spec;
use vox_frame::Rate;

use crate::args::Split;
use crate::file::PcmFile;
use crate::name::{Facts, cannot};
use crate::store::Store;

/// A tape, which begins where the recording does.
pub(crate) struct Tape {
    facts: Facts,
    stream: String,
    spec: Spec,
    file: Option<PcmFile>,
    /// Frames since the recording began.
    position: u64,
    /// Frames of one file; none where there is only one.
    every: Option<u64>,
    /// Where the file that is open ends.
    until: u64,
    spurts: bool,
    parts: u32,
    /// Something was written since the last flush.
    dirty: bool,
}

impl Tape {
    /// A tape of `stream`, whose files are named by `facts`.
    pub(crate) fn new(facts: Facts, stream: String, spec: Spec, split: Option<Split>) -> Self {
        let every = match split {
            Some(Split::Every(ns)) => Some(spec.rate.ticks(ns)),
            _ => None,
        };
        let spurts = split == Some(Split::Talkspurt);
        Self { facts, stream, spec, file: None, position: 0, every, until: u64::MAX, spurts, parts: 0, dirty: false }
    }

    /// Frames a second.
    pub(crate) const fn rate(&self) -> Rate {
        self.spec.rate
    }

    /// Frames since the recording began.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// Appends interleaved samples.
    ///
    /// # Errors
    /// Where they cannot be written (1).
    pub(crate) fn append(&mut self, store: &mut Store, mut samples: &[f32]) -> Result<(), Failure> {
        let channels = self.spec.channels.count();
        while !samples.is_empty() {
            let fits = self.room(store)?.min((samples.len() / channels) as u64);
            let (now, later) = samples.split_at(fits as usize * channels);
            self.write(fits, |file| file.append(now))?;
            samples = later;
        }
        Ok(())
    }

    /// Appends silence. Between talk spurts there is no file.
    ///
    /// # Errors
    /// Where it cannot be written (1).
    pub(crate) fn silence(&mut self, store: &mut Store, frames: u64) -> Result<(), Failure> {
        if self.spurts {
            self.cut(store)?;
        }
        self.hole(store, frames)
    }

    /// Appends silence that is a part of what is spoken.
    ///
    /// # Errors
    /// Where it cannot be written (1).
    pub(crate) fn hole(&mut self, store: &mut Store, mut frames: u64) -> Result<(), Failure> {
        if self.spurts && self.file.is_none() {
            self.position += frames;
            return Ok(());
        }
        while frames > 0 {
            let fits = self.room(store)?.min(frames);
            self.write(fits, |file| file.silence(fits))?;
            frames -= fits;
        }
        Ok(())
    }

    /// Makes the file whole as it stands; gives it where something was written since.
    ///
    /// # Errors
    /// Where it cannot be written (1).
    pub(crate) fn flush(&mut self) -> Result<Option<Arc<File>>, Failure> {
        let Some(file) = self.file.as_mut().filter(|_| self.dirty) else { return Ok(None) };
        self.dirty = false;
        file.flush().map_err(|error| cannot("write", file.path(), &error))?;
        Ok(Some(file.handle()))
    }

    /// Ends the file; what comes then goes into a new one.
    ///
    /// # Errors
    /// Where it cannot be written (1).
    pub(crate) fn cut(&mut self, store: &mut Store) -> Result<(), Failure> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let name = file.path().file_name().map(|name| name.to_string_lossy().into_owned());
        file.finish().map_err(|error| cannot("write", file.path(), &error))?;
        store.note(&json!({"closed": name, "until": self.seconds()}))
    }

    /// Frames that the file takes; opens one where there is none.
    fn room(&mut self, store: &mut Store) -> Result<u64, Failure> {
        if self.position >= self.until {
            self.cut(store)?;
        }
        if self.file.is_none() {
            self.until = self.every.map_or(u64::MAX, |every| (self.position / every + 1) * every);
            self.open(store)?;
        }
        Ok(self.until - self.position)
    }

    fn open(&mut self, store: &mut Store) -> Result<(), Failure> {
        self.parts += 1;
        let part = (self.every.is_some() || self.spurts).then_some(self.parts);
        let file = store.pcm(&self.facts, part, self.spec)?;
        store.note(&json!({
            "file": file.path().file_name().map(|name| name.to_string_lossy().into_owned()),
            "stream": self.stream,
            "at": self.seconds(),
            "rate": self.spec.rate.hz(),
            "channels": self.spec.channels.count(),
            "bits": self.spec.sample.bytes() * 8,
        }))?;
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, frames: u64, write: impl FnOnce(&mut PcmFile) -> std::io::Result<()>) -> Result<(), Failure> {
        self.position += frames;
        self.dirty = true;
        let Some(file) = &mut self.file else { return Ok(()) };
        write(file).map_err(|error| cannot("write", file.path(), &error))
    }

    fn seconds(&self) -> f64 {
        self.position as f64 / f64::from(self.spec.rate.hz())
    }
}
