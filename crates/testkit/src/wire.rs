//! A link with what is on it.

use std::collections::BTreeMap;

use vox_frame::Stamp;
use vox_link::{Config, Fate, Link, Passage, Tally};

/// A simulated network in one direction, and the packets on their way.
#[derive(Debug)]
pub struct Wire<P> {
    link: Link,
    held: BTreeMap<(Stamp, u64), P>,
    count: u64,
}

impl<P: Clone> Wire<P> {
    /// An empty wire.
    pub fn new(config: Config, seed: u64) -> Self {
        Self { link: Link::new(config, seed), held: BTreeMap::new(), count: 0 }
    }

    /// Sends a packet that takes so many bytes on the wire, and tells what becomes of it.
    pub fn send(&mut self, now: Stamp, bytes: usize, packet: P) -> Passage {
        let passage = self.link.handle_packet(now, bytes);
        if let Fate::Arrives(at) = passage.fate {
            if let Some(copy) = passage.copy {
                self.hold(copy, packet.clone());
            }
            self.hold(at, packet);
        }
        passage
    }

    /// When the next packet arrives.
    pub fn next_deadline(&self) -> Option<Stamp> {
        self.held.keys().next().map(|(at, _)| *at)
    }

    /// A packet that has arrived by `now`.
    pub fn poll(&mut self, now: Stamp) -> Option<P> {
        self.held.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove())
    }

    /// What the link has done.
    pub const fn tally(&self) -> &Tally {
        self.link.tally()
    }

    fn hold(&mut self, at: Stamp, packet: P) {
        self.held.insert((at, self.count), packet);
        self.count += 1;
    }
}
