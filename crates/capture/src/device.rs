//! A microphone: live, stamped by the device's clock, never waiting for its reader for long.

use vox_cli::{Failure, Output, Wake, wait, warn};
use vox_device::{Block, Direction, Input, Wanted};
use vox_frame::{Channels, Codec, EndReason, Format, Rate};
use vox_sys::{Clock, go_before_others, monotonic_ns};
use vox_wav::to_i16;

use crate::args::{Args, Pcm, Source};
use crate::echo::Cleaner;
use crate::recorder::Recorder;
use crate::stamps::Stamps;

/// What waited longer than this for its reader is dropped, in ns: the same as other live stages allow.
const MAX_AGE_NS: i64 = 200_000_000;

/// The most that a device gives at a time where nobody asks for more, in ns.
const MOST_PERIOD_NS: i64 = 20_000_000;

/// How often a device that gives nothing is looked after, in ns.
const LOOK_NS: i64 = 500_000_000;

/// Captures a device until it ends, the duration is over or somebody stops it.
pub(crate) fn capture(args: &Args) -> Result<(), Failure> {
    let rate = args.rate.map_or(Rate::HZ_48000, |rate| rate.0);
    let channels = args.channels.unwrap_or(Channels::MONO);
    let mut format = Format::new(args.format.unwrap_or(Pcm::S16).into(), rate, channels, args.frame.ticks(rate));
    format.live = true;
    format.label.clone_from(&args.name);
    let clock = Clock::own();
    let mut output = Output::stdout(clock.opening(), args.batch)?;
    if args.no_realtime {
        output.stay_ordinary();
    }
    if !args.no_realtime {
        // The device's threads inherit this. Best effort: without it they are only later now and then.
        let _allowed = go_before_others();
    }
    let mut input = open(args, rate, channels)?;
    let limit = args.duration.map_or(u64::MAX, |duration| rate.ticks(duration.ns()));
    let recorder = Recorder::new(crate::stream_id(args), format.clone(), args.voice.open()?, false, &mut output)?;
    let cleaner = args.cancel_echo.as_deref().map(|fifo| Cleaner::open(fifo, rate, channels)).transpose()?;
    let mut tape = Tape {
        clock,
        format,
        limit,
        recorder,
        output,
        stamps: Stamps::new(rate),
        cleaner,
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
    let period =
        args.period.map_or_else(|| period_of(args.frame.ticks(rate), rate), |period| rate.ticks(period.ns()) as u32);
    let period = period.clamp(16, 1 << 20);
    let wanted = Wanted { host: args.host.clone(), device, rate, channels, period, realtime: !args.no_realtime };
    Input::open(&wanted).map_err(|error| {
        let others = vox_device::list(&args.host, Direction::Input).unwrap_or_default();
        let others: Vec<String> = others.into_iter().map(|device| device.id).take(8).collect();
        let others = if others.is_empty() { String::new() } else { format!("devices: {}; ", others.join(", ")) };
        Failure::device(format_args!("{error} ({others}or capture a file, - or tone:440)"))
    })
}

/// What a device gives at a time, so that a record is complete when it comes: a record, or an equal part of it.
fn period_of(record: u32, rate: Rate) -> u32 {
    let most = rate.ticks(MOST_PERIOD_NS).max(1) as u32;
    record / record.div_ceil(most).max(1)
}

struct Tape {
    clock: Clock,
    format: Format,
    /// Ticks after which the stream ends.
    limit: u64,
    recorder: Recorder,
    output: Output,
    stamps: Stamps,
    /// Takes echo out.
    cleaner: Option<Cleaner>,
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
            if wait(Some(input.wake()), Some(monotonic_ns() + LOOK_NS))? == Wake::Signal {
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
        let stale = monotonic_ns() - block.at > MAX_AGE_NS;
        if block.lost || stale {
            self.stamps.lose();
            return Ok(());
        }
        let (missing, captured) = self.stamps.block(block);
        if missing > 0 {
            warn(format_args!("{} ms could not be captured", self.format.rate.ns(missing) / 1_000_000));
            self.push_rest()?;
            self.write_pending()?;
            let missing = missing.min(self.limit - self.recorder.position());
            let from = captured - self.format.rate.ns(missing);
            self.recorder.overrun(missing, Some(self.clock.from_mono(from)), &mut self.output)?;
        }
        let Some(mut cleaner) = self.cleaner.take() else { return self.push(samples, captured) };
        let (captured, samples) = cleaner.clean(captured, samples);
        self.push(samples, captured)?;
        self.cleaner = Some(cleaner);
        Ok(())
    }

    /// Takes what is on its way still.
    fn push_rest(&mut self) -> Result<(), Failure> {
        let Some((at, rest)) = self.cleaner.as_mut().map(|cleaner| cleaner.rest()) else { return Ok(()) };
        self.push(&rest, at)
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
            _ => self.pending.iter().flat_map(|&sample| to_i16(sample).to_le_bytes()).collect(),
        };
        self.pending.clear();
        let captured = self.clock.from_mono(self.pending_at);
        self.recorder.audio(&payload, Some(captured), &mut self.output)
    }

    fn end(mut self, reason: EndReason) -> Result<(), Failure> {
        self.push_rest()?;
        self.write_pending()?;
        self.recorder.end(reason, &mut self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_complete_when_the_device_gives_something() {
        let periods: Vec<u32> = [120, 240, 960, 1_920, 2_880].map(|record| period_of(record, Rate::HZ_48000)).into();
        assert_eq!(periods, [120, 240, 960, 960, 960]);
    }
}
