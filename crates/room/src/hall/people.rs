//! Who is here.

use std::collections::{BTreeMap, BTreeSet};

use super::desk::{Mix, Tap};
use super::{ConnId, Path};
use crate::command::{Carrier, Dialect, StreamFacts, Telling};
use crate::lateness::Lateness;
use crate::limits::Bucket;
use crate::munge::{Munger, Order};
use crate::seal::Seal;
use crate::{MixWish, Nick, RoomName};

/// A member: numbers of those who have left are not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MemberId {
    slot: u32,
    generation: u32,
}

impl MemberId {
    /// As a number, for others than the hall.
    pub(super) const fn number(self) -> u64 {
        (self.slot as u64) << 32 | self.generation as u64
    }

    pub(super) const fn from_number(number: u64) -> Self {
        Self { slot: (number >> 32) as u32, generation: number as u32 }
    }
}

/// A connection and what is known of it before it is a member's.
#[derive(Debug)]
pub(super) struct Connection {
    /// What the client reached the server by, with the port of media; none where there is no UDP.
    pub(super) media: Option<core::net::SocketAddr>,
    /// Nobody between the client and the server can read it.
    pub(super) is_private: bool,
    /// Voice may travel unencrypted.
    pub(super) may_be_plain: bool,
    pub(super) member: Option<MemberId>,
    pub(super) lines: Bucket,
    pub(super) excess: u32,
    pub(super) last_heard: i64,
    /// The number of the last PING, and when it was sent.
    pub(super) ping: Option<(u64, i64)>,
    pub(super) next_ping: i64,
    pub(super) dialect: Dialect,
    /// A password of its is being checked: what it says waits for nothing, but it may not ask again.
    pub(super) waits: bool,
}

pub(super) struct Member {
    pub(super) nick: Nick,
    pub(super) real_name: String,
    /// Its nickname is its own, by a password.
    pub(super) registered: bool,
    /// None while its connection is lost and its seat is kept.
    pub(super) conn: Option<ConnId>,
    pub(super) rooms: BTreeSet<RoomName>,
    pub(super) voice_room: Option<RoomName>,
    pub(super) carrier: Carrier,
    pub(super) token: Option<u128>,
    pub(super) session: Option<u128>,
    pub(super) seal: Option<Box<Seal>>,
    pub(super) path: Option<Path>,
    pub(super) call: Option<u64>,
    /// It wants one stream of all.
    pub(super) wish: Option<MixWish>,
    /// That stream, where it gets it.
    pub(super) mix: Option<Box<Mix>>,
    pub(super) streams: Vec<Stream>,
    /// Packets of streams that were not announced yet.
    pub(super) pending: Vec<(u32, Vec<u8>)>,
    pub(super) telling: Telling,
    pub(super) packets: Bucket,
    /// Nobody hears it, by its own wish.
    pub(super) muted_in: bool,
    /// Nobody hears it, by the wish of who runs the server.
    pub(super) gagged: bool,
    /// It hears nobody, by its own wish.
    pub(super) muted_out: bool,
    pub(super) ignores: BTreeSet<Nick>,
    /// When it was last heard of, and how long a PING took, in ns.
    pub(super) rtt_ns: Option<i64>,
}

/// A stream that a member sends.
#[derive(Debug)]
pub(super) struct Stream {
    /// As its owner numbers it.
    pub(super) ssrc: u32,
    /// As listeners know it.
    pub(super) out_ssrc: u32,
    pub(super) facts: StreamFacts,
    /// Whether its owner has announced it, not a first packet.
    pub(super) announced: bool,
    pub(super) order: Order,
    pub(super) legs: Vec<Leg>,
    /// Its way to who mixes and records.
    pub(super) tap: Option<Tap>,
    /// The RTP timestamp at which it ends so far.
    pub(super) end: Option<u32>,
    pub(super) last_packet: i64,
    /// How late its packets come.
    pub(super) lateness: Lateness,
    pub(super) talking: bool,
    /// Level of its last packet that told one, in -dBov.
    pub(super) level: Option<u8>,
}

/// The way of a stream to one listener.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leg {
    pub(super) to: MemberId,
    pub(super) open: bool,
    pub(super) munger: Munger,
}

/// The members, found at once by number and by name.
#[derive(Default)]
pub(super) struct People {
    slots: Vec<(u32, Option<Box<Member>>)>,
    free: Vec<u32>,
    nicks: BTreeMap<Nick, MemberId>,
}

impl People {
    pub(super) fn len(&self) -> usize {
        self.nicks.len()
    }

    pub(super) fn add(&mut self, member: Member) -> MemberId {
        let nick = member.nick.clone();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        entry.1 = Some(Box::new(member));
        let id = MemberId { slot, generation: entry.0 };
        self.nicks.insert(nick, id);
        id
    }

    pub(super) fn remove(&mut self, id: MemberId) -> Option<Box<Member>> {
        let entry = self.slots.get_mut(id.slot as usize).filter(|entry| entry.0 == id.generation)?;
        let member = entry.1.take()?;
        entry.0 = entry.0.wrapping_add(1);
        self.free.push(id.slot);
        self.nicks.remove(&member.nick);
        Some(member)
    }

    /// Gives a member another name, which nobody has.
    pub(super) fn rename(&mut self, id: MemberId, nick: Nick) {
        let Some(member) = self.get_mut(id) else { return };
        let before = std::mem::replace(&mut member.nick, nick.clone());
        self.nicks.remove(&before);
        self.nicks.insert(nick, id);
    }

    pub(super) fn get(&self, id: MemberId) -> Option<&Member> {
        let entry = self.slots.get(id.slot as usize).filter(|entry| entry.0 == id.generation)?;
        entry.1.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        let entry = self.slots.get_mut(id.slot as usize).filter(|entry| entry.0 == id.generation)?;
        entry.1.as_deref_mut()
    }

    pub(super) fn by_nick(&self, nick: &Nick) -> Option<MemberId> {
        self.nicks.get(nick).copied()
    }
}
