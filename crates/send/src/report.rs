//! What the far end says of what is sent: for people, for scripts, for an encoder.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use vox_cli::{Failure, StatsFile, note};
use vox_frame::Stamp;
use vox_repair::MendStats;
use vox_rtp::{LossAdvice, ReceiverStats, RemoteReport};

use crate::args::Args;

pub(crate) struct Reporter {
    stats: Option<StatsFile>,
    shown: bool,
    adapt: Option<Adapt>,
    /// Datagrams from addresses that nothing is sent to.
    pub(crate) strangers: u64,
    /// Our own packets that came back.
    pub(crate) reflected: u64,
    reports: u64,
    last: Option<RemoteReport>,
}

impl Reporter {
    pub(crate) fn new(args: &Args) -> Result<Self, Failure> {
        Ok(Self {
            stats: args.stats.as_deref().map(StatsFile::create).transpose()?,
            shown: args.report,
            adapt: args.adapt.clone().map(|fifo| Adapt::new(fifo, args.adapt_floor)),
            strangers: 0,
            reflected: 0,
            reports: 0,
            last: None,
        })
    }

    /// Hands a report on to whoever asked.
    pub(crate) fn tell(&mut self, now: Stamp, from: SocketAddr, report: &RemoteReport) {
        self.reports += 1;
        self.last = Some(*report);
        if let Some(stats) = &mut self.stats {
            stats.line(&line(from, report));
        }
        if self.shown {
            let (loss, jitter) = (report.fraction_lost * 100.0, report.jitter_ns as f64 / 1e6);
            let round_trip = report.round_trip_ns.map(|ns| format!(", round trip {:.1} ms", ns as f64 / 1e6));
            let round_trip = round_trip.unwrap_or_default();
            note(format_args!("{from}: loss {loss:.1} %, jitter {jitter:.1} ms{round_trip}"));
        }
        if let Some(adapt) = &mut self.adapt {
            adapt.tell(now, report);
        }
    }

    /// The round trip that the far end's last report told.
    pub(crate) fn round_trip_ns(&self) -> Option<i64> {
        self.last.as_ref()?.round_trip_ns
    }

    /// The last line of the statistics.
    pub(crate) fn summarise(&mut self, mut summary: Value, heard: &ReceiverStats, mended: &MendStats) {
        let Some(stats) = &mut self.stats else { return };
        if let Some(summary) = summary.as_object_mut() {
            summary.insert("reports".to_owned(), self.reports.into());
            summary.insert("rtcpPackets".to_owned(), heard.packets_rtcp.into());
            summary.insert("packetsReceived".to_owned(), heard.packets_received.into());
            summary.insert("packetsForeign".to_owned(), (heard.packets_foreign + self.strangers).into());
            summary.insert("packetsReflected".to_owned(), (heard.packets_reflected + self.reflected).into());
            summary.insert("moves".to_owned(), heard.moves.into());
            summary.insert("packetsRecovered".to_owned(), heard.packets_recovered.into());
            summary.insert("packetsRecoveredByRed".to_owned(), mended.restored.recovered_red.into());
            summary.insert("packetsRecoveredByFec".to_owned(), mended.restored.recovered_parity.into());
            summary.insert("packetsRetransmitted".to_owned(), mended.retransmitted.into());
            if let Some(last) = &self.last {
                summary.insert("fractionLost".to_owned(), last.fraction_lost.into());
                summary.insert("jitter".to_owned(), seconds(last.jitter_ns).into());
                summary.insert("roundTripTime".to_owned(), last.round_trip_ns.map(seconds).into());
            }
        }
        stats.line(&summary);
    }
}

fn line(from: SocketAddr, report: &RemoteReport) -> Value {
    json!({
        "type": "remote-inbound-rtp",
        "ssrc": report.ssrc,
        "reporter": report.by,
        "from": from.to_string(),
        "fractionLost": report.fraction_lost,
        "packetsLost": report.packets_lost,
        "jitter": seconds(report.jitter_ns),
        "roundTripTime": report.round_trip_ns.map(seconds),
    })
}

fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

/// Control lines for `vox-encode --control FIFO`.
struct Adapt {
    fifo: PathBuf,
    open: Option<File>,
    advice: LossAdvice,
    /// What the reader has not been told yet.
    owed: Option<u8>,
}

impl Adapt {
    const fn new(fifo: PathBuf, floor: u8) -> Self {
        Self { fifo, open: None, advice: LossAdvice::new(floor), owed: None }
    }

    /// Writes `loss PERCENT`. An encoder that is not there yet, or does not read, is told with the next report.
    fn tell(&mut self, now: Stamp, report: &RemoteReport) {
        self.owed = self.advice.handle_report(now, report).or(self.owed);
        let Some(percent) = self.owed else { return };
        if self.open.is_none() {
            // Without waiting for a reader: audio must not stand still for advice.
            let options = OpenOptions::new().write(true).custom_flags(NONBLOCK).open(&self.fifo);
            self.open = options.ok();
        }
        let Some(file) = &mut self.open else { return };
        match file.write_all(format!("loss {percent}\n").as_bytes()) {
            Ok(()) => self.owed = None,
            Err(_) => self.open = None,
        }
    }
}

const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;
