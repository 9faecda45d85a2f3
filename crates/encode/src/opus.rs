//! Opus: samples are collected into packets, stream by stream.

use std::collections::BTreeMap;

use vox_cli::value::MaxAge;
use vox_cli::{Failure, Output, note};
use vox_codec::{Coded, OpusStreamEncoder, linear};
use vox_frame::{
    Audio, Channels, Codec, End, EndReason, Format, Gap, GapReason, MAX_PAYLOAD, MediaTime, Raw, Record,
    SequenceNumber, StreamId, Times,
};
use vox_sys::Clock;

use crate::args::Opus;
use crate::control::Control;
use crate::note::Note;
use crate::{Stage, stale};

/// The most streams that are encoded at a time; one more is an error.
const MAX_STREAMS: usize = 1024;

pub(crate) struct OpusStage<'a> {
    args: &'a Opus,
    max_age: MaxAge,
    streams: BTreeMap<StreamId, Stream>,
    control: Option<Control>,
    pcm: Vec<f32>,
}

struct Stream {
    encoder: OpusStreamEncoder,
    float: bool,
    live: bool,
    channels: Channels,
    numbering: Numbering,
    /// Media time that the input has come to, in its ticks.
    reached: MediaTime,
    /// The loss that the encoder was told of while it ran.
    loss: Option<u8>,
}

/// The numbers of the packets that go out.
struct Numbering {
    id: StreamId,
    next: SequenceNumber,
    marker: bool,
    note: Note,
}

impl<'a> OpusStage<'a> {
    pub(crate) fn new(args: &'a Opus) -> Result<Self, Failure> {
        let control = args.control.as_ref().map(Control::open).transpose()?;
        Ok(Self { args, max_age: args.common.max_age, streams: BTreeMap::new(), control, pcm: Vec::new() })
    }

    fn open(&mut self, id: StreamId, format: &Format, output: &mut Output) -> Result<(), Failure> {
        self.close(id, None, output)?;
        if self.streams.len() >= MAX_STREAMS {
            return Err(Failure::input(format_args!("more than {MAX_STREAMS} streams are open in one pipe")));
        }
        let settings = self.args.settings(format.channels);
        let encoder = OpusStreamEncoder::new(format, &settings, self.args.frame.ns()).map_err(Failure::failed)?;
        if encoder.rate() != settings.rate.unwrap_or(format.rate) {
            note(format_args!("stream {id}: Opus does not take {}, resampling to {}", format.rate, encoder.rate()));
        }
        if settings.channels.is_none() && format.channels.count() > 2 {
            note(format_args!("stream {id}: mixing {} to stereo", format.channels));
        }
        output.write(&Record::Format(id, encoder.format(format)))?;
        let stream = Stream {
            encoder,
            float: format.codec == Codec::PcmF32,
            live: format.live,
            channels: format.channels,
            numbering: Numbering { id, next: SequenceNumber(0), marker: true, note: Note::default() },
            reached: MediaTime(0),
            loss: None,
        };
        self.streams.insert(id, stream);
        Ok(())
    }

    /// Gives the last packets of a stream and its End.
    fn close(&mut self, id: StreamId, end: Option<&End>, output: &mut Output) -> Result<(), Failure> {
        let Some(mut stream) = self.streams.remove(&id) else { return Ok(()) };
        let at = end.map_or(stream.reached, |end| end.timestamp);
        let mut outcome = Ok(());
        let numbering = &mut stream.numbering;
        let emit = |coded: Coded<'_>| {
            if outcome.is_ok() {
                outcome = numbering.write(coded, output);
            }
        };
        let timestamp = stream.encoder.end(at, emit).map_err(Failure::failed)?;
        outcome?;
        let reason = end.map_or(EndReason::Interrupted, |end| end.reason.clone());
        let times = end.map_or_else(Times::default, |end| end.times);
        output.write(&Record::End(End { id, timestamp, times, reason }))
    }
}

impl Stream {
    /// Tells the encoder what the far end loses, where that has changed.
    fn expect_loss(&mut self, loss: Option<u8>) -> Result<(), Failure> {
        match loss {
            Some(percent) if self.loss != loss => {
                self.loss = loss;
                self.encoder.set_loss(percent).map_err(Failure::failed)
            }
            _ => Ok(()),
        }
    }

