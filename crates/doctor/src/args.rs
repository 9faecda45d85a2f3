//! What a person may ask for.

use clap::{Parser, ValueEnum};
use vox_cli::value::Seconds;

/// Looks at what this host gives to audio: devices and their clocks, ports, multicast, pipes, priority, timers. Says what
/// works, what does not, and what to do.
#[derive(Debug, Parser)]
#[command(
    version,
    name = "vox-doctor",
    after_help = "\
Examples:
  vox doctor
  vox doctor --need devices --measure 20      is there a microphone and a loudspeaker, and how fast do they run?
  vox doctor --need multicast --json          for scripts: 6 where groups are not heard here"
)]
pub(crate) struct Args {
    /// What must work, or else the exit code is 6; may be given several times, or with commas.
    #[arg(long, value_enum, value_name = "TOPIC", value_delimiter = ',', default_values = ["pipes", "ports"])]
    pub(crate) need: Vec<Topic>,

    /// How long the clock of each sound device is held against the system's, in seconds; 0 opens none. A part in a
    /// million takes about a minute.
    #[arg(long, value_name = "SECONDS", default_value = "3")]
    pub(crate) measure: Seconds,

    /// A line of JSON for each finding, and a summary as the last.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Topic {
    /// A microphone and a loudspeaker, and the rates of their clocks.
    Devices,
    /// UDP on this host: the usual ports are free, datagrams come through, and the kernel holds enough of them.
    Ports,
    /// Groups are heard on an interface.
    Multicast,
    /// Pipes can be made small for live audio, and large for files.
    Pipes,
    /// Stages may run before other programs.
    Priority,
    /// The system wakes a stage when it asked to be woken.
    Timers,
}

impl Topic {
    /// All, in the order in which they are told.
    pub(crate) const ALL: [Self; 6] =
        [Self::Devices, Self::Ports, Self::Multicast, Self::Pipes, Self::Priority, Self::Timers];

    /// Its name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Devices => "devices",
            Self::Ports => "ports",
            Self::Multicast => "multicast",
            Self::Pipes => "pipes",
            Self::Priority => "priority",
            Self::Timers => "timers",
        }
    }
}
