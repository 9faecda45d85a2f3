//! A loudspeaker: paced by its own clock, current by the clock of the streams.

use vox_cli::value::Millis;
use vox_cli::{Ended, Failure, Input, Next, StatsFile, note, stop_requested};
use vox_device::{Direction, Output, Wanted};
use vox_frame::{Channels, Rate};
use vox_sys::{Prompt, go_before_others, monotonic_ns, pipe::sharpen_timers};

use crate::args::{Args, Sink};
use crate::feed::Feed;
use crate::mixer::Mixer;
use crate::period::Period;
use crate::place::Placement;
use crate::reference::Reference;
use crate::volume::Volume;

/// How often a loudspeaker that paces a file is looked after, in ns.
const TICK_NS: i64 = 5_000_000;

/// How often one that follows the world is looked after when nothing comes, in ns.
const LOOK_NS: i64 = 20_000_000;

/// How far a stream that the loudspeaker paces is read ahead, in ns.
const AHEAD_NS: i64 = 200_000_000;

/// How often statistics are written, in ns.
const STATS_NS: i64 = 1_000_000_000;

/// A record that is due is here within that time, in ns: a stage is woken, takes it up, looks at it and hands it on. Whoever
/// looks before is woken twice.
const HANDED_ON_NS: i64 = 800_000;

/// Of streams with shorter records, and where less time than that is left for what comes late, nothing is spared, in ns.
const SHORT_NS: i64 = 15_000_000;
const PATIENT_NS: i64 = 4_000_000;

/// How long the rest is played after a signal, in ns.
const GRACE_NS: i64 = 500_000_000;

