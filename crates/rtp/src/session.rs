//! One member of a session: what it hears, what it says.

use vox_frame::{EndReason, Record, Stamp};

use crate::control::{Control, ControlConfig, Outgoing};
use crate::heard::Route;
use crate::receiver::{Receiver, ReceiverConfig};
use crate::rtcp::read_control;

/// A [`Receiver`] and the [`Control`] beside it: datagrams in, records and RTCP out.
#[derive(Debug)]
pub struct Session {
    /// What is heard.
    pub receiver: Receiver,
    /// What is said of it, and of what is sent.
    pub control: Control,
}

/// What a datagram is, as far as its first bytes tell (RFC 5761, section 4; RFC 7983).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RTP.
    Rtp,
    /// RTCP.
    Rtcp,
    /// Neither.
    Other,
}

impl Protocol {
    /// Tells by the version and the packet type.
    pub const fn of(datagram: &[u8]) -> Self {
        match datagram {
            [first, second, ..] if *first >> 6 == 2 => {
                if *second >= 192 && *second <= 223 {
                    Self::Rtcp
                } else {
                    Self::Rtp
                }
            }
            _ => Self::Other,
        }
    }
}

impl Session {
    /// A member that begins now.
    pub fn new(now: Stamp, receiver: ReceiverConfig, control: ControlConfig) -> Self {
        let mut receiver = Receiver::new(receiver);
        receiver.add_own(control.ssrc);
        Self { receiver, control: Control::new(now, control) }
    }

    /// Takes a datagram that `socket` received by `route` at `arrived` and that is read at `now`.
    ///
    /// # Errors
    /// Only those of `out`. Bad datagrams are counted.
    pub fn handle_datagram<E>(
        &mut self,
        now: Stamp,
        socket: u32,
        route: Route,
        arrived: Stamp,
        datagram: &[u8],
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if Protocol::of(datagram) != Protocol::Rtcp {
            return self.receiver.handle_datagram(now, socket, route.to, arrived, datagram, out);
        }
        self.handle_control(now, socket, route, arrived, datagram);
        Ok(())
    }

    /// As [`handle_datagram`](Self::handle_datagram), where only RTCP is listened to.
    pub fn handle_control(&mut self, now: Stamp, socket: u32, route: Route, arrived: Stamp, datagram: &[u8]) {
        let Ok(facts) = read_control(datagram) else {
            self.receiver.count_malformed();
            return;
        };
        self.receiver.handle_control(now, socket, route, arrived, datagram.len(), &facts);
        self.control.handle_facts(now, arrived, datagram.len(), &facts);
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`poll`](Self::poll) has something to do next.
    pub fn next_deadline(&self) -> Stamp {
        let control = self.control.next_deadline();
        self.receiver.next_deadline().map_or(control, |receiver| receiver.min(control))
    }

    /// Ends the streams of sources that are gone.
    ///
    /// # Errors
    /// Only those of `out`.
    pub fn handle_timeout<E>(
        &mut self,
        now: Stamp,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.receiver.handle_timeout(now, out)
    }

    /// The RTCP packets that are due.
    pub fn poll(&mut self, now: Stamp) -> Vec<Outgoing> {
        self.control.poll(now, &mut self.receiver)
    }

    /// Ends every stream; gives the goodbyes that are to be sent.
    ///
    /// # Errors
    /// Only those of `out`.
    pub fn finish<E>(
        &mut self,
        now: Stamp,
        reason: &EndReason,
        out: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<Vec<Outgoing>, E> {
        let goodbyes = self.control.finish(now, &mut self.receiver);
        self.receiver.finish(reason, out)?;
        Ok(goodbyes)
    }
}
