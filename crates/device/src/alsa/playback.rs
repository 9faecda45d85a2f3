//! A loudspeaker: what there is is written at once, and the device is asked when it will be heard.
//!
//! Nobody waits for the device to ask: between what it holds and what it needs lies all the time that there is, and a
//! thread that is woken once for each record costs a fraction of one that is woken for each period.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use alsa::pcm::Frames;
use rustix::io::Errno;
use vox_sys::{monotonic_ns, pipe};

use super::{Device, Running, Stop, run};
use crate::health::Upset;
use crate::open::{Number, Refusal};
use crate::output::{Drain, Heard};
use crate::reserve::{Beyond, Reserve};
use crate::select::Shape;

/// How much silence is written at a time while something may come any moment, in ns.
const SIP_NS: i64 = 1_500_000;

/// How long after the last sound that is so, in ns.
const EXPECTANT_NS: i64 = 500_000_000;

/// A device is believed when it says when something is heard, once it has run for so long, in ns.
const SETTLES_NS: i64 = 100_000_000;

/// Looking at a device that took longer than this tells nothing of the time, in ns.
const BLINK_NS: i64 = 500_000;

/// The shortest rest and the longest, in ns.
const REST_NS: (i64, i64) = (300_000, 50_000_000);

/// How long a device that is full is left alone, where it holds much more.
const FULL: Duration = Duration::from_millis(10);

/// Starts a loudspeaker.
pub(crate) fn play<T: Number>(
    name: &str,
    shape: &Shape,
    drain: Drain,
    upset: impl Fn(Upset) + Send + 'static,
) -> Result<Running, Refusal> {
    let mut player =
        Player::<T> { drain, block: Vec::new(), reserve: Reserve::default(), beyond: Beyond::default(), sounded: 0 };
    let turns = move |device: &Device, stop: &Stop| {
        let played = player.play(device, stop);
        if played.as_ref().is_err_and(|error| error.errno().abs() == Errno::PIPE.raw_os_error()) {
            player.reserve.ran_empty(monotonic_ns());
        }
        played
    };
    run::<T>(name, alsa::Direction::Playback, shape, upset, turns)
}

struct Player<T> {
    drain: Drain,
    block: Vec<T>,
    reserve: Reserve,
    beyond: Beyond,
    /// When there was something to play last, in ns.
    sounded: i64,
}

/// What a look at a device has shown; frames.
struct Look {
    at: i64,
    /// What it has room for.
    room: Frames,
    /// What it still holds, as far as is known.
    level: Frames,
    /// When what is written now will be heard, where that is known.
    heard: Option<i64>,
}

impl<T: Number> Player<T> {
    /// Writes what there is until something is wrong or somebody asks for something.
    fn play(&mut self, device: &Device, stop: &Stop) -> alsa::Result<()> {
        let io = device.pcm.io_checked::<T>()?;
        let mut allowance = device.allowance();
        let mut since = None;
        loop {
            drain_wake(stop);
            if stop.is_asked() || stop.period.load(Ordering::Relaxed) > 0 {
                return Ok(());
            }
            let look = self.look(device, &mut since)?;
            let low = device.frames(device.ns(device.period as Frames) + self.reserve.more_ns(look.at));
            let frames = self.wanted(device, &look, low);
            if frames > 0 && allowance.allows(look.at, frames) {
                self.block.clear();
                self.block.resize(frames * device.channels, T::EQUILIBRIUM);
                let ahead = device.ns(low + self.beyond.get());
                self.drain.give(&mut self.block, look.heard.map(|at| Heard { at, ahead }));
                let mut rest = self.block.as_slice();
                while !rest.is_empty() {
                    rest = &rest[io.writei(rest)? * device.channels..];
                }
                allowance.take(frames);
                continue;
            }
            if look.room == 0 {
                // What is pushed meanwhile changes nothing.
                let quarter = Duration::from_nanos(device.ns(device.buffer as Frames / 4).unsigned_abs());
                thread::sleep(FULL.min(quarter));
                continue;
            }
            let (least, most) = REST_NS;
            let low = low - self.reserve.slack(device.period as Frames);
            let rest = device.ns(look.level - low).clamp(least, most);
            // An end that is asked for is seen at the next turn.
            let _woken = pipe::wait(&[stop.wake.as_fd()], None, Some(look.at + rest));
        }
    }

    fn look(&mut self, device: &Device, since: &mut Option<i64>) -> alsa::Result<Look> {
        let before = monotonic_ns();
        let (room, delay) = device.look()?;
        let at = monotonic_ns();
        let held = (device.buffer as Frames - room).max(0);
        if !device.runs() {
            return Ok(Look { at, room, level: held, heard: None });
        }
        let sure = at - before < BLINK_NS;
        let settled = at - *since.get_or_insert(at) > SETTLES_NS;
        if sure {
            self.beyond.note(at, delay - held);
        }
        let level = (delay - self.beyond.get()).min(held);
        let heard = (sure && settled).then(|| before + (at - before) / 2 + device.ns(delay));
        Ok(Look { at, room, level, heard })
    }

    /// How many frames are written now: what there is, or silence where the device would run empty.
    fn wanted(&mut self, device: &Device, look: &Look, low: Frames) -> usize {
        let waiting = self.drain.waiting();
        if waiting > 0 {
            self.sounded = look.at;
            return waiting.min(usize::try_from(look.room).unwrap_or(0));
        }
        let expectant = look.at - self.sounded < EXPECTANT_NS;
        // What comes in the last moment is heard at its time: silence would push it back.
        let last = if expectant { low - self.reserve.slack(device.period as Frames) } else { low };
        if look.level > last {
            return 0;
        }
        let step = if expectant { device.frames(SIP_NS) } else { device.period as Frames };
        usize::try_from((last + step - look.level).min(look.room)).unwrap_or(0)
    }
}

/// What is looked at from now on was there before somebody wakes this thread again.
fn drain_wake(stop: &Stop) {
    // Nothing to drain is as good as drained.
    let _empty = rustix::io::read(&stop.wake, &mut [0; 8]);
}
