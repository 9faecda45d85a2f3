//! Who gets one stream of everybody else, and what those who mix and record are told.

mod house;

use house::{House, packet};
use vox_room::{Config, ConnId, DeskOrder, Hearers, Limits, Path, Records};

const ANA: &str = "10.0.0.1:4000";
const BOB: &str = "10.0.0.2:4000";
const EVE: &str = "10.0.0.3:4000";

fn mixing() -> House {
    House::with(Config { mixes: true, ..Config::default() })
}

/// Somebody in the lobby's voice who gets a mix; what he was told.
fn listener(house: &mut House, nick: &str, address: &str, wish: &str) -> (ConnId, Vec<String>) {
    let conn = house.arrive(nick);
    house.says(conn, &format!("VOICE #lobby: udp {wish}"));
    let lines = house.heard(conn);
    let token = lines.iter().find_map(|line| line.strip_prefix("VOICE #lobby: udp 192.0.2.1:10001 "));
    let token = token.unwrap_or_else(|| panic!("{lines:?}")).to_owned();
    house.datagram(address, format!("TALKSESSION: {token}").as_bytes());
    (conn, lines)
}

fn hearers(house: &House) -> Vec<Hearers> {
    let of = |order: &DeskOrder| match order {
        DeskOrder::Hearers { hearers, .. } => Some(hearers.clone()),
        _ => None,
    };
    house.orders.iter().filter_map(of).collect()
}

fn listens(house: &House) -> Vec<(u64, u64)> {
    let of = |order: &DeskOrder| match order {
        DeskOrder::Listen { desk, who, .. } => Some((*desk, *who)),
        _ => None,
    };
    house.orders.iter().filter_map(of).collect()
}

fn packets(house: &House) -> Vec<(u32, Vec<u8>)> {
    let of = |order: &DeskOrder| match order {
        DeskOrder::Packet { ssrc, bytes, .. } => Some((*ssrc, bytes.clone())),
        _ => None,
    };
    house.orders.iter().filter_map(of).collect()
}

fn mixed(house: &mut House, desk: u64, who: u64, at: u64) -> Vec<(Path, Vec<u8>)> {
    let mut out = Vec::new();
    house.hall.handle_mixed(desk, who, (at, false), &[7; 160], &mut |path, bytes| out.push((path, bytes.to_vec())));
    out
}

#[test]
fn one_gets_a_mix_and_the_other_every_stream() {
    let mut house = mixing();
    let (_ana, told) = listener(&mut house, "ana", ANA, "mix=PCMU/8000");
    let announced = told.iter().find(|line| line.starts_with("STREAM #lobby ")).expect("her stream is announced");
    assert!(announced.ends_with("pt=0 format=PCMU/8000 channels=1 frame=160 preskip=0"), "{announced}");
    let bob = house.speaker("bob", "#lobby", BOB);
    let _eve = house.speaker("eve", "#lobby", EVE);
    house.says(bob, "STREAM 5: pt=0");
    assert_eq!(house.datagram(BOB, &packet(5, 1, 160)).len(), 1, "eve gets it as it is, ana does not");
    assert_eq!(packets(&house).len(), 1, "and the mixer gets it");
    let (desk, who) = listens(&house)[0];
    let sent = mixed(&mut house, desk, who, 0);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, Path::Udp(ANA.parse().expect("an address")));
    let next = mixed(&mut house, desk, who, 160);
    let (first, next) = (&sent[0].1, &next[0].1);
    assert_eq!((first[1], next[1]), (0x80, 0), "the first is marked");
    let number = |bytes: &[u8]| u16::from_be_bytes([bytes[2], bytes[3]]);
    assert_eq!(number(next), number(first).wrapping_add(1));
    assert!(mixed(&mut house, desk + 1, who, 320).is_empty(), "what another place has mixed is nothing to her");
    assert!(mixed(&mut house, desk, who + 1, 320).is_empty());
}

