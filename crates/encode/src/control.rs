//! Control lines while the encoder runs: `--control FIFO`, written by `vox-send --adapt FIFO` or by hand.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use vox_cli::{Failure, warn};

/// No line has come yet.
const UNSAID: u8 = u8::MAX;

/// The longest line, in bytes; what is longer is none.
const MAX_LINE: u64 = 256;

/// What was said last.
#[derive(Clone)]
pub(crate) struct Control {
    loss: Arc<AtomicU8>,
}

impl Control {
    /// Begins to read lines from `fifo`, in a thread of its own: a writer may come and go.
    pub(crate) fn open(fifo: &Path) -> Result<Self, Failure> {
        // Open for writing too, so that it has no end when a writer leaves.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(fifo)
            .map_err(|error| Failure::failed(format_args!("cannot read {}: {error}", fifo.display())))?;
        let control = Self { loss: Arc::new(AtomicU8::new(UNSAID)) };
        let heard = control.clone();
        std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || heard.read(BufReader::new(file)))
            .map_err(|error| Failure::failed(format_args!("cannot start a thread: {error}")))?;
        Ok(control)
    }

    /// The loss to expect, in percent, where a line has said it.
    pub(crate) fn loss(&self) -> Option<u8> {
        Some(self.loss.load(Ordering::Relaxed)).filter(|loss| *loss != UNSAID)
    }

    fn read(&self, mut lines: impl BufRead) {
        let mut line = String::new();
        let mut told = false;
        while lines.by_ref().take(MAX_LINE).read_line(&mut line).is_ok_and(|read| read > 0) {
            match parse(&line) {
                Some(loss) => self.loss.store(loss, Ordering::Relaxed),
                None if !told => {
                    told = true;
                    warn(format_args!("{:?} is no control line, such as `loss 7`", line.trim_end()));
                }
                None => {}
            }
            line.clear();
        }
    }
}

/// `loss PERCENT`.
fn parse(line: &str) -> Option<u8> {
    line.trim().strip_prefix("loss ")?.trim().parse().ok().filter(|percent| *percent <= 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_and_nonsense_does_not() {
        let control = Control { loss: Arc::new(AtomicU8::new(UNSAID)) };
        assert_eq!(control.loss(), None);
        control.read(&b"loss 7\nloss 12\nloss 101\nbitrate x\n"[..]);
        assert_eq!(control.loss(), Some(12));
    }

    #[test]
    fn an_endless_line_takes_no_room() {
        let control = Control { loss: Arc::new(AtomicU8::new(UNSAID)) };
        control.read(&[b'x'; 100_000][..]);
        assert_eq!(control.loss(), None);
    }
}
