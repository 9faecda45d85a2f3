//! The simplest concealment there is: the last packet again.

use vox_frame::{Channels, Rate};

/// The longest packet that is repeated, in ns; of a longer one the end.
const LONGEST_NS: i64 = 60_000_000;

/// How much of it is left every time it is repeated.
const FADE: f32 = 0.5;

/// Remembers the last packet.
#[derive(Debug)]
pub(crate) struct Repeater {
    channels: usize,
    most: usize,
    last: Vec<f32>,
    at: usize,
    gain: f32,
}

impl Repeater {
    pub(crate) fn new(rate: Rate, channels: Channels) -> Self {
        let channels = channels.count();
        let most = rate.ticks(LONGEST_NS) as usize * channels;
        Self { channels, most, last: Vec::new(), at: 0, gain: FADE }
    }

    /// Both of two channels hold what one did.
    pub(crate) fn widen(&mut self) {
        self.last = self.last.iter().flat_map(|&sample| [sample; 2]).collect();
        (self.channels, self.most, self.at) = (2, 2 * self.most, 2 * self.at);
    }

    /// Takes a packet's samples.
    pub(crate) fn heard(&mut self, samples: &[f32]) {
        self.last.clear();
        self.last.extend_from_slice(&samples[samples.len().saturating_sub(self.most)..]);
        (self.at, self.gain) = (0, FADE);
    }

    /// Appends samples of the last packet, for at most `frames` frames; nothing where there was none.
    pub(crate) fn repeat(&mut self, frames: usize, out: &mut Vec<f32>) {
        if self.last.is_empty() {
            return;
        }
        for _ in 0..frames * self.channels {
            if self.at == self.last.len() {
                self.at = 0;
                self.gain *= FADE;
            }
            out.push(self.gain * self.last[self.at]);
            self.at += 1;
        }
    }
}
