//! How a stage fails: an exit code that scripts can test, and one line for people.

use core::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::sync::OnceLock;

/// The exit codes, the same for all stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Ended in good order: End, a reader that went away, SIGINT or SIGTERM, an idle time-out after audio was heard.
    Done = 0,
    /// Failed while running.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// Bad or truncated input.
    Input = 3,
    /// A sound device.
    Device = 4,
    /// The network: bind, resolve, peer gone, nothing heard before the time-out.
    Network = 5,
    /// A condition that was asked for does not hold.
    Condition = 6,
    /// Denied by the other side.
    Denied = 10,
    /// The other side is busy.
    Busy = 11,
    /// The other side does not answer.
    NoAnswer = 12,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a stage cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// One line: what, where, and what to do. Empty for an end that needs no words.
    pub message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// Failed while running (1).
    pub fn failed(message: impl Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Wrong usage (2).
    pub fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Bad or truncated input (3).
    pub fn input(message: impl Display) -> Self {
        Self::new(Exit::Input, message)
    }

    /// A sound device (4).
    pub fn device(message: impl Display) -> Self {
        Self::new(Exit::Device, message)
    }

    /// The network (5).
    pub fn network(message: impl Display) -> Self {
        Self::new(Exit::Network, message)
    }

    /// An end without words, such as a reader that went away.
    pub const fn quiet(exit: Exit) -> Self {
        Self { exit, message: String::new() }
    }

    /// Tells it on stderr and gives the exit code.
    pub fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            note(&self.message);
        }
        self.exit.into()
    }
}

impl From<vox_frame::Error> for Failure {
    fn from(error: vox_frame::Error) -> Self {
        match error.problem {
            vox_frame::Problem::Foreign(_) => Self::input(format_args!("stdin is {}", error.problem)),
            _ => Self::input(format_args!("stdin is damaged {error}")),
        }
    }
}

static PROGRAM: OnceLock<String> = OnceLock::new();

pub(crate) fn set_program(name: &str) {
    PROGRAM.get_or_init(|| name.to_owned());
}

/// One line on stderr, after the program's name.
pub fn note(text: impl Display) {
    let program = PROGRAM.get().map_or("vox", String::as_str);
    // A stderr that is gone is no reason to stop the audio.
    let _gone = writeln!(std::io::stderr(), "{program}: {text}");
}

/// A warning on stderr, after the program's name.
pub fn warn(text: impl Display) {
    note(format_args!("warning: {text}"));
}
