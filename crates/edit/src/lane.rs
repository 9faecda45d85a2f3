//! One stream under the knife.

use vox_cli::{Failure, Output};
use vox_container::ogg_opus::silence;
use vox_container::wav::Sample;
use vox_frame::{Audio, Codec, EndReason, Format, GapReason, MediaTime, StreamId, Times};

use crate::list::{Change, List};
use crate::out::Out;
use crate::pace::Pacer;
use crate::plan::{Clip, Packets, Plan, clips, packets};

/// A jump of media time farther than this is no hole but another time line, in ns.
const MAX_HOLE_NS: i64 = 3_600_000_000_000;

/// What a span of a stream holds.
enum Span<'a> {
    Samples(&'a mut [f32]),
    Missing(u64, GapReason),
}

/// Appends the samples of a payload.
type Read = fn(&[u8], &mut Vec<f32>);

/// How the payload of PCM and of G.711 becomes samples.
fn reader(codec: &Codec) -> Option<Read> {
    Some(match codec {
        Codec::PcmS16 => |bytes, out| Sample::S16.read(bytes, out),
        Codec::PcmF32 => |bytes, out| Sample::F32.read(bytes, out),
        Codec::Pcmu => |bytes, out| Sample::Mulaw.read(bytes, out),
        Codec::Pcma => |bytes, out| Sample::Alaw.read(bytes, out),
        Codec::L16 => |bytes, out| {
            out.extend(bytes.as_chunks().0.iter().map(|&two| f32::from(i16::from_be_bytes(two)) / 32_768.0))
        },
        _ => return None,
    })
}

/// What a stream is coded as when it was edited: G.711 and L16 become samples of 16 bits, which holds all of them.
pub(crate) fn edited_codec(codec: &Codec) -> Codec {
    match codec {
        Codec::Pcmu | Codec::Pcma | Codec::L16 => Codec::PcmS16,
        other => other.clone(),
    }
}

/// A stream that is edited.
pub(crate) struct Lane {
    plan: Plan,
    out: Out,
    format: Format,
    /// Ticks of the recording at which the stream's first record lies.
    begins: u64,
    first: MediaTime,
    /// Media time behind the last record.
    next: MediaTime,
    kind: Kind,
}

enum Kind {
    Pcm(Box<Pcm>),
    Opus { inserts: Vec<Packets>, next: usize },
}

struct Pcm {
    channels: usize,
    inserts: Vec<Clip>,
    next: usize,
    overlays: Vec<Clip>,
    pacer: Option<Pacer>,
    samples: Vec<f32>,
}

impl Lane {
    /// A stream whose first record, at `first`, lies `begins` ticks behind the beginning of the recording. Only one
    /// stream of a recording gets what comes from files; the others the time for it.
    ///
    /// # Errors
    /// Where the stream cannot be edited so (2), or a file cannot be read.
    pub(crate) fn new(
        id: StreamId,
        format: &Format,
        list: &List,
        main: bool,
        first: MediaTime,
        begins: u64,
    ) -> Result<Self, Failure> {
        let plan = Plan::new(list, format.rate);
        let kind = match format.codec {
            _ if reader(&format.codec).is_some() => {
                let mut inserts = clips(list, false, format.rate, format.channels)?;
                let mut overlays = clips(list, true, format.rate, format.channels)?;
                if !main {
                    inserts.iter_mut().for_each(|clip| clip.samples.fill(0.0));
                    overlays.clear();
                }
                let channels = format.channels.count();
                Kind::Pcm(Box::new(Pcm { channels, inserts, next: 0, overlays, pacer: None, samples: Vec::new() }))
            }
            Codec::Opus => {
                let frames = |change: &Change| matches!(change, Change::Cut | Change::Keep | Change::Silence);
                if list.others.iter().any(|other| other.over || other.gain != 1.0)
                    || !list.changes.iter().all(|(_, change)| frames(change))
                {
                    return Err(Failure::usage(
                        "packets of Opus can be cut, kept, silenced and inserted; for the other edits put vox-decode before \
                         vox-edit",
                    ));
                }
                let mut inserts = packets(list, format)?;
                if !main {
                    inserts.iter_mut().for_each(|insert| quiet(insert, format));
                }
                Kind::Opus { inserts, next: 0 }
            }
            _ => {
                return Err(Failure::usage(format_args!(
                    "stream {id} is {}: put vox-decode before vox-edit",
                    format.codec
                )));
            }
        };
        let out = Out::new(id, format.rate, format.channels.count(), edited_codec(&format.codec), first);
        Ok(Self { plan, out, format: format.clone(), begins, first, next: first, kind })
    }

