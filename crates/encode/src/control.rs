//! Control lines while the encoder runs: `loss PERCENT`, written by `vox-send --adapt FIFO` or by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Value, json};
use vox_cli::{Commands, ControlSource, Failure, Listening, Speaker};

/// No line has come yet.
const UNSAID: u8 = u8::MAX;

/// What was said last.
pub(crate) struct Control {
    loss: Arc<Loss>,
    _listening: Listening,
}

struct Loss(AtomicU8);

impl Control {
    /// Begins to read lines from `source`.
    pub(crate) fn open(source: &ControlSource) -> Result<Self, Failure> {
        let loss = Arc::new(Loss(AtomicU8::new(UNSAID)));
        let listening = source.listen(Arc::clone(&loss))?;
        Ok(Self { loss, _listening: listening })
    }

    /// The loss to expect, in percent, where a line has said it.
    pub(crate) fn loss(&self) -> Option<u8> {
        self.loss.said()
    }
}

impl Loss {
    fn said(&self) -> Option<u8> {
        Some(self.0.load(Ordering::Relaxed)).filter(|loss| *loss != UNSAID)
    }
}

impl Commands for Loss {
    fn command(&self, line: &str, _speaker: Speaker) -> Result<Value, String> {
        let percent = line.strip_prefix("loss ").and_then(|percent| percent.trim().parse::<u8>().ok());
        let percent = percent.filter(|percent| *percent <= 100).ok_or("no control line, such as `loss 7`")?;
        self.0.store(percent, Ordering::Relaxed);
        Ok(json!({ "loss": percent }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_and_nonsense_does_not() {
        let loss = Loss(AtomicU8::new(UNSAID));
        assert_eq!(loss.said(), None);
        let good =
            ["loss 7", "loss 12", "loss 101", "bitrate x", "loss"].map(|line| loss.command(line, Speaker(1)).is_ok());
        assert_eq!(good, [true, true, false, false, false]);
        assert_eq!(loss.said(), Some(12));
    }
}
