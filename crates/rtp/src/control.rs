//! The RTCP of one member: what it says, to whom and when (RFC 3550, section 6; RFC 3611).

use std::collections::{BTreeMap, VecDeque};

use vox_frame::{Rate, Stamp};

use crate::Receiver;
use crate::heard::Route;
use crate::interval::Timer;
use crate::ntp::{NtpTime, ns_of, units_of};
use crate::rtcp::{Block, Fact, write_control};

/// The most members that are counted one by one; a group that is larger counts as that large.
const MAX_MEMBERS: usize = 4096;

/// A member that was silent for so many intervals is gone (RFC 3550, section 6.2.1).
const TIMEOUT_INTERVALS: i64 = 5;

/// Members of a larger group leave without a word, so that not all talk at once (RFC 3550, section 6.3.7).
const MAX_GOODBYE_MEMBERS: usize = 50;

/// Sender reports remembered, to know an echo of one from an invention.
const MAX_REMEMBERED: usize = 16;

/// Reports kept for who asks; older ones give way.
const MAX_REPORTS: usize = 256;

/// Streams and reports on others in one packet, so that it stays within 1200 bytes.
const SENDERS_A_PACKET: usize = 8;
const BLOCKS_A_PACKET: usize = 16;

/// What a [`Control`] is told once.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// The SSRC by which reports go where no stream is sent.
    pub ssrc: u32,
    /// The lasting name of this member (RFC 7022).
    pub cname: String,
    /// Bandwidth of the session in bits a second: RTCP takes at most 5 % of it.
    pub bandwidth: u32,
    /// The shortest mean interval between reports, in ns (RFC 3550: 5 s).
    pub interval_ns: i64,
    /// Whether each source is answered where its own reports come from; otherwise all is said to everybody.
    pub answers: bool,
    /// Where random numbers are drawn from.
    pub seed: u64,
}

/// A packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom; none for everybody.
    pub to: Option<Route>,
    /// The RTCP packet.
    pub packet: Vec<u8>,
}

/// What the far end says of a stream of ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RemoteReport {
    /// Our stream.
    pub ssrc: u32,
    /// Who says it.
    pub by: u32,
    /// Packets lost since its last report, 0 to 1.
    pub fraction_lost: f64,
    /// Packets lost so far.
    pub packets_lost: i32,
    /// Interarrival jitter, in ns.
    pub jitter_ns: i64,
    /// There and back without the time between, in ns; none before a sender report was answered.
    pub round_trip_ns: Option<i64>,
}

#[derive(Debug)]
struct Outbound {
    clock: Rate,
    packets: u32,
    octets: u32,
    /// RTP timestamp of the last packet and when its first sample was captured.
    last: (u32, Stamp),
    sent: Stamp,
    cname: String,
    /// The middles of the sender reports of late, with when they left.
    reports: VecDeque<u32>,
}

/// The RTCP of one member of a session.
#[derive(Debug)]
pub struct Control {
    config: ControlConfig,
    timer: Timer,
    senders: BTreeMap<u32, Outbound>,
    members: BTreeMap<u32, Stamp>,
    /// Reference times of receivers that want to know their round trip: the middle, and when it came.
    references: BTreeMap<u32, (u32, Stamp)>,
    reported: VecDeque<RemoteReport>,
    /// The middles of the reference times sent.
    asked: VecDeque<u32>,
    round_trip_ns: Option<i64>,
    refused: u64,
}

impl Control {
    /// A member that begins now.
    pub fn new(now: Stamp, config: ControlConfig) -> Self {
        let timer = Timer::new(now, config.bandwidth, config.interval_ns, config.seed);
        Self {
            config,
            timer,
            senders: BTreeMap::new(),
            members: BTreeMap::new(),
            references: BTreeMap::new(),
            reported: VecDeque::new(),
            asked: VecDeque::new(),
            round_trip_ns: None,
            refused: 0,
        }
    }

    /// A stream of ours begins. `cname` is that of another member whose stream we pass on.
    pub fn add_stream(&mut self, now: Stamp, ssrc: u32, clock: Rate, cname: Option<String>) {
        let cname = cname.unwrap_or_else(|| self.config.cname.clone());
        let reports = VecDeque::new();
        self.senders.insert(ssrc, Outbound { clock, packets: 0, octets: 0, last: (0, now), sent: now, cname, reports });
        self.count_members();
    }

