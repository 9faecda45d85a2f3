//! The codecs in which every sample is coded alone: records keep their cut, their times and their numbers.

use vox_cli::value::MaxAge;
use vox_cli::{Failure, Output, Streams};
use vox_codec::g711::Law;
use vox_codec::linear;
use vox_frame::{Audio, Codec, Raw, Record};
use vox_sys::Clock;

use crate::{Stage, stale};

pub(crate) struct SampleStage {
    codec: Codec,
    convert: Convert,
    max_age: MaxAge,
    streams: Streams,
    pcm: Vec<f32>,
    bytes: Vec<u8>,
    payload: Vec<u8>,
}

/// From 16-bit little-endian samples.
type Convert = fn(&[u8], &mut Vec<u8>);

impl SampleStage {
    fn new(codec: Codec, convert: Convert, max_age: MaxAge) -> Self {
        let (pcm, bytes, payload) = (Vec::new(), Vec::new(), Vec::new());
        Self { codec, convert, max_age, streams: Streams::new(), pcm, bytes, payload }
    }

    pub(crate) fn pcmu(max_age: MaxAge) -> Self {
        Self::new(Codec::Pcmu, |bytes, out| Law::Mu.encode_s16le(bytes, out), max_age)
    }

    pub(crate) fn pcma(max_age: MaxAge) -> Self {
        Self::new(Codec::Pcma, |bytes, out| Law::A.encode_s16le(bytes, out), max_age)
    }

    pub(crate) fn l16(max_age: MaxAge) -> Self {
        let swap: Convert = |bytes, out| out.extend(bytes.as_chunks().0.iter().flat_map(|&[low, high]| [high, low]));
        Self::new(Codec::L16, swap, max_age)
    }

    fn audio(
        &mut self,
        audio: &Audio<'_>,
        float: bool,
        live: bool,
        clock: Clock,
        output: &mut Output,
    ) -> Result<(), Failure> {
        if let Some(gap) = stale::gap_for(audio, live, self.max_age, clock) {
            return output.gap(&gap);
        }
        self.payload.clear();
        if float {
            self.pcm.clear();
            linear::f32le_to_f32(audio.payload, &mut self.pcm);
            self.bytes.clear();
            linear::f32_to_s16le(&self.pcm, &mut self.bytes);
            (self.convert)(&self.bytes, &mut self.payload);
        } else {
            (self.convert)(audio.payload, &mut self.payload);
        }
        output.audio(&Audio { payload: &self.payload, ..*audio })
    }
}

impl Stage for SampleStage {
    fn record(&mut self, raw: Raw<'_>, clock: Clock, output: &mut Output) -> Result<(), Failure> {
        let record = raw.parse()?;
        self.streams.handle(&record)?;
        match record {
            Record::Format(id, mut format) if matches!(format.codec, Codec::PcmS16 | Codec::PcmF32) => {
                format.codec = self.codec.clone();
                format.rtp = None;
                output.write(&Record::Format(id, format))
            }
            Record::Audio(audio) => match self.streams.get(audio.id).map(|format| (&format.codec, format.live)) {
                Some((Codec::PcmS16, live)) => self.audio(&audio, false, live, clock, output),
                Some((Codec::PcmF32, live)) => self.audio(&audio, true, live, clock, output),
                _ => output.raw(raw),
            },
            Record::Format(..) | Record::Gap(_) | Record::Event(_) | Record::End(_) | Record::Unknown(_) => {
                output.raw(raw)
            }
        }
    }

    fn finish(&mut self, _output: &mut Output) -> Result<(), Failure> {
        Ok(())
    }
}
