//! What leaves, as rows of CSV to plot.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use vox_cli::Failure;
use vox_frame::{Rate, StreamId};
use vox_playout::Output as Released;

use crate::lane::{Held, Lane};

/// A row per record that leaves.
pub(crate) struct Trace {
    path: PathBuf,
    file: BufWriter<File>,
}

/// What a row tells of a record.
pub(crate) struct Row {
    kind: &'static str,
    due_ns: i64,
    sequence: u64,
    timestamp: u64,
    duration: u64,
    slot_ns: u64,
    network_ns: Option<i64>,
}

impl Row {
    /// The row of what is released; none where nothing is.
    pub(crate) fn of(released: &Released<'_, Held>, rate: Rate) -> Option<Self> {
        Some(match released {
            Released::Audio(played) => {
                let sent = rate.ns(played.meta.timestamp.0);
                Self {
                    kind: "audio",
                    due_ns: played.due.ns(),
                    sequence: played.meta.sequence.0,
                    timestamp: played.meta.timestamp.0,
                    duration: u64::from(played.meta.duration),
                    slot_ns: played.slot,
                    network_ns: Some(played.meta.arrived.ns().saturating_sub(sent)),
                }
            }
            Released::Gap(gap) => Self {
                kind: gap.reason.name(),
                due_ns: gap.due.ns(),
                sequence: gap.sequence.0,
                timestamp: gap.timestamp.0,
                duration: gap.duration,
                slot_ns: gap.slot,
                network_ns: None,
            },
            Released::Wait(_) | Released::Idle | Released::Ended => return None,
        })
    }
}

impl Trace {
    /// Begins the file.
    ///
    /// # Errors
    /// When it cannot be written (1).
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| unwritable(path, &error))?;
        let mut trace = Self { path: path.to_owned(), file: BufWriter::new(file) };
        trace.line(format_args!(
            "stream,due_ms,kind,sequence,media_ts,duration_ms,slot_ms,delay_ms,transit_ms,target_ms,fill_ms,drift_ppm\n"
        ))?;
        Ok(trace)
    }

    /// Writes what has left.
    ///
    /// # Errors
    /// When the file cannot be written (1).
    pub(crate) fn row(&mut self, id: StreamId, row: &Row, lane: &Lane) -> Result<(), Failure> {
        let rate = lane.format.rate;
        let ms = |ns: i64| ns as f64 / 1e6;
        let delay = row.due_ns.saturating_sub(rate.ns(row.timestamp));
        let (target, drift) = lane.aim();
        self.line(format_args!(
            "{id},{:.3},{},{},{},{:.3},{:.3},{:.3},{},{},{:.3},{:.3}\n",
            ms(row.due_ns),
            row.kind,
            row.sequence,
            row.timestamp,
            ms(rate.ns(row.duration)),
            ms(i64::try_from(row.slot_ns).unwrap_or(i64::MAX)),
            ms(delay),
            row.network_ns.map(|ns| format!("{:.3}", ms(ns))).unwrap_or_default(),
            target.map(|ns| format!("{:.3}", ms(ns))).unwrap_or_default(),
            ms(lane.held().1),
            drift as f64 / 1e3,
        ))
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When the file cannot be written (1).
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.file.flush().map_err(|error| unwritable(&self.path, &error))
    }

    fn line(&mut self, line: core::fmt::Arguments<'_>) -> Result<(), Failure> {
        self.file.write_fmt(line).map_err(|error| unwritable(&self.path, &error))
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format_args!("cannot write {}: {error}", path.display()))
}
