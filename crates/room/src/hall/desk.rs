//! Places whose streams are mixed or recorded: which streams, who hears them, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vox_frame::Stamp;
use vox_rtp::{Header, write_packet};

use super::answer::{Done, refuse};
use super::people::{Member, MemberId, Stream};
use super::voice::Place;
use super::{Hall, Output, Path};
use crate::StreamFacts;
use crate::desk::{DeskOrder, Hearers, Records};
use crate::munge::{Munger, Place as Position};
use crate::seal::NotSealed;

/// A place that is mixed or recorded.
#[derive(Debug, Default)]
pub(super) struct Desk {
    number: u64,
    listeners: BTreeSet<MemberId>,
    streams: BTreeMap<u32, (StreamFacts, Hearers)>,
    recorded: bool,
}

/// The way of a stream to its desk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tap {
    desk: u64,
    open: bool,
    munger: Munger,
}

/// The one stream that somebody gets.
#[derive(Debug)]
pub(super) struct Mix {
    desk: u64,
    ssrc: u32,
    facts: StreamFacts,
    sequence: u16,
    /// What is added to the mixer's timestamps, so that nobody can guess them.
    offset: u32,
    /// The timestamp behind the last packet.
    end: Option<u32>,
    /// The next packet begins something.
    marker: bool,
}

impl Hall {
    /// Whether somebody may get a mix.
    pub(super) fn check_mix(&self, id: MemberId) -> Done {
        let most = self.config.limits.mixes;
        if !self.config.mixes {
            return refuse("unavailable", "nothing is mixed here");
        }
        if self.mixes >= most && self.people.get(id).is_none_or(|member| member.mix.is_none()) {
            return refuse("too-many", format!("{most} mixes are the most"));
        }
        Ok(())
    }

    /// What is to be mixed and recorded of a place may have changed.
    pub(super) fn refresh_desk(&mut self, place: &Place) {
        let seats: BTreeSet<MemberId> = self.seated.get(place).into_iter().flatten().copied().collect();
        let wishes = |hall: &Self, id: MemberId| hall.people.get(id).is_some_and(|member| member.wish.is_some());
        let listeners: BTreeSet<MemberId> = seats.iter().copied().filter(|id| wishes(self, *id)).collect();
        let recorded = !seats.is_empty() && self.is_to_be_recorded(place);
        if listeners.is_empty() && !recorded && !self.desks.contains_key(place) {
            return;
        }
        let mut desk = self.desks.remove(place).unwrap_or_else(|| self.open_desk(place));
        for gone in desk.listeners.difference(&listeners) {
            self.end_mix(*gone, desk.number, place);
        }
        for &listener in &listeners {
            self.begin_mix(listener, desk.number, place);
        }
        desk.listeners = listeners;
        self.refresh_streams(place, &mut desk, &seats);
        self.set_recorded(place, &mut desk, recorded);
        if desk.listeners.is_empty() && !desk.recorded {
            self.close_desk(&seats, desk.number);
        } else {
            self.desks.insert(place.clone(), desk);
        }
    }

    fn open_desk(&mut self, place: &Place) -> Desk {
        self.next_desk += 1;
        let number = self.next_desk;
        self.order(DeskOrder::Open { desk: number, place: place.to_string() });
        Desk { number, ..Desk::default() }
    }

    fn close_desk(&mut self, seats: &BTreeSet<MemberId>, desk: u64) {
        for seat in seats {
            if let Some(member) = self.people.get_mut(*seat) {
                member.streams.iter_mut().for_each(|stream| stream.tap = None);
            }
        }
        self.order(DeskOrder::Close { desk });
    }

    fn order(&mut self, order: DeskOrder) {
        self.outputs.push_back(Output::Desk(order));
    }

    fn begin_mix(&mut self, id: MemberId, desk: u64, place: &Place) {
        let Some(member) = self.people.get(id) else { return };
        let Some(wish) = member.wish.clone() else { return };
        let facts = wish.facts();
        if let Some(mix) = &member.mix {
            if mix.desk == desk && mix.facts == facts {
                return;
            }
            self.end_mix(id, desk, place);
        }
        let ssrc = self.free_ssrc();
        let (sequence, offset) = ((self.draw)() as u16, (self.draw)() as u32);
        let mix = Mix { desk, ssrc, facts, sequence, offset, end: None, marker: true };
        let line = mix.announcement(place);
        if let Some(member) = self.people.get_mut(id) {
            member.mix = Some(Box::new(mix));
        }
        self.mixes += 1;
        self.tell(id, line);
        self.order(DeskOrder::Listen { desk, who: id.number(), wish });
    }

