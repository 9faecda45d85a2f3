//! One side of one call.

use std::collections::VecDeque;

use serde_json::{Map, Value};
use vox_frame::{Audio, End, EndReason, Event, MediaTime, Record, Stamp, StreamId, Times};
use vox_rtp::{TELEPHONE_EVENT, code_of};

use crate::message::{CallerTexts, Malformed, Message, Start, Track, bot};
use crate::mouth::{Mouth, Piece};
use crate::player::Player;
use crate::timed::Timed;
use crate::{Media, format};

/// The most messages that wait to be polled; audio beyond it is dropped.
const MAX_WAITING: usize = 1024;

/// The names of events in the pipe.
const MARK: &str = "mark";
const CLEAR: &str = "clear";
const JOINED: &str = "joined";

/// Which side of a call one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// It has the telephone, and connects.
    Caller {
        /// The name of the stream, which the other side's messages carry.
        stream: String,
        /// The name of the call.
        call: String,
        /// What else the bot is told, names and texts.
        parameters: Map<String, Value>,
        /// How long what begins after a silence is held back, in ns, so that what follows it may come late.
        delay: i64,
    },
    /// It answers.
    Bot,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The text.
    pub text: String,
    /// Whether it is audio, which may be left out where the peer is too slow.
    pub is_audio: bool,
}

/// What became of what the peer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Messages with audio that came.
    pub media: u64,
    /// Samples that came.
    pub samples: u64,
    /// Messages with audio that were sent.
    pub media_sent: u64,
    /// Messages that are none: no JSON, no base64, no name.
    pub malformed: u64,
    /// Messages that belong to the other side, to no call, or to a call that is over.
    pub unexpected: u64,
    /// Messages whose time had been told already.
    pub late: u64,
    /// Messages whose time is nowhere near the one before.
    pub jumps: u64,
    /// Messages with audio beyond what may wait to be played.
    pub overflows: u64,
}

enum Role {
    Caller { texts: CallerTexts, player: Player },
    Bot { call: Option<Call>, ids: [StreamId; 2] },
}

/// A call as a bot knows it.
struct Call {
    start: Start,
    tracks: [Option<Timed>; 2],
}

/// One side of one call; see the crate's page.
pub struct Session {
    role: Role,
    mouth: Mouth,
    waiting: VecDeque<Outgoing>,
    counters: Counters,
    refusal: Option<String>,
    over: bool,
    ended: bool,
}

impl Session {
    /// A call that begins `now`. The streams that are heard have those ids: that of the telephone's voice, or of what it
    /// is told, and that of the other track, where a bot hears both.
    pub fn new<E>(
        now: Stamp,
        side: Side,
        ids: [StreamId; 2],
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut waiting = VecDeque::new();
        let role = match side {
            Side::Bot => Role::Bot { call: None, ids },
            Side::Caller { stream, call, parameters, delay } => {
                let mut texts = CallerTexts { stream, call, parameters, sequence: 0 };
                for text in [CallerTexts::connected(), texts.start()] {
                    waiting.push_back(Outgoing { text, is_audio: false });
                }
                let mut format = format();
                (format.live, format.label) = (true, Some(Track::Outbound.name().to_owned()));
                out(Record::Format(ids[0], format))?;
                Role::Caller { texts, player: Player::new(ids[0], now, delay) }
            }
        };
        let (mouth, counters) = (Mouth::new(now), Counters::default());
        Ok(Self { role, mouth, waiting, counters, refusal: None, over: false, ended: false })
    }

