//! A room whose members are behind links of their own, on virtual time: what each hears is what the links deliver.

mod house;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use house::{House, packet};
use vox_frame::{EndReason, Record, Stamp};
use vox_link::{Burst, Config as LinkConfig, Fate, profile};
use vox_room::{ConnId, Listener, StreamFacts};
use vox_testkit::{Events, PacketSource, Wire, watch_log};

const S: i64 = 1_000_000_000;
const FRAME: u32 = 160;

/// A packet: whose, and which of his.
type Which = (u32, u64);

/// Somebody in the room: what he sends, his links, and what he hears of whom.
struct Member {
    name: &'static str,
    address: &'static str,
    conn: ConnId,
    ssrc: u32,
    source: PacketSource,
    up: Wire<(u64, Vec<u8>)>,
    down: Wire<(Which, Vec<u8>)>,
    listener: Listener,
    /// Packets that reached the room, by number, and when.
    up_came: BTreeMap<u64, Stamp>,
    /// Packets of others that were lost on the way here: whose, and which.
    down_lost: BTreeSet<Which>,
    /// What was heard of each stream: number of the packet, sequence number in the room.
    heard: BTreeMap<u32, Vec<(u64, u64)>>,
    ended: BTreeMap<u32, EndReason>,
}

struct Room {
    house: House,
    members: Vec<Member>,
    /// Of whom nothing is passed on.
    muted: Option<&'static str>,
    /// Whose packets came in vain, and which.
    dropped: BTreeSet<Which>,
}

fn lossy(name: &str) -> LinkConfig {
    let burst = Burst { enter: 0.02, leave: 1.0 / 3.0, loss_good: 0.0, loss_bad: 1.0 };
    LinkConfig { burst: Some(burst), ..profile::named(name).expect("a known network") }
}

impl Room {
    fn new(seed: u64) -> Self {
        let mut house = House::new();
        let people = [("Ana", "10.0.0.1:4000", 7), ("Bob", "10.0.0.2:4000", 8), ("Cy", "10.0.0.3:4000", 9)];
        let networks = ["wifi-good", "lte", "satellite"];
        let members = people.iter().zip(networks).enumerate().map(|(place, (&(name, address, ssrc), network))| {
            let conn = house.speaker(name, "#talk", address);
            let seed = seed * 100 + place as u64;
            Member {
                name,
                address,
                conn,
                ssrc,
                source: PacketSource::telephone(20),
                up: Wire::new(lossy(network), seed),
                down: Wire::new(lossy(network), seed + 10),
                listener: Listener::new(),
                up_came: BTreeMap::new(),
                down_lost: BTreeSet::new(),
                heard: BTreeMap::new(),
                ended: BTreeMap::new(),
            }
        });
        let members: Vec<Member> = members.collect();
        for member in &members {
            house.says(member.conn, &format!("STREAM {}: pt=0 format=PCMU/8000 frame={FRAME}", member.ssrc));
        }
        Self { house, members, muted: None, dropped: BTreeSet::new() }
    }

    /// Everybody talks until `stops`; Ana is muted from the 20th to the 25th second. Lines need no time.
    fn run(&mut self, stops: Stamp, end: Stamp) {
        let mut events = Events::new();
        let _log = watch_log(events.clock());
        let began = self.house.now;
        let people = self.members.len();
        let mutes = [(Stamp::from_ns(20 * S), Some("Ana"), "MUTE"), (Stamp::from_ns(25 * S), None, "UNMUTE")];
        let mut mutes = mutes.into_iter().peekable();
        self.lines(Stamp::ZERO);
        loop {
            let mut deadlines = vec![mutes.peek().map(|(at, ..)| *at)];
            for member in &self.members {
                deadlines.push(member.source.next_deadline().filter(|at| *at < stops));
                deadlines.push(member.up.next_deadline());
                deadlines.push(member.down.next_deadline());
            }
            deadlines.push(self.house.hall.next_deadline().map(|at| Stamp::from_ns(at.since(began))));
            let Some((now, who)) = events.next(end, &deadlines) else { break };
            self.house.advance_ns(began.plus(now.ns()).since(self.house.now));
            match who.checked_sub(1).map(|event| (event / 3, event % 3)) {
                None => {
                    let (_, muted, line) = mutes.next().expect("it is due");
                    self.muted = muted;
                    self.house.says(self.members[0].conn, line);
                }
                Some((place, 0)) if place < people => self.send(now, place),
                Some((place, 1)) if place < people => self.forward(now, place),
                Some((place, 2)) if place < people => self.hear(now, place),
                Some(_) => {}
            }
            self.lines(now);
        }
        for member in &self.members {
            self.house.says(member.conn, &format!("STREAMEND {}: reason=complete", member.ssrc));
        }
        self.lines(end);
        self.members.iter_mut().for_each(|member| member.time_out(end.plus(S)));
    }

    fn send(&mut self, now: Stamp, place: usize) {
        let member = &mut self.members[place];
        let sent = member.source.poll(now).expect("it is due");
        let bytes = packet(member.ssrc, 65_000_u16.wrapping_add(sent.sequence.0 as u16), sent.timestamp.0 as u32);
        member.up.send(now, bytes.len(), (sent.sequence.0, bytes));
    }

