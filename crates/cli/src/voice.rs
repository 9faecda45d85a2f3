//! Whether somebody is heard, and how loud: what a person changes while a stage runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use clap::Args;
use rustix::io::Errno;
use serde_json::{Value, json};
use signal_hook::consts::SIGUSR1;

use crate::Failure;
use crate::control::{Commands, ControlSource, Listening, Speaker};
use crate::value::Decibels;

/// Arguments of stages that can be muted.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "While it runs")]
pub struct MuteArgs {
    /// Take lines from FIFO, or from who connects to SOCKET, which is made: `mute`, `unmute`, `toggle`, `press` and
    /// `release` (with --push-to-talk), `status`. SIGUSR1 is `toggle`, with --push-to-talk `press` and `release`.
    #[arg(long, value_name = "FIFO|unix:SOCKET")]
    pub control: Option<ControlSource>,

    /// Begin muted.
    #[arg(long)]
    pub mute: bool,

    /// Be muted but between `press` and `release`.
    #[arg(long)]
    pub push_to_talk: bool,
}

/// Arguments of stages that can be muted, and made louder and softer.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "While it runs")]
pub struct VoiceArgs {
    #[command(flatten)]
    mute: MuteArgs,

    /// How much louder it is made, in dB: -120 to 60, negative is softer. A line `gain DB` to --control changes it.
    #[arg(long, value_name = "DB", default_value = "0", allow_hyphen_values = true)]
    gain: Decibels,
}

impl MuteArgs {
    /// Begins to listen to who controls the stage.
    ///
    /// # Errors
    /// When there is no such FIFO, or the socket cannot be made (1).
    pub fn open(&self) -> Result<Voice, Failure> {
        Voice::open(self, None)
    }

    /// As [`open`](Self::open), for a stage that can make it louder and softer too.
    ///
    /// # Errors
    /// As there.
    pub fn open_with_gain(&self, gain: Decibels) -> Result<Voice, Failure> {
        Voice::open(self, Some(gain))
    }
}

impl VoiceArgs {
    /// As [`MuteArgs::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(&self) -> Result<Voice, Failure> {
        self.mute.open_with_gain(self.gain)
    }
}

/// Whether somebody is heard, and how loud. Clones are the same voice.
#[derive(Debug, Clone)]
pub struct Voice {
    state: Arc<State>,
    _listening: Option<Arc<Listening>>,
}

#[derive(Debug)]
struct State {
    muted: AtomicBool,
    push_to_talk: bool,
    /// Who holds the key down; [`NOBODY`] while it is up.
    holder: AtomicU32,
    /// In dB, as the bits of a float; none where the stage cannot do it.
    gain: Option<AtomicU64>,
}

impl Voice {
    fn open(args: &MuteArgs, gain: Option<Decibels>) -> Result<Self, Failure> {
        let state = Arc::new(State::new(args, gain));
        listen_to_signal(&state)?;
        let listening = args.control.as_ref().map(|source| source.listen(Arc::clone(&state))).transpose()?;
        Ok(Self { state, _listening: listening.map(Arc::new) })
    }

    /// Whether nothing is to be heard.
    pub fn is_muted(&self) -> bool {
        self.state.is_muted()
    }

    /// By what samples are multiplied: 0 while it is muted.
    pub fn gain(&self) -> f32 {
        if self.is_muted() { 0.0 } else { self.state.gain_db().map_or(1.0, |db| Decibels(db).factor()) }
    }
}

/// Nobody holds the key down.
const NOBODY: u32 = 0;

/// The signal holds it down.
const SIGNAL: Speaker = Speaker(u32::MAX);

impl State {
    fn new(args: &MuteArgs, gain: Option<Decibels>) -> Self {
        Self {
            muted: AtomicBool::new(args.mute),
            push_to_talk: args.push_to_talk,
            holder: AtomicU32::new(NOBODY),
            gain: gain.map(|gain| AtomicU64::new(gain.0.to_bits())),
        }
    }

    fn is_muted(&self) -> bool {
        self.muted.load(Ordering::Relaxed) || (self.push_to_talk && !self.is_pressed())
    }

    fn is_pressed(&self) -> bool {
        self.holder.load(Ordering::Relaxed) != NOBODY
    }

    fn gain_db(&self) -> Option<f64> {
        self.gain.as_ref().map(|gain| f64::from_bits(gain.load(Ordering::Relaxed)))
    }

    fn toggle(&self, speaker: Speaker) {
        if self.push_to_talk {
            self.hold(if self.is_pressed() { NOBODY } else { speaker.0 });
        } else {
            self.muted.fetch_xor(true, Ordering::Relaxed);
        }
    }

    fn press(&self, holder: u32) -> Result<(), String> {
        if !self.push_to_talk {
            return Err("there is no key without --push-to-talk".to_owned());
        }
        self.hold(holder);
        Ok(())
    }