    /// Takes a text message of the peer.
    ///
    /// # Errors
    /// What `out` says.
    pub fn handle_text<E>(
        &mut self,
        now: Stamp,
        text: &str,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let message = match Message::parse(text) {
            Ok(message) if !self.over => message,
            Ok(_) => {
                self.counters.unexpected += 1;
                return Ok(());
            }
            Err(Malformed::Json | Malformed::Payload | Malformed::Name) => {
                self.counters.malformed += 1;
                return Ok(());
            }
        };
        if let Message::Media(media) = &message {
            self.counters.media += 1;
            self.counters.samples += media.payload.len() as u64;
        }
        match &self.role {
            Role::Caller { .. } => self.handle_as_caller(now, message, out),
            Role::Bot { .. } => self.handle_as_bot(now, message, out),
        }
    }

    /// Counts a message that is no text.
    pub const fn handle_binary(&mut self) {
        self.counters.malformed += 1;
    }

    /// Lets out what is due.
    ///
    /// # Errors
    /// What `out` says.
    pub fn handle_timeout<E>(
        &mut self,
        now: Stamp,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Role::Caller { texts, player } = &mut self.role else { return Ok(()) };
        while let Some(name) = player.poll(now, out)? {
            let answer = Outgoing { text: texts.mark(&name), is_audio: false };
            push(&mut self.waiting, answer);
            out(Record::Event(event(player.id(), player.position(), now, MARK, "name", name.into())))?;
        }
        Ok(())
    }

    /// When to come back; none while that depends on the peer.
    pub fn next_deadline(&self) -> Option<Stamp> {
        match &self.role {
            Role::Caller { player, .. } => player.due(),
            Role::Bot { .. } => None,
        }
    }

    /// Whether audio is taken: a bot's only from the beginning of a call on.
    pub const fn is_open(&self) -> bool {
        let has_call = match &self.role {
            Role::Caller { .. } => true,
            Role::Bot { call, .. } => call.is_some(),
        };
        has_call && !self.over
    }

    /// Whether the peer has said that the call is over, or was refused.
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// Whether nothing waits to be played.
    pub fn is_played(&self) -> bool {
        match &self.role {
            Role::Caller { player, .. } => player.is_idle(),
            Role::Bot { .. } => true,
        }
    }

    /// Why the call cannot be, once, for people.
    pub const fn take_refusal(&mut self) -> Option<String> {
        self.refusal.take()
    }

    /// What became of what the peer said.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The name of the call's stream, once it has begun.
    pub fn stream(&self) -> Option<&str> {
        match &self.role {
            Role::Caller { texts, .. } => Some(&texts.stream),
            Role::Bot { call, .. } => call.as_ref().map(|call| call.start.stream.as_str()),
        }
    }

    /// Whether a stream of the pipe that has that id is one that is heard here.
    pub fn hears(&self, id: StreamId) -> bool {
        match &self.role {
            Role::Caller { player, .. } => player.id() == id,
            Role::Bot { ids, .. } => ids.contains(&id),
        }
    }

    /// Another stream is to be said, or the one that was said has ended.
    pub fn handle_change(&mut self) {
        let Self { role, mouth, waiting, counters, .. } = self;
        mouth.begin(&mut |piece| say(role, waiting, counters, piece));
    }

    /// Says audio of the stream of the pipe that is said; where it is the first of it, from `now` on.
    pub fn handle_audio(&mut self, now: Stamp, audio: &Audio<'_>) {
        if !self.is_open() {
            return;
        }
        let Self { role, mouth, waiting, counters, .. } = self;
        mouth.handle(now, audio.timestamp, audio.payload, &mut |piece| say(role, waiting, counters, piece));
    }

    /// A span without audio follows: what is left is said.
    pub fn handle_gap(&mut self) {
        let Self { role, mouth, waiting, counters, .. } = self;
        mouth.flush(&mut |piece| say(role, waiting, counters, piece));
    }

    /// The stream that is said was held up by so many ticks.
    pub fn handle_stall(&mut self, ticks: u64) {
        self.mouth.handle_stall(ticks);
    }

