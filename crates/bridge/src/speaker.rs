//! One stream on its way into the sum.

use std::collections::BTreeMap;

use vox_codec::{DecoderOptions, StreamDecoder};
use vox_dsp::Timeline;
use vox_frame::{
    Audio, Channels, Codec, Format, Gap, LaterPacket, MediaTime, Rate, SequenceNumber, Stamp, StreamId, Times,
    TimestampUnwrapper, Unwrapper,
};
use vox_playout::{
    Config as Buffering, Insert, Meta, Missing, Output, Played, Playout, carries_copy, deep_reach, falls_silent,
    is_quiet,
};
use vox_rtp::PayloadFormat;

use crate::config::{Audience, Error, Packet, PersonId};

/// The only track of a timeline.
const TRACK: StreamId = StreamId(0);

/// What resampling holds back, in ns: so much earlier a packet must be there than it is mixed. Below 8 kHz twice that.
const LEAD_NS: i64 = 20_000_000;

/// How much later than it is due something may be mixed before it is moved to its place, in ns: the buffer has found
/// that packets can come faster, which need not be heard.
const MAX_BEHIND_NS: i64 = 100_000_000;

/// How much later than where the stream stands something may be due and still follow at once, in ns: rounding.
const TOLERANCE_NS: i64 = 1_000_000;

/// How far ahead of what is mixed anything may lie, in ns: what is due later is a mistake, and would take memory.
const MAX_AHEAD_NS: i64 = 10_000_000_000;

/// The most that is held of one stream, in packets and bytes.
const MAX_PACKETS: usize = 256;
const MAX_BYTES: usize = 256 * 1024;

/// A rate and channels that somebody hears.
pub(crate) type BusKey = (Rate, usize);

/// Somebody's stream.
pub(crate) struct Speaker {
    pub(crate) owner: PersonId,
    pub(crate) audience: Audience,
    carried: PayloadFormat,
    codec: Codec,
    rate: Rate,
    channels: Channels,
    buffering: Buffering,
    lead_ns: i64,
    sequence: Unwrapper,
    timestamp: TimestampUnwrapper,
    playout: Playout<Vec<u8>>,
    decoder: StreamDecoder,
    tracks: BTreeMap<BusKey, Track>,
    /// Whether the next record follows one that was heard.
    follows: bool,
    /// By how much less has come out of the decoder than it was given, in ns: an encoder's delay, left out at the
    /// beginning.
    short_ns: i64,
    ended: bool,
    pcm: Vec<f32>,
}

/// A stream at the rate of one bus.
struct Track {
    timeline: Timeline,
    /// What it gives to the block that is being mixed.
    block: Vec<f32>,
    is_heard: bool,
}

impl Speaker {
    pub(crate) fn new(owner: PersonId, format: &Format, carried: PayloadFormat, delay_ns: i64) -> Result<Self, Error> {
        let decoder = StreamDecoder::new(format, DecoderOptions::default())?;
        let lead_ns = if format.rate.hz() < 8_000 { 2 * LEAD_NS } else { LEAD_NS };
        let fixed = Buffering::fixed((delay_ns - lead_ns).max(0));
        let buffering = Buffering { max_packets: MAX_PACKETS, max_bytes: MAX_BYTES, ..fixed };
        Ok(Self {
            owner,
            audience: Audience::All,
            carried,
            codec: format.codec.clone(),
            rate: format.rate,
            channels: decoder.channels(),
            buffering,
            lead_ns,
            sequence: Unwrapper::default(),
            timestamp: TimestampUnwrapper::default(),
            playout: Playout::new(buffering, format.rate),
            decoder,
            tracks: BTreeMap::new(),
            follows: false,
            short_ns: 0,
            ended: false,
            pcm: Vec::new(),
        })
    }

    /// Somebody hears this rate from now on; the bus has come to frame `head`.
    pub(crate) fn add_bus(&mut self, (rate, channels): BusKey, head: i64) {
        let to = Channels::new(channels as u8).unwrap_or(Channels::MONO);
        let mut timeline = Timeline::new(rate, to);
        timeline.skip_to(head);
        timeline.open(TRACK, self.decoder.rate(), self.channels);
        self.tracks.insert((rate, channels), Track { timeline, block: Vec::new(), is_heard: false });
    }

    pub(crate) fn remove_bus(&mut self, key: BusKey) {
        self.tracks.remove(&key);
    }

    /// A bus goes on at frame `head`.
    pub(crate) fn skip_to(&mut self, key: BusKey, head: i64) {
        if let Some(track) = self.tracks.get_mut(&key) {
            track.timeline.skip_to(head);
        }
    }

    pub(crate) fn packet(&mut self, now: Stamp, packet: Packet<'_>) {
        let sequence = self.sequence.extend(packet.sequence);
        let ticks = self.timestamp.extend(packet.timestamp).0.saturating_mul(self.carried.scale());
        let measured = self.carried.measure(packet.payload).filter(|_| packet.audible);
        let (duration, bytes) = measured.unwrap_or((0, 0));
        let payload = &packet.payload[..bytes];
        let meta = Meta {
            sequence,
            timestamp: MediaTime(ticks),
            duration,
            marker: packet.marker,
            recovered: false,
            padding: duration == 0,
            redundant: carries_copy(&self.codec, payload),
            reach: deep_reach(&self.codec, payload),
            silent: falls_silent(&self.codec, payload),
            quiet: is_quiet(&self.codec, payload),
            arrived: packet.arrived,
            bytes,
        };
        if let Insert::Restart(payload) = self.playout.handle_packet(now, meta, payload.to_vec()) {
            self.playout = Playout::new(self.buffering, self.rate);
            self.follows = false;
            let _first = self.playout.handle_packet(now, meta, payload);
        }
    }