/// Plays stdin on a device.
///
/// # Errors
/// When there is no such device or it goes away (4), or stdin is no stream (3).
pub(crate) fn play(args: &Args) -> Result<(), Failure> {
    let mut input = Input::stdin()?;
    let stats = args.stats.as_deref().map(StatsFile::create).transpose()?;
    if !args.no_realtime {
        // The device's threads inherit this. Best effort: without it they are only later now and then.
        let _allowed = go_before_others();
    }
    let device = open(args)?;
    input.open()?;
    sharpen_timers();
    let prompt = (!args.no_realtime).then(Prompt::begin);
    let (channels, volume) = (device.channels, Volume::new(args.voice.open()?));
    let clock = input.clock();
    let reference = args.reference.as_deref().map(|fifo| Reference::open(fifo, device.output.rate(), channels, clock));
    let feed = Feed::new(device.output, channels, volume, clock, args.buffer.ns())
        .with_period(device.period)
        .with_reference(reference.transpose()?);
    let wanted = crate::mixer::Wanted { rate: Some(feed.rate()), channels: Some(channels), decoder: args.decoder() };
    let mut mixer = Mixer::new(wanted, Placement::device(feed.origin()));
    let spares = args.buffer.ns() >= PATIENT_NS;
    let mut speaker = Speaker { feed, spares, next: None, prompt, stats, stats_at: monotonic_ns() + STATS_NS };
    let ended = speaker.run(&mut input, &mut mixer)?;
    speaker.drain(&mut mixer)?;
    if let Some(stats) = &mut speaker.stats {
        stats.line(&speaker.feed.summary("summary", &mixer.tally));
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
    period: Period,
    channels: Channels,
}

fn open(args: &Args) -> Result<Opened, Failure> {
    let device = match &args.sink {
        Some(Sink::Device(name)) => Some(name.clone()),
        _ => args.device.clone(),
    };
    let rate = args.rate.map_or(Rate::HZ_48000, |rate| rate.0);
    let period = Period::new(args.period.map(Millis::ns));
    // Sound cards that take no mono are common, those that take no stereo are rare.
    let choices = args.channels.map_or_else(|| vec![Channels::STEREO, Channels::MONO], |channels| vec![channels]);
    let mut problem = None;
    for channels in choices {
        let (host, device) = (args.host.clone(), device.clone());
        let (period_frames, realtime) = (period.frames(rate), !args.no_realtime);
        let wanted = Wanted { host, device, rate, channels, period: period_frames, realtime };
        match Output::open(&wanted) {
            Ok(output) => return Ok(Opened { output, period, channels }),
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

struct Speaker {
    feed: Feed,
    /// Whether it may take a little longer until a record is noticed.
    spares: bool,
    /// When the next record is here, in ns of CLOCK_MONOTONIC; none where nobody knows. Nothing is looked at before: whoever
    /// writes would have to wake this stage, which costs both more than to wake by the clock.
    next: Option<i64>,
    /// Goes first; none where nobody wants that.
    prompt: Option<Prompt>,
    stats: Option<StatsFile>,
    /// When statistics are due, in ns of CLOCK_MONOTONIC.
    stats_at: i64,
}

impl Speaker {
    fn run(&mut self, input: &mut Input, mixer: &mut Mixer) -> Result<Ended, Failure> {
        loop {
            self.feed(mixer)?;
            if mixer.has_unpaced() && self.feed.ready(mixer) > AHEAD_NS {
                if stop_requested() {
                    return Ok(Ended::Stopped);
                }
                vox_cli::wait(None, Some(self.by(monotonic_ns() + TICK_NS)))?;
                continue;
            }
            let now = monotonic_ns();
            let tick = now + if mixer.has_unpaced() { TICK_NS } else { LOOK_NS };
            let until = self.by(self.feed.waits_until(mixer).map_or(tick, |until| until.min(tick)));
            if let Some(prompt) = &mut self.prompt {
                prompt.check();
            }
            let clock = input.clock();
            if let Some(next) = self.next.filter(|next| *next > now) {
                input.rest_until(clock.from_mono(next.min(until)));
            }
            let raw = match input.next_for_sink(Some(clock.from_mono(until)))? {
                Next::Record(raw) => raw,
                Next::Deadline => continue,
                Next::End(ended) => return Ok(ended),
            };
            let record = match raw.parse() {
                Ok(record) => record,
                Err(error) => return Ok(input.parse_failed(error)),
            };
            let mut late = 0;
            mixer.handle(&record, clock.now(), |part| late += part.frames);
            mixer.tally.late_samples += late;
            self.feed.hear(mixer, &record);
            self.next =
                mixer.next_due(&record, SHORT_NS).filter(|_| self.spares).map(|due| clock.mono_ns(due) + HANDED_ON_NS);
        }
    }

    /// Gives the loudspeaker what it needs by now.
    fn feed(&mut self, mixer: &mut Mixer) -> Result<(), Failure> {
        let cut = self.feed.feed(mixer).map_err(Failure::device)?;
        if cut > 0 {
            note(format_args!("{} ms were cut to be current again", cut / 1_000_000));
        }
        let now = monotonic_ns();
        if let Some(stats) = self.stats.as_mut().filter(|_| now >= self.stats_at) {
            stats.line(&self.feed.summary("playout", &mixer.tally));
            self.stats_at = now + STATS_NS;
        }
        Ok(())
    }

    /// `until`, or earlier where the device wants it.
    fn by(&self, until: i64) -> i64 {
        self.feed.wants_turn_by().map_or(until, |turn| turn.min(until))
    }

    /// Plays what is left.
    fn drain(&mut self, mixer: &mut Mixer) -> Result<(), Failure> {
        let mut late = 0;
        mixer.end_all(|part| late += part.frames);
        mixer.tally.late_samples += late;
        let mut until = None;
        loop {
            self.feed(mixer)?;
            let now = monotonic_ns();
            if stop_requested() && now > *until.get_or_insert(now + GRACE_NS) {
                return Ok(());
            }
            if self.feed.ready(mixer) == 0 {
                break;
            }
            vox_cli::wait(None, Some(self.by(now + TICK_NS)))?;
        }
        self.feed.finish();
        let end = monotonic_ns() + self.feed.unplayed().min(GRACE_NS) + TICK_NS;
        while monotonic_ns() < end {
            vox_cli::wait(None, Some(self.by(end)))?;
            self.feed.turn();
        }
        Ok(())
    }
}
