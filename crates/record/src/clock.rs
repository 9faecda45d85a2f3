//! From a stream's media time to the clock that all streams share.
//!
//! Pairs of media time and stamp lie on a line, whose slope is how much the two clocks drift apart. A stamp of capture
//! lies beside it by a little noise; a stamp of arrival lies above it by what the packet waited on its way, so the line
//! runs along the lowest. Both are found the same way: the lowest of every bucket, and a line through the buckets that
//! a third of them may miss (Theil and Sen).

use vox_frame::{MediaTime, Rate, Stamp};

/// Buckets that the line runs through.
const BUCKETS: usize = 48;

/// How long a bucket is at first, in ns; when all are full two become one, so that a line is found at once and gets
/// better for minutes.
const BUCKET_NS: i64 = 500_000_000;

/// How long a bucket may become, in ns.
const MAX_BUCKET_NS: i64 = 16_000_000_000;

/// The slowest and fastest clock that is believed: sound cards are within 0.02 %.
const MAX_DRIFT: f64 = 5e-4;

/// A drift below this is none: it is a millisecond in 20 minutes.
const MIN_DRIFT: f64 = 8e-7;

/// The line from media time to the common clock.
#[derive(Debug, Clone)]
pub(crate) struct Mapping {
    rate: Rate,
    /// Media time and stamp that everything else is measured from.
    origin: (MediaTime, Stamp),
    bucket_ns: i64,
    buckets: Vec<Point>,
    drift: f64,
    /// How far above the origin's stamp the line is at media time 0 since the origin, in ns.
    height: f64,
}

/// The lowest of a bucket: ns of media time since the origin, and ns that its stamp is above it.
#[derive(Debug, Clone, Copy)]
struct Point {
    media: i64,
    above: i64,
}

impl Mapping {
    /// A line through one point.
    pub(crate) fn new(rate: Rate, media: MediaTime, stamp: Stamp) -> Self {
        let first = Point { media: 0, above: 0 };
        Self { rate, origin: (media, stamp), bucket_ns: BUCKET_NS, buckets: vec![first], drift: 0.0, height: 0.0 }
    }

    /// Learns that `media` has that stamp.
    pub(crate) fn observe(&mut self, media: MediaTime, stamp: Stamp) {
        let at = self.media_ns(media);
        let point = Point { media: at, above: stamp.since(self.origin.1) - at };
        let Some(last) = self.buckets.last_mut() else { return };
        if at.div_euclid(self.bucket_ns) <= last.media.div_euclid(self.bucket_ns) {
            // The first bucket is all there is at first: there the line follows at once.
            if point.above < last.above {
                *last = point;
                if self.buckets.len() < 3 {
                    self.fit();
                }
            }
            return;
        }
        self.buckets.push(point);
        if self.buckets.len() > BUCKETS {
            self.make_room();
        }
        self.fit();
    }

    /// How far the stamp of `media` is above the line, in ns.
    pub(crate) fn above(&self, media: MediaTime, stamp: Stamp) -> i64 {
        stamp.since(self.at(media))
    }

    /// When `media` was, on the common clock.
    pub(crate) fn at(&self, media: MediaTime) -> Stamp {
        let ns = self.media_ns(media);
        self.origin.1.plus(ns.saturating_add((self.height + ns as f64 * self.drift).round() as i64))
    }

    /// How much longer a second of media time takes on the common clock than a second, as a ratio: 1e-6 is 1 ppm.
    pub(crate) const fn drift(&self) -> f64 {
        self.drift
    }

    fn media_ns(&self, media: MediaTime) -> i64 {
        let ticks = media.offset_from(self.origin.0);
        let ns = self.rate.ns(ticks.unsigned_abs());
        if ticks < 0 { -ns } else { ns }
    }

    fn make_room(&mut self) {
        if self.bucket_ns >= MAX_BUCKET_NS {
            self.buckets.remove(0);
            return;
        }
        self.bucket_ns *= 2;
        let drift = self.drift;
        let low = |point: &Point| point.above as f64 - point.media as f64 * drift;
        let mut joined: Vec<Point> = Vec::with_capacity(BUCKETS);
        for point in self.buckets.drain(..) {
            match joined.last_mut() {
                Some(last) if last.media.div_euclid(self.bucket_ns) == point.media.div_euclid(self.bucket_ns) => {
                    if low(&point) < low(last) {
                        *last = point;
                    }
                }
                _ => joined.push(point),
            }
        }
        self.buckets = joined;
    }

