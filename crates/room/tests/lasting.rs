//! What outlives the server, and what whoever runs it may do.

mod house;

use house::{House, packet};
use vox_room::{Admin, Ban, Change, Config, Nick, RoomName};

fn keeping() -> House {
    House::with(Config { keeps: true, may_register: true, ..Config::default() })
}

fn nick(name: &str) -> Nick {
    Nick::parse(name).expect("a nickname")
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).expect("a room")
}

/// The next server on what the last one has kept.
fn restarted(before: &House, config: Config) -> House {
    let mut house = House::with(config);
    for change in &before.saved {
        house.hall.restore(change.clone());
    }
    house
}

#[test]
fn a_registered_nickname_needs_its_password() {
    let mut house = keeping();
    let ana = house.arrive("Ana");
    house.says(ana, "REGISTER: secret");
    assert_eq!(house.heard(ana), ["REGISTERED: Ana"]);
    house.says(ana, "DISCONNECT");
    let other = house.dial();
    house.says(other, "CONNECT: \"ana\" \"x\" 1.0.0");
    assert!(house.heard(other)[0].starts_with("NOTACCEPTED: ana is registered"));
    house.says(other, "CONNECT: \"ana\" \"x\" 1.0.0 pass=guess");
    assert_eq!(house.heard(other), ["NOTACCEPTED: ana has another password"]);
    assert_eq!(house.guessed, [other]);
    house.says(other, "CONNECT: \"ana\" \"x\" 1.0.0 pass=secret");
    assert_eq!(house.heard(other)[0], "ACCEPT: localhost");
}

#[test]
fn a_kept_room_is_there_after_a_restart_with_its_password_its_owner_and_its_bans() {
    let mut house = keeping();
    let ana = house.arrive("Ana");
    house.says(ana, "REGISTER: secret");
    for line in ["CREATE: #studio word", "KEEP #studio: on", "BAN #studio: Eve", "RECORD #studio: forbid"] {
        house.says(ana, line);
    }
    house.hangs_up(ana);
    house.advance_s(3600);
    assert_eq!(house.hall.left_over(), 0, "a kept room is not left over");
    let config = Config { keeps: true, ..Config::default() };
    let mut house = restarted(&house, config);
    let (bob, eve) = (house.arrive("Bob"), house.arrive("Eve"));
    house.clear();
    house.says(bob, "JOIN: #studio");
    assert!(house.heard(bob)[0].starts_with("ERROR JOIN: locked"));
    house.says(eve, "JOIN: #studio word");
    assert!(house.heard(eve)[0].starts_with("ERROR JOIN: denied"));
    house.says(bob, "JOIN: #studio word");
    assert_eq!(house.heard(bob)[0], "JOINED: #studio");
    house.clear();
    house.says(bob, "RECORD #studio: on");
    assert!(house.heard(bob)[0].starts_with("ERROR RECORD: forbidden"));
    house.says(bob, "UNLOCK: #studio");
    assert!(house.heard(bob)[0].starts_with("ERROR UNLOCK: forbidden"), "it has an owner, who is not here");
    let ana = house.dial();
    house.says(ana, "CONNECT: \"Ana\" \"x\" 1.0.0 pass=secret");
    house.says(ana, "JOIN: #studio word");
    house.heard(ana);
    house.says(ana, "UNLOCK: #studio");
    assert_eq!(house.heard(ana), ["UNLOCKED: #studio"]);
    house.says(ana, "DELETE: #studio");
    assert_eq!(house.saved.last(), Some(&Change::RoomGone(room("#studio"))));
}

#[test]
fn a_room_that_is_not_kept_is_saved_by_nothing() {
    let mut house = keeping();
    let ana = house.arrive("Ana");
    house.says(ana, "CREATE: #studio word");
    house.says(ana, "KEEP #studio: on");
    assert!(house.heard(ana).last().expect("an answer").starts_with("ERROR KEEP: forbidden"), "she is not registered");
    assert!(house.saved.is_empty());
}

#[test]
fn where_nothing_is_kept_nothing_is_promised() {
    let mut house = House::new();
    let ana = house.arrive("Ana");
    house.says(ana, "REGISTER: secret");
    assert!(house.heard(ana)[0].starts_with("ERROR REGISTER: unavailable"));
}

#[test]
fn who_is_banned_is_sent_away_and_stays_out_until_he_is_not() {
    let mut house = keeping();
    let eve = house.arrive("Eve");
    house.hall.handle_admin(house.now, Admin::Ban(Ban::Nick(nick("eve")))).expect("it can be");
    house.clear();
    house.advance_s(0);
    house.says(eve, "LIST");
    assert!(house.is_closed(eve));
    let config = Config { keeps: true, ..Config::default() };
    let mut house = restarted(&house, config);
    let eve = house.dial();
    house.says(eve, "CONNECT: \"EVE\" \"x\" 1.0.0");
    assert_eq!(house.heard(eve), ["NOTACCEPTED: EVE is banned"]);
    house.hall.handle_admin(house.now, Admin::Unban(Ban::Nick(nick("Eve")))).expect("it is there");
    house.says(eve, "CONNECT: \"EVE\" \"x\" 1.0.0");
    assert_eq!(house.heard(eve)[0], "ACCEPT: localhost");
    let from = "192.0.2.7".parse().expect("an address");
    house.hall.handle_admin(house.now, Admin::Ban(Ban::Address(from))).expect("it can be");
    assert!(house.hall.is_banned("::ffff:192.0.2.7".parse().expect("the same address")));
}

#[test]
fn only_registered_nicknames_come_in_where_that_is_wanted() {
    let mut house = House::with(Config { keeps: true, members_only: true, ..Config::default() });
    house.hall.handle_admin(house.now, Admin::Account(nick("Ana"), "kept secret".to_owned())).expect("room for one");
    let ana = house.dial();
    house.says(ana, "CONNECT: \"Bob\" \"x\" 1.0.0 pass=secret");
    assert!(house.heard(ana)[0].starts_with("NOTACCEPTED: Bob is not registered"));
    house.says(ana, "CONNECT: \"Ana\" \"x\" 1.0.0 pass=secret");
    assert_eq!(house.heard(ana)[0], "ACCEPT: localhost");
    house.says(ana, "REGISTER: other");
    assert_eq!(house.heard(ana).last().expect("an answer"), "REGISTERED: Ana", "she may change her own password");
}

#[test]
fn who_is_gagged_by_the_server_is_heard_by_nobody() {
    let mut house = keeping();
    house.speaker("Ana", "#lobby", "192.0.2.10:4000");
    house.speaker("Bob", "#lobby", "192.0.2.11:4000");
    let ana = house.now;
    for (on, heard) in [(true, 0), (false, 1)] {
        house.hall.handle_admin(ana, Admin::Mute(nick("ana"), on)).expect("she is here");
        for sequence in 0..8 {
            house.datagram("192.0.2.10:4000", &packet(5, sequence + if on { 0 } else { 8 }, 0));
        }
        let out = house.datagram("192.0.2.10:4000", &packet(5, if on { 9 } else { 17 }, 0));
        assert_eq!(out.len(), heard, "{on}");
    }
    let view = house.hall.view();
    assert_eq!(view[0].members.iter().filter(|member| member.voice && member.talking).count(), 1);
}
