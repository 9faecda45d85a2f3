//! The messages of PulseAudio's native protocol that a loudspeaker needs, as version 14 has them.
//!
//! A message is a descriptor of five big-endian words (length, channel, offset in two, flags) and behind it samples, or, on
//! the channel of commands, values with a letter before each that says what it is.

/// The version that is spoken: PulseAudio since 0.9.16, and PipeWire.
pub(super) const VERSION: u32 = 14;

/// The length of a cookie, in bytes.
pub(super) const COOKIE: usize = 256;

const DESCRIPTOR: usize = 20;

/// The channel of commands, and the index that stands for none.
const NONE: u32 = u32::MAX;

/// Nothing that is sent to a stream is longer, in bytes.
const LONGEST: usize = 65_536;

/// Samples as the server knows them: 32-bit floats, little-endian.
const FLOAT32LE: u8 = 5;

/// Full volume; the server takes the one that it remembers.
const FULL: u32 = 0x1_0000;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    CreatePlaybackStream = 3,
    Auth = 8,
    SetClientName = 9,
    GetPlaybackLatency = 14,
}

/// What a stream is to be.
#[derive(Debug, Clone)]
pub(super) struct Wanted<'a> {
    pub(super) hz: u32,
    /// One or two.
    pub(super) channels: u8,
    /// None is the default one.
    pub(super) sink: Option<&'a str>,
    /// Bytes that the stream has room for, that must be there before it plays, and that it moves at a time.
    pub(super) room: u32,
    pub(super) start: u32,
    pub(super) period: u32,
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// The answer to what was asked under that number.
    Reply(u32, Values<'a>),
    /// What was asked under that number cannot be; the server's code of why.
    Error(u32, u32),
    /// The stream has run empty.
    Underflow,
    /// The stream is no more.
    Killed,
    /// Something that does not matter here.
    Other,
}

/// Builds messages.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A question under a number that its answer will bear.
    pub(super) fn ask(ask: Ask, number: u32) -> Self {
        let mut message = Self(vec![0; DESCRIPTOR]);
        message.word(ask as u32).word(number);
        message
    }

    /// Who is there.
    pub(super) fn auth(number: u32, cookie: &[u8; COOKIE]) -> Self {
        let mut message = Self::ask(Ask::Auth, number);
        message.word(VERSION).bytes(cookie);
        message
    }

    /// What the program is called.
    pub(super) fn name(number: u32, name: &str) -> Self {
        let mut message = Self::ask(Ask::SetClientName, number);
        message.properties(&[("application.name", name)]);
        message
    }

    /// A stream.
    pub(super) fn stream(number: u32, name: &str, wanted: &Wanted<'_>) -> Self {
        let Wanted { hz, channels, sink, room, start, period } = *wanted;
        let mut message = Self::ask(Ask::CreatePlaybackStream, number);
        message.0.extend([b'a', FLOAT32LE, channels]);
        message.0.extend(hz.to_be_bytes());
        // Mono, or front left and front right.
        message.0.extend([b'm', channels]);
        message.0.extend(if channels == 1 { &[0][..] } else { &[1, 2] });
        message.word(NONE).text(sink).word(NONE).flag(false);
        message.word(room).word(start).word(period).word(0);
        message.0.extend([b'v', channels]);
        (0..channels).for_each(|_| message.0.extend(FULL.to_be_bytes()));
        // Channels may be remapped and remixed, the server's sink may be another one later, nothing is muted.
        message.0.extend([b'0'; 8]);
        // The delay of the sink is not adjusted to the room; that is asked for early, a period at a time.
        message.flag(false).properties(&[("media.name", name)]).flag(false).flag(true);
        message
    }

    /// Where a stream is.
    pub(super) fn latency(number: u32, channel: u32) -> Self {
        let mut message = Self::ask(Ask::GetPlaybackLatency, number);
        // The time is given back and not used.
        message.word(channel).0.extend([b'T', 0, 0, 0, 0, 0, 0, 0, 0]);
        message
    }

    /// Appends the message to what is sent.
    pub(super) fn send(mut self, out: &mut Vec<u8>) {
        let length = (self.0.len() - DESCRIPTOR) as u32;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0[4..8].copy_from_slice(&NONE.to_be_bytes());
        out.append(&mut self.0);
    }

    fn word(&mut self, word: u32) -> &mut Self {
        self.0.push(b'L');
        self.0.extend(word.to_be_bytes());
        self
    }

    fn flag(&mut self, set: bool) -> &mut Self {
        self.0.push(if set { b'1' } else { b'0' });
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.push(b'x');
        self.0.extend((bytes.len() as u32).to_be_bytes());
        self.0.extend(bytes);
        self
    }

    fn text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            None => self.0.push(b'N'),
            Some(text) => {
                self.0.push(b't');
                // A text ends at its first zero.
                self.0.extend(text.bytes().take_while(|byte| *byte != 0));
                self.0.push(0);
            }
        }
        self
    }

    fn properties(&mut self, properties: &[(&str, &str)]) -> &mut Self {
        self.0.push(b'P');
        for (key, value) in properties {
            let value: Vec<u8> = value.bytes().chain([0]).collect();
            self.text(Some(key)).word(value.len() as u32).bytes(&value);
        }
        self.0.push(b'N');
        self
    }
}

/// Appends samples for a stream to what is sent.
pub(super) fn send_samples(channel: u32, samples: &[f32], out: &mut Vec<u8>) {
    out.extend((size_of_val(samples) as u32).to_be_bytes());
    out.extend(channel.to_be_bytes());
    out.extend([0; 12]);
    let begin = out.len();
    out.resize(begin + size_of_val(samples), 0);
    for (bytes, sample) in out[begin..].chunks_exact_mut(4).zip(samples) {
        bytes.copy_from_slice(&sample.to_le_bytes());
    }
}

