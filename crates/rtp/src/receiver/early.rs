//! Sender reports that come before the packets that they are about.

use core::net::IpAddr;
use std::collections::VecDeque;

use vox_frame::Stamp;

use super::Key;
use crate::ntp::NtpTime;

/// How many are kept; the oldest gives way, so that a stranger can displace reports but not grow the list.
const MAX_EARLY: usize = 16;

/// How long one is kept, in nanoseconds: some senders report once before the first packet and not again for the least
/// interval of RFC 3550, 6.2.
const KEPT_NS: i64 = 5_000_000_000;

/// The last report of each source that nobody knows yet.
#[derive(Debug, Default)]
pub(super) struct Early {
    reports: VecDeque<(Key, IpAddr, Report)>,
}

/// What a sender report says of time, and when it came.
pub(super) type Report = (NtpTime, u32, Stamp);

impl Early {
    /// Keeps the report of a source of that host.
    pub(super) fn keep(&mut self, key: Key, host: IpAddr, report: Report) {
        self.reports.retain(|(other, from, _)| (*other, *from) != (key, host));
        if self.reports.len() >= MAX_EARLY {
            self.reports.pop_front();
        }
        self.reports.push_back((key, host, report));
    }

    /// The report of a source that is known from `now` on, if that host has sent one lately.
    pub(super) fn take(&mut self, key: Key, host: IpAddr, now: Stamp) -> Option<Report> {
        let of_it = |(other, from, _): &(Key, IpAddr, Report)| (*other, *from) == (key, host);
        let (_, _, report) = self.reports.remove(self.reports.iter().position(of_it)?)?;
        (now.since(report.2) < KEPT_NS).then_some(report)
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn report(second: i64) -> Report {
        (NtpTime::of(Stamp::from_ns(second * 1_000_000_000)), 0, Stamp::from_ns(second * 1_000_000_000))
    }

    #[test]
    fn a_report_waits_five_seconds_for_its_source() {
        for (second, expected) in [(1, Some(report(1))), (4, Some(report(1))), (7, None)] {
            let mut early = Early::default();
            early.keep((0, 1), HOST, report(0));
            early.keep((0, 1), HOST, report(1));
            assert_eq!(early.take((0, 1), HOST, Stamp::from_ns(second * 1_000_000_000)), expected);
            assert_eq!(early.take((0, 1), HOST, Stamp::from_ns(second * 1_000_000_000)), None, "once");
        }
    }

    #[test]
    fn a_flood_of_reports_takes_no_room() {
        let mut early = Early::default();
        for ssrc in 0..10_000 {
            early.keep((0, ssrc), HOST, report(0));
        }
        assert_eq!(early.reports.len(), MAX_EARLY);
        assert!(early.take((0, 9_999), HOST, Stamp::from_ns(0)).is_some());
        assert!(early.take((0, 1), HOST, Stamp::from_ns(0)).is_none());
    }

    #[test]
    fn nobody_elses_report_is_taken() {
        let mut early = Early::default();
        early.keep((0, 1), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), report(0));
        assert!(early.take((0, 1), HOST, Stamp::from_ns(0)).is_none());
    }
}
