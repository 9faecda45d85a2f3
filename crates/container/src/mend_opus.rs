//! Mends an Ogg Opus file that a crash, a full disk or a bad sector left: what is whole is kept, what is missing becomes
//! silence of its length, and the file ends as one should.

use std::io::{Read, Write};

use ogg::{PacketWriteEndInfo, PacketWriter};
use vox_frame::Channels;

use crate::ogg_opus::{silence, ticks};
use crate::ogg_pages::{Page, Pages};

/// Packets of silence in a page: a second.
const SILENT_PAGE: usize = 50;

/// The most that is filled, in ticks of 48 kHz: a day. What is longer is a wrong granule position.
const MAX_HOLE: u64 = 86_400 * 48_000;

/// What was done to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MendedOpus {
    /// What was wrong, a short sentence each; empty where nothing was.
    pub faults: Vec<String>,
    /// Ticks of 48 kHz that are heard.
    pub ticks: u64,
}

/// Reads a file and writes what it should have been. Where nothing was wrong, what was written need not be used.
///
/// # Errors
/// A sentence where it is no Ogg Opus, holds more than one stream, or cannot be read or written.
pub fn mend_opus(input: impl Read, output: impl Write) -> Result<MendedOpus, String> {
    let mut pages = Pages::new(input);
    let mut mender: Option<Mender<_>> = None;
    let mut output = Some(output);
    while let Some(page) = pages.next_page().map_err(|error| error.to_string())? {
        match (&mut mender, output.take()) {
            (Some(mender), _) => mender.page(&page)?,
            (None, Some(output)) => mender = Some(Mender::begin(&page, output)?),
            (None, None) => return Err("it has no first page".to_owned()),
        }
    }
    let mut mender = mender.ok_or("no page of an Ogg file is whole in it")?;
    if pages.skipped() > 0 {
        mender.faults.push(format!("{} bytes that belong to no whole page", pages.skipped()));
    }
    mender.finish()
}

/// Packets that wait until it is known whether they are the last, and the granule position behind them.
#[derive(Default)]
struct Batch {
    packets: Vec<Vec<u8>>,
    granule: u64,
    ends: bool,
}

struct Mender<W: Write> {
    out: PacketWriter<'static, W>,
    serial: u32,
    channels: Channels,
    pre_skip: u64,
    tagged: bool,
    next_page: u32,
    /// What the page before began and this one goes on with.
    begun: Option<Vec<u8>>,
    /// Granule position behind all packets so far; none before the first.
    position: Option<u64>,
    first: u64,
    held: Batch,
    broken: u64,
    strange: u64,
    filled: u64,
    misplaced: u64,
    faults: Vec<String>,
}

impl<W: Write> Mender<W> {
    fn begin(page: &Page, output: W) -> Result<Self, String> {
        let head = &page.body;
        if !head.starts_with(b"OpusHead") || head.len() < 19 || page.parts.len() != 1 {
            return Err("an Ogg file, but its first whole page is no beginning of an Opus stream".to_owned());
        }
        let channels = Channels::new(head[9]).ok_or("an Opus stream of no channels")?;
        let mut mender = Self {
            out: PacketWriter::new(output),
            serial: page.serial,
            channels,
            pre_skip: u64::from(u16::from_le_bytes([head[10], head[11]])),
            tagged: false,
            next_page: page.number.wrapping_add(1),
            begun: None,
            position: None,
            first: 0,
            held: Batch::default(),
            broken: 0,
            strange: 0,
            filled: 0,
            misplaced: 0,
            faults: Vec::new(),
        };
        mender.put(head.clone(), PacketWriteEndInfo::EndPage, 0)?;
        Ok(mender)
    }

    fn page(&mut self, page: &Page) -> Result<(), String> {
        if page.serial != self.serial {
            return Err("it holds more than one stream: split it first".to_owned());
        }
        let follows = page.number == self.next_page;
        self.next_page = page.number.wrapping_add(1);
        let mut packets = self.packets(page, follows);
        if !self.tagged {
            self.tags(&mut packets)?;
        }
        packets.retain(|packet| {
            let known = ticks(packet).is_some();
            self.strange += u64::from(!known);
            known
        });
        if packets.is_empty() {
            return Ok(());
        }
        let lasts: u64 = packets.iter().filter_map(|packet| ticks(packet)).sum();
        let claimed = page.granule;
        let Some(position) = self.position else {
            // A stream may begin at any position (RFC 7845, section 4.3), but not before its first sample.
            self.first = claimed.map_or(0, |claimed| claimed.saturating_sub(lasts));
            return self.hold(packets, self.first + lasts, claimed, page.ends);
        };
        let hole = claimed.map_or(0, |claimed| claimed.saturating_sub(position + lasts));
        match hole {
            0 => self.hold(packets, position + lasts, claimed, page.ends),
            hole if self.filled + hole <= MAX_HOLE => {
                let position = self.fill(position, hole)?;
                self.hold(packets, position + lasts, claimed, page.ends)
            }
            _ => {
                self.misplaced += 1;
                self.hold(packets, position + lasts, None, page.ends)
            }
        }
    }

