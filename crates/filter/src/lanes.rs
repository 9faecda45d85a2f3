//! The streams of a pipe, each with its filter.

use std::collections::BTreeMap;

use vox_cli::{Failure, Output, Streams, note};
use vox_frame::{Codec, Format, Raw, Record, StreamId};

use crate::{Filter, Held};

/// All streams.
pub(crate) struct Lanes<F, O> {
    open: O,
    streams: Streams,
    /// The streams that are filtered; others pass untouched.
    held: BTreeMap<StreamId, Held<F>>,
}

impl<F: Filter, O: FnMut(&Format) -> Result<F, Failure>> Lanes<F, O> {
    pub(crate) fn new(open: O) -> Self {
        Self { open, streams: Streams::new(), held: BTreeMap::new() }
    }

    /// Takes a record.
    pub(crate) fn handle(&mut self, raw: Raw<'_>, record: &Record<'_>, output: &mut Output) -> Result<(), Failure> {
        self.streams.handle(record)?;
        if let Record::Format(id, format) = record {
            return self.begin(*id, format, raw, output);
        }
        let Some(held) = self.held.get_mut(&raw.id()) else { return output.raw(raw) };
        match record {
            Record::Audio(audio) if !audio.padding => held.audio(audio, output),
            Record::Gap(gap) => held.gap(gap, output),
            Record::End(_) => {
                held.finish(output)?;
                self.held.remove(&raw.id());
                output.raw(raw)
            }
            Record::Audio(_) | Record::Event(_) | Record::Unknown(_) | Record::Format(..) => held.pass(raw, output),
        }
    }

    /// Writes what is held of streams that have no End.
    pub(crate) fn finish(&mut self, output: &mut Output) -> Result<(), Failure> {
        self.held.values_mut().try_for_each(|held| held.finish(output))
    }

    /// A stream begins; one of the same id that was open is over.
    fn begin(&mut self, id: StreamId, format: &Format, raw: Raw<'_>, output: &mut Output) -> Result<(), Failure> {
        if let Some(mut held) = self.held.remove(&id) {
            held.finish(output)?;
        }
        if matches!(format.codec, Codec::PcmS16 | Codec::PcmF32) {
            self.held.insert(id, Held::new(id, format, (self.open)(format)?));
        } else {
            note(format_args!("stream {id} is {format} and passes unchanged: `vox-decode` makes PCM of it"));
        }
        output.raw(raw)
    }
}
