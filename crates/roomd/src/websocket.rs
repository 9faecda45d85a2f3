//! WebSocket (RFC 6455): lines as text, packets as binary messages, and which web pages may speak to the server.

use std::io::{self, ErrorKind, Read, Write};

use tungstenite::Error;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig, WebSocketContext};
use vox_room::{Splitter, frame_header};

/// Bytes of a request that asks for a WebSocket.
const MAX_REQUEST: usize = 8 * 1024;

/// Headers of a request.
const MAX_HEADERS: usize = 64;

/// Bytes of a message: the longest packet with what stands before it.
const MAX_MESSAGE: usize = 64 * 1024 + 4;

/// Bytes that are set aside for each connection to read into.
const READ_BUFFER: usize = 2048;

/// What web pages ask for by name.
const PROTOCOL: &str = "voix";

/// What requests of HTTP begin with that a web page can make somebody's browser send. No line before CONNECT does, and
/// lines in the body of one are nobody's words.
const REQUESTS: [&[u8]; 8] =
    [b"GET /", b"HEAD /", b"POST /", b"PUT /", b"PATCH /", b"DELETE /", b"OPTIONS /", b"TRACE /"];

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// More of them have to come.
    Unclear,
    /// Lines and packets.
    Lines,
    /// A WebSocket: the answer, and how many bytes asked for it.
    WebSocket(String, usize),
    /// A request that is not granted: the answer.
    Refused(String),
}

impl Opening {
    /// Looks at all bytes that have come so far. `origins` are the web pages that may speak to the server.
    pub(crate) fn of(bytes: &[u8], origins: &[String]) -> Self {
        if REQUESTS.iter().any(|request| bytes.starts_with(request)) {
            return request(bytes, origins);
        }
        // The beginning of one may still become one.
        if REQUESTS.iter().any(|request| request.starts_with(bytes)) { Self::Unclear } else { Self::Lines }
    }
}

fn request(bytes: &[u8], origins: &[String]) -> Opening {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_REQUEST => return Opening::Unclear,
        Ok(httparse::Status::Partial) => return refused("431 Request Header Fields Too Large", "that is too long"),
        Err(_) => return refused("400 Bad Request", "that is no HTTP/1.1"),
    };
    let header = |name: &str| {
        let mut all = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        let first = all.next()?;
        // Twice the same is a request that two programs may understand differently.
        if all.next().is_some() { None } else { std::str::from_utf8(first.value).ok() }
    };
    let names = |name: &str, word: &str| {
        header(name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    if request.method != Some("GET") || request.version != Some(1) {
        return refused("405 Method Not Allowed", "this is a server of rooms: it speaks lines, and WebSocket by GET");
    }
    if !names("Upgrade", "websocket")
        || !names("Connection", "upgrade")
        || header("Sec-WebSocket-Version") != Some("13")
    {
        let text = "this is a server of rooms: it speaks lines, and WebSocket";
        return refused("426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13", text);
    }
    // Browsers always say which page it is; what is no browser says nothing.
    let pages = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("Origin"));
    let allowed =
        |origin: &[u8]| origins.iter().any(|known| known == "*" || known.as_bytes().eq_ignore_ascii_case(origin));
    if !pages.into_iter().all(|header| allowed(header.value)) {
        return refused("403 Forbidden", "this page may not speak to the server (vox-roomd --allow-origin)");
    }
    // 16 bytes in base64.
    let Some(key) = header("Sec-WebSocket-Key").filter(|key| key.len() == 24 && key.ends_with("==")) else {
        return refused("400 Bad Request", "there is no Sec-WebSocket-Key of 16 bytes");
    };
    let protocol = if names("Sec-WebSocket-Protocol", PROTOCOL) {
        format!("Sec-WebSocket-Protocol: {PROTOCOL}\r\n")
    } else {
        String::new()
    };
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
    );
    Opening::WebSocket(answer, length)
}

fn refused(status: &str, why: &str) -> Opening {
    let length = why.len() + 1;
    Opening::Refused(format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{why}\n"
    ))
}

/// A connection that has become a WebSocket.
pub(crate) struct WebSocket(WebSocketContext);

/// It is at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