    /// The packets that end in a page.
    fn packets(&mut self, page: &Page, follows: bool) -> Vec<Vec<u8>> {
        let begun = self.begun.take();
        let continues = page.continues && follows && begun.is_some();
        self.broken += u64::from(begun.is_some() && !continues);
        let mut packets = Vec::new();
        let mut at = 0;
        let mut begun = begun.filter(|_| continues);
        for (index, &(length, ends)) in page.parts.iter().enumerate() {
            let part = &page.body[at..at + length];
            at += length;
            if index == 0 && page.continues && begun.is_none() {
                // The end of a packet whose beginning is lost.
                self.broken += u64::from(ends);
                continue;
            }
            let mut packet = begun.take().unwrap_or_default();
            packet.extend_from_slice(part);
            if ends {
                packets.push(packet);
            } else {
                self.begun = Some(packet);
            }
        }
        packets
    }

    fn tags(&mut self, packets: &mut Vec<Vec<u8>>) -> Result<(), String> {
        if packets.is_empty() {
            return Ok(());
        }
        self.tagged = true;
        let tags = if packets[0].starts_with(b"OpusTags") {
            packets.remove(0)
        } else {
            self.faults.push("no comments".to_owned());
            b"OpusTags\x07\0\0\0voxpipe\0\0\0\0".to_vec()
        };
        self.put(tags, PacketWriteEndInfo::EndPage, 0)
    }

    /// Silence where pages are missing; gives the position behind it.
    fn fill(&mut self, position: u64, hole: u64) -> Result<u64, String> {
        self.filled += hole;
        let mut left = hole;
        while silence(self.channels, left).is_some() {
            let mut packets = Vec::new();
            while let Some((packet, lasts)) = silence(self.channels, left).filter(|_| packets.len() < SILENT_PAGE) {
                packets.push(packet.to_vec());
                left -= lasts;
            }
            self.hold(packets, position + hole - left, None, false)?;
        }
        Ok(position + hole - left)
    }

    /// Takes packets up to `position`, and writes those before.
    fn hold(&mut self, packets: Vec<Vec<u8>>, position: u64, claimed: Option<u64>, ends: bool) -> Result<(), String> {
        self.release(false)?;
        let last = packets.last().and_then(|packet| ticks(packet)).unwrap_or(0);
        // Only the last page may say less than its packets last: there players cut.
        let cut = claimed.filter(|claimed| ends && (position - last..position).contains(claimed));
        self.misplaced += u64::from(claimed.is_some_and(|claimed| claimed < position && cut.is_none()));
        self.position = Some(position);
        self.held = Batch { packets, granule: cut.unwrap_or(position), ends };
        Ok(())
    }

    fn release(&mut self, last: bool) -> Result<(), String> {
        let Batch { packets, granule, ends } = core::mem::take(&mut self.held);
        if packets.is_empty() {
            return Ok(());
        }
        if ends != last {
            self.faults.push(if last { "no end" } else { "an end before the end" }.to_owned());
        }
        let count = packets.len();
        for (index, packet) in packets.into_iter().enumerate() {
            let end = match (index + 1 == count, last) {
                (true, true) => PacketWriteEndInfo::EndStream,
                (true, false) => PacketWriteEndInfo::EndPage,
                (false, _) => PacketWriteEndInfo::NormalPacket,
            };
            self.put(packet, end, granule)?;
        }
        if last {
            self.position = Some(granule);
        }
        Ok(())
    }

    fn put(&mut self, packet: Vec<u8>, end: PacketWriteEndInfo, granule: u64) -> Result<(), String> {
        self.out.write_packet(packet, self.serial, end, granule).map_err(|error| format!("cannot be written: {error}"))
    }

