//! PCM that was cut to blocks already, each to one payload; and an encoder that can be split in two.

use core::ffi::c_int;
use core::ptr::NonNull;

use vox_frame::{Channels, Codec, Rate};

use crate::g711::Law;
use crate::opus::{Application, MAX_PACKET, OpusSettings, sample_rate};
use crate::{Error, linear};

/// How much time an encoder takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// As its settings say.
    #[default]
    Full,
    /// Opus in a third of it: by transform alone (RFC 6716, section 2.1.4: CELT) and with a quarter more bits; what a
    /// receiver makes up for a lost packet is worse. Other codecs take no time.
    Light,
}

/// Complexity of Opus at [`Effort::Light`]: the least at which the transform knows of pitch.
const LIGHT_COMPLEXITY: u8 = 5;

/// Bits a second beyond one a sample at [`Effort::Light`]; libopus itself takes 3000 beyond.
const LIGHT_BITS: u32 = 16_000;

/// Encodes blocks of samples, each to one payload. A copy goes on as the original would have: what was sent to many can
/// become different for each of them without a seam.
pub struct BlockEncoder {
    kind: Kind,
}

enum Kind {
    Law(Law),
    L16,
    Opus(OpusState),
}

impl BlockEncoder {
    /// An encoder at that rate and with those channels; `settings` are those of Opus, whose own rate and channels do not
    /// count here.
    ///
    /// # Errors
    /// Where there is no encoder for that codec, or it does not take the rate or the channels.
    pub fn new(codec: &Codec, rate: Rate, channels: Channels, settings: &OpusSettings) -> Result<Self, Error> {
        let kind = match codec {
            Codec::Pcmu => Kind::Law(Law::Mu),
            Codec::Pcma => Kind::Law(Law::A),
            Codec::L16 => Kind::L16,
            Codec::Opus => Kind::Opus(OpusState::new(rate, channels, settings)?),
            other => return Err(Error::Unknown(other.name().to_owned())),
        };
        Ok(Self { kind })
    }

    /// The encoder's delay, in frames.
    pub fn delay(&self) -> u32 {
        match &self.kind {
            Kind::Law(_) | Kind::L16 => 0,
            Kind::Opus(state) => state.lookahead,
        }
    }

    /// Appends the payload of a block of interleaved samples. Opus takes blocks of its own frame durations.
    ///
    /// # Errors
    /// Where libopus fails.
    pub fn encode(&mut self, samples: &[f32], out: &mut Vec<u8>) -> Result<(), Error> {
        match &mut self.kind {
            Kind::Law(law) => {
                let table = law.encode_table();
                out.extend(samples.iter().map(|&sample| table[usize::from(linear::to_i16(sample) as u16)]));
            }
            Kind::L16 => linear::f32_to_s16be(samples, out),
            Kind::Opus(state) => state.encode(samples, out)?,
        }
        Ok(())
    }

    /// Takes that much time from now on. The change is not heard: libopus lets one mode fade into the other.
    ///
    /// # Errors
    /// Where libopus refuses it.
    pub fn set_effort(&mut self, effort: Effort) -> Result<(), Error> {
        match &mut self.kind {
            Kind::Law(_) | Kind::L16 => Ok(()),
            Kind::Opus(state) => state.set_effort(effort),
        }
    }

    /// An encoder in the same state.
    ///
    /// # Errors
    /// Where libopus gives none.
    pub fn fork(&self) -> Result<Self, Error> {
        let kind = match &self.kind {
            Kind::Law(law) => Kind::Law(*law),
            Kind::L16 => Kind::L16,
            Kind::Opus(state) => Kind::Opus(state.fork()?),
        };
        Ok(Self { kind })
    }
}

/// An Opus encoder over libopus itself, since `audiopus` cannot copy one.
struct OpusState {
    state: NonNull<opusic_sys::OpusEncoder>,
    rate: c_int,
    channels: c_int,
    lookahead: u32,
    complexity: u8,
    bitrate: Option<u32>,
}

// SAFETY: the state is plain memory that only its owner touches; libopus keeps nothing by thread.
unsafe impl Send for OpusState {}

