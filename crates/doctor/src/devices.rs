//! Microphones and loudspeakers, and how fast their clocks run.

use std::thread;
use std::time::Duration;

use vox_device::{Direction, Input, Output, Wanted};
use vox_frame::{Channels, Rate};
use vox_sys::monotonic_ns;

use crate::args::Topic;
use crate::finding::Finding;

/// The rate that devices are asked for, as vox-capture and vox-play do.
const RATE: Rate = Rate::HZ_48000;

/// What a device does before its callbacks come evenly, in ns: what it gives until then is not measured.
const SETTLES_NS: i64 = 500_000_000;

/// A clock that is further off than this is none that a sound card has (IEC 60958-3 allows 1000 parts in a million).
const ODD_PPM: f64 = 1_000.0;

/// What to do where there is no device that can be opened.
const NONE: &str = "files, tones and the network need none; else: is a card there (aplay -l), are you in group audio, \
                    does another program hold it? vox-capture and vox-play --list-devices name the others";

/// Looks at the devices that stages take when none is named; holds their clocks against the system's for `measure` ns.
pub(crate) fn look(measure: i64) -> Vec<Finding> {
    let Some(host) = vox_device::hosts().first().copied() else {
        return vec![Finding::fails(Topic::Devices, "audio system", "this program was built without any")];
    };
    let both = [(Direction::Input, "microphone"), (Direction::Output, "loudspeaker")];
    both.map(|(direction, noun)| look_at(host, direction, noun, measure)).into()
}

fn look_at(host: &str, direction: Direction, noun: &str, measure: i64) -> Finding {
    let what = format!("{noun} ({host})");
    let listed = match vox_device::list(host, direction) {
        Ok(listed) => listed,
        Err(error) => return Finding::fails(Topic::Devices, what, error.to_string()),
    };
    if listed.is_empty() {
        return Finding::fails(Topic::Devices, what, "there is none").advise(NONE);
    }
    let default = listed.iter().find(|device| device.default);
    let default = default.map_or_else(|| "the default".to_owned(), |device| format!("{} ({})", device.name, device.id));
    let seen = format!("{default}, {} in all", listed.len());
    if measure == 0 {
        return Finding::works(Topic::Devices, what, seen);
    }
    let points = match direction {
        Direction::Input => listen(host, measure),
        Direction::Output => play(host, measure),
    };
    match points.map(|points| Line::through(&points)) {
        Err(error) => Finding::fails(Topic::Devices, what, error.to_string()).advise(NONE),
        Ok(None) => Finding::fails(Topic::Devices, what, format!("{seen}: opened, but its callback is not called"))
            .advise("a suspended card or a stuck sound server: try with another program"),
        Ok(Some(line)) => line.finding(what, &seen),
    }
}

fn wanted(host: &str) -> Wanted {
    let (channels, period) = (Channels::MONO, RATE.hz() / 100);
    Wanted { host: host.to_owned(), device: None, rate: RATE, channels, period, realtime: false }
}