    fn audio(&mut self, audio: &Audio<'_>, pcm: &mut Vec<f32>, output: &mut Output) -> Result<(), Failure> {
        pcm.clear();
        if self.float {
            linear::f32le_to_f32(audio.payload, pcm);
        } else {
            linear::s16le_to_f32(audio.payload, pcm);
        }
        // A record of any length holds what its duration says: the media time line rests on it.
        // But no record holds more frames than bytes, whatever it says.
        let frames = (audio.duration as usize).min(MAX_PAYLOAD);
        pcm.resize(frames * self.channels.count(), 0.0);
        self.reached = audio.timestamp.plus(u64::from(audio.duration));
        self.numbering.note.heed(audio);
        let mut outcome = Ok(());
        let numbering = &mut self.numbering;
        let emit = |coded: Coded<'_>| {
            if outcome.is_ok() {
                outcome = numbering.write(coded, output);
            }
        };
        self.encoder.audio(pcm, self.channels, audio.timestamp, audio.times.captured, emit).map_err(Failure::failed)?;
        outcome
    }

    fn gap(&mut self, gap: &Gap<'_>, output: &mut Output) -> Result<(), Failure> {
        self.reached = gap.timestamp.plus(gap.duration);
        let mut outcome = Ok(());
        let numbering = &mut self.numbering;
        let emit = |coded: Coded<'_>| {
            if outcome.is_ok() {
                outcome = numbering.write(coded, output);
            }
        };
        let (timestamp, duration) = self.encoder.gap(gap.timestamp, gap.duration, emit).map_err(Failure::failed)?;
        outcome?;
        if duration == 0 {
            return Ok(());
        }
        let times = Times { captured: gap.times.captured, ..Times::default() };
        self.numbering.gap(timestamp, duration, gap.reason, times, output)
    }
}

impl Numbering {
    fn write(&mut self, coded: Coded<'_>, output: &mut Output) -> Result<(), Failure> {
        match coded {
            Coded::Packet { timestamp, duration, captured, level: (guessed, level), payload } => {
                let sequence = self.next;
                self.next = sequence.plus(1);
                let marker = std::mem::replace(&mut self.marker, false);
                let times = Times { captured, ..Times::default() };
                output.audio(&Audio {
                    id: self.id,
                    sequence,
                    timestamp,
                    duration,
                    marker,
                    recovered: false,
                    padding: false,
                    times,
                    slot: None,
                    extensions: self.note.of_level(&[], guessed, level),
                    payload,
                })
            }
            Coded::Silence { timestamp, duration } => {
                self.gap(timestamp, u64::from(duration), GapReason::Silent, Times::default(), output)
            }
        }
    }

    fn gap(
        &mut self,
        timestamp: MediaTime,
        duration: u64,
        reason: GapReason,
        times: Times,
        output: &mut Output,
    ) -> Result<(), Failure> {
        self.marker = true;
        let (id, sequence) = (self.id, self.next);
        output.gap(&Gap { id, sequence, timestamp, duration, packets: 0, reason, times, slot: None, later: None })
    }
}

impl Stage for OpusStage<'_> {
    fn record(&mut self, raw: Raw<'_>, clock: Clock, output: &mut Output) -> Result<(), Failure> {
        match raw.parse()? {
            Record::Format(id, format) if matches!(format.codec, Codec::PcmS16 | Codec::PcmF32) => {
                self.open(id, &format, output)
            }
            Record::Format(id, _) => {
                self.close(id, None, output)?;
                output.raw(raw)
            }
            Record::Audio(audio) => match self.streams.get_mut(&audio.id) {
                Some(stream) => match stale::gap_for(&audio, stream.live, self.max_age, clock) {
                    Some(gap) => stream.gap(&gap, output),
                    None => {
                        stream.expect_loss(self.control.as_ref().and_then(Control::loss))?;
                        stream.audio(&audio, &mut self.pcm, output)
                    }
                },
                None => output.raw(raw),
            },
            Record::Gap(gap) => match self.streams.get_mut(&gap.id) {
                Some(stream) => stream.gap(&gap, output),
                None => output.raw(raw),
            },
            Record::End(end) if self.streams.contains_key(&end.id) => self.close(end.id, Some(&end), output),
            Record::End(_) | Record::Event(_) | Record::Unknown(_) => output.raw(raw),
        }
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), Failure> {
        for id in self.streams.keys().copied().collect::<Vec<_>>() {
            self.close(id, None, output)?;
        }
        Ok(())
    }
}
