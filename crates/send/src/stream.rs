//! One stream on its way out: when each packet leaves.

use vox_cli::value::MaxAge;
use vox_cli::{Exit, Failure, Wake, stop_requested, wait, warn};
use vox_frame::{Audio, Channels, Event, Format, Gap, MediaTime, Stamp, StreamId};
use vox_repair::{Guard, Protection};
use vox_rtp::{AnnouncedStream, PayloadFormat, Sender, TELEPHONE_EVENT};
use vox_sys::{Clock, monotonic_ns};

use crate::args::Args;
use crate::ear::{SharedControl, lock};
use crate::lanes::Lanes;
use crate::payload::PayloadTypes;

/// How far behind its time a paced stream may be before its pace begins anew, in ns: less is made up for.
const STALL_NS: i64 = 100_000_000;

/// The clock that the pipe's stamps are on, and this host's.
#[derive(Clone, Copy)]
pub(crate) struct Clocks {
    pub(crate) stream: Clock,
    pub(crate) own: Clock,
}

impl Clocks {
    const fn to_own(self, stamp: Stamp) -> Stamp {
        self.own.from_mono(self.stream.mono_ns(stamp))
    }
}

pub(crate) struct Stream {
    format: Format,
    carried: PayloadFormat,
    payload_type: u8,
    sender: Sender,
    /// The SSRC of its retransmissions, where they have a stream of their own.
    again: Option<u32>,
    /// What protects it from loss.
    guard: Option<Guard>,
    mtu: usize,
    max_age: MaxAge,
    clocks: Clocks,
    control: SharedControl,
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
        types: &mut PayloadTypes,
        args: &Args,
        clocks: Clocks,
        control: &SharedControl,
    ) -> Result<Self, Failure> {
        let (payload_type, carried) = types.choose(format, args).ok_or_else(|| {
            Failure::input(format_args!(
                "stream {id} is {format}, which RTP does not carry: put `vox-encode opus` (or pcmu, pcma, l16) before"
            ))
        })?;
        let sender = Sender::new(format, &carried, payload_type, ssrc, random).with_extensions(args.extensions());
        let cname = format.rtp.as_ref().map(|_| format!("{:08x}-relayed", sender.ssrc()));
        lock(control).add_stream(clocks.own.now(), sender.ssrc(), carried.clock, cname);
        let protection = args.protection();
        Ok(Self {
            format: format.clone(),
            carried,
            payload_type,
            sender,
            again: None,
            guard: (protection != Protection::default()).then(|| Guard::new(protection, args.mtu)),
            mtu: args.mtu,
            max_age: args.max_age,
            clocks,
            control: SharedControl::clone(control),
            pace: None,
            not_before: 0,
            reached: MediaTime(0),
            told_mtu: false,
        })
    }

    /// Keeps what is sent, where it may be asked for again.
    pub(crate) fn keep(&mut self, lanes: &Lanes, protection: Protection) {
        let Some(again) = lanes.again() else { return };
        let (red, parity) = (protection.red.map(|(number, _)| number), protection.parity.map(|(number, _)| number));
        let carried: Vec<u8> = red.into_iter().chain([self.payload_type]).chain(parity).collect();
        self.again = again.open(self.ssrc(), &carried);
        if let Some(own) = self.again {
            let mut control = lock(&self.control);
            // Who repeats a stream is known by the name of whom it repeats (RFC 4588, section 5.1).
            let cname = control.cname(self.ssrc()).map(str::to_owned);
            control.add_stream(self.clocks.own.now(), own, self.carried.clock, cname);
        }
    }

    /// The SSRC of its retransmissions, where they have a stream of their own.
    pub(crate) const fn again(&self) -> Option<u32> {
        self.again
    }

    /// The first packet leaves no earlier, in ns of CLOCK_MONOTONIC.
    pub(crate) const fn follow(&mut self, not_before: i64) {
        self.not_before = not_before;
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
            // What came from RTP has events of its own, if any, and nobody can press a key here.
            events: Some(self.sender.event_type())
                .filter(|events| !self.sender.keeps_numbers() && *events != self.payload_type),
            again: self.again,
            cname: lock(&self.control).cname(self.ssrc()).map(str::to_owned),
        }
    }

    /// Sends a record when it is its time; where it is muted, only time passes.
    pub(crate) fn audio(&mut self, audio: &Audio<'_>, muted: bool, lanes: &Lanes) -> Result<(), Failure> {
        let silent = audio.padding || audio.payload.is_empty();
        if silent && !self.sender.keeps_numbers() {
            return Ok(());
        }
        if self.max_age.is_stale(self.format.live, &audio.times, self.clocks.stream.now()) {
            self.sender.handle_loss(u64::from(audio.duration));
            return Ok(());
        }
        if silent {
            return self.send(audio, 0, 0, lanes);
        }
        if muted {
            return self.mute(audio, lanes);
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
            self.send(audio, from, cut, lanes)?;
            from += cut;
        }
        self.reached = audio.timestamp.plus(u64::from(audio.duration));
        Ok(())
    }

    /// Time passes and nothing is heard: of what has its own numbers the numbers alone go out, lest they count as lost.
    fn mute(&mut self, audio: &Audio<'_>, lanes: &Lanes) -> Result<(), Failure> {
        self.wait_for(audio.timestamp)?;
        self.reached = audio.timestamp.plus(u64::from(audio.duration));
        if self.sender.keeps_numbers() {
            return self.send(&Audio { payload: &[], extensions: &[], ..*audio }, 0, 0, lanes);
        }
        self.sender.handle_loss(0);
        Ok(())
    }

    fn send(&mut self, audio: &Audio<'_>, from: usize, length: usize, lanes: &Lanes) -> Result<(), Failure> {
        let now = self.clocks.own.now();
        // Who paces says when: a file is captured as it is heard. What was relayed without a date has that of its
        // arrival. The world is told the time of this host's clock, whatever the anchor of the pipe.
        let captured = audio.times.captured.or_else(|| audio.times.arrived.filter(|_| self.format.live));
        let captured = captured.map_or(now, |captured| self.clocks.to_own(captured));
        let mut audio = *audio;
        audio.times.captured = Some(captured);
        let piece = self.sender.piece(&audio, from, length);
        match &mut self.guard {
            None => lanes.send_rtp(piece.packet)?,
            Some(guard) => {
                let mut outcome = Ok(());
                guard.handle_packet(piece.packet, |packet| {
                    if outcome.is_ok() {
                        outcome = lanes.send_rtp(packet);
                    }
                });
                outcome?;
            }
        }
        if !self.format.live {
            // What is paced leaves at its own time, not with what follows.
            lanes.depart_now();
        }
        let later = self.format.rate.ns(piece.timestamp.since(audio.timestamp));
        let captured = captured.plus(later);
        let (rtp, payload) = (piece.rtp, piece.payload);
        lock(&self.control).handle_sent(now, self.sender.ssrc(), rtp, captured, payload);
        Ok(())
    }

    /// Nothing more comes: what is not protected from loss yet is.
    pub(crate) fn finish(&mut self, lanes: &Lanes) -> Result<(), Failure> {
        let mut outcome = Ok(());
        if let Some(guard) = &mut self.guard {
            guard.finish(|packet| {
                if outcome.is_ok() {
                    outcome = lanes.send_rtp(packet);
                }
            });
        }
        lanes.depart_now();
        outcome
    }

    /// A key is pressed beside the audio.
    pub(crate) fn event(&mut self, event: &Event) {
        if event.event == TELEPHONE_EVENT && !self.sender.keeps_numbers() && !self.sender.handle_event(event) {
            warn(format_args!("an event is not sent: it names no key, or too many wait"));
        }
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
