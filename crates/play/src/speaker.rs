//! A loudspeaker: paced by its own clock, current by the clock of the streams.

use vox_cli::{Ended, Failure, Input, Next, StatsFile, stop_requested};
use vox_device::{Direction, Output, Wanted};
use vox_dsp::Timeline;
use vox_frame::{Channels, Rate, Stamp};
use vox_sys::{Clock, monotonic_ns, pipe::sharpen_timers};

use crate::args::{Args, Sink};
use crate::mixer::Mixer;
use crate::pace::{Pace, Step};
use crate::place::Placement;

/// How often the loudspeaker is looked after, in ns.
const TICK_NS: i64 = 5_000_000;

/// How far a stream that the loudspeaker paces is read ahead, in ns.
const AHEAD_NS: i64 = 200_000_000;

/// Frames of a callback that are asked for, in ns.
const PERIOD_NS: i64 = 10_000_000;

/// How long the rest is played after a signal, in ns.
const GRACE_NS: i64 = 500_000_000;

/// Plays stdin on a device.
///
/// # Errors
/// When there is no such device or it goes away (4), or stdin is no stream (3).
pub(crate) fn play(args: &Args) -> Result<(), Failure> {
    let mut input = Input::stdin()?;
    let mut stats = args.stats.as_deref().map(StatsFile::create).transpose()?;
    let device = open(args)?;
    input.open()?;
    sharpen_timers();
    let clock = input.clock();
    let channels = device.channels;
    let mut speaker = Speaker {
        clock,
        origin: clock.now(),
        pace: Pace::new(device.output.rate(), args.buffer.ns()),
        output: device.output,
        block: Vec::new(),
    };
    let wanted = crate::mixer::Wanted { rate: Some(speaker.output.rate()), channels: Some(channels) };
    let mut mixer = Mixer::new(wanted, Placement::device(speaker.origin));
    let ended = run(&mut input, &mut mixer, &mut speaker)?;
    speaker.drain(&mut mixer)?;
    if let Some(stats) = &mut stats {
        stats.line(&speaker.summary(&mixer));
    }
    input.verdict(ended, args.strict)
}

/// The loudspeakers, a line each.
pub(crate) fn list(host: &str) -> Result<String, Failure> {
    let devices = vox_device::list(host, Direction::Output).map_err(Failure::device)?;
    if devices.is_empty() {
        return Err(Failure::device(format_args!("{host} has no loudspeaker; {ALTERNATIVES}")));
    }
    let lines = devices.iter().map(|device| {
        let mark = if device.default { " (default)" } else { "" };
        format!("{}\t{}{mark}\n", device.id, device.name)
    });
    Ok(lines.collect())
}

/// What to do without a loudspeaker.
const ALTERNATIVES: &str = "without one: vox-play out.wav, vox-play - (samples on stdout), vox-play null";

struct Opened {
    output: Output,
    channels: Channels,
}

fn open(args: &Args) -> Result<Opened, Failure> {
    let device = match &args.sink {
        Some(Sink::Device(name)) => Some(name.clone()),
        _ => args.device.clone(),
    };
    let rate = args.rate.map_or(Rate::HZ_48000, |rate| rate.0);
    let period = rate.ticks(PERIOD_NS.min(args.buffer.ns())).clamp(16, 1 << 20) as u32;
    // Sound cards that take no mono are common, those that take no stereo are rare.
    let choices = args.channels.map_or_else(|| vec![Channels::STEREO, Channels::MONO], |channels| vec![channels]);
    let mut problem = None;
    for channels in choices {
        let wanted = Wanted { host: args.host.clone(), device: device.clone(), rate, channels, period };
        match Output::open(&wanted) {
            Ok(output) => return Ok(Opened { output, channels }),
            Err(error) => {
                problem.get_or_insert(error);
            }
        }
    }
    let problem = problem.map_or_else(String::new, |error| error.to_string());
    let others = vox_device::list(&args.host, Direction::Output).unwrap_or_default();
    let others: Vec<String> = others.into_iter().map(|device| device.id).take(8).collect();
    let others = if others.is_empty() { String::new() } else { format!("; devices: {}", others.join(", ")) };
    Err(Failure::device(format_args!("{problem}{others}; {ALTERNATIVES}")))
}

