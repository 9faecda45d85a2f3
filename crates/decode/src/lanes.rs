//! The streams of a pipe, each with its decoder.

use std::collections::BTreeMap;

use vox_cli::{Failure, Output, Streams, note, warn};
use vox_codec::{DecoderOptions, Plc, StreamDecoder};
use vox_frame::{End, Format, Raw, Record, StreamId};

use crate::args::Args;
use crate::lane::{Lane, Tally};
use crate::outlet::Wanted;

/// All streams.
pub(crate) struct Lanes {
    wanted: Wanted,
    keep_gaps: bool,
    options: DecoderOptions,
    streams: Streams,
    /// The streams that are decoded; others pass untouched.
    lanes: BTreeMap<StreamId, Lane>,
    tally: Tally,
}

impl Lanes {
    pub(crate) fn new(args: &Args) -> Self {
        Self {
            wanted: args.wanted(),
            keep_gaps: args.plc == Plc::Off,
            options: args.options(),
            streams: Streams::new(),
            lanes: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Decodes a record, or passes it on.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn handle(&mut self, raw: Raw<'_>, record: &Record<'_>, output: &mut Output) -> Result<(), Failure> {
        self.streams.handle(record)?;
        let lane = self.lanes.get_mut(&raw.id());
        match (record, lane) {
            (Record::Format(id, format), _) => self.begin(*id, format, raw, output),
            (Record::Audio(audio), Some(lane)) => lane.audio(audio, output),
            (Record::Gap(gap), Some(lane)) => lane.gap(gap, output),
            (Record::End(end), Some(lane)) => {
                let timestamp = lane.end(end, output)?;
                self.close(end.id);
                if timestamp == end.timestamp {
                    output.raw(raw)
                } else {
                    output.write(&Record::End(End { timestamp, ..end.clone() }))
                }
            }
            _ => output.raw(raw),
        }
    }

    /// Writes what the decoders hold back of streams that have no End.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn finish(&mut self, output: &mut Output) -> Result<(), Failure> {
        while let Some((id, lane)) = self.lanes.iter_mut().next() {
            lane.flush(output)?;
            let id = *id;
            self.close(id);
        }
        Ok(())
    }

    /// What was done to streams that are over.
    pub(crate) const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Says how much was damaged.
    pub(crate) fn tell(&self) {
        match self.tally.damaged_packets {
            0 => {}
            1 => warn("1 damaged packet was concealed"),
            many => warn(format_args!("{many} damaged packets were concealed")),
        }
    }

    /// A stream begins; one of the same id that was open is over.
    fn begin(&mut self, id: StreamId, format: &Format, raw: Raw<'_>, output: &mut Output) -> Result<(), Failure> {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.flush(output)?;
            self.close(id);
        }
        match StreamDecoder::new(format, self.options) {
            Ok(decoder) => {
                let lane = Lane::new(id, format, decoder, self.options, self.keep_gaps, &self.wanted);
                output.write(&Record::Format(id, lane.format()))?;
                self.lanes.insert(id, lane);
                Ok(())
            }
            Err(error) => {
                note(format_args!("stream {id} passes undecoded: {error}"));
                output.raw(raw)
            }
        }
    }

    fn close(&mut self, id: StreamId) {
        if let Some(lane) = self.lanes.remove(&id) {
            self.tally.add(&lane.tally());
        }
    }
}
