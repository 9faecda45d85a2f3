//! Packets over a byte stream such as TCP: RFC 4571's frames, and those of the TCP streamer.

use core::fmt;

use vox_frame::Rate;

/// The longest frame of RFC 4571: its length has 16 bits.
const MAX_RFC4571: usize = 0xffff;

/// The longest frame that the TCP streamer takes: it throws its buffer away at more.
const MAX_STREAMER: usize = 10_000;

/// What the TCP streamer's server sends first, before the number.
const GREETING: &str = "SamplesPerSecond:";

/// The longest greeting that is looked into.
const MAX_GREETING: usize = 64;

/// How packets lie in a byte stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// Two bytes of length, big endian (RFC 4571).
    #[default]
    Rfc4571,
    /// Four bytes of length, little endian, at most 10000.
    TcpStreamer,
}

impl Framing {
    /// Bytes before each packet.
    pub const fn header(self) -> usize {
        match self {
            Self::Rfc4571 => 2,
            Self::TcpStreamer => 4,
        }
    }

    /// Bytes of the longest packet.
    pub const fn max_packet(self) -> usize {
        match self {
            Self::Rfc4571 => MAX_RFC4571,
            Self::TcpStreamer => MAX_STREAMER,
        }
    }

    /// Appends a packet to `out`, framed. False, with nothing appended, for one that is too long.
    pub fn write(self, packet: &[u8], out: &mut Vec<u8>) -> bool {
        if packet.len() > self.max_packet() {
            return false;
        }
        match self {
            Self::Rfc4571 => out.extend_from_slice(&(packet.len() as u16).to_be_bytes()),
            Self::TcpStreamer => out.extend_from_slice(&(packet.len() as u32).to_le_bytes()),
        }
        out.extend_from_slice(packet);
        true
    }

    /// The length that a header tells, or none where there is not enough of it.
    fn length(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Rfc4571 => bytes.first_chunk().map(|bytes| usize::from(u16::from_be_bytes(*bytes))),
            Self::TcpStreamer => bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize),
        }
    }
}

/// A frame that cannot be one: what follows in the byte stream cannot be told apart either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes, where {} are the most", framing.max_packet())]
pub struct FramingError {
    /// The length that it claims.
    pub length: usize,
    /// How the stream is framed.
    pub framing: Framing,
}

/// Packets as the TCP streamer has them: payload type 0 and source 0, numbers and timestamps from 0, no markers, and a
/// timestamp that counts bytes.
#[derive(Debug, Clone, Default)]
pub struct StreamerPackets {
    sequence: u16,
    timestamp: u32,
    packet: Vec<u8>,
}

impl StreamerPackets {
    /// The next packet, with that payload.
    pub fn next(&mut self, payload: &[u8]) -> &[u8] {
        self.packet.clear();
        self.packet.extend_from_slice(&[0x80, 0]);
        self.packet.extend_from_slice(&self.sequence.to_be_bytes());
        self.packet.extend_from_slice(&self.timestamp.to_be_bytes());
        self.packet.extend_from_slice(&[0; 4]);
        self.packet.extend_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(payload.len() as u32);
        &self.packet
    }
}

/// Cuts a byte stream into packets. It holds one unfinished frame at most.
pub struct Deframer {
    framing: Framing,
    buffer: Vec<u8>,
    /// Where what has not been given yet begins.
    from: usize,
}

impl Deframer {
    /// Of a stream that is framed like that.
    pub const fn new(framing: Framing) -> Self {
        Self { framing, buffer: Vec::new(), from: 0 }
    }

    /// Takes bytes as they came. All packets in them are to be taken before more is put in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.from);
        self.from = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next packet that is there as a whole; may be empty.
    ///
    /// # Errors
    /// At a frame longer than there are; the stream is of no use from there on.
    pub fn next_packet(&mut self) -> Result<Option<&[u8]>, FramingError> {
        let header = self.framing.header();
        let Some(length) = self.framing.length(&self.buffer[self.from..]) else { return Ok(None) };
        if length > self.framing.max_packet() {
            return Err(FramingError { length, framing: self.framing });
        }
        let begins = self.from + header;
        let Some(packet) = self.buffer.get(begins..begins + length) else { return Ok(None) };
        self.from = begins + length;
        Ok(Some(packet))
    }

    /// Whether the stream stands in the middle of a frame.
    pub const fn is_mid_frame(&self) -> bool {
        self.from < self.buffer.len()
    }

    /// Bytes that are held.
    pub const fn held(&self) -> usize {
        self.buffer.len() - self.from
    }
}

