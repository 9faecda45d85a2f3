//! A day in a house full of people, simulated, against a model of it that is simple enough to be believed: nobody hears
//! what he must not, everybody hears what he must, and nothing is left of who has gone.

#[path = "house/desks.rs"]
#[allow(unreachable_pub, missing_docs, reason = "a part of this test")]
mod desks;
mod house;
#[path = "house/rules.rs"]
mod rules;

use std::collections::BTreeSet;

use desks::Desks;
use house::{House, packet};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;
use rules::{Model, Person, address, nick};
use vox_room::{Config, Path};

const PEOPLE: u32 = 24;
const ROOMS: [&str; 3] = ["#a", "#b", "#c"];
/// How long the seat of a lost connection is kept, in s.
const SEAT_S: i64 = 15;
const DAY_NS: i64 = 24 * 3600 * 1_000_000_000;

/// The server and the model side by side.
struct Day {
    desks: Desks,
    mixed: u64,
    house: House,
    model: Model,
    random: Pcg64Mcg,
    packets: u64,
    deliveries: u64,
}

impl Day {
    fn below(&mut self, end: u64) -> u64 {
        self.random.next_u64() % end
    }

    fn anybody(&mut self) -> u32 {
        self.below(u64::from(PEOPLE)) as u32
    }

    fn any_room(&mut self) -> &'static str {
        ROOMS[self.below(ROOMS.len() as u64) as usize]
    }

    /// One thing happens.
    fn step(&mut self) {
        let (who, kind) = (self.anybody(), self.below(100));
        if !self.model.people.contains_key(&who) {
            return self.arrive(who);
        }
        match kind {
            0..2 => self.vanish(who),
            2..4 => self.lose(who),
            4..16 => self.join(who),
            16..19 => self.leave(who),
            19..36 => self.voice(who),
            36..42 => self.mute_own(who),
            42..46 => self.ignore(who),
            46..54 => self.mute_other(who),
            54..57 => self.mute_room(who),
            57..66 => self.call(who),
            66..69 => self.nonsense(who),
            69..70 => self.kick(who),
            _ => self.talk(who),
        }
    }

    fn says(&mut self, who: u32, line: &str) -> Vec<String> {
        let conn = self.model.people[&who].conn.expect("connected");
        self.house.heard(conn);
        self.house.says(conn, line);
        self.house.heard(conn)
    }

    fn arrive(&mut self, who: u32) {
        let conn = self.house.arrive(&nick(who));
        let person = Person { conn: Some(conn), sequence: self.below(65_536) as u16, ..Person::default() };
        self.model.people.insert(who, person);
        self.says(who, &format!("STREAM {}: pt=0", 1000 + who));
        if self.below(2) == 0 {
            let answer = self.says(who, "SESSION");
            let token = answer[0].strip_prefix("SESSION: ").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
            assert!(token.is_some(), "{answer:?}");
            self.model.people.get_mut(&who).expect("known").session = token;
        }
    }

    /// Loses the connection and comes back: within the time that the seat is kept, or too late.
    fn lose(&mut self, who: u32) {
        let Some(token) = self.model.people[&who].session.clone() else { return };
        if self.model.is_busy(who) {
            return;
        }
        let conn = self.model.people[&who].conn.expect("connected");
        self.house.hangs_up(conn);
        let person = self.model.people.get_mut(&who).expect("known");
        (person.conn, person.bound) = (None, false);
        assert_eq!(self.house.datagram(&address(who), &packet(1000 + who, 0, 0)), [], "nobody speaks for who is away");
        let away_s = self.below(30) as i64;
        self.pass(away_s * 1_000_000_000 + 500_000_000);
        let back = self.house.dial();
        self.house.says(back, &format!("CONNECT: \"{}\" \"Real\" 1.0.0 resume={token}", nick(who)));
        let told: BTreeSet<String> =
            self.house.heard(back).into_iter().filter(|line| line.starts_with("JOINED: ")).collect();
        let expected = if away_s < SEAT_S {
            let person = self.model.people.get_mut(&who).expect("known");
            person.conn = Some(back);
            person.rooms.iter().map(|room| format!("JOINED: {room}")).collect()
        } else {
            self.model.gone(who);
            self.learn_operators();
            self.house.says(back, "DISCONNECT");
            BTreeSet::new()
        };
        let lobby = BTreeSet::from(["JOINED: #lobby".to_owned()]);
        assert_eq!(told, &expected | &lobby, "after {away_s} s");
    }

    /// Says goodbye, or just is not there any more.
    fn vanish(&mut self, who: u32) {
        let conn = self.model.people[&who].conn.expect("connected");
        if self.below(2) == 0 || self.model.people[&who].session.is_some() {
            self.says(who, "DISCONNECT");
            assert!(self.house.is_closed(conn));
        } else {
            self.house.hangs_up(conn);
        }
        self.model.gone(who);
        assert_eq!(self.house.datagram(&address(who), &packet(1000 + who, 0, 0)), [], "nobody speaks for who has gone");
        self.learn_operators();
    }

    fn join(&mut self, who: u32) {
        let room = self.any_room();
        self.says(who, &format!("JOIN: {room}"));
        let new = !self.model.people.values().any(|person| person.rooms.contains(room));
        if new {
            self.model.operators.insert(room, BTreeSet::from([who]));
        }
        self.model.people.get_mut(&who).expect("known").rooms.insert(room);
    }

    fn leave(&mut self, who: u32) {
        let room = self.any_room();
        let answer = self.says(who, &format!("LEAVE: {room}"));
        let refused = answer.iter().any(|line| line.starts_with("ERROR"));
        assert_eq!(refused, !self.model.is_in(who, room), "{answer:?}");
        if !refused {
            self.model.leave(who, room);
            self.learn_operators();
        }
    }

    fn voice(&mut self, who: u32) {
        if self.below(5) == 0 {
            self.says(who, "VOICE: off");
            self.model.people.get_mut(&who).expect("known").voice = None;
            return;
        }
        let room = self.any_room();
        let mixes = self.below(3) == 0;
        let wish = if mixes { ": udp mix=PCMU/8000" } else { "" };
        let answer = self.says(who, &format!("VOICE {room}{wish}"));
        if !self.model.is_in(who, room) {
            assert!(answer[0].starts_with("ERROR VOICE: not-there"), "{answer:?}");
            return;
        }
        let line = answer.iter().find_map(|line| line.strip_prefix(&format!("VOICE {room}: udp 192.0.2.1:10001 ")));
        let token = line.expect("a token").to_owned();
        let binds = self.below(8) != 0;
        if binds {
            self.house.datagram(&address(who), format!("TALKSESSION: {token}").as_bytes());
        }
        let person = self.model.people.get_mut(&who).expect("known");
        person.voice = Some(room);
        person.bound = binds;
        person.mixes = mixes;
        person.token = Some(token);
    }

    fn mute_own(&mut self, who: u32) {
        let (on, direction) = (self.below(6) == 0, ["in", "out", "both"][self.below(3) as usize]);
        self.says(who, &format!("{}: {direction}", if on { "MUTE" } else { "UNMUTE" }));
        let person = self.model.people.get_mut(&who).expect("known");
        if direction != "out" {
            person.muted_in = on;
        }
        if direction != "in" {
            person.muted_out = on;
        }
    }

    fn ignore(&mut self, who: u32) {
        let (other, on) = (self.anybody(), self.below(6) == 0);
        self.says(who, &format!("{} {}: me", if on { "MUTE" } else { "UNMUTE" }, nick(other)));
        let person = self.model.people.get_mut(&who).expect("known");
        if on {
            person.ignores.insert(other)
        } else {
            person.ignores.remove(&other)
        };
    }

    fn mute_other(&mut self, who: u32) {
        let (other, on) = (self.anybody(), self.below(6) == 0);
        let direction = ["in", "out", "both"][self.below(3) as usize];
        let verb = if on { "MUTE" } else { "UNMUTE" };
        let answer = self.says(who, &format!("{verb} {}: {direction}", nick(other)));
        let room = self.model.people[&who].voice;
        let may = room.filter(|room| {
            self.model.operators.get(room).is_some_and(|set| set.contains(&who)) && self.model.is_in(other, room)
        });
        assert_eq!(may.is_none(), answer[0].starts_with("ERROR"), "{answer:?}");
        let Some(room) = may else { return };
        let model = &mut self.model;
        for (chosen, set) in [(direction != "out", &mut model.silenced), (direction != "in", &mut model.deafened)] {
            match (chosen, on) {
                (true, true) => drop(set.insert((room, other))),
                (true, false) => drop(set.remove(&(room, other))),
                (false, _) => {}
            }
        }
    }

    /// Sends somebody out of a room.
    fn kick(&mut self, who: u32) {
        let (room, other) = (self.any_room(), self.anybody());
        let answer = self.says(who, &format!("KICK {room}: {}", nick(other)));
        let may = self.model.operators.get(room).is_some_and(|set| set.contains(&who)) && self.model.is_in(other, room);
        assert_eq!(!may, answer.iter().any(|line| line.starts_with("ERROR")), "{answer:?}");
        if may {
            self.model.leave(other, room);
            self.learn_operators();
        }
    }

    fn mute_room(&mut self, who: u32) {
        let (room, on) = (self.any_room(), self.below(6) == 0);
        let answer = self.says(who, &format!("{} {room}", if on { "MUTE" } else { "UNMUTE" }));
        let may = self.model.operators.get(room).is_some_and(|set| set.contains(&who));
        assert_eq!(!may, answer[0].starts_with("ERROR"), "{answer:?}");
        match (may, on) {
            (true, true) => drop(self.model.muted_rooms.insert(room)),
            (true, false) => drop(self.model.muted_rooms.remove(room)),
            (false, _) => {}
        }
    }

    /// Calls somebody, or answers, or hangs up.
    fn call(&mut self, who: u32) {
        let person = self.model.people[&who].clone();
        if let Some(other) = person.call {
            self.says(who, &format!("TALK {}: End", nick(other)));
            return self.model.hang_up(who);
        }
        if let Some(caller) = person.called_by {
            let accepts = self.below(3) > 0;
            self.says(who, &format!("TALK {}: {}", nick(caller), if accepts { "Accept" } else { "Deny" }));
            let person = self.model.people.get_mut(&who).expect("known");
            person.called_by = None;
            if accepts {
                person.call = Some(caller);
                self.model.people.get_mut(&caller).expect("known").call = Some(who);
            }
            return;
        }
        let other = self.anybody();
        let answer = self.says(who, &format!("TALK {}: Request", nick(other)));
        let free = other != who && self.model.people.contains_key(&other);
        let free = free && !self.model.is_busy(who) && !self.model.is_busy(other);
        let ignored = self.model.people.get(&other).is_some_and(|person| person.ignores.contains(&who));
        if free && !ignored {
            assert_eq!(answer, [""; 0]);
            self.model.people.get_mut(&other).expect("known").called_by = Some(who);
        }
    }

    /// Lines and packets that are none.
    fn nonsense(&mut self, who: u32) {
        let conn = self.model.people[&who].conn.expect("connected");
        let line: Vec<u8> = (0..self.below(80)).map(|_| self.random.next_u64() as u8).collect();
        self.house.hall.handle_line(self.house.now, conn, &line);
        let bytes: Vec<u8> = (0..self.below(60)).map(|_| self.random.next_u64() as u8).collect();
        // It may be a packet of a payload type that tells what it is; three of those are not enough to be a stream.
        let ssrc = [9, 9, 9, 9];
        let mut bytes = bytes;
        if bytes.len() >= 12 {
            bytes[1] |= 0x40;
            bytes[8..12].copy_from_slice(&ssrc);
        }
        assert_eq!(self.house.datagram(&address(who), &bytes), []);
        assert_eq!(self.house.datagram("10.9.9.9:9", &packet(1000 + who, 0, 0)), [], "a stranger is heard by nobody");
    }

    /// Says something: exactly those hear it who are to.
    fn talk(&mut self, who: u32) {
        let person = self.model.people.get_mut(&who).expect("known");
        person.sequence = person.sequence.wrapping_add(1);
        let (sequence, bound) = (person.sequence, person.bound);
        let out = self.house.datagram(&address(who), &packet(1000 + who, sequence, 160 * u32::from(sequence)));
        let heard: BTreeSet<String> = out.iter().map(|(to, _)| to.clone()).collect();
        assert_eq!(heard.len(), out.len(), "nobody hears it twice");
        let expected = if bound { self.model.listeners(who) } else { BTreeSet::new() };
        let (mixing, expected): (BTreeSet<u32>, BTreeSet<u32>) =
            expected.into_iter().partition(|ear| self.model.people[ear].mixes);
        let expected: BTreeSet<String> = expected.into_iter().map(address).collect();
        self.mix(who, &mixing.into_iter().map(address).collect());
        assert_eq!(heard, expected, "of {who}: {:?}", self.model.people[&who]);
        self.packets += 1;
        self.deliveries += out.len() as u64;
    }

    /// Whoever mixes makes a packet for each who is to have it: exactly those get one who are to hear it.
    fn mix(&mut self, who: u32, expected: &BTreeSet<String>) {
        let orders = std::mem::take(&mut self.house.orders);
        let streams: Vec<(u64, u32)> = orders.into_iter().filter_map(|order| self.desks.handle(order)).collect();
        let mut heard = BTreeSet::new();
        if let Some(&(desk, ssrc)) = streams.last() {
            for listener in self.desks.hear((desk, ssrc)) {
                let out = &mut |path, _: &[u8]| {
                    let Path::Udp(to) = path else { panic!("not by datagram") };
                    heard.insert(to.to_string());
                };
                self.house.hall.handle_mixed(desk, listener, (0, false), &[0; 160], out);
            }
        }
        assert_eq!(heard, *expected, "of {who} in the mix: {:?}", self.model.people[&who]);
        self.mixed += heard.len() as u64;
    }

    /// Who inherits a room is the server's to say: its oldest member. The model takes it from what it lets them do.
    fn learn_operators(&mut self) {
        for room in ROOMS {
            if self.model.operators.get(room).is_none_or(|set| !set.is_empty()) {
                continue;
            }
            let members: Vec<u32> = self
                .model
                .people
                .iter()
                .filter(|(_, person)| person.rooms.contains(room))
                .map(|(who, _)| *who)
                .collect();
            let verb = if self.model.muted_rooms.contains(room) { "MUTE" } else { "UNMUTE" };
            let heirs: BTreeSet<u32> = members
                .into_iter()
                .filter(|who| !self.says(*who, &format!("{verb} {room}"))[0].starts_with("ERROR"))
                .collect();
            assert_eq!(heirs.len(), 1, "a room is never without somebody who can end it");
            self.model.operators.insert(room, heirs);
        }
    }

    /// Time passes; calls that ring too long end.
    fn pass(&mut self, ns: i64) {
        self.house.advance_ns(ns);
        for who in self.model.people.keys().copied().collect::<Vec<_>>() {
            let Some(conn) = self.model.people[&who].conn else { continue };
            let lines = self.house.heard(conn);
            for line in &lines {
                if let Some(number) = line.strip_prefix("PING: ") {
                    self.house.says(conn, &format!("PONG: {number}"));
                }
            }
            let rang = self.model.people[&who].called_by;
            if rang.is_some_and(|caller| lines.contains(&format!("TALK {}: End", nick(caller)))) {
                self.model.people.get_mut(&who).expect("known").called_by = None;
            }
        }
    }
}

