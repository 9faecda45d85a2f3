//! What comes back: reports on what is sent and, both ways over one socket, the other side's audio. It has a thread of
//! its own, so that listening never delays what is sent.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use vox_cli::{Failure, Output};
use vox_frame::{EndReason, Record, Stamp};
use vox_repair::{MendConfig, Mender, Origin, PATIENCE_NS, RequestConfig, append_request};
use vox_rtp::{Control, Fact, Outgoing, PayloadMap, Protocol, Receiver, ReceiverConfig, read_control};
use vox_sys::{Clock, monotonic_ns, pipe};

use crate::args::Args;
use crate::lane::Received;
use crate::lanes::Lanes;
use crate::report::Reporter;
use crate::stream::random;

/// The largest datagram there is, in bytes.
const MAX_DATAGRAM: usize = 65_536;

/// Datagrams that are read from one socket before the others have their turn.
const BURST: usize = 64;

/// Addresses that are remembered as those of receivers.
const MAX_PROVEN: usize = 1024;

/// The RTCP of this sender, as both threads use it.
pub(crate) type SharedControl = Arc<Mutex<Control>>;

/// The lock; a thread that died inside leaves counters behind that are good enough.
pub(crate) fn lock(control: &Mutex<Control>) -> MutexGuard<'_, Control> {
    control.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread works on.
pub(crate) struct Ear {
    lanes: Arc<Lanes>,
    control: SharedControl,
    receiver: Receiver,
    mender: Mender<SocketAddr>,
    clock: Clock,
    reporter: Reporter,
    /// Where what is heard goes; none where nothing is listened to but reports.
    output: Option<Output>,
    /// How long the other side may say nothing after this side has ended, in ns.
    linger_ns: i64,
    /// Whether the first address that sends a valid stream is the other side's, whatever was said.
    latch: bool,
    /// How often the other side has moved.
    moves: u64,
    /// Who has answered a sender report of ours, and so is where it says it is: only they are sent anything again.
    proven: BTreeSet<SocketAddr>,
}

/// The thread, from outside.
pub(crate) struct Listening {
    thread: JoinHandle<Result<(), Failure>>,
    /// Closed to say that this side has nothing more to send.
    said_all: Option<OwnedFd>,
    /// Closed to end it now.
    stop: Option<OwnedFd>,
    /// At its end when the thread has ended.
    ended: OwnedFd,
}

impl Listening {
    /// What is readable once the thread has ended.
    pub(crate) fn ended(&self) -> &OwnedFd {
        &self.ended
    }

    /// This side has nothing more to send: listening ends when the other side has nothing more either.
    pub(crate) fn said_all(&mut self) {
        self.said_all = None;
    }

    /// Says goodbye and ends.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.stop = None;
        self.thread.join().unwrap_or_else(|_| Err(Failure::failed("the listening thread has died")))
    }
}

impl Ear {
    /// An ear that has heard nothing.
    pub(crate) fn new(
        args: &Args,
        lanes: Arc<Lanes>,
        control: SharedControl,
        clock: Clock,
        reporter: Reporter,
        output: Option<Output>,
    ) -> Self {
        let mut map = PayloadMap::standard();
        for (number, format) in args.map.iter().chain(&args.hear) {
            map.insert(*number, format.clone());
        }
        let max_sources = usize::from(args.max_sources);
        let request = args.nack.map(|useful| RequestConfig { patience_ns: PATIENCE_NS, useful_ns: useful.ns() });
        let mending = MendConfig { request, ..MendConfig::of_session(&mut map, None, max_sources) };
        let config = ReceiverConfig {
            map,
            extensions: args.extensions(),
            max_sources,
            max_age_ns: args.max_age.ns(),
            follow: args.follow,
            latch: args.latch,
            seed: u64::from(random()) << 32 | u64::from(random()),
            ..ReceiverConfig::default()
        };
        Self {
            lanes,
            control,
            receiver: Receiver::new(config),
            mender: Mender::new(mending),
            clock,
            reporter,
            output,
            linger_ns: args.linger.ns(),
            latch: args.latch,
            moves: 0,
            proven: BTreeSet::new(),
        }
    }

