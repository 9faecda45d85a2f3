//! Participants by plain RTP: nobody takes their place, and what they hear is one stream.
#![allow(missing_docs, reason = "tests are sentences")]

mod house;

use core::net::SocketAddr;

use house::{House, packet};
use vox_frame::Stamp;
use vox_room::{Arrival, ConnId, Nick, Path, PlainPeer, PlainTerms, RoomName, StreamFacts};
use vox_rtp::{Block, Fact, Packet, PayloadMap, read_control, write_control};

const S: i64 = 1_000_000_000;

fn terms() -> PlainTerms {
    let sends = (0, "PCMU/8000".parse().expect("a format"));
    PlainTerms { accepts: PayloadMap::standard(), sends, from: None, to: None, reports_to: None }
}

fn peer() -> PlainPeer {
    PlainPeer::new(terms(), 0xabcd, 100, 5000)
}

fn at(seconds: i64) -> Stamp {
    Stamp::from_ns(seconds * S)
}

#[track_caller]
fn takes(peer: &mut PlainPeer, seconds: i64, from: &str, ssrc: u32) -> bool {
    let from = from.parse().expect("an address");
    matches!(peer.handle_datagram(at(seconds), from, &packet(ssrc, 1, 0)), Arrival::Begins(..) | Arrival::Goes)
}

#[test]
fn the_first_packet_fixes_address_port_and_ssrc() {
    let mut peer = peer();
    let first = peer.handle_datagram(at(0), "127.0.0.1:7000".parse().unwrap(), &packet(9, 1, 0));
    let Arrival::Begins(9, facts) = first else { panic!("{first:?}") };
    assert_eq!(facts.to_string(), "pt=0 format=PCMU/8000 channels=1 frame=160 preskip=0");
    assert!(takes(&mut peer, 1, "127.0.0.1:7000", 9));
    assert!(!takes(&mut peer, 1, "127.0.0.1:7001", 9), "another port");
    assert!(!takes(&mut peer, 1, "127.0.0.2:7000", 9), "another address");
    assert!(!takes(&mut peer, 1, "127.0.0.1:7000", 8), "another source");
    assert_eq!(peer.foreign(), 3);
}

#[test]
fn nobody_takes_the_place_of_a_stream_that_goes_on_however_long_he_tries() {
    let mut peer = peer();
    assert!(takes(&mut peer, 0, "127.0.0.1:7000", 9));
    for second in 1..100 {
        assert!(!takes(&mut peer, second, "127.0.0.1:7001", 8), "{second}");
        assert_eq!(peer.handle_timeout(at(second)), None);
        assert!(takes(&mut peer, second, "127.0.0.1:7000", 9));
    }
}

#[test]
fn a_source_that_is_silent_for_five_seconds_has_ended_and_another_may_come() {
    let mut peer = peer();
    assert!(takes(&mut peer, 0, "127.0.0.1:7000", 9));
    assert!(!takes(&mut peer, 4, "127.0.0.1:7001", 8));
    assert_eq!(peer.next_deadline(), Some(at(5)));
    assert_eq!(peer.handle_timeout(at(5)), Some(9));
    assert_eq!(peer.handle_timeout(at(5)), None);
    assert!(takes(&mut peer, 5, "127.0.0.1:7001", 8));
    assert_eq!(peer.source(), Some("127.0.0.1:7001".parse().unwrap()));
}

#[test]
fn packets_come_from_this_host_alone_or_from_whom_one_has_said() {
    assert!(!takes(&mut peer(), 0, "192.0.2.7:7000", 9));
    let mut known = PlainPeer::new(PlainTerms { from: Some("192.0.2.7".parse().unwrap()), ..terms() }, 1, 1, 1);
    assert!(!takes(&mut known, 0, "192.0.2.8:7000", 9));
    assert!(!takes(&mut known, 0, "127.0.0.1:7000", 9));
    assert!(takes(&mut known, 0, "192.0.2.7:7000", 9));
}

#[test]
fn what_was_not_agreed_begins_nothing() {
    let mut peer = peer();
    let from = "127.0.0.1:7000".parse().unwrap();
    let mut strange = packet(9, 1, 0);
    strange[1] = 77;
    assert_eq!(peer.handle_datagram(at(0), from, &strange), Arrival::Foreign);
    assert_eq!(peer.handle_datagram(at(0), from, b"hello"), Arrival::Malformed);
    assert_eq!(peer.handle_datagram(at(0), from, &[0x80, 200, 0, 1, 0, 0, 0, 9]), Arrival::Report);
    assert_eq!(peer.source(), None);
}

#[test]
fn what_a_peer_hears_goes_where_it_was_told_or_to_where_its_packets_come_from() {
    let mut peer = peer();
    peer.handle_stream(5, StreamFacts::unannounced(0).expect("mu-law"));
    assert_eq!(peer.handle_packet(at(0), &mut packet(5, 1, 0)), None, "nowhere yet");
    assert!(takes(&mut peer, 0, "127.0.0.1:7000", 9));
    let mut heard = packet(5, 1, 0);
    assert_eq!(peer.handle_packet(at(0), &mut heard), Some("127.0.0.1:7000".parse().unwrap()));
    let header = Packet::parse(&heard).unwrap().header;
    assert_eq!((header.ssrc, header.sequence, header.timestamp, header.marker), (0xabcd, 100, 5000, true));
    let sdp = peer.description("#lobby").unwrap();
    assert!(sdp.contains("c=IN IP4 127.0.0.1\r\n") && sdp.contains("m=audio 7000 RTP/AVP 0\r\n"), "{sdp}");
    let told = PlainTerms { to: Some("127.0.0.1:7002".parse().unwrap()), ..terms() };
    assert_eq!(PlainPeer::new(told, 1, 1, 1).destination(), Some("127.0.0.1:7002".parse().unwrap()));
}

