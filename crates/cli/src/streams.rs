//! Which streams a pipe has announced.

use std::collections::BTreeMap;

use vox_frame::{Format, Record, StreamId};

use crate::Failure;

/// The most streams that one pipe may hold open at a time.
const MAX_STREAMS: usize = 1024;

/// The formats of the streams that are open, by id.
#[derive(Debug, Default)]
pub struct Streams {
    formats: BTreeMap<StreamId, Format>,
}

impl Streams {
    /// No streams yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns from a record: a `Format` opens a stream, an `End` closes it (look the format up before).
    ///
    /// # Errors
    /// Where the pipe has more streams open than a pipe may have.
    pub fn handle(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        match record {
            Record::Format(id, format) => {
                if self.formats.len() >= MAX_STREAMS && !self.formats.contains_key(id) {
                    return Err(Failure::input(format_args!("more than {MAX_STREAMS} streams are open in one pipe")));
                }
                self.formats.insert(*id, format.clone());
            }
            Record::End(end) => {
                self.formats.remove(&end.id);
            }
            Record::Audio(_) | Record::Gap(_) | Record::Event(_) | Record::Unknown(_) => {}
        }
        Ok(())
    }

    /// The format of an open stream.
    pub fn get(&self, id: StreamId) -> Option<&Format> {
        self.formats.get(&id)
    }

    /// The open streams, by id.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &Format)> {
        self.formats.iter().map(|(id, format)| (*id, format))
    }

    /// Whether no stream is open.
    pub fn is_empty(&self) -> bool {
        self.formats.is_empty()
    }
}
