//! From records to one timeline: decodes each stream and puts it at its place.

use std::collections::BTreeMap;

use serde::Serialize;
use vox_cli::warn;
use vox_codec::{DecoderOptions, pieces};
use vox_dsp::{Late, Timeline};
use vox_frame::{Audio, Channels, End, Format, Gap, MediaTime, Rate, Record, Stamp, StreamId, Times};

use crate::decode::Decoder;
use crate::place::{Place, Placement};

/// How far a record may lie beside its place before its stream is moved there, in ns: less is the rounding of clocks
/// and the delay of codecs.
const TOLERANCE_NS: i64 = 10_000_000;

/// The longest hole in media time that is played as silence, in ns; what jumps farther goes on where it was.
const MAX_HOLE_NS: i64 = 3_600_000_000_000;

/// How much of a gap goes through the decoder, in ns: behind that there is silence.
const MAX_DECODED_NS: i64 = 2_000_000_000;

/// What the output shall be; what is not set is as the first stream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// Samples a second.
    pub(crate) rate: Option<Rate>,
    /// Channels.
    pub(crate) channels: Option<Channels>,
    /// How streams are decoded.
    pub(crate) decoder: DecoderOptions,
}

/// What happened, in the names of W3C webrtc-stats where they exist. Samples are frames of the output.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tally {
    /// Streams that were announced.
    pub(crate) streams: u64,
    /// Samples that the streams' records stand for, gaps included.
    pub(crate) total_samples_received: u64,
    /// Samples of them that were missing and made up, pauses included.
    pub(crate) concealed_samples: u64,
    /// Samples of them that were missing, and that a later packet told of.
    pub(crate) recovered_samples: u64,
    /// Those of them for which nothing was sent.
    pub(crate) silent_concealed_samples: u64,
    /// How often audio gave way to what was made up.
    pub(crate) concealment_events: u64,
    /// Samples that came too late to be played.
    pub(crate) late_samples: u64,
    /// Samples dropped to be current again.
    pub(crate) dropped_samples: u64,
}

impl Tally {
    /// A gap of so many samples, of which a later packet told of the last `recovered`; `conceals` is whether what was heard
    /// before it was made up, and afterwards, whether its end is.
    fn gap(&mut self, samples: u64, recovered: u64, silent: bool, conceals: &mut bool) {
        let concealed = samples - recovered;
        self.total_samples_received += samples;
        self.recovered_samples += recovered;
        self.concealed_samples += concealed;
        self.silent_concealed_samples += if silent { concealed } else { 0 };
        self.concealment_events += u64::from(concealed > 0 && !silent && !*conceals);
        if samples > 0 {
            *conceals = recovered == 0 && !silent;
        }
    }
}

/// All streams of the pipe.
pub(crate) struct Mixer {
    wanted: Wanted,
    timeline: Option<Timeline>,
    voices: BTreeMap<StreamId, Voice>,
    placement: Placement,
    pcm: Vec<f32>,
    /// What happened.
    pub(crate) tally: Tally,
}

struct Voice {
    decoder: Decoder,
    format: Format,
    place: Place,
    /// Media time at which the next record begins.
    next: Option<MediaTime>,
    /// Whether what was heard last was made up.
    conceals: bool,
}

impl Mixer {
    /// A mixer of no streams.
    pub(crate) fn new(wanted: Wanted, placement: Placement) -> Self {
        let (voices, pcm) = (BTreeMap::new(), Vec::new());
        Self { wanted, timeline: None, voices, placement, pcm, tally: Tally::default() }
    }

    /// The sum; none before the first stream was announced.
    pub(crate) fn timeline(&mut self) -> Option<&mut Timeline> {
        self.timeline.as_mut()
    }

    /// The sum, made now where no stream has been announced.
    pub(crate) fn timeline_or_default(&mut self) -> &mut Timeline {
        let rate = self.wanted.rate.unwrap_or(Rate::HZ_48000);
        let channels = self.wanted.channels.unwrap_or(Channels::MONO);
        self.timeline.get_or_insert_with(|| Timeline::new(rate, channels))
    }

    /// Whether a stream is open that waits for the loudspeaker instead of being paced by the world.
    pub(crate) fn has_unpaced(&self) -> bool {
        self.voices.values().any(|voice| voice.place.is_unpaced())
    }

