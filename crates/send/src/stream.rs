//! One stream on its way out: when each packet leaves.

use vox_cli::value::MaxAge;
use vox_cli::{Exit, Failure, Wake, stop_requested, wait, warn};
use vox_frame::{Audio, Channels, Format, Gap, MediaTime, StreamId};
use vox_rtp::{AnnouncedStream, PayloadFormat, Sender};
use vox_sys::{Clock, monotonic_ns};

use crate::args::Args;
use crate::outlet::Outlet;
use crate::payload::PayloadTypes;

/// How far behind its time a paced stream may be before its pace begins anew, in ns: less is made up for.
const STALL_NS: i64 = 100_000_000;

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
        types: &mut PayloadTypes,
        args: &Args,
        clock: Clock,
    ) -> Result<Self, Failure> {
        let (payload_type, carried) = types.choose(format, args).ok_or_else(|| {
            Failure::input(format_args!(
                "stream {id} is {format}, which RTP does not carry: put `vox-encode opus` (or pcmu, pcma, l16) before"
            ))
        })?;
        let sender = Sender::new(format, &carried, payload_type, ssrc, random).with_extensions(args.extensions());
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

    pub(crate) const fn ssrc(&self) -> u32 {
        self.sender.ssrc()
    }

    /// What players are told of it.
    pub(crate) fn announced(&self) -> AnnouncedStream {
        AnnouncedStream {
            ssrc: self.ssrc(),
            payload_type: self.payload_type,
            format: self.carried.clone(),
            stereo: self.format.channels != Channels::MONO,
            packet_ms: self.format.rate.ns(u64::from(self.format.frame.max(1))) as f64 / 1e6,
            events: None,
            cname: None,
        }
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

pub(crate) fn random() -> u32 {
    getrandom::u32().unwrap_or_else(|_| monotonic_ns() as u32)
}