    /// Takes a record of audio.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn audio(&mut self, audio: &Audio<'_>, output: &mut Output) -> Result<(), Failure> {
        if audio.padding || !self.meet(audio.timestamp, audio.times, output)? {
            return Ok(());
        }
        let at = self.frame(audio.timestamp);
        self.next = audio.timestamp.plus(u64::from(audio.duration));
        match &mut self.kind {
            Kind::Opus { inserts, next } => {
                // A packet is where its middle is heard.
                let delay = u64::from(self.format.pre_skip);
                let middle = (at + u64::from(audio.duration) / 2).saturating_sub(delay);
                insert_packets(inserts, next, middle, &mut self.out, output)?;
                if self.plan.is_removed(middle) {
                    return Ok(());
                }
                if self.plan.is_silent(middle) {
                    return silent(&self.format, u64::from(audio.duration), &mut self.out, output);
                }
                self.out.packet(audio.payload, audio.duration, output)
            }
            Kind::Pcm(pcm) => {
                let mut samples = std::mem::take(&mut pcm.samples);
                samples.clear();
                if let Some(read) = reader(&self.format.codec) {
                    read(audio.payload, &mut samples);
                }
                let frames = u64::from(audio.duration).min((samples.len() / pcm.channels) as u64);
                samples.truncate(frames as usize * pcm.channels);
                let done = pcm.span(&self.plan, &self.format, at, Span::Samples(&mut samples), &mut self.out, output);
                pcm.samples = samples;
                done?;
                // A payload need not fill the duration: memory for all of that is nothing to promise a stranger.
                let rest = u64::from(audio.duration) - frames;
                self.missing(audio.timestamp.plus(frames), rest, GapReason::Lost, output)
            }
        }
    }

    /// Takes a gap.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn gap(&mut self, gap: &vox_frame::Gap<'_>, output: &mut Output) -> Result<(), Failure> {
        /// The longest gap that is believed, in ns: a day.
        const LONGEST_NS: i64 = 86_400_000_000_000;
        if gap.duration == 0 || !self.meet(gap.timestamp, gap.times, output)? {
            return Ok(());
        }
        self.missing(gap.timestamp, gap.duration.min(self.format.rate.ticks(LONGEST_NS)), gap.reason, output)
    }

    /// The stream ends at `end`, or where it stands.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn end(mut self, end: Option<MediaTime>, reason: EndReason, output: &mut Output) -> Result<(), Failure> {
        let end = end.unwrap_or(self.next);
        if end > self.next && self.format.rate.ns(end.since(self.next)) <= MAX_HOLE_NS {
            self.missing(self.next, end.since(self.next), GapReason::Lost, output)?;
        }
        // What the last packet reaches beyond the end, if it is still the last.
        let beyond = self.next.since(end);
        let last = self.frame(self.next).saturating_sub(1);
        let before = if self.plan.is_removed(last.saturating_sub(beyond)) { 0 } else { beyond };
        match &mut self.kind {
            Kind::Pcm(pcm) => {
                pcm.finish_pace(&mut self.out, output)?;
                pcm.insert(u64::MAX, &mut self.out, output)?;
            }
            Kind::Opus { inserts, next } => insert_packets(inserts, next, u64::MAX, &mut self.out, output)?,
        }
        self.out.end(before, reason, output)
    }

    /// Media time as ticks of the recording.
    fn frame(&self, media: MediaTime) -> u64 {
        self.begins.saturating_add(media.since(self.first))
    }

    /// A record begins at `media`: what was left out before it is missing. False where it lies behind what was read.
    fn meet(&mut self, media: MediaTime, times: Times, output: &mut Output) -> Result<bool, Failure> {
        let (hole, back) = (media.since(self.next), self.next.since(media));
        if self.format.rate.ns(hole) > MAX_HOLE_NS || back > u64::from(self.format.rate.hz()) {
            // Another time line: it goes on here, as if nothing were missing.
            self.begins = self.frame(self.next);
            self.first = media;
            self.next = media;
        } else if back > 0 {
            return Ok(false);
        } else if hole > 0 {
            self.missing(self.next, hole, GapReason::Lost, output)?;
        }
        // What was taken out or put in so far moves its times too.
        self.out.learn(times, media);
        Ok(true)
    }

    fn missing(&mut self, media: MediaTime, ticks: u64, reason: GapReason, output: &mut Output) -> Result<(), Failure> {
        let at = self.frame(media);
        self.next = media.plus(ticks);
        match &mut self.kind {
            Kind::Pcm(pcm) => {
                pcm.span(&self.plan, &self.format, at, Span::Missing(ticks, reason), &mut self.out, output)
            }
            Kind::Opus { inserts, next } => {
                let mut done = 0;
                while done < ticks {
                    let here = at.saturating_add(done);
                    insert_packets(inserts, next, here, &mut self.out, output)?;
                    let some = (self.plan.border(here) - here).min(ticks - done);
                    if !self.plan.is_removed(here) {
                        let reason = if self.plan.is_silent(here) { GapReason::Silent } else { reason };
                        self.out.gap(some, reason, output)?;
                    }
                    done += some;
                }
                Ok(())
            }
        }
    }
}

