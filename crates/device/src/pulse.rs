//! A loudspeaker by PulseAudio's own protocol, without a thread of its own.
//!
//! ALSA's plugin brings a thread that is woken for every answer, request and acknowledgement of the sound server: three or
//! four times for each record. Here whoever plays writes to the server's socket himself, and reads what it has said
//! meanwhile when he is awake anyway.

pub(crate) mod place;
mod wire;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vox_frame::Stamp;
use vox_sys::{Clock, monotonic_ns};

use crate::allowance::Allowance;
use crate::health::Upset;
use crate::open::{Refusal, Stream};
use crate::output::{Drain, Heard};
use crate::reserve::{Look, Measure, Stock};
use crate::select::Shape;
use wire::{Message, Said, Strange, Values, Wanted};

/// How long a server may take to answer before anything is played.
const ANSWERS: Duration = Duration::from_secs(2);

/// How much the server has room for, in ms: it is written to when there is something.
const ROOM_MS: u32 = 100;

/// The most that waits to be sent to a server that takes nothing, in bytes.
const MOST: usize = 1 << 20;

/// How often it is asked where it is, in ns: at first, and once its times are believed, after the third number.
const ASK_NS: i64 = 100_000_000;
const FIRST_ASK_NS: i64 = 15_000_000;
const SETTLES_NS: i64 = 100_000_000;

/// The server is late to tell where it is, never early: of two of its times the earlier one counts, but for a drift of so many
/// parts of a second in a second, one in that many, and unless it is this far away, in ns, for so many times in a row.
const DRIFT: i64 = 1_000;
const JUMP_NS: i64 = 5_000_000;
const JUMPS: u32 = 3;

/// How far a time that the server tells may lie beside those between which it was told, in ns: its clock is the time of
/// day, which may have been set meanwhile.
const BESIDE_NS: i64 = 1_000_000;

/// So much silence more than is needed is written first, in ns: nobody knows yet how much the server takes at once.
const START_NS: i64 = 15_000_000;

/// The part of a second that the server may take ahead, at its start and when it was late itself: one in that many.
const AHEAD: usize = 4;

/// A stream to the server.
pub(crate) struct Player {
    shape: Shape,
    drain: Drain,
    upset: Box<dyn Fn(Upset) + Send>,
    link: Link,
    stock: Stock,
    allowance: Allowance,
    block: Vec<f32>,
    /// Until when nothing has to be done, in ns.
    until: i64,
}

/// A connection with one stream.
pub(crate) struct Link {
    socket: UnixStream,
    channel: u32,
    number: u32,
    measure: Measure,
    channels: usize,
    /// Frames that the server has room for.
    room: i64,
    /// What waits to be sent, and what was received and is no whole message yet.
    out: Vec<u8>,
    received: Vec<u8>,
    /// Frames that were written.
    written: i64,
    origin: Option<Origin>,
    /// Since when it plays without a break, in ns, and which frame it began with.
    began: Option<(i64, i64)>,
    /// Since when the server tells times, in ns.
    told: Option<i64>,
    /// The question that is open, and when it was asked last, in ns.
    asked: Option<u32>,
    asked_at: i64,
}

/// When frame 0 was heard, had it played without a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    /// When, and when that was found, in ns.
    at: i64,
    found: i64,
    /// How often in a row it was found to be far later than that.
    later: u32,
}

impl Origin {
    /// It was found to be `at` just now, or earlier.
    const fn follow(self, at: i64, now: i64) -> Self {
        let late = at - self.at;
        if late > JUMP_NS && self.later + 1 < JUMPS {
            return Self { later: self.later + 1, ..self };
        }
        let most = self.at + (now - self.found) / DRIFT;
        let at = if late > JUMP_NS || at < most { at } else { most };
        Self { at, found: now, later: 0 }
    }
}

/// What the server has said.
#[derive(Debug, Default)]
struct News {
    /// How often the stream has run empty.
    empty: u32,
    /// At a time, in ns, so many frames were on their way to the air.
    beyond: Option<(i64, i64)>,
}

