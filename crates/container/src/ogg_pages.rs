//! The whole pages of an Ogg file (RFC 3533), whatever lies between them.

use std::io::{self, Read};

/// Bytes before the table of segments.
const HEADER: usize = 27;

/// The most bytes that a page has.
const MAX_PAGE: usize = HEADER + 255 + 255 * 255;

/// Flags of a page.
const CONTINUES: u8 = 1;
const ENDS: u8 = 4;

/// A page whose checksum is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// It begins with the rest of a packet.
    pub(crate) continues: bool,
    /// The stream ends with it.
    pub(crate) ends: bool,
    /// The position behind the last packet that ends in it; none where none does.
    pub(crate) granule: Option<u64>,
    /// Whose it is.
    pub(crate) serial: u32,
    /// Its number in the stream.
    pub(crate) number: u32,
    /// For each packet or part of one its length, and whether the packet ends with it.
    pub(crate) parts: Vec<(usize, bool)>,
    pub(crate) body: Vec<u8>,
}

/// Reads pages.
pub(crate) struct Pages<R> {
    input: R,
    buffer: Vec<u8>,
    at: usize,
    skipped: u64,
}

impl<R: Read> Pages<R> {
    pub(crate) const fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), at: 0, skipped: 0 }
    }

    /// Bytes so far that belong to no whole page.
    pub(crate) const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The next whole page; none at the end.
    pub(crate) fn next_page(&mut self) -> io::Result<Option<Page>> {
        loop {
            self.fill()?;
            let rest = &self.buffer[self.at..];
            if rest.is_empty() {
                return Ok(None);
            }
            if let Some((page, length)) = parse(rest) {
                self.at += length;
                return Ok(Some(page));
            }
            let next = rest[1..].iter().position(|&byte| byte == b'O').map_or(rest.len(), |found| found + 1);
            self.at += next;
            self.skipped += next as u64;
        }
    }

    /// Has a page's worth of bytes at hand, or all that are left.
    fn fill(&mut self) -> io::Result<()> {
        if self.buffer.len() - self.at >= MAX_PAGE {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let wanted = (4 * MAX_PAGE - self.buffer.len()) as u64;
        self.input.by_ref().take(wanted).read_to_end(&mut self.buffer)?;
        Ok(())
    }
}

/// The page at the beginning of `bytes` and its length; none where there is no whole one.
fn parse(bytes: &[u8]) -> Option<(Page, usize)> {
    let header = bytes.get(..HEADER).filter(|header| header.starts_with(b"OggS\0"))?;
    let flags = header[5];
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let granule = u64::from(word(6)) | u64::from(word(10)) << 32;
    let table = bytes.get(HEADER..HEADER + usize::from(header[26]))?;
    let begin = HEADER + table.len();
    let length = begin + table.iter().map(|&length| usize::from(length)).sum::<usize>();
    let page = bytes.get(..length)?;
    let unsigned = [&page[..22], &[0; 4], &page[26..]];
    if unsigned.iter().fold(0, |sum, part| checksum(sum, part)) != word(22) {
        return None;
    }
    let page = Page {
        continues: flags & CONTINUES != 0,
        ends: flags & ENDS != 0,
        granule: (granule != u64::MAX).then_some(granule),
        serial: word(14),
        number: word(18),
        parts: parts(table),
        body: page[begin..].to_vec(),
    };
    Some((page, length))
}

/// Segments of 255 bytes go on in the next.
fn parts(table: &[u8]) -> Vec<(usize, bool)> {
    let mut parts = Vec::new();
    let mut length = 0;
    for &segment in table {
        length += usize::from(segment);
        if segment < 255 {
            parts.push((length, true));
            length = 0;
        }
    }
    if table.last() == Some(&255) {
        parts.push((length, false));
    }
    parts
}

/// The checksum of RFC 3533, section 6: CRC-32 with the polynomial 0x04c11db7, highest bit first.
fn checksum(sum: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    bytes.iter().fold(sum, |sum, &byte| sum << 8 ^ TABLE[(sum >> 24) as usize ^ usize::from(byte)])
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut sum = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 0x8000_0000 != 0 { sum << 1 ^ 0x04c1_1db7 } else { sum << 1 };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
}