impl Pcm {
    /// A span that begins at frame `at` of the recording, border by border.
    fn span(
        &mut self,
        plan: &Plan,
        format: &Format,
        at: u64,
        mut span: Span<'_>,
        out: &mut Out,
        output: &mut Output,
    ) -> Result<(), Failure> {
        /// Frames of a gap that are made at a time, where it has to be samples.
        const PIECE: u64 = 48_000;
        let frames = match &span {
            Span::Samples(samples) => (samples.len() / self.channels) as u64,
            Span::Missing(frames, _) => *frames,
        };
        let mut done = 0;
        while done < frames {
            let here = at.saturating_add(done);
            self.insert(here, out, output)?;
            let mut some = (plan.border(here) - here).min(frames - done);
            if self.pacer.as_ref().is_some_and(|pacer| plan.pace(here).is_none_or(|(from, _)| from != pacer.from)) {
                self.finish_pace(out, output)?;
            }
            if plan.is_removed(here) {
                done += some;
                continue;
            }
            let paced = plan.pace(here);
            match &mut span {
                Span::Samples(samples) => {
                    let part = &mut samples[done as usize * self.channels..(done + some) as usize * self.channels];
                    plan.level(here, self.channels, part);
                    self.overlay(here, part);
                    self.put(part, paced, format, out, output)?;
                }
                Span::Missing(_, reason) if paced.is_none() && !self.is_overlaid(here, some) => {
                    out.gap(some, if plan.is_silent(here) { GapReason::Silent } else { *reason }, output)?;
                }
                Span::Missing(..) => {
                    some = some.min(PIECE);
                    let mut part = vec![0.0; some as usize * self.channels];
                    self.overlay(here, &mut part);
                    self.put(&part, paced, format, out, output)?;
                }
            }
            done += some;
        }
        Ok(())
    }

    /// Writes samples, at another pace where that is asked for.
    fn put(
        &mut self,
        samples: &[f32],
        paced: Option<(u64, Change)>,
        format: &Format,
        out: &mut Out,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let Some((from, change)) = paced else { return out.samples(samples, output) };
        if self.pacer.is_none() {
            self.pacer = Pacer::new(from, change, format.rate, format.channels);
        }
        let Some(pacer) = &mut self.pacer else { return out.samples(samples, output) };
        let mut made = Vec::new();
        pacer.process(samples, &mut made);
        out.samples(&made, output)
    }

    fn finish_pace(&mut self, out: &mut Out, output: &mut Output) -> Result<(), Failure> {
        let Some(pacer) = self.pacer.take() else { return Ok(()) };
        let mut made = Vec::new();
        pacer.finish(&mut made);
        out.samples(&made, output)
    }

    /// Puts in what belongs before frame `at` or there.
    fn insert(&mut self, at: u64, out: &mut Out, output: &mut Output) -> Result<(), Failure> {
        while self.inserts.get(self.next).is_some_and(|clip| clip.at <= at) {
            self.finish_pace(out, output)?;
            out.samples(&self.inserts[self.next].samples, output)?;
            self.next += 1;
        }
        Ok(())
    }

    /// Adds what lies over the frames from `at` on.
    fn overlay(&self, at: u64, samples: &mut [f32]) {
        for clip in &self.overlays {
            let frames = (samples.len() / self.channels) as u64;
            let (from, to) = (clip.at.max(at), (clip.at + self.length(clip)).min(at + frames));
            if from < to {
                let index = |frame: u64, base: u64| (frame - base) as usize * self.channels;
                let over = &clip.samples[index(from, clip.at)..index(to, clip.at)];
                samples[index(from, at)..].iter_mut().zip(over).for_each(|(sample, over)| *sample += over);
            }
        }
    }

    fn is_overlaid(&self, at: u64, frames: u64) -> bool {
        self.overlays.iter().any(|clip| clip.at < at + frames && clip.at + self.length(clip) > at)
    }

    const fn length(&self, clip: &Clip) -> u64 {
        (clip.samples.len() / self.channels) as u64
    }
}

/// Makes packets silent that last as long.
fn quiet(insert: &mut Packets, format: &Format) {
    let mut left: u64 = insert.packets.iter().map(|(_, ticks)| u64::from(*ticks)).sum();
    insert.packets.clear();
    while let Some((packet, lasts)) = silence(format.channels, left) {
        insert.packets.push((packet.to_vec(), lasts as u32));
        left -= lasts;
    }
}

fn insert_packets(
    inserts: &[Packets],
    next: &mut usize,
    at: u64,
    out: &mut Out,
    output: &mut Output,
) -> Result<(), Failure> {
    while let Some(insert) = inserts.get(*next).filter(|insert| insert.at <= at) {
        for (packet, ticks) in &insert.packets {
            out.packet(packet, *ticks, output)?;
        }
        *next += 1;
    }
    Ok(())
}

/// Packets of silence in place of one.
fn silent(format: &Format, ticks: u64, out: &mut Out, output: &mut Output) -> Result<(), Failure> {
    let mut left = ticks;
    while let Some((packet, lasts)) = silence(format.channels, left) {
        out.packet(&packet, lasts as u32, output)?;
        left -= lasts;
    }
    out.gap(left, GapReason::Silent, output)
}