impl Stream for Player {
    fn wake(&mut self) {
        match self.turn() {
            Ok(()) => {}
            Err(upset) => {
                self.until = monotonic_ns() + ASK_NS;
                (self.upset)(upset);
            }
        }
    }

    fn wants_turn_by(&self) -> Option<i64> {
        Some(self.until)
    }

    fn ask_for(&mut self, period: u32) -> bool {
        let shape = Shape { period, ..self.shape };
        // Where the server does not answer any more, that shows at the next turn.
        let Ok(link) = Link::open(&shape) else { return false };
        (self.shape, self.link) = (shape, link);
        self.until = 0;
        (self.upset)(Upset::Anew);
        true
    }
}

impl Player {
    /// Plays what comes out of `drain`.
    pub(crate) fn new(link: Link, shape: &Shape, drain: Drain, upset: impl Fn(Upset) + Send + 'static) -> Self {
        let allowance = Allowance::new(link.measure.hz, link.room as usize + link.measure.hz as usize / AHEAD);
        let (upset, block) = (Box::new(upset), Vec::new());
        Self { shape: *shape, drain, upset, link, stock: Stock::default(), allowance, block, until: 0 }
    }

    /// Writes what there is, and says by when the next turn must be.
    fn turn(&mut self) -> Result<(), Upset> {
        let now = monotonic_ns();
        if self.link.expects_news(self.stock.beyond(), now) {
            let news = self.link.receive(now)?;
            if let Some((at, frames)) = news.beyond {
                self.stock.note_beyond(at, frames);
            }
            for _ in 0..news.empty {
                (self.upset)(Upset::Xrun);
                self.stock.ran_empty(now);
            }
        }
        let measure = self.link.measure;
        loop {
            let look = self.link.look(self.stock.beyond());
            let low = self.stock.low(measure, look.at);
            let frames = self.stock.wanted(measure, &look, low, self.drain.waiting());
            if frames == 0 || !self.allowance.allows(look.at, frames) {
                // Where it takes nothing, what it says next counts.
                let least = if look.room == 0 { FIRST_ASK_NS } else { 0 };
                self.until = self.stock.rests_until(measure, &look, low).max(look.at + least);
                break;
            }
            self.block.clear();
            self.block.resize(frames * self.link.channels, 0.0);
            let ahead = measure.ns(low + self.stock.beyond());
            self.drain.give(&mut self.block, look.heard.map(|at| Heard { at, ahead }));
            self.link.write(&self.block, look.at);
            self.allowance.take(frames);
        }
        self.link.ask_where(now);
        self.link.flush()
    }
}

impl Link {
    /// Connects to the server; nothing plays before something is written.
    ///
    /// # Errors
    /// Where there is no server that would take it.
    pub(crate) fn open(shape: &Shape) -> Result<Self, Refusal> {
        let refused = |what: &str| Refusal::new(format!("the sound server {what}"));
        let path = place::socket().ok_or_else(|| refused("is not here"))?;
        let socket = UnixStream::connect(path).map_err(|error| refused(&format!("does not answer: {error}")))?;
        let sink = std::env::var("PULSE_SINK").ok().filter(|sink| !sink.is_empty());
        Self::begin(socket, shape, sink.as_deref())
    }

    /// Begins a stream over a connection, to that sink or the default one.
    fn begin(socket: UnixStream, shape: &Shape, sink: Option<&str>) -> Result<Self, Refusal> {
        let refused = |what: &str| Refusal::new(format!("the sound server {what}"));
        let settings = socket.set_read_timeout(Some(ANSWERS)).and_then(|()| socket.set_write_timeout(Some(ANSWERS)));
        settings.map_err(|error| refused(&error.to_string()))?;
        let channels = shape.channels.count();
        let measure = Measure { hz: shape.rate.hz(), period: i64::from(shape.period) };
        let bytes = |frames: u32| frames.saturating_mul(4 * channels as u32);
        let room = (shape.rate.hz() * ROOM_MS / 1_000).max(shape.period.saturating_mul(8));
        let mut link = Self {
            socket,
            channel: 0,
            number: 0,
            measure,
            channels,
            room: i64::from(room),
            out: Vec::new(),
            received: Vec::new(),
            written: 0,
            origin: None,
            began: None,
            told: None,
            asked: None,
            asked_at: 0,
        };
        link.exchange(|number| Message::auth(number, &place::cookie()), |_| Ok(()))?;
        let name = place::program();
        link.exchange(|number| Message::name(number, &name), |_| Ok(()))?;
        let wanted = Wanted {
            hz: measure.hz,
            channels: channels as u8,
            sink,
            room: bytes(room),
            start: bytes(shape.period),
            period: bytes(shape.period),
        };
        link.channel = link.exchange(|number| Message::stream(number, &name, &wanted), |values| values.word())?;
        link.socket.set_nonblocking(true).map_err(|error| refused(&error.to_string()))?;
        Ok(link)
    }