    /// A packet of a stream of ours left; its first sample was captured at `captured`.
    pub fn handle_sent(&mut self, now: Stamp, ssrc: u32, timestamp: u32, captured: Stamp, payload: usize) {
        let Some(sender) = self.senders.get_mut(&ssrc) else { return };
        sender.packets = sender.packets.wrapping_add(1);
        sender.octets = sender.octets.wrapping_add(payload as u32);
        sender.last = (timestamp, captured);
        sender.sent = now;
        self.timer.we_sent = true;
    }

    /// Whether a packet of that stream of ours has left.
    pub fn has_sent(&self, ssrc: u32) -> bool {
        self.senders.get(&ssrc).is_some_and(|sender| sender.packets > 0)
    }

    /// A stream of ours has ended: its goodbye.
    pub fn remove_stream(&mut self, ssrc: u32) -> Option<Outgoing> {
        let sender = self.senders.remove(&ssrc)?;
        self.count_members();
        if self.config.answers || sender.packets == 0 || self.timer.members > MAX_GOODBYE_MEMBERS {
            return None;
        }
        let facts = [Fact::Present(ssrc), Fact::Name { ssrc, cname: sender.cname }, Fact::Bye(ssrc)];
        Some(self.outgoing(None, &facts))
    }

    /// Takes what RTCP said, in a packet of `bytes`.
    pub fn handle_facts(&mut self, now: Stamp, arrived: Stamp, bytes: usize, facts: &[Fact]) {
        self.timer.count(bytes);
        for fact in facts {
            match fact {
                Fact::Sent { ssrc, .. } | Fact::Present(ssrc) => self.meet(*ssrc, now),
                Fact::Report { by, block } => self.handle_report(*by, block, arrived),
                Fact::Bye(ssrc) => {
                    self.members.remove(ssrc);
                    self.references.remove(ssrc);
                    self.count_members();
                    self.timer.shrink(now);
                }
                Fact::ReferenceTime { by, ntp } => {
                    if self.references.len() < MAX_MEMBERS || self.references.contains_key(by) {
                        self.references.insert(*by, (ntp.middle(), arrived));
                    }
                }
                Fact::SinceReference { ssrc, last, delay, .. } if *ssrc == self.config.ssrc => {
                    if self.asked.contains(last) {
                        self.round_trip_ns = round_trip(arrived, *last, *delay);
                    }
                }
                Fact::Name { .. } | Fact::SinceReference { .. } => {}
            }
        }
    }

    /// The next report of the far end on a stream of ours, oldest first.
    pub fn poll_report(&mut self) -> Option<RemoteReport> {
        self.reported.pop_front()
    }

    /// Our round trip as a receiver, where the far end answers (RFC 3611), in ns.
    pub const fn round_trip_ns(&self) -> Option<i64> {
        self.round_trip_ns
    }

    /// Reports on our streams that name a sender report which we never sent.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Members of the session, we included.
    pub const fn members(&self) -> usize {
        self.timer.members
    }

    /// When [`poll`](Self::poll) has something to do next.
    pub const fn next_deadline(&self) -> Stamp {
        self.timer.deadline()
    }

    /// The packets that are due.
    pub fn poll(&mut self, now: Stamp, receiver: &mut Receiver) -> Vec<Outgoing> {
        if now < self.timer.deadline() {
            return Vec::new();
        }
        let timeout = TIMEOUT_INTERVALS * self.config.interval_ns;
        self.members.retain(|_, seen| now.since(*seen) < timeout);
        self.references.retain(|_, (_, seen)| now.since(*seen) < timeout);
        self.count_members();
        if !self.timer.expires(now) {
            return Vec::new();
        }
        // Who has sent nothing for two intervals is no sender (RFC 3550, section 6.3.8).
        let active = |sender: &Outbound| sender.packets > 0 && now.since(sender.sent) < 2 * self.config.interval_ns;
        let senders: Vec<u32> =
            self.senders.iter().filter(|(_, sender)| active(sender)).map(|(&ssrc, _)| ssrc).collect();
        self.timer.we_sent = !senders.is_empty();
        let reports = receiver.reports(now);
        if self.config.answers { self.answers(now, receiver, &reports) } else { self.report(now, &senders, &reports) }
    }