    fn forward(&mut self, now: Stamp, place: usize) {
        let member = &mut self.members[place];
        let (number, bytes) = member.up.poll(now).expect("it is due");
        let (ssrc, address) = (member.ssrc, member.address);
        member.up_came.insert(number, now);
        if self.muted == Some(member.name) {
            self.dropped.insert((ssrc, number));
        }
        for (to, bytes) in self.house.datagram(address, &bytes) {
            let to = self.members.iter_mut().find(|member| member.address == to).expect("a member");
            assert_ne!(to.ssrc, ssrc, "nobody hears himself");
            let passage = to.down.send(now, bytes.len(), ((ssrc, number), bytes));
            if !matches!(passage.fate, Fate::Arrives(_)) {
                to.down_lost.insert((ssrc, number));
            }
        }
    }

    fn hear(&mut self, now: Stamp, place: usize) {
        let member = &mut self.members[place];
        let ((ssrc, number), bytes) = member.down.poll(now).expect("it is due");
        let heard = &mut member.heard;
        let Ok(()) = member.listener.handle_packet(now, now, &bytes, &mut |record| {
            if let Record::Audio(audio) = record {
                assert_eq!(audio.id.0, ssrc);
                heard.entry(ssrc).or_default().push((number, audio.sequence.0));
            }
            Ok::<(), Infallible>(())
        });
    }

    /// What the room says to each.
    fn lines(&mut self, now: Stamp) {
        for member in &mut self.members {
            for line in self.house.heard(member.conn) {
                if let Some(number) = line.strip_prefix("PING: ") {
                    self.house.says(member.conn, &format!("PONG: {number}"));
                } else if let Some(said) = line.strip_prefix("STREAM ") {
                    member.announced(now, said);
                } else if let Some(said) = line.strip_prefix("STREAMEND ") {
                    member.ended(now, said);
                }
            }
        }
    }
}

impl Member {
    /// `Ana 7: pt=0 …`
    fn announced(&mut self, now: Stamp, said: &str) {
        let (who, facts) = said.split_once(": ").expect("facts");
        let (nick, ssrc) = who.split_once(' ').expect("a number");
        let facts = StreamFacts::parse(facts).expect("facts");
        let ssrc = ssrc.parse().expect("a number");
        let Ok(()) = self.listener.handle_stream(now, nick, ssrc, facts, &mut |_| Ok::<(), Infallible>(()));
    }

    /// `Ana 7: rtp=160 reason=complete`
    fn ended(&mut self, now: Stamp, said: &str) {
        let (who, facts) = said.split_once(": ").expect("facts");
        let ssrc = who.rsplit(' ').next().expect("a number").parse().expect("a number");
        let (rtp, reason) = facts.strip_prefix("rtp=").expect("an end").split_once(" reason=").expect("a reason");
        self.listener.handle_farewell(now, ssrc, rtp.parse().ok(), reason);
    }

    fn time_out(&mut self, now: Stamp) {
        let ended = &mut self.ended;
        let Ok(()) = self.listener.handle_timeout(now, &mut |record| {
            if let Record::End(end) = record {
                ended.insert(end.id.0, end.reason);
            }
            Ok::<(), Infallible>(())
        });
    }
}

#[test]
fn each_hears_of_the_others_what_their_link_and_his_own_deliver() {
    for seed in 1..=3 {
        let mut room = Room::new(seed);
        room.run(Stamp::from_ns(60 * S), Stamp::from_ns(63 * S));
        for one in &room.members {
            for other in room.members.iter().filter(|other| other.ssrc != one.ssrc) {
                let passed = other.up_came.keys().filter(|number| !room.dropped.contains(&(other.ssrc, **number)));
                let expected: BTreeSet<u64> =
                    passed.filter(|number| !one.down_lost.contains(&(other.ssrc, **number))).copied().collect();
                let heard: Vec<u64> = one.heard[&other.ssrc].iter().map(|(number, _)| *number).collect();
                assert_eq!(heard.len(), expected.len(), "{} hears {}", one.name, other.name);
                assert!(heard.iter().all(|number| expected.contains(number)), "{} hears {}", one.name, other.name);
                assert!(expected.len() > 2_300 && expected.len() < 2_950, "{} of 3000 packets", expected.len());
                assert_eq!(one.ended.get(&other.ssrc), Some(&EndReason::Complete), "{} hears {}", one.name, other.name);
            }
        }
    }
}

#[test]
fn a_loss_stays_one_and_what_was_muted_is_none() {
    let mut room = Room::new(9);
    room.run(Stamp::from_ns(60 * S), Stamp::from_ns(63 * S));
    let muted = room.dropped.len() as u64;
    assert!(muted > 200, "{muted} packets came while Ana was muted");
    for one in &room.members {
        for (ssrc, heard) in &one.heard {
            // From one packet to the next the room's numbers advance as the sender's do, but for what was muted.
            let first = heard.iter().min().expect("packets");
            for &(number, sequence) in heard {
                let silent = room.dropped.range((*ssrc, first.0)..(*ssrc, number)).count() as u64;
                let lost = room.members.iter().find(|member| member.ssrc == *ssrc).expect("a member");
                let unseen = unseen_while_muted(&room, lost, first.0, number);
                assert_eq!(sequence - first.1, number - first.0 - silent - unseen, "packet {number} of {ssrc}");
            }
        }
    }
}

/// Packets that were lost on the way to the room between two that came in vain: the room cannot know of them.
fn unseen_while_muted(room: &Room, sender: &Member, from: u64, to: u64) -> u64 {
    let dropped: Vec<u64> = room.dropped.range((sender.ssrc, from)..(sender.ssrc, to)).map(|(_, n)| *n).collect();
    let (Some(&first), Some(&last)) = (dropped.first(), dropped.last()) else { return 0 };
    (first..last).filter(|number| !sender.up_came.contains_key(number)).count() as u64
}