    /// Asks, and waits for the answer.
    fn exchange<T>(
        &mut self,
        ask: impl FnOnce(u32) -> Message,
        read: impl Fn(&mut Values<'_>) -> Result<T, Strange>,
    ) -> Result<T, Refusal> {
        let refused = |what: String| Refusal::new(format!("the sound server {what}"));
        self.number += 1;
        ask(self.number).send(&mut self.out);
        self.socket.write_all(&self.out).map_err(|error| refused(format!("hangs up: {error}")))?;
        self.out.clear();
        loop {
            let mut rest = self.received.as_slice();
            let said = wire::next(&mut rest).map_err(|Strange| refused("speaks another language".to_owned()))?;
            let answer = match said {
                Some(Said::Reply(number, mut values)) if number == self.number => Some(read(&mut values)),
                Some(Said::Error(number, why)) if number == self.number => {
                    return Err(refused(format!("refuses (its error {why})")));
                }
                Some(_) => None,
                None => {
                    let mut piece = [0; 4096];
                    match self.socket.read(&mut piece) {
                        Ok(0) => return Err(refused("hangs up".to_owned())),
                        Ok(read) => self.received.extend(&piece[..read]),
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(error) => return Err(refused(format!("does not answer: {error}"))),
                    }
                    continue;
                }
            };
            let left = rest.len();
            self.received.drain(..self.received.len() - left);
            if let Some(answer) = answer {
                return answer.map_err(|Strange| refused("speaks another language".to_owned()));
            }
        }
    }

    /// Whether it is worth reading what the server says: the answer to a question, or that it has run empty. That it has room
    /// again, it says each time something is written; that may lie there until the next question, a tenth of a second.
    fn expects_news(&self, beyond: i64, now: i64) -> bool {
        !self.is_settled(now) || self.asked.is_some() || self.look(beyond).level <= 0
    }

    /// Whether the server has told its times for so long that they are believed.
    fn is_settled(&self, now: i64) -> bool {
        self.told.is_some_and(|told| now - told > SETTLES_NS)
    }

    /// Reads what the server has said by now.
    fn receive(&mut self, now: i64) -> Result<News, Upset> {
        let mut piece = [0; 4096];
        loop {
            match self.socket.read(&mut piece) {
                Ok(0) => return Err(gone("has hung up")),
                Ok(read) => {
                    self.received.extend(&piece[..read]);
                    if read < piece.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(gone(&format!("has hung up: {error}"))),
            }
        }
        let received = std::mem::take(&mut self.received);
        let (mut rest, mut news) = (received.as_slice(), News::default());
        while let Some(said) = wire::next(&mut rest).map_err(|Strange| gone(FOREIGN))? {
            match said {
                Said::Reply(number, values) if self.asked == Some(number) => {
                    self.asked = None;
                    let place = Place::read(values).map_err(|Strange| gone(FOREIGN))?;
                    news.beyond = self.learn(&place, now).or(news.beyond);
                }
                Said::Error(number, _) if self.asked == Some(number) => self.asked = None,
                Said::Underflow => {
                    // An answer that is under way tells of a time that is over.
                    (self.origin, self.told, self.asked) = (None, None, None);
                    self.began = Some((now, self.written));
                    news.empty += 1;
                }
                Said::Killed => return Err(gone("has ended the stream")),
                Said::Reply(..) | Said::Error(..) | Said::Other => {}
            }
        }
        let left = rest.len();
        self.received = received;
        self.received.drain(..self.received.len() - left);
        Ok(news)
    }

    /// Learns when what is written is heard. Gives how many frames were on their way to the air, and when.
    fn learn(&mut self, place: &Place, now: i64) -> Option<(i64, i64)> {
        let at = Clock::own().mono_ns(Stamp::from_ns(place.told_at));
        let between = (self.asked_at - BESIDE_NS..=now + BESIDE_NS).contains(&at);
        if !place.playing || !between {
            return None;
        }
        let frame = place.read / (size_of::<f32>() * self.channels) as i64;
        let origin = at + place.beyond - self.measure.ns(frame);
        let anew = Origin { at: origin, found: now, later: 0 };
        self.origin = Some(self.origin.map_or(anew, |before| before.follow(origin, now)));
        self.told.get_or_insert(now);
        Some((at, self.measure.frames(place.beyond)))
    }

    /// Where the stream is, when `beyond` frames are on their way from the server to the air.
    fn look(&self, beyond: i64) -> Look {
        let at = monotonic_ns();
        let Some(origin) = self.origin else {
            // As if it had begun with what was written first, and taken a period at once; or nothing at all, which is the
            // most that can be written until it tells.
            let Some((began, frame)) = self.began else {
                return Look { at, room: self.room, level: -self.measure.frames(START_NS), heard: None };
            };
            let unheard = self.written - frame;
            let taken = if unheard > 0 { self.measure.frames(at - began) + self.measure.period } else { 0 };
            return Look { at, room: (self.room - unheard).max(0), level: unheard - taken, heard: None };
        };
        let heard_at = origin.at + self.measure.ns(self.written);
        let level = self.measure.frames(heard_at - at) - beyond;
        Look { at, room: (self.room - level.max(0)).max(0), level, heard: self.is_settled(at).then_some(heard_at) }
    }

    fn write(&mut self, samples: &[f32], now: i64) {
        self.began.get_or_insert((now, self.written));
        self.written += (samples.len() / self.channels) as i64;
        wire::send_samples(self.channel, samples, &mut self.out);
    }

    /// Asks where the stream is, where it is time for that.
    fn ask_where(&mut self, now: i64) {
        let often = if self.is_settled(now) { ASK_NS } else { FIRST_ASK_NS };
        if self.began.is_none() || now - self.asked_at < often {
            return;
        }
        self.number = self.number.wrapping_add(1);
        (self.asked, self.asked_at) = (Some(self.number), now);
        Message::latency(self.number, self.channel).send(&mut self.out);
    }

    /// Sends what the server takes.
    fn flush(&mut self) -> Result<(), Upset> {
        let mut done = 0;
        while done < self.out.len() {
            match self.socket.write(&self.out[done..]) {
                Ok(written) => done += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(gone(&format!("has hung up: {error}"))),
            }
        }
        self.out.drain(..done);
        if self.out.len() > MOST { Err(gone("takes nothing any more")) } else { Ok(()) }
    }
}

/// What a server says that speaks something else.
const FOREIGN: &str = "speaks another language";

fn gone(what: &str) -> Upset {
    Upset::Gone(format!("the sound server {what}"))
}

/// Where a stream was.
struct Place {
    /// When that was, by the time of day, in ns.
    told_at: i64,
    playing: bool,
    /// What the server had taken, in bytes, and how long the last of it takes until it is heard, in ns.
    read: i64,
    beyond: i64,
}

impl Place {
    fn read(mut values: Values<'_>) -> Result<Self, Strange> {
        let beyond = values.long()?.saturating_mul(1_000);
        let (_of_a_source, playing, _asked_at) = (values.long()?, values.flag()?, values.time()?);
        let (seconds, us) = values.time()?;
        let (_written, read) = (values.long()?, values.long()?);
        Ok(Self { told_at: i64::from(seconds) * 1_000_000_000 + i64::from(us) * 1_000, playing, read, beyond })
    }
}

#[cfg(test)]
mod tests;