impl OpusState {
    fn new(rate: Rate, channels: Channels, settings: &OpusSettings) -> Result<Self, Error> {
        let known = sample_rate(rate).ok_or_else(|| Error::Opus(format!("no Opus at {} Hz", rate.hz())))?;
        if channels.count() > 2 {
            return Err(Error::Channels { codec: "opus", most: 2, found: channels.count() });
        }
        let application = match settings.application {
            Application::Voip => opusic_sys::OPUS_APPLICATION_VOIP,
            Application::Audio => opusic_sys::OPUS_APPLICATION_AUDIO,
            Application::LowDelay => opusic_sys::OPUS_APPLICATION_RESTRICTED_LOWDELAY,
        };
        let mut state = Self::create(known as c_int, channels.count() as c_int, application)?;
        state.complexity = settings.complexity;
        state.bitrate = settings.bitrate;
        state.set_effort(Effort::Full)?;
        for (request, value) in [
            (opusic_sys::OPUS_SET_INBAND_FEC_REQUEST, c_int::from(settings.fec)),
            (opusic_sys::OPUS_SET_PACKET_LOSS_PERC_REQUEST, c_int::from(settings.loss)),
            (opusic_sys::OPUS_SET_DTX_REQUEST, c_int::from(settings.dtx)),
            (opusic_sys::OPUS_SET_VBR_REQUEST, c_int::from(!settings.cbr)),
        ] {
            state.set(request, value)?;
        }
        let mut lookahead: c_int = 0;
        // SAFETY: the state is live, and this request writes one int, which outlives the call.
        unsafe {
            opusic_sys::opus_encoder_ctl(
                state.state.as_ptr(),
                opusic_sys::OPUS_GET_LOOKAHEAD_REQUEST,
                &raw mut lookahead,
            );
        }
        state.lookahead = u32::try_from(lookahead).unwrap_or(0);
        Ok(state)
    }

    fn create(rate: c_int, channels: c_int, application: c_int) -> Result<Self, Error> {
        let mut error: c_int = 0;
        // SAFETY: the rate and the channels are ones that libopus takes, and `error` outlives the call.
        let state = unsafe { opusic_sys::opus_encoder_create(rate, channels, application, &raw mut error) };
        let state = NonNull::new(state).ok_or_else(|| Error::Opus(format!("no encoder (error {error})")))?;
        Ok(Self { state, rate, channels, lookahead: 0, complexity: 0, bitrate: None })
    }

    fn set_effort(&mut self, effort: Effort) -> Result<(), Error> {
        // That it is music is what libopus calls a sound that is not to be modelled as one voice: a mix is not.
        let (signal, complexity, bitrate) = match effort {
            Effort::Full => (opusic_sys::OPUS_AUTO, self.complexity, self.bitrate),
            Effort::Light => {
                let bits = LIGHT_BITS + (self.rate * self.channels).unsigned_abs();
                (opusic_sys::OPUS_SIGNAL_MUSIC, LIGHT_COMPLEXITY, self.bitrate.or(Some(bits)))
            }
        };
        let bitrate = bitrate.map_or(opusic_sys::OPUS_AUTO, |bits| bits as c_int);
        self.set(opusic_sys::OPUS_SET_SIGNAL_REQUEST, signal)?;
        self.set(opusic_sys::OPUS_SET_COMPLEXITY_REQUEST, c_int::from(complexity))?;
        self.set(opusic_sys::OPUS_SET_BITRATE_REQUEST, bitrate)
    }

    fn set(&mut self, request: c_int, value: c_int) -> Result<(), Error> {
        // SAFETY: the state is live, and each of these requests takes one int.
        let outcome = unsafe { opusic_sys::opus_encoder_ctl(self.state.as_ptr(), request, value) };
        if outcome == 0 { Ok(()) } else { Err(Error::Opus(format!("setting {request} to {value} failed ({outcome})"))) }
    }

    fn encode(&mut self, samples: &[f32], out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        out.resize(start + MAX_PACKET, 0);
        let frames = samples.len() / self.channels as usize;
        // SAFETY: `samples` holds `frames` frames of all channels, and `out` has room for `MAX_PACKET` bytes.
        let written = unsafe {
            opusic_sys::opus_encode_float(
                self.state.as_ptr(),
                samples.as_ptr(),
                frames as c_int,
                out[start..].as_mut_ptr(),
                MAX_PACKET as c_int,
            )
        };
        out.truncate(start + usize::try_from(written).unwrap_or(0));
        if written > 0 { Ok(()) } else { Err(Error::Opus(format!("a block was not encoded (error {written})"))) }
    }

