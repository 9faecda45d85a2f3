//! Whether a device is still there.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use cpal::ErrorKind;
use vox_sys::monotonic_ns;

/// How long a device that complains may give no sign of life, in ns: sound servers stumble and go on.
const SILENT_NS: i64 = 2_000_000_000;

/// What the callbacks of a device tell of it.
#[derive(Default)]
pub(crate) struct Health {
    /// The last callback, in ns of CLOCK_MONOTONIC.
    alive: AtomicI64,
    complaint: Mutex<Option<Complaint>>,
}

struct Complaint {
    text: String,
    since: i64,
    fatal: bool,
}

impl Health {
    /// The device has called, at `now` in ns of CLOCK_MONOTONIC.
    pub(crate) fn alive(&self, now: i64) {
        self.alive.store(now, Ordering::Relaxed);
    }

    /// The device has complained.
    pub(crate) fn note(&self, error: &cpal::Error) {
        let fatal = match error.kind() {
            ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => return,
            ErrorKind::DeviceNotAvailable | ErrorKind::HostUnavailable | ErrorKind::StreamInvalidated => true,
            _ => false,
        };
        if let Ok(mut complaint) = self.complaint.lock()
            && complaint.as_ref().is_none_or(|complaint| !complaint.fatal)
        {
            let since = complaint.as_ref().map_or_else(monotonic_ns, |complaint| complaint.since);
            *complaint = Some(Complaint { text: error.to_string(), since, fatal });
        }
    }

    /// Why the device is gone; none while it is there.
    pub(crate) fn gone(&self) -> Option<String> {
        let mut complaint = self.complaint.lock().ok()?;
        let (text, since) = match complaint.as_ref()? {
            Complaint { text, fatal: true, .. } => return Some(text.clone()),
            Complaint { text, since, .. } => (text.clone(), *since),
        };
        let alive = self.alive.load(Ordering::Relaxed);
        if alive > since {
            *complaint = None;
            return None;
        }
        (monotonic_ns() - since > SILENT_NS).then_some(text)
    }
}
