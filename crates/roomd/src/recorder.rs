//! The thread that records rooms: to it a room is what it is to any participant, announcements and packets.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use vox_cli::{Failure, note, warn};
use vox_frame::{EndReason, Rate, Stamp};
use vox_record::{Args, FLUSH_NS, Session, sane};
use vox_room::{DeskOrder, Listener, StreamFacts};
use vox_sys::Clock;

use crate::mixers::desk;

/// The name of a recording, as the Peer-to-Peer Communication App has it.
const NAME: &str = "recording_{time}";

/// Packets that may wait for a slow disk; those beyond are missing in the recording.
const MAX_WAITING: usize = 65_536;

/// The recorder, seen from the server.
pub(crate) struct Recorder {
    orders: Option<Sender<DeskOrder>>,
    thread: Option<JoinHandle<()>>,
    waiting: Arc<AtomicUsize>,
    recorded: BTreeSet<u64>,
    /// Places that could not be recorded, and why.
    failures: Receiver<(u64, String)>,
    /// Packets that are missing in recordings.
    pub(crate) dropped: u64,
}

impl Recorder {
    /// Records into folders of `folder`, one a room.
    ///
    /// # Errors
    /// Where the folder cannot be made, or there is no thread.
    pub(crate) fn start(folder: &Path, clock: Clock) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (orders, ordered) = channel();
        let (failed, failures) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (count, folder) = (Arc::clone(&waiting), folder.to_owned());
        let thread = thread::Builder::new().name("recorder".to_owned()).spawn(move || {
            let args = Args::for_room(NAME, Rate::HZ_48000);
            let rooms = BTreeMap::new();
            Work { args: &args, folder, clock, rooms, failed }.run(&ordered, &count);
        })?;
        Ok(Self {
            orders: Some(orders),
            thread: Some(thread),
            waiting,
            recorded: BTreeSet::new(),
            failures,
            dropped: 0,
        })
    }

    /// Hands on what concerns a recording.
    pub(crate) fn order(&mut self, order: &DeskOrder) {
        match order {
            DeskOrder::Packet { desk, .. } => {
                if !self.recorded.contains(desk) {
                    return;
                }
                if self.waiting.load(Ordering::Relaxed) >= MAX_WAITING {
                    self.dropped += 1;
                    return;
                }
                self.waiting.fetch_add(1, Ordering::Relaxed);
            }
            DeskOrder::Record { desk, on: true } => drop(self.recorded.insert(*desk)),
            DeskOrder::Record { desk, on: false } | DeskOrder::Close { desk } => drop(self.recorded.remove(desk)),
            DeskOrder::Hearers { .. } | DeskOrder::Listen { .. } | DeskOrder::Leave { .. } => return,
            DeskOrder::Open { .. } | DeskOrder::Stream { .. } | DeskOrder::End { .. } => {}
        }
        if let Some(orders) = &self.orders {
            // It ends with the server only.
            let _ended = orders.send(order.clone());
        }
    }

    /// A place that cannot be recorded any more, and why.
    pub(crate) fn failure(&self) -> Option<(u64, String)> {
        self.failures.try_recv().ok()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // What was heard last is still written.
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// The thread.
struct Work<'a> {
    args: &'a Args,
    folder: PathBuf,
    clock: Clock,
    rooms: BTreeMap<u64, Room<'a>>,
    failed: Sender<(u64, String)>,
}

/// A place.
struct Room<'a> {
    name: String,
    streams: BTreeMap<u32, (String, StreamFacts)>,
    take: Option<Take<'a>>,
}

/// A recording of it.
struct Take<'a> {
    session: Session<'a>,
    listener: Listener,
}