fn a_day(seed: u64, steps: u32) {
    let mut day = Day {
        desks: Desks::default(),
        mixed: 0,
        house: House::with(Config { mixes: true, ..Config::default() }),
        model: Model::default(),
        random: Pcg64Mcg::new(u128::from(seed) | 1),
        packets: 0,
        deliveries: 0,
    };
    let begin = day.house.now;
    for _ in 0..steps {
        day.step();
        let pause = day.below(2 * DAY_NS as u64 / u64::from(steps));
        day.pass(pause as i64);
    }
    assert!(day.house.now.since(begin) > DAY_NS * 9 / 10);
    assert!(day.deliveries > u64::from(steps) / 10, "{} of {} packets", day.deliveries, day.packets);
    assert!(day.mixed > u64::from(steps) / 20, "{} of {} packets in mixes", day.mixed, day.packets);
    // Everybody goes home: nothing is left.
    for who in day.model.people.keys().copied().collect::<Vec<_>>() {
        day.vanish(who);
    }
    day.house.advance_s(600);
    assert_eq!(day.house.hall.members(), 0);
    assert_eq!(day.house.hall.left_over(), 0, "{:?}", day.house.hall);
    let orders = std::mem::take(&mut day.house.orders);
    for order in orders {
        day.desks.handle(order);
    }
    assert!(day.desks.listeners.is_empty() && day.desks.streams.is_empty(), "{:?}", day.desks);
}

#[test]
fn a_day_of_coming_and_going_is_heard_by_exactly_those_who_are_to_hear_it() {
    for seed in 0..4 {
        a_day(seed, 20_000);
    }
}
