//! The mixes on their way out: limited, coded, cut into records.

use std::collections::BTreeMap;

use vox_cli::{Failure, Output};
use vox_codec::linear;
use vox_dsp::Limiter;
use vox_frame::{
    Audio, Channels, Codec, End, EndReason, Format, Gap, GapReason, MAX_AUDIO_HEADER, MAX_WRITE, MediaTime, Rate,
    Record, SequenceNumber, Stamp, StreamId, Times,
};

use crate::mixer::Key;

/// All mixes.
pub(crate) struct Outlets {
    codec: Codec,
    frame: u32,
    live: bool,
    outlets: BTreeMap<Option<Key>, Outlet>,
    difference: Vec<f64>,
    limited: u64,
}

/// One mix.
struct Outlet {
    id: StreamId,
    rate: Rate,
    layout: Channels,
    channels: usize,
    limiter: Limiter,
    pcm: Vec<f32>,
    sequence: u64,
    position: MediaTime,
    /// The frame of the sum at which it began.
    begin: i64,
    /// The time that its media time 0 stands for, in real time.
    origin: Option<Stamp>,
}

impl Outlets {
    pub(crate) const fn new(codec: Codec, frame: u32, live: bool) -> Self {
        Self { codec, frame, live, outlets: BTreeMap::new(), difference: Vec::new(), limited: 0 }
    }

    /// By how many frames a sum must be known ahead of the record that it is for: in real time by none, as nobody waits
    /// for what the limiter looks ahead at; the mix is that much later instead.
    pub(crate) fn lookahead(&self) -> i64 {
        let lookahead = self.outlets.values().next().map_or(0, |outlet| outlet.limiter.lookahead() as i64);
        if self.live { 0 } else { lookahead }
    }

    /// Frames that were turned down.
    pub(crate) fn limited(&self) -> u64 {
        self.limited + self.outlets.values().map(|outlet| outlet.limiter.limited()).sum::<u64>()
    }

    /// Whether there is a mix without `key` (none: the mix of all).
    pub(crate) fn has(&self, key: Option<Key>) -> bool {
        self.outlets.contains_key(&key)
    }

    /// Begins the mix without `key`.
    pub(crate) fn open(
        &mut self,
        key: Option<Key>,
        id: StreamId,
        label: Option<String>,
        (rate, channels): (Rate, Channels),
        begin: i64,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let mut format = Format::new(self.codec.clone(), rate, channels, self.frame);
        format.label = label;
        format.live = self.live;
        output.write(&Record::Format(id, format))?;
        let limiter = Limiter::new(rate, channels);
        let early = if self.live { limiter.lookahead() } else { 0 };
        let (pcm, position) = (vec![0.0; early * channels.count()], MediaTime(0));
        let outlet = Outlet {
            id,
            rate,
            layout: channels,
            channels: channels.count(),
            limiter,
            pcm,
            sequence: 0,
            position,
            begin,
            origin: None,
        };
        self.outlets.insert(key, outlet);
        Ok(())
    }

    /// Learns which times frames of the sum stand for.
    pub(crate) fn begin_at(&mut self, stamp: impl Fn(i64) -> Option<Stamp>) {
        for outlet in self.outlets.values_mut().filter(|outlet| outlet.origin.is_none()) {
            outlet.origin = stamp(outlet.begin - outlet.limiter.lookahead() as i64);
        }
    }