#[test]
fn mutes_hold_for_a_mix_as_for_what_is_forwarded() {
    let mut house = mixing();
    let (ana, _) = listener(&mut house, "ana", ANA, "mix");
    let bob = house.speaker("bob", "#lobby", BOB);
    house.says(bob, "STREAM 5: pt=0");
    let (desk, who) = listens(&house)[0];
    house.orders.clear();
    house.says(ana, "MUTE bob: me");
    let Some(Hearers::AllBut(deaf)) = hearers(&house).pop() else { panic!("{:?}", house.orders) };
    assert_eq!(deaf.iter().copied().collect::<Vec<_>>(), [who]);
    house.says(ana, "UNMUTE bob: me");
    assert_eq!(hearers(&house).pop(), Some(Hearers::All));
    house.datagram(BOB, &packet(5, 10, 0));
    house.says(bob, "MUTE");
    assert_eq!(hearers(&house).pop(), Some(Hearers::Nobody));
    house.datagram(BOB, &packet(5, 11, 160));
    house.datagram(BOB, &packet(5, 12, 320));
    house.says(bob, "UNMUTE");
    house.datagram(BOB, &packet(5, 13, 480));
    let numbers: Vec<u16> = packets(&house).iter().map(|(_, bytes)| u16::from_be_bytes([bytes[2], bytes[3]])).collect();
    assert_eq!(numbers, [10, 11], "what is held back leaves no hole");
    assert_eq!(mixed(&mut house, desk, who, 0).len(), 1);
    house.says(ana, "MUTE: out");
    assert!(mixed(&mut house, desk, who, 160).is_empty(), "who wants to hear nobody gets nothing");
    house.says(ana, "UNMUTE: out");
    assert_eq!(mixed(&mut house, desk, who, 320)[0].1[1] & 0x80, 0x80, "and is marked when it goes on");
}

#[test]
fn who_leaves_leaves_nothing_behind() {
    let mut house = mixing();
    let (ana, _) = listener(&mut house, "ana", ANA, "mix=L16/16000");
    let bob = house.speaker("bob", "#lobby", BOB);
    house.says(bob, "STREAM 5: pt=0");
    let (desk, who) = listens(&house)[0];
    house.says(bob, "STREAMEND 5: rtp=800");
    let ended = house.orders.iter().any(|order| matches!(order, DeskOrder::End { ssrc: 5, rtp: Some(800), .. }));
    assert!(ended, "{:?}", house.orders);
    house.heard(ana);
    house.says(ana, "VOICE: off");
    assert!(house.heard(ana).iter().any(|line| line.starts_with("STREAMEND #lobby ")));
    assert_eq!(house.orders.pop(), Some(DeskOrder::Close { desk }));
    assert!(mixed(&mut house, desk, who, 0).is_empty());
    house.hangs_up(ana);
    house.hangs_up(bob);
    house.advance_s(300);
    assert_eq!(house.hall.left_over(), 0);
}

#[test]
fn a_mix_that_cannot_be_had_is_refused() {
    let mut house = House::new();
    let ana = house.speaker("ana", "#lobby", ANA);
    house.says(ana, "VOICE #lobby: udp mix");
    assert!(house.heard(ana)[0].starts_with("ERROR VOICE: unavailable"));
    let limits = Limits { mixes: 1, ..Limits::default() };
    let mut house = House::with(Config { mixes: true, limits, ..Config::default() });
    listener(&mut house, "ana", ANA, "mix");
    let bob = house.arrive("bob");
    house.says(bob, "VOICE #lobby: udp mix=opus");
    assert!(house.heard(bob)[0].starts_with("ERROR VOICE: too-many"));
    for wrong in ["mix=mp3", "mix=opus/16000/2", "mix=L16/500000", "mix channels=7", "channels=2"] {
        house.says(bob, &format!("VOICE #lobby: udp {wrong}"));
        let answer = house.heard(bob);
        assert!(answer[0].starts_with("ERROR VOICE: syntax"), "{wrong}: {answer:?}");
    }
}

