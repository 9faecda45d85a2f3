//! The room's protocol, and the house behind it.

use vox_frame::Stamp;
use vox_room::{Command, Config, ConnId, Hall, Output, P2pReader, P2pRequest, Splitter};

use crate::pieces::Pieces;

/// Lines that mean something; what stands for a number is one of four people.
const LINES: [&str; 32] = [
    "CONNECT: \"p%\" \"x\" 1.0.0",
    "CONNECT: \"p%\" \"x\" 1.0.0 resume=%",
    "JOIN: #a",
    "JOIN: #b pw",
    "LEAVE: #a",
    "CREATE: #b pw",
    "DELETE: #a",
    "LOCK #a: pw",
    "UNLOCK: #a",
    "MSG #a: hello",
    "PRIVMSG p%: hello",
    "TALK p%: Request",
    "TALK p%: ACCEPT",
    "TALK p%: Deny",
    "TALK p%: End",
    "MUTE",
    "UNMUTE: both",
    "MUTE p%: both",
    "UNMUTE p%: out",
    "MUTE p%: me",
    "MUTE #a",
    "KICK #a: p%",
    "VOICE #a",
    "VOICE #a: tcp",
    "VOICE: tcp",
    "VOICE: off",
    "STREAM %: pt=0",
    "STREAMEND %: rtp=7",
    "RECORD #a: on",
    "EVENTS: levels",
    "SESSION",
    "DISCONNECT",
];

/// Any sequence of lines, packets, lost connections and time: nothing is left when everybody has gone.
pub fn house(data: &[u8]) {
    let mut pieces = Pieces::new(data);
    let mut drawn = 0u64;
    let mut hall = Hall::new(Config { keeps: true, may_register: true, ..Config::default() }, move || {
        drawn += 1;
        drawn
    });
    let (mut now, mut next, mut open) = (Stamp::ZERO, 0, [None; 4]);
    while !pieces.is_empty() {
        let (kind, which) = (pieces.byte(), pieces.byte());
        let slot = usize::from(which % 4);
        let conn = *open[slot].get_or_insert_with(|| {
            next += 1;
            let media = Some(core::net::SocketAddr::from(([127, 0, 0, 1], 10_001)));
            assert!(hall.handle_connected(now, ConnId(next), media), "four at a time are not too many");
            ConnId(next)
        });
        let from = core::net::SocketAddr::from(([10, 0, 0, 1], 4000 + u16::from(which / 4 % 4)));
        match kind {
            0..128 => {
                let line = LINES[usize::from(kind) % LINES.len()].replace('%', &(which / 16 % 4 + 1).to_string());
                hall.handle_line(now, conn, line.as_bytes());
            }
            128..144 => hall.handle_line(now, conn, pieces.piece()),
            144..176 => {
                let mut packet = pieces.piece().to_vec();
                hall.handle_packet(now, conn, &mut packet, &mut |_, _| {});
            }
            176..208 => {
                let mut packet = pieces.piece().to_vec();
                hall.handle_datagram(now, from, &mut packet, &mut |_, _| {});
            }
            208..224 => {
                let key = format!("TALKSESSION: {:032x}", u128::from(which) << 64 | (u128::from(which) + 1));
                hall.handle_datagram(now, from, &mut key.into_bytes(), &mut |_, _| {});
            }
            224..240 => {
                hall.handle_closed(now, conn);
                open[slot] = None;
            }
            240.. => {
                now = now.plus(i64::from(which) * 1_000_000_000);
                hall.handle_timeout(now);
            }
        }
        settle(&mut hall, now, &mut open);
    }
    for conn in open.into_iter().flatten() {
        hall.handle_closed(now, conn);
    }
    for _ in 0..8 {
        now = now.plus(3600 * 1_000_000_000);
        hall.handle_timeout(now);
        while hall.poll_output().is_some() {}
    }
    assert_eq!(hall.left_over(), 0, "everybody has gone");
}

fn settle(hall: &mut Hall, now: Stamp, open: &mut [Option<ConnId>; 4]) {
    while let Some(output) = hall.poll_output() {
        match output {
            Output::Line(_, line) => assert!(!line.contains(['\r', '\n']), "a line is one line: {line:?}"),
            Output::Close(conn) => {
                hall.handle_closed(now, conn);
                open.iter_mut().filter(|slot| **slot == Some(conn)).for_each(|slot| *slot = None);
            }
            Output::Protect(ticket, password) => hall.handle_protected(ticket, password),
            Output::Verify(ticket, password, kept) => hall.handle_verified(now, ticket, password == kept),
            Output::Packet(..) | Output::Save(_) | Output::Guessed(_) | Output::Desk(_) => {}
        }
    }
}

/// Any bytes on a connection: lines and frames, or an error; what is held is bounded.
pub fn room(data: &[u8]) {
    let mut splitter = Splitter::new();
    for bytes in data.chunks(61) {
        splitter.push(bytes);
        loop {
            match splitter.next_message() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        for line in text.lines() {
            let _ = Command::parse(line);
        }
    }
}

/// Any bytes as what a client of the P2P communication app says: a line at most is held, and audio is whole samples.
pub fn p2p(data: &[u8]) {
    let mut reader = P2pReader::default();
    for bytes in data.chunks(53) {
        reader.push(bytes, |request| {
            if let P2pRequest::Voice(samples) = request {
                assert!(samples.len() % 2 == 0 && samples.len() <= data.len());
            }
        });
    }
}