impl WebSocket {
    pub(crate) fn new() -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        Self(WebSocketContext::new(Role::Server, Some(config)))
    }

    /// Takes bytes as they came: what messages say goes to `splitter`, what has to be answered to `out`.
    pub(crate) fn take(&mut self, bytes: &[u8], splitter: &mut Splitter, out: &mut Vec<u8>) -> Result<(), Closed> {
        let mut wire = Wire { bytes, out };
        loop {
            match self.0.read(&mut wire) {
                Ok(Message::Text(text)) => {
                    splitter.push(text.as_bytes());
                    if !text.ends_with('\n') {
                        splitter.push(b"\n");
                    }
                }
                Ok(Message::Binary(packets)) => splitter.push(&packets),
                // Those are answered by the library.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_)) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    let code = match error {
                        Error::Capacity(_) => CloseCode::Size,
                        Error::Utf8(_) => CloseCode::Invalid,
                        _ => CloseCode::Protocol,
                    };
                    self.close(code, wire.out);
                    return Err(Closed);
                }
            }
        }
    }

    /// A line, without its end.
    pub(crate) fn line(&mut self, line: &str, out: &mut Vec<u8>) {
        self.say(Message::text(line), out);
    }

    /// A packet, as it would stand between lines; false where it is too long for one.
    pub(crate) fn packet(&mut self, packet: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(header) = frame_header(packet.len()) else { return false };
        self.say(Message::binary([&header, packet].concat()), out);
        true
    }

    /// Says goodbye, once.
    pub(crate) fn goodbye(&mut self, out: &mut Vec<u8>) {
        self.close(CloseCode::Normal, out);
    }

    fn say(&mut self, message: Message, out: &mut Vec<u8>) {
        // What is said after the goodbye is heard by nobody.
        let _unheard = self.0.write(&mut Wire { bytes: &[], out }, message);
    }

    fn close(&mut self, code: CloseCode, out: &mut Vec<u8>) {
        let frame = CloseFrame { code, reason: "".into() };
        // It may be closed already.
        let _closed = self.0.close(&mut Wire { bytes: &[], out }, Some(frame));
    }
}