    /// The beginning of a compound packet that cannot wait for the next report (RFC 4585, section 3.1), and by whom it is:
    /// what is said of one source, by the way to it.
    pub fn early(&self, now: Stamp, block: Block) -> (u32, Vec<u8>) {
        // Who sends speaks in the name of its stream: a far end that hears one source knows no other.
        let active = |sender: &Outbound| sender.packets > 0 && now.since(sender.sent) < 2 * self.config.interval_ns;
        let by = self.senders.iter().find(|(_, sender)| active(sender)).map_or(self.config.ssrc, |(&ssrc, _)| ssrc);
        let cname = self.cname(by).unwrap_or(&self.config.cname).to_owned();
        let mut packet = Vec::new();
        write_control(&[Fact::Present(by), Fact::Report { by, block }, Fact::Name { ssrc: by, cname }], &mut packet);
        (by, packet)
    }

    /// The goodbye of all.
    pub fn finish(&mut self, now: Stamp, receiver: &mut Receiver) -> Vec<Outgoing> {
        if self.timer.members > MAX_GOODBYE_MEMBERS {
            return Vec::new();
        }
        if self.config.answers {
            let routes: Vec<Route> = receiver.routes();
            let own = self.config.ssrc;
            let facts = [Fact::Present(own), self.own_name(), Fact::Bye(own)];
            let all = routes.into_iter().map(|route| self.outgoing(Some(route), &facts)).collect::<Vec<_>>();
            return all.into_iter().filter(|outgoing| may_send(receiver, outgoing)).collect();
        }
        let spoken: Vec<u32> =
            self.senders.iter().filter(|(_, sender)| sender.packets > 0).map(|(&ssrc, _)| ssrc).collect();
        let mut packets = Vec::new();
        for some in spoken.chunks(SENDERS_A_PACKET) {
            let mut facts = self.sender_facts(now, some);
            facts.extend(some.iter().map(|&ssrc| Fact::Bye(ssrc)));
            packets.push(self.outgoing(None, &facts));
        }
        self.senders.clear();
        packets
    }

    /// Everything, to everybody.
    fn report(&mut self, now: Stamp, senders: &[u32], reports: &[(Option<Route>, Block)]) -> Vec<Outgoing> {
        let mut senders = senders.chunks(SENDERS_A_PACKET);
        let mut blocks = reports.chunks(BLOCKS_A_PACKET);
        let mut packets = Vec::new();
        loop {
            let (some, of) = (senders.next().unwrap_or_default(), blocks.next().unwrap_or_default());
            if some.is_empty() && of.is_empty() {
                return packets;
            }
            let mut facts = self.sender_facts(now, some);
            let by = some.first().copied().unwrap_or(self.config.ssrc);
            if some.is_empty() {
                facts.extend([Fact::Present(by), self.own_name(), self.ask(now)]);
            }
            facts.extend(of.iter().map(|(_, block)| Fact::Report { by, block: *block }));
            if packets.is_empty() {
                facts.extend(self.answers_to_references(now, by));
            }
            packets.push(self.outgoing(None, &facts));
        }
    }

    /// To each source where its reports came from, what is heard of it.
    fn answers(&mut self, now: Stamp, receiver: &mut Receiver, reports: &[(Option<Route>, Block)]) -> Vec<Outgoing> {
        let mut by_route: BTreeMap<Route, Vec<Block>> = BTreeMap::new();
        for (route, block) in reports {
            if let Some(route) = route {
                by_route.entry(*route).or_default().push(*block);
            }
        }
        let mut packets = Vec::new();
        let by = self.config.ssrc;
        for (route, blocks) in by_route {
            for some in blocks.chunks(BLOCKS_A_PACKET) {
                let mut facts = vec![Fact::Present(by), self.own_name(), self.ask(now)];
                facts.extend(some.iter().map(|block| Fact::Report { by, block: *block }));
                let outgoing = self.outgoing(Some(route), &facts);
                if may_send(receiver, &outgoing) {
                    packets.push(outgoing);
                }
            }
        }
        packets
    }

