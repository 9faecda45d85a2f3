//! Whether a device is still there.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use vox_sys::monotonic_ns;

/// How long a device that complains may give no sign of life, in ns: sound servers stumble and go on.
const SILENT_NS: i64 = 1_000_000_000;

/// How long one that says nothing at all may be silent, in ns: virtual devices that nobody else uses may sleep for two
/// seconds at a time.
const DEAD_NS: i64 = 4_000_000_000;

/// What may be wrong with a device that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Upset {
    /// It ran empty, or over, because this program came too late.
    Xrun,
    /// It begins anew, as somebody has asked for.
    Anew,
    /// It complains, and may go on.
    Stumbles(String),
    /// It is no more.
    Gone(String),
}

/// What the callbacks of a device tell of it.
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

impl Default for Health {
    /// A device that was opened just now.
    fn default() -> Self {
        Self { alive: AtomicI64::new(monotonic_ns()), complaint: Mutex::default() }
    }
}

impl Health {
    /// The device has called, at `now` in ns of CLOCK_MONOTONIC.
    pub(crate) fn alive(&self, now: i64) {
        self.alive.store(now, Ordering::Relaxed);
    }

    /// The device has complained.
    pub(crate) fn note(&self, upset: Upset) {
        let (text, fatal) = match upset {
            Upset::Xrun | Upset::Anew => return,
            Upset::Stumbles(text) => (text, false),
            Upset::Gone(text) => (text, true),
        };
        if let Ok(mut complaint) = self.complaint.lock()
            && complaint.as_ref().is_none_or(|complaint| !complaint.fatal)
        {
            let since = complaint.as_ref().map_or_else(monotonic_ns, |complaint| complaint.since);
            *complaint = Some(Complaint { text, since, fatal });
        }
    }

    /// Why the device is gone; none while it is there.
    pub(crate) fn gone(&self) -> Option<String> {
        let silent = monotonic_ns() - self.alive.load(Ordering::Relaxed);
        let mut complaint = self.complaint.lock().ok()?;
        let Some((text, since, fatal)) = complaint.as_ref().map(|known| (known.text.clone(), known.since, known.fatal))
        else {
            return (silent > DEAD_NS).then(|| format!("it gives no sign of life for {} s", DEAD_NS / 1_000_000_000));
        };
        if fatal {
            return Some(text);
        }
        if self.alive.load(Ordering::Relaxed) > since {
            *complaint = None;
            return None;
        }
        (monotonic_ns() - since > SILENT_NS).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Upset {
        Upset::Stumbles("no more".to_owned())
    }

    #[test]
    fn a_device_that_calls_after_it_complained_is_there() {
        let health = Health::default();
        health.note(broken());
        assert_eq!(health.gone(), None);
        health.alive(monotonic_ns() + 1);
        assert_eq!(health.gone(), None);
        assert!(health.complaint.lock().unwrap().is_none());
    }

    #[test]
    fn a_device_that_complained_and_does_not_call_again_is_gone() {
        let health = Health::default();
        health.note(broken());
        health.complaint.lock().unwrap().as_mut().unwrap().since -= 2 * SILENT_NS;
        health.alive(monotonic_ns() - 4 * SILENT_NS);
        assert!(health.gone().unwrap().contains("no more"));
    }

    #[test]
    fn a_device_that_was_taken_away_is_gone_at_once() {
        let health = Health::default();
        health.note(Upset::Gone("unplugged".to_owned()));
        assert!(health.gone().unwrap().contains("unplugged"));
    }

    #[test]
    fn a_device_that_falls_silent_without_a_word_is_gone() {
        let health = Health::default();
        health.alive(monotonic_ns() - DEAD_NS - 1);
        assert!(health.gone().unwrap().contains("no sign of life"));
    }
}