#[test]
fn a_peer_that_takes_reports_is_told_what_it_was_sent_and_how_its_own_came() {
    let from: SocketAddr = "127.0.0.1:7000".parse().unwrap();
    let to = "127.0.0.1:7001".parse().unwrap();
    let terms = PlainTerms { to: Some(from), reports_to: Some(to), ..terms() };
    let mut peer = PlainPeer::new(terms.clone(), 0xabcd, 100, 5000).with_reports(at(0), 7);
    peer.handle_stream(5, StreamFacts::unannounced(0).expect("mu-law"));
    let (mut said, mut reports) = (0, Vec::new());
    for n in 0..1000 {
        let now = Stamp::from_ns(n * S / 50);
        if n % 10 != 3 {
            let _arrival = peer.handle_datagram(now, from, &packet(9, n as u16, n as u32 * 160));
            said += 1;
        }
        let mut heard = packet(5, n as u16, n as u32 * 160);
        assert_eq!(peer.handle_packet(now, &mut heard), Some(from));
        let (whither, due) = peer.poll_reports(now).unwrap();
        assert_eq!(whither, to);
        reports.extend(due.into_iter().map(|report| (n, read_control(&report.packet).expect("RTCP"))));
    }
    // RFC 3550, section 6.3.1: the first after half of five seconds, each by 0.5 to 1.5 and the factor of the appendix.
    assert!((3..=10).contains(&reports.len()), "{reports:?}");
    for (n, facts) in &reports {
        let sent = facts.iter().find_map(|fact| match fact {
            Fact::Sent { ssrc: 0xabcd, rtp, packets, .. } => Some((*rtp, i64::from(*packets))),
            _ => None,
        });
        assert_eq!(sent, Some((5000 + *n as u32 * 160, n + 1)));
        let block = facts.iter().find_map(|fact| match fact {
            Fact::Report { by: 0xabcd, block } if block.ssrc == 9 => Some(block),
            _ => None,
        });
        let block = block.unwrap_or_else(|| panic!("nothing of what came: {facts:?}"));
        assert!((20..=32).contains(&block.fraction_lost), "a tenth is lost: {block:?}");
    }
    assert_eq!(said, 900);
    // It says what it hears, and that is known.
    let mut last_sr = reports.iter().flat_map(|(_, facts)| facts).filter_map(|fact| match fact {
        Fact::Sent { ntp, .. } => Some(ntp.middle()),
        _ => None,
    });
    let block = Block { ssrc: 0xabcd, fraction_lost: 64, last_sr: last_sr.next_back().unwrap(), ..Block::default() };
    let mut bytes = Vec::new();
    write_control(&[Fact::Present(9), Fact::Report { by: 9, block }], &mut bytes);
    assert_eq!(peer.handle_datagram(at(20), from, &bytes), Arrival::Report);
    assert_eq!(peer.report().map(|report| report.fraction_lost), Some(0.25));
    let (_, goodbye) = peer.finish(at(20)).unwrap();
    let goodbye = read_control(&goodbye[0].packet).unwrap();
    assert!(goodbye.contains(&Fact::Bye(0xabcd)), "{goodbye:?}");
    assert_eq!(peer.poll_reports(at(30)), None);
    // Who does not say that he takes them might take them for voice.
    let mut other = PlainPeer::new(PlainTerms { reports_to: None, ..terms }, 1, 1, 1).with_reports(at(0), 7);
    assert_eq!(other.poll_reports(at(10)), None);
}

#[test]
fn a_guest_is_brought_into_a_room_and_heard_there() {
    let mut house = House::new();
    house.speaker("ana", "#lobby", "192.0.2.7:5000");
    let (guest, room) = (ConnId(1000), RoomName::parse("#lobby").unwrap());
    let nick = |name: &str| Nick::parse(name).unwrap();
    assert!(house.hall.handle_guest(house.now, guest, nick("Ana"), "plain RTP", &room).is_err(), "the name is taken");
    house.hall.handle_guest(house.now, guest, nick("phone"), "plain RTP", &room).expect("it comes in");
    assert_eq!(house.hall.connection_of(&room, &nick("phone")), Some(guest));
    house.says(guest, "VOICE #lobby: tcp");
    house.says(guest, "STREAM 77: pt=0 format=PCMU/8000");
    let mut heard = Vec::new();
    house.hall.handle_packet(house.now, guest, &mut packet(77, 1, 0), &mut |path, _| heard.push(path));
    assert_eq!(heard, [Path::Udp("192.0.2.7:5000".parse().unwrap())]);
    house.hangs_up(guest);
    assert_eq!(house.hall.members(), 1);
}
