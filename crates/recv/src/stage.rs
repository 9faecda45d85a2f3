//! The loop over the sockets: datagrams in, records out, reports back.

use std::collections::BTreeSet;

use vox_cli::{Failure, Output, StatsFile, Wake, stop_requested, wait_any};
use vox_frame::{EndReason, Record};
use vox_repair::{Origin, append_request};
use vox_rtp::{Outgoing, Protocol, Session};
use vox_sys::{Clock, go_before_others, monotonic_ns};

use crate::args::Args;
use crate::ports::Ports;
use crate::told;
use crate::undo::Undo;

/// Datagrams that are read before what they gave is written: bounds what a flood can hold back.
const BURST: usize = 64;

/// Above this many datagrams in a window, in ns, those that follow are waited for together. Woken for each of them, a
/// stage that goes before others pays several times as much for the change of process as for the packet.
const CROWD: u32 = 100;
const WINDOW_NS: i64 = 20_000_000;

/// How long they are waited for, in ns: the kernel has told when each arrived.
const REST_NS: i64 = 1_000_000;

pub(crate) struct Stage<'a> {
    pub(crate) args: &'a Args,
    pub(crate) session: Session,
    pub(crate) ports: Ports,
    pub(crate) undo: Undo,
    pub(crate) output: Output,
    pub(crate) clock: Clock,
    pub(crate) stats: Option<StatsFile>,
    /// Payload types that a warning was given for.
    pub(crate) told: BTreeSet<u8>,
    pub(crate) crowd: Crowd,
}

/// Whether so much comes that it is better waited for together.
#[derive(Default)]
pub(crate) struct Crowd {
    /// When the window began, in ns, and the datagrams in it.
    window: (i64, u32),
    there: bool,
}

impl Crowd {
    fn count(&mut self) {
        self.window.1 += 1;
    }

    fn is_there(&mut self) -> bool {
        let (began, count) = self.window;
        let now = monotonic_ns();
        if now - began >= WINDOW_NS {
            // A window in which nothing came was longer.
            self.there = count > CROWD && now - began < 2 * WINDOW_NS;
            self.window = (now, 0);
        }
        self.there
    }
}

impl Stage<'_> {
    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        // Best effort: without it a busy machine makes packets late.
        let _allowed = go_before_others();
        let began = monotonic_ns();
        let until = self.args.duration.map(|duration| began.saturating_add(duration.ns()));
        let mut last_heard = None;
        loop {
            self.output.flush()?;
            let idle = self.args.idle_at(began, last_heard);
            let session = self.clock.mono_ns(self.session.next_deadline());
            let asking = self.undo.next_deadline().map(|stamp| self.clock.mono_ns(stamp));
            let deadline = [until, idle, Some(session), asking].into_iter().flatten().min();
            if self.crowd.is_there() {
                let rest = monotonic_ns() + REST_NS;
                wait_any(&[], Some(deadline.map_or(rest, |deadline| deadline.min(rest))))?;
            }
            // A signal may have come during the flush, where it was noticed already: then no wait is cut short by it.
            let wake = if stop_requested() { Wake::Signal } else { wait_any(&self.ports.descriptors(), deadline)? };
            if stop_requested() {
                return self.finish(&EndReason::Stopped);
            }
            let now = monotonic_ns();
            if let Wake::Readable(_) = wake {
                let before = self.session.receiver.stats().packets_received;
                self.read()?;
                if self.session.receiver.stats().packets_received > before {
                    last_heard = Some(now);
                }
            } else if idle.is_some_and(|idle| now >= idle) {
                return self.end_idle();
            }
            if until.is_some_and(|until| now >= until) {
                return self.finish(&EndReason::Complete);
            }
            if now >= session {
                self.report()?;
            }
            self.ask();
        }
    }

    fn read(&mut self) -> Result<(), Failure> {
        for _ in 0..BURST {
            let Some(datagram) = self.ports.receive(&self.clock)? else { break };
            self.crowd.count();
            let (now, output) = (self.clock.now(), &mut self.output);
            let (route, arrived) = (datagram.route, datagram.arrived);
            let session = &mut self.session;
            match datagram.protocol {
                Protocol::Rtcp if self.args.no_rtcp => {}
                Protocol::Rtcp => {
                    if let Some(bytes) = self.undo.control(now, datagram.bytes) {
                        session.handle_control(now, 0, route, arrived, bytes);
                    }
                }
                _ => self.undo.media(now, route.to, datagram.bytes, |bytes, origin| {
                    let mut out = |record: Record<'_>| output.write(&record);
                    match origin {
                        Origin::Received => session.handle_datagram(now, 0, route, arrived, bytes, &mut out),
                        Origin::Recovered => session.receiver.handle_recovered(now, 0, route.to, bytes, &mut out),
                    }
                })?,
            }
        }
        told::warn_of_unknown(&self.session, &mut self.told);
        Ok(())
    }

    /// What is due without a datagram: sources that are gone, and reports.
    fn report(&mut self) -> Result<(), Failure> {
        let now = self.clock.now();
        let output = &mut self.output;
        self.session.handle_timeout(now, &mut |record| output.write(&record))?;
        let packets = self.session.poll(now);
        if self.args.no_rtcp || packets.is_empty() {
            return Ok(());
        }
        self.send(packets);
        if let Some(stats) = &mut self.stats {
            for line in told::sources(&self.session) {
                stats.line(&line);
            }
        }
        Ok(())
    }

    /// Asks for packets that are missing, by the way that the source's own reports have shown, with an echo of them: so
    /// it knows that it is no forger who asks.
    fn ask(&mut self) {
        let now = self.clock.now();
        let requests = self.undo.poll_requests(now, self.session.control.round_trip_ns());
        for (_, ssrc, numbers) in requests {
            let Some((route, block)) = self.session.receiver.echo(now, 0, ssrc) else { continue };
            let (by, mut packet) = self.session.control.early(now, block);
            append_request(by, ssrc, &numbers, &mut packet);
            if self.ports.has_address() {
                self.send(vec![Outgoing { to: None, packet }]);
            } else if self.session.receiver.may_answer(route, packet.len()) {
                self.send(vec![Outgoing { to: Some(route), packet }]);
            }
        }
    }

    fn send(&mut self, packets: Vec<Outgoing>) {
        for mut outgoing in packets {
            if self.undo.protect_control(&mut outgoing.packet) {
                self.ports.send(&outgoing);
            }
        }
    }

    fn end_idle(&mut self) -> Result<(), Failure> {
        let heard = self.session.receiver.stats().packets_received > 0;
        self.finish(&EndReason::Timeout)?;
        if heard { Ok(()) } else { Err(Failure::network("nothing was heard before the time-out")) }
    }

    fn finish(&mut self, reason: &EndReason) -> Result<(), Failure> {
        if let Some(stats) = &mut self.stats {
            for line in told::sources(&self.session) {
                stats.line(&line);
            }
        }
        let output = &mut self.output;
        let goodbyes = self.session.finish(self.clock.now(), reason, &mut |record| output.write(&record))?;
        if !self.args.no_rtcp {
            self.send(goodbyes);
        }
        self.output.flush()
    }

    pub(crate) fn summarise(&mut self) {
        let Some(file) = &mut self.stats else { return };
        let mut summary = told::summary(self.session.receiver.stats());
        self.undo.add_to(&mut summary);
        file.line(&summary);
    }
}
