//! What goes out: the streams of stdin, each to whom it is for, when it is time.

use std::collections::BTreeMap;

use vox_cli::{Ended, Failure, Input, Next, Wake, stop_requested, wait, warn};
use vox_frame::{Audio, Channels, Codec, Event, Format, Gap, MediaTime, Raw, Record, StreamId};
use vox_mediastream::RATE;
use vox_sys::{Clock, monotonic_ns};

use crate::args::Args;
use crate::hub::{Hub, Route};

/// How far behind its time a paced stream may be before its pace begins anew, in ns: less is made up for.
const STALL_NS: i64 = 100_000_000;

/// How often it is looked whether there is somebody to speak to, in ns.
const LOOK_NS: i64 = 100_000_000;

/// The most streams that are open in the pipe; one more is an error.
const MAX_STREAMS: usize = 1024;

pub(crate) struct Mouth<'a> {
    args: &'a Args,
    hub: &'a Hub,
    clock: Clock,
    streams: BTreeMap<StreamId, Voice>,
    heard_until: i64,
    told_of_two: bool,
}

struct Voice {
    format: Format,
    route: Route,
    /// What one media time is sent at, in ns of CLOCK_MONOTONIC; none for live streams and before the first record.
    pace: Option<(MediaTime, i64)>,
    reached: MediaTime,
}

impl<'a> Mouth<'a> {
    pub(crate) const fn new(args: &'a Args, hub: &'a Hub, clock: Clock) -> Self {
        Self { args, hub, clock, streams: BTreeMap::new(), heard_until: 0, told_of_two: false }
    }

    /// Speaks until the input ends or there is nobody.
    pub(crate) fn run(&mut self, input: &mut Input) -> Result<Ended, Failure> {
        loop {
            self.clock = input.clock();
            let look = self.clock.from_mono(monotonic_ns() + LOOK_NS);
            match input.next_for_sink(Some(look))? {
                Next::Record(raw) => self.record(raw)?,
                Next::Deadline => {}
                Next::End(ended) => {
                    for id in self.streams.keys().copied().collect::<Vec<_>>() {
                        self.end(id);
                    }
                    self.wait_until(self.heard_until)?;
                    return Ok(ended);
                }
            }
            if self.is_over() {
                return Ok(Ended::Stopped);
            }
        }
    }

    fn is_over(&self) -> bool {
        // What is paced could go on for hours after its source has stopped.
        self.hub.is_over() || (stop_requested() && self.streams.values().all(|stream| !stream.format.live))
    }

    fn record(&mut self, raw: Raw<'_>) -> Result<(), Failure> {
        match raw.parse()? {
            Record::Format(id, format) => self.begin(id, format),
            Record::Audio(audio) => self.audio(&audio),
            Record::Gap(gap) => self.gap(&gap),
            Record::Event(event) => {
                self.event(&event);
                Ok(())
            }
            Record::End(end) => {
                self.end(end.id);
                Ok(())
            }
            Record::Unknown(_) => Ok(()),
        }
    }

    fn begin(&mut self, id: StreamId, format: Format) -> Result<(), Failure> {
        self.end(id);
        if self.streams.len() >= MAX_STREAMS {
            return Err(Failure::input(format_args!("more than {MAX_STREAMS} streams are open in one pipe")));
        }
        if format.codec != Codec::Pcmu || format.rate != RATE || format.channels != Channels::MONO {
            return Err(Failure::input(format_args!(
                "stream {id} is {format}, and media streams carry mono mu-law at 8000 Hz: put \
                 `vox-decode --rate 8000 --channels 1 | vox-encode pcmu` before"
            )));
        }
        let route = self.hub.calls().route(id);
        self.streams.insert(id, Voice { format, route, pace: None, reached: MediaTime(0) });
        Ok(())
    }

    /// A stream has ended: what is left of it is said, and another may speak.
    fn end(&mut self, id: StreamId) {
        let Some(voice) = self.streams.remove(&id) else { return };
        self.heard_until = self.heard_until.max(voice.heard_until());
        let now = monotonic_ns();
        for call in self.hub.calls().of(voice.route).filter(|call| call.speaker == Some(id)) {
            call.speaker = None;
            call.session.handle_change();
            call.write(now);
        }
    }

