//! Argument values that cannot hold nonsense, and the parsers that make them.

use core::fmt;
use core::str::FromStr;

use vox_frame::{Rate, Stamp, Times};

/// A span of time. A bare number is milliseconds: `20`, `20ms`, `1.5s`, `250us`, `2m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis {
    ns: i64,
}

impl Millis {
    /// A span of `ms` milliseconds.
    pub const fn from_ms(ms: i64) -> Self {
        Self { ns: ms * 1_000_000 }
    }

    /// Nanoseconds.
    pub const fn ns(self) -> i64 {
        self.ns
    }
}

impl FromStr for Millis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_span(text, 1e6).map(|ns| Self { ns })
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.ns as f64 / 1e6)
    }
}

/// A span of time. A bare number is seconds: `10`, `10s`, `500ms`, `2m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds {
    ns: i64,
}

impl Seconds {
    /// Nanoseconds.
    pub const fn ns(self) -> i64 {
        self.ns
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_span(text, 1e9).map(|ns| Self { ns })
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.ns as f64 / 1e9)
    }
}

/// Nanoseconds of `text`, a bare number being of `bare` ns.
fn parse_span(text: &str, bare: f64) -> Result<i64, String> {
    let units = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    let (number, unit) = units
        .iter()
        .find_map(|(suffix, ns)| text.strip_suffix(suffix).map(|number| (number, *ns)))
        .unwrap_or((text, bare));
    let ns = number.trim().parse::<f64>().map_err(|_| "not a time, such as 20ms or 1.5s".to_owned())? * unit;
    // A hundred years is longer than any stream, and far from the end of the range.
    if (0.0..3.2e18).contains(&ns) {
        Ok(ns.round() as i64)
    } else {
        Err("not a time that a stream can have".to_owned())
    }
}

/// A sampling rate, 5000 to 192000 Hz: `48000`, `44.1k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateHz(pub Rate);

impl FromStr for RateHz {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hz = parse_scaled(text)?;
        match Rate::new(hz) {
            Some(rate) if (5_000..=192_000).contains(&hz) => Ok(Self(rate)),
            _ => Err("a rate lies between 5000 and 192000 Hz".to_owned()),
        }
    }
}

impl fmt::Display for RateHz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.hz())
    }
}

/// A bit rate of Opus, 6000 to 510000 bit/s (RFC 6716, section 2): `24k`, `24000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bitrate(pub u32);

impl FromStr for Bitrate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = parse_scaled(text)?;
        if (6_000..=510_000).contains(&rate) {
            Ok(Self(rate))
        } else {
            Err("a bit rate lies between 6k and 510k".to_owned())
        }
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

fn parse_scaled(text: &str) -> Result<u32, String> {
    let (number, scale) = text.strip_suffix(['k', 'K']).map_or((text, 1.0), |number| (number, 1e3));
    let value = number.parse::<f64>().map_err(|_| "not a number, such as 48000 or 48k".to_owned())? * scale;
    if (0.0..=4e9).contains(&value) { Ok(value.round() as u32) } else { Err("out of range".to_owned()) }
}

/// A gain in dB, -120 to 60: `-6`, `+3dB`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decibels(pub f64);

impl Decibels {
    /// By what samples are multiplied.
    pub fn factor(self) -> f32 {
        10_f64.powf(self.0 / 20.0) as f32
    }
}

impl FromStr for Decibels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix("dB").unwrap_or(text).trim();
        let db = number.parse::<f64>().map_err(|_| "not a gain in dB, such as -6".to_owned())?;
        if (-120.0..=60.0).contains(&db) { Ok(Self(db)) } else { Err("a gain lies between -120 and 60 dB".to_owned()) }
    }
}

impl fmt::Display for Decibels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A frame duration, 2.5 to 60 ms; a bare number is milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameMs {
    ns: i64,
}

impl FrameMs {
    /// 20 ms, what most of the field uses (RFC 3551, section 4.2).
    pub const DEFAULT: Self = Self { ns: 20_000_000 };

    /// Nanoseconds.
    pub const fn ns(self) -> i64 {
        self.ns
    }

    /// Ticks of `rate`, at least 1.
    pub fn ticks(self, rate: Rate) -> u32 {
        rate.ticks(self.ns).clamp(1, u64::from(u32::MAX)) as u32
    }
}

impl FromStr for FrameMs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ns = parse_span(text, 1e6)?;
        if (2_500_000..=60_000_000).contains(&ns) {
            Ok(Self { ns })
        } else {
            Err("a frame lasts 2.5 to 60 ms".to_owned())
        }
    }
}

impl fmt::Display for FrameMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ns as f64 / 1e6)
    }
}

/// How old a record of a live stream may be: `200ms`, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxAge {
    ns: Option<i64>,
}

impl MaxAge {
    /// 200 ms: older than this, speech is in the way of the next words.
    pub const DEFAULT: Self = Self { ns: Some(200_000_000) };

    /// Nanoseconds, or none where nothing is too old.
    pub const fn ns(self) -> Option<i64> {
        self.ns
    }

    /// Whether a record with these times is too old at `now`. Only live streams age.
    pub fn is_stale(&self, live: bool, times: &Times, now: Stamp) -> bool {
        let Some(limit) = self.ns.filter(|_| live) else { return false };
        let from = times.due.or(times.arrived).or(times.captured);
        from.is_some_and(|from| now.since(from) > limit)
    }
}

impl FromStr for MaxAge {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self { ns: None });
        }
        parse_span(text, 1e6).map(|ns| Self { ns: Some(ns) })
    }
}

impl fmt::Display for MaxAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ns {
            Some(ns) => write!(f, "{}ms", ns as f64 / 1e6),
            None => f.write_str("off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_the_unit_of_its_kind() {
        assert_eq!("20".parse::<Millis>().map(Millis::ns), Ok(20_000_000));
        assert_eq!("20".parse::<Seconds>().map(Seconds::ns), Ok(20_000_000_000));
        assert_eq!("250us".parse::<Millis>().map(Millis::ns), Ok(250_000));
        assert_eq!("1.5s".parse::<Millis>().map(Millis::ns), Ok(1_500_000_000));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "x", "-1", "nan", "inf", "1e300s"] {
            assert!(text.parse::<Millis>().is_err(), "{text}");
        }
        assert!("4999".parse::<RateHz>().is_err());
        assert!("0".parse::<FrameMs>().is_err());
        assert!("5k".parse::<Bitrate>().is_err());
    }

    #[test]
    fn only_live_streams_age() {
        let times = Times { captured: Some(Stamp::ZERO), ..Times::default() };
        let later = Stamp::ZERO.plus(300_000_000);
        assert!(MaxAge::DEFAULT.is_stale(true, &times, later));
        assert!(!MaxAge::DEFAULT.is_stale(false, &times, later));
    }
}
