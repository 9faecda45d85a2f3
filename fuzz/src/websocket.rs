//! The first bytes of a connection to a server of rooms, and what is said by WebSocket after them.

// The server is a program, not a library: this is the file that it is made of.
#[path = "../../crates/roomd/src/websocket.rs"]
mod server;

use vox_room::Splitter;

use crate::pieces::Pieces;
use server::{Opening, WebSocket};

/// Who may come.
const PAGE: &str = "https://talk.example";

/// A request that is granted, up to where headers of one's own may follow.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// Any bytes as the beginning of a connection, in pieces of any size: what they are is decided within 8 KiB, never
/// changes, and no page comes in that was not let in. What follows never says more than it brought.
pub fn websocket(data: &[u8]) {
    let mut pieces = Pieces::new(data);
    let mut bytes = if pieces.byte() & 1 == 0 { Vec::new() } else { REQUEST.to_vec() };
    let mut open = None;
    let origins = [PAGE.to_owned()];
    while !pieces.is_empty() && open.is_none() {
        bytes.extend_from_slice(pieces.piece());
        open = match Opening::of(&bytes, &origins) {
            Opening::Unclear => {
                assert!(bytes.len() < 16 * 1024, "more is waited for than a request may be long");
                None
            }
            Opening::Lines => return,
            Opening::Refused(answer) => {
                assert!(answer.starts_with("HTTP/1.1 4") && answer.len() < 512, "{answer}");
                return;
            }
            Opening::WebSocket(answer, length) => {
                assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\n"), "{answer}");
                assert_eq!(answer.matches("\r\n\r\n").count(), 1, "the asker writes no header of ours: {answer}");
                assert!(bytes[..length].ends_with(b"\n"));
                Some(length)
            }
        };
    }
    let Some(length) = open else { return };
    let head = String::from_utf8_lossy(&bytes[..length]).to_ascii_lowercase();
    for line in head.lines().filter(|line| line.starts_with("origin:")) {
        assert_eq!(line["origin:".len()..].trim(), PAGE, "a page that was not let in");
    }
    converse(&bytes[length..], &mut pieces);
}

fn converse(first: &[u8], pieces: &mut Pieces<'_>) {
    let (mut socket, mut splitter, mut out) = (WebSocket::new(), Splitter::new(), Vec::new());
    let (mut came, mut piece) = (0, first);
    loop {
        came += piece.len();
        let over = socket.take(piece, &mut splitter, &mut out).is_err();
        // A pong is as long as its ping, less the mask; a goodbye tells in a few words why.
        assert!(out.len() <= came + 32, "{} bytes of answer to {came}", out.len());
        while let Ok(Some(_said)) = splitter.next_message() {}
        if over || pieces.is_empty() {
            break;
        }
        piece = pieces.piece();
    }
    socket.line("PING: 1", &mut out);
    assert!(socket.packet(&[0x80; 12], &mut out) && !socket.packet(&[0; 1 << 16], &mut out));
    socket.goodbye(&mut out);
}
