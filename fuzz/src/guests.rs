//! Participants of a room that do not speak its protocol: other programs' clients, and plain RTP peers.

use std::net::SocketAddr;
use std::sync::Arc;

use vox_dialect::{Board, Dialect, PeerToPeer, Said, Streamer, ToClient, ToRoom};
use vox_frame::{Rate, Stamp};
use vox_room::{Arrival, Command, PlainPeer, PlainTerms, RoomName, StreamFacts};
use vox_rtp::PayloadMap;

use crate::pieces::Pieces;

/// Lines of a room with which a client's story goes on.
const LINES: [&str; 12] = [
    "ACCEPT: localhost",
    "NICKNAMEINUSE: it is taken",
    "JOINED: #lobby",
    "JOINED: #a",
    "CREATED: #a",
    "ROOM #a: users=1 voice=0 open",
    "LIST: 1",
    "USERLIST #a: ana, bob",
    "ERROR NICK: exists it is taken",
    "NICK: ana",
    "DELETED: #a",
    "PING: 1",
];

/// Any bytes as what a client of another program says, and any lines and packets as what a room says to it: the room is
/// told lines of its protocol only, and a piece of input gives a bounded output.
pub fn dialects(data: &[u8]) {
    let mut pieces = Pieces::new(data);
    let rate = Rate::new(5_000 + u32::from(pieces.byte()) * 150).expect("a rate");
    let random = pieces.number();
    let Some(room) = RoomName::parse("#lobby") else { return };
    let mut dialect: Box<dyn Dialect> = if pieces.byte() & 1 == 0 {
        Box::new(Streamer::new(room, "streamer".to_owned(), rate, random))
    } else {
        Box::new(PeerToPeer::new(Arc::new(Board::default()), rate, random))
    };
    let mut now = Stamp::from_ns(1_000_000_000_000);
    let mut said = Said::default();
    dialect.begin(now, &mut said);
    while !pieces.is_empty() {
        let step = pieces.byte();
        now = now.plus(i64::from(pieces.byte()) * 1_000_000);
        let over = match step % 5 {
            0 => dialect.handle_bytes(now, pieces.piece(), &mut said).is_err(),
            1 => dialect.handle_line(now, &String::from_utf8_lossy(pieces.piece()), &mut said).is_err(),
            2 => dialect.handle_line(now, LINES[usize::from(step / 5) % LINES.len()], &mut said).is_err(),
            3 => {
                dialect.handle_packet(now, pieces.piece(), &mut said);
                false
            }
            _ => {
                dialect.handle_timeout(now, &mut said);
                false
            }
        };
        for what in said.room.drain(..) {
            match what {
                ToRoom::Line(line) => assert!(Command::parse(&line).is_ok(), "no line of the protocol: {line:?}"),
                ToRoom::Packet(packet) => assert!(packet.len() <= 16_384),
            }
        }
        let bytes: usize = said
            .client
            .drain(..)
            .map(|what| match what {
                ToClient::Message(bytes) | ToClient::Voice(bytes) => bytes.len(),
            })
            .sum();
        assert!(bytes <= 1 << 24);
        if over {
            return;
        }
    }
}

/// Any datagrams from anywhere at a plain RTP peer: one source at a time is heard, and what the peer is sent is one
/// stream.
pub fn plain(data: &[u8]) {
    let mut pieces = Pieces::new(data);
    let Ok(format) = "PCMU/8000".parse() else { return };
    let reports_to = Some(SocketAddr::from(([127, 0, 0, 1], 5009)));
    let terms = PlainTerms { accepts: PayloadMap::standard(), sends: (0, format), from: None, to: None, reports_to };
    let mut now = Stamp::from_ns(1_000_000_000_000);
    let mut peer = PlainPeer::new(terms, 0x1234_5678, 1, 1).with_reports(now, 1);
    for ssrc in 0..4 {
        peer.handle_stream(ssrc, StreamFacts::unannounced(0).expect("mu-law"));
    }
    let mut source: Option<SocketAddr> = None;
    while !pieces.is_empty() {
        let step = pieces.byte();
        now = now.plus(i64::from(pieces.byte()) * 10_000_000);
        let from = SocketAddr::from(([127, 0, 0, 1 + (step & 1)], 5000 + u16::from(step >> 6)));
        match step >> 1 & 3 {
            0 | 1 => match peer.handle_datagram(now, from, pieces.piece()) {
                Arrival::Begins(..) => {
                    assert!(source.is_none(), "somebody is heard already");
                    source = Some(from);
                }
                Arrival::Goes | Arrival::Held => assert_eq!(source, Some(from)),
                Arrival::Report | Arrival::Foreign | Arrival::Malformed => {}
            },
            2 => {
                let mut packet = pieces.piece().to_vec();
                if let Some(to) = peer.handle_packet(now, &mut packet) {
                    assert_eq!((Some(to), &packet[8..12]), (source, &[0x12, 0x34, 0x56, 0x78][..]));
                }
            }
            _ => {
                if peer.handle_timeout(now).is_some() {
                    source = None;
                }
            }
        }
        while peer.poll_packet(now).is_some() {}
        let (_, reports) = peer.poll_reports(now).expect("agreed");
        assert!(reports.len() <= 1 && reports.iter().all(|report| report.packet.len() < 1200));
    }
}
