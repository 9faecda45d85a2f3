//! Whether what is captured is heard, and how loud.

use vox_cli::Voice;
use vox_dsp::Fader;
use vox_frame::{Codec, Format};
use vox_wav::to_i16;

/// What a person does to a stream of PCM while it is captured.
pub(crate) struct Mouth {
    voice: Voice,
    fader: Fader,
    float: bool,
    samples: Vec<f32>,
    bytes: Vec<u8>,
}

impl Mouth {
    pub(crate) fn new(voice: Voice, format: &Format) -> Self {
        let fader = Fader::new(format.rate, format.channels, voice.gain());
        Self { voice, fader, float: format.codec == Codec::PcmF32, samples: Vec::new(), bytes: Vec::new() }
    }

    /// Whether it is muted, and has faded out.
    pub(crate) fn is_silent(&self) -> bool {
        self.voice.is_muted() && self.fader.is_silent(0.0)
    }

    /// Makes the samples of a record louder or softer; untouched where nobody asked for it.
    pub(crate) fn shape<'a>(&'a mut self, payload: &'a [u8]) -> &'a [u8] {
        let gain = self.voice.gain();
        if self.fader.is_idle(gain) {
            return payload;
        }
        self.samples.clear();
        if self.float {
            self.samples.extend(payload.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)));
        } else {
            let from = |&two| f32::from(i16::from_le_bytes(two)) / 32_768.0;
            self.samples.extend(payload.as_chunks().0.iter().map(from));
        }
        self.fader.apply(&mut self.samples, gain);
        self.bytes.clear();
        if self.float {
            self.bytes.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        } else {
            self.bytes.extend(self.samples.iter().flat_map(|&sample| to_i16(sample).to_le_bytes()));
        }
        &self.bytes
    }
}
