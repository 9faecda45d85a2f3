//! How loud everything is played.

use vox_cli::Voice;
use vox_dsp::Fader;
use vox_frame::{Channels, Rate};

/// What a person sets while it plays.
pub(crate) struct Volume {
    voice: Voice,
    fader: Option<Fader>,
}

impl Volume {
    pub(crate) const fn new(voice: Voice) -> Self {
        Self { voice, fader: None }
    }

    /// Makes what is played next louder or softer: interleaved samples, of the same rate and channels each time.
    pub(crate) fn apply(&mut self, samples: &mut [f32], rate: Rate, channels: Channels) {
        let gain = self.voice.gain();
        let fader = self.fader.get_or_insert_with(|| Fader::new(rate, channels, gain));
        if !fader.is_idle(gain) {
            fader.apply(samples, gain);
        }
    }

    /// By what samples are multiplied that are played now.
    pub(crate) fn gain(&self) -> f32 {
        self.voice.gain()
    }
}