    fn fork(&self) -> Result<Self, Error> {
        let mut copy = Self::create(self.rate, self.channels, opusic_sys::OPUS_APPLICATION_VOIP)?;
        (copy.lookahead, copy.complexity, copy.bitrate) = (self.lookahead, self.complexity, self.bitrate);
        // SAFETY: an encoder's state is one block of memory of that size without pointers into itself; libopus documents
        // that a shallow copy of it is an encoder. Both were made for the same channels.
        unsafe {
            let bytes = opusic_sys::opus_encoder_get_size(self.channels) as usize;
            core::ptr::copy_nonoverlapping(self.state.as_ptr().cast::<u8>(), copy.state.as_ptr().cast::<u8>(), bytes);
        }
        Ok(copy)
    }
}

impl Drop for OpusState {
    fn drop(&mut self) {
        // SAFETY: the state came from opus_encoder_create and is not used again.
        unsafe { opusic_sys::opus_encoder_destroy(self.state.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(from: usize) -> Vec<f32> {
        (from..from + 960).map(|n| 0.4 * (n as f32 * 0.06).sin()).collect()
    }

    #[test]
    fn a_fork_says_what_the_original_would_have_said() {
        let settings = OpusSettings { complexity: 4, ..OpusSettings::default() };
        let mut one = BlockEncoder::new(&Codec::Opus, Rate::HZ_48000, Channels::MONO, &settings).unwrap();
        let mut payload = Vec::new();
        for n in 0..20 {
            one.encode(&tone(n * 960), &mut payload).unwrap();
        }
        let mut other = one.fork().unwrap();
        assert_eq!(other.delay(), one.delay());
        for n in 20..40 {
            let (mut first, mut second) = (Vec::new(), Vec::new());
            one.encode(&tone(n * 960), &mut first).unwrap();
            other.encode(&tone(n * 960), &mut second).unwrap();
            assert_eq!(first, second);
        }
    }

    #[test]
    fn light_effort_does_without_the_model_of_a_voice_and_full_takes_it_up_again() {
        let settings = OpusSettings { complexity: 4, ..OpusSettings::default() };
        let mut encoder = BlockEncoder::new(&Codec::Opus, Rate::HZ_48000, Channels::MONO, &settings).unwrap();
        let mut modes = Vec::new();
        for n in 0..60 {
            match n {
                20 => encoder.set_effort(Effort::Light).unwrap(),
                40 => {
                    encoder.fork().and_then(|mut fork| fork.set_effort(Effort::Full).map(|()| encoder = fork)).unwrap()
                }
                _ => {}
            }
            let mut payload = Vec::new();
            encoder.encode(&tone(n * 960), &mut payload).unwrap();
            // RFC 6716, section 3.1: from configuration 16 on it is CELT alone.
            modes.push(payload[0] >> 3 >= 16);
        }
        // What comes between two modes may take a packet.
        assert!(modes[..20].iter().chain(&modes[42..]).all(|is_light| !is_light), "{modes:?}");
        assert!(modes[22..40].iter().all(|is_light| *is_light), "{modes:?}");
    }

    #[test]
    fn sixteen_bit_samples_go_through_l16_untouched() {
        let settings = OpusSettings::default();
        let mut encoder = BlockEncoder::new(&Codec::L16, Rate::HZ_8000, Channels::MONO, &settings).unwrap();
        let mut payload = Vec::new();
        encoder.encode(&[linear::from_i16(-300), linear::from_i16(7)], &mut payload).unwrap();
        assert_eq!(payload, [0xfe, 0xd4, 0, 7]);
        assert!(BlockEncoder::new(&Codec::PcmF32, Rate::HZ_8000, Channels::MONO, &settings).is_err());
        let odd = Rate::new(44_100).unwrap();
        assert!(BlockEncoder::new(&Codec::Opus, odd, Channels::MONO, &settings).is_err());
    }
}
