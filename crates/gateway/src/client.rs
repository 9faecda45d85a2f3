//! One client: its connection, its seat in the house, and what it hears.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;

use vox_cli::{stop_requested, wait_any};
use vox_dsp::{Levels, mean_power_s16le};
use vox_frame::{Rate, Record};
use vox_room::{Listener, Notice};
use vox_sys::{Clock, monotonic_ns, tcp};

use crate::ear::Ear;
use crate::house::{House, Said};
use crate::speaker::Speaker;

/// How often a client is looked after, in ns.
const TICK_NS: i64 = 20_000_000;

/// What may wait for a client: beyond it the oldest is left out, so that a slow client loses its own audio only.
const MAX_WAITING: usize = 50;

/// Bytes that are read of a client at a time.
const READ: usize = 16 * 1024;

/// How another program speaks.
pub(crate) trait Dialect {
    /// The client is here.
    fn begin(&mut self, desk: &mut Desk) -> io::Result<()>;
    /// It has said something.
    fn handle_bytes(&mut self, desk: &mut Desk, bytes: &[u8]) -> io::Result<()>;
    /// The house says something.
    fn handle_notice(&mut self, desk: &mut Desk, notice: &Notice) -> io::Result<()>;
    /// The others are heard: takes from `samples` (16 bit little endian) what makes whole packets.
    fn handle_samples(&mut self, desk: &mut Desk, samples: &mut Vec<u8>) -> io::Result<()>;
    /// Time has passed.
    fn handle_time(&mut self, desk: &mut Desk, now: i64) -> io::Result<()>;
}

/// What a dialect works with.
pub(crate) struct Desk {
    pub(crate) server: String,
    pub(crate) rate: Rate,
    pub(crate) house: Option<House>,
    ear: Option<Ear>,
    listener: Listener,
    speaker: Option<Speaker>,
    levels: Levels,
    clock: Clock,
    stream: TcpStream,
    /// Whole messages for the client; of the first, `sent` bytes are gone.
    waiting: VecDeque<Vec<u8>>,
    sent: usize,
    pub(crate) dropped: u64,
}

impl Desk {
    pub(crate) fn new(stream: TcpStream, server: String, rate: Rate) -> Self {
        Self {
            server,
            rate,
            house: None,
            ear: None,
            listener: Listener::new(),
            speaker: None,
            levels: Levels::default(),
            clock: Clock::own(),
            stream,
            waiting: VecDeque::new(),
            sent: 0,
            dropped: 0,
        }
    }

    /// Says a line to the house.
    pub(crate) fn say(&mut self, line: &str) {
        if let Some(house) = &mut self.house {
            house.line(line);
        }
    }

    /// Begins to talk and listen in a room: what is said is of that payload type, as `facts` say.
    pub(crate) fn enter(&mut self, room: &str, payload_type: u8, facts: &str) -> io::Result<()> {
        self.leave();
        self.ear = Some(Ear::open(self.rate, &self.clock)?);
        let speaker = Speaker::new(payload_type, self.rate);
        self.say(&format!("VOICE {room}: tcp"));
        self.say(&format!("STREAM {}: {facts}", speaker.ssrc));
        self.speaker = Some(speaker);
        Ok(())
    }

    /// Talks and listens nowhere.
    pub(crate) fn leave(&mut self) {
        if let Some(speaker) = self.speaker.take() {
            self.say(&format!("STREAMEND {}: reason=stopped", speaker.ssrc));
            self.say("VOICE: off");
        }
        self.ear = None;
        self.listener = Listener::new();
    }

    pub(crate) const fn is_in_a_room(&self) -> bool {
        self.speaker.is_some()
    }

    /// Sends what the client says: samples (16 bit little endian) as they were, and the payload that they become.
    pub(crate) fn speak(&mut self, samples: &[u8], payload: &[u8]) {
        let (Some(speaker), Some(house)) = (&mut self.speaker, &mut self.house) else { return };
        let ticks = (samples.len() / 2) as u32;
        let level = self.levels.handle(mean_power_s16le(samples), self.rate.ns(u64::from(ticks)));
        house.packet(speaker.packet(monotonic_ns(), payload, ticks, level));
    }

