//! Clients of other programs, and what becomes of what they say.
#![allow(missing_docs, reason = "tests are sentences")]

use std::sync::Arc;

use vox_dialect::{Board, Dialect, PeerToPeer, Said, Streamer, ToClient, ToRoom};
use vox_frame::{Rate, Stamp};
use vox_room::RoomName;
use vox_rtp::{Header, Packet, write_packet};

const NOW: Stamp = Stamp::ZERO;

/// What the room hears: lines, and how many packets.
fn to_room(said: &mut Said) -> (Vec<String>, Vec<Vec<u8>>) {
    let (mut lines, mut packets) = (Vec::new(), Vec::new());
    for what in said.room.drain(..) {
        match what {
            ToRoom::Line(line) => lines.push(line),
            ToRoom::Packet(packet) => packets.push(packet),
        }
    }
    (lines, packets)
}

fn to_client(said: &mut Said) -> String {
    let bytes = said.client.drain(..).flat_map(|what| match what {
        ToClient::Message(bytes) | ToClient::Voice(bytes) => bytes,
    });
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

fn tells(dialect: &mut dyn Dialect, line: &str) -> (Vec<String>, String) {
    let mut said = Said::default();
    dialect.handle_line(NOW, line, &mut said).expect("it stays");
    (to_room(&mut said).0, to_client(&mut said))
}

fn mixed(sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { ssrc: 9, sequence, timestamp, payload_type: 0, marker: false };
    let mut packet = Vec::new();
    write_packet(header, &[], payload, &mut packet);
    packet
}

#[test]
fn a_streamer_is_greeted_named_seated_and_heard() {
    let room = RoomName::parse("#lobby").unwrap();
    let mut streamer = Streamer::new(room, "streamer".to_owned(), Rate::HZ_8000, 77);
    let mut said = Said::default();
    streamer.begin(NOW, &mut said);
    assert_eq!(to_client(&mut said), "\u{15}\0\0\0SamplesPerSecond:8000");
    assert_eq!(to_room(&mut said).0, ["CONNECT: \"streamer1\" \"TCP streamer\" 1.0.0"]);
    assert_eq!(tells(&mut streamer, "NICKNAMEINUSE: taken").0, ["CONNECT: \"streamer2\" \"TCP streamer\" 1.0.0"]);
    assert_eq!(tells(&mut streamer, "ACCEPT: localhost").0, ["JOIN: #lobby"]);
    let (lines, _) = tells(&mut streamer, "JOINED: #lobby");
    assert_eq!(lines[0], "VOICE #lobby: tcp mix=PCMU/8000");
    assert_eq!(lines[1], "STREAM 77: pt=0 format=PCMU/8000 channels=1 frame=160");
    assert!(tells(&mut streamer, "JOINED: #lobby").0.is_empty(), "once");
    // A frame of the program: length, RTP of type 0, 160 bytes, cut anywhere.
    let mut frame = 172u32.to_le_bytes().to_vec();
    frame.extend(mixed(0, 0, &[0x55; 160]));
    streamer.handle_bytes(NOW, &frame[..50], &mut said).unwrap();
    assert!(to_room(&mut said).1.is_empty());
    streamer.handle_bytes(NOW, &frame[50..], &mut said).unwrap();
    let packet = &to_room(&mut said).1[0];
    let packet = Packet::parse(packet).unwrap();
    assert_eq!((packet.header.ssrc, packet.payload), (77, &[0x55; 160][..]), "untouched");
    // What it hears is in its own frames, numbered from nothing.
    streamer.handle_packet(NOW, &mixed(500, 9000, &[0x66; 160]), &mut said);
    let [ToClient::Voice(heard)] = &said.client[..] else { panic!("{said:?}") };
    assert_eq!(heard[..16], [172, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(streamer.handle_line(NOW, "KICKED #lobby: by ana", &mut said).is_err(), "then it goes");
}

#[test]
fn an_app_is_told_what_it_asks_in_its_own_words() {
    let board = Arc::new(Board::default());
    let mut app = PeerToPeer::new(Arc::clone(&board), Rate::new(5000).unwrap(), 77);
    let mut said = Said::default();
    let mut asks = |app: &mut PeerToPeer, text: &str| {
        app.handle_bytes(NOW, format!("\r\n{text}\r\n").as_bytes(), &mut said).unwrap();
        (to_room(&mut said).0, to_client(&mut said))
    };
    let mut begun = Said::default();
    app.begin(NOW, &mut begun);
    assert_eq!(to_room(&mut begun).0, ["CONNECT: \"User000001\" \"P2P app\" 1.0.0"]);
    // What it asks before it has a seat waits for that.
    assert!(asks(&mut app, r#"{"action": "create", "room": "Room A"}"#).0.is_empty());
    assert_eq!(tells(&mut app, "ACCEPT: localhost").0, ["CREATE: #room-a"]);
    assert!(tells(&mut app, "CREATED: #room-a").1.contains(r#""status":"ok""#));
    asks(&mut app, r#"{"action": "request_user_name", "user_name": "ana maria"}"#);
    assert!(tells(&mut app, "ERROR NICK: exists ana_maria is taken").1.contains("conflict"));
    let (lines, _) = asks(&mut app, r#"{"action": "request_user_name", "user_name": "ana maria"}"#);
    assert_eq!(lines, ["NICK: ana_maria"]);
    assert!(tells(&mut app, "NICK: ana_maria").1.contains("\"user_name\":\"ana maria\""));
    assert_eq!(asks(&mut app, r#"{"action": "join", "room": "Room A"}"#).0, ["LIST"]);
    tells(&mut app, "ROOM #lobby: users=1 voice=0 open");
    tells(&mut app, "ROOM #room-a: users=1 voice=0 open");
    assert_eq!(tells(&mut app, "LIST: 2").0, ["JOIN: #room-a"]);
    let (lines, told) = tells(&mut app, "JOINED: #room-a");
    assert_eq!(lines[0], "VOICE #room-a: tcp mix=L16/5000");
    assert!(told.contains("Room A"), "the spelling of who made it: {told}");
    asks(&mut app, r#"{"action": "record_start", "room_name": "Room A"}"#);
    assert!(tells(&mut app, "RECORD #room-a: on ana_maria").1.contains("record_start"));
    // 500 samples at a time: a tenth of a second.
    let mut heard = Said::default();
    app.handle_packet(NOW, &mixed(1, 100, &[0, 1].repeat(499)), &mut heard);
    assert!(heard.client.is_empty());
    app.handle_packet(NOW, &mixed(2, 599, &[0, 1]), &mut heard);
    assert!(to_client(&mut heard).contains("\"audio_data\":\"AQAB"), "the other order of bytes");
    assert!(app.handle_bytes(NOW, b"\r\n{\"action\": \"exit\"}\r\n", &mut heard).is_err());
}