    /// Says an event of the pipe, in its turn: `mark` and `clear` to a telephone, a pressed key to a bot; false where it is
    /// none of them.
    pub fn handle_event(&mut self, event: &Event) -> bool {
        if !self.is_open() {
            return false;
        }
        let text = |name: &str| event.details.get(name).and_then(Value::as_str);
        let said = match (&mut self.role, event.event.as_str()) {
            (Role::Bot { call: Some(call), .. }, MARK) => text("name").map(|name| bot::mark(&call.start.stream, name)),
            (Role::Bot { call: Some(call), .. }, CLEAR) => Some(bot::clear(&call.start.stream)),
            (Role::Caller { texts, .. }, TELEPHONE_EVENT) => text("key").map(|key| texts.dtmf(key)),
            _ => None,
        };
        let Some(text) = said else { return false };
        // What was said before it goes before it.
        self.handle_gap();
        push(&mut self.waiting, Outgoing { text, is_audio: false });
        true
    }

    /// The next message to send.
    pub fn poll_message(&mut self) -> Option<Outgoing> {
        self.waiting.pop_front()
    }

    /// Says that the call is over; a bot only ends the connection.
    pub fn hang_up(&mut self) {
        self.handle_gap();
        if let (Role::Caller { texts, .. }, false) = (&mut self.role, self.over) {
            let text = texts.stop();
            push(&mut self.waiting, Outgoing { text, is_audio: false });
        }
        self.over = true;
    }

    /// The connection is gone: what still waits to be played may be, until it [`is_played`](Self::is_played).
    pub const fn handle_closed(&mut self) {
        self.over = true;
    }

    /// Ends the streams.
    ///
    /// # Errors
    /// What `out` says.
    pub fn finish<E>(
        &mut self,
        now: Stamp,
        reason: &EndReason,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.over = true;
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let end = |id, timestamp| End { id, timestamp, times: Times::default(), reason: reason.clone() };
        match &mut self.role {
            Role::Caller { player, .. } => {
                let (_, _) = player.clear();
                player.fall_silent(now, out)?;
                out(Record::End(end(player.id(), player.position())))
            }
            Role::Bot { call, .. } => {
                let tracks = call.iter().flat_map(|call| call.tracks.iter().flatten());
                tracks.map(|track| end(track.id(), track.end())).try_for_each(|end| out(Record::End(end)))
            }
        }
    }

    fn handle_as_caller<E>(
        &mut self,
        now: Stamp,
        message: Message,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Role::Caller { texts, player } = &mut self.role else { return Ok(()) };
        match message {
            Message::Media(media) => player.handle_audio(now, &media.payload, &mut self.counters, out)?,
            Message::Mark(name) => self.counters.overflows += u64::from(!player.handle_mark(name)),
            Message::Clear => {
                let (dropped, marks) = player.clear();
                // What is forgotten is as good as heard to whoever waits for it.
                for name in marks {
                    let text = texts.mark(&name);
                    push(&mut self.waiting, Outgoing { text, is_audio: false });
                }
                let ms = dropped * 1000 / u64::from(crate::RATE.hz());
                out(Record::Event(event(player.id(), player.position(), now, CLEAR, "dropped_ms", ms.into())))?;
            }
            Message::Dtmf(key) => {
                if let Some(told) = key_pressed(player.id(), player.position(), now, &key, &mut self.counters) {
                    out(Record::Event(told))?;
                }
            }
            Message::Stop => self.over = true,
            Message::Other => {}
            Message::Connected | Message::Start(_) => self.counters.unexpected += 1,
        }
        self.handle_timeout(now, out)
    }