#[test]
fn who_comes_back_goes_on_with_the_same_mix_and_who_changes_his_mind_gets_another() {
    let mut house = mixing();
    let (ana, told) = listener(&mut house, "ana", ANA, "mix=PCMU/8000");
    let stream = told.iter().find(|line| line.starts_with("STREAM #lobby ")).cloned();
    house.says(ana, "VOICE #lobby: udp mix=PCMU/8000");
    assert_eq!(house.heard(ana).into_iter().find(|line| line.starts_with("STREAM #lobby ")), stream);
    assert_eq!(listens(&house).len(), 1, "the mixer hears nothing of it");
    house.says(ana, "VOICE #lobby: udp mix=opus");
    let lines = house.heard(ana);
    assert!(lines.iter().any(|line| line.contains("opus/48000/2") && Some(line) != stream.as_ref()), "{lines:?}");
    house.says(ana, "VOICE #lobby: udp");
    assert!(matches!(house.orders.last(), Some(DeskOrder::Close { .. })), "{:?}", house.orders);
}

#[test]
fn a_room_is_recorded_until_it_forbids_it_and_everybody_is_told() {
    let mut house = House::with(Config { records: Records::Always, ..Config::default() });
    let ana = house.arrive("ana");
    house.says(ana, "CREATE: #studio");
    house.heard(ana);
    house.voice(ana, "#studio", ANA);
    let on = |house: &House, wanted| matches!(house.orders.last(), Some(DeskOrder::Record { on, .. }) if *on == wanted);
    assert!(on(&house, true), "{:?}", house.orders);
    let bob = house.arrive("bob");
    house.says(bob, "JOIN: #studio");
    assert!(house.heard(bob).contains(&"RECORD #studio: on".to_owned()), "who comes later is told");
    house.says(ana, "STREAM 5: pt=0");
    house.datagram(ANA, &packet(5, 1, 0));
    assert_eq!(packets(&house).len(), 1);
    house.says(ana, "RECORD #studio: forbid");
    assert!(house.orders.iter().any(|order| matches!(order, DeskOrder::Record { on: false, .. })));
    assert!(house.heard(bob).contains(&"RECORD #studio: off server".to_owned()));
    house.datagram(ANA, &packet(5, 2, 160));
    assert_eq!(packets(&house).len(), 1, "nothing more is handed on");
    house.says(ana, "RECORD #studio: allow");
    assert!(house.heard(bob).contains(&"RECORD #studio: on server".to_owned()));
    house.says(ana, "VOICE: off");
    assert!(matches!(house.orders.last(), Some(DeskOrder::Close { .. })), "{:?}", house.orders);
}

#[test]
fn a_recording_that_fails_ends_and_the_operators_are_told() {
    let mut house = House::with(Config { records: Records::Always, ..Config::default() });
    let ana = house.arrive("ana");
    house.says(ana, "CREATE: #studio");
    house.voice(ana, "#studio", ANA);
    let Some(DeskOrder::Record { desk, on: true }) = house.orders.last().cloned() else { panic!("not recorded") };
    house.heard(ana);
    house.hall.handle_not_recorded(desk, "the disk is full");
    house.says(ana, "PING: x");
    let told = house.heard(ana);
    assert!(told.contains(&"RECORD #studio: off server".to_owned()), "{told:?}");
    assert!(told.contains(&"ERROR RECORD: failed the disk is full".to_owned()), "{told:?}");
    house.says(ana, "RECORD #studio: allow");
    assert!(house.heard(ana).contains(&"RECORD #studio: on server".to_owned()), "once there is room again");
    let room: vox_room::RoomName = vox_room::RoomName::parse("#studio").expect("a name");
    house.hall.handle_admin(house.now, vox_room::Admin::Record(room, false)).expect("there is that room");
    house.says(ana, "PING: x");
    assert!(house.heard(ana).contains(&"RECORD #studio: off server".to_owned()));
}

#[test]
fn a_room_is_recorded_while_somebody_asks_for_it() {
    let mut house = House::with(Config { records: Records::Asked, ..Config::default() });
    let ana = house.speaker("ana", "#lobby", ANA);
    let bob = house.arrive("bob");
    assert!(house.orders.is_empty());
    house.says(bob, "RECORD #lobby: on");
    assert!(house.orders.iter().any(|order| matches!(order, DeskOrder::Record { on: true, .. })));
    assert!(house.heard(ana).contains(&"RECORD #lobby: on server".to_owned()));
    house.hangs_up(bob);
    assert!(house.orders.iter().any(|order| matches!(order, DeskOrder::Record { on: false, .. })));
}
