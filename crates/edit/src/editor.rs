//! All streams of a recording.

use std::collections::BTreeMap;

use vox_cli::{Failure, Output, Streams};
use vox_frame::{EndReason, Format, MediaTime, Raw, Record, Stamp, StreamId, Times};

use crate::lane::{Lane, edited_codec};
use crate::list::List;

/// A stream that begins this much before or behind the others is of another recording, in ns.
const MAX_APART_NS: i64 = 86_400_000_000_000;

/// The streams of a recording, each at its place in it.
pub(crate) struct Editor {
    list: List,
    streams: Streams,
    lanes: BTreeMap<StreamId, Lane>,
    /// The stream that gets what comes from files.
    main: Option<StreamId>,
    /// The stamp at which the recording begins.
    origin: Option<Stamp>,
}

impl Editor {
    /// Edits by that list.
    pub(crate) fn new(list: List) -> Self {
        Self { list, streams: Streams::new(), lanes: BTreeMap::new(), main: None, origin: None }
    }

    /// Takes a record; what is no audio passes as it is.
    ///
    /// # Errors
    /// When stdout cannot be written, or a stream cannot be edited so.
    pub(crate) fn handle(
        &mut self,
        record: &Record<'_>,
        raw: Option<Raw<'_>>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        self.streams.handle(record)?;
        match record {
            Record::Format(id, format) => {
                self.close(*id, None, EndReason::Complete, output)?;
                self.main.get_or_insert(*id);
                let mut format = format.clone();
                // Packets that were taken out are no packets of that sender any more.
                format.rtp = None;
                format.codec = edited_codec(&format.codec);
                output.write(&Record::Format(*id, format))
            }
            Record::Audio(audio) => {
                self.lane(audio.id, audio.timestamp, &audio.times)?.map_or(Ok(()), |lane| lane.audio(audio, output))
            }
            Record::Gap(gap) => {
                self.lane(gap.id, gap.timestamp, &gap.times)?.map_or(Ok(()), |lane| lane.gap(gap, output))
            }
            Record::End(end) if self.lanes.contains_key(&end.id) => {
                self.close(end.id, Some(end.timestamp), end.reason.clone(), output)
            }
            _ => raw.map_or(Ok(()), |raw| output.raw(raw)),
        }
    }

    /// Ends every stream that has no End.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn finish(&mut self, reason: &EndReason, output: &mut Output) -> Result<(), Failure> {
        while let Some(id) = self.lanes.keys().next().copied() {
            self.close(id, None, reason.clone(), output)?;
        }
        Ok(())
    }

    fn close(
        &mut self,
        id: StreamId,
        end: Option<MediaTime>,
        reason: EndReason,
        output: &mut Output,
    ) -> Result<(), Failure> {
        self.lanes.remove(&id).map_or(Ok(()), |lane| lane.end(end, reason, output))
    }

    /// The lane of a stream, which begins with its first record.
    fn lane(&mut self, id: StreamId, media: MediaTime, times: &Times) -> Result<Option<&mut Lane>, Failure> {
        if !self.lanes.contains_key(&id) {
            let Some(format) = self.streams.get(id) else { return Ok(None) };
            let begins = place(&mut self.origin, times, format);
            let lane = Lane::new(id, format, &self.list, self.main == Some(id), media, begins)?;
            self.lanes.insert(id, lane);
        }
        Ok(self.lanes.get_mut(&id))
    }
}

/// Ticks behind the beginning of the recording, by the first stamp of the stream and of the recording.
fn place(origin: &mut Option<Stamp>, times: &Times, format: &Format) -> u64 {
    let Some(stamp) = times.captured.or(times.arrived).or(times.due) else { return 0 };
    let begins = stamp.since(*origin.get_or_insert(stamp));
    if (0..MAX_APART_NS).contains(&begins) { format.rate.ticks(begins) } else { 0 }
}
