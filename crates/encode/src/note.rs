//! What a record says of its own loudness, for those who do not decode it (RFC 6464).

use vox_dsp::Levels;
use vox_frame::{Audio, Extension, Extensions};

/// Notes the level of a stream's records.
#[derive(Default)]
pub(crate) struct Note {
    levels: Levels,
    /// Whether somebody speaks, as a stage before this one has noted last.
    heard: Option<bool>,
    extensions: Vec<u8>,
}

impl Note {
    /// Takes over what a stage before this one has noted.
    pub(crate) fn heed(&mut self, audio: &Audio<'_>) {
        self.heard = noted(audio.extensions).or(self.heard);
    }

    /// The extensions of a record that has `others`, that mean power and lasts `ns`. A level that is already there stays.
    pub(crate) fn of_power(&mut self, others: &[u8], power: f32, ns: i64) -> &[u8] {
        let (guessed, level) = self.levels.handle(power, ns);
        self.of_level(others, guessed, level)
    }

    /// The extensions of a record that has `others` and that level.
    pub(crate) fn of_level(&mut self, others: &[u8], guessed: bool, level: u8) -> &[u8] {
        self.extensions.clear();
        self.extensions.extend_from_slice(others);
        if noted(others).is_none() {
            Extension::AudioLevel { voice: self.heard.unwrap_or(guessed), level }.write(&mut self.extensions);
        }
        &self.extensions
    }
}

fn noted(extensions: &[u8]) -> Option<bool> {
    Extensions::new(extensions).find_map(|extension| match extension {
        Extension::AudioLevel { voice, .. } => Some(voice),
        _ => None,
    })
}
