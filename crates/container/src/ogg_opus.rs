//! Opus packets in Ogg (RFC 7845), written so that the file is whole after every flush.

use std::collections::VecDeque;
use std::io::{Read, Seek};

use ogg::{PacketReader, PacketWriteEndInfo, PacketWriter};
use vox_frame::Channels;
use vox_rtp::opus_ticks;

/// Ticks of audio after which a page ends, whoever flushes: RFC 7845, section 6 asks for at most 1 s.
const PAGE: u64 = 48_000;

/// A stream of Opus packets that becomes pages; times are ticks of 48 kHz.
pub struct Writer {
    pages: PacketWriter<'static, Vec<u8>>,
    serial: u32,
    /// Packets that are not in a page yet, each with the granule position behind it.
    waiting: VecDeque<(Vec<u8>, u64)>,
    /// Granule position behind the last packet.
    granule: u64,
    /// Granule position behind the last page.
    paged: u64,
}

impl Writer {
    /// Begins a stream. `pre_skip` ticks of what is decoded come before its first sample; `comments` are lines
    /// `NAME=value`.
    pub fn new(serial: u32, channels: Channels, pre_skip: u16, comments: &[String]) -> Self {
        let mut head = b"OpusHead\x01".to_vec();
        head.push(channels.count() as u8);
        head.extend_from_slice(&pre_skip.to_le_bytes());
        head.extend_from_slice(&48_000_u32.to_le_bytes());
        head.extend_from_slice(&[0, 0, 0]);
        let mut tags = b"OpusTags".to_vec();
        let mut text = |text: &str| {
            tags.extend_from_slice(&(text.len() as u32).to_le_bytes());
            tags.extend_from_slice(text.as_bytes());
        };
        text(concat!("voxpipe ", env!("CARGO_PKG_VERSION")));
        tags.extend_from_slice(&(comments.len() as u32).to_le_bytes());
        for comment in comments {
            tags.extend_from_slice(&(comment.len() as u32).to_le_bytes());
            tags.extend_from_slice(comment.as_bytes());
        }
        let (pages, waiting) = (PacketWriter::new(Vec::new()), VecDeque::new());
        let mut writer = Self { pages, serial, waiting, granule: 0, paged: 0 };
        writer.page(head, PacketWriteEndInfo::EndPage, 0);
        writer.page(tags, PacketWriteEndInfo::EndPage, 0);
        writer
    }

    /// Ticks of all packets so far, what is to be skipped at the beginning too.
    pub const fn granule(&self) -> u64 {
        self.granule
    }

    /// Appends a packet that lasts `ticks`.
    pub fn packet(&mut self, payload: &[u8], ticks: u64) {
        self.granule += ticks;
        self.waiting.push_back((payload.to_vec(), self.granule));
        if self.granule - self.paged > PAGE {
            self.flush();
        }
    }

    /// Ends a page behind all packets but the last, which [`finish`](Self::finish) needs.
    pub fn flush(&mut self) {
        while self.waiting.len() > 1 {
            let end =
                if self.waiting.len() == 2 { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
            let Some((packet, granule)) = self.waiting.pop_front() else { return };
            self.paged = granule;
            self.page(packet, end, granule);
        }
    }

    /// Ends the stream at `end` ticks, so that players cut there: not before the last packet begins.
    pub fn finish(&mut self, end: u64) {
        self.flush();
        if let Some((packet, granule)) = self.waiting.pop_front() {
            self.page(packet, PacketWriteEndInfo::EndStream, end.clamp(self.paged, granule));
        }
    }

    /// The bytes of pages since the last call, to be appended to the file.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.pages.inner_mut())
    }

    fn page(&mut self, packet: Vec<u8>, end: PacketWriteEndInfo, granule: u64) {
        self.pages.write_packet(packet, self.serial, end, granule).expect("a vector takes every byte");
    }
}

/// A packet of digital silence and the ticks that it lasts: at most `ticks`, none below 2.5 ms.
///
/// It is a CELT frame with the silence flag (RFC 6716, section 4.3), which leaves no decoder anything to imagine.
pub fn silence(channels: Channels, ticks: u64) -> Option<([u8; 3], u64)> {
    let (configuration, lasts) = match ticks {
        960.. => (31, 960),
        480.. => (30, 480),
        240.. => (29, 240),
        120.. => (28, 120),
        _ => return None,
    };
    let stereo = if channels.count() > 1 { 4 } else { 0 };
    Some(([configuration << 3 | stereo, 0xff, 0xfe], lasts))
}

/// A packet without a frame in it, at which decoders conceal: as long as the one with the first byte `toc`.
pub const fn missing(toc: u8) -> [u8; 1] {
    [toc & 0xfc]
}

/// Ticks that a packet lasts; none where it is no Opus packet.
pub fn ticks(packet: &[u8]) -> Option<u64> {
    opus_ticks(packet).map(u64::from)
}