    fn end_mix(&mut self, id: MemberId, desk: u64, place: &Place) {
        self.order(DeskOrder::Leave { desk, who: id.number() });
        let Some(mix) = self.people.get_mut(id).and_then(|member| member.mix.take()) else { return };
        self.mixes -= 1;
        self.retire(mix.ssrc);
        let end = mix.end.map_or_else(String::new, |end| format!("rtp={end} "));
        self.tell(id, format!("STREAMEND {place} {}: {end}reason=left", mix.ssrc));
    }

    /// Tells somebody of his mix once more: he has come back.
    pub(super) fn tell_mix(&mut self, id: MemberId, place: &Place) {
        let line = self.people.get(id).and_then(|member| member.mix.as_ref()).map(|mix| mix.announcement(place));
        if let Some(line) = line {
            self.tell(id, line);
        }
    }

    fn refresh_streams(&mut self, place: &Place, desk: &mut Desk, seats: &BTreeSet<MemberId>) {
        let ignored = self.ignored(&desk.listeners, seats);
        let mut known = std::mem::take(&mut desk.streams);
        for &speaker in seats {
            let hearers = match ignored.get(&speaker) {
                _ if !self.is_audible(place, speaker) => Hearers::Nobody,
                None => Hearers::All,
                Some(deaf) => Hearers::AllBut(Arc::clone(deaf)),
            };
            let Some(member) = self.people.get_mut(speaker) else { continue };
            let mut orders = Vec::new();
            for stream in &mut member.streams {
                let before = known.remove(&stream.out_ssrc);
                let (number, ssrc) = (desk.number, stream.out_ssrc);
                if before.as_ref().is_none_or(|(facts, _)| *facts != stream.facts) {
                    let (nick, facts) = (member.nick.to_string(), stream.facts.clone());
                    orders.push(DeskOrder::Stream { desk: number, ssrc, owner: speaker.number(), nick, facts });
                }
                if before.map_or(Hearers::All, |(_, hearers)| hearers) != hearers {
                    orders.push(DeskOrder::Hearers { desk: number, ssrc, hearers: hearers.clone() });
                }
                let munger = stream.tap.filter(|tap| tap.desk == number).map(|tap| tap.munger).unwrap_or_default();
                stream.tap = Some(Tap { desk: number, open: hearers != Hearers::Nobody, munger });
                desk.streams.insert(ssrc, (stream.facts.clone(), hearers.clone()));
            }
            orders.into_iter().for_each(|order| self.order(order));
        }
        for ssrc in known.into_keys() {
            self.order(DeskOrder::End { desk: desk.number, ssrc, rtp: None, reason: "left".to_owned() });
        }
    }

    /// Who of those who get a mix does not want to hear whom.
    fn ignored(
        &self,
        listeners: &BTreeSet<MemberId>,
        seats: &BTreeSet<MemberId>,
    ) -> BTreeMap<MemberId, Arc<BTreeSet<u64>>> {
        let mut ignored: BTreeMap<MemberId, BTreeSet<u64>> = BTreeMap::new();
        for &listener in listeners {
            let Some(member) = self.people.get(listener) else { continue };
            let whom = member.ignores.iter().filter_map(|nick| self.people.by_nick(nick));
            for speaker in whom.filter(|id| seats.contains(id)) {
                ignored.entry(speaker).or_default().insert(listener.number());
            }
        }
        ignored.into_iter().map(|(speaker, deaf)| (speaker, Arc::new(deaf))).collect()
    }

    /// A stream has ended.
    pub(super) fn end_tap(&mut self, place: &Place, stream: &Stream, reason: &str) {
        let Some(desk) = self.desks.get_mut(place) else { return };
        if desk.streams.remove(&stream.out_ssrc).is_some() {
            let (desk, ssrc, rtp) = (desk.number, stream.out_ssrc, stream.end);
            self.order(DeskOrder::End { desk, ssrc, rtp, reason: reason.to_owned() });
        }
    }

