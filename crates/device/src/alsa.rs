//! Sound devices by ALSA itself, a thread each.
//!
//! cpal has such a loop as well. On the plugin of a sound server it asks without a pause until a period is complete, asks
//! a stream that was just made anew for what it cannot know yet, and leaves the server's own thread in this process at
//! its priority: each of the three is heard where the machine is busy.

mod playback;

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use alsa::PCM;
use alsa::pcm::{Access, Frames, HwParams, IO, State};
use alsa::poll::{Descriptors, pollfd};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use vox_sys::{monotonic_ns, priority};

use crate::allowance::Allowance;
use crate::health::Upset;
use crate::open::{Number, Refusal, Stream};
use crate::select::Shape;

pub(crate) use playback::play;

/// How often a device that says nothing is looked at, in ms.
const LOOK_MS: i32 = 200;

/// How long after an error there is a next try.
const RETRY: Duration = Duration::from_millis(20);

/// The shortest rest of a thread that was woken for nothing, and the longest, in ns.
const REST_NS: (i64, i64) = (500_000, 20_000_000);

/// So much more than usual that stays for so long lies before a microphone, in ns.
const BACKLOG_NS: i64 = 40_000_000;
const BACKLOG_STAYS_NS: i64 = 500_000_000;

/// How much a loudspeaker has room for, in ms: it is written to when there is something, and never waits for that.
const ROOM_MS: Frames = 100;

/// The part of a second that a sound server may take ahead, at its start and when it was late itself: one in that many.
const SERVER: usize = 4;

/// A device that runs until it is dropped.
pub(crate) struct Running {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

struct Stop {
    asked: AtomicBool,
    /// Frames that are to be moved at a time; 0 where nobody has asked for others.
    period: AtomicU32,
    wake: OwnedFd,
}

impl Stop {
    fn wake(&self) {
        // A full counter wakes as well.
        let _full = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Stream for Running {
    fn wake(&mut self) {
        self.stop.wake();
    }

    fn ask_for(&mut self, period: u32) -> bool {
        self.stop.period.store(period, Ordering::Relaxed);
        self.stop.wake();
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.asked.store(true, Ordering::Relaxed);
        self.stop.wake();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say any more.
            let _panicked = thread.join();
        }
    }
}

/// Starts a microphone: `data` is handed a period, and told how old its first frame is, in ns.
pub(crate) fn record<T: Number>(
    name: &str,
    shape: &Shape,
    mut data: impl FnMut(&[T], i64) + Send + 'static,
    upset: impl Fn(Upset) + Send + 'static,
) -> Result<Running, Refusal> {
    let mut block = Vec::new();
    let turns = move |device: &Device, stop: &Stop| {
        device.fetch(stop, |io: &IO<'_, T>, delay| {
            block.resize(device.period * device.channels, T::EQUILIBRIUM);
            let read = io.readi(&mut block)?;
            data(&block[..read * device.channels], device.ns(delay));
            Ok(read)
        })
    };
    run::<T>(name, alsa::Direction::Capture, shape, upset, turns)
}

/// An open device.
struct Device {
    pcm: PCM,
    capture: bool,
    hz: u32,
    channels: usize,
    /// Frames that are moved at a time.
    period: usize,
    /// Frames that the device holds.
    buffer: usize,
}

impl Device {
    fn open<T: Number>(name: &str, direction: alsa::Direction, shape: &Shape) -> Result<Self, Refusal> {
        let before = priority::threads();
        let pcm = PCM::new(name, direction, true)?;
        if shape.realtime {
            // The client of a sound server brings a thread along, through which everything goes.
            for thread in priority::threads().difference(&before) {
                let _allowed = priority::make_realtime(*thread);
            }
        }
        let hw = HwParams::any(&pcm)?;
        hw.set_access(Access::RWInterleaved)?;
        hw.set_format(<T as alsa::pcm::IoFormat>::FORMAT)?;
        hw.set_channels(shape.channels.count() as u32)?;
        hw.set_rate(shape.rate.hz(), alsa::ValueOr::Nearest)?;
        let period = Frames::from(shape.period);
        let capture = direction == alsa::Direction::Capture;
        // What a microphone holds is no delay as long as it is fetched. Of what comes at once beyond that, PulseAudio's
        // plugin forgets whole buffers, which then lie before all that follows.
        let second = Frames::from(shape.rate.hz());
        let least = if capture { second / 2 } else { second * ROOM_MS / 1_000 };
        let held = period.saturating_mul(8).max(least);
        hw.set_period_size_near(period, alsa::ValueOr::Nearest)?;
        hw.set_buffer_size_near(held)?;
        pcm.hw_params(&hw)?;
        drop(hw);
        let (buffer, period) = pcm.get_params()?;
        let (buffer, period) = (buffer as usize, period as usize);
        if period == 0 || buffer < period {
            return Err(Refusal::new(format!("it moves {period} frames at a time and holds {buffer}")));
        }
        let sw = pcm.sw_params_current()?;
        sw.set_start_threshold(if capture { 1 } else { period as Frames })?;
        sw.set_avail_min(period as Frames)?;
        pcm.sw_params(&sw)?;
        drop(sw);
        let (hz, channels) = (shape.rate.hz(), shape.channels.count());
        let device = Self { pcm, capture, hz, channels, period, buffer };
        device.prepare()?;
        Ok(device)
    }