    /// When the record behind this one is due, where there is one stream only and its records are `least` ns long or longer.
    pub(crate) fn next_due(&self, record: &Record<'_>, least: i64) -> Option<Stamp> {
        let (id, times, duration, slot) = match record {
            Record::Audio(audio) => (audio.id, audio.times, u64::from(audio.duration), audio.slot.map(i64::from)),
            Record::Gap(gap) => (gap.id, gap.times, gap.duration, gap.slot.and_then(|slot| i64::try_from(slot).ok())),
            _ => return None,
        };
        let voice = self.voices.get(&id).filter(|_| self.voices.len() == 1)?;
        let span = slot.unwrap_or_else(|| voice.format.rate.ns(duration));
        times.due.filter(|_| span >= least).map(|due| due.plus(span))
    }

    /// Takes a record that was read at `now`; hands samples for a part of the timeline that is gone to `late`.
    pub(crate) fn handle(&mut self, record: &Record<'_>, now: Stamp, mut late: impl FnMut(Late<'_>)) {
        match record {
            Record::Format(id, format) => self.open(*id, format, &mut late),
            Record::Audio(audio) => self.audio(audio, now, &mut late),
            Record::Gap(gap) => self.gap(gap, now, &mut late),
            Record::End(end) => self.end(end, &mut late),
            Record::Event(_) | Record::Unknown(_) => {}
        }
    }

    /// Ends every stream where it stands, as the input has broken off.
    pub(crate) fn end_all(&mut self, mut late: impl FnMut(Late<'_>)) {
        for id in self.voices.keys().copied().collect::<Vec<_>>() {
            self.close(id, &mut late);
        }
    }

    fn open(&mut self, id: StreamId, format: &Format, late: &mut impl FnMut(Late<'_>)) {
        self.close(id, late);
        self.tally.streams += 1;
        let decoder = match Decoder::new(format, self.wanted.decoder) {
            Ok(decoder) => decoder,
            Err(error) => {
                warn(format_args!("stream {id} is not played: {error}"));
                return;
            }
        };
        let (rate, channels) = (decoder.rate(), decoder.channels());
        self.wanted.rate.get_or_insert(rate);
        self.wanted.channels.get_or_insert(channels);
        self.timeline_or_default().open(id, rate, channels);
        let place = Place::new(format);
        self.voices.insert(id, Voice { decoder, format: format.clone(), place, next: None, conceals: false });
    }

    fn audio(&mut self, audio: &Audio<'_>, now: Stamp, late: &mut impl FnMut(Late<'_>)) {
        if audio.padding {
            if let Some(voice) = self.voices.get_mut(&audio.id) {
                // What it says of the noise in pauses.
                voice.decoder.audio(audio, &mut self.pcm);
            }
            return;
        }
        self.arrange(audio.id, audio.timestamp, u64::from(audio.duration), &audio.times, now, late);
        let (Some(voice), Some(timeline)) = (self.voices.get_mut(&audio.id), &mut self.timeline) else { return };
        self.pcm.clear();
        voice.decoder.audio(audio, &mut self.pcm);
        voice.conceals = false;
        self.tally.total_samples_received += voice.format.rate.convert(u64::from(audio.duration), timeline.rate());
        timeline.push(audio.id, &self.pcm, late);
    }

    fn gap(&mut self, gap: &Gap<'_>, now: Stamp, late: &mut impl FnMut(Late<'_>)) {
        self.arrange(gap.id, gap.timestamp, gap.duration, &gap.times, now, late);
        let (Some(voice), Some(timeline)) = (self.voices.get_mut(&gap.id), &mut self.timeline) else { return };
        let rate = voice.decoder.rate();
        let longest = rate.ticks(MAX_HOLE_NS);
        let wanted = gap.slot.map_or(gap.duration, |ns| rate.ticks(i64::try_from(ns).unwrap_or(i64::MAX))).min(longest);
        let decoded = rate.ticks(MAX_DECODED_NS);
        let recovered = voice.decoder.recovered();
        let (mut done, mut media) = (0, 0);
        for piece in pieces(gap, rate) {
            if done >= decoded || media >= longest {
                // Silence that takes no memory.
                timeline.push_silence(gap.id, wanted.saturating_sub(done), &mut *late);
                break;
            }
            self.pcm.clear();
            voice.decoder.gap(&piece, &mut self.pcm);
            timeline.push(gap.id, &self.pcm, &mut *late);
            done += piece.slot.map_or(piece.duration, |ns| rate.ticks(i64::try_from(ns).unwrap_or(i64::MAX)));
            media += piece.duration;
        }
        let recovered = rate.convert(voice.decoder.recovered() - recovered, timeline.rate());
        let samples = rate.convert(wanted, timeline.rate());
        self.tally.gap(samples, recovered.min(samples), gap.reason.is_silence(), &mut voice.conceals);
    }

    fn end(&mut self, end: &End, late: &mut impl FnMut(Late<'_>)) {
        if let (Some(voice), Some(timeline)) = (self.voices.get_mut(&end.id), &mut self.timeline) {
            self.pcm.clear();
            voice.decoder.end(end, &mut self.pcm);
            timeline.push(end.id, &self.pcm, &mut *late);
        }
        self.close(end.id, late);
    }

    fn close(&mut self, id: StreamId, late: &mut impl FnMut(Late<'_>)) {
        if let Some(mut voice) = self.voices.remove(&id)
            && let Some(timeline) = &mut self.timeline
        {
            self.pcm.clear();
            voice.decoder.flush(&mut self.pcm);
            timeline.push(id, &self.pcm, &mut *late);
            timeline.close(id, late);
            if self.voices.is_empty() {
                self.placement.all_ended(timeline.end());
            }
        }
    }

    /// Puts the stream at the place where the record begins.
    fn arrange(
        &mut self,
        id: StreamId,
        timestamp: MediaTime,
        duration: u64,
        times: &Times,
        now: Stamp,
        late: &mut impl FnMut(Late<'_>),
    ) {
        let alone = self.voices.len() == 1;
        let (Some(voice), Some(timeline)) = (self.voices.get_mut(&id), &mut self.timeline) else { return };
        let rate = voice.format.rate;
        let hole = voice.next.map_or(0, |next| timestamp.since(next));
        voice.next = Some(timestamp.plus(duration));
        if times.due.is_none() && hole > 0 && rate.ns(hole) <= MAX_HOLE_NS {
            let frames = rate.convert(hole, voice.decoder.rate());
            timeline.push_silence(id, frames, late);
        }
        let span = rate.ns(duration);
        // What the decoder holds back will go before this record.
        let held = voice.decoder.rate().convert(voice.decoder.held(), timeline.rate());
        let position = timeline.position(id).map(|position| position.saturating_add_unsigned(held));
        let Some(frame) = self.placement.frame(&mut voice.place, times, span, now, timeline, position, alone) else {
            return;
        };
        let tolerance = timeline.rate().ticks(TOLERANCE_NS);
        match position {
            None if frame < timeline.head() => {
                // What lies before the beginning is dropped, so that the rest keeps its place.
                let head = timeline.head();
                timeline.place(id, head);
                timeline.place(id, frame);
            }
            Some(position) if position.abs_diff(frame) <= tolerance => {}
            None => timeline.place(id, frame),
            Some(_) => timeline.place(id, frame.saturating_sub_unsigned(held)),
        }
    }
}

#[cfg(test)]
mod tests {
    use vox_frame::{Codec, SequenceNumber};

    use super::*;

    const MS: i64 = 1_000_000;

    /// A record of 20 ms that is due at that time, in ms.
    fn audio(id: u32, due: Option<i64>, slot_ms: Option<u32>) -> Audio<'static> {
        Audio {
            id: StreamId(id),
            sequence: SequenceNumber(0),
            timestamp: MediaTime(0),
            duration: 160,
            marker: false,
            recovered: false,
            padding: false,
            times: Times { due: due.map(|ms| Stamp::from_ns(ms * MS)), ..Times::default() },
            slot: slot_ms.map(|ms| ms * 1_000_000),
            extensions: &[],
            payload: &[0; 320],
        }
    }

    fn open(mixer: &mut Mixer, id: u32) {
        let mut format = Format::new(Codec::PcmS16, Rate::HZ_8000, Channels::MONO, 160);
        format.live = true;
        mixer.handle(&Record::Format(StreamId(id), format), Stamp::ZERO, |_| {});
    }

    #[test]
    fn the_next_record_of_an_only_stream_is_due_a_slot_behind_this_one() {
        let mut mixer = Mixer::new(Wanted::default(), Placement::device(Stamp::ZERO));
        open(&mut mixer, 1);
        let next = |mixer: &Mixer, id, due, slot, least_ms: i64| {
            let due = mixer.next_due(&Record::Audio(audio(id, due, slot)), least_ms * MS);
            due.map(|due| due.since(Stamp::ZERO) / MS)
        };
        assert_eq!(next(&mixer, 1, Some(100), None, 15), Some(120));
        assert_eq!(next(&mixer, 1, Some(100), Some(25), 15), Some(125));
        assert_eq!(next(&mixer, 1, Some(100), Some(10), 15), None, "too short to wait for");
        assert_eq!(next(&mixer, 1, None, None, 15), None, "nobody said when it is due");
        open(&mut mixer, 2);
        assert_eq!(next(&mixer, 1, Some(100), None, 15), None, "the other may come first");
    }
}