impl fmt::Debug for Deframer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deframer({:?}, {} bytes held)", self.framing, self.held())
    }
}

/// The first frame that the TCP streamer's server sends to each client: the rate of the audio.
pub fn streamer_greeting(rate: Rate) -> Vec<u8> {
    format!("{GREETING}{}", rate.hz()).into_bytes()
}

/// The rate that a greeting tells; none where the frame is something else.
pub fn read_streamer_greeting(frame: &[u8]) -> Option<Rate> {
    let text = frame.get(..frame.len().min(MAX_GREETING))?;
    let number = core::str::from_utf8(text).ok()?.strip_prefix(GREETING)?;
    let number = number.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    number.parse().ok().and_then(Rate::new).filter(|rate| rate.hz() <= 768_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: [Framing; 2] = [Framing::Rfc4571, Framing::TcpStreamer];

    #[test]
    fn a_packet_is_preceded_by_its_length() {
        let mut out = Vec::new();
        assert!(Framing::Rfc4571.write(b"abc", &mut out));
        assert!(Framing::TcpStreamer.write(b"abc", &mut out));
        assert_eq!(out, b"\x00\x03abc\x03\x00\x00\x00abc");
    }

    #[test]
    fn a_packet_that_is_too_long_is_not_written() {
        for framing in BOTH {
            let mut out = Vec::new();
            assert!(!framing.write(&vec![0; framing.max_packet() + 1], &mut out));
            assert!(out.is_empty());
            assert!(framing.write(&vec![0; framing.max_packet()], &mut out));
        }
    }

    #[test]
    fn a_length_beyond_the_longest_is_an_error_before_its_bytes_come() {
        let mut deframer = Deframer::new(Framing::TcpStreamer);
        deframer.push(&10_001u32.to_le_bytes());
        assert_eq!(deframer.next_packet().unwrap_err().to_string(), "a frame of 10001 bytes, where 10000 are the most");
        let mut deframer = Deframer::new(Framing::TcpStreamer);
        deframer.push(&(-1i32).to_le_bytes());
        assert!(deframer.next_packet().is_err());
    }

    #[test]
    fn an_empty_frame_is_an_empty_packet() {
        let mut deframer = Deframer::new(Framing::Rfc4571);
        deframer.push(&[0, 0, 0, 1, 7]);
        assert_eq!(deframer.next_packet(), Ok(Some(&[][..])));
        assert_eq!(deframer.next_packet(), Ok(Some(&[7][..])));
        assert_eq!(deframer.next_packet(), Ok(None));
        assert!(!deframer.is_mid_frame());
    }

    #[test]
    fn the_greeting_of_the_streamer_tells_the_rate() {
        for hz in [5_000, 8_000, 22_050, 44_100] {
            let rate = Rate::new(hz).unwrap();
            assert_eq!(streamer_greeting(rate), format!("SamplesPerSecond:{hz}").into_bytes());
            assert_eq!(read_streamer_greeting(&streamer_greeting(rate)), Some(rate));
        }
        assert_eq!(read_streamer_greeting(b"SamplesPerSecond: 8000\r\n\0"), Some(Rate::HZ_8000));
        let nonsense: [&[u8]; 5] =
            [b"", b"SamplesPerSecond:0", b"SamplesPerSecond:-1", b"\x80\0\0\0", b"SamplesPerSecond:9999999"];
        for frame in nonsense {
            assert_eq!(read_streamer_greeting(frame), None);
        }
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in_however_the_stream_is_cut(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            cut in 1usize..70,
            streamer in any::<bool>(),
        ) {
            let framing = BOTH[usize::from(streamer)];
            let mut bytes = Vec::new();
            for packet in &packets {
                framing.write(packet, &mut bytes);
            }
            let (mut deframer, mut got) = (Deframer::new(framing), Vec::new());
            for part in bytes.chunks(cut) {
                deframer.push(part);
                while let Some(packet) = deframer.next_packet().unwrap() {
                    got.push(packet.to_vec());
                }
            }
            prop_assert_eq!(got, packets);
            prop_assert!(!deframer.is_mid_frame());
        }

        #[test]
        fn any_bytes_hold_one_frame_at_most(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..60)) {
            for framing in BOTH {
                let mut deframer = Deframer::new(framing);
                'stream: for part in &parts {
                    deframer.push(part);
                    loop {
                        match deframer.next_packet() {
                            Ok(Some(_)) => {}
                            Ok(None) => break,
                            Err(_) => break 'stream,
                        }
                    }
                    prop_assert!(deframer.held() <= framing.header() + framing.max_packet());
                }
            }
        }
    }
}
