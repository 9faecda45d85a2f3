//! The codecs in which every sample is coded alone: records keep their cut, their times and their numbers, unless the
//! rate or the channels change.

use std::collections::BTreeMap;

use vox_cli::value::MaxAge;
use vox_cli::{Failure, Output, Streams};
use vox_codec::g711::Law;
use vox_codec::linear;
use vox_dsp::mean_power_s16le;
use vox_frame::{Audio, Channels, Codec, Format, Rate, Raw, Record, StreamId};
use vox_sys::Clock;

use crate::args::Pcm;
use crate::note::Note;
use crate::shaped::Shaped;
use crate::{Stage, stale};

pub(crate) struct SampleStage {
    codec: Codec,
    convert: Convert,
    max_age: MaxAge,
    rate: Option<Rate>,
    channels: Option<Channels>,
    streams: Streams,
    /// Those whose level is noted as they come.
    notes: BTreeMap<StreamId, Note>,
    /// The streams whose rate or channels change.
    shaped: BTreeMap<StreamId, Shaped>,
    pcm: Vec<f32>,
    bytes: Vec<u8>,
    payload: Vec<u8>,
}

/// From 16-bit little-endian samples.
pub(crate) type Convert = fn(&[u8], &mut Vec<u8>);

impl SampleStage {
    fn new(codec: Codec, convert: Convert, args: &Pcm) -> Self {
        Self {
            codec,
            convert,
            max_age: args.common.max_age,
            rate: args.rate.map(|rate| rate.0),
            channels: args.channels,
            streams: Streams::new(),
            notes: BTreeMap::new(),
            shaped: BTreeMap::new(),
            pcm: Vec::new(),
            bytes: Vec::new(),
            payload: Vec::new(),
        }
    }

    pub(crate) fn pcmu(args: &Pcm) -> Self {
        Self::new(Codec::Pcmu, |bytes, out| Law::Mu.encode_s16le(bytes, out), args)
    }

    pub(crate) fn pcma(args: &Pcm) -> Self {
        Self::new(Codec::Pcma, |bytes, out| Law::A.encode_s16le(bytes, out), args)
    }

    pub(crate) fn l16(args: &Pcm) -> Self {
        let swap: Convert = |bytes, out| out.extend(bytes.as_chunks().0.iter().flat_map(|&[low, high]| [high, low]));
        Self::new(Codec::L16, swap, args)
    }

    /// A stream begins; one of the same id that was open is over.
    fn open(&mut self, id: StreamId, mut format: Format, output: &mut Output) -> Result<(), Failure> {
        if let Some(mut shaped) = self.shaped.remove(&id) {
            shaped.finish(output)?;
        }
        let to = (self.rate.unwrap_or(format.rate), self.channels.unwrap_or(format.channels));
        if let Some(shaped) = Shaped::new(id, &format, to, &self.codec, self.convert) {
            self.shaped.insert(id, shaped);
        }
        self.notes.insert(id, Note::default());
        format.frame = u32::try_from(format.rate.convert(u64::from(format.frame), to.0)).unwrap_or(0);
        (format.rate, format.channels) = to;
        format.codec = self.codec.clone();
        format.rtp = None;
        output.write(&Record::Format(id, format))
    }

    fn audio(
        &mut self,
        audio: &Audio<'_>,
        float: bool,
        live: bool,
        clock: Clock,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let stale = stale::gap_for(audio, live, self.max_age, clock);
        match (stale, self.shaped.get_mut(&audio.id)) {
            (Some(gap), Some(shaped)) => return shaped.gap(&gap, output),
            (Some(gap), None) => return output.gap(&gap),
            (None, Some(shaped)) => return shaped.audio(audio, output),
            (None, None) => {}
        }
        self.payload.clear();
        let pcm = if float {
            self.pcm.clear();
            linear::f32le_to_f32(audio.payload, &mut self.pcm);
            self.bytes.clear();
            linear::f32_to_s16le(&self.pcm, &mut self.bytes);
            &self.bytes
        } else {
            audio.payload
        };
        (self.convert)(pcm, &mut self.payload);
        let lasts = self.streams.get(audio.id).map_or(0, |format| format.rate.ns(u64::from(audio.duration)));
        let Some(note) = self.notes.get_mut(&audio.id).filter(|_| !audio.padding) else {
            return output.audio(&Audio { payload: &self.payload, ..*audio });
        };
        let extensions = note.of_power(audio.extensions, mean_power_s16le(pcm), lasts);
        output.audio(&Audio { payload: &self.payload, extensions, ..*audio })
    }
}

impl Stage for SampleStage {
    fn record(&mut self, raw: Raw<'_>, clock: Clock, output: &mut Output) -> Result<(), Failure> {
        let record = raw.parse()?;
        self.streams.handle(&record)?;
        match record {
            Record::Format(id, format) if matches!(format.codec, Codec::PcmS16 | Codec::PcmF32) => {
                self.open(id, format, output)
            }
            Record::Format(id, _) => {
                if let Some(mut shaped) = self.shaped.remove(&id) {
                    shaped.finish(output)?;
                }
                output.raw(raw)
            }
            Record::Audio(audio) => match self.streams.get(audio.id).map(|format| (&format.codec, format.live)) {
                Some((Codec::PcmS16, live)) => self.audio(&audio, false, live, clock, output),
                Some((Codec::PcmF32, live)) => self.audio(&audio, true, live, clock, output),
                _ => output.raw(raw),
            },
            Record::Gap(gap) => match self.shaped.get_mut(&gap.id) {
                Some(shaped) => shaped.gap(&gap, output),
                None => output.raw(raw),
            },
            Record::End(end) => {
                self.notes.remove(&end.id);
                match self.shaped.remove(&end.id) {
                    Some(mut shaped) => shaped.end(&end, output),
                    None => output.raw(raw),
                }
            }
            Record::Event(_) | Record::Unknown(_) => output.raw(raw),
        }
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), Failure> {
        self.shaped.values_mut().try_for_each(|shaped| shaped.finish(output))
    }
}