/// Takes the next whole message off what was received; none where more must come.
///
/// # Errors
/// Where it is none of this protocol.
pub(super) fn next<'a>(received: &mut &'a [u8]) -> Result<Option<Said<'a>>, Strange> {
    let Some((descriptor, rest)) = received.split_at_checked(DESCRIPTOR) else { return Ok(None) };
    let word =
        |at: usize| u32::from_be_bytes([descriptor[at], descriptor[at + 1], descriptor[at + 2], descriptor[at + 3]]);
    let length = word(0) as usize;
    if length > LONGEST {
        return Err(Strange);
    }
    let Some((body, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    *received = rest;
    if word(4) != NONE {
        return Ok(Some(Said::Other));
    }
    let mut values = Values(body);
    let (command, number) = (values.word()?, values.word()?);
    Ok(Some(match command {
        0 => Said::Error(number, values.word()?),
        2 => Said::Reply(number, values),
        63 => Said::Underflow,
        64 => Said::Killed,
        _ => Said::Other,
    }))
}

/// Something that the protocol does not have there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strange;

/// The values of a message that were not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Values<'a>(&'a [u8]);

impl Values<'_> {
    /// A number of 32 bits.
    pub(super) fn word(&mut self) -> Result<u32, Strange> {
        self.take::<4>(b"L").map(u32::from_be_bytes)
    }

    /// A number of 64 bits, or a time span in us.
    pub(super) fn long(&mut self) -> Result<i64, Strange> {
        self.take::<8>(b"URr").map(i64::from_be_bytes)
    }

    /// A yes or no.
    pub(super) fn flag(&mut self) -> Result<bool, Strange> {
        match self.0.split_first() {
            Some((b'1', rest)) => {
                self.0 = rest;
                Ok(true)
            }
            _ => self.take::<0>(b"0").map(|_| false),
        }
    }

    /// A time of day: seconds and us.
    pub(super) fn time(&mut self) -> Result<(u32, u32), Strange> {
        self.take::<8>(b"T").map(|bytes| {
            let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            (word(0), word(4))
        })
    }

    fn take<const N: usize>(&mut self, letters: &[u8]) -> Result<[u8; N], Strange> {
        let (letter, rest) = self.0.split_first().ok_or(Strange)?;
        let (value, rest) = rest.split_first_chunk::<N>().ok_or(Strange)?;
        if !letters.contains(letter) {
            return Err(Strange);
        }
        self.0 = rest;
        Ok(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message from a server: a command, a number, and what follows.
    fn from_server(command: u32, number: u32, rest: &[u8]) -> Vec<u8> {
        let mut message = Message(vec![0; DESCRIPTOR]);
        message.word(command).word(number).0.extend(rest);
        let mut out = Vec::new();
        message.send(&mut out);
        out
    }

    #[test]
    fn a_question_is_a_descriptor_and_values_with_their_letters() {
        let mut out = Vec::new();
        Message::name(7, "me").send(&mut out);
        let expected = [
            &[0, 0, 0, 43, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            b"L\0\0\0\x09L\0\0\0\x07Ptapplication.name\0L\0\0\0\x03x\0\0\0\x03me\0N",
        ];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn samples_are_little_endian_on_their_stream() {
        let mut out = Vec::new();
        send_samples(3, &[1.0, -2.0], &mut out);
        assert_eq!(out[..8], [0, 0, 0, 8, 0, 0, 0, 3]);
        assert_eq!(out[8..20], [0; 12]);
        assert_eq!(out[20..], [0, 0, 128, 63, 0, 0, 0, 192]);
    }

    #[test]
    fn what_a_server_says_is_read_a_message_at_a_time_however_it_comes() {
        let mut all = from_server(2, 5, b"L\0\0\0\x2a1R\0\0\0\0\0\0\x01\0T\0\0\0\x02\0\0\0\x03");
        all.extend(from_server(63, u32::MAX, b"L\0\0\0\0"));
        all.extend(from_server(61, u32::MAX, b""));
        for cut in 0..all.len() {
            let (mut said, mut rest) = (Vec::new(), &all[..cut]);
            while let Some(message) = next(&mut rest).unwrap() {
                said.push(message);
            }
            let begun = cut - rest.len();
            let mut rest = &all[begun..];
            while let Some(message) = next(&mut rest).unwrap() {
                said.push(message);
            }
            assert!(rest.is_empty());
            let [Said::Reply(5, values), Said::Underflow, Said::Other] = said.as_slice() else { panic!("{said:?}") };
            let mut values = values.clone();
            assert_eq!(values.word(), Ok(42));
            assert_eq!(values.flag(), Ok(true));
            assert_eq!(values.long(), Ok(256));
            assert_eq!(values.time(), Ok((2, 3)));
            assert_eq!(values.word(), Err(Strange), "nothing is left");
        }
    }

    #[test]
    fn what_is_none_of_the_protocol_is_told_and_never_read_for_ever() {
        let mut long = [0xff; 64].as_slice();
        assert_eq!(next(&mut long), Err(Strange));
        let junk = from_server(2, 1, b"");
        let mut short = [&[0, 0, 0, 3], &junk[4..23]].concat();
        short.truncate(DESCRIPTOR + 3);
        assert_eq!(next(&mut short.as_slice()), Err(Strange));
        assert_eq!(Values(b"X").word(), Err(Strange));
        assert_eq!(Values(b"2").flag(), Err(Strange));
    }
}
