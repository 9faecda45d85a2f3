//! Receives RTP over TCP as streams of records.

use std::collections::BTreeSet;

use serde_json::json;
use vox_cli::{Failure, Output, StatsFile, Wake, stop_requested, wait_any};
use vox_frame::{Channels, Codec, EndReason, Rate, Record};
use vox_repair::Origin;
use vox_rtp::{Description, Framing, Outgoing, PayloadFormat, Protocol, Route, Session};
use vox_sys::{Clock, monotonic_ns};

use crate::args::Args;
use crate::inlet::{Arrival, Carriage, Inlet};
use crate::undo::Undo;
use crate::{hearing, reporting, told};

/// The payload type of the TCP streamer, whatever the rate.
const STREAMER_TYPE: u8 = 0;

/// Receives from `target` until the end.
pub(crate) fn receive(target: &str, mut session: Description, args: &Args) -> Result<(), Failure> {
    let carriage = Carriage {
        framing: if args.compat.is_some() { Framing::TcpStreamer } else { Framing::Rfc4571 },
        rate: args.rate,
        reconnect: args.reconnect,
        max_clients: args.max_sources,
    };
    if args.compat.is_some() {
        session.map.insert(STREAMER_TYPE, mu_law(args.rate));
    }
    let undo = Undo::new(&mut session, args)?;
    let stats = args.stats.as_deref().map(StatsFile::create).transpose()?;
    let clock = Clock::own();
    let output = Output::stdout(clock.opening(), false)?;
    let mut inlet = Inlet::open(target, args.connect, carriage)?;
    let session = Session::new(clock.now(), hearing(session, args), reporting(args, true));
    let reports = !args.no_rtcp && args.compat.is_none();
    let mut ear = Ear { session, undo, output, clock, stats, reports, told: BTreeSet::new() };
    let outcome = run(&mut ear, &mut inlet, args);
    let summary = ear.summary(&inlet);
    if let Some(stats) = &mut ear.stats {
        stats.line(&summary);
    }
    outcome
}

fn mu_law(rate: Rate) -> PayloadFormat {
    PayloadFormat::new(Codec::Pcmu, rate, Channels::MONO)
}

struct Ear {
    session: Session,
    undo: Undo,
    output: Output,
    clock: Clock,
    stats: Option<StatsFile>,
    /// Whether reports are heard and sent: by the connection that the media come by (RFC 4571, RFC 5761).
    reports: bool,
    /// Payload types that a warning was given for.
    told: BTreeSet<u8>,
}

fn run(ear: &mut Ear, inlet: &mut Inlet, args: &Args) -> Result<(), Failure> {
    let began = monotonic_ns();
    let until = args.duration.map(|duration| began.saturating_add(duration.ns()));
    let mut last_heard = None;
    loop {
        ear.output.flush()?;
        let now = monotonic_ns();
        let idle = args.idle_at(began, last_heard);
        let session = ear.clock.mono_ns(ear.session.next_deadline());
        let deadline = [until, idle, Some(session), inlet.next_deadline(now)].into_iter().flatten().min();
        let wake = if stop_requested() { Wake::Signal } else { wait_any(&inlet.descriptors(), deadline)? };
        if stop_requested() {
            return ear.finish(&EndReason::Stopped, inlet);
        }
        let now = monotonic_ns();
        let before = ear.session.receiver.stats().packets_received;
        let outcome = match wake {
            Wake::Readable(index) => inlet.handle_ready(index, now, &mut |arrival| ear.take(arrival)),
            _ => Ok(()),
        };
        let outcome = outcome.and_then(|()| inlet.handle_timeout(now, &mut |arrival| ear.take(arrival)));
        told::warn_of_unknown(&ear.session, &mut ear.told);
        let heard = ear.session.receiver.stats().packets_received;
        if let Err(failure) = outcome {
            // The other side has ended: in good order where something was heard of it.
            ear.finish(&EndReason::Bye, inlet)?;
            return if heard > 0 && args.connect { Ok(()) } else { Err(failure) };
        }
        if heard > before {
            last_heard = Some(now);
        } else if idle.is_some_and(|idle| now >= idle) {
            ear.finish(&EndReason::Timeout, inlet)?;
            return if heard > 0 { Ok(()) } else { Err(Failure::network("nothing was heard before the time-out")) };
        }
        if until.is_some_and(|until| now >= until) {
            return ear.finish(&EndReason::Complete, inlet);
        }
        if now >= session {
            ear.report(inlet)?;
        }
    }
}

impl Ear {
    fn take(&mut self, arrival: Arrival<'_>) -> Result<(), Failure> {
        let Self { session, undo, output, clock, reports, .. } = self;
        let now = clock.now();
        let mut out = |record: Record<'_>| output.write(&record);
        match arrival {
            Arrival::Packet(id, from, bytes) if Protocol::of(bytes) == Protocol::Rtcp => {
                if let (true, Some(bytes)) = (*reports, undo.control(now, bytes)) {
                    session.handle_control(now, id, Route { mux: true, to: from }, now, bytes);
                }
                Ok(())
            }
            Arrival::Packet(id, from, bytes) => undo.media(now, from, bytes, |bytes, origin| match origin {
                Origin::Received => session.receiver.handle_datagram(now, id, from, now, bytes, &mut out),
                Origin::Recovered => session.receiver.handle_recovered(now, id, from, bytes, &mut out),
            }),
            Arrival::Rate(rate) => {
                session.receiver.map(STREAMER_TYPE, mu_law(rate));
                Ok(())
            }
            Arrival::Closed(id) => session.receiver.handle_closed(id, &EndReason::Bye, &mut out),
        }
    }

    /// What is due without a packet: sources that are gone, and reports.
    fn report(&mut self, inlet: &mut Inlet) -> Result<(), Failure> {
        let now = self.clock.now();
        let output = &mut self.output;
        self.session.handle_timeout(now, &mut |record| output.write(&record))?;
        let packets = self.session.poll(now);
        if self.reports && !packets.is_empty() {
            self.send(packets, inlet);
            self.tell();
        }
        Ok(())
    }

    /// What each source is like goes into the statistics.
    fn tell(&mut self) {
        let lines = told::sources(&self.session);
        if let Some(stats) = &mut self.stats {
            lines.iter().for_each(|line| stats.line(line));
        }
    }

    fn send(&mut self, packets: Vec<Outgoing>, inlet: &mut Inlet) {
        for Outgoing { to, mut packet } in packets {
            if let (Some(route), true) = (to, self.undo.protect_control(&mut packet)) {
                // What a busy connection does not take is said again with the next report.
                let _taken = inlet.send(route.to, &packet);
            }
        }
    }

    fn finish(&mut self, reason: &EndReason, inlet: &mut Inlet) -> Result<(), Failure> {
        self.tell();
        let output = &mut self.output;
        let goodbyes = self.session.finish(self.clock.now(), reason, &mut |record| output.write(&record))?;
        if self.reports {
            self.send(goodbyes, inlet);
        }
        self.output.flush()
    }

    fn summary(&self, inlet: &Inlet) -> serde_json::Value {
        let mut summary = told::summary(self.session.receiver.stats());
        self.undo.add_to(&mut summary);
        summary["connections"] = json!(inlet.accepted);
        summary["connectionsRefused"] = json!(inlet.refused);
        summary["connectionsBroken"] = json!(inlet.broken);
        summary
    }
}