    /// Begins to listen.
    pub(crate) fn spawn(self) -> Result<Listening, Failure> {
        let pipe =
            || rustix::pipe::pipe().map_err(|error| Failure::failed(format_args!("cannot open a pipe: {error}")));
        let ((said_all_end, said_all), (stop_end, stop), (ended, ended_end)) = (pipe()?, pipe()?, pipe()?);
        let thread = std::thread::Builder::new()
            .name("ear".to_owned())
            .spawn(move || {
                let outcome = self.run(&stop_end, said_all_end);
                drop(ended_end);
                if outcome.is_err() {
                    // The other thread waits for its input: it ends as if it were asked to.
                    let _gone = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
                }
                outcome
            })
            .map_err(|error| Failure::failed(format_args!("cannot start a thread: {error}")))?;
        Ok(Listening { thread, said_all: Some(said_all), stop: Some(stop), ended })
    }

    fn run(mut self, stop: &OwnedFd, said_all: OwnedFd) -> Result<(), Failure> {
        let lanes = Arc::clone(&self.lanes);
        let mut said_all = Some(said_all);
        let mut last_heard = 0;
        let mut turn = 0;
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            if let Some(output) = &mut self.output {
                output.flush()?;
            }
            let mut sockets = lanes.descriptors(self.output.is_some());
            let datagrams = sockets.len();
            let streams = lanes.tcp_streams();
            sockets.extend(streams.iter().map(AsFd::as_fd));
            let count = sockets.len();
            turn %= count.max(1);
            sockets.rotate_left(turn);
            sockets.push(stop.as_fd());
            sockets.extend(said_all.iter().map(AsFd::as_fd));
            let idle = said_all.is_none().then(|| last_heard + self.linger_ns);
            let due = self.clock.mono_ns(self.next_deadline());
            let asking = self.mender.next_deadline().map(|stamp| self.clock.mono_ns(stamp));
            let deadline = [idle, asking].into_iter().flatten().fold(due, i64::min);
            let ready = pipe::wait(&sockets, None, Some(deadline))
                .map_err(|error| Failure::failed(format_args!("cannot wait: {error}")))?;
            match ready {
                Some(index) if index < count => {
                    let socket = (index + turn) % count;
                    turn = socket + 1;
                    if socket >= datagrams {
                        self.read_streams()?;
                    } else if self.read(socket, &mut buffer)? {
                        last_heard = monotonic_ns();
                    }
                }
                Some(index) if index == count => return self.finish(&EndReason::Stopped),
                Some(_) => {
                    said_all = None;
                    last_heard = monotonic_ns();
                }
                None => {}
            }
            if monotonic_ns() >= due {
                self.report()?;
            }
            self.ask();
            let over = self.output.is_none() || monotonic_ns() >= last_heard + self.linger_ns;
            if said_all.is_none() && over {
                return self.finish(&EndReason::Timeout);
            }
        }
    }

    fn next_deadline(&self) -> Stamp {
        let control = lock(&self.control).next_deadline();
        self.receiver.next_deadline().map_or(control, |receiver| receiver.min(control))
    }

    /// Reads what is there; says whether audio was.
    fn read(&mut self, socket: usize, buffer: &mut [u8]) -> Result<bool, Failure> {
        let before = self.receiver.stats().packets_received;
        for _ in 0..BURST {
            let received = self
                .lanes
                .receive(socket, self.output.is_some(), &self.clock, buffer)
                .map_err(|error| Failure::network(format_args!("cannot receive: {error}")))?;
            match received {
                None => break,
                Some(Err(_stranger)) => self.reporter.strangers += 1,
                Some(Ok(received)) => self.handle(&received, buffer)?,
            }
        }
        Ok(self.receiver.stats().packets_received > before)
    }

    /// Reads what came back over TCP.
    fn read_streams(&mut self) -> Result<(), Failure> {
        let reports = self.lanes.take_reports(&self.clock);
        reports.iter().try_for_each(|(received, packet)| self.handle(received, packet))
    }

    fn handle(&mut self, received: &Received, buffer: &[u8]) -> Result<(), Failure> {
        let bytes = &buffer[..received.length];
        if received.protocol != Protocol::Rtcp {
            return self.handle_media(received, bytes);
        }
        if !self.lanes.has_reports() {
            return Ok(());
        }
        if !received.from_peer {
            self.reporter.strangers += 1;
            return Ok(());
        }
        let Ok(facts) = read_control(bytes) else {
            self.receiver.count_malformed();
            return Ok(());
        };
        self.handle_facts(received, bytes.len(), &facts);
        if self.proven.contains(&received.route.to) {
            self.lanes.handle_requests(received.route, bytes, &self.control, self.clock.now());
        }
        Ok(())
    }

    fn handle_media(&mut self, received: &Received, bytes: &[u8]) -> Result<(), Failure> {
        let Self { output: Some(output), receiver, mender, .. } = self else { return Ok(()) };
        let ssrc = bytes.get(8..12).and_then(|ssrc| ssrc.try_into().ok()).map(u32::from_be_bytes);
        if ssrc.is_some_and(|ssrc| lock(&self.control).is_own(ssrc)) {
            self.reporter.reflected += 1;
            return Ok(());
        }
        // Somebody else may turn out to be the other side: whoever comes first, or who goes on with its stream.
        let may_be = if self.latch { receiver.latched().is_none() } else { receiver.has_heard(0, ssrc.unwrap_or(0)) };
        if !received.from_peer && !may_be {
            self.reporter.strangers += 1;
            return Ok(());
        }
        let (now, from) = (self.clock.now(), received.route.to);
        let mut outcome = Ok(());
        mender.handle_packet(now, from, bytes, |bytes, origin| {
            let mut write = |record: Record<'_>| output.write(&record);
            if outcome.is_ok() {
                outcome = match origin {
                    Origin::Received => receiver.handle_datagram(now, 0, from, received.arrived, bytes, &mut write),
                    Origin::Recovered => receiver.handle_recovered(now, 0, from, bytes, &mut write),
                };
            }
        });
        let moved = std::mem::replace(&mut self.moves, receiver.stats().moves) != receiver.stats().moves;
        if !received.from_peer && (moved || receiver.latched() == Some(from)) {
            self.lanes.set_peer(received.lane, from);
        }
        outcome
    }

    /// Asks for packets that are missing, with an echo of the other side's own report.
    fn ask(&mut self) {
        let now = self.clock.now();
        let round_trip = self.reporter.round_trip_ns();
        for (_, ssrc, numbers) in self.mender.poll_requests(now, round_trip) {
            let Some((route, block)) = self.receiver.echo(now, 0, ssrc) else { continue };
            let (by, mut packet) = lock(&self.control).early(now, block);
            append_request(by, ssrc, &numbers, &mut packet);
            if self.receiver.may_answer(route, packet.len()) {
                self.lanes.send_rtcp(&Outgoing { to: Some(route), packet });
            }
        }
    }

    fn handle_facts(&mut self, received: &Received, bytes: usize, facts: &[Fact]) {
        let now = self.clock.now();
        self.receiver.handle_control(now, 0, received.route, received.arrived, bytes, facts);
        let mut reports = Vec::new();
        {
            let mut control = lock(&self.control);
            control.handle_facts(now, received.arrived, bytes, facts);
            reports.extend(std::iter::from_fn(|| control.poll_report()));
        }
        for report in reports {
            if report.round_trip_ns.is_some() && self.proven.len() < MAX_PROVEN {
                self.proven.insert(received.route.to);
            }
            self.reporter.tell(now, received.route.to, &report);
        }
    }

    /// What is due without a datagram.
    fn report(&mut self) -> Result<(), Failure> {
        let now = self.clock.now();
        if let Some(output) = &mut self.output {
            self.receiver.handle_timeout(now, &mut |record| output.write(&record))?;
        }
        // The thread that sends may have read what came over TCP.
        self.read_streams()?;
        let packets = lock(&self.control).poll(now, &mut self.receiver);
        packets.iter().for_each(|outgoing| self.lanes.send_rtcp(outgoing));
        Ok(())
    }

    fn finish(&mut self, reason: &EndReason) -> Result<(), Failure> {
        let goodbyes = lock(&self.control).finish(self.clock.now(), &mut self.receiver);
        goodbyes.iter().for_each(|outgoing| self.lanes.send_rtcp(outgoing));
        self.reporter.summarise(self.lanes.summary(), self.receiver.stats(), &self.mender.stats());
        let Some(output) = &mut self.output else { return Ok(()) };
        self.receiver.finish(reason, &mut |record| output.write(&record))?;
        output.flush()
    }
}