fn run(input: &mut Input, mixer: &mut Mixer, speaker: &mut Speaker) -> Result<Ended, Failure> {
    loop {
        let held = speaker.feed(mixer)?;
        if mixer.has_unpaced() && held > AHEAD_NS {
            if stop_requested() {
                return Ok(Ended::Stopped);
            }
            vox_cli::wait(None, Some(monotonic_ns() + TICK_NS))?;
            continue;
        }
        let deadline = speaker.clock.now().plus(TICK_NS);
        let raw = match input.next_for_sink(Some(deadline))? {
            Next::Record(raw) => raw,
            Next::Deadline => continue,
            Next::End(ended) => return Ok(ended),
        };
        let mut late = 0;
        match raw.parse() {
            Ok(record) => mixer.handle(&record, speaker.clock.now(), |part| late += part.frames),
            Err(error) => return Ok(input.parse_failed(error)),
        }
        mixer.tally.late_samples += late;
    }
}

struct Speaker {
    clock: Clock,
    /// The time that frame 0 of the timeline stands for.
    origin: Stamp,
    pace: Pace,
    output: Output,
    block: Vec<f32>,
}

impl Speaker {
    /// Gives the loudspeaker what it needs by now. Gives the time, in ns, that lies ready behind it.
    fn feed(&mut self, mixer: &mut Mixer) -> Result<i64, Failure> {
        self.output.check().map_err(Failure::device)?;
        let paced = !mixer.has_unpaced();
        let timeline = mixer.timeline_or_default();
        self.pace.observe(self.output.largest_request(), self.output.underruns());
        let wanted = self.pace.target().saturating_sub(self.output.waiting());
        if wanted == 0 {
            return Ok(self.ready(timeline));
        }
        let started = self.output.asked() > 0;
        let elapsed = self.clock.now().since(self.origin);
        let clock = paced.then_some(elapsed);
        let mut dropped = 0;
        self.block.clear();
        match self.pace.step(clock, started, timeline.head(), wanted) {
            Step::Silence(frames) => self.block.resize(frames * timeline.channels().count(), 0.0),
            Step::Play { from, silence } => {
                self.block.resize(silence * timeline.channels().count(), 0.0);
                dropped = timeline.skip_to(from);
                timeline.take(timeline.head() + (wanted - silence.min(wanted)) as i64, &mut self.block);
            }
        }
        let ready = self.ready(timeline);
        self.output.push(&self.block);
        mixer.tally.dropped_samples += dropped;
        Ok(ready)
    }

    fn ready(&self, timeline: &Timeline) -> i64 {
        timeline.rate().ns((timeline.end() - timeline.head()).max(0).unsigned_abs())
    }

    /// Plays what is left.
    fn drain(&mut self, mixer: &mut Mixer) -> Result<(), Failure> {
        let mut late = 0;
        mixer.end_all(|part| late += part.frames);
        mixer.tally.late_samples += late;
        let mut until = None;
        loop {
            let left = self.feed(mixer)?;
            let now = monotonic_ns();
            if stop_requested() && now > *until.get_or_insert(now + GRACE_NS) {
                return Ok(());
            }
            if left == 0 {
                break;
            }
            vox_cli::wait(None, Some(now + TICK_NS))?;
        }
        let waiting = self.output.rate().ns(self.output.waiting() as u64) + self.output.latency_ns();
        let end = monotonic_ns() + waiting.min(GRACE_NS) + TICK_NS;
        while monotonic_ns() < end {
            vox_cli::wait(None, Some(end))?;
        }
        Ok(())
    }

    fn summary(&self, mixer: &Mixer) -> impl serde::Serialize + use<> {
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Summary {
            #[serde(flatten)]
            tally: crate::mixer::Tally,
            /// The ring before the device was empty.
            underruns: u64,
            /// The device itself was.
            xruns: u64,
            /// Output latency in seconds: what waits in the ring, and the device's own delay.
            output_latency: f64,
        }
        let rate = self.output.rate();
        let latency = rate.ns(self.pace.target() as u64) + self.output.latency_ns();
        Summary {
            tally: mixer.tally.clone(),
            underruns: self.output.underruns(),
            xruns: self.output.xruns(),
            output_latency: latency as f64 / 1e9,
        }
    }
}