    fn hold(&self, holder: u32) {
        self.holder.store(holder, Ordering::Relaxed);
    }

    fn set_gain(&self, text: &str) -> Result<(), String> {
        let gain = self.gain.as_ref().ok_or("what is coded is made no louder: put `vox-gain` before the encoder")?;
        gain.store(text.parse::<Decibels>()?.0.to_bits(), Ordering::Relaxed);
        Ok(())
    }

    fn status(&self) -> Value {
        let mut status = json!({ "heard": !self.is_muted(), "muted": self.muted.load(Ordering::Relaxed) });
        if self.push_to_talk {
            status["pressed"] = json!(self.is_pressed());
        }
        if let Some(db) = self.gain_db() {
            status["gainDb"] = json!(db);
        }
        status
    }
}

impl Commands for State {
    fn command(&self, line: &str, speaker: Speaker) -> Result<Value, String> {
        let (word, rest) = line.split_once(' ').map_or((line, ""), |(word, rest)| (word, rest.trim()));
        match (word, rest) {
            ("mute", "") => self.muted.store(true, Ordering::Relaxed),
            ("unmute", "") => self.muted.store(false, Ordering::Relaxed),
            ("toggle", "") => self.toggle(speaker),
            ("press", "") => self.press(speaker.0)?,
            ("release", "") => self.press(NOBODY)?,
            ("gain", db) => self.set_gain(db)?,
            ("status", "") => {}
            _ => return Err("not one of mute, unmute, toggle, press, release, gain DB, status".to_owned()),
        }
        Ok(self.status())
    }

    /// A key that its holder left is up: whoever is gone is not listened to for hours.
    fn left(&self, speaker: Speaker) {
        let _not_his = self.holder.compare_exchange(speaker.0, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Each SIGUSR1 toggles, in a thread of its own: signals that come before a record does still count one by one.
fn listen_to_signal(state: &Arc<State>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format_args!("cannot handle SIGUSR1: {error}"));
    let (reader, writer) = rustix::pipe::pipe().map_err(|error| failed(error.into()))?;
    signal_hook::low_level::pipe::register(SIGUSR1, writer).map_err(failed)?;
    let state = Arc::clone(state);
    let body = move || {
        let mut signals = [0; 64];
        loop {
            match rustix::io::read(&reader, &mut signals) {
                Ok(0) => return,
                Ok(count) => (0..count).for_each(|_| state.toggle(SIGNAL)),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    };
    std::thread::Builder::new().name("sigusr1".to_owned()).spawn(body).map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: Speaker = Speaker(2);
    const BOB: Speaker = Speaker(3);

    fn state(push_to_talk: bool) -> State {
        let args = MuteArgs { push_to_talk, ..MuteArgs::default() };
        State::new(&args, Some(Decibels(-3.0)))
    }

    #[test]
    fn lines_say_whether_it_is_heard_and_how_loud() {
        let state = state(false);
        assert_eq!(state.command("mute", ANA), Ok(json!({ "heard": false, "muted": true, "gainDb": -3.0 })));
        assert_eq!(state.command("toggle", ANA), Ok(json!({ "heard": true, "muted": false, "gainDb": -3.0 })));
        assert_eq!(state.command("gain  +6dB", ANA), Ok(json!({ "heard": true, "muted": false, "gainDb": 6.0 })));
        for wrong in ["", "mute now", "gain", "gain x", "gain nan", "gain 61", "press", "MUTE"] {
            assert!(state.command(wrong, ANA).is_err(), "{wrong:?}");
        }
        assert_eq!(state.gain_db(), Some(6.0), "a wrong line changes nothing");
    }

    #[test]
    fn with_push_to_talk_it_is_heard_only_while_the_key_is_down() {
        let state = state(true);
        assert!(state.is_muted());
        assert_eq!(state.command("press", ANA).map(|status| status["heard"].clone()), Ok(json!(true)));
        assert!(state.command("mute", ANA).is_ok() && state.is_muted(), "who is muted is not heard, key or not");
        assert!(state.command("unmute", ANA).is_ok() && !state.is_muted());
        state.toggle(SIGNAL);
        assert!(state.is_muted(), "the signal is the key");
    }

    #[test]
    fn a_key_that_its_holder_left_is_up() {
        let state = state(true);
        assert!(state.command("press", ANA).is_ok() && !state.is_muted());
        state.left(BOB);
        assert!(!state.is_muted(), "it was not his");
        state.left(ANA);
        assert!(state.is_muted());
    }

    #[test]
    fn what_is_coded_is_muted_but_made_no_louder() {
        let state = State::new(&MuteArgs::default(), None);
        assert!(state.command("gain 3", ANA).is_err());
        assert_eq!(state.command("mute", ANA), Ok(json!({ "heard": false, "muted": true })));
    }
}
