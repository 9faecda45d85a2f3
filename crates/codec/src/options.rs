//! How a decoder fills gaps.

use core::fmt;
use core::str::FromStr;

/// How a decoder fills gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderOptions {
    /// Conceal what is missing; otherwise it is silence.
    pub plc: bool,
    /// How.
    pub method: Concealment,
    /// Use what a later packet carries of a lost one: the copy in the one right behind it, and deep redundancy.
    pub fec: bool,
    /// Complexity of the Opus decoder, 0 to 10: from 5 on concealment by a neural model (as soon as a packet brings deep
    /// redundancy, it is at least that), from 6 on speech is enhanced.
    pub complexity: u8,
    /// Hold frames back for the sake of an exact end also where records are `due` on a playout timeline: for those who
    /// place what comes out by [`StreamDecoder::held`].
    pub hold_due: bool,
    /// Fit every record into its slot; otherwise it is as long as its media duration.
    pub fit: bool,
}

/// What stands in for what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Concealment {
    /// The last packet again, fading: the simplest there is, to compare with.
    Repeat,
    /// What the codec has; for codecs without concealment the last periods of the sound.
    #[default]
    Plain,
    /// Opus by a neural model; other codecs as [`Plain`](Self::Plain).
    Deep,
}

impl Default for DecoderOptions {
    fn default() -> Self {
        Self { plc: true, method: Concealment::Plain, fec: true, complexity: 0, hold_due: false, fit: false }
    }
}

impl DecoderOptions {
    /// As a person asks for it; gaps that shall stay gaps are up to the caller.
    #[must_use]
    pub const fn with_plc(self, plc: Plc) -> Self {
        let method = match plc {
            Plc::Repeat => Concealment::Repeat,
            Plc::Deep => Concealment::Deep,
            Plc::Off | Plc::Zero | Plc::Plain => Concealment::Plain,
        };
        Self { plc: !matches!(plc, Plc::Off | Plc::Zero), method, ..self }
    }
}

/// What stands in for what is missing, as a person asks for it, from the cheapest to the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plc {
    /// Nothing: gaps stay gaps.
    Off,
    /// Silence.
    Zero,
    /// The last packet, fading.
    Repeat,
    /// What the codec has, or the last periods of the sound.
    Plain,
    /// Opus by a neural model.
    Deep,
}

impl FromStr for Plc {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "off" => Self::Off,
            "zero" => Self::Zero,
            "repeat" => Self::Repeat,
            "plain" => Self::Plain,
            "deep" => Self::Deep,
            _ => return Err("off, zero, repeat, plain or deep".to_owned()),
        })
    }
}

impl fmt::Display for Plc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Zero => "zero",
            Self::Repeat => "repeat",
            Self::Plain => "plain",
            Self::Deep => "deep",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rung_of_the_ladder_has_its_name() {
        for plc in [Plc::Off, Plc::Zero, Plc::Repeat, Plc::Plain, Plc::Deep] {
            assert_eq!(plc.to_string().parse(), Ok(plc));
        }
        assert!("best".parse::<Plc>().is_err());
    }
}
