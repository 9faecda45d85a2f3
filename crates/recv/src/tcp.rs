//! Receives RTP over TCP as streams of records.

use serde_json::json;
use vox_cli::{Failure, Output, StatsFile, Wake, stop_requested, wait_any};
use vox_frame::{Channels, Codec, EndReason, Rate, Record};
use vox_repair::Origin;
use vox_rtp::{Description, Framing, PayloadFormat, Receiver};
use vox_sys::{Clock, monotonic_ns};

use crate::args::Args;
use crate::inlet::{Arrival, Carriage, Inlet};
use crate::undo::Undo;
use crate::{hearing, told};

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
    let mut ear = Ear { receiver: Receiver::new(hearing(session, args)), undo, output, clock };
    let outcome = run(&mut ear, &mut inlet, args);
    if let Some(mut stats) = stats {
        stats.line(&ear.summary(&inlet));
    }
    outcome
}

fn mu_law(rate: Rate) -> PayloadFormat {
    PayloadFormat::new(Codec::Pcmu, rate, Channels::MONO)
}

struct Ear {
    receiver: Receiver,
    undo: Undo,
    output: Output,
    clock: Clock,
}

fn run(ear: &mut Ear, inlet: &mut Inlet, args: &Args) -> Result<(), Failure> {
    let began = monotonic_ns();
    let until = args.duration.map(|duration| began.saturating_add(duration.ns()));
    let mut last_heard = began;
    loop {
        ear.output.flush()?;
        let now = monotonic_ns();
        let idle = args.idle_timeout.map(|timeout| last_heard.saturating_add(timeout.ns()));
        let sources = ear.receiver.next_deadline().map(|stamp| ear.clock.mono_ns(stamp));
        let deadline = [until, idle, sources, inlet.next_deadline(now)].into_iter().flatten().min();
        let wake = if stop_requested() { Wake::Signal } else { wait_any(&inlet.descriptors(), deadline)? };
        if stop_requested() {
            return ear.finish(&EndReason::Stopped);
        }
        let now = monotonic_ns();
        let before = ear.receiver.stats().packets_received;
        let outcome = match wake {
            Wake::Readable(index) => inlet.handle_ready(index, now, &mut |arrival| ear.take(arrival)),
            _ => Ok(()),
        };
        let outcome = outcome.and_then(|()| inlet.handle_timeout(now, &mut |arrival| ear.take(arrival)));
        let heard = ear.receiver.stats().packets_received;
        if let Err(failure) = outcome {
            // The other side has ended: in good order where something was heard of it.
            ear.finish(&EndReason::Bye)?;
            return if heard > 0 && args.connect { Ok(()) } else { Err(failure) };
        }
        if heard > before {
            last_heard = now;
        } else if args.idle_timeout.is_some_and(|timeout| now >= last_heard.saturating_add(timeout.ns())) {
            ear.finish(&EndReason::Timeout)?;
            return if heard > 0 { Ok(()) } else { Err(Failure::network("nothing was heard before the time-out")) };
        }
        if until.is_some_and(|until| now >= until) {
            return ear.finish(&EndReason::Complete);
        }
        let output = &mut ear.output;
        ear.receiver.handle_timeout(ear.clock.now(), &mut |record| output.write(&record))?;
    }
}

impl Ear {
    fn take(&mut self, arrival: Arrival<'_>) -> Result<(), Failure> {
        let Self { receiver, undo, output, clock } = self;
        let now = clock.now();
        let mut out = |record: Record<'_>| output.write(&record);
        match arrival {
            Arrival::Packet(id, from, bytes) => undo.media(now, from, bytes, |bytes, origin| match origin {
                Origin::Received => receiver.handle_datagram(now, id, from, now, bytes, &mut out),
                Origin::Recovered => receiver.handle_recovered(now, id, from, bytes, &mut out),
            }),
            Arrival::Rate(rate) => {
                receiver.map(STREAMER_TYPE, mu_law(rate));
                Ok(())
            }
            Arrival::Closed(id) => receiver.handle_closed(id, &EndReason::Bye, &mut out),
        }
    }

    fn finish(&mut self, reason: &EndReason) -> Result<(), Failure> {
        let output = &mut self.output;
        self.receiver.finish(reason, &mut |record| output.write(&record))?;
        self.output.flush()
    }

    fn summary(&self, inlet: &Inlet) -> serde_json::Value {
        let mut summary = told::summary(self.receiver.stats());
        self.undo.add_to(&mut summary);
        summary["connections"] = json!(inlet.accepted);
        summary["connectionsRefused"] = json!(inlet.refused);
        summary["connectionsBroken"] = json!(inlet.broken);
        summary
    }
}
