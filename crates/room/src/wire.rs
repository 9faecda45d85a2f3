//! The byte stream of a connection: lines, and between them packets.

use crate::MAX_LINE;

/// What a packet between the lines begins with: no line does.
pub const FRAME_MARK: u8 = b'$';

/// Bytes before a packet: the mark, a zero, and the frame's length as of RFC 4571.
const FRAME_HEADER: usize = 4;

/// What a connection says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// A line without its end. Bytes that are no UTF-8 are still in it.
    Line(&'a [u8]),
    /// A line that was longer than [`MAX_LINE`]: its beginning.
    TooLong(&'a [u8]),
    /// A packet.
    Packet(&'a [u8]),
}

/// A byte stream that can be neither lines nor packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a packet on a channel that there is not")]
pub struct Unreadable;

/// What is written before a packet of `length` bytes; none where it is too long for one.
pub fn frame_header(length: usize) -> Option<[u8; FRAME_HEADER]> {
    let length = u16::try_from(length).ok()?.to_be_bytes();
    Some([FRAME_MARK, 0, length[0], length[1]])
}

/// Cuts a byte stream into lines (CR LF or LF at their ends) and packets. It holds one unfinished packet at most.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    from: usize,
    /// The rest of a line that was too long is being skipped.
    skipping: bool,
}

impl Splitter {
    /// Nothing has come yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they came; take all messages out before more is put in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.from);
        self.from = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message that is there as a whole.
    ///
    /// # Errors
    /// Where a packet's header is none: what follows cannot be told apart.
    pub fn next_message(&mut self) -> Result<Option<Message<'_>>, Unreadable> {
        loop {
            let begin = self.from;
            let rest = &self.buffer[begin..];
            if !self.skipping && rest.first() == Some(&FRAME_MARK) {
                let Some(header) = rest.first_chunk::<FRAME_HEADER>() else { return Ok(None) };
                if header[1] != 0 {
                    return Err(Unreadable);
                }
                let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
                let end = begin + FRAME_HEADER + length;
                if self.buffer.len() < end {
                    return Ok(None);
                }
                self.from = end;
                return Ok(Some(Message::Packet(&self.buffer[begin + FRAME_HEADER..end])));
            }
            let newline = rest.iter().position(|&byte| byte == b'\n');
            if self.skipping {
                self.from = newline.map_or(self.buffer.len(), |at| begin + at + 1);
                self.skipping = newline.is_none();
                if self.skipping {
                    return Ok(None);
                }
                continue;
            }
            let Some(length) = newline.filter(|&at| at < MAX_LINE) else {
                if rest.len() < MAX_LINE {
                    return Ok(None);
                }
                self.skipping = true;
                return Ok(Some(Message::TooLong(&self.buffer[begin..begin + 32])));
            };
            self.from = begin + length + 1;
            let line = &self.buffer[begin..begin + length];
            return Ok(Some(Message::Line(line.strip_suffix(b"\r").unwrap_or(line))));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(parts: &[&[u8]]) -> Vec<String> {
        let (mut splitter, mut got) = (Splitter::new(), Vec::new());
        for part in parts {
            splitter.push(part);
            while let Some(message) = splitter.next_message().unwrap() {
                got.push(match message {
                    Message::Line(line) => format!("L{}", String::from_utf8_lossy(line)),
                    Message::TooLong(_) => "too long".to_owned(),
                    Message::Packet(packet) => format!("P{}", String::from_utf8_lossy(packet)),
                });
            }
        }
        got
    }

    #[test]
    fn lines_and_packets_come_out_as_they_went_in() {
        let stream = b"PING: 1\r\n$\0\0\x03a\nb\nLIST\n$\0\0\0";
        let expected = ["LPING: 1", "Pa\nb", "L", "LLIST", "P"];
        assert_eq!(all(&[stream]), expected);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(all(&bytes), expected);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_to_its_end() {
        let long = vec![b'x'; 5000];
        assert_eq!(all(&[&long, b"yy\nLIST\n"]), ["too long", "LLIST"]);
        assert_eq!(all(&[&long, b"$\0\0\x01\nLIST\n"]), ["too long", "LLIST"]);
    }

    #[test]
    fn a_packet_on_another_channel_cannot_be_read() {
        let mut splitter = Splitter::new();
        splitter.push(b"$\x01\0\0");
        assert_eq!(splitter.next_message(), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_and_little_is_held(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..40)) {
            let mut splitter = Splitter::new();
            'stream: for part in &parts {
                splitter.push(part);
                loop {
                    match splitter.next_message() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(Unreadable) => break 'stream,
                    }
                }
                prop_assert!(splitter.buffer.len() - splitter.from <= FRAME_HEADER + 0xffff);
            }
        }
    }
}
