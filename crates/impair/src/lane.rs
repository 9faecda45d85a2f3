//! One stream: its link, and when its packets are sent.

use vox_frame::{Format, MediaTime, Stamp, Times};
use vox_link::{Config, Link};

/// A stream on its way through the network.
pub(crate) struct Lane {
    pub(crate) format: Format,
    pub(crate) link: Link,
    /// What one media time is sent at, for streams without stamps.
    pace: Option<(MediaTime, Stamp)>,
    /// Whether it has been seen with stamps of its own.
    stamped: bool,
    /// When the last of its records arrives.
    pub(crate) last: Stamp,
    /// Its records that are held.
    pub(crate) held: usize,
    pub(crate) ended: bool,
}

impl Lane {
    pub(crate) fn new(format: Format, config: Config, seed: u64) -> Self {
        let link = Link::new(config, seed);
        Self { format, link, pace: None, stamped: false, last: Stamp::from_ns(i64::MIN), held: 0, ended: false }
    }

    /// The same link for a stream that begins anew.
    pub(crate) fn begin_anew(&mut self, format: Format) {
        self.format = format;
        self.pace = None;
        self.ended = false;
    }

    /// Whether nobody has paced it: it has no stamps and no world behind it.
    pub(crate) const fn is_unpaced(&self) -> bool {
        self.pace.is_some()
    }

    /// When a record of a span of media time is sent, in virtual time: as its stamps say, else at the end of the frame
    /// on a clock that is at `now` when the stream begins.
    pub(crate) fn sent_virtually(&mut self, times: &Times, from: MediaTime, ticks: u64, now: Stamp) -> Stamp {
        if let Some(stamp) = self.stamp(times, ticks) {
            self.stamped = true;
            return stamp;
        }
        if self.stamped && self.pace.is_none() {
            return now;
        }
        let (origin, began) = *self.pace.get_or_insert((from, now));
        began.plus(self.format.rate.ns(from.plus(ticks).since(origin)))
    }

    /// When a record is sent, in real time: as its stamps say or now where it is live, else at the end of the frame on
    /// a clock that begins now, and begins anew after a stall.
    pub(crate) fn sent_live(&mut self, times: &Times, from: MediaTime, ticks: u64, now: Stamp) -> Stamp {
        if self.format.live {
            return times.arrived.unwrap_or(now);
        }
        let rate = self.format.rate;
        let (origin, began) = *self.pace.get_or_insert((from, now));
        let sent = began.plus(rate.ns(from.plus(ticks).since(origin)));
        if sent >= now {
            return sent;
        }
        self.pace = Some((from.plus(ticks), now));
        now
    }

    fn stamp(&self, times: &Times, ticks: u64) -> Option<Stamp> {
        times.arrived.or_else(|| Some(times.captured?.plus(self.format.rate.ns(ticks))))
    }
}
