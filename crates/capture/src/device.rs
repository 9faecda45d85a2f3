//! A microphone: live, stamped by the device's clock, never waiting for its reader for long.

use vox_cli::{Failure, Output, Wake, wait, warn};
use vox_device::{Block, Direction, Input, Wanted};
use vox_frame::{Channels, Codec, EndReason, Format, Rate};
use vox_sys::Clock;

use crate::args::{Args, Pcm, Source};
use crate::encoding::quantise;
use crate::recorder::Recorder;

/// What waited longer than this for its reader is dropped, in ns: the same as other live stages allow.
const MAX_AGE_NS: i64 = 200_000_000;

/// A jump of the device's clock that is no jitter of its callbacks, in ns.
const JUMP_NS: i64 = 100_000_000;

/// A jump that counts where the device says that it lost something, in ns.
const SMALL_JUMP_NS: i64 = 1_000_000;

/// How often a device that gives nothing is looked after, in ns.
const LOOK_NS: i64 = 500_000_000;

/// How much of a callback's jitter moves the clock: one part in that many.
const SMOOTHING: i64 = 32;

/// Captures a device until it ends, the duration is over or somebody stops it.
pub(crate) fn capture(args: &Args) -> Result<(), Failure> {
    let rate = args.rate.map_or(Rate::HZ_48000, |rate| rate.0);
    let channels = args.channels.unwrap_or(Channels::MONO);
    let mut format = Format::new(args.format.unwrap_or(Pcm::S16).into(), rate, channels, args.frame.ticks(rate));
    format.live = true;
    format.label.clone_from(&args.name);
    let clock = Clock::own();
    let mut output = Output::stdout(clock.opening(), args.batch)?;
    let mut input = open(args, rate, channels)?;
    let limit = args.duration.map_or(u64::MAX, |duration| rate.ticks(duration.ns()));
    let recorder = Recorder::new(crate::stream_id(args), format.clone(), false, &mut output)?;
    let mut tape = Tape {
        clock,
        format,
        limit,
        recorder,
        output,
        device: DeviceClock::new(rate),
        pending: Vec::new(),
        pending_at: 0,
    };
    tape.output.flush()?;
    let outcome = tape.run(&mut input);
    let reason = match &outcome {
        Ok(reason) => reason.clone(),
        Err(_) => EndReason::Interrupted,
    };
    tape.end(reason)?;
    outcome.map(|_| ())
}

/// The microphones, a line each.
pub(crate) fn list(host: &str) -> Result<String, Failure> {
    let devices = vox_device::list(host, Direction::Input).map_err(Failure::device)?;
    if devices.is_empty() {
        return Err(Failure::device(format_args!(
            "{host} has no microphone; vox-capture also takes a file, -, tone:440"
        )));
    }
    let lines = devices.iter().map(|device| {
        let mark = if device.default { " (default)" } else { "" };
        format!("{}\t{}{mark}\n", device.id, device.name)
    });
    Ok(lines.collect())
}

fn open(args: &Args, rate: Rate, channels: Channels) -> Result<Input, Failure> {
    let device = match &args.source {
        Some(Source::Device(id)) => Some(id.clone()),
        _ => args.device.clone(),
    };
    let period = rate.ticks(args.buffer.ns()).clamp(16, 1 << 20) as u32;
    let wanted = Wanted { host: args.host.clone(), device, rate, channels, period };
    Input::open(&wanted).map_err(|error| {
        let others = vox_device::list(&args.host, Direction::Input).unwrap_or_default();
        let others: Vec<String> = others.into_iter().map(|device| device.id).take(8).collect();
        let others = if others.is_empty() { String::new() } else { format!("devices: {}; ", others.join(", ")) };
        Failure::device(format_args!("{error} ({others}or capture a file, - or tone:440)"))
    })
}

struct Tape {
    clock: Clock,
    format: Format,
    /// Ticks after which the stream ends.
    limit: u64,
    recorder: Recorder,
    output: Output,
    device: DeviceClock,
    /// Samples that wait for a whole record.
    pending: Vec<f32>,
    /// When the first of them was captured, in ns of CLOCK_MONOTONIC.
    pending_at: i64,
}

impl Tape {
    fn run(&mut self, input: &mut Input) -> Result<EndReason, Failure> {
        let mut samples = Vec::new();
        loop {
            // A device that is gone may not say so: look after it twice a second.
            if wait(Some(input.wake()), Some(vox_sys::monotonic_ns() + LOOK_NS))? == Wake::Signal {
                return Ok(EndReason::Stopped);
            }
            input.drain_wake();
            while let Some(block) = input.read(&mut samples).map_err(Failure::device)? {
                self.take(&block, &samples)?;
                if self.recorder.position() >= self.limit {
                    return Ok(EndReason::Complete);
                }
            }
            self.output.flush()?;
        }
    }

    fn take(&mut self, block: &Block, samples: &[f32]) -> Result<(), Failure> {
        let stale = vox_sys::monotonic_ns() - block.captured > MAX_AGE_NS;
        if block.lost || stale {
            self.device.lose();
            return Ok(());
        }
        let missing = self.device.block(block);
        if missing > 0 {
            warn(format_args!("{} ms could not be captured", self.format.rate.ns(missing) / 1_000_000));
            self.write_pending()?;
            let missing = missing.min(self.limit - self.recorder.position());
            let from = self.device.now() - self.format.rate.ns(missing);
            self.recorder.overrun(missing, Some(self.clock.from_mono(from)), &mut self.output)?;
        }
        self.push(samples, self.device.now())?;
        self.device.advance(block.frames);
        Ok(())
    }