    fn prepare(&self) -> alsa::Result<()> {
        self.pcm.prepare()?;
        if self.capture { self.pcm.start() } else { Ok(()) }
    }

    /// How long so many frames take, in ns.
    fn ns(&self, frames: Frames) -> i64 {
        frames * 1_000_000_000 / i64::from(self.hz)
    }

    /// Fetches what comes until something is wrong or somebody asks for an end: `take` is told how old the first frame
    /// is, in frames, and gives how many it took.
    fn fetch<T: Number>(
        &self,
        stop: &Stop,
        mut take: impl FnMut(&IO<'_, T>, Frames) -> alsa::Result<usize>,
    ) -> alsa::Result<()> {
        let mut allowance = self.allowance();
        let io = self.pcm.io_checked::<T>()?;
        let mut waits = vec![pollfd { fd: stop.wake.as_raw_fd(), events: POLLIN, revents: 0 }];
        waits.extend(self.pcm.get()?);
        let mut woken = false;
        let mut backlog = Backlog::default();
        while !stop.is_asked() {
            let (there, delay) = self.look()?;
            if self.runs() && backlog.stays(monotonic_ns(), self.ns(delay - there)) {
                // It begins anew, as after an overrun.
                return Err(alsa::Error::new("snd_pcm_delay", Errno::PIPE.raw_os_error()));
            }
            let missing = self.period as Frames - there;
            if missing <= 0 && allowance.allows(monotonic_ns(), self.period) {
                allowance.take(take(&io, delay.max(0))?);
                woken = false;
            } else if woken || missing <= 0 {
                // It calls too early, and would call again at once.
                let (least, most) = REST_NS;
                thread::sleep(Duration::from_nanos(self.ns(missing).clamp(least, most).unsigned_abs()));
                woken = false;
            } else {
                woken = alsa::poll::poll(&mut waits, LOOK_MS)? > 0;
                // Some plugins want to be asked, to be ready to call again.
                self.pcm.revents(&waits[1..])?;
            }
        }
        Ok(())
    }

    /// How many frames can be moved, and how many lie between here and the air.
    fn look(&self) -> alsa::Result<(Frames, Frames)> {
        // Before it runs, a sound server has no delay to tell.
        if self.runs() { self.pcm.avail_delay() } else { Ok((self.pcm.avail_update()?, 0)) }
    }

    fn runs(&self) -> bool {
        self.pcm.state() == State::Running
    }

    fn allowance(&self) -> Allowance {
        Allowance::new(self.hz, self.buffer + self.hz as usize / SERVER)
    }

    /// Makes it run again after an error.
    fn mend(&self, error: alsa::Error) {
        let mended = self.pcm.try_recover(error, true);
        if mended.and_then(|()| if self.capture { self.pcm.start() } else { Ok(()) }).is_err() {
            thread::sleep(RETRY);
            // What is wrong shows at the next turn.
            let _still = self.prepare();
        }
    }
}

/// Opens a device and starts the thread that moves its samples: `turns` returns where somebody has asked for something,
/// and is called again.
fn run<T: Number>(
    name: &str,
    direction: alsa::Direction,
    shape: &Shape,
    upset: impl Fn(Upset) + Send + 'static,
    mut turns: impl FnMut(&Device, &Stop) -> alsa::Result<()> + Send + 'static,
) -> Result<Running, Refusal> {
    let mut device = Device::open::<T>(name, direction, shape)?;
    let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
    let wake = wake.map_err(|error| Refusal::new(error.to_string()))?;
    let stop = Arc::new(Stop { asked: AtomicBool::new(false), period: AtomicU32::new(0), wake });
    let (theirs, name, shape) = (Arc::clone(&stop), name.to_owned(), *shape);
    let thread = thread::Builder::new().name("sound".to_owned()).spawn(move || {
        if shape.realtime {
            // Best effort: without it there are only more underruns.
            let _allowed = priority::go_realtime();
        }
        while !theirs.is_asked() {
            let period = theirs.period.swap(0, Ordering::Relaxed);
            if period > 0 {
                upset(Upset::Anew);
                // Some can be opened only once.
                drop(device);
                let other = Shape { period, ..shape };
                let opened = Device::open::<T>(&name, direction, &other);
                device = match opened.or_else(|_refused| Device::open::<T>(&name, direction, &shape)) {
                    Ok(other) => other,
                    Err(refusal) => return upset(Upset::Gone(refusal.to_string())),
                };
            }
            let Err(error) = turns(&device, &theirs) else { continue };
            match Errno::from_raw_os_error(error.errno().abs()) {
                Errno::AGAIN | Errno::INTR => {
                    thread::sleep(RETRY / 20);
                    continue;
                }
                Errno::PIPE => upset(Upset::Xrun),
                Errno::NODEV => upset(Upset::Gone(error.to_string())),
                _ => upset(Upset::Stumbles(error.to_string())),
            }
            device.mend(error);
        }
    });
    let thread = thread.map_err(|error| Refusal::new(error.to_string()))?;
    Ok(Running { stop, thread: Some(thread) })
}

/// Sees what lies before all that a microphone gives, and is not fetched.
#[derive(Debug, Default)]
struct Backlog {
    /// The least delay that was seen, in ns.
    least: Option<i64>,
    /// Since when there has been more, in ns.
    since: Option<i64>,
}

impl Backlog {
    /// `delay` is how old the last of what can be fetched at `now` is, both in ns.
    fn stays(&mut self, now: i64, delay: i64) -> bool {
        let least = self.least.map_or(delay, |least| least.min(delay));
        self.least = Some(least);
        if delay < least + BACKLOG_NS {
            self.since = None;
            return false;
        }
        now - *self.since.get_or_insert(now) > BACKLOG_STAYS_NS
    }
}

const POLLIN: core::ffi::c_short = alsa::poll::Flags::IN.bits();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_before_a_microphone_is_seen_and_what_is_fetched_is_not() {
        let ms = 1_000_000;
        let mut backlog = Backlog::default();
        for n in 0..300 {
            let delay = if n % 20 < 10 { 5 * ms } else { 90 * ms };
            assert!(!backlog.stays(n * 10 * ms, delay), "it comes and goes");
        }
        assert!((300..400).any(|n| backlog.stays(n * 10 * ms, 90 * ms)));
    }
}
