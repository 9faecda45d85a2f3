//! Where a record lies on the timeline.
//!
//! A file has its origin at the first record. A loudspeaker has it at the time at which it began, moves on with the
//! clock, and what is placed behind its head is too late.

use std::collections::VecDeque;

use vox_dsp::Timeline;
use vox_frame::{Format, Stamp, Times};

/// What lies farther from the present than this is no stream of now but a recording, in ns.
const RECORDING_NS: i64 = 10_000_000_000;

/// How much later than most records of its stream a record may come and still be in time, in ns; only for
/// live streams without a jitter buffer.
const MARGIN_NS: i64 = 8_000_000;

/// Records whose age is remembered.
const AGES: usize = 50;

/// How far a file's timeline may jump to the `due` of a record, in ns: beyond it streams are strung together.
const MAX_JUMP_NS: i64 = 3_600_000_000_000;

/// What one stream's place depends on.
#[derive(Debug)]
pub(crate) struct Place {
    live: bool,
    /// Frames by which its own times are moved; for recordings.
    shift: Option<i64>,
    /// Whether it is played from its records' order alone.
    unpaced: bool,
    /// Delay against its own times, in ns; none before the first record.
    delay: Option<i64>,
    ages: VecDeque<i64>,
    /// When the last record was read.
    read: Option<Stamp>,
}

impl Place {
    /// A stream that was not placed yet.
    pub(crate) fn new(format: &Format) -> Self {
        Self { live: format.live, shift: None, unpaced: false, delay: None, ages: VecDeque::new(), read: None }
    }

    /// Whether the loudspeaker, not the world, paces it.
    pub(crate) const fn is_unpaced(&self) -> bool {
        self.unpaced
    }

    /// The delay that is kept against the stream's own times: what nine of ten records of late stayed within, and a
    /// margin. A record that comes right behind the one before it has waited in a pipe, at the start or behind a stall:
    /// its age says nothing.
    fn delay(&mut self, stamp: Stamp, span: i64, now: Stamp) -> i64 {
        let waited = self.read.is_some_and(|read| now.since(read) < span / 2);
        self.read = Some(now);
        if !waited {
            if self.ages.len() == AGES {
                self.ages.pop_front();
            }
            self.ages.push_back(now.since(stamp).max(span));
        }
        let mut sorted: Vec<i64> = self.ages.iter().copied().collect();
        sorted.sort_unstable();
        let usual = sorted.get(sorted.len() * 9 / 10).copied().unwrap_or(span);
        let target = usual + MARGIN_NS;
        let delay = self.delay.get_or_insert(target);
        if (*delay - target).abs() > MARGIN_NS {
            *delay = target;
        }
        *delay
    }
}

/// How records are placed.
#[derive(Debug)]
pub(crate) enum Placement {
    /// On the timeline of a file.
    File {
        /// The time that frame `at` stands for.
        origin: Option<(Stamp, i64)>,
        /// Where streams without times begin.
        begin: i64,
    },
    /// On the timeline of a loudspeaker.
    Device {
        /// The time that frame 0 stands for.
        origin: Stamp,
    },
}

impl Placement {
    /// The timeline of a file.
    pub(crate) const fn file() -> Self {
        Self::File { origin: None, begin: 0 }
    }

    /// The timeline of a loudspeaker that begins at `origin`.
    pub(crate) const fn device(origin: Stamp) -> Self {
        Self::Device { origin }
    }

    /// Learns that no stream is left, and the frame that they came to.
    pub(crate) const fn all_ended(&mut self, end: i64) {
        if let Self::File { begin, .. } = self {
            *begin = end;
        }
    }

    /// The frame at which a record with these times, `span` ns long, read at `now`, should begin; none where it
    /// follows the record before it. `position` is where the stream stands, `alone` says that it is the only one.
    #[expect(clippy::too_many_arguments, reason = "what a place depends on")]
    pub(crate) fn frame(
        &mut self,
        place: &mut Place,
        times: &Times,
        span: i64,
        now: Stamp,
        timeline: &Timeline,
        position: Option<i64>,
        alone: bool,
    ) -> Option<i64> {
        let stamp = times.due.or(times.arrived).or(times.captured);
        match self {
            Self::File { origin, begin } => {
                if position.is_some() && times.due.is_none() {
                    return None;
                }
                let Some(stamp) = stamp else { return Some(*begin) };
                let placed = origin.map(|(origin, at)| at + frames(timeline, stamp.since(origin)));
                let follows = times.due.is_none() && alone && timeline.end() > 0;
                let reach = frames(timeline, MAX_JUMP_NS);
                let near = placed.filter(|placed| (-reach..timeline.end() + reach).contains(placed));
                match near.filter(|_| !follows || position.is_some()) {
                    Some(placed) => Some(placed),
                    None => {
                        let at = position.unwrap_or(*begin);
                        *origin = Some((stamp, at));
                        Some(at)
                    }
                }
            }
            Self::Device { origin } => {
                let head = timeline.head();
                let from_now = stamp.map(|stamp| stamp.since(now));
                let is_now = from_now.is_some_and(|away| away.abs() < RECORDING_NS);
                if place.shift.is_none() && !place.unpaced && !(place.live && is_now) {
                    place.unpaced = true;
                    place.shift = stamp.map(|stamp| head - frames(timeline, stamp.since(*origin)));
                }
                if place.unpaced {
                    return unpaced(place, times, *origin, timeline, position);
                }
                let stamp = stamp?;
                let delay = if times.due.is_some() { 0 } else { place.delay(stamp, span, now) };
                Some(frames(timeline, stamp.since(*origin) + delay))
            }
        }
    }
}