    fn audio(&mut self, audio: &Audio<'_>) -> Result<(), Failure> {
        let Some(voice) = self.streams.get(&audio.id) else { return Ok(()) };
        let (route, live) = (voice.route, voice.format.live);
        if audio.padding || audio.payload.is_empty() {
            self.reach(audio.id, audio.timestamp.plus(u64::from(audio.duration)));
            return Ok(());
        }
        if self.args.max_age.is_stale(live, &audio.times, self.clock.now()) {
            return Ok(());
        }
        self.wait_for(audio.id, audio.timestamp)?;
        self.reach(audio.id, audio.timestamp.plus(u64::from(audio.duration)));
        let now = self.hub.clock.now();
        let mut other = false;
        self.to_those(route, audio.id, |call, is_speaker| {
            other |= !is_speaker;
            if is_speaker {
                call.session.handle_audio(now, audio);
            }
        });
        if other && !std::mem::replace(&mut self.told_of_two, true) {
            warn(format_args!("stream {} is left out where another speaks: put `vox-mix` before", audio.id));
        }
        Ok(())
    }

    fn gap(&mut self, gap: &Gap<'_>) -> Result<(), Failure> {
        let Some(voice) = self.streams.get(&gap.id) else { return Ok(()) };
        let route = voice.route;
        // Nothing is said for so long: where nobody else paces, time passes before what follows.
        self.wait_for(gap.id, gap.timestamp)?;
        self.reach(gap.id, gap.timestamp.plus(gap.duration));
        self.to_those(route, gap.id, |call, is_speaker| {
            if is_speaker {
                call.session.handle_gap();
            }
        });
        Ok(())
    }

    fn event(&mut self, event: &Event) {
        let route = self.streams.get(&event.id).map_or(Route::All, |voice| voice.route);
        self.to_those(route, event.id, |call, _| {
            call.session.handle_event(event);
        });
    }

    /// Does something for each call that is meant: whether the stream is the one that speaks there is told.
    fn to_those(&self, route: Route, id: StreamId, mut what: impl FnMut(&mut crate::connection::Connection, bool)) {
        let (now, mut waits) = (monotonic_ns(), false);
        for call in self.hub.calls().of(route).filter(|call| call.session.is_open()) {
            let is_stream = self.streams.contains_key(&id);
            if call.speaker.is_none() && is_stream {
                call.speaker = Some(id);
                call.session.handle_change();
            }
            let is_speaker = call.speaker == Some(id);
            what(call, is_speaker);
            call.write(now);
            waits |= call.is_waiting();
        }
        if waits {
            self.hub.wake();
        }
    }

    fn reach(&mut self, id: StreamId, reached: MediaTime) {
        if let Some(voice) = self.streams.get_mut(&id) {
            voice.reached = reached;
        }
    }

    /// A stream that the world does not pace is paced here, by media time, on absolute deadlines, from when there is
    /// somebody to hear it.
    fn wait_for(&mut self, id: StreamId, timestamp: MediaTime) -> Result<(), Failure> {
        let hub = self.hub;
        let Some(voice) = self.streams.get_mut(&id).filter(|voice| !voice.format.live) else { return Ok(()) };
        while voice.pace.is_none() && !hub.has_listener() {
            if stop_requested() || hub.is_over() {
                return Ok(());
            }
            wait(None, Some(monotonic_ns() + LOOK_NS))?;
        }
        let now = monotonic_ns();
        let (from, began) = *voice.pace.get_or_insert_with(|| (timestamp, now.max(self.heard_until)));
        let deadline = began.saturating_add(RATE.ns(timestamp.since(from)));
        let behind = now - deadline;
        if behind > STALL_NS {
            // Nothing is dropped and nothing goes out in a burst: the times move on by the stall.
            voice.pace = Some((timestamp, now));
            let (route, ticks) = (voice.route, RATE.ticks(behind));
            for call in hub.calls().of(route).filter(|call| call.speaker == Some(id)) {
                call.session.handle_stall(ticks);
            }
            return Ok(());
        }
        self.wait_until(deadline)
    }

    fn wait_until(&self, deadline: i64) -> Result<(), Failure> {
        loop {
            let now = monotonic_ns();
            if now >= deadline || stop_requested() || self.hub.is_over() {
                return Ok(());
            }
            if wait(None, Some(deadline.min(now + LOOK_NS)))? == Wake::Signal {
                return Ok(());
            }
        }
    }
}

impl Voice {
    /// Until when what was said last is being heard, in ns of CLOCK_MONOTONIC; 0 where the world paces.
    fn heard_until(&self) -> i64 {
        self.pace.map_or(0, |(from, began)| began.saturating_add(RATE.ns(self.reached.since(from))))
    }
}
