//! Sound devices by ALSA itself, a thread each.
//!
//! cpal has such a loop as well. On the plugin of a sound server it asks without a pause until a period is complete, asks
//! a stream that was just made anew for what it cannot know yet, and leaves the server's own thread in this process at
//! its priority: each of the three is heard where the machine is busy.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
use crate::open::{Number, Refusal};
use crate::select::Shape;

/// How often a device that says nothing is looked at, in ms.
const LOOK_MS: i32 = 200;

/// How long after an error there is a next try.
const RETRY: Duration = Duration::from_millis(20);

/// The shortest rest of a thread that was woken for nothing, and the longest, in ns.
const REST_NS: (i64, i64) = (500_000, 20_000_000);

/// The part of a second that a sound server may take ahead, at its start and when it was late itself: one in that many.
const SERVER: usize = 4;

/// A device that runs until it is dropped.
pub(crate) struct Running {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

struct Stop {
    asked: AtomicBool,
    wake: OwnedFd,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.asked.store(true, Ordering::Relaxed);
        // A full counter wakes as well.
        let _full = rustix::io::write(&self.stop.wake, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say any more.
            let _panicked = thread.join();
        }
    }
}

/// Starts a loudspeaker: `data` fills a period, and is told how long after now its first frame is heard, in ns.
pub(crate) fn play<T: Number>(
    name: &str,
    shape: &Shape,
    mut data: impl FnMut(&mut [T], i64) + Send + 'static,
    upset: impl Fn(Upset) + Send + 'static,
) -> Result<Running, Refusal> {
    let device = Device::open::<T>(name, alsa::Direction::Playback, shape)?;
    let mut block = vec![T::EQUILIBRIUM; device.period * device.channels];
    device.run(shape.realtime, upset, move |device, io: &IO<'_, T>, delay| {
        block.fill(T::EQUILIBRIUM);
        data(&mut block, device.ns(delay));
        let mut rest = block.as_slice();
        while !rest.is_empty() {
            rest = &rest[io.writei(rest)? * device.channels..];
        }
        Ok(device.period)
    })
}

/// Starts a microphone: `data` is handed a period, and told how old its first frame is, in ns.
pub(crate) fn record<T: Number>(
    name: &str,
    shape: &Shape,
    mut data: impl FnMut(&[T], i64) + Send + 'static,
    upset: impl Fn(Upset) + Send + 'static,
) -> Result<Running, Refusal> {
    let device = Device::open::<T>(name, alsa::Direction::Capture, shape)?;
    let mut block = vec![T::EQUILIBRIUM; device.period * device.channels];
    device.run(shape.realtime, upset, move |device, io: &IO<'_, T>, delay| {
        let read = io.readi(&mut block)?;
        data(&block[..read * device.channels], device.ns(delay));
        Ok(read)
    })
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
        hw.set_buffer_size_near(period * 2)?;
        hw.set_period_size_near(period, alsa::ValueOr::Nearest)?;
        pcm.hw_params(&hw)?;
        drop(hw);
        let (buffer, period) = pcm.get_params()?;
        let (buffer, period) = (buffer as usize, period as usize);
        if period == 0 || buffer < period {
            return Err(Refusal::new(format!("it moves {period} frames at a time and holds {buffer}")));
        }
        let capture = direction == alsa::Direction::Capture;
        let sw = pcm.sw_params_current()?;
        sw.set_start_threshold(if capture { 1 } else { (buffer / period * period) as Frames })?;
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

    /// Starts the thread that calls `turn` for each period, with the delay behind it in frames.
    fn run<T: Number>(
        self,
        realtime: bool,
        upset: impl Fn(Upset) + Send + 'static,
        mut turn: impl FnMut(&Self, &IO<'_, T>, Frames) -> alsa::Result<usize> + Send + 'static,
    ) -> Result<Running, Refusal> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        let wake = wake.map_err(|error| Refusal::new(error.to_string()))?;
        let stop = Arc::new(Stop { asked: AtomicBool::new(false), wake });
        let theirs = Arc::clone(&stop);
        let thread = thread::Builder::new().name("sound".to_owned()).spawn(move || {
            if realtime {
                // Best effort: without it there are only more underruns.
                let _allowed = priority::go_realtime();
            }
            let mut allowance = Allowance::new(self.hz, self.buffer + self.hz as usize / SERVER);
            while !theirs.asked.load(Ordering::Relaxed) {
                if let Err(error) = self.turns(&theirs, &mut allowance, &mut turn) {
                    self.mend(error, &upset);
                    allowance.fill();
                }
            }
        });
        let thread = thread.map_err(|error| Refusal::new(error.to_string()))?;
        Ok(Running { stop, thread: Some(thread) })
    }

    /// Takes turns until something is wrong or somebody asks for an end.
    fn turns<T: Number>(
        &self,
        stop: &Stop,
        allowance: &mut Allowance,
        turn: &mut impl FnMut(&Self, &IO<'_, T>, Frames) -> alsa::Result<usize>,
    ) -> alsa::Result<()> {
        let io = self.pcm.io_checked::<T>()?;
        let mut waits = vec![pollfd { fd: stop.wake.as_raw_fd(), events: POLLIN, revents: 0 }];
        waits.extend(self.pcm.get()?);
        let mut woken = false;
        while !stop.asked.load(Ordering::Relaxed) {
            // Before it runs, a sound server has no delay to tell.
            let runs = self.pcm.state() == State::Running;
            let (there, delay) = if runs { self.pcm.avail_delay()? } else { (self.pcm.avail_update()?, 0) };
            let missing = self.period as Frames - there;
            if missing <= 0 && allowance.allows(monotonic_ns(), self.period) {
                allowance.take(turn(self, &io, delay.max(0))?);
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

    /// Makes it run again, and says what was wrong.
    fn mend(&self, error: alsa::Error, upset: &impl Fn(Upset)) {
        match Errno::from_raw_os_error(error.errno().abs()) {
            Errno::AGAIN | Errno::INTR => return thread::sleep(RETRY / 20),
            Errno::PIPE => upset(Upset::Xrun),
            Errno::NODEV => upset(Upset::Gone(error.to_string())),
            _ => upset(Upset::Stumbles(error.to_string())),
        }
        let mended = self.pcm.try_recover(error, true);
        if mended.and_then(|()| if self.capture { self.pcm.start() } else { Ok(()) }).is_err() {
            thread::sleep(RETRY);
            // What is wrong shows at the next turn.
            let _still = self.prepare();
        }
    }
}

const POLLIN: core::ffi::c_short = alsa::poll::Flags::IN.bits();
