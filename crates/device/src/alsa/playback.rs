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
use crate::reserve::{Look, Measure, Stock};
use crate::select::Shape;

/// A device is believed when it says when something is heard, once it has run for so long, in ns.
const SETTLES_NS: i64 = 100_000_000;

/// Looking at a device that took longer than this tells nothing of the time, in ns.
const BLINK_NS: i64 = 500_000;

/// How long a device that is full is left alone, where it holds much more.
const FULL: Duration = Duration::from_millis(10);

/// Starts a loudspeaker.
pub(crate) fn play<T: Number>(
    name: &str,
    shape: &Shape,
    drain: Drain,
    upset: impl Fn(Upset) + Send + 'static,
) -> Result<Running, Refusal> {
    let mut player = Player::<T> { drain, block: Vec::new(), stock: Stock::default() };
    let turns = move |device: &Device, stop: &Stop| {
        let played = player.play(device, stop);
        if played.as_ref().is_err_and(|error| error.errno().abs() == Errno::PIPE.raw_os_error()) {
            player.stock.ran_empty(monotonic_ns());
        }
        played
    };
    run::<T>(name, alsa::Direction::Playback, shape, upset, turns)
}

struct Player<T> {
    drain: Drain,
    block: Vec<T>,
    stock: Stock,
}

impl<T: Number> Player<T> {
    /// Writes what there is until something is wrong or somebody asks for something.
    fn play(&mut self, device: &Device, stop: &Stop) -> alsa::Result<()> {
        let io = device.pcm.io_checked::<T>()?;
        let measure = Measure { hz: device.hz, period: device.period as Frames };
        let mut allowance = device.allowance();
        let mut since = None;
        loop {
            drain_wake(stop);
            if stop.is_asked() || stop.period.load(Ordering::Relaxed) > 0 {
                return Ok(());
            }
            let look = self.look(device, &mut since)?;
            let low = self.stock.low(measure, look.at);
            let frames = self.stock.wanted(measure, &look, low, self.drain.waiting());
            if frames > 0 && allowance.allows(look.at, frames) {
                self.block.clear();
                self.block.resize(frames * device.channels, T::EQUILIBRIUM);
                let ahead = device.ns(low + self.stock.beyond());
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
            // An end that is asked for is seen at the next turn.
            let _woken = pipe::wait(&[stop.wake.as_fd()], None, Some(self.stock.rests_until(measure, &look, low)));
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
            self.stock.note_beyond(at, delay - held);
        }
        let level = (delay - self.stock.beyond()).min(held);
        let heard = (sure && settled).then(|| before + (at - before) / 2 + device.ns(delay));
        Ok(Look { at, room, level, heard })
    }
}

/// What is looked at from now on was there before somebody wakes this thread again.
fn drain_wake(stop: &Stop) {
    // Nothing to drain is as good as drained.
    let _empty = rustix::io::read(&stop.wake, &mut [0; 8]);
}