/// When (ns) the microphone had given how many frames.
fn listen(host: &str, measure: i64) -> Result<Vec<(i64, u64)>, vox_device::Error> {
    let mut input = Input::open(&wanted(host))?;
    let (end, mut samples, mut frames, mut points) = (monotonic_ns() + SETTLES_NS + measure, Vec::new(), 0, Vec::new());
    while monotonic_ns() < end {
        while let Some(block) = input.read(&mut samples)? {
            frames += block.frames as u64;
            points.push((block.at, frames));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(points)
}

/// How often a loudspeaker is looked at, in ns.
const LOOK_NS: i64 = 10_000_000;

/// When (ns) the loudspeaker had taken how many frames. It plays silence.
fn play(host: &str, measure: i64) -> Result<Vec<(i64, u64)>, vox_device::Error> {
    let mut output = Output::open(&wanted(host))?;
    let (end, mut points) = (monotonic_ns() + SETTLES_NS + measure, Vec::new());
    while monotonic_ns() < end {
        output.check()?;
        while let Some(pull) = output.pull() {
            points.push((pull.at, pull.frame));
        }
        output.wake();
        let rest = output.wants_turn_by().map_or(LOOK_NS, |by| (by - monotonic_ns()).clamp(0, LOOK_NS));
        thread::sleep(Duration::from_nanos(rest.unsigned_abs()));
    }
    Ok(points)
}

/// How fast a clock runs, and how far that may be wrong.
#[derive(Debug, Clone, Copy)]
struct Line {
    hz: f64,
    /// Two standard errors, or by how much the halves of the time differ, and [`LEAST_LATE_S`], in parts in a million.
    error_ppm: f64,
}

impl Line {
    /// The line of least squares, without what came before the device had settled; none where too little is left.
    fn through(points: &[(i64, u64)]) -> Option<Self> {
        let first = points.first()?.0 + SETTLES_NS;
        let points: Vec<(f64, f64)> = points
            .iter()
            .filter(|(at, _)| *at >= first)
            .map(|&(at, frames)| ((at - first) as f64 / 1e9, frames as f64))
            .collect();
        let points = on_time(&points);
        if points.len() < 10 {
            return None;
        }
        let (hz, error) = fit(&points);
        let (early, late) = points.split_at(points.len() / 2);
        // Lateness that lasts bends the line more than its own scatter tells: then its halves disagree.
        let apart = (fit(early).0 - fit(late).0).abs();
        let seconds = points.last()?.0 - points.first()?.0;
        let error_ppm = (2e6 * error).max(1e6 * apart) / hz + 1e6 * LEAST_LATE_S / seconds;
        (hz > 0.0).then_some(Self { hz, error_ppm })
    }

    fn ppm(self) -> f64 {
        (self.hz / f64::from(RATE.hz()) - 1.0) * 1e6
    }

    fn finding(self, what: String, seen: &str) -> Finding {
        let (ppm, error) = (self.ppm(), self.error_ppm);
        let seen = format!("{seen}: {:.1} Hz, {ppm:+.0} ppm (give or take {error:.0})", self.hz);
        let finding = if ppm.abs() - error > ODD_PPM {
            Finding::limited(Topic::Devices, what, seen)
                .advise("no sound card is so far off: a virtual one, or a machine too busy to measure (--measure 20)")
        } else {
            Finding::works(Topic::Devices, what, seen)
        };
        finding.figure("hz", self.hz).figure("ppm", ppm).figure("ppm_error", error)
    }
}

/// The slope of the line of least squares, and its standard error.
fn fit(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
    let (mean_t, mean_f) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|(t, _)| (t - mean_t).powi(2)).sum();
    let slope = points.iter().map(|(t, f)| (t - mean_t) * (f - mean_f)).sum::<f64>() / spread;
    let rest: f64 = points.iter().map(|(t, f)| (f - mean_f - slope * (t - mean_t)).powi(2)).sum();
    (slope, (rest / (count - 2.0) / spread).sqrt())
}

/// How late a callback is on a machine with nothing else to do, in s.
const LEAST_LATE_S: f64 = 1e-4;

/// Those callbacks of each of some spans that came the least late: a busy machine calls late, never early.
fn on_time(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    const SPANS: usize = 24;
    let ahead = |&(at, frames): &(f64, f64)| frames - at * f64::from(RATE.hz());
    points
        .chunks(points.len().div_ceil(SPANS).max(1))
        .filter_map(|span| span.iter().copied().max_by(|one, other| ahead(one).total_cmp(&ahead(other))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Callbacks of 480 frames from a clock that is off, each up to 2 ms late.
    fn callbacks(ppm: f64, seconds: usize) -> Vec<(i64, u64)> {
        let period = 10e6 / (1.0 + ppm / 1e6);
        (0..seconds * 100)
            .map(|n| ((n as f64 * period) as i64 + (n as i64 * 7_919 % 2_000) * 1_000, (n as u64 + 1) * 480))
            .collect()
    }

    #[test]
    fn a_clock_that_is_off_is_measured_within_its_error() {
        for ppm in [-300.0, 0.0, 150.0] {
            let line = Line::through(&callbacks(ppm, 20)).expect("enough of it");
            assert!((line.ppm() - ppm).abs() <= line.error_ppm && line.error_ppm < 20.0, "{ppm}: {line:?}");
        }
    }

    #[test]
    fn a_machine_that_calls_late_now_and_then_does_not_bend_the_clock() {
        let mut late = callbacks(40.0, 3);
        for at in [60, 61, 62, 63, 180, 181, 240, 290, 291, 292, 293, 294, 295, 296] {
            late[at].0 += 60_000_000;
        }
        let line = Line::through(&late).expect("enough of it");
        assert!((line.ppm() - 40.0).abs() < 200.0, "{line:?}");
    }

    #[test]
    fn a_card_that_stands_still_in_the_middle_says_how_little_is_known() {
        let mut late = callbacks(0.0, 3);
        for callback in &mut late[200..] {
            callback.0 += 200_000_000;
        }
        let line = Line::through(&late).expect("enough of it");
        assert!(line.ppm().abs() > 10_000.0 && line.ppm().abs() < line.error_ppm * 3.0, "{line:?}");
    }

    #[test]
    fn a_device_that_gives_nothing_has_no_clock() {
        assert!(Line::through(&[]).is_none());
        assert!(Line::through(&callbacks(0.0, 20)[..30]).is_none());
    }
}
