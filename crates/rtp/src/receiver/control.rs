//! What RTCP says of sources, and what is said of them.

use core::net::SocketAddr;
use std::collections::BTreeSet;

use vox_frame::Stamp;

use super::{LEAVE_NS, Receiver};
use crate::heard::Route;
use crate::reception::Reception;
use crate::rtcp::{Block, Fact};

impl Receiver {
    /// Takes what RTCP says of sources, from `from` by `route`.
    ///
    /// # Errors
    /// Only those of `out`. What nobody may say is counted.
    pub fn handle_control(
        &mut self,
        now: Stamp,
        socket: u32,
        route: Route,
        arrived: Stamp,
        bytes: usize,
        facts: &[Fact],
    ) {
        self.stats.packets_rtcp += 1;
        let mut counted = false;
        for fact in facts {
            let ssrc = match fact {
                Fact::Sent { ssrc, .. } | Fact::Name { ssrc, .. } | Fact::Bye(ssrc) | Fact::Present(ssrc) => *ssrc,
                _ => continue,
            };
            if self.own.contains(&ssrc) {
                self.stats.packets_reflected += 1;
                continue;
            }
            let follow = self.config.follow;
            let Some(heard) = self.sources.get_mut(&(socket, ssrc)) else {
                if let Fact::Sent { ntp, rtp, .. } = fact {
                    self.early.keep((socket, ssrc), route.to.ip(), (*ntp, *rtp, arrived));
                }
                continue;
            };
            // The first port that speaks for the source is the one that does, on the address of its packets.
            let known = heard.control.is_none_or(|known| known == route || follow);
            if heard.from.ip() != route.to.ip() || !known {
                self.stats.rtcp_refused += 1;
                continue;
            }
            heard.control = Some(route);
            heard.last_heard = heard.last_heard.max(arrived);
            if !core::mem::replace(&mut counted, true) {
                heard.bytes_in += bytes as u64;
            }
            match fact {
                Fact::Sent { ntp, rtp, .. } => heard.handle_report(*ntp, *rtp, arrived),
                Fact::Name { cname, .. } => heard.cname = Some(cname.clone()),
                Fact::Bye(_) => {
                    heard.leaving.get_or_insert(now);
                    self.wake = Some(self.wake.map_or_else(|| now.plus(LEAVE_NS), |wake| wake.min(now.plus(LEAVE_NS))));
                }
                _ => {}
            }
        }
    }

    /// The reports on every source that something came of since the last, with the way that they go back where the
    /// source has said one.
    pub fn reports(&mut self, now: Stamp) -> Vec<(Option<Route>, Block)> {
        let mut reports = Vec::new();
        for (&(_, ssrc), heard) in &mut self.sources {
            if let Some(block) = heard.block(ssrc, now) {
                reports.push((heard.control, block));
            }
        }
        reports
    }

    /// The way back to the source of `socket` and `ssrc` that its own reports have shown, and what the last report on it
    /// said, with the echo of its own as it is `now`: for what cannot wait for the next report.
    pub fn echo(&self, now: Stamp, socket: u32, ssrc: u32) -> Option<(Route, Block)> {
        let heard = self.sources.get(&(socket, ssrc))?;
        Some((heard.control?, heard.echo(ssrc, now)?))
    }

    /// Whether `bytes` may go back by that way: never more than came from there, so that nobody uses us to flood
    /// another.
    pub fn may_answer(&mut self, route: Route, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let mut sources = self.sources.values_mut().filter(|heard| heard.control == Some(route));
        let Some(heard) = sources.find(|heard| heard.bytes_out + bytes <= heard.bytes_in) else { return false };
        heard.bytes_out += bytes;
        true
    }

    /// How each source is received, with its SSRC and address.
    pub fn receptions(&self) -> impl Iterator<Item = (u32, SocketAddr, &Reception)> {
        let sources = self.sources.iter();
        sources.filter_map(|(&(_, ssrc), heard)| Some((ssrc, heard.from, heard.reception.as_ref()?)))
    }

    /// Counts a datagram that is neither RTP nor RTCP.
    pub const fn count_malformed(&mut self) {
        self.stats.packets_malformed += 1;
    }

    /// The ways by which sources have spoken.
    pub fn routes(&self) -> Vec<Route> {
        let routes: BTreeSet<Route> = self.sources.values().filter_map(|heard| heard.control).collect();
        routes.into_iter().collect()
    }

    /// The lasting names of sources that have told one.
    pub fn names(&self) -> impl Iterator<Item = (u32, &str)> {
        self.sources.iter().filter_map(|(&(_, ssrc), heard)| Some((ssrc, heard.cname.as_deref()?)))
    }
}