/// What lies between the library and the connection: bytes that have come, and bytes that wait to go.
struct Wire<'a> {
    bytes: &'a [u8],
    out: &'a mut Vec<u8>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { self.bytes.read(buffer) }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vox_room::Message as Said;

    const REQUEST: &str = "GET /rooms HTTP/1.1\r\nHost: localhost:10000\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

    fn opening(text: &str, origins: &[&str]) -> Opening {
        let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
        Opening::of(text.as_bytes(), &origins)
    }

    fn status(opening: &Opening) -> &str {
        match opening {
            Opening::Refused(answer) => &answer[9..12],
            Opening::WebSocket(..) => "101",
            Opening::Lines => "lines",
            Opening::Unclear => "unclear",
        }
    }

    /// A frame as a client sends it, masked.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            short @ 0..126 => out.push(0x80 | short as u8),
            long @ 126..65_536 => out.extend([0x80 | 126, (long >> 8) as u8, long as u8]),
            longer => {
                out.push(0x80 | 127);
                out.extend((longer as u64).to_be_bytes());
            }
        }
        let mask = [7, 130, 9, 77];
        out.extend(mask);
        out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        out
    }

    fn said(splitter: &mut Splitter) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(message) = splitter.next_message().expect("readable") {
            all.push(match message {
                Said::Line(line) | Said::TooLong(line) => String::from_utf8_lossy(line).into_owned(),
                Said::Packet(packet) => format!("{} bytes", packet.len()),
            });
        }
        all
    }

    #[test]
    fn the_first_bytes_tell_what_a_connection_speaks() {
        for text in ["", "G", "GET ", "P", "DELETE "] {
            assert_eq!(opening(text, &[]), Opening::Unclear, "{text:?}");
        }
        for text in ["\n", "GETTING", "PING: 1", "PONG", "CONNECT: \"a\"", "DELETE #room", "$\0\0\u{1}", "help"] {
            assert_eq!(opening(text, &[]), Opening::Lines, "{text:?}");
        }
        let whole = format!("{REQUEST}\r\n");
        for end in 0..whole.len() {
            assert_eq!(opening(&whole[..end], &[]), Opening::Unclear, "{:?}", &whole[..end]);
        }
        let Opening::WebSocket(answer, length) = opening(&format!("{whole}more"), &[]) else { panic!("granted") };
        assert_eq!(length, whole.len());
        // The example of RFC 6455, 1.3.
        assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n") && !answer.contains("Protocol:"), "{answer}");
    }

    #[test]
    fn a_page_gets_in_only_where_it_was_let_in() {
        let from = |origin: &str| format!("{REQUEST}Origin: {origin}\r\n\r\n");
        assert_eq!(status(&opening(&from("http://localhost:10000"), &[])), "403", "not even of the same host");
        assert_eq!(status(&opening(&from("null"), &[])), "403");
        let allowed = ["https://talk.example"];
        assert_eq!(status(&opening(&from("https://Talk.example"), &allowed)), "101");
        assert_eq!(status(&opening(&from("https://talk.example.evil"), &allowed)), "403");
        assert_eq!(status(&opening(&from("http://talk.example"), &allowed)), "403");
        assert_eq!(status(&opening(&from("http://anybody.example"), &["*"])), "101");
        let twice = format!("{REQUEST}Origin: https://talk.example\r\nOrigin: https://evil.example\r\n\r\n");
        assert_eq!(status(&opening(&twice, &allowed)), "403");
    }

    #[test]
    fn what_is_no_request_for_a_websocket_is_answered_and_refused() {
        let body =
            "POST / HTTP/1.1\r\nHost: localhost:10000\r\nContent-Length: 60\r\n\r\nCONNECT: \"Eve\" \"x\" 1.0.0\n";
        assert_eq!(status(&opening(body, &["*"])), "405");
        assert_eq!(status(&opening("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[])), "426");
        assert_eq!(status(&opening("GET / HTTP/1.0\r\n\r\n", &[])), "405");
        assert_eq!(status(&opening("GET /\0 HTTP/1.1\r\n\r\n", &[])), "400");
        assert_eq!(status(&opening(&format!("GET /{}", "a".repeat(9000)), &[])), "431");
        let short = REQUEST.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhl");
        assert_eq!(status(&opening(&format!("{short}\r\n"), &[])), "400");
        let offered = format!("{REQUEST}Sec-WebSocket-Protocol: chat, voix\r\n\r\n");
        let Opening::WebSocket(answer, _) = opening(&offered, &[]) else { panic!("granted") };
        assert!(answer.contains("\r\nSec-WebSocket-Protocol: voix\r\n"), "{answer}");
    }

    #[test]
    fn texts_are_lines_and_binary_messages_packets_in_pieces_of_any_size() {
        let mut bytes = frame(0x81, b"PING: 1");
        bytes.extend(frame(0x82, b"$\0\0\x03abc$\0\0\x01x"));
        // A message in two frames, a ping between them.
        bytes.extend(frame(0x01, b"MSG #a: "));
        bytes.extend(frame(0x89, b"there?"));
        bytes.extend(frame(0x80, b"hello\r\nLIST"));
        for size in 1..bytes.len() {
            let (mut socket, mut splitter, mut out) = (WebSocket::new(), Splitter::new(), Vec::new());
            let mut heard = Vec::new();
            for piece in bytes.chunks(size) {
                assert_eq!(socket.take(piece, &mut splitter, &mut out), Ok(()));
                heard.extend(said(&mut splitter));
            }
            assert_eq!(heard, ["PING: 1", "3 bytes", "1 bytes", "MSG #a: hello", "LIST"], "{size}");
            assert_eq!(out, b"\x8a\x06there?", "the pong");
        }
    }

    #[test]
    fn what_is_said_is_framed_and_the_goodbye_is_the_last_of_it() {
        let (mut socket, mut out) = (WebSocket::new(), Vec::new());
        socket.line("PONG: 1", &mut out);
        assert!(socket.packet(b"abc", &mut out));
        assert!(!socket.packet(&[0; 70_000], &mut out));
        socket.goodbye(&mut out);
        socket.goodbye(&mut out);
        socket.line("too late", &mut out);
        assert_eq!(out, b"\x81\x07PONG: 1\x82\x07$\0\0\x03abc\x88\x02\x03\xe8");
    }

    #[test]
    fn a_breach_of_the_protocol_ends_the_connection_and_says_which() {
        for (bytes, code) in [
            (b"\x81\x02hi".to_vec(), 1002),                    // not masked
            (frame(0x83, b""), 1002),                          // a kind that there is not
            (frame(0x81, b"\xff\xfe"), 1007),                  // no UTF-8
            (frame(0x82, &vec![b'$'; MAX_MESSAGE + 1]), 1009), // too long
        ] {
            let (mut socket, mut splitter, mut out) = (WebSocket::new(), Splitter::new(), Vec::new());
            assert_eq!(socket.take(&bytes, &mut splitter, &mut out), Err(Closed));
            assert_eq!(out[..2], *b"\x88\x02", "{out:?}");
            assert_eq!(u16::from_be_bytes([out[2], out[3]]), code);
        }
        let (mut socket, mut splitter, mut out) = (WebSocket::new(), Splitter::new(), Vec::new());
        assert_eq!(socket.take(&frame(0x88, b"\x03\xe8"), &mut splitter, &mut out), Err(Closed));
        assert_eq!(out, b"\x88\x02\x03\xe8", "a goodbye is answered once");
    }
}
