//! Sends the streams of a pipe as RTP over UDP or TCP.

mod args;
mod cover;
mod describe;
mod ear;
mod lanes;
mod payload;
mod queue;
mod report;
mod stream;
mod tcp;
mod train;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use args::Args;
use describe::Notice;
use ear::{Ear, Listening, SharedControl, lock};
use lanes::Lanes;
use payload::PayloadTypes;
use report::Reporter;
use stream::{Clocks, Stream, random, wait_until};
use vox_cli::{Ended, Failure, Flush, Input, Next, Output, Wake, stop_requested, wait, warn};
use vox_frame::{Channels, Codec, Raw, Record, StreamId};
use vox_rtp::{Control, ControlConfig, PayloadMap, Receiver, ReceiverConfig};
use vox_sys::{Clock, go_before_others, monotonic_ns, pipe};

/// The most streams that are sent at a time; one more is an error.
const MAX_STREAMS: usize = 1024;

/// How long after a stream's last packet its goodbye leaves, in ns: it must not overtake what it follows. (ffmpeg ends
/// with it, and drops what it has not read by then.)
const GOODBYE_NS: i64 = 100_000_000;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| send(&args))
}

fn send(args: &Args) -> Result<(), Failure> {
    let lanes = Arc::new(Lanes::open(args)?);
    let mut input = Input::stdin()?;
    let clock = Clock::own();
    let control = Control::new(clock.now(), reporting(args));
    let control = Arc::new(Mutex::new(control));
    let mut listening = listen(args, &lanes, &control, clock)?;
    let outcome = input.open().and_then(|_| {
        pipe::sharpen_timers();
        // Best effort: without it a busy machine makes packets late.
        let _allowed = go_before_others();
        let mut stage = Stage {
            args,
            lanes: &lanes,
            clocks: Clocks { stream: input.clock(), own: clock },
            control: SharedControl::clone(&control),
            streams: BTreeMap::new(),
            types: PayloadTypes::default(),
            notice: Notice::new(args, lanes.first_path(), u64::from(random()))?,
            ssrc: args.ssrc,
            heard_until: 0,
            leaving: VecDeque::new(),
        };
        stage.run(&mut input)
    });
    lanes.depart_now();
    if args.duplex && outcome.is_ok() && !stop_requested() {
        listening.said_all();
        while wait(Some(listening.ended().as_fd()), None)? == Wake::Deadline {}
    }
    let heard = listening.finish();
    input.verdict(outcome?, args.strict).and(heard)
}

fn reporting(args: &Args) -> ControlConfig {
    ControlConfig {
        ssrc: random(),
        // RFC 7022: a name of this run only, which tells nothing of the person.
        cname: format!("{:08x}{:08x}", random(), random()),
        bandwidth: args.bandwidth,
        interval_ns: args.rtcp_interval.ns(),
        answers: false,
        seed: u64::from(random()),
    }
}

/// Begins to hear what comes back.
fn listen(args: &Args, lanes: &Arc<Lanes>, control: &SharedControl, clock: Clock) -> Result<Listening, Failure> {
    let mut map = PayloadMap::standard();
    for (number, format) in args.map.iter().chain(&args.hear) {
        map.insert(*number, format.clone());
    }
    let config = ReceiverConfig {
        map,
        extensions: args.extensions(),
        max_age_ns: args.max_age.ns(),
        seed: u64::from(random()) << 32 | u64::from(random()),
        ..ReceiverConfig::default()
    };
    let ear = Ear {
        lanes: Arc::clone(lanes),
        control: SharedControl::clone(control),
        receiver: Receiver::new(config),
        clock,
        reporter: Reporter::new(args)?,
        output: args.duplex.then(|| Output::stdout(clock.opening(), false)).transpose()?,
        linger_ns: args.linger.ns(),
    };
    ear.spawn()
}

/// What waits to be sent leaves before the input is waited for.
struct Waiting<'a>(&'a Lanes);

impl Flush for Waiting<'_> {
    fn flush(&mut self) -> Result<(), Failure> {
        self.0.depart_now();
        Ok(())
    }

    fn is_pending(&self) -> bool {
        self.0.is_waiting()
    }
}

struct Stage<'a> {
    args: &'a Args,
    lanes: &'a Lanes,
    clocks: Clocks,
    control: SharedControl,
    streams: BTreeMap<StreamId, Stream>,
    types: PayloadTypes,
    notice: Option<Notice>,
    /// The SSRC asked for, until the first stream has taken it.
    ssrc: Option<u32>,
    /// Until when the paced streams that have ended are heard, in ns of CLOCK_MONOTONIC.
    heard_until: i64,
    /// Streams that have ended, and when their goodbye is due, in ns of CLOCK_MONOTONIC.
    leaving: VecDeque<(i64, u32)>,
}

