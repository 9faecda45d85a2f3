//! What comes back: reports on what is sent and, both ways over one socket, the other side's audio. It has a thread of
//! its own, so that listening never delays what is sent.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use vox_cli::{Failure, Output};
use vox_frame::{EndReason, Record};
use vox_rtp::{Control, Fact, Protocol, Receiver, read_control};
use vox_sys::{Clock, monotonic_ns, pipe};

use crate::lanes::{Lanes, Received};
use crate::report::Reporter;

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
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) control: SharedControl,
    pub(crate) receiver: Receiver,
    pub(crate) clock: Clock,
    pub(crate) reporter: Reporter,
    /// Where what is heard goes; none where nothing is listened to but reports.
    pub(crate) output: Option<Output>,
    /// How long the other side may say nothing after this side has ended, in ns.
    pub(crate) linger_ns: i64,
    /// Who has answered a sender report of ours, and so is where it says it is: only they are sent anything again.
    pub(crate) proven: BTreeSet<SocketAddr>,
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
            let count = sockets.len();
            turn %= count.max(1);
            sockets.rotate_left(turn);
            sockets.push(stop.as_fd());
            sockets.extend(said_all.iter().map(AsFd::as_fd));
            let idle = said_all.is_none().then(|| last_heard + self.linger_ns);
            let due = self.clock.mono_ns(self.next_deadline());
            let deadline = idle.map_or(due, |idle| idle.min(due));
            let ready = pipe::wait(&sockets, None, Some(deadline))
                .map_err(|error| Failure::failed(format_args!("cannot wait: {error}")))?;
            match ready {
                Some(index) if index < count => {
                    let socket = (index + turn) % count;
                    turn = socket + 1;
                    if self.read(socket, &mut buffer)? {
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
            let over = self.output.is_none() || monotonic_ns() >= last_heard + self.linger_ns;
            if said_all.is_none() && over {
                return self.finish(&EndReason::Timeout);
            }
        }
    }

    fn next_deadline(&self) -> vox_frame::Stamp {
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

    fn handle(&mut self, received: &Received, buffer: &[u8]) -> Result<(), Failure> {
        let bytes = &buffer[..received.length];
        let now = self.clock.now();
        if received.protocol != Protocol::Rtcp {
            let Some(output) = &mut self.output else { return Ok(()) };
            let reflected = bytes.get(8..12).and_then(|ssrc| ssrc.try_into().ok()).map(u32::from_be_bytes);
            if reflected.is_some_and(|ssrc| lock(&self.control).is_own(ssrc)) {
                self.reporter.reflected += 1;
                return Ok(());
            }
            let mut write = |record: Record<'_>| output.write(&record);
            return self.receiver.handle_datagram(now, 0, received.route.to, received.arrived, bytes, &mut write);
        }
        if !self.lanes.has_reports() {
            return Ok(());
        }
        let Ok(facts) = read_control(bytes) else {
            self.receiver.count_malformed();
            return Ok(());
        };
        self.handle_facts(received, bytes.len(), &facts);
        if self.proven.contains(&received.route.to) {
            self.lanes.handle_requests(received.route, bytes, &self.control, now);
        }
        Ok(())
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
        let packets = lock(&self.control).poll(now, &mut self.receiver);
        packets.iter().for_each(|outgoing| self.lanes.send_rtcp(outgoing));
        Ok(())
    }

    fn finish(&mut self, reason: &EndReason) -> Result<(), Failure> {
        let goodbyes = lock(&self.control).finish(self.clock.now(), &mut self.receiver);
        goodbyes.iter().for_each(|outgoing| self.lanes.send_rtcp(outgoing));
        self.reporter.summarise(self.lanes.summary(), self.receiver.stats());
        let Some(output) = &mut self.output else { return Ok(()) };
        self.receiver.finish(reason, &mut |record| output.write(&record))?;
        output.flush()
    }
}
