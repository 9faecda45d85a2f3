//! Cuts a byte stream into records.

use crate::wire::{self, MAGIC, OPENING_LEN};
use crate::{Error, FIXED_LEN, Kind, MAX_RECORD, Opening, Problem, Raw, describe_foreign};

/// Bytes that a [`Splitter`] asks for at once.
const READ_SIZE: usize = 65_536;

/// What a stream is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// The magic with version and clock anchor. One in mid-stream changes nothing: only the first one counts.
    Opening(Opening),
    /// A record, its header checked.
    Record(Raw<'a>),
}

/// Cuts bytes into records, in bounded memory: bytes go in through [`space`](Self::space) and
/// [`commit`](Self::commit), records come out of [`poll`](Self::poll).
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    /// Offset in the stream of `buffer[begin]`.
    offset: u64,
    opened: bool,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Splitter {
    /// A splitter at the beginning of a stream.
    pub fn new() -> Self {
        Self { buffer: Vec::new(), begin: 0, end: 0, offset: 0, opened: false }
    }

    /// Room to read bytes into; never empty. Call it when [`poll`](Self::poll) gave nothing.
    pub fn space(&mut self) -> &mut [u8] {
        if self.begin == self.end {
            self.begin = 0;
            self.end = 0;
        }
        let capacity = MAX_RECORD + READ_SIZE;
        if self.buffer.is_empty() {
            self.buffer.resize(capacity, 0);
        }
        if self.buffer.len() - self.end < READ_SIZE {
            self.buffer.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        let end = self.buffer.len().min(self.end + READ_SIZE);
        &mut self.buffer[self.end..end]
    }

    /// Takes over the first `read` bytes of the space.
    pub fn commit(&mut self, read: usize) {
        self.end = self.buffer.len().min(self.end + read);
    }

    /// Hands in bytes by copying, as far as there is room; returns how many were taken.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let space = self.space();
        let taken = space.len().min(bytes.len());
        space[..taken].copy_from_slice(&bytes[..taken]);
        self.commit(taken);
        taken
    }

    /// Bytes read and not yet given out: at the end of a stream, what is left of a broken-off record.
    pub const fn pending(&self) -> usize {
        self.end - self.begin
    }

    /// Whether the opening has been seen.
    pub const fn is_open(&self) -> bool {
        self.opened
    }

    /// The next item, or none when more bytes are needed.
    ///
    /// # Errors
    /// Where the bytes are no record; the splitter then stays there and gives the same error again.
    pub fn poll(&mut self) -> Result<Option<Item<'_>>, Error> {
        Ok(self.advance()?.map(|cut| self.item(cut)))
    }

    /// Steps over the next item and says where it lies, for callers that cannot hold a borrow while they loop.
    ///
    /// # Errors
    /// As for [`poll`](Self::poll).
    pub fn advance(&mut self) -> Result<Option<Cut>, Error> {
        let (begin, offset) = (self.begin, self.offset);
        let taken = match next_length(&self.buffer[begin..self.end], self.opened) {
            Ok(Some(taken)) => taken,
            Ok(None) => return Ok(None),
            Err(problem) => return Err(Error { offset, problem }),
        };
        self.begin += taken.total();
        self.offset += taken.total() as u64;
        self.opened = true;
        Ok(Some(Cut { taken, begin, offset }))
    }

    /// Whether bytes are left behind the last item.
    pub const fn holds_more(&self) -> bool {
        self.begin < self.end
    }

    /// The kind of record that `cut` is, or none for an opening.
    pub fn item_kind(&self, cut: &Cut) -> Option<Kind> {
        match cut.taken {
            Taken::Opening(_) => None,
            Taken::Record { .. } => Some(Kind::of(self.buffer[cut.begin])),
        }
    }

    /// The item that [`advance`](Self::advance) stepped over last.
    pub fn item(&self, cut: Cut) -> Item<'_> {
        match cut.taken {
            Taken::Opening(opening) => Item::Opening(opening),
            Taken::Record { head, total } => {
                Item::Record(Raw { bytes: &self.buffer[cut.begin..cut.begin + total], head, offset: cut.offset })
            }
        }
    }

    /// What it means that the stream ends here.
    ///
    /// # Errors
    /// Where it ends inside a record, or before its opening.
    pub fn finish(&self) -> Result<(), Error> {
        let left = &self.buffer[self.begin..self.end];
        let problem = match (self.opened, left.is_empty()) {
            (true, true) => return Ok(()),
            (false, true) => Problem::Foreign("it is empty".to_owned()),
            (false, false) if !MAGIC.starts_with(&left[..left.len().min(MAGIC.len())]) => {
                Problem::Foreign(describe_foreign(left))
            }
            (_, false) => Problem::Truncated(missing(left)),
        };
        Err(Error { offset: self.offset, problem })
    }
}

/// Where an item lies in its splitter's buffer; good until the next bytes are read.
#[derive(Debug)]
pub struct Cut {
    taken: Taken,
    begin: usize,
    offset: u64,
}

#[derive(Debug)]
enum Taken {
    Opening(Opening),
    Record { head: usize, total: usize },
}

impl Taken {
    const fn total(&self) -> usize {
        match self {
            Self::Opening(_) => OPENING_LEN,
            Self::Record { total, .. } => *total,
        }
    }
}

/// What the first bytes hold, or none when they are too few to say.
fn next_length(bytes: &[u8], opened: bool) -> Result<Option<Taken>, Problem> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    if first == MAGIC[0] || !opened {
        return next_opening(bytes, opened);
    }
    if !first.is_ascii_alphabetic() {
        return Err(Problem::Kind(first));
    }
    if bytes.len() < FIXED_LEN {
        return Ok(None);
    }
    let (head, payload) = wire::lengths(&bytes[..FIXED_LEN])?;
    // The check covers the lengths too, so that a lying length is found before its payload is waited for.
    if bytes.len() < FIXED_LEN + head {
        return Ok(None);
    }
    wire::verify(bytes, head)?;
    let total = FIXED_LEN + head + payload;
    Ok((bytes.len() >= total).then_some(Taken::Record { head, total }))
}

fn next_opening(bytes: &[u8], opened: bool) -> Result<Option<Taken>, Problem> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        // A few more bytes make a better guess at what it is instead.
        return match opened {
            true => Err(Problem::Kind(bytes[0])),
            false if bytes.len() < 12 => Ok(None),
            false => Err(Problem::Foreign(describe_foreign(bytes))),
        };
    }
    if bytes.len() < OPENING_LEN {
        return Ok(None);
    }
    Opening::read(&bytes[..OPENING_LEN]).map(|opening| Some(Taken::Opening(opening)))
}

/// How many bytes the record that `left` begins lacks, as far as one can tell.
fn missing(left: &[u8]) -> usize {
    if left[0] == MAGIC[0] {
        return OPENING_LEN.saturating_sub(left.len());
    }
    if left.len() < FIXED_LEN {
        return FIXED_LEN - left.len();
    }
    wire::lengths(&left[..FIXED_LEN])
        .map_or(0, |(head, payload)| (FIXED_LEN + head + payload).saturating_sub(left.len()))
}
