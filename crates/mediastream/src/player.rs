//! Audio that comes without a time, to be played one piece after the other: what a telephone is told by a bot.

use std::collections::VecDeque;

use vox_frame::{GapReason, MediaTime, Record, SequenceNumber, Stamp, StreamId, Times};

use crate::session::Counters;
use crate::timed::{audio, gap};
use crate::{PIECE, RATE};

/// The most audio that waits to be played, in bytes: five minutes. What comes beyond it is not heard.
const MAX_QUEUED: usize = 5 * 60 * 8_000;

/// The most marks that wait to be reached; one more is not answered.
const MAX_MARKS: usize = 256;

/// A telephone: its time runs from the beginning of the call, and where nothing is there to be played it is silent.
#[derive(Debug)]
pub(crate) struct Player {
    id: StreamId,
    /// When media time 0 was.
    began: Stamp,
    /// How long what begins after a silence is held back, in ns, so that what follows may come late.
    delay: i64,
    sequence: SequenceNumber,
    /// Up to where it has played, or fallen silent.
    position: u64,
    queue: VecDeque<u8>,
    /// What is to be told, and at which position.
    marks: VecDeque<(u64, String)>,
    marker: bool,
}

impl Player {
    pub(crate) const fn new(id: StreamId, began: Stamp, delay: i64) -> Self {
        Self {
            id,
            began,
            delay,
            sequence: SequenceNumber(0),
            position: 0,
            queue: VecDeque::new(),
            marks: VecDeque::new(),
            marker: true,
        }
    }

    pub(crate) const fn id(&self) -> StreamId {
        self.id
    }

    /// Up to where it has played.
    pub(crate) const fn position(&self) -> MediaTime {
        MediaTime(self.position)
    }

    /// Takes audio that came `now`.
    pub(crate) fn handle_audio<E>(
        &mut self,
        now: Stamp,
        payload: &[u8],
        counters: &mut Counters,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.queue.len() + payload.len() > MAX_QUEUED {
            counters.overflows += 1;
            return Ok(());
        }
        let is_dry = self.position == 0 || self.stamp(self.position) < now;
        if self.queue.is_empty() && is_dry {
            self.fall_silent(now.plus(self.delay), out)?;
        }
        self.queue.extend(payload);
        Ok(())
    }

    /// Takes a mark; false where too many wait.
    pub(crate) fn handle_mark(&mut self, name: String) -> bool {
        let room = self.marks.len() < MAX_MARKS;
        if room {
            self.marks.push_back((self.position + self.queue.len() as u64, name));
        }
        room
    }

    /// Forgets what is not yet played: says how many ticks that were, and the marks that are reached with it.
    pub(crate) fn clear(&mut self) -> (u64, Vec<String>) {
        let dropped = self.queue.len() as u64;
        self.queue.clear();
        self.marker = true;
        (dropped, self.marks.drain(..).map(|(_, name)| name).collect())
    }

    /// Plays what is due `now`; gives the next mark that is reached with it. Call it until there is none.
    pub(crate) fn poll<E>(
        &mut self,
        now: Stamp,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<Option<String>, E> {
        while self.due().is_some_and(|due| due <= now) {
            if self.marks.front().is_some_and(|(at, _)| *at <= self.position) {
                return Ok(self.marks.pop_front().map(|(_, name)| name));
            }
            let length = self.queue.len().min(PIECE);
            let piece: Vec<u8> = self.queue.drain(..length).collect();
            let times = Times { arrived: Some(self.stamp(self.position)), ..Times::default() };
            out(Record::Audio(audio(self.id, self.sequence, self.position(), self.marker, times, &piece)))?;
            self.marker = false;
            self.sequence = self.sequence.plus(1);
            self.position += length as u64;
        }
        Ok(None)
    }

    /// When something is to be played or told next.
    pub(crate) fn due(&self) -> Option<Stamp> {
        (!self.is_idle()).then(|| self.stamp(self.position))
    }

    /// Whether nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.marks.is_empty()
    }

    /// Lets the silence be told that has lasted until `now`.
    pub(crate) fn fall_silent<E>(
        &mut self,
        now: Stamp,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let reached = RATE.ticks(now.since(self.began));
        if self.queue.is_empty() && reached > self.position {
            let silence = reached - self.position;
            // The stream begins with its first audio, at its time.
            if self.sequence.0 > 0 {
                out(Record::Gap(gap(self.id, self.sequence, self.position(), silence, 0, GapReason::Silent)))?;
            }
            self.position = reached;
            self.marker = true;
        }
        Ok(())
    }

    fn stamp(&self, position: u64) -> Stamp {
        self.began.plus(RATE.ns(position))
    }
}