    fn handle_as_bot<E>(
        &mut self,
        now: Stamp,
        message: Message,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Role::Bot { call, ids } = &mut self.role else { return Ok(()) };
        let Some(call) = call else {
            return match message {
                Message::Start(start) => self.begin(now, start, out),
                Message::Connected | Message::Other => Ok(()),
                _ => {
                    self.counters.unexpected += 1;
                    Ok(())
                }
            };
        };
        let (id, end) = call.tracks[0].as_ref().map_or((ids[0], MediaTime(0)), |track| (track.id(), track.end()));
        match message {
            Message::Media(media) => call.hear(now, &media, ids[1], &mut self.counters, out),
            Message::Mark(name) => out(Record::Event(event(id, end, now, MARK, "name", name.into()))),
            Message::Dtmf(key) => match key_pressed(id, end, now, &key, &mut self.counters) {
                Some(told) => out(Record::Event(told)),
                None => Ok(()),
            },
            Message::Stop => self.finish(now, &EndReason::Bye, out),
            Message::Clear | Message::Connected | Message::Start(_) => {
                self.counters.unexpected += 1;
                Ok(())
            }
            Message::Other => Ok(()),
        }
    }

    fn begin<E>(
        &mut self,
        now: Stamp,
        start: Start,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Role::Bot { call, ids } = &mut self.role else { return Ok(()) };
        if !start.is_telephony {
            self.refusal = Some(format!("the audio of {} is {}, not mu-law at 8000 Hz", start.stream, start.format));
            self.over = true;
            return Ok(());
        }
        let mut details = Map::new();
        details.insert("stream".to_owned(), start.stream.clone().into());
        if let Some(call) = &start.call {
            details.insert("call".to_owned(), call.clone().into());
        }
        details.insert("parameters".to_owned(), Value::Object(start.parameters.clone()));
        let call = call.insert(Call { start, tracks: [None, None] });
        call.open(now, Track::Inbound, ids[0], out)?;
        let (event, times) = (JOINED.to_owned(), Times { arrived: Some(now), ..Times::default() });
        out(Record::Event(Event { id: ids[0], timestamp: MediaTime(0), times, event, details }))
    }
}

impl Call {
    fn open<E>(
        &mut self,
        now: Stamp,
        track: Track,
        id: StreamId,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<&mut Timed, E> {
        let at = usize::from(track == Track::Outbound);
        if self.tracks[at].is_none() {
            let name = self.start.call.as_ref().unwrap_or(&self.start.stream);
            let label = if at == 0 { name.clone() } else { format!("{name}-{}", track.name()) };
            let mut format = format();
            (format.live, format.label) = (true, Some(label));
            out(Record::Format(id, format))?;
        }
        Ok(self.tracks[at].get_or_insert_with(|| Timed::new(id, now)))
    }

    fn hear<E>(
        &mut self,
        now: Stamp,
        media: &Media,
        other: StreamId,
        counters: &mut Counters,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(now, media.track, other, out)?.handle(now, media, counters, out)
    }
}

/// A piece of audio becomes a message.
fn say(role: &mut Role, waiting: &mut VecDeque<Outgoing>, counters: &mut Counters, piece: Piece) {
    let text = match role {
        Role::Caller { texts, .. } => texts.media(piece.chunk, piece.timestamp_ms, &piece.payload),
        Role::Bot { call: Some(call), .. } => bot::media(&call.start.stream, &piece.payload),
        Role::Bot { call: None, .. } => return,
    };
    counters.media_sent += 1;
    push(waiting, Outgoing { text, is_audio: true });
}

fn push(waiting: &mut VecDeque<Outgoing>, message: Outgoing) {
    if waiting.len() < MAX_WAITING {
        waiting.push_back(message);
    }
}

fn key_pressed(id: StreamId, at: MediaTime, now: Stamp, key: &str, counters: &mut Counters) -> Option<Event> {
    if code_of(key).is_none() {
        counters.malformed += 1;
        return None;
    }
    Some(event(id, at, now, TELEPHONE_EVENT, "key", key.into()))
}

fn event(id: StreamId, timestamp: MediaTime, now: Stamp, name: &str, field: &str, value: Value) -> Event {
    let mut details = Map::new();
    details.insert(field.to_owned(), value);
    let times = Times { arrived: Some(now), ..Times::default() };
    Event { id, timestamp, times, event: name.to_owned(), details }
}