/// The packets of the first Opus stream in an Ogg file.
pub struct Reader<R: Read + Seek> {
    packets: PacketReader<R>,
    serial: u32,
    /// Channels of the stream.
    pub channels: Channels,
    /// Ticks of what is decoded that come before its first sample.
    pub pre_skip: u32,
    /// Ticks of the packets read so far.
    ticks: u64,
    /// What the end of the stream cuts off the last packet.
    excess: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads the headers.
    ///
    /// # Errors
    /// A sentence where it is no Ogg Opus.
    pub fn open(input: R) -> Result<Self, String> {
        let mut packets = PacketReader::new(input);
        let head = packets.read_packet().map_err(|error| error.to_string())?.ok_or("it is empty")?;
        let serial = head.stream_serial();
        let bytes = head.data;
        if !bytes.starts_with(b"OpusHead") || bytes.len() < 19 || bytes[8] > 15 {
            return Err("an Ogg file, but no Opus in it".to_owned());
        }
        let channels = Channels::new(bytes[9]).filter(|channels| channels.count() <= 2 && bytes[18] == 0);
        let channels = channels.ok_or("an Opus stream of more than two channels, which is not supported")?;
        let pre_skip = u32::from(u16::from_le_bytes([bytes[10], bytes[11]]));
        let mut reader = Self { packets, serial, channels, pre_skip, ticks: 0, excess: 0 };
        reader.packet()?;
        Ok(reader)
    }

    /// The next packet and its ticks; none at the end of the stream. A file that breaks off ends there.
    ///
    /// # Errors
    /// A sentence where the file is damaged.
    pub fn next_packet(&mut self) -> Result<Option<(Vec<u8>, u32)>, String> {
        loop {
            let Some(packet) = self.packet()? else { return Ok(None) };
            let Some(ticks) = opus_ticks(&packet.data) else { continue };
            self.ticks += u64::from(ticks);
            if packet.last_in_stream() {
                self.excess = self.ticks.saturating_sub(packet.absgp_page());
            }
            return Ok(Some((packet.data, ticks)));
        }
    }

    /// Ticks of the stream that are heard, once all packets were read.
    pub const fn length(&self) -> u64 {
        self.ticks.saturating_sub(self.excess).saturating_sub(self.pre_skip as u64)
    }

    fn packet(&mut self) -> Result<Option<ogg::Packet>, String> {
        loop {
            match self.packets.read_packet() {
                Ok(Some(packet)) if packet.stream_serial() != self.serial => {}
                Ok(packet) => return Ok(packet),
                Err(ogg::OggReadError::ReadError(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Ok(None);
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn packets(count: u8) -> Vec<Vec<u8>> {
        (0..count).map(|n| vec![0xf8, n, n]).collect()
    }

    fn read(bytes: Vec<u8>) -> (Vec<Vec<u8>>, u64) {
        let mut reader = Reader::open(Cursor::new(bytes)).unwrap();
        let mut all = Vec::new();
        while let Some((packet, ticks)) = reader.next_packet().unwrap() {
            assert_eq!(ticks, 960);
            all.push(packet);
        }
        (all, reader.length())
    }

    #[test]
    fn packets_come_back_and_the_end_is_cut() {
        for count in [1, 2, 50, 120] {
            let mut writer = Writer::new(7, Channels::MONO, 312, &["TITLE=a".to_owned()]);
            for packet in packets(count) {
                writer.packet(&packet, 960);
            }
            writer.finish(u64::from(count) * 960 - 100);
            let (all, length) = read(writer.take());
            assert_eq!(all, packets(count));
            assert_eq!(length, u64::from(count) * 960 - 412);
        }
    }

    #[test]
    fn what_was_flushed_is_whole_without_an_end() {
        let mut writer = Writer::new(7, Channels::STEREO, 312, &[]);
        for packet in packets(30) {
            writer.packet(&packet, 960);
        }
        writer.flush();
        let (all, _) = read(writer.take());
        assert_eq!(all, packets(29));
    }

    #[test]
    fn a_page_ends_each_second_at_the_latest() {
        let mut writer = Writer::new(7, Channels::MONO, 0, &[]);
        writer.take();
        for packet in packets(53) {
            writer.packet(&packet, 960);
        }
        assert!(!writer.take().is_empty());
    }

    #[test]
    fn silence_is_cut_to_what_a_packet_can_last() {
        let parts: Vec<u64> = [5_000, 960, 959, 479, 239, 120].map(|t| silence(Channels::MONO, t).unwrap().1).to_vec();
        assert_eq!(parts, [960, 960, 480, 240, 120, 120]);
        assert_eq!(silence(Channels::MONO, 119), None);
        let (packet, ticks) = silence(Channels::STEREO, 240).unwrap();
        assert_eq!(opus_ticks(&packet).map(u64::from), Some(ticks));
    }
}
