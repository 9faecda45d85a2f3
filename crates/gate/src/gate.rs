//! One stream through the gate.

use vox_dsp::Fader;
use vox_filter::{Filter, Span, Verdict};
use vox_frame::{Format, GapReason};
use vox_voice::Talk;

use crate::args::Args;

/// The level of digital silence, in -dBov (RFC 6464, section 3).
const SILENCE: u8 = 127;

/// One stream.
pub(crate) struct Gate {
    talk: Talk,
    fader: Fader,
    mark: bool,
    /// Frames.
    hang: u64,
    lead: u64,
    open: bool,
}

impl Gate {
    pub(crate) fn new(args: &Args, format: &Format) -> Self {
        Self {
            talk: Talk::new(format.rate, format.channels, args.criterion()),
            fader: Fader::new(format.rate, format.channels, 0.0),
            mark: args.mark,
            hang: format.rate.ticks(args.hang.ns()),
            lead: format.rate.ticks(args.lead.ns()),
            open: false,
        }
    }
}

impl Filter for Gate {
    fn hold(&self) -> usize {
        self.lead as usize
    }

    fn process(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.talk.push(samples);
        out.extend_from_slice(samples);
    }

    fn decide(&mut self, span: &Span, samples: &mut [f32]) -> Verdict {
        let since = span.begins.saturating_sub(self.hang);
        let open = self.talk.was_heard(since..span.begins + span.frames + self.lead);
        self.talk.forget(since);
        let changed = std::mem::replace(&mut self.open, open) != open;
        let event = changed.then_some(if open { "talk-start" } else { "talk-stop" });
        let level = Some((open, level(samples)));
        if self.mark {
            return Verdict { gap: None, level, event };
        }
        let gain = if open { 1.0 } else { 0.0 };
        // What it closes upon fades out first.
        if self.fader.is_silent(gain) {
            return Verdict { gap: Some(GapReason::Silent), level: None, event };
        }
        if !self.fader.is_idle(gain) {
            self.fader.apply(samples, gain);
        }
        Verdict { gap: None, level, event }
    }
}

/// The level of samples in -dBov: 0 is the loudest that there is.
fn level(samples: &[f32]) -> u8 {
    let power = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / samples.len().max(1) as f64;
    if power == 0.0 { SILENCE } else { (-10.0 * power.log10()).round().clamp(0.0, f64::from(SILENCE)) as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_rfc_6464() {
        assert_eq!((level(&[0.0; 4]), level(&[1.0, -1.0]), level(&[0.1, -0.1])), (127, 0, 20));
        assert_eq!(level(&[1e-9]), 127);
    }
}
