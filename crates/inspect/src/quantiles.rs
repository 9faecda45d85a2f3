//! Quantiles of many numbers in little memory.

use std::collections::BTreeMap;

/// Buckets a factor of two: quantiles are exact to 1.1 %.
const STEPS: f64 = 64.0;

/// A histogram with buckets of equal ratio.
#[derive(Debug, Default)]
pub(crate) struct Quantiles {
    buckets: BTreeMap<i32, u64>,
    count: u64,
}

impl Quantiles {
    /// Counts a time in ns; a negative one counts as zero.
    pub(crate) fn add(&mut self, ns: i64) {
        let bucket = if ns <= 0 { i32::MIN } else { ((ns as f64).log2() * STEPS) as i32 };
        *self.buckets.entry(bucket).or_default() += 1;
        self.count += 1;
    }

    /// The time in ms that `share` (0 to 1) of all lie at or below; none where nothing was counted.
    pub(crate) fn ms(&self, share: f64) -> Option<f64> {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().find_map(|(bucket, count)| {
            seen += count;
            (seen >= rank).then_some(*bucket)
        })?;
        let ns = if bucket == i32::MIN { 0.0 } else { ((f64::from(bucket) + 0.5) / STEPS).exp2() };
        Some((ns / 1e4).round() / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_per_cent() {
        let mut quantiles = Quantiles::default();
        for ms in 1..=1000 {
            quantiles.add(ms * 1_000_000);
        }
        for (share, expected) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let got = quantiles.ms(share).expect("numbers were counted");
            assert!((got / expected - 1.0).abs() < 0.02, "{share}: {got}");
        }
    }

    #[test]
    fn nothing_counted_has_no_quantile() {
        assert_eq!(Quantiles::default().ms(0.5), None);
    }
}
