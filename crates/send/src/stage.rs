//! The loop over stdin: each record to its stream, each stream to its end.

use std::collections::{BTreeMap, VecDeque};

use vox_cli::{Ended, Failure, Flush, Input, Next, Voice, stop_requested, warn};
use vox_frame::{Channels, Codec, Raw, Record, StreamId};
use vox_sys::{Prompt, monotonic_ns};

use crate::args::Args;
use crate::describe::Notice;
use crate::ear::{SharedControl, lock};
use crate::lanes::Lanes;
use crate::payload::PayloadTypes;
use crate::stream::{Clocks, Stream, wait_until};

/// The most streams that are sent at a time; one more is an error.
const MAX_STREAMS: usize = 1024;

/// How long after a stream's last packet its goodbye leaves, in ns: it must not overtake what it follows. (ffmpeg ends
/// with it, and drops what it has not read by then.)
const GOODBYE_NS: i64 = 100_000_000;

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

pub(crate) struct Stage<'a> {
    args: &'a Args,
    lanes: &'a Lanes,
    clocks: Clocks,
    control: SharedControl,
    voice: Voice,
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

impl<'a> Stage<'a> {
    /// A stage that has read nothing.
    pub(crate) fn new(
        args: &'a Args,
        lanes: &'a Lanes,
        clocks: Clocks,
        control: SharedControl,
        voice: Voice,
        notice: Option<Notice>,
    ) -> Self {
        Self {
            args,
            lanes,
            clocks,
            control,
            voice,
            streams: BTreeMap::new(),
            types: PayloadTypes::default(),
            notice,
            ssrc: args.ssrc,
            heard_until: 0,
            leaving: VecDeque::new(),
        }
    }

    /// Sends what comes until the end.
    pub(crate) fn run(&mut self, input: &mut Input) -> Result<Ended, Failure> {
        // Best effort: without it a busy machine makes packets late.
        let mut prompt = Prompt::begin();
        loop {
            prompt.check();
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
                stream.keep(self.lanes, self.args.protection());
                stream.follow(not_before);
                // Back again: no goodbye.
                self.leaving.retain(|(_, ssrc)| *ssrc != stream.ssrc());
                if let Some(notice) = &mut self.notice {
                    notice.add(stream.announced(), self.lanes.again())?;
                }
                self.streams.insert(id, stream);
            }
            Record::Audio(audio) => {
                if let Some(stream) = self.streams.get_mut(&audio.id) {
                    stream.audio(&audio, self.voice.is_muted(), self.lanes)?;
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
            if let Some(again) = self.lanes.again() {
                again.close(ssrc);
            }
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
        let all = core::iter::once(stream.ssrc()).chain(stream.again());
        self.leaving.extend(all.map(|ssrc| (heard_until + goodbye_ns, ssrc)));
        if let Some(notice) = &mut self.notice {
            notice.remove(stream.ssrc());
        }
        Ok(())
    }
}