    /// Takes samples, of which the first was captured at `at`.
    fn push(&mut self, mut samples: &[f32], mut at: i64) -> Result<(), Failure> {
        let channels = self.format.channels.count();
        while !samples.is_empty() {
            if self.pending.is_empty() {
                self.pending_at = at;
            }
            let left = usize::try_from(self.limit - self.recorder.position()).unwrap_or(usize::MAX);
            let record = self.recorder.record_ticks().min(left) * channels;
            let taken = record.saturating_sub(self.pending.len()).min(samples.len());
            let (first, rest) = samples.split_at(taken);
            self.pending.extend_from_slice(first);
            at += self.format.rate.ns((taken / channels) as u64);
            samples = rest;
            if self.pending.len() < record {
                return Ok(());
            }
            self.write_pending()?;
            if self.recorder.position() >= self.limit {
                return Ok(());
            }
        }
        Ok(())
    }

    fn write_pending(&mut self) -> Result<(), Failure> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let payload: Vec<u8> = match self.format.codec {
            Codec::PcmF32 => self.pending.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
            _ => self.pending.iter().flat_map(|&sample| quantise(sample).to_le_bytes()).collect(),
        };
        self.pending.clear();
        let captured = self.clock.from_mono(self.pending_at);
        self.recorder.audio(&payload, Some(captured), &mut self.output)
    }

    fn end(mut self, reason: EndReason) -> Result<(), Failure> {
        self.write_pending()?;
        self.recorder.end(reason, &mut self.output)
    }
}

/// When each sample was captured, from the times of the device's callbacks: their jitter is smoothed, a jump is a gap.
struct DeviceClock {
    rate: Rate,
    /// When the next sample is captured, in ns of CLOCK_MONOTONIC.
    next: Option<i64>,
    lost: bool,
}

impl DeviceClock {
    const fn new(rate: Rate) -> Self {
        Self { rate, next: None, lost: false }
    }

    /// When the next sample is captured.
    fn now(&self) -> i64 {
        self.next.unwrap_or(0)
    }

    /// Samples were lost: the next block says how many.
    const fn lose(&mut self) {
        self.lost = true;
    }

    /// Takes the time of a block; gives the ticks that are missing before it.
    fn block(&mut self, block: &Block) -> u64 {
        let broken = std::mem::take(&mut self.lost) || block.broken;
        let Some(next) = self.next else {
            self.next = Some(block.captured);
            return 0;
        };
        let ahead = block.captured - next;
        if ahead > JUMP_NS || broken && ahead > SMALL_JUMP_NS {
            self.next = Some(block.captured);
            return self.rate.ticks(ahead);
        }
        self.next = Some(if ahead < -JUMP_NS { block.captured } else { next + ahead / SMOOTHING });
        0
    }

    /// Moves on behind a block.
    fn advance(&mut self, frames: usize) {
        let span = self.rate.ns(frames as u64);
        self.next = self.next.map(|next| next + span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn block(captured: i64) -> Block {
        Block { captured, frames: 480, lost: false, broken: false }
    }

    fn take(clock: &mut DeviceClock, block: Block) -> u64 {
        let missing = clock.block(&block);
        clock.advance(block.frames);
        missing
    }

    #[test]
    fn jitter_of_callbacks_is_no_gap_and_is_smoothed() {
        let mut clock = DeviceClock::new(Rate::HZ_48000);
        for n in 0..1_000_i64 {
            let jitter = if n % 2 == 0 { 0 } else { 4 * MS };
            assert_eq!(take(&mut clock, block(n * 10 * MS + jitter)), 0);
        }
        let error = clock.now() - 10_000 * MS;
        assert!((MS..3 * MS).contains(&error), "{error} ns beside the mean of 2 ms");
    }

    #[test]
    fn what_is_missing_is_measured_by_the_clock_and_not_by_counting() {
        let mut clock = DeviceClock::new(Rate::HZ_48000);
        take(&mut clock, block(0));
        clock.lose();
        clock.lose();
        assert_eq!(take(&mut clock, block(3_010 * MS)), 144_000);
        assert_eq!(take(&mut clock, block(3_020 * MS)), 0);
    }

    #[test]
    fn an_overrun_of_the_device_is_a_gap_even_when_it_is_short() {
        let mut clock = DeviceClock::new(Rate::HZ_48000);
        take(&mut clock, block(0));
        assert_eq!(take(&mut clock, Block { broken: true, ..block(30 * MS) }), 960);
        assert_eq!(take(&mut clock, Block { broken: true, ..block(40 * MS) }), 0);
    }

    #[test]
    fn a_clock_that_drifts_makes_no_gap() {
        let mut clock = DeviceClock::new(Rate::HZ_48000);
        for n in 0..10_000_i64 {
            assert_eq!(take(&mut clock, block(n * (10 * MS + 2_000))), 0);
        }
    }
}
