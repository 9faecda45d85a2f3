//! Argument values that describe a part of a link.

use core::str::FromStr;

use vox_cli::value::{Millis, Seconds};
use vox_link::{Burst, Jitter};

/// A share, 0 to 1: `5%` or `0.05`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
        let share = number.trim().parse::<f64>().map_err(|_| "not a share, such as 5% or 0.05".to_owned())? / scale;
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err("a share lies between 0 and 100%".to_owned()) }
    }
}

/// Bits a second: `64k`, `2M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BitsPerSecond(pub(crate) u64);

impl FromStr for BitsPerSecond {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let scales = [("k", 1e3), ("K", 1e3), ("M", 1e6), ("G", 1e9)];
        let found = scales.iter().find_map(|(suffix, scale)| Some((text.strip_suffix(suffix)?, *scale)));
        let (number, scale) = found.unwrap_or((text, 1.0));
        let rate = number.parse::<f64>().map_err(|_| "not a rate, such as 64k or 2M".to_owned())? * scale;
        if (100.0..=1e12).contains(&rate) {
            Ok(Self(rate as u64))
        } else {
            Err("a rate lies between 100 and 1000G".to_owned())
        }
    }
}

/// Parts per million, as clocks differ: at most 10000.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ppm(pub(crate) f64);

impl FromStr for Ppm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ppm = text.strip_suffix("ppm").unwrap_or(text).parse::<f64>();
        let ppm = ppm.map_err(|_| "not a number of ppm, such as 200 or -50".to_owned())?;
        if ppm.abs() <= 10_000.0 { Ok(Self(ppm)) } else { Err("at most 10000 ppm".to_owned()) }
    }
}

/// A distribution of delays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct JitterArg(pub(crate) Jitter);

impl FromStr for JitterArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((kind, fields)) = text.split_once(':') else {
            return Ok(Self(Jitter::Gamma { shape: 1.0, mean_ns: ns(text)? }));
        };
        let fields: Vec<&str> = fields.split(',').collect();
        let jitter = match (kind, &fields[..]) {
            ("uniform", [width]) => Jitter::Uniform { width_ns: ns(width)? },
            ("exponential", [mean]) => Jitter::Gamma { shape: 1.0, mean_ns: ns(mean)? },
            ("normal", [mean, deviation]) => Jitter::Normal { mean_ns: ns(mean)?, deviation_ns: ns(deviation)? },
            ("gamma", [shape, mean]) => {
                let shape = shape.parse().ok().filter(|shape| (0.01..=1e4).contains(shape));
                Jitter::Gamma { shape: shape.ok_or("a shape lies between 0.01 and 10000")?, mean_ns: ns(mean)? }
            }
            ("retransmit", [grid, fail, again]) => {
                let Share(fail) = fail.parse()?;
                Jitter::Retransmit { grid_ns: ns(grid)?, fail: fail.min(0.999), again_ns: ns(again)? }
            }
            _ => {
                return Err(
                    "not a mean, uniform:, exponential:, normal:, gamma: or retransmit: (see --help)".to_owned()
                );
            }
        };
        Ok(Self(jitter))
    }
}

/// Loss by chance or in bursts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LossArg {
    Chance(Share),
    Burst(Burst),
}

impl FromStr for LossArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(fields) = text.strip_prefix("ge:") else { return text.parse().map(Self::Chance) };
        let shares: Vec<f64> =
            fields.split(',').map(|field| field.parse::<Share>().map(|share| share.0)).collect::<Result<_, _>>()?;
        let [enter, leave, rest @ ..] = &shares[..] else {
            return Err("ge: takes ENTER,LEAVE[,BAD[,GOOD]]".to_owned());
        };
        if rest.len() > 2 || *leave == 0.0 && *enter > 0.0 {
            return Err("ge: takes ENTER,LEAVE[,BAD[,GOOD]], and a LEAVE above 0".to_owned());
        }
        let loss_bad = rest.first().copied().unwrap_or(1.0);
        let loss_good = rest.get(1).copied().unwrap_or(0.0);
        Ok(Self::Burst(Burst { enter: *enter, leave: *leave, loss_good, loss_bad }))
    }
}

