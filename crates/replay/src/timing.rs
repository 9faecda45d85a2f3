//! When each record leaves.

use std::collections::BTreeMap;

use vox_frame::{Format, MediaTime, Record, Stamp, StreamId, Times};

/// How far behind its time a record may leave before the pace begins anew, in ns: less is made up for.
const STALL_NS: i64 = 100_000_000;

/// From kept time to the present.
#[derive(Debug)]
pub(crate) struct Timing {
    speed: f64,
    /// The kept time at which the present round began, and when that is.
    origin: Option<(Stamp, Stamp)>,
    /// The latest deadline so far.
    latest: Option<Stamp>,
    streams: BTreeMap<StreamId, Stream>,
}

#[derive(Debug)]
struct Stream {
    format: Format,
    /// Which media time came at which kept time, for records without stamps.
    pace: Option<(MediaTime, Stamp)>,
}

impl Timing {
    /// A replay that has not begun.
    pub(crate) const fn new(speed: f64) -> Self {
        Self { speed, origin: None, latest: None, streams: BTreeMap::new() }
    }

    /// How many streams are open.
    pub(crate) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Learns of the streams, and gives the kept time at which the record came: none for what carries no time.
    pub(crate) fn kept(&mut self, record: &Record<'_>) -> Option<Stamp> {
        match record {
            Record::Format(id, format) => {
                if self.streams.is_empty() {
                    // What was strung together follows without a pause.
                    self.origin = None;
                }
                self.streams.insert(*id, Stream { format: format.clone(), pace: None });
                None
            }
            Record::Audio(audio) => {
                let end = audio.timestamp.plus(u64::from(audio.duration));
                self.of_span(audio.id, &audio.times, audio.timestamp, end)
            }
            Record::Gap(gap) => self.of_span(gap.id, &gap.times, gap.timestamp, gap.timestamp.plus(gap.duration)),
            Record::Event(event) => event.times.due.or(event.times.arrived),
            Record::End(end) => {
                self.streams.remove(&end.id);
                end.times.due.or(end.times.arrived)
            }
            Record::Unknown(_) => None,
        }
    }

    /// When a record of that kept time leaves, where the time is `now`: the pace begins anew after a stall.
    pub(crate) fn deadline(&mut self, kept: Stamp, now: Stamp) -> Stamp {
        let began = self.latest.unwrap_or(now).max(now.plus(-STALL_NS));
        let origin = *self.origin.get_or_insert((kept, began));
        let deadline = self.map(kept, origin).max(self.latest.unwrap_or(Stamp::from_ns(i64::MIN)));
        let behind = now.since(deadline);
        if behind > STALL_NS {
            self.origin = Some((origin.0, origin.1.plus(behind)));
            self.latest = Some(now);
            return now;
        }
        self.latest = Some(deadline);
        deadline
    }

    /// The stamps of a record, moved to the present.
    pub(crate) fn moved(&self, times: &Times) -> Times {
        let Some(origin) = self.origin else { return *times };
        let moved = |stamp: Option<Stamp>| stamp.map(|stamp| self.map(stamp, origin));
        Times { captured: moved(times.captured), arrived: moved(times.arrived), due: moved(times.due) }
    }

    /// Whether the stream has no stamps, so that it is paced here.
    pub(crate) fn is_paced(&self, id: StreamId) -> bool {
        self.streams.get(&id).is_some_and(|stream| stream.pace.is_some())
    }

    /// How long so much of the stream lasts, in ns.
    pub(crate) fn span(&self, id: StreamId, ticks: u64) -> i64 {
        self.streams.get(&id).map_or(0, |stream| stream.format.rate.ns(ticks))
    }

    fn map(&self, kept: Stamp, (from, to): (Stamp, Stamp)) -> Stamp {
        let away = kept.since(from);
        let scaled = if self.speed == 1.0 { away } else { (away as f64 / self.speed).round() as i64 };
        to.plus(scaled)
    }

    fn of_span(&mut self, id: StreamId, times: &Times, from: MediaTime, end: MediaTime) -> Option<Stamp> {
        let begun = self.origin.map_or(Stamp::ZERO, |(kept, _)| kept);
        let stream = self.streams.get_mut(&id)?;
        let span = stream.format.rate.ns(end.since(from));
        let stamp = times.due.or(times.arrived).or_else(|| Some(times.captured?.plus(span)));
        if stamp.is_some() {
            return stamp;
        }
        let (origin, began) = *stream.pace.get_or_insert((from, begun));
        Some(began.plus(stream.format.rate.ns(end.since(origin))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn at(ms: i64) -> Stamp {
        Stamp::from_ns(ms * MS)
    }

    #[test]
    fn records_leave_as_far_apart_as_they_came() {
        let mut timing = Timing::new(1.0);
        assert_eq!(timing.deadline(at(5_000), at(100)), at(100));
        assert_eq!(timing.deadline(at(5_030), at(101)), at(130));
        assert_eq!(timing.deadline(at(5_020), at(130)), at(130), "one that was overtaken leaves at once");
        let times = Times { captured: Some(at(4_990)), arrived: Some(at(5_030)), due: None };
        assert_eq!(timing.moved(&times), Times { captured: Some(at(90)), arrived: Some(at(130)), due: None });
    }

    #[test]
    fn twice_the_speed_is_half_the_time() {
        let mut timing = Timing::new(2.0);
        timing.deadline(at(0), at(0));
        assert_eq!(timing.deadline(at(100), at(0)), at(50));
    }

    #[test]
    fn a_stall_moves_the_rest() {
        let mut timing = Timing::new(1.0);
        timing.deadline(at(0), at(0));
        assert_eq!(timing.deadline(at(20), at(3_020)), at(3_020));
        assert_eq!(timing.deadline(at(40), at(3_020)), at(3_040));
    }
}
