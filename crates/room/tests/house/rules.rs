//! The rules of a house as people are told them: who is where, and who is to hear whom.
#![allow(unreachable_pub, missing_docs, reason = "a part of a test")]

use std::collections::{BTreeMap, BTreeSet};

use vox_room::ConnId;

/// What the model knows of one person.
#[derive(Debug, Clone, Default)]
pub struct Person {
    pub conn: Option<ConnId>,
    /// With which it takes its seat up again when its connection was lost.
    pub session: Option<String>,
    pub rooms: BTreeSet<&'static str>,
    pub voice: Option<&'static str>,
    /// The address that is bound; none until it is.
    pub bound: bool,
    /// It gets one stream of all.
    pub mixes: bool,
    pub token: Option<String>,
    pub muted_in: bool,
    pub muted_out: bool,
    pub ignores: BTreeSet<u32>,
    pub call: Option<u32>,
    /// Who calls, and is not answered yet.
    pub called_by: Option<u32>,
    pub sequence: u16,
}

#[derive(Debug, Default)]
pub struct Model {
    pub people: BTreeMap<u32, Person>,
    /// Who may do what in which room, in the order in which the right is inherited.
    pub operators: BTreeMap<&'static str, BTreeSet<u32>>,
    pub muted_rooms: BTreeSet<&'static str>,
    pub silenced: BTreeSet<(&'static str, u32)>,
    pub deafened: BTreeSet<(&'static str, u32)>,
}

pub fn nick(who: u32) -> String {
    format!("P{who}")
}

pub fn address(who: u32) -> String {
    format!("10.0.0.{}:4000", who + 1)
}

impl Model {
    pub fn is_in(&self, who: u32, room: &str) -> bool {
        self.people.get(&who).is_some_and(|person| person.rooms.contains(room))
    }

    /// Who is to hear `mouth`, by the rules as people are told them.
    pub fn listeners(&self, mouth: u32) -> BTreeSet<u32> {
        let speaker = &self.people[&mouth];
        self.people
            .iter()
            .filter(|(who, ear)| {
                let together = match speaker.call {
                    Some(other) => **who == other && ear.call == Some(mouth),
                    None => ear.call.is_none() && speaker.voice.is_some() && ear.voice == speaker.voice,
                };
                **who != mouth
                    && together
                    && ear.bound
                    && !ear.muted_out
                    && !speaker.muted_in
                    && !ear.ignores.contains(&mouth)
                    && (speaker.call.is_some() || self.room_lets(mouth, **who))
            })
            .map(|(who, _)| *who)
            .collect()
    }

    fn room_lets(&self, mouth: u32, ear: u32) -> bool {
        let Some(room) = self.people[&mouth].voice else { return false };
        let operates = self.operators.get(room).is_some_and(|set| set.contains(&mouth));
        !self.silenced.contains(&(room, mouth))
            && !self.deafened.contains(&(room, ear))
            && (!self.muted_rooms.contains(room) || operates)
    }

    /// Somebody leaves a room; `heir` is who the server says operates it now.
    pub fn leave(&mut self, who: u32, room: &'static str) {
        let Some(person) = self.people.get_mut(&who) else { return };
        person.rooms.remove(room);
        if person.voice == Some(room) {
            person.voice = None;
        }
        self.silenced.remove(&(room, who));
        self.deafened.remove(&(room, who));
        let empty = !self.people.values().any(|person| person.rooms.contains(room));
        let operators = self.operators.entry(room).or_default();
        operators.remove(&who);
        if empty {
            self.operators.remove(room);
            self.muted_rooms.remove(room);
        }
    }

    pub fn hang_up(&mut self, who: u32) {
        let other = self.people.get_mut(&who).and_then(|person| person.call.take());
        if let Some(other) = other.and_then(|other| self.people.get_mut(&other)) {
            other.call = None;
        }
        for person in self.people.values_mut() {
            if person.called_by == Some(who) {
                person.called_by = None;
            }
        }
        if let Some(person) = self.people.get_mut(&who) {
            person.called_by = None;
        }
    }

    pub fn is_busy(&self, who: u32) -> bool {
        let person = &self.people[&who];
        person.call.is_some()
            || person.called_by.is_some()
            || self.people.values().any(|other| other.called_by == Some(who))
    }

    pub fn gone(&mut self, who: u32) {
        self.hang_up(who);
        let rooms: Vec<&str> = self.people[&who].rooms.iter().copied().collect();
        for room in rooms {
            self.leave(who, room);
        }
        self.people.remove(&who);
    }
}