    /// Nothing more will come.
    pub(crate) fn close(&mut self, now: Stamp) {
        self.ended = true;
        self.playout.finish(now, None);
    }

    /// Whether it has ended and all of it was mixed.
    pub(crate) fn is_over(&self) -> bool {
        self.ended && self.is_idle()
    }

    /// Whether nothing of it waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.playout.held_packets() == 0
            && self.tracks.values().all(|track| track.timeline.head() >= track.timeline.end())
    }

    /// Decodes what is due at `now`, on a clock that began at `origin`.
    pub(crate) fn decode(&mut self, now: Stamp, origin: Stamp) {
        let mut pcm = std::mem::take(&mut self.pcm);
        loop {
            pcm.clear();
            let (due, is_gap, ticks) = match self.playout.poll(now) {
                Output::Audio(played) => {
                    self.decoder.audio(&audio(&played), &mut pcm);
                    (played.due, false, u64::from(played.meta.duration))
                }
                // What was not sent is silence; what was not mixed in time need not be made up any more.
                Output::Gap(missing) if missing.duration == 0 || missing.reason.is_silence() => {
                    self.follows = false;
                    continue;
                }
                Output::Gap(missing) => {
                    self.decoder.gap(&gap(&missing), &mut pcm);
                    (missing.due, true, 0)
                }
                Output::Wait(_) | Output::Idle | Output::Ended => break,
            };
            if is_gap && !self.follows {
                continue;
            }
            self.place(due.since(origin).saturating_add(self.lead_ns - self.short_ns), &pcm);
            self.follows = true;
            let made = (pcm.len() / self.channels.count()) as u64;
            self.short_ns += self.rate.ns(ticks.saturating_sub(made));
        }
        self.pcm = pcm;
    }

    /// Puts samples in their place, `at` ns on the bridge's clock.
    fn place(&mut self, at: i64, pcm: &[f32]) {
        for ((rate, _), track) in &mut self.tracks {
            let wanted = (i128::from(at) * i128::from(rate.hz())).div_euclid(1_000_000_000) as i64;
            let timeline = &mut track.timeline;
            if wanted - timeline.head() > rate.ticks(MAX_AHEAD_NS) as i64 {
                continue;
            }
            let position = timeline.position(TRACK);
            let stays = position.is_some_and(|position| {
                let early = wanted - position;
                let behind = rate.ticks(MAX_BEHIND_NS) as i64;
                early <= rate.ticks(TOLERANCE_NS) as i64 && -early <= if self.follows { behind } else { 0 }
            });
            if !stays {
                timeline.place(TRACK, wanted);
            }
            timeline.push(TRACK, pcm, |_late| {});
        }
    }

    /// Takes what it gives to the block of a bus that ends at `frame`; true where there is something to hear.
    pub(crate) fn take(&mut self, key: BusKey, frame: i64) -> bool {
        let floor = self.floor();
        let Some(track) = self.tracks.get_mut(&key) else { return false };
        track.block.clear();
        if track.timeline.held() == 0 {
            track.timeline.skip_to(frame);
            track.is_heard = false;
            return false;
        }
        track.timeline.take(frame, &mut track.block);
        track.is_heard = track.block.iter().any(|sample| sample.abs() > floor);
        track.is_heard
    }

    /// What it gives to the block, where that can be heard.
    pub(crate) fn block(&self, key: BusKey) -> Option<&[f32]> {
        self.tracks.get(&key).filter(|track| track.is_heard).map(|track| track.block.as_slice())
    }

    /// The loudest that is silence: what a codec makes of it, below or at the least that it can say.
    const fn floor(&self) -> f32 {
        match self.codec {
            Codec::Pcma => 8.0 / 32_768.0,
            Codec::Opus => 0.5 / 32_768.0,
            _ => 0.0,
        }
    }
}

fn audio(played: &Played<Vec<u8>>) -> Audio<'_> {
    Audio {
        id: TRACK,
        sequence: played.meta.sequence,
        timestamp: played.meta.timestamp,
        duration: played.meta.duration,
        marker: played.meta.marker,
        recovered: false,
        padding: false,
        times: Times { due: Some(played.due), ..Times::default() },
        slot: None,
        extensions: &[],
        payload: &played.payload,
    }
}

fn gap<'a>(missing: &Missing<'a, Vec<u8>>) -> Gap<'a> {
    let later = missing.later.as_ref().and_then(|later| {
        let ahead = u32::try_from(later.ahead).ok()?;
        Some(LaterPacket { ahead, payload: later.payload })
    });
    Gap {
        id: TRACK,
        sequence: SequenceNumber(missing.sequence.0),
        timestamp: missing.timestamp,
        duration: missing.duration,
        packets: missing.packets,
        reason: missing.reason,
        times: Times { due: Some(missing.due), ..Times::default() },
        slot: None,
        later,
    }
}
