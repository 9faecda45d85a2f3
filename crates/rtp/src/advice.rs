//! What the far end's loss means for the encoder.

use std::collections::BTreeMap;

use vox_frame::Stamp;

use crate::control::RemoteReport;

/// How much of the way to a new report is gone at once: protection comes quickly and goes slowly.
const RISE: f64 = 0.5;
const FALL: f64 = 0.1;

/// Loss below this is none, 0 to 1.
const NEGLIGIBLE: f64 = 0.005;

/// Receivers that are listened to; the worst of them counts.
const MAX_RECEIVERS: usize = 256;

/// A receiver that has said nothing for so long is gone, in ns.
const GONE_NS: i64 = 60_000_000_000;

/// Smooths the loss that receivers report into one number for an encoder.
#[derive(Debug, Clone)]
pub struct LossAdvice {
    /// The least that is advised where anything is lost, in percent.
    floor: u8,
    smoothed: BTreeMap<(u32, u32), (f64, Stamp)>,
    told: Option<u8>,
}

impl LossAdvice {
    /// Advice that is never below `floor` percent where anything is lost: an encoder puts hardly any redundancy into
    /// its packets for less.
    pub const fn new(floor: u8) -> Self {
        Self { floor, smoothed: BTreeMap::new(), told: None }
    }

    /// Takes a report; gives the loss to expect, in percent, where that is not what was said last.
    pub fn handle_report(&mut self, now: Stamp, report: &RemoteReport) -> Option<u8> {
        self.smoothed.retain(|_, (_, seen)| now.since(*seen) < GONE_NS);
        let key = (report.ssrc, report.by);
        if self.smoothed.len() < MAX_RECEIVERS || self.smoothed.contains_key(&key) {
            let (smoothed, seen) = self.smoothed.entry(key).or_insert((report.fraction_lost, now));
            let share = if report.fraction_lost > *smoothed { RISE } else { FALL };
            *smoothed += share * (report.fraction_lost - *smoothed);
            *seen = now;
        }
        let worst = self.smoothed.values().map(|(loss, _)| *loss).fold(0.0, f64::max);
        let percent = if worst < NEGLIGIBLE { 0 } else { ((worst * 100.0).round() as u8).max(self.floor) };
        (self.told.replace(percent) != Some(percent)).then_some(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(by: u32, loss: f64) -> RemoteReport {
        RemoteReport { ssrc: 1, by, fraction_lost: loss, packets_lost: 0, jitter_ns: 0, round_trip_ns: None }
    }

    fn advised(floor: u8, losses: &[f64]) -> Vec<Option<u8>> {
        let mut advice = LossAdvice::new(floor);
        losses.iter().map(|&loss| advice.handle_report(Stamp::ZERO, &report(2, loss))).collect()
    }

    #[test]
    fn loss_rises_quickly_and_falls_slowly() {
        assert_eq!(advised(0, &[0.0, 0.2, 0.2, 0.0, 0.0]), [Some(0), Some(10), Some(15), Some(14), Some(12)]);
    }

    #[test]
    fn what_does_not_change_is_said_once() {
        assert_eq!(advised(0, &[0.0, 0.0, 0.07, 0.03]), [Some(0), None, Some(4), Some(3)]);
    }

    #[test]
    fn a_little_loss_is_taken_for_as_much_as_helps() {
        assert_eq!(advised(10, &[0.0, 0.04, 0.5]), [Some(0), Some(10), Some(26)]);
    }

    #[test]
    fn the_worst_receiver_counts_until_it_is_gone() {
        let mut advice = LossAdvice::new(0);
        let at = |seconds: i64| Stamp::from_ns(seconds * 1_000_000_000);
        assert_eq!(advice.handle_report(at(0), &report(2, 0.3)), Some(30));
        assert_eq!(advice.handle_report(at(50), &report(3, 0.1)), None);
        assert_eq!(advice.handle_report(at(100), &report(3, 0.1)), Some(10));
    }
}