    fn sender_facts(&mut self, now: Stamp, senders: &[u32]) -> Vec<Fact> {
        let ntp = NtpTime::of(now);
        let mut facts = Vec::new();
        for ssrc in senders {
            let Some(sender) = self.senders.get_mut(ssrc) else { continue };
            let since = sender.clock.ticks(now.since(sender.last.1).max(0)) as u32;
            let (packets, octets) = (sender.packets, sender.octets);
            facts.push(Fact::Sent { ssrc: *ssrc, ntp, rtp: sender.last.0.wrapping_add(since), packets, octets });
            remember(&mut sender.reports, ntp.middle());
            facts.push(Fact::Name { ssrc: *ssrc, cname: sender.cname.clone() });
        }
        facts
    }

    fn own_name(&self) -> Fact {
        Fact::Name { ssrc: self.config.ssrc, cname: self.config.cname.clone() }
    }

    /// Asks senders to answer, so that a receiver learns its round trip.
    fn ask(&mut self, now: Stamp) -> Fact {
        let ntp = NtpTime::of(now);
        remember(&mut self.asked, ntp.middle());
        Fact::ReferenceTime { by: self.config.ssrc, ntp }
    }

    fn answers_to_references(&mut self, now: Stamp, by: u32) -> Vec<Fact> {
        let references = core::mem::take(&mut self.references).into_iter().take(BLOCKS_A_PACKET);
        references
            .map(|(ssrc, (last, came))| Fact::SinceReference { by, ssrc, last, delay: units_of(now.since(came)) })
            .collect()
    }

    fn outgoing(&mut self, to: Option<Route>, facts: &[Fact]) -> Outgoing {
        let mut packet = Vec::new();
        write_control(facts, &mut packet);
        self.timer.count(packet.len());
        Outgoing { to, packet }
    }

    fn handle_report(&mut self, by: u32, block: &Block, arrived: Stamp) {
        let Some(sender) = self.senders.get(&block.ssrc) else { return };
        if block.last_sr != 0 && !sender.reports.contains(&block.last_sr) {
            self.refused += 1;
            return;
        }
        let round_trip_ns = if block.last_sr == 0 { None } else { round_trip(arrived, block.last_sr, block.delay) };
        if self.reported.len() >= MAX_REPORTS {
            self.reported.pop_front();
        }
        self.reported.push_back(RemoteReport {
            ssrc: block.ssrc,
            by,
            fraction_lost: f64::from(block.fraction_lost) / 256.0,
            packets_lost: block.lost,
            jitter_ns: sender.clock.ns(u64::from(block.jitter)),
            round_trip_ns,
        });
    }

    /// The lasting name of a stream of ours.
    pub fn cname(&self, ssrc: u32) -> Option<&str> {
        self.senders.get(&ssrc).map(|sender| sender.cname.as_str())
    }

    /// Whether an SSRC is our own.
    pub fn is_own(&self, ssrc: u32) -> bool {
        ssrc == self.config.ssrc || self.senders.contains_key(&ssrc)
    }

    fn meet(&mut self, ssrc: u32, now: Stamp) {
        if self.is_own(ssrc) {
            return;
        }
        if self.members.len() < MAX_MEMBERS || self.members.contains_key(&ssrc) {
            self.members.insert(ssrc, now);
            self.count_members();
        }
    }

    fn count_members(&mut self) {
        self.timer.members = self.members.len() + self.senders.len().max(1);
        self.timer.senders = self.senders.len();
    }
}

fn may_send(receiver: &mut Receiver, outgoing: &Outgoing) -> bool {
    outgoing.to.is_none_or(|route| receiver.may_answer(route, outgoing.packet.len()))
}

fn remember(list: &mut VecDeque<u32>, middle: u32) {
    if list.len() >= MAX_REMEMBERED {
        list.pop_front();
    }
    list.push_back(middle);
}

/// Time of arrival, minus the time of the report answered, minus how long the answer took (RFC 3550, figure 2).
fn round_trip(arrived: Stamp, last: u32, delay: u32) -> Option<i64> {
    let units = NtpTime::of(arrived).middle().wrapping_sub(last).wrapping_sub(delay);
    // Clocks count in 15 us here, so that a short way may look shorter than none.
    let units = if (units as i32) < 0 { 0 } else { units };
    // An hour there and back is no way but a lie.
    (units < 3600 << 16).then(|| ns_of(units))
}
