//! What whoever mixes knows, from the orders that he got.

use std::collections::BTreeMap;

use vox_room::{DeskOrder, Hearers};

#[derive(Debug, Default)]
pub struct Desks {
    /// Who listens, and where.
    pub listeners: BTreeMap<u64, u64>,
    /// Whose streams they are, and who hears them.
    pub streams: BTreeMap<(u64, u32), (u64, Hearers)>,
}

impl Desks {
    /// Takes an order; the stream of a packet.
    pub fn handle(&mut self, order: DeskOrder) -> Option<(u64, u32)> {
        match order {
            DeskOrder::Stream { desk, ssrc, owner, .. } => {
                let hearers = self.streams.get(&(desk, ssrc)).map_or(Hearers::All, |(_, hearers)| hearers.clone());
                self.streams.insert((desk, ssrc), (owner, hearers));
            }
            DeskOrder::Hearers { desk, ssrc, hearers } => {
                self.streams.get_mut(&(desk, ssrc)).expect("a stream that was told of").1 = hearers;
            }
            DeskOrder::End { desk, ssrc, .. } => drop(self.streams.remove(&(desk, ssrc)).expect("a stream")),
            DeskOrder::Listen { desk, who, .. } => drop(self.listeners.insert(who, desk)),
            DeskOrder::Leave { who, .. } => drop(self.listeners.remove(&who).expect("a listener")),
            DeskOrder::Packet { desk, ssrc, .. } => return Some((desk, ssrc)),
            DeskOrder::Close { desk } => {
                self.streams.retain(|(of, _), _| *of != desk);
                assert!(self.listeners.values().all(|of| *of != desk), "nobody listens where nothing is mixed");
            }
            DeskOrder::Open { .. } | DeskOrder::Record { .. } => {}
        }
        None
    }

    /// Who is to have a stream in his mix.
    pub fn hear(&self, (desk, ssrc): (u64, u32)) -> Vec<u64> {
        let (owner, hearers) = &self.streams[&(desk, ssrc)];
        let hears = |who: &u64| match hearers {
            Hearers::All => true,
            Hearers::AllBut(others) => !others.contains(who),
            Hearers::Nobody => false,
        };
        let there = self.listeners.iter().filter(|(who, of)| **of == desk && *who != owner).map(|(who, _)| *who);
        there.filter(hears).collect()
    }
}
