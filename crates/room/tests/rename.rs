//! Another nickname for somebody who is here.
#![allow(missing_docs, reason = "tests are sentences")]

mod house;

use house::{House, packet};

#[test]
fn to_the_others_one_leaves_and_another_comes_whose_stream_goes_on() {
    let mut house = House::new();
    let ana = house.speaker("ana", "#lobby", "192.0.2.7:5000");
    let bob = house.speaker("bob", "#lobby", "192.0.2.8:5000");
    house.says(bob, "STREAM 77: pt=0 format=PCMU/8000");
    house.clear();
    house.says(bob, "NICK: Bobby");
    assert!(house.heard(bob).contains(&"NICK: Bobby".to_owned()));
    let told = house.heard(ana);
    for line in ["USERLEAVE #lobby: bob", "USERJOIN #lobby: Bobby", "EVENT #lobby: joined Bobby"] {
        assert!(told.iter().any(|told| told == line), "no {line:?} in {told:?}");
    }
    assert!(told.iter().any(|line| line.starts_with("STREAM Bobby 77: ")), "{told:?}");
    let heard = house.datagram("192.0.2.8:5000", &packet(77, 1, 0));
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].0, "192.0.2.7:5000");
    let third = house.arrive("bob");
    house.says(third, "NICK: BOBBY");
    assert!(house.heard(third)[0].starts_with("ERROR NICK: exists"), "the old name is free, the new one is not");
}

#[test]
fn a_name_that_is_banned_or_registered_is_not_taken_so() {
    let mut house = House::with(vox_room::Config { keeps: true, may_register: true, ..Default::default() });
    let ana = house.arrive("ana");
    house.says(ana, "REGISTER: secret");
    house.hangs_up(ana);
    let eve = house.arrive("eve");
    house.says(eve, "NICK: Ana");
    assert!(house.heard(eve)[0].starts_with("ERROR NICK: forbidden"));
    let owner = house.arrive("owner");
    house.says(owner, "CREATE: #studio");
    house.says(eve, "JOIN: #studio");
    let mallory = house.arrive("mallory");
    house.says(mallory, "JOIN: #studio");
    house.says(owner, "BAN #studio: mallory");
    house.hangs_up(mallory);
    house.heard(eve);
    house.says(eve, "NICK: Mallory");
    assert!(house.heard(eve)[0].starts_with("ERROR NICK: denied"));
}