    fn fit(&mut self) {
        // The bucket that is being filled may not have seen its lowest yet.
        let settled = if self.buckets.len() > 3 { &self.buckets[..self.buckets.len() - 1] } else { &self.buckets[..] };
        let mut slopes: Vec<f64> = Vec::with_capacity(settled.len() * settled.len() / 2);
        for (index, from) in settled.iter().enumerate() {
            for to in &settled[index + 1..] {
                slopes.push((to.above - from.above) as f64 / (to.media - from.media).max(1) as f64);
            }
        }
        let drift = if settled.len() < 3 { 0.0 } else { median(&mut slopes) };
        let (height, spread) = height(settled, drift);
        let span = settled.last().map_or(0, |last| last.media - settled[0].media).max(1) as f64;
        // The standard error of a slope through that many points with that spread.
        let error = spread * 1.5 / (span * (settled.len() as f64 / 12.0).sqrt());
        // Few points may lie on a line by chance.
        let sure = if settled.len() < 16 { 8.0 } else { 4.0 };
        let real = drift.abs() > MIN_DRIFT.max(sure * error);
        self.drift = if real { drift.clamp(-MAX_DRIFT, MAX_DRIFT) } else { 0.0 };
        self.height = if self.drift == drift { height } else { self::height(settled, self.drift).0 };
    }
}

/// How high a line of that slope runs through the middle of the points, and how far they usually are from it.
fn height(points: &[Point], drift: f64) -> (f64, f64) {
    let mut heights: Vec<f64> = points.iter().map(|point| point.above as f64 - point.media as f64 * drift).collect();
    let height = if points.len() < 3 { heights.iter().copied().fold(f64::MAX, f64::min) } else { median(&mut heights) };
    let mut spreads: Vec<f64> = heights.iter().map(|one| (one - height).abs()).collect();
    spreads.sort_unstable_by(f64::total_cmp);
    (height, spreads.get(spreads.len() * 3 / 4).copied().unwrap_or(0.0))
}

fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::HZ_48000;

    /// Packets of 20 ms whose sender's clock is off by `ppm`, each `wait(n)` ns late; how far the line is off at each
    /// in ns, from `settled` seconds on.
    fn worst(ppm: f64, seconds: u64, settled: u64, wait: impl Fn(u64) -> i64) -> i64 {
        let truth = |n: u64| Stamp::from_ns((n as f64 * 20e6 * (1.0 + ppm * 1e-6)) as i64);
        let mut mapping = Mapping::new(RATE, MediaTime(0), truth(0).plus(wait(0)));
        let mut worst = 0;
        for n in 1..seconds * 50 {
            let media = MediaTime(n * 960);
            mapping.observe(media, truth(n).plus(wait(n)));
            if n > settled * 50 {
                worst = worst.max(mapping.at(media).since(truth(n)).abs());
            }
        }
        worst
    }

    fn noise(n: u64) -> u64 {
        (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % 1_000_000
    }

    #[test]
    fn exact_stamps_give_the_exact_line_at_once() {
        for ppm in [-100.0, 0.0, 33.0, 100.0] {
            let off = worst(ppm, 600, 0, |_| 0);
            assert!(off < 200_000, "{ppm} ppm: {off} ns off");
        }
        assert_eq!(worst(0.0, 600, 0, |_| 0), 0, "equal clocks are equal");
    }

    #[test]
    fn stamps_of_capture_with_a_little_noise_stay_within_half_a_millisecond() {
        for ppm in [-100.0, 0.0, 100.0] {
            let off = worst(ppm, 1200, 10, |n| noise(n) as i64 - 500_000);
            assert!(off < 900_000, "{ppm} ppm: {off} ns off");
        }
    }

    #[test]
    fn arrivals_that_wait_in_queues_give_the_floor() {
        let wait = |n: u64| {
            let burst = if n % 500 < 40 { 80_000_000 } else { 0 };
            (noise(n) * 20) as i64 + burst
        };
        for ppm in [-100.0, 0.0, 100.0] {
            let off = worst(ppm, 1200, 60, wait);
            assert!(off < 4_000_000, "{ppm} ppm: {off} ns off");
        }
    }
}