    /// Takes a sum; `own` says what is to be taken out of it for the mix without a stream.
    pub(crate) fn push<'o>(
        &mut self,
        sum: &[f64],
        own: impl Fn(Key) -> Option<&'o [f64]>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let (codec, frame) = (&self.codec, self.frame);
        for (key, outlet) in &mut self.outlets {
            match key.and_then(&own) {
                None => outlet.limiter.process(sum, &mut outlet.pcm),
                Some(own) => {
                    self.difference.clear();
                    self.difference.extend(sum.iter().zip(own).map(|(sum, own)| sum - own));
                    outlet.limiter.process(&self.difference, &mut outlet.pcm);
                }
            }
            // In real time nothing is kept back for a longer record.
            outlet.write(codec, frame as usize, self.live, output)?;
        }
        Ok(())
    }

    /// Tells of frames that were left out.
    pub(crate) fn skip(&mut self, frames: u64, output: &mut Output) -> Result<(), Failure> {
        for outlet in self.outlets.values_mut() {
            outlet.limiter.finish(&mut outlet.pcm);
            outlet.write(&self.codec, self.frame as usize, true, output)?;
            let early = outlet.limiter.lookahead() as u64;
            output.gap(&Gap {
                id: outlet.id,
                sequence: SequenceNumber(outlet.sequence),
                timestamp: outlet.position,
                duration: frames.saturating_sub(early),
                packets: 0,
                reason: GapReason::Overrun,
                times: Times { captured: outlet.captured(), ..Times::default() },
                slot: None,
                later: None,
            })?;
            outlet.position = outlet.position.plus(frames.saturating_sub(early));
            outlet.limiter = Limiter::new(outlet.rate, outlet.layout);
            outlet.pcm.resize(outlet.limiter.lookahead() * outlet.channels, 0.0);
        }
        Ok(())
    }

    /// Ends the mix without `key`.
    pub(crate) fn close(&mut self, key: Option<Key>, reason: &EndReason, output: &mut Output) -> Result<(), Failure> {
        let Some(mut outlet) = self.outlets.remove(&key) else { return Ok(()) };
        outlet.limiter.finish(&mut outlet.pcm);
        self.limited += outlet.limiter.limited();
        outlet.write(&self.codec, self.frame as usize, true, output)?;
        let (id, timestamp) = (outlet.id, outlet.position);
        output.write(&Record::End(End { id, timestamp, times: Times::default(), reason: reason.clone() }))
    }

    /// Ends all mixes.
    pub(crate) fn close_all(&mut self, reason: &EndReason, output: &mut Output) -> Result<(), Failure> {
        for key in self.outlets.keys().copied().collect::<Vec<_>>() {
            self.close(key, reason, output)?;
        }
        output.flush()
    }
}

impl Outlet {
    /// When the next record was captured, as it were.
    fn captured(&self) -> Option<Stamp> {
        Some(self.origin?.plus(self.rate.ns(self.position.0)))
    }

    /// Writes whole records, and with `all` what is left.
    fn write(&mut self, codec: &Codec, frame: usize, all: bool, output: &mut Output) -> Result<(), Failure> {
        let tick = codec.sample_bytes().unwrap_or(4) * self.channels;
        let most = ((MAX_WRITE - MAX_AUDIO_HEADER) / tick).max(1);
        // As many records of equal length as a frame needs to fit.
        let piece = frame.div_ceil(frame.div_ceil(most));
        let mut done = 0;
        let mut bytes = Vec::new();
        while self.pcm.len() - done >= piece * self.channels || all && self.pcm.len() > done {
            let end = self.pcm.len().min(done + piece * self.channels);
            let samples = &self.pcm[done..end];
            let frames = samples.len() / self.channels;
            bytes.clear();
            match codec {
                Codec::PcmF32 => bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes())),
                _ => linear::f32_to_s16le(samples, &mut bytes),
            }
            let captured = self.captured();
            output.audio(&Audio {
                id: self.id,
                sequence: SequenceNumber(self.sequence),
                timestamp: self.position,
                duration: frames as u32,
                marker: self.sequence == 0,
                recovered: false,
                padding: false,
                times: Times { captured, ..Times::default() },
                slot: None,
                extensions: &[],
                payload: &bytes,
            })?;
            self.sequence += 1;
            self.position = self.position.plus(frames as u64);
            done = end;
        }
        self.pcm.drain(..done);
        Ok(())
    }
}
