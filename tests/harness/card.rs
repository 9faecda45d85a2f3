//! A sound card that is none: PulseAudio with null sinks, as `rig/pulse-up` starts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Running, Scratch, await_until, need, raw_samples};

const RATE: usize = 48_000;

/// The card; taken out when dropped.
pub struct Card {
    /// Shell lines that make programs use it.
    pub environment: String,
    dir: PathBuf,
}

impl Card {
    /// Starts it.
    ///
    /// # Panics
    /// When PulseAudio is missing or does not start.
    #[track_caller]
    pub fn insert(scratch: &Scratch) -> Self {
        need(&["pulseaudio", "pactl", "parec", "paplay"]);
        let rig = Path::new(env!("CARGO_MANIFEST_DIR")).join("rig/pulse-up");
        let dir = scratch.path("card");
        // A session of its own: what the rig leaves running outlives the script.
        let up = scratch.run(&format!("setsid --wait {} {}", rig.display(), dir.display()));
        let card = Self { environment: up.text(), dir };
        up.succeeded();
        card
    }

    /// Takes it away while it is in use.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pull_out(&self) {
        let pids = fs::read_to_string(self.dir.join("pids")).expect("a card that runs");
        let server = pids.split_whitespace().next().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        kill_process(server.expect("a pid"), Signal::KILL).expect("a server that runs");
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let pids = fs::read_to_string(self.dir.join("pids")).unwrap_or_default();
        for pid in pids.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            let _gone = kill_process(pid, Signal::TERM);
        }
    }
}

/// A recording of both sides of the card: left what was said, right what was heard.
pub struct Tape<'a> {
    scratch: &'a Scratch,
    parec: Running,
}

impl<'a> Tape<'a> {
    /// Starts it, and waits until it rolls.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn start(scratch: &'a Scratch, card: &Card) -> Self {
        let parec = scratch.spawn(&format!(
            "{}\nexec $promptly parec -d bus.monitor --raw --rate=48000 --channels=2 --format=s16le >both.raw",
            card.environment
        ));
        let tape = Self { scratch, parec };
        assert!(await_until(Duration::from_secs(10), || tape.size() > 96_000), "{}", tape.parec.stderr());
        tape
    }

    fn size(&self) -> u64 {
        fs::metadata(self.scratch.path("both.raw")).map_or(0, |meta| meta.len())
    }

    /// A second more.
    ///
    /// # Panics
    /// When nothing comes.
    #[track_caller]
    pub fn roll_on(&self) {
        let end = self.size() + 4 * RATE as u64;
        assert!(await_until(Duration::from_secs(10), || self.size() > end), "the tape stands still");
    }

    /// Ends it, and gives its samples at 48 kHz, both sides interleaved.
    ///
    /// # Panics
    /// When there is none.
    pub fn stop(self) -> Vec<i16> {
        drop(self.parec);
        raw_samples(&fs::read(self.scratch.path("both.raw")).expect("a tape"))
    }
}
