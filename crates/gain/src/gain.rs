//! One stream made louder and softer.

use vox_cli::Voice;
use vox_dsp::{Fader, Limiter};
use vox_filter::{Filter, Span, Verdict};
use vox_frame::{Format, GapReason};
use vox_voice::{Automatic, Effects, Processor, Unsupported};

use crate::args::Args;

/// One stream.
pub(crate) struct Gain {
    voice: Voice,
    channels: usize,
    automatic: Option<Processor>,
    fader: Fader,
    limiter: Option<Limiter>,
    /// Frames that it rises and falls.
    rises: u64,
    falls: u64,
    muted: bool,
    even: Vec<f32>,
    wide: Vec<f64>,
}

impl Gain {
    pub(crate) fn new(args: &Args, voice: Voice, format: &Format) -> Result<Self, Unsupported> {
        let (rate, channels) = (format.rate, format.channels);
        let gain = Automatic { max_gain_db: args.agc_max, ..Automatic::default() };
        let effects = Effects { gain: Some(gain), ..Effects::default() };
        Ok(Self {
            fader: Fader::new(rate, channels, voice.gain()),
            voice,
            channels: channels.count(),
            automatic: args.agc.then(|| Processor::new(rate, channels, effects)).transpose()?,
            limiter: args.limits().then(|| Limiter::new(rate, channels)),
            rises: rate.ticks(args.fade_in.ns()),
            falls: rate.ticks(args.fade_out.ns()),
            muted: false,
            even: Vec::new(),
            wide: Vec::new(),
        })
    }

    /// How loud a frame is that is the `n`th from the beginning, with `left` until the end.
    fn fade(&self, n: u64, left: Option<u64>) -> f32 {
        let rise = if n < self.rises { n as f32 / self.rises as f32 } else { 1.0 };
        let fall = left.filter(|left| *left < self.falls).map_or(1.0, |left| left as f32 / self.falls as f32);
        rise.min(fall)
    }
}

impl Filter for Gain {
    fn delay(&self) -> usize {
        // The limiter waits, and gives its first frame first.
        self.automatic.as_ref().map_or(0, Processor::delay)
    }

    fn hold(&self) -> usize {
        self.falls as usize
    }

    fn process(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.even.clear();
        match &mut self.automatic {
            Some(automatic) => automatic.process(samples, &mut self.even),
            None => self.even.extend_from_slice(samples),
        }
        let gain = self.voice.gain();
        if !self.fader.is_idle(gain) {
            self.fader.apply(&mut self.even, gain);
        }
        match &mut self.limiter {
            Some(limiter) => {
                self.wide.clear();
                self.wide.extend(self.even.iter().copied().map(f64::from));
                limiter.process(&self.wide, out);
            }
            None => out.extend_from_slice(&self.even),
        }
    }

    fn decide(&mut self, span: &Span, samples: &mut [f32]) -> Verdict {
        let muted = self.voice.is_muted() && samples.iter().all(|sample| *sample == 0.0);
        let changed = std::mem::replace(&mut self.muted, muted) != muted;
        let event = changed.then_some(if muted { "muted" } else { "unmuted" });
        if span.begins < self.rises || span.left.is_some_and(|left| left.saturating_sub(span.frames) < self.falls) {
            for (n, frame) in (0..).zip(samples.chunks_mut(self.channels)) {
                // The last frame is the nearest to silence, the one behind it would be it.
                let fade = self.fade(span.begins + n, span.left.map(|left| left - n));
                frame.iter_mut().for_each(|sample| *sample *= fade);
            }
        }
        Verdict { gap: muted.then_some(GapReason::Muted), level: None, event }
    }
}
