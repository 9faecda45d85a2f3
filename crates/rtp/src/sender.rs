//! The records of one stream to RTP packets.

use vox_frame::{Audio, Event, Extension, Extensions, Format, Gap, MediaTime, Rate};

use crate::PayloadFormat;
use crate::extension::{ExtensionMap, HeaderFacts};
use crate::ntp::NtpTime;
use crate::packet::{Header, MAX_CSRC, write_extended, write_packet, write_padding};
use crate::source::MAX_DROPOUT;
use crate::tones::{Tone, Tones};

/// A packet to send, and where it lies in media time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Media time of its first sample, in ticks of the stream's clock.
    pub timestamp: MediaTime,
    /// The same as the packet's timestamp.
    pub rtp: u32,
    /// Bytes of its payload.
    pub payload: usize,
    /// The RTP packet.
    pub packet: &'a [u8],
}

/// Packetises one stream. A stream that came from RTP keeps its SSRC, sequence numbers, timestamps and markers; one
/// that was born here gets random ones.
#[derive(Debug)]
pub struct Sender {
    rate: Rate,
    tick_bytes: Option<usize>,
    frame: u32,
    scale: u64,
    ssrc: u32,
    payload_type: u8,
    /// Numbers of a stream born here; none for one that keeps its own.
    own: Option<Numbers>,
    tones: Tones,
    extensions: ExtensionMap,
    extension: Vec<u8>,
    packet: Vec<u8>,
}

#[derive(Debug)]
struct Numbers {
    sequence: u16,
    offset: u32,
    marker: bool,
}

impl Sender {
    /// A sender of streams of that format, as `carried` on the wire. `random` draws SSRC, first number and timestamp
    /// of a stream that was born here; `ssrc` sets the first of them.
    pub fn new(
        format: &Format,
        carried: &PayloadFormat,
        payload_type: u8,
        ssrc: Option<u32>,
        mut random: impl FnMut() -> u32,
    ) -> Self {
        let kept = format.rtp.as_ref().filter(|_| ssrc.is_none());
        // In the lower half, so that a receiver that misses the first packets of SRTP sees no wrap (RFC 3711, 3.3.1).
        let own = kept.is_none().then(|| Numbers { sequence: random() as u16 >> 1, offset: random(), marker: true });
        Self {
            rate: format.rate,
            tick_bytes: format.tick_bytes(),
            frame: if format.frame == 0 { format.rate.ticks(20_000_000) as u32 } else { format.frame },
            scale: carried.scale(),
            ssrc: ssrc.or_else(|| kept.map(|rtp| rtp.ssrc)).unwrap_or_else(random),
            payload_type,
            own,
            tones: Tones::default(),
            extensions: ExtensionMap::default(),
            extension: Vec::new(),
            packet: Vec::new(),
        }
    }

    /// Which header extensions packets carry, where their records have what belongs into them.
    #[must_use]
    pub const fn with_extensions(mut self, extensions: ExtensionMap) -> Self {
        self.extensions = extensions;
        self
    }

    /// The stream's SSRC.
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The stream's clock.
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Nothing is sent for a gap. What follows silence begins a talk spurt; what was lost further up counts its
    /// packets, so that the receiver sees the loss as one.
    pub fn handle_gap(&mut self, gap: &Gap<'_>) {
        let length = if gap.reason.is_silence() { 0 } else { gap.duration };
        self.handle_loss(length);
    }

    /// `length` ticks are left out; none where there was nothing to hear.
    pub fn handle_loss(&mut self, length: u64) {
        let frame = u64::from(self.frame.max(1));
        let Some(own) = &mut self.own else { return };
        let packets = (length + frame / 2) / frame;
        if packets == 0 || packets >= u64::from(MAX_DROPOUT) {
            // A hole that wide in the numbers would be taken for a restart.
            own.marker = true;
        } else {
            own.sequence = own.sequence.wrapping_add(packets as u16);
        }
    }