    /// Sends a whole message to the client, when it takes it; audio may be left out where it does not.
    pub(crate) fn send(&mut self, message: Vec<u8>) {
        self.waiting.push_back(message);
        if self.waiting.len() > MAX_WAITING {
            // The first may be half gone already.
            self.waiting.remove(usize::from(self.sent > 0));
            self.dropped += 1;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(first) = self.waiting.front() {
            let Some(written) = tcp::write(&self.stream, &first[self.sent..])? else { return Ok(()) };
            self.sent += written;
            if self.sent >= first.len() {
                self.waiting.pop_front();
                self.sent = 0;
            }
        }
        Ok(())
    }

    /// Takes a packet of somebody else.
    fn hear(&mut self, packet: &[u8]) -> io::Result<()> {
        let now = self.clock.now();
        let Self { listener, ear, .. } = self;
        let Some(ear) = ear else { return Ok(()) };
        listener.handle_packet(now, now, packet, &mut |record: Record<'_>| ear.handle(&record))
    }

    /// Takes what the house says of streams.
    fn follow(&mut self, notice: &Notice) -> io::Result<()> {
        let now = self.clock.now();
        let Self { listener, ear, .. } = self;
        let Some(ear) = ear else { return Ok(()) };
        match notice {
            Notice::Stream { nick, ssrc, facts } => {
                listener.handle_stream(now, nick, *ssrc, facts.clone(), &mut |record: Record<'_>| ear.handle(&record))
            }
            Notice::StreamEnd { ssrc, rtp, reason } => {
                listener.handle_farewell(now, *ssrc, *rtp, reason);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn expire(&mut self) -> io::Result<()> {
        let now = self.clock.now();
        let Self { listener, ear, .. } = self;
        let Some(ear) = ear else { return Ok(()) };
        listener.handle_timeout(now, &mut |record: Record<'_>| ear.handle(&record))
    }
}

/// Serves a client until it goes, or the house does.
pub(crate) fn serve(desk: &mut Desk, dialect: &mut dyn Dialect) -> io::Result<()> {
    dialect.begin(desk)?;
    let (mut buffer, mut samples) = (vec![0; READ], Vec::new());
    while !stop_requested() {
        desk.flush()?;
        let mut fds = vec![desk.stream.as_fd()];
        fds.extend(desk.house.as_ref().map(House::descriptor));
        fds.extend(desk.ear.as_ref().map(Ear::descriptor));
        let has_house = usize::from(desk.house.is_some());
        let tick = monotonic_ns() + TICK_NS;
        wait_any(&fds, Some(tick)).map_err(|failure| io::Error::other(failure.message))?;
        drop(fds);
        match tcp::read(&desk.stream, &mut buffer)? {
            Some(0) => return Ok(()),
            Some(read) => dialect.handle_bytes(desk, &buffer[..read])?,
            None => {}
        }
        if has_house == 1 {
            listen_to_house(desk, dialect)?;
        }
        if desk.ear.as_ref().is_some_and(is_ready) {
            if let Some(ear) = &mut desk.ear {
                ear.read(&mut samples)?;
            }
            dialect.handle_samples(desk, &mut samples)?;
        }
        desk.expire()?;
        dialect.handle_time(desk, monotonic_ns())?;
    }
    Ok(())
}

fn is_ready(ear: &Ear) -> bool {
    vox_sys::pipe::wait(&[ear.descriptor()], None, Some(0)).is_ok_and(|ready| ready.is_some())
}

fn listen_to_house(desk: &mut Desk, dialect: &mut dyn Dialect) -> io::Result<()> {
    let Some(house) = &mut desk.house else { return Ok(()) };
    house.flush();
    house.read()?;
    while let Some(said) = desk.house.as_mut().and_then(House::next_said) {
        match said {
            Said::Packet(packet) => desk.hear(&packet)?,
            Said::Notice(notice) => {
                desk.follow(&notice)?;
                dialect.handle_notice(desk, &notice)?;
            }
        }
    }
    Ok(())
}
