//! What samples are called in --raw, and how they become the PCM of records.

use vox_dsp::{Remix, Resampler};
use vox_frame::{Channels, Codec, Rate};
use vox_wav::{Sample, Spec};

/// Samples by their name on the command line.
///
/// # Errors
/// The names there are.
pub(crate) fn parse_sample(name: &str) -> Result<Sample, String> {
    Ok(match name {
        "u8" => Sample::U8,
        "s16le" => Sample::S16,
        "s16be" => Sample::S16Be,
        "s24le" => Sample::S24,
        "s32le" => Sample::S32,
        "f32le" => Sample::F32,
        "f64le" => Sample::F64,
        "mulaw" => Sample::Mulaw,
        "alaw" => Sample::Alaw,
        _ => return Err("one of s16le, s16be, s24le, s32le, f32le, f64le, u8, mulaw, alaw".to_owned()),
    })
}

/// The PCM that keeps every bit of a sample: 16-bit where that is enough, else float.
pub(crate) const fn natural_pcm(sample: Sample) -> Codec {
    if sample.fits_i16() { Codec::PcmS16 } else { Codec::PcmF32 }
}

/// Turns a source's bytes into the PCM of records: untouched where nothing was asked for.
pub(crate) struct Converter {
    from: Sample,
    to: Codec,
    remix: Remix,
    resampler: Resampler,
    floats: Vec<f32>,
    mixed: Vec<f32>,
    resampled: Vec<f32>,
    samples: Vec<i16>,
}

impl Converter {
    /// A converter from what the source gives to `codec` (one of the PCM codecs) with that rate and those channels.
    pub(crate) fn new(from: Spec, codec: Codec, rate: Rate, channels: Channels) -> Self {
        Self {
            from: from.sample,
            to: codec,
            remix: Remix::new(from.channels, channels),
            resampler: Resampler::new(from.rate, rate, channels),
            floats: Vec::new(),
            mixed: Vec::new(),
            resampled: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Whether bytes pass as they are.
    pub(crate) fn is_identity(&self) -> bool {
        let same = match self.from {
            Sample::S16 => self.to == Codec::PcmS16,
            Sample::F32 => self.to == Codec::PcmF32,
            _ => false,
        };
        same && self.remix.is_identity() && self.resampler.is_identity()
    }

    /// Converts whole frames and appends them to `out`.
    pub(crate) fn process(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.is_identity() {
            out.extend_from_slice(bytes);
            return;
        }
        if self.remix.is_identity() && self.resampler.is_identity() && self.to == Codec::PcmS16 {
            self.samples.clear();
            self.from.read_i16(bytes, &mut self.samples);
            out.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
            return;
        }
        self.floats.clear();
        self.from.read(bytes, &mut self.floats);
        self.mixed.clear();
        self.remix.process(&self.floats, &mut self.mixed);
        self.resampled.clear();
        self.resampler.process(&self.mixed, &mut self.resampled);
        self.write(out);
    }

    /// Appends what the resampler still holds.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.resampled.clear();
        self.resampler.finish(&mut self.resampled);
        self.write(out);
    }

    fn write(&self, out: &mut Vec<u8>) {
        let to = if self.to == Codec::PcmF32 { Sample::F32 } else { Sample::S16 };
        to.write(&self.resampled, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(sample: Sample, codec: Codec, bytes: &[u8]) -> Vec<u8> {
        let spec = Spec { sample, rate: Rate::HZ_8000, channels: Channels::MONO };
        let mut out = Vec::new();
        let mut converter = Converter::new(spec, codec, Rate::HZ_8000, Channels::MONO);
        converter.process(bytes, &mut out);
        converter.finish(&mut out);
        out
    }

    #[test]
    fn sixteen_bits_pass_bit_by_bit_also_through_float() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        assert_eq!(convert(Sample::S16, Codec::PcmS16, &bytes), bytes);
        let floats = convert(Sample::S16, Codec::PcmF32, &bytes);
        assert_eq!(convert(Sample::F32, Codec::PcmS16, &floats), bytes);
    }

    #[test]
    fn twenty_four_bits_fit_a_float() {
        for value in [-8_388_608_i32, -1, 0, 1, 4_194_305, 8_388_607] {
            let floats = convert(Sample::S24, Codec::PcmF32, &value.to_le_bytes()[..3]);
            let sample = f32::from_le_bytes(floats.try_into().unwrap());
            assert_eq!(f64::from(sample) * 8_388_608.0, f64::from(value));
        }
    }

    #[test]
    fn eight_bits_are_centred() {
        let out = convert(Sample::U8, Codec::PcmS16, &[0, 128, 255]);
        assert_eq!(out, [-32_768_i16, 0, 32_512].map(i16::to_le_bytes).concat());
    }

    #[test]
    fn what_is_no_number_becomes_silence_and_what_is_too_loud_clips() {
        let floats = [f32::NAN, f32::INFINITY, 2.0, -2.0].map(f32::to_le_bytes).concat();
        assert_eq!(
            convert(Sample::F32, Codec::PcmS16, &floats),
            [0_i16, 0, 32_767, -32_768].map(i16::to_le_bytes).concat()
        );
    }
}
