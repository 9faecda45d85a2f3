//! A stream of records at another rate, with other channels: samples, and the times that belong to them.

use std::collections::VecDeque;

use vox_frame::{Channels, MediaTime, Rate, Times};

use crate::{Remix, Resampler};

/// Records whose times are remembered: more than a resampler ever holds back.
const MAX_ANCHORS: usize = 1024;

/// Changes rate and channels of a stream whose records lie side by side, and says where what comes out lies.
///
/// What a resampler holds back comes with the next record: the first is shorter by that, the sum is exact.
pub struct Reshape {
    from: Rate,
    to: Rate,
    channels: Channels,
    remix: Remix,
    resampler: Resampler,
    /// Media time of the next frame in, at `from`; none where nothing is going on.
    expected: Option<MediaTime>,
    /// Media time of the next frame out, at `to`.
    position: MediaTime,
    /// Where records that came in lie in what goes out, with their times.
    anchors: VecDeque<(MediaTime, Times)>,
    mixed: Vec<f32>,
}

/// Where frames lie that came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reshaped {
    /// Media time of the first, in ticks of the new rate.
    pub timestamp: MediaTime,
    /// Its times.
    pub times: Times,
}

impl Reshape {
    /// From a rate and channels to others.
    pub fn new(from: (Rate, Channels), to: (Rate, Channels)) -> Self {
        Self {
            from: from.0,
            to: to.0,
            channels: to.1,
            remix: Remix::new(from.1, to.1),
            resampler: Resampler::new(from.0, to.0, to.1),
            expected: None,
            position: MediaTime(0),
            anchors: VecDeque::new(),
            mixed: Vec::new(),
        }
    }

    /// The rate of what comes out.
    pub const fn rate(&self) -> Rate {
        self.to
    }

    /// The channels of what comes out.
    pub const fn channels(&self) -> Channels {
        self.channels
    }

    /// A media time of the input in ticks of the output.
    pub fn convert(&self, timestamp: MediaTime) -> MediaTime {
        MediaTime(self.from.convert(timestamp.0, self.to))
    }

    /// Whether a record at `timestamp` does not follow what was pushed last: [`finish`](Self::finish) first.
    pub fn is_apart(&self, timestamp: MediaTime) -> bool {
        self.expected.is_some_and(|expected| expected != timestamp)
    }

    /// Takes the frames of a record and appends what comes out.
    pub fn push(
        &mut self,
        samples: &[f32],
        channels: Channels,
        timestamp: MediaTime,
        times: &Times,
        out: &mut Vec<f32>,
    ) -> Reshaped {
        if self.expected.is_none() {
            self.position = self.convert(timestamp);
        }
        if self.anchors.len() == MAX_ANCHORS {
            self.anchors.pop_front();
        }
        self.anchors.push_back((self.convert(timestamp), *times));
        self.expected = Some(timestamp.plus((samples.len() / channels.count()) as u64));
        self.mixed.clear();
        self.remix.process(samples, &mut self.mixed);
        let before = out.len();
        self.resampler.process(&self.mixed, out);
        self.placed(out.len() - before)
    }

    /// Appends what was held back: up to the end of what was pushed, to the frame. The next record begins anew.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> Reshaped {
        let before = out.len();
        self.resampler.finish(out);
        if let Some(expected) = self.expected.take() {
            // A span's length and the distance of its ends may be rounded apart by a frame.
            let frames = usize::try_from(self.convert(expected).since(self.position)).unwrap_or(0);
            out.resize(before + frames * self.channels.count(), 0.0);
        }
        let place = self.placed(out.len() - before);
        self.anchors.clear();
        place
    }

    /// Where `samples` lie that came out just now.
    fn placed(&mut self, samples: usize) -> Reshaped {
        while self.anchors.get(1).is_some_and(|(at, _)| *at <= self.position) {
            self.anchors.pop_front();
        }
        let timestamp = self.position;
        self.position = timestamp.plus((samples / self.channels.count()) as u64);
        let times = self.anchors.front().map_or_else(Times::default, |(at, times)| {
            let away = timestamp.offset_from(*at);
            let ns = self.to.ns(away.unsigned_abs()).saturating_mul(away.signum());
            Times {
                captured: times.captured.map(|stamp| stamp.plus(ns)),
                arrived: times.arrived.map(|stamp| stamp.plus(ns)),
                due: times.due.map(|stamp| stamp.plus(ns)),
            }
        });
        Reshaped { timestamp, times }
    }
}

#[cfg(test)]
mod tests {
    use vox_frame::Stamp;

    use super::*;

    fn rate(hz: u32) -> Rate {
        Rate::new(hz).unwrap()
    }

    fn due(ns: i64) -> Times {
        Times { due: Some(Stamp::from_ns(ns)), ..Times::default() }
    }

    #[test]
    fn media_time_goes_on_without_holes_and_times_follow_it() {
        for (from, to) in [(48_000, 8_000), (44_100, 8_000), (8_000, 44_100), (48_000, 48_000)] {
            let (from, to) = (rate(from), rate(to));
            let mut shape = Reshape::new((from, Channels::STEREO), (to, Channels::MONO));
            let frames = from.hz() as usize / 50;
            let (mut end, mut out) = (MediaTime(from.convert(0, to)), Vec::new());
            for n in 0..50 {
                let at = MediaTime((n * frames) as u64);
                out.clear();
                let place =
                    shape.push(&vec![0.25; 2 * frames], Channels::STEREO, at, &due(n as i64 * 20_000_000), &mut out);
                assert_eq!(place.timestamp, end);
                let said = place.times.due.map_or(0, Stamp::ns);
                assert!((said - to.ns(end.0)).abs() <= to.ns(1) + 1, "{said} ns for {end:?}");
                end = end.plus(out.len() as u64);
            }
            out.clear();
            shape.finish(&mut out);
            assert_eq!(end.plus(out.len() as u64), MediaTime(u64::from(to.hz())));
        }
    }

    #[test]
    fn behind_a_hole_it_begins_anew_where_the_audio_does() {
        let mut shape = Reshape::new((rate(44_100), Channels::MONO), (rate(8_000), Channels::MONO));
        let (mut total, mut out) = (0, Vec::new());
        for begins in [441_001, 882_777] {
            let timestamp = MediaTime(begins);
            assert!(!shape.is_apart(timestamp));
            out.clear();
            let place = shape.push(&[0.1; 4_411], Channels::MONO, timestamp, &Times::default(), &mut out);
            assert_eq!(place.timestamp, shape.convert(timestamp));
            assert!(shape.is_apart(timestamp));
            shape.finish(&mut out);
            total += out.len() as u64;
            assert_eq!(place.timestamp.plus(out.len() as u64), shape.convert(timestamp.plus(4_411)));
        }
        assert!((1_599..=1_602).contains(&total));
    }
}