    /// Hands a packet of a stream to its desk; `loud` where it is among those that are heard. True where it is wanted.
    pub(super) fn tap(&mut self, tap: &mut Tap, arrived: Stamp, loud: bool, at: (u16, Position), bytes: &[u8]) -> bool {
        let (sequence, position) = at;
        if !tap.open || !loud {
            tap.munger.swallow(sequence, position);
            return false;
        }
        let Some((sequence, marker)) = tap.munger.forward(sequence, position) else { return true };
        let mut bytes = bytes.to_vec();
        bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
        bytes[1] |= u8::from(marker) << 7;
        let ssrc = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        self.order(DeskOrder::Packet { desk: tap.desk, ssrc, arrived, bytes });
        true
    }

    /// What was mixed for somebody: `timestamp` counts from when the mixing of his place began. It goes to `out` as a
    /// packet.
    pub fn handle_mixed(
        &mut self,
        desk: u64,
        who: u64,
        (timestamp, marker): (u64, bool),
        payload: &[u8],
        out: &mut impl FnMut(Path, &[u8]),
    ) {
        let id = MemberId::from_number(who);
        let deaf = self.is_deaf(id);
        let Some(Member { mix: Some(mix), path, seal, .. }) = self.people.get_mut(id) else { return };
        if mix.desk != desk {
            return;
        }
        let Some(path) = path.filter(|_| !deaf) else {
            mix.marker = true;
            return;
        };
        let header = Header {
            ssrc: mix.ssrc,
            sequence: mix.sequence,
            timestamp: mix.offset.wrapping_add(timestamp as u32),
            payload_type: mix.facts.payload_type,
            marker: marker || mix.marker,
        };
        let (ticks, _) = mix.facts.format.measure(payload).unwrap_or((0, 0));
        mix.end = Some(header.timestamp.wrapping_add(ticks));
        mix.sequence = mix.sequence.wrapping_add(1);
        mix.marker = false;
        let mut bytes = std::mem::take(&mut self.written);
        bytes.clear();
        write_packet(header, &[], payload, &mut bytes);
        let sealed = match (&path, seal) {
            (Path::Udp(_), Some(seal)) => seal.close(header.ssrc, header.sequence, &bytes),
            _ => Ok(bytes.as_slice()),
        };
        let exhausted = sealed == Err(NotSealed::Exhausted);
        if let Ok(packet) = sealed {
            self.stats.packets_sent += 1;
            self.stats.bytes_sent += packet.len() as u64;
            self.stats.packets_mixed += 1;
            out(path, packet);
        }
        self.written = bytes;
        if exhausted {
            self.end_seal(id);
        }
    }

    /// Somebody cannot get the mix that he asked for.
    pub fn handle_not_mixed(&mut self, who: u64, why: &str) {
        self.tell(MemberId::from_number(who), format!("ERROR VOICE: too-many {why}"));
    }

    /// A place cannot be recorded any more.
    pub fn handle_not_recorded(&mut self, desk: u64, why: &str) {
        let place = self.desks.iter().find(|(_, known)| known.number == desk).map(|(place, _)| place.clone());
        let Some(Place::Room(name)) = place else { return };
        if let Some(room) = self.rooms.get_mut(&name) {
            room.cannot_be_recorded = true;
        }
        self.refresh_desk(&Place::Room(name.clone()));
        let line = format!("ERROR RECORD: failed {}", why.replace(char::is_control, " "));
        let operators = self.rooms.get(&name).map_or_else(BTreeSet::new, |room| room.operators.clone());
        for operator in operators {
            self.tell(operator, line.as_str());
        }
    }

    fn is_to_be_recorded(&self, place: &Place) -> bool {
        let Place::Room(name) = place else { return false };
        let Some(room) = self.rooms.get(name).filter(|room| !room.forbids_recording && !room.cannot_be_recorded) else {
            return false;
        };
        match self.config.records {
            Records::Never => false,
            Records::Asked => !room.recorders.is_empty(),
            Records::Always => true,
        }
    }

    /// Whether the server records a room now.
    pub(super) fn is_recorded(&self, place: &Place) -> bool {
        self.desks.get(place).is_some_and(|desk| desk.recorded)
    }

    fn set_recorded(&mut self, place: &Place, desk: &mut Desk, on: bool) {
        if std::mem::replace(&mut desk.recorded, on) == on {
            return;
        }
        if let Place::Room(name) = place {
            self.tell_room(name, &format!("RECORD {name}: {} server", if on { "on" } else { "off" }));
        }
        self.order(DeskOrder::Record { desk: desk.number, on });
    }
}

impl Mix {
    fn announcement(&self, place: &Place) -> String {
        format!("STREAM {place} {}: {}", self.ssrc, self.facts)
    }
}
