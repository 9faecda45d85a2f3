//! All who talk and listen in one place.

use std::collections::BTreeMap;

use vox_codec::Effort;
use vox_frame::{Codec, Format, Rate, Stamp};
use vox_rtp::PayloadFormat;

use crate::config::{Audience, Config, Error, Packet, PersonId, Shape};
use crate::group::Group;
use crate::speaker::{BusKey, Speaker};

/// What is mixed at a time, in ns.
const BLOCK_NS: i64 = 20_000_000;

/// Blocks a second.
const BLOCKS_PER_S: i64 = 50;

/// Blocks that may be behind: where the machine stood still longer, the rest is left out.
const MAX_BEHIND: i64 = 10;

/// A packet for those who hear the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mixed<'a> {
    /// Whom it is for.
    pub to: &'a [PersonId],
    /// When its first sample is, in ticks of the RTP clock since the bridge began.
    pub timestamp: u64,
    /// Whether nothing was sent before it.
    pub marker: bool,
    /// What it holds.
    pub payload: &'a [u8],
}

/// A conference bridge. See the crate documentation.
pub struct Bridge {
    config: Config,
    origin: Stamp,
    /// The block that is mixed next.
    head: i64,
    speakers: BTreeMap<u32, Speaker>,
    buses: BTreeMap<BusKey, Bus>,
    listeners: BTreeMap<PersonId, BusKey>,
    /// Blocks in which nothing was heard.
    silent: i64,
    /// Nothing is mixed until somebody says something.
    rests: bool,
    marker: bool,
    effort: Effort,
}

/// A rate and channels that somebody hears.
struct Bus {
    total: Vec<f64>,
    groups: Vec<Group>,
}

/// What somebody does not hear of a block.
type Minus<'a> = BTreeMap<PersonId, Vec<&'a [f32]>>;

impl Bridge {
    /// An empty bridge.
    pub const fn new(config: Config, now: Stamp) -> Self {
        Self {
            config,
            origin: now,
            head: 0,
            speakers: BTreeMap::new(),
            buses: BTreeMap::new(),
            listeners: BTreeMap::new(),
            silent: 0,
            rests: true,
            marker: true,
            effort: Effort::Full,
        }
    }

    /// Somebody's stream begins; one of that number that is there is forgotten.
    ///
    /// # Errors
    /// Where there are too many, or its codec is not known here.
    pub fn open(&mut self, id: u32, owner: PersonId, format: &Format, carried: PayloadFormat) -> Result<(), Error> {
        let most = self.config.max_streams;
        if self.speakers.len() >= most && !self.speakers.contains_key(&id) {
            return Err(Error::TooMany(most, "streams"));
        }
        let mut speaker = Speaker::new(owner, format, carried, self.config.delay_ns)?;
        for key in self.buses.keys() {
            speaker.add_bus(*key, frame(self.head, key.0));
        }
        self.speakers.insert(id, speaker);
        Ok(())
    }

    /// Who hears a stream from the next block on.
    pub fn set_audience(&mut self, id: u32, audience: Audience) {
        if let Some(speaker) = self.speakers.get_mut(&id) {
            speaker.audience = audience;
        }
    }

    /// Takes a packet of a stream.
    pub fn packet(&mut self, now: Stamp, id: u32, packet: Packet<'_>) {
        let Some(speaker) = self.speakers.get_mut(&id) else { return };
        if self.listeners.is_empty() {
            return;
        }
        speaker.packet(now, packet);
        if self.rests {
            self.wake(now);
        }
    }

    /// A stream has ended; what was said is still mixed.
    pub fn close(&mut self, now: Stamp, id: u32) {
        if let Some(speaker) = self.speakers.get_mut(&id) {
            speaker.close(now);
        }
        if self.rests {
            self.speakers.remove(&id);
        }
    }

    /// A stream is gone, and nothing of it is heard any more.
    pub fn drop_stream(&mut self, id: u32) {
        self.speakers.remove(&id);
    }

    /// Somebody listens, from now on in that shape.
    ///
    /// # Errors
    /// Where there are too many, or too many rates, or nothing can be encoded so.
    pub fn listen(&mut self, who: PersonId, shape: &Shape) -> Result<(), Error> {
        self.leave(who);
        if self.listeners.len() >= self.config.max_listeners {
            return Err(Error::TooMany(self.config.max_listeners, "listeners"));
        }
        let key = (shape.rate, shape.channels.count());
        if !self.buses.contains_key(&key) && self.buses.len() >= self.config.max_rates {
            return Err(Error::TooMany(self.config.max_rates, "rates"));
        }
        let group = match self.buses.get(&key).and_then(|bus| bus.groups.iter().position(|g| g.shape() == shape)) {
            Some(_) => None,
            None => {
                let mut group = Group::new(shape.clone(), &self.config)?;
                group.set_effort(self.effort);
                Some(group)
            }
        };
        if !self.buses.contains_key(&key) {
            let head = frame(self.head, key.0);
            self.speakers.values_mut().for_each(|speaker| speaker.add_bus(key, head));
        }
        let bus = self.buses.entry(key).or_insert_with(|| Bus { total: Vec::new(), groups: Vec::new() });
        bus.groups.extend(group);
        if let Some(group) = bus.groups.iter_mut().find(|group| group.shape() == shape) {
            group.add(who);
        }
        self.listeners.insert(who, key);
        Ok(())
    }