    /// The sender stood still for `ticks`: timestamps move on by them.
    pub fn handle_stall(&mut self, ticks: u64) {
        let ticks = (ticks / self.scale) as u32;
        if let Some(own) = &mut self.own {
            own.offset = own.offset.wrapping_add(ticks);
            own.marker = true;
        }
    }

    /// How many bytes of a payload go into each packet: what is coded sample by sample is cut to the nominal frame and
    /// to `mtu` bytes; anything else goes out whole.
    pub fn cut(&self, payload: usize, mtu: usize) -> usize {
        match (self.tick_bytes, &self.own) {
            (Some(tick), Some(_)) => {
                let most = (mtu / tick * tick).max(tick);
                (self.frame as usize * tick).clamp(tick, most)
            }
            _ => payload.max(1),
        }
    }

    /// The packet of the piece of `audio` that begins at byte `from` and has at most `length` bytes.
    pub fn piece(&mut self, audio: &Audio<'_>, from: usize, length: usize) -> Piece<'_> {
        let payload = &audio.payload[from.min(audio.payload.len())..audio.payload.len().min(from + length)];
        let ticks = self.tick_bytes.map_or(0, |bytes| (from / bytes) as u64);
        let timestamp = audio.timestamp.plus(ticks);
        let wire = (timestamp.0 / self.scale) as u32;
        let header = match &mut self.own {
            Some(own) => {
                let header = Header {
                    ssrc: self.ssrc,
                    sequence: own.sequence,
                    timestamp: wire.wrapping_add(own.offset),
                    payload_type: self.payload_type,
                    marker: std::mem::replace(&mut own.marker, false) || (audio.marker && from == 0),
                };
                own.sequence = own.sequence.wrapping_add(1);
                header
            }
            None => Header {
                ssrc: self.ssrc,
                sequence: audio.sequence.rtp(),
                timestamp: wire,
                payload_type: self.payload_type,
                marker: audio.marker,
            },
        };
        let mut length = payload.len();
        if let Some(tone) = self.tones.next(header.timestamp, self.wire_ticks(payload)) {
            length = self.write_tone(header, tone);
        } else if payload.is_empty() {
            length = self.write_beside(header, audio);
        } else {
            facts(audio, self.rate.ns(ticks)).write(&self.extensions, &mut self.extension);
            write_extended(header, contributing(audio), &self.extension, payload, &mut self.packet);
        }
        Piece { timestamp, rtp: header.timestamp, payload: length, packet: &self.packet }
    }

    /// A key is pressed: the packets that follow say so in place of audio (RFC 4733), until it has lasted as long as
    /// the record says. False where it is none, or the stream has numbers of its own: its packets say so themselves.
    pub fn handle_event(&mut self, event: &Event) -> bool {
        let Some(rate) = Rate::new(self.rate.hz() / self.scale.max(1) as u32) else { return false };
        self.own.is_some() && self.tones.press(event, rate)
    }

    /// The payload type of keys.
    pub const fn event_type(&self) -> u8 {
        self.tones.payload_type()
    }

    /// Ticks on the wire that a payload stands for.
    fn wire_ticks(&self, payload: &[u8]) -> u32 {
        let ticks = self.tick_bytes.map_or(self.frame, |bytes| (payload.len() / bytes) as u32);
        ticks / self.scale.max(1) as u32
    }

    fn write_tone(&mut self, header: Header, tone: Tone) -> usize {
        let payload_type = self.tones.payload_type();
        let header = Header { payload_type, timestamp: tone.timestamp, marker: tone.first, ..header };
        let payload = tone.event.to_bytes();
        write_packet(header, &[], &payload, &mut self.packet);
        payload.len()
    }

    /// A packet that carries no audio: what it carried in its place, or padding.
    fn write_beside(&mut self, header: Header, audio: &Audio<'_>) -> usize {
        let carried = Extensions::new(audio.extensions).find_map(|extension| match extension {
            Extension::RtpPayload { payload_type, payload } => Some((payload_type, payload)),
            _ => None,
        });
        if let Some((payload_type, payload)) = carried {
            write_packet(Header { payload_type, ..header }, contributing(audio), payload, &mut self.packet);
            return payload.len();
        }
        write_padding(header, contributing(audio), &mut self.packet);
        0
    }

    /// Whether a record that carries no audio is sent all the same: its number is another sender's, and would count
    /// as lost.
    pub const fn keeps_numbers(&self) -> bool {
        self.own.is_none()
    }
}

/// What header extensions may say of the part of a record that begins `after` ns.
fn facts(audio: &Audio<'_>, after: i64) -> HeaderFacts {
    let level = Extensions::new(audio.extensions).find_map(|extension| match extension {
        Extension::AudioLevel { voice, level } => Some((voice, level)),
        _ => None,
    });
    HeaderFacts { level, captured: audio.times.captured.map(|captured| NtpTime::of(captured.plus(after))) }
}

/// The record's contributing sources, as they stand in a packet.
fn contributing<'a>(audio: &Audio<'a>) -> &'a [u8] {
    Extensions::new(audio.extensions)
        .find_map(|extension| match extension {
            Extension::ContributingSources(list) => Some(&list[..list.len().min(4 * MAX_CSRC)]),
            _ => None,
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HeaderExtension, Packet, PayloadMap};
    use vox_frame::{Channels, Codec, GapReason, RtpOrigin, SequenceNumber, Stamp, StreamId, Times};

    fn audio(payload: &[u8]) -> Audio<'_> {
        Audio {
            id: StreamId(1),
            sequence: SequenceNumber(65_536 + 500),
            timestamp: MediaTime((1 << 32) + 700),
            duration: payload.len() as u32,
            marker: false,
            recovered: false,
            padding: false,
            times: Times::default(),
            slot: None,
            extensions: &[],
            payload,
        }
    }

    fn pcmu() -> (Format, PayloadFormat) {
        let format = Format::new(Codec::Pcmu, Rate::HZ_8000, Channels::MONO, 160);
        (format, PayloadMap::standard().get(0).expect("a static type").clone())
    }

    #[test]
    fn a_stream_that_came_from_rtp_keeps_its_numbers() {
        let (mut format, carried) = pcmu();
        format.rtp = Some(RtpOrigin { ssrc: 42, payload_type: 0, source: None });
        let mut sender = Sender::new(&format, &carried, 0, None, || panic!("nothing is drawn"));
        let payload = [1; 400];
        assert_eq!(sender.cut(400, 1200), 400, "its packets keep their size");
        let piece = sender.piece(&audio(&payload), 0, 400);
        let header = Packet::parse(piece.packet).expect("a packet").header;
        assert_eq!((header.ssrc, header.sequence, header.timestamp, header.marker), (42, 500, 700, false));
    }

    #[test]
    fn a_long_record_is_cut_to_frames_whose_timestamps_go_on() {
        let (format, carried) = pcmu();
        let mut sender = Sender::new(&format, &carried, 0, Some(7), || 0);
        let payload: Vec<u8> = (0..400).map(|n| n as u8).collect();
        assert_eq!(sender.cut(payload.len(), 1200), 160);
        let audio = audio(&payload);
        let mut seen = Vec::new();
        for from in [0, 160, 320] {
            let piece = sender.piece(&audio, from, 160);
            let packet = Packet::parse(piece.packet).expect("a packet");
            seen.push((packet.header.sequence, packet.header.timestamp, packet.header.marker, packet.payload.len()));
        }
        assert_eq!(seen, [(0, 700, true, 160), (1, 860, false, 160), (2, 1020, false, 80)]);
    }

    #[test]
    fn level_and_time_of_capture_stand_in_header_extensions() {
        let mut map = ExtensionMap::default();
        map.insert(1, HeaderExtension::AudioLevel);
        map.insert(2, HeaderExtension::CaptureTime);
        let (format, carried) = pcmu();
        let mut sender = Sender::new(&format, &carried, 0, Some(7), || 0).with_extensions(map);
        let mut extensions = Vec::new();
        Extension::AudioLevel { voice: true, level: 33 }.write(&mut extensions);
        let captured = Stamp::from_ns(1_763_719_000_000_000_000);
        let times = Times { captured: Some(captured), ..Times::default() };
        let payload = [0; 320];
        let record = Audio { extensions: &extensions, times, ..audio(&payload) };
        let packet = Packet::parse(sender.piece(&record, 160, 160).packet).expect("a packet");
        let (profile, bytes) = packet.extension.expect("an extension");
        let facts = HeaderFacts::read(&map, profile, bytes);
        assert_eq!(facts.level, Some((true, 33)));
        assert_eq!(facts.captured(captured), Some(captured.plus(20_000_000)), "the second half is later");
    }

    fn gap(duration: u64, reason: GapReason) -> Gap<'static> {
        Gap {
            id: StreamId(1),
            sequence: SequenceNumber(0),
            timestamp: MediaTime(0),
            duration,
            packets: 0,
            reason,
            times: Times::default(),
            slot: None,
            later: None,
        }
    }

    /// Number and marker of the packet that follows the gap, where the one before it has number 0.
    fn after(gap: &Gap<'_>) -> (u16, bool) {
        let (format, carried) = pcmu();
        let mut sender = Sender::new(&format, &carried, 0, Some(7), || 0);
        let payload = [0; 160];
        sender.piece(&audio(&payload), 0, 160);
        sender.handle_gap(gap);
        let header = Packet::parse(sender.piece(&audio(&payload), 0, 160).packet).expect("a packet").header;
        (header.sequence, header.marker)
    }

    #[test]
    fn what_was_lost_further_up_is_lost_to_the_receiver() {
        for reason in [GapReason::Lost, GapReason::Late, GapReason::Overrun] {
            assert_eq!(after(&gap(480, reason)), (4, false), "{reason:?}");
        }
    }

    #[test]
    fn silence_is_no_loss_and_a_talk_spurt_follows_it() {
        for reason in [GapReason::Silent, GapReason::Muted] {
            assert_eq!(after(&gap(480, reason)), (1, true), "{reason:?}");
        }
    }

    #[test]
    fn a_loss_as_long_as_a_restart_is_told_by_the_timestamp_alone() {
        assert_eq!(after(&gap(160 * 3000, GapReason::Lost)), (1, true));
    }

    #[test]
    fn padding_and_contributing_sources_are_relayed() {
        let (mut format, carried) = pcmu();
        format.rtp = Some(RtpOrigin { ssrc: 42, payload_type: 0, source: None });
        let mut sender = Sender::new(&format, &carried, 0, None, || panic!("nothing is drawn"));
        let mut extensions = Vec::new();
        Extension::ContributingSources(&[0, 0, 0, 5, 0, 0, 0, 6]).write(&mut extensions);
        let padding = Audio { extensions: &extensions, padding: true, ..audio(&[]) };
        assert!(sender.keeps_numbers());
        let packet = Packet::parse(sender.piece(&padding, 0, 1).packet).expect("a packet");
        assert_eq!((packet.header.sequence, packet.padded, packet.payload.len()), (500, true, 0));
        assert_eq!(packet.csrc, [0, 0, 0, 5, 0, 0, 0, 6]);
    }

    #[test]
    fn a_stall_moves_the_timestamps_on() {
        let (format, carried) = pcmu();
        let mut sender = Sender::new(&format, &carried, 0, Some(7), || 0);
        sender.handle_stall(8000);
        let payload = [0; 160];
        let piece = sender.piece(&audio(&payload), 0, 160);
        assert_eq!(Packet::parse(piece.packet).expect("a packet").header.timestamp, 8700);
    }

    #[test]
    fn samples_are_never_split_by_the_mtu() {
        let format = Format::new(Codec::L16, Rate::new(44_100).expect("a rate"), Channels::STEREO, 882);
        let carried = PayloadFormat::of_stream(&format).expect("RTP carries it");
        let sender = Sender::new(&format, &carried, 10, None, || 0);
        assert_eq!(sender.cut(3528, 1201), 1200);
    }
}