impl Stage<'_> {
    fn run(&mut self, input: &mut Input) -> Result<Ended, Failure> {
        loop {
            let goodbye = self.leaving.front().map(|(due, _)| self.clocks.stream.from_mono(*due));
            match input.next(goodbye, &mut Waiting(self.lanes))? {
                Next::Record(raw) => self.record(raw)?,
                Next::Deadline => self.say_goodbyes(),
                Next::End(ended) => {
                    for stream in std::mem::take(&mut self.streams).into_values() {
                        self.end(stream)?;
                    }
                    self.lanes.finish()?;
                    // What was sent last is still being heard.
                    let goodbye = self.leaving.iter().map(|(due, _)| *due).max().unwrap_or(0);
                    if !stop_requested() {
                        wait_until(self.heard_until.max(goodbye))?;
                    }
                    return Ok(ended);
                }
            }
            if stop_requested() && self.streams.values().all(|stream| !stream.is_live()) {
                // What is paced could go on for hours after its source has stopped.
                return Ok(Ended::Stopped);
            }
        }
    }

    fn record(&mut self, raw: Raw<'_>) -> Result<(), Failure> {
        match raw.parse()? {
            Record::Format(id, format) => {
                if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&id) {
                    return Err(Failure::input(format_args!("more than {MAX_STREAMS} streams are open in one pipe")));
                }
                if let Some(stream) = self.streams.remove(&id) {
                    self.end(stream)?;
                }
                if self.args.compat.is_some() {
                    if format.codec != Codec::Pcmu || format.channels != Channels::MONO {
                        return Err(Failure::input(format_args!(
                            "stream {id} is {format}, and the TCP streamer speaks mono mu-law: put `vox-encode pcmu` before"
                        )));
                    }
                    if !self.streams.is_empty() {
                        warn(format_args!("stream {id} is left out: the TCP streamer hears one; put `vox-mix` before"));
                        return Ok(());
                    }
                }
                self.lanes.set_rate(format.rate);
                // One recording after the other: the next is heard where the one before ends.
                let follows = self.streams.values().all(Stream::is_live);
                let not_before = if follows { self.heard_until } else { 0 };
                let ssrc = self.ssrc.take();
                let mut stream =
                    Stream::open(id, &format, ssrc, &mut self.types, self.args, self.clocks, &self.control)?;
                stream.follow(not_before);
                // Back again: no goodbye.
                self.leaving.retain(|(_, ssrc)| *ssrc != stream.ssrc());
                if let Some(notice) = &mut self.notice {
                    notice.add(stream.announced())?;
                }
                self.streams.insert(id, stream);
            }
            Record::Audio(audio) => {
                if let Some(stream) = self.streams.get_mut(&audio.id) {
                    stream.audio(&audio, self.lanes)?;
                }
            }
            Record::Gap(gap) => {
                if let Some(stream) = self.streams.get_mut(&gap.id) {
                    stream.gap(&gap);
                }
            }
            Record::End(end) => {
                if let Some(stream) = self.streams.remove(&end.id) {
                    self.end(stream)?;
                }
            }
            Record::Event(event) => {
                if let Some(stream) = self.streams.get_mut(&event.id) {
                    stream.event(&event);
                }
            }
            Record::Unknown(_) => {}
        }
        Ok(())
    }

    /// Says goodbye for the streams whose last packet was heard by now.
    fn say_goodbyes(&mut self) {
        while let Some(&(_, ssrc)) = self.leaving.front().filter(|(due, _)| *due <= monotonic_ns()) {
            self.leaving.pop_front();
            if let Some(goodbye) = lock(&self.control).remove_stream(ssrc) {
                self.lanes.send_rtcp(&goodbye);
            }
        }
    }

    /// A stream has ended: nobody waits for it but who comes after it.
    fn end(&mut self, mut stream: Stream) -> Result<(), Failure> {
        stream.finish(self.lanes)?;
        self.heard_until = self.heard_until.max(stream.heard_until().unwrap_or(0));
        let heard_until = stream.heard_until().unwrap_or(0).max(monotonic_ns());
        // Who sent nothing says no goodbye.
        let goodbye_ns = if lock(&self.control).has_sent(stream.ssrc()) { GOODBYE_NS } else { 0 };
        self.leaving.push_back((heard_until + goodbye_ns, stream.ssrc()));
        if let Some(notice) = &mut self.notice {
            notice.remove(stream.ssrc());
        }
        Ok(())
    }
}