    /// Somebody does not listen any more.
    pub fn leave(&mut self, who: PersonId) {
        let Some(key) = self.listeners.remove(&who) else { return };
        let Some(bus) = self.buses.get_mut(&key) else { return };
        bus.groups.iter_mut().for_each(|group| group.remove(who));
        bus.groups.retain(|group| !group.is_empty());
        if bus.groups.is_empty() {
            self.buses.remove(&key);
            self.speakers.values_mut().for_each(|speaker| speaker.remove_bus(key));
        }
    }

    /// Takes that much time for encoding from now on.
    pub fn set_effort(&mut self, effort: Effort) {
        if self.effort != effort {
            self.effort = effort;
            self.buses.values_mut().flat_map(|bus| &mut bus.groups).for_each(|group| group.set_effort(effort));
        }
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.listeners.len()
    }

    /// How many have an encoder of their own.
    pub fn own_encoders(&self) -> usize {
        self.buses.values().flat_map(|bus| &bus.groups).map(Group::own_encoders).sum()
    }

    /// When [`poll`](Self::poll) has something to do next; none while nobody says anything.
    pub fn next_deadline(&self) -> Option<Stamp> {
        (!self.rests && !self.listeners.is_empty()).then(|| self.block_begins(self.head + 1))
    }

    /// Mixes what is due.
    pub fn poll(&mut self, now: Stamp, out: &mut impl FnMut(Mixed<'_>)) {
        if self.rests || self.listeners.is_empty() {
            return;
        }
        let current = now.since(self.origin).div_euclid(BLOCK_NS);
        if current - self.head > MAX_BEHIND {
            self.skip_to(current - 1);
        }
        while self.head < current && !self.rests {
            self.mix(out);
        }
    }

    fn block_begins(&self, block: i64) -> Stamp {
        self.origin.plus(block.saturating_mul(BLOCK_NS))
    }

    /// Somebody says something again: the time between was silence.
    fn wake(&mut self, now: Stamp) {
        self.rests = false;
        self.silent = 0;
        self.marker = true;
        self.skip_to(now.since(self.origin).div_euclid(BLOCK_NS));
    }

    fn skip_to(&mut self, block: i64) {
        self.head = self.head.max(block);
        for key in self.buses.keys() {
            let head = frame(self.head, key.0);
            self.speakers.values_mut().for_each(|speaker| speaker.skip_to(*key, head));
        }
    }

    fn mix(&mut self, out: &mut impl FnMut(Mixed<'_>)) {
        let (begins, ends) = (self.head, self.head + 1);
        self.head = ends;
        let now = self.block_begins(ends);
        for speaker in self.speakers.values_mut() {
            speaker.decode(now, self.origin);
        }
        let marker = std::mem::take(&mut self.marker);
        let mut is_heard = false;
        for (key, bus) in &mut self.buses {
            for speaker in self.speakers.values_mut() {
                is_heard |= speaker.take(*key, frame(ends, key.0));
            }
            let first = frame(begins, key.0);
            let frames = (frame(ends, key.0) - first) as usize;
            bus.mix(*key, frames, &self.speakers);
            let minus = minus(*key, &self.speakers);
            let Bus { total, groups } = bus;
            for group in groups {
                let ticks = ticks(group.shape());
                group.encode(total, |who| minus.get(&who).map(Vec::as_slice), &mut |to, at, payload| {
                    out(Mixed { to, timestamp: ticks(first.unsigned_abs() + at), marker, payload });
                });
            }
        }
        self.speakers.retain(|_, speaker| !speaker.is_over());
        self.silent = if is_heard { 0 } else { self.silent + 1 };
        let rests = self.silent >= self.config.rest_ns / BLOCK_NS;
        self.rests = rests && self.speakers.values().all(Speaker::is_idle);
    }
}

impl Bus {
    /// The sum of all that somebody may hear.
    fn mix(&mut self, key: BusKey, frames: usize, speakers: &BTreeMap<u32, Speaker>) {
        self.total.clear();
        self.total.resize(frames * key.1, 0.0);
        let heard = speakers.values().filter(|speaker| speaker.audience != Audience::Nobody);
        for block in heard.filter_map(|speaker| speaker.block(key)) {
            self.total.iter_mut().zip(block).for_each(|(sum, sample)| *sum += f64::from(*sample));
        }
    }
}

/// What is in the sum and somebody must not hear: what he says himself, and whom he does not want to hear.
fn minus(key: BusKey, speakers: &BTreeMap<u32, Speaker>) -> Minus<'_> {
    let mut minus = Minus::new();
    for speaker in speakers.values() {
        let Some(block) = speaker.block(key) else { continue };
        match &speaker.audience {
            Audience::Nobody => continue,
            Audience::All => {}
            Audience::AllBut(others) => {
                for other in others.iter().filter(|other| **other != speaker.owner) {
                    minus.entry(*other).or_default().push(block);
                }
            }
        }
        minus.entry(speaker.owner).or_default().push(block);
    }
    minus
}

/// The first frame of a block.
const fn frame(block: i64, rate: Rate) -> i64 {
    block * rate.hz() as i64 / BLOCKS_PER_S
}

/// Frames to ticks of the RTP clock: that of Opus is always 48 kHz (RFC 7587, section 4.1).
fn ticks(shape: &Shape) -> impl Fn(u64) -> u64 + use<> {
    let (rate, is_opus) = (shape.rate, shape.codec == Codec::Opus);
    move |frames| if is_opus { rate.convert(frames, Rate::HZ_48000) } else { frames }
}