/// A stream that the loudspeaker paces loses nothing: where it has fallen behind, its timeline moves on.
fn unpaced(place: &mut Place, times: &Times, origin: Stamp, timeline: &Timeline, position: Option<i64>) -> Option<i64> {
    let head = timeline.head();
    let Some(position) = position else { return Some(head) };
    let behind = (head - position).max(0);
    if let Some(shift) = &mut place.shift {
        *shift += behind;
    }
    let due = times.due.zip(place.shift).map(|(due, shift)| frames(timeline, due.since(origin)) + shift);
    if behind > 0 { Some(head) } else { due }
}

/// Frames in `ns`, rounded, negative for a negative time.
fn frames(timeline: &Timeline, ns: i64) -> i64 {
    let magnitude = timeline.rate().ticks(i64::try_from(ns.unsigned_abs()).unwrap_or(i64::MAX)).cast_signed();
    if ns < 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use vox_frame::{Channels, Codec, Rate, StreamId};

    use super::*;

    const MS: i64 = 1_000_000;

    fn timeline() -> Timeline {
        Timeline::new(Rate::HZ_8000, Channels::MONO)
    }

    fn live() -> Place {
        let mut format = Format::new(Codec::PcmS16, Rate::HZ_8000, Channels::MONO, 160);
        format.live = true;
        Place::new(&format)
    }

    fn captured(ms: i64) -> Times {
        Times { captured: Some(Stamp::from_ns(ms * MS)), ..Times::default() }
    }

    fn due(ms: i64) -> Times {
        Times { due: Some(Stamp::from_ns(ms * MS)), ..Times::default() }
    }

    #[test]
    fn in_a_file_the_first_record_is_the_origin_and_due_places_the_rest() {
        let mut placement = Placement::file();
        let timeline = timeline();
        let (mut a, mut b) = (live(), live());
        let now = Stamp::ZERO;
        assert_eq!(placement.frame(&mut a, &due(1_000_000), 20 * MS, now, &timeline, None, true), Some(0));
        assert_eq!(placement.frame(&mut a, &due(1_000_030), 20 * MS, now, &timeline, Some(160), false), Some(240));
        assert_eq!(placement.frame(&mut b, &due(1_000_010), 20 * MS, now, &timeline, None, false), Some(80));
    }

    #[test]
    fn in_a_file_streams_without_times_begin_together_or_behind_those_that_ended() {
        let mut placement = Placement::file();
        let timeline = timeline();
        let none = Times::default();
        assert_eq!(placement.frame(&mut live(), &none, 20 * MS, Stamp::ZERO, &timeline, None, true), Some(0));
        placement.all_ended(800);
        assert_eq!(placement.frame(&mut live(), &none, 20 * MS, Stamp::ZERO, &timeline, None, true), Some(800));
    }

    #[test]
    fn a_backlog_at_the_start_is_caught_up_with() {
        let mut placement = Placement::device(Stamp::ZERO);
        let timeline = timeline();
        let mut place = live();
        // Records of 20 ms that waited half a second in the pipe, then come as they are captured.
        let mut delay = Vec::new();
        for n in 0..100 {
            let ready = (n + 1) * 20;
            let now = Stamp::from_ns(ready.max(500) * MS);
            let frame = placement.frame(&mut place, &captured(n * 20), 20 * MS, now, &timeline, Some(0), true);
            delay.push(frame.unwrap() / 8 - n * 20);
        }
        assert!(delay[99] < 20 + 2 * MARGIN_NS / MS + 1, "{delay:?}");
    }

    #[test]
    fn a_stream_that_is_paced_keeps_its_delay_through_a_stall() {
        let mut placement = Placement::device(Stamp::ZERO);
        let timeline = timeline();
        let mut place = live();
        let mut delays = Vec::new();
        for n in 0..200 {
            let ready = (n + 1) * 20;
            // The player stands still from 2000 to 2500 ms.
            let now = if (2_000..2_500).contains(&ready) { 2_500 } else { ready };
            let now = Stamp::from_ns(now * MS);
            let frame = placement.frame(&mut place, &captured(n * 20), 20 * MS, now, &timeline, Some(0), true);
            delays.push(frame.unwrap() / 8 - n * 20);
        }
        assert!(delays.windows(2).all(|pair| pair[0] == pair[1]), "{delays:?}");
    }

    #[test]
    fn a_file_is_played_from_where_the_loudspeaker_is_and_loses_nothing() {
        let mut placement = Placement::device(Stamp::ZERO);
        let mut timeline = timeline();
        timeline.take(100, &mut Vec::new());
        timeline.open(StreamId(1), Rate::HZ_8000, Channels::MONO);
        let mut place = Place::new(&Format::new(Codec::PcmS16, Rate::HZ_8000, Channels::MONO, 160));
        let none = Times::default();
        assert_eq!(placement.frame(&mut place, &none, 20 * MS, Stamp::ZERO, &timeline, None, true), Some(100));
        assert_eq!(placement.frame(&mut place, &none, 20 * MS, Stamp::ZERO, &timeline, Some(260), true), None);
        timeline.take(300, &mut Vec::new());
        assert_eq!(placement.frame(&mut place, &none, 20 * MS, Stamp::ZERO, &timeline, Some(260), true), Some(300));
        assert!(place.is_unpaced());
    }

    #[test]
    fn a_recording_with_due_times_of_long_ago_keeps_its_holes() {
        let mut placement = Placement::device(Stamp::from_ns(3_600_000 * MS));
        let timeline = timeline();
        let mut place = live();
        let now = Stamp::from_ns(3_600_000 * MS);
        assert_eq!(placement.frame(&mut place, &due(500), 20 * MS, now, &timeline, None, true), Some(0));
        assert_eq!(placement.frame(&mut place, &due(580), 20 * MS, now, &timeline, Some(160), true), Some(640));
    }
}