/// How many packets are overtaken and by how much they are held back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ReorderArg {
    pub(crate) share: Share,
    pub(crate) by: Millis,
}

impl FromStr for ReorderArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Three packets of 20 ms overtake it.
        let (share, by) = text.split_once(',').unwrap_or((text, "60ms"));
        Ok(Self { share: share.parse()?, by: by.parse()? })
    }
}

/// A time in which everything is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutageArg {
    pub(crate) from_ns: i64,
    pub(crate) length_ns: i64,
}

impl FromStr for OutageArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, length) = text.split_once('+').ok_or("not FROM+LENGTH, such as 10s+400ms")?;
        Ok(Self { from_ns: from.parse::<Seconds>()?.ns(), length_ns: ns(length)? })
    }
}

/// Times in which everything is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StallArg {
    pub(crate) every_ns: i64,
    pub(crate) shortest_ns: i64,
    pub(crate) longest_ns: i64,
}

impl FromStr for StallArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (every, length) = text.split_once(',').ok_or("not EVERY,LEAST..MOST, such as 5s,60ms..250ms")?;
        let (shortest, longest) = length.split_once("..").unwrap_or((length, length));
        let stall =
            Self { every_ns: every.parse::<Seconds>()?.ns(), shortest_ns: ns(shortest)?, longest_ns: ns(longest)? };
        if stall.shortest_ns <= stall.longest_ns {
            Ok(stall)
        } else {
            Err("the shortest is above the longest".to_owned())
        }
    }
}

/// Sudden delays that fade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpikeArg {
    pub(crate) every_ns: i64,
    pub(crate) height_ns: i64,
    pub(crate) fade_ns: i64,
}

impl FromStr for SpikeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split(',').collect();
        let [every, height, fade] = &fields[..] else {
            return Err("not EVERY,HEIGHT,FADE, such as 10s,300ms,1s".to_owned());
        };
        Ok(Self { every_ns: every.parse::<Seconds>()?.ns(), height_ns: ns(height)?, fade_ns: ns(fade)? })
    }
}

fn ns(text: &str) -> Result<i64, String> {
    text.parse().map(Millis::ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_per_cent_or_parts_of_one() {
        assert_eq!("5%".parse(), Ok(Share(0.05)));
        assert_eq!("0.05".parse(), Ok(Share(0.05)));
        for nonsense in ["", "5", "-1%", "101%", "nan"] {
            assert!(nonsense.parse::<Share>().is_err(), "{nonsense}");
        }
    }

    #[test]
    fn jitter_is_a_mean_or_says_its_kind() {
        assert_eq!("20".parse(), Ok(JitterArg(Jitter::Gamma { shape: 1.0, mean_ns: 20_000_000 })));
        assert_eq!("uniform:40ms".parse(), Ok(JitterArg(Jitter::Uniform { width_ns: 40_000_000 })));
        for nonsense in ["uniform:", "normal:1", "gamma:0,1", "poisson:2", "gamma:x,1"] {
            assert!(nonsense.parse::<JitterArg>().is_err(), "{nonsense}");
        }
    }

    #[test]
    fn bursts_need_a_way_back() {
        let burst = Burst { enter: 0.05, leave: 0.3, loss_good: 0.0, loss_bad: 1.0 };
        assert_eq!("ge:0.05,0.3".parse(), Ok(LossArg::Burst(burst)));
        for nonsense in ["ge:", "ge:0.1", "ge:0.1,0", "ge:1,1,1,1,1"] {
            assert!(nonsense.parse::<LossArg>().is_err(), "{nonsense}");
        }
    }

    #[test]
    fn spans_and_times_are_read() {
        let stall = StallArg { every_ns: 5_000_000_000, shortest_ns: 60_000_000, longest_ns: 250_000_000 };
        assert_eq!("5s,60ms..250ms".parse(), Ok(stall));
        assert_eq!("10+400".parse(), Ok(OutageArg { from_ns: 10_000_000_000, length_ns: 400_000_000 }));
        assert!("5s,250ms..60ms".parse::<StallArg>().is_err());
        assert_eq!("2M".parse(), Ok(BitsPerSecond(2_000_000)));
    }
}
