//! All streams in one file.

use std::fs::File;
use std::sync::Arc;

use vox_cli::Failure;
use vox_dsp::Timeline;
use vox_frame::{Channels, Rate, StreamId};

use crate::store::Store;
use crate::tape::Tape;

/// How far the mix may stay behind the clock for a stream that brings nothing, in ns.
const PATIENCE_NS: i64 = 2_000_000_000;

/// Frames that are written at a time.
const PIECE: i64 = 48_000;

/// The sum of all streams on a tape.
pub(crate) struct Mix {
    timeline: Timeline,
    tape: Tape,
    late: u64,
    samples: Vec<f32>,
}

impl Mix {
    /// An empty mix.
    pub(crate) fn new(rate: Rate, channels: Channels, tape: Tape) -> Self {
        Self { timeline: Timeline::new(rate, channels), tape, late: 0, samples: Vec::new() }
    }

    /// Begins a stream.
    pub(crate) fn open(&mut self, id: StreamId, rate: Rate, channels: Channels) {
        self.timeline.open(id, rate, channels);
    }

    /// Adds samples of a stream, the first of which lies `at` frames of its rate behind the beginning.
    pub(crate) fn push(&mut self, id: StreamId, at: i64, rate: Rate, samples: &[f32]) {
        if !self.timeline.is_placed(id) {
            self.place(id, at, rate);
        }
        let late = &mut self.late;
        self.timeline.push(id, samples, |part| *late += part.frames);
    }

    /// Moves the place of what comes next of a stream.
    pub(crate) fn place(&mut self, id: StreamId, at: i64, rate: Rate) {
        let at = rate.convert(at.max(0).unsigned_abs(), self.timeline.rate());
        self.timeline.place(id, at.cast_signed());
    }

    /// Ends a stream.
    pub(crate) fn close(&mut self, id: StreamId) {
        let late = &mut self.late;
        self.timeline.close(id, |part| *late += part.frames);
    }

    /// Writes what is complete; at `clock` ns since the beginning nobody is waited for any longer than a while.
    ///
    /// # Errors
    /// Where it cannot be written (1).
    pub(crate) fn advance(&mut self, clock: i64, store: &mut Store) -> Result<(), Failure> {
        let complete = self.timeline.complete().unwrap_or(0);
        let patience = self.timeline.rate().ticks(clock.saturating_sub(PATIENCE_NS)).cast_signed();
        self.take(complete.max(patience), store)
    }

    /// Writes everything, `ns` long, and ends the file. Gives the frames that came too late to be in it.
    ///
    /// # Errors
    /// Where it cannot be written (1).
    pub(crate) fn finish(&mut self, ns: i64, store: &mut Store) -> Result<u64, Failure> {
        let length = self.timeline.rate().ticks(ns).cast_signed();
        self.take(length, store)?;
        self.tape.cut(store)?;
        Ok(self.late)
    }

    /// As for [`Tape::flush`].
    pub(crate) fn flush(&mut self) -> Result<Option<Arc<File>>, Failure> {
        self.tape.flush()
    }

    fn take(&mut self, to: i64, store: &mut Store) -> Result<(), Failure> {
        while self.timeline.head() < to {
            if self.timeline.held() == 0 {
                let silent = (to - self.timeline.head()).unsigned_abs();
                self.timeline.skip_to(to);
                return self.tape.hole(store, silent);
            }
            let piece = to.min(self.timeline.head() + PIECE);
            self.samples.clear();
            self.timeline.take(piece, &mut self.samples);
            self.tape.append(store, &self.samples)?;
        }
        Ok(())
    }
}
