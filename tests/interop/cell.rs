//! A cell of the matrix: what is tried with a peer, and what came of it.

use serde_json::{Value, json};
use vox_e2e::{Speech, alaw, ulaw};

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Pcmu,
    Pcma,
    L16,
    Opus,
}

impl Coding {
    pub(crate) const ALL: [Self; 4] = [Self::Pcmu, Self::Pcma, Self::L16, Self::Opus];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::L16 => "L16",
            Self::Opus => "Opus",
        }
    }

    /// RTP payload type, of RFC 3551 where it has one.
    pub(crate) const fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::L16 => 10,
            Self::Opus => 97,
        }
    }

    /// The name, clock rate and channels in a session description.
    pub(crate) const fn rtpmap(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
            Self::L16 => "L16/44100/2",
            Self::Opus => "opus/48000/2",
        }
    }

    /// `vox-encode` and its options.
    pub(crate) const fn encode(self) -> &'static str {
        match self {
            Self::Pcmu => "vox-encode pcmu",
            Self::Pcma => "vox-encode pcma",
            Self::L16 => "vox-encode l16",
            Self::Opus => "vox-encode opus --application audio --bitrate 64k",
        }
    }

    /// Speech of 2 s.
    pub(crate) const fn speech(self) -> Speech {
        match self {
            Self::Pcmu | Self::Pcma => Speech::mono(8_000, 16_000),
            Self::L16 => Speech::stereo(44_100, 88_200),
            Self::Opus => Speech::mono(48_000, 96_000),
        }
    }

    /// What a sample sounds like behind it by its standard; none where only the wave form is kept.
    pub(crate) fn exact(self) -> Option<fn(i16) -> i16> {
        match self {
            Self::Pcmu => Some(ulaw),
            Self::Pcma => Some(alaw),
            Self::L16 => Some(|sample| sample),
            Self::Opus => None,
        }
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// vox-send to the peer.
    To,
    /// The peer to vox-recv.
    From,
}

impl Way {
    pub(crate) const BOTH: [Self; 2] = [Self::To, Self::From];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::To => "to",
            Self::From => "from",
        }
    }
}

/// How packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    Unicast,
    Multicast,
    Srtp,
    /// To one listener, long enough for reports.
    Reports,
}

impl Path {
    pub(crate) const ALL: [Self; 4] = [Self::Unicast, Self::Multicast, Self::Srtp, Self::Reports];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unicast => "unicast",
            Self::Multicast => "multicast",
            Self::Srtp => "srtp",
            Self::Reports => "rtcp",
        }
    }

    /// Where it goes.
    pub(crate) const fn host(self) -> &'static str {
        match self {
            Self::Multicast => "239.1.2.3",
            Self::Unicast | Self::Srtp | Self::Reports => "127.0.0.1",
        }
    }
}

/// A call with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) coding: Coding,
    pub(crate) way: Way,
    pub(crate) path: Path,
}

impl Cell {
    pub(crate) fn name(self) -> String {
        format!("{}-{}-{}", self.coding.name(), self.way.name(), self.path.name())
    }

    /// Reports are the same for each codec.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let each = |path| Coding::ALL.into_iter().map(move |coding| (path, coding));
        let pairs = Path::ALL.into_iter().flat_map(each);
        let pairs = pairs.filter(|(path, coding)| *path != Path::Reports || *coding == Coding::Pcmu);
        pairs.flat_map(|(path, coding)| Way::BOTH.into_iter().map(move |way| Self { coding, way, path }))
    }
}

/// How a cell is tried.
pub(crate) enum Plan {
    Run(Call),
    /// It cannot be: why.
    Cannot(&'static str),
    /// It could be, but not here: why.
    NotRun(&'static str),
}

/// A script and what it must have brought about. It runs in a network of its own, with `said.wav` in its folder,
/// `late.wav` (the same between silences), `long.wav` (the same six times) and the functions of `rig/network.sh`, and must end by itself.
pub(crate) struct Call {
    pub(crate) script: String,
    /// What was heard: `.wav`, or else s16le.
    pub(crate) heard: &'static str,
    /// What the peer makes of `said.wav` when it codes and decodes it itself, as s16le; none where the standard says it.
    pub(crate) own: Option<&'static str>,
    pub(crate) judge: Judge,
    /// What a file must say, beside the audio; where it is about reports, that the peer has understood one of ours.
    pub(crate) says: Option<(&'static str, &'static str)>,
}

impl Call {
    pub(crate) const fn new(script: String, heard: &'static str) -> Self {
        Self { script, heard, own: None, judge: Judge::Standard, says: None }
    }
}

/// What is asked of the audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judge {
    /// Every sample, where the codec is one that keeps or determines them; else the wave form.
    Standard,
    /// The wave form: the peer's own tables or clock do not follow the standard to the sample.
    Wave,
    /// The wave form part by part: the peer plays on a sound card, with a clock of its own.
    Parts,
}

/// What came of a cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// Every sample.
    Exact,
    /// The wave form, with that correlation.
    Like(f64),
    /// Reports came; whether it is known that ours were understood, too.
    Reported {
        both: bool,
    },
    Cannot(&'static str),
    NotRun(&'static str),
    Failed(String),
}

impl Verdict {
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Exact => json!({ "outcome": "ran", "figure": "exact" }),
            Self::Like(correlation) => json!({ "outcome": "ran", "figure": format!("{correlation:.3}") }),
            Self::Reported { both } => {
                json!({ "outcome": "ran", "figure": if *both { "both ways" } else { "its own" } })
            }
            Self::Cannot(why) => json!({ "outcome": "cannot", "why": why }),
            Self::NotRun(why) => json!({ "outcome": "not run", "why": why }),
            Self::Failed(why) => json!({ "outcome": "failed", "why": why }),
        }
    }
}