    fn finish(mut self) -> Result<MendedOpus, String> {
        self.broken += u64::from(self.begun.is_some());
        if self.held.packets.is_empty() {
            return Err("there is no audio in it".to_owned());
        }
        self.release(true)?;
        let seconds = |ticks: u64| ticks as f64 / 48_000.0;
        if self.broken > 0 {
            self.faults.push(format!("{} broken packets", self.broken));
        }
        if self.strange > 0 {
            self.faults.push(format!("{} packets that are no Opus", self.strange));
        }
        if self.filled > 0 {
            self.faults.push(format!("{:.3} s missing, silent now", seconds(self.filled)));
        }
        if self.misplaced > 0 {
            self.faults.push(format!("{} wrong positions", self.misplaced));
        }
        let ticks = self.position.unwrap_or(0).saturating_sub(self.first).saturating_sub(self.pre_skip);
        Ok(MendedOpus { faults: self.faults, ticks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ogg_opus::{Reader, Writer};
    use std::io::Cursor;

    /// Ten seconds in pages of half a second; where the pages begin.
    fn file() -> (Vec<u8>, Vec<usize>) {
        let (mut writer, mut bytes, mut pages) = (Writer::new(7, Channels::MONO, 312, &[]), Vec::new(), Vec::new());
        for n in 0..500_u32 {
            let mut packet = vec![0xf8];
            packet.extend_from_slice(&n.to_le_bytes());
            writer.packet(&packet, 960);
            if n % 25 == 24 {
                pages.push(bytes.len());
                writer.flush();
                bytes.extend(writer.take());
            }
        }
        writer.finish(480_000 - 100);
        bytes.extend(writer.take());
        (bytes, pages)
    }

    fn mended(bytes: &[u8]) -> (MendedOpus, Vec<u8>) {
        let mut file = Vec::new();
        let mended = mend_opus(bytes, &mut file).expect("it can be mended");
        (mended, file)
    }

    /// Numbers of the packets, none for silence, and ticks that are heard.
    fn read(bytes: Vec<u8>) -> (Vec<Option<u32>>, u64) {
        let mut reader = Reader::open(Cursor::new(bytes)).expect("Ogg Opus");
        let mut numbers = Vec::new();
        while let Some((packet, _)) = reader.next_packet().expect("whole pages") {
            numbers.push(packet[1..].try_into().ok().map(u32::from_le_bytes));
        }
        (numbers, reader.length())
    }

    #[test]
    fn a_sound_file_has_no_faults() {
        let (bytes, _) = file();
        let (done, after) = mended(&bytes);
        assert_eq!(done, MendedOpus { faults: Vec::new(), ticks: 480_000 - 412 });
        assert_eq!(read(after), read(bytes));
    }

    #[test]
    fn a_file_that_breaks_off_ends_with_its_last_whole_page() {
        let (bytes, pages) = file();
        for cut in [pages[10], pages[10] + 1, pages[10] + 100, pages[11] - 1] {
            let (done, after) = mended(&bytes[..cut]);
            assert!(done.faults.contains(&"no end".to_owned()), "{:?}", done.faults);
            let (numbers, length) = read(after.clone());
            assert_eq!((numbers.len(), length), (249, 249 * 960 - 312));
            assert_eq!(mended(&after).0, MendedOpus { faults: Vec::new(), ticks: length }, "then nothing is wrong");
        }
    }

    #[test]
    fn what_is_destroyed_in_the_middle_becomes_silence_and_moves_nothing() {
        let (mut bytes, pages) = file();
        bytes[pages[4] + 90] ^= 0x10;
        bytes[pages[8]..pages[8] + 40].fill(0);
        let (done, after) = mended(&bytes);
        assert!(done.faults.iter().any(|fault| fault == "1.000 s missing, silent now"), "{:?}", done.faults);
        assert_eq!(done.ticks, 480_000 - 412);
        let (numbers, length) = read(after.clone());
        assert_eq!((numbers.len(), length), (500, 480_000 - 412));
        let kept = numbers.iter().enumerate().filter(|(at, number)| number.is_some_and(|n| n as usize == *at)).count();
        assert_eq!(kept, 450, "every other packet is where it was");
        assert_eq!(mended(&after).0.faults, Vec::<String>::new());
    }

    #[test]
    fn bytes_between_pages_are_left_out() {
        let (bytes, pages) = file();
        let dirty = [&bytes[..pages[3]], b"OggS, he said, and lied", &bytes[pages[3]..], b"trailer"].concat();
        let (done, after) = mended(&dirty);
        assert_eq!(done.faults, ["30 bytes that belong to no whole page"]);
        assert_eq!(read(after), read(bytes));
    }

    #[test]
    fn what_is_no_opus_stays_as_it_is() {
        assert!(mend_opus(&b"RIFF"[..], std::io::sink()).is_err());
        assert!(mend_opus(&b""[..], std::io::sink()).is_err());
        let (bytes, pages) = file();
        assert!(mend_opus(&bytes[pages[3]..], std::io::sink()).is_err(), "without its beginning nobody knows it");
        let two = [&bytes[..], &bytes[..]].concat();
        assert!(mend_opus(&two[..], std::io::sink()).is_ok());
    }
}