impl Work<'_> {
    fn run(mut self, orders: &Receiver<DeskOrder>, waiting: &AtomicUsize) {
        let mut flush = self.clock.now().plus(FLUSH_NS);
        loop {
            let left = flush.since(self.clock.now()).max(0).unsigned_abs();
            match orders.recv_timeout(Duration::from_nanos(left)) {
                Ok(order) => {
                    waiting.fetch_sub(usize::from(matches!(order, DeskOrder::Packet { .. })), Ordering::Relaxed);
                    self.handle(order);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = self.clock.now();
            if now >= flush {
                flush = now.plus(FLUSH_NS);
                self.each(|take| take.tick(now));
            }
        }
        self.rooms.values_mut().for_each(|room| room.end());
    }

    fn handle(&mut self, order: DeskOrder) {
        let number = desk(&order);
        let now = self.clock.now();
        if let DeskOrder::Open { place, .. } = order {
            self.rooms.insert(number, Room { name: place, streams: BTreeMap::new(), take: None });
            return;
        }
        let Some(room) = self.rooms.get_mut(&number) else { return };
        let outcome = match order {
            DeskOrder::Record { on: true, .. } => room.begin(self.args, &self.folder, now),
            DeskOrder::Record { on: false, .. } => {
                room.end();
                Ok(())
            }
            DeskOrder::Close { .. } => {
                room.end();
                self.rooms.remove(&number);
                return;
            }
            order => room.handle(now, order),
        };
        if let Err(failure) = outcome {
            self.fail(number, &failure);
        }
    }

    fn each(&mut self, what: impl Fn(&mut Take<'_>) -> Result<(), Failure>) {
        let mut failed = Vec::new();
        for (number, room) in &mut self.rooms {
            if let Some(Err(failure)) = room.take.as_mut().map(&what) {
                failed.push((*number, failure));
            }
        }
        for (number, failure) in failed {
            self.fail(number, &failure);
        }
    }

    fn fail(&mut self, number: u64, failure: &Failure) {
        let Some(room) = self.rooms.get_mut(&number) else { return };
        warn(format_args!("{} is not recorded any more: {}", room.name, failure.message));
        room.end();
        let _server_has_gone = self.failed.send((number, failure.message.clone()));
    }
}

impl<'a> Room<'a> {
    fn begin(&mut self, args: &'a Args, folder: &Path, now: Stamp) -> Result<(), Failure> {
        let own = sane(&self.name.replace('#', ""));
        let folder = folder.join(if own.is_empty() { "room".to_owned() } else { own });
        let mut take = Take { session: Session::new(args, &folder)?, listener: Listener::new() };
        note(format_args!("{} is recorded into {}", self.name, folder.display()));
        for (ssrc, (nick, facts)) in &self.streams {
            take.announce(now, nick, *ssrc, facts)?;
        }
        self.take = Some(take);
        Ok(())
    }

    fn handle(&mut self, now: Stamp, order: DeskOrder) -> Result<(), Failure> {
        match order {
            DeskOrder::Stream { ssrc, nick, facts, .. } => {
                let outcome = self.take.as_mut().map_or(Ok(()), |take| take.announce(now, &nick, ssrc, &facts));
                self.streams.insert(ssrc, (nick, facts));
                outcome
            }
            DeskOrder::End { ssrc, rtp, reason, .. } => {
                self.streams.remove(&ssrc);
                if let Some(take) = &mut self.take {
                    take.listener.handle_farewell(now, ssrc, rtp, &reason);
                }
                Ok(())
            }
            DeskOrder::Packet { arrived, bytes, .. } => {
                let Some(Take { session, listener }) = &mut self.take else { return Ok(()) };
                listener.handle_packet(now, arrived, &bytes, &mut |record| session.handle(&record, now))
            }
            _ => Ok(()),
        }
    }

    /// Ends the recording, where there is one.
    fn end(&mut self) {
        let Some(Take { mut session, mut listener }) = self.take.take() else { return };
        let now = Clock::own().now();
        let told = listener.finish(&EndReason::Stopped, &mut |record| session.handle(&record, now));
        // Every file is ended, whatever went wrong before.
        let finished = session.finish("stopped");
        if let Err(failure) = told.and(finished) {
            warn(format_args!("{}: {}", self.name, failure.message));
        }
    }
}

impl Take<'_> {
    fn announce(&mut self, now: Stamp, nick: &str, ssrc: u32, facts: &StreamFacts) -> Result<(), Failure> {
        let Self { session, listener } = self;
        listener.handle_stream(now, nick, ssrc, facts.clone(), &mut |record| session.handle(&record, now))
    }

    fn tick(&mut self, now: Stamp) -> Result<(), Failure> {
        let Self { session, listener } = self;
        listener.handle_timeout(now, &mut |record| session.handle(&record, now))?;
        session.tick(now)
    }
}
