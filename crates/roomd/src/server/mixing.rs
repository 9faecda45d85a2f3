//! What is mixed, on its way to who mixes and back.

use std::io;
use std::path::Path;

use vox_room::DeskOrder;
use vox_sys::{Clock, Readiness};

use super::{MIXED, Server};
use crate::args::Args;
use crate::mixers::{Mixers, Outcome};
use crate::recorder::Recorder;
use crate::way::Way;

/// Starts who mixes and who records, where that was asked for.
pub(super) fn start(
    args: &Args,
    clock: Clock,
    readiness: &Readiness,
) -> io::Result<(Option<Mixers>, Option<Recorder>)> {
    let threads = usize::from(args.mixers);
    let mixers = (threads > 0).then(|| Mixers::start(threads, args.bridge(), clock)).transpose()?;
    if let Some(mixers) = &mixers {
        readiness.add(mixers.bell(), MIXED)?;
    }
    let record = |folder: &Path| {
        let cannot = |error: io::Error| io::Error::new(error.kind(), format!("--record {}: {error}", folder.display()));
        Recorder::start(folder, clock).map_err(cannot)
    };
    let recorder = args.record.as_deref().map(record).transpose()?;
    Ok((mixers, recorder))
}

impl Server {
    /// Hands on what is to be mixed.
    pub(super) fn order(&mut self, order: DeskOrder) {
        if let Some(recorder) = &mut self.recorder {
            recorder.order(&order);
        }
        if let Some(mixers) = &mut self.mixers {
            mixers.order(order);
        }
    }

    /// Tells of rooms that cannot be recorded any more.
    pub(super) fn look_after_recorder(&mut self) {
        let Self { recorder: Some(recorder), hall, .. } = self else { return };
        while let Some((desk, why)) = recorder.failure() {
            hall.handle_not_recorded(desk, &why);
        }
    }

    /// Sends what was mixed.
    pub(super) fn send_mixed(&mut self) {
        let Self { mixers: Some(mixers), hall, udp, clients, outbox, .. } = self else { return };
        let mut way = Way::new(udp.as_ref(), clients, outbox);
        while let Some(outcome) = mixers.outcome() {
            let made = match outcome {
                Outcome::Made(made) => made,
                Outcome::Refused(who, why) => {
                    hall.handle_not_mixed(who, &why);
                    continue;
                }
            };
            for made in made {
                for who in &made.to {
                    let at = (made.timestamp, made.marker);
                    let deliver = &mut |path, bytes: &[u8]| way.deliver(path, bytes);
                    hall.handle_mixed(made.desk, who.0, at, &made.payload, deliver);
                }
            }
        }
        way.flush();
        self.send_errors += way.lost;
    }
}
