//! One stream on its way out: when each packet leaves.

use std::net::SocketAddr;
use std::path::Path;

use vox_cli::value::MaxAge;
use vox_cli::{Exit, Failure, Wake, stop_requested, wait, warn};
use vox_frame::{Audio, Channels, Codec, Format, Gap, MediaTime, StreamId};
use vox_rtp::{Description, PayloadFormat, PayloadMap, Sender};
use vox_sys::{Clock, monotonic_ns};

use crate::args::Args;
use crate::outlet::Outlet;

/// How far behind its time a paced stream may be before its pace begins anew, in ns: less is made up for.
const STALL_NS: i64 = 100_000_000;

/// The dynamic payload type of what is not Opus and has no static one: 96 means Opus to `vox-recv`.
const OTHER_PAYLOAD_TYPE: u8 = 97;

pub(crate) struct Stream {
    format: Format,
    carried: PayloadFormat,
    payload_type: u8,
    sender: Sender,
    mtu: usize,
    max_age: MaxAge,
    clock: Clock,
    /// What one media time is sent at, in ns of CLOCK_MONOTONIC; none for live streams and before the first packet.
    pace: Option<(MediaTime, i64)>,
    /// When the first packet may leave, in ns of CLOCK_MONOTONIC: what came before this stream is heard until then.
    not_before: i64,
    reached: MediaTime,
    told_mtu: bool,
}

impl Stream {
    pub(crate) fn open(
        id: StreamId,
        format: &Format,
        ssrc: Option<u32>,
        not_before: i64,
        args: &Args,
        clock: Clock,
    ) -> Result<Self, Failure> {
        let standard = PayloadFormat::of_stream(format).ok_or_else(|| {
            Failure::input(format_args!(
                "stream {id} is {format}, which RTP does not carry: put `vox-encode opus` (or pcmu, pcma, l16) before"
            ))
        })?;
        let mapped = args.map.iter().find(|(_, mapped)| mapped.codec == standard.codec).cloned();
        let carried = mapped.as_ref().map_or(standard, |(_, mapped)| mapped.clone());
        let kept = format.rtp.as_ref().map(|rtp| rtp.payload_type);
        let payload_type = args
            .payload_type
            .or_else(|| mapped.map(|(number, _)| number))
            .or(kept)
            .or_else(|| carried.static_type())
            .unwrap_or(if carried.codec == Codec::Opus { PayloadMap::OPUS } else { OTHER_PAYLOAD_TYPE });
        let sender = Sender::new(format, &carried, payload_type, ssrc, random);
        Ok(Self {
            format: format.clone(),
            carried,
            payload_type,
            sender,
            mtu: args.mtu,
            max_age: args.max_age,
            clock,
            pace: None,
            not_before,
            reached: MediaTime(0),
            told_mtu: false,
        })
    }

    pub(crate) const fn is_live(&self) -> bool {
        self.format.live
    }

    /// Writes the session description that players read.
    pub(crate) fn describe(&self, file: &Path, to: Option<SocketAddr>, ttl: u32) -> Result<(), Failure> {
        let Some(to) = to else { return Ok(()) };
        let frame_ms = self.format.rate.ns(u64::from(self.format.frame.max(1))) as f64 / 1e6;
        let stereo = self.format.channels != Channels::MONO;
        let session = u64::from(random());
        let text =
            Description::write(to.ip(), to.port(), ttl, self.payload_type, &self.carried, stereo, frame_ms, session);
        std::fs::write(file, text)
            .map_err(|error| Failure::failed(format_args!("cannot write {}: {error}", file.display())))
    }

    pub(crate) fn audio(&mut self, audio: &Audio<'_>, outlet: &mut Outlet) -> Result<(), Failure> {
        let silent = audio.padding || audio.payload.is_empty();
        if silent && !self.sender.keeps_numbers() {
            return Ok(());
        }
        if self.max_age.is_stale(self.format.live, &audio.times, self.clock.now()) {
            self.sender.handle_loss(u64::from(audio.duration));
            return Ok(());
        }
        if silent {
            outlet.send(self.sender.piece(audio, 0, 0).packet);
            return Ok(());
        }
        let cut = self.sender.cut(audio.payload.len(), self.mtu);
        if cut > self.mtu && !self.told_mtu {
            self.told_mtu = true;
            warn(format_args!("packets of {cut} bytes are above --mtu {} and go out whole", self.mtu));
        }
        let mut from = 0;
        while from < audio.payload.len() {
            let ticks = self.format.tick_bytes().map_or(0, |bytes| (from / bytes) as u64);
            self.wait_for(audio.timestamp.plus(ticks))?;
            outlet.send(self.sender.piece(audio, from, cut).packet);
            from += cut;
        }
        self.reached = audio.timestamp.plus(u64::from(audio.duration));
        Ok(())
    }

    /// Nothing is sent for a gap; what follows has its own timestamp.
    pub(crate) fn gap(&mut self, gap: &Gap<'_>) {
        self.sender.handle_gap(gap);
        self.reached = gap.timestamp.plus(gap.duration);
    }

    /// Until when what was sent last is being heard, in ns of CLOCK_MONOTONIC; none where the world paces.
    pub(crate) fn heard_until(&self) -> Option<i64> {
        let (from, began) = self.pace?;
        Some(began.saturating_add(self.format.rate.ns(self.reached.since(from))))
    }

    /// A stream that the world does not pace is paced here, by media time, on absolute deadlines.
    fn wait_for(&mut self, timestamp: MediaTime) -> Result<(), Failure> {
        if self.format.live {
            return Ok(());
        }
        let now = monotonic_ns();
        let (from, began) = *self.pace.get_or_insert_with(|| (timestamp, now.max(self.not_before)));
        let deadline = began.saturating_add(self.format.rate.ns(timestamp.since(from)));
        let behind = now - deadline;
        if behind > STALL_NS {
            // Nothing is dropped and nothing goes out in a burst: the timestamps move on by the stall.
            self.pace = Some((timestamp, now));
            self.sender.handle_stall(self.format.rate.ticks(behind));
            return Ok(());
        }
        wait_until(deadline)
    }
}

/// Waits for a point of CLOCK_MONOTONIC, or ends in good order with the first signal.
pub(crate) fn wait_until(deadline: i64) -> Result<(), Failure> {
    loop {
        if stop_requested() {
            return Err(Failure::quiet(Exit::Done));
        }
        if monotonic_ns() >= deadline || wait(None, Some(deadline))? == Wake::Deadline {
            return Ok(());
        }
    }
}

fn random() -> u32 {
    getrandom::u32().unwrap_or_else(|_| monotonic_ns() as u32)
}
