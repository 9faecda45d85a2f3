//! Every bound of the server in one place.

/// One second, in ns.
const S: i64 = 1_000_000_000;

/// What strangers may make grow, and how long they are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Rooms at a time, the lobby included.
    pub rooms: usize,
    /// Members of a room.
    pub members: usize,
    /// Rooms that one member may be in.
    pub rooms_each: usize,
    /// Streams that one member may send.
    pub streams_each: usize,
    /// Nicknames that one member may turn a deaf ear to.
    pub ignored_each: usize,
    /// Nicknames that may be registered.
    pub accounts: usize,
    /// Addresses and nicknames that may be banned from the server.
    pub bans: usize,
    /// Nicknames that may be banned from a room.
    pub banned_each: usize,
    /// Members who get a mix at a time.
    pub mixes: usize,
    /// Lines a second that a connection may send, in the long run.
    pub lines_per_s: u32,
    /// Lines that it may send at once.
    pub lines_burst: u32,
    /// Lines beyond that after which it is closed.
    pub lines_excess: u32,
    /// Packets a second that a member may send, in the long run.
    pub packets_per_s: u32,
    /// Packets that it may send at once.
    pub packets_burst: u32,
    /// How long a connection may wait with its CONNECT, in ns.
    pub handshake_ns: i64,
    /// How often a PING is sent, in ns.
    pub ping_ns: i64,
    /// After what silence a connection is dropped, in ns.
    pub silence_ns: i64,
    /// How long a private call rings, in ns.
    pub ring_ns: i64,
    /// How long the seat of a lost connection is kept, in ns.
    pub seat_ns: i64,
    /// After what silence somebody has stopped to talk, in ns.
    pub talk_ns: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            rooms: 1024,
            members: 1000,
            rooms_each: 16,
            streams_each: 8,
            ignored_each: 256,
            accounts: 100_000,
            bans: 65_536,
            banned_each: 256,
            mixes: 1000,
            lines_per_s: 20,
            lines_burst: 200,
            lines_excess: 400,
            packets_per_s: 1000,
            packets_burst: 2000,
            handshake_ns: 15 * S,
            ping_ns: 150 * S,
            silence_ns: 200 * S,
            ring_ns: 30 * S,
            seat_ns: 15 * S,
            talk_ns: 400_000_000,
        }
    }
}

/// A bucket of tokens that fills at a steady rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    /// In billionths of a token, so that any rate is exact.
    level: i64,
    at: i64,
}

impl Bucket {
    pub(crate) const fn full(burst: u32, now_ns: i64) -> Self {
        Self { level: burst as i64 * S, at: now_ns }
    }

    /// Takes a token where there is one.
    pub(crate) fn take(&mut self, now_ns: i64, per_s: u32, burst: u32) -> bool {
        let passed = now_ns.saturating_sub(self.at).max(0);
        self.at = self.at.max(now_ns);
        let most = i64::from(burst) * S;
        self.level = self.level.saturating_add(passed.saturating_mul(i64::from(per_s))).min(most);
        let granted = self.level >= S;
        if granted {
            self.level -= S;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_granted_and_then_the_rate() {
        let mut bucket = Bucket::full(3, 0);
        let granted = (0..10).filter(|_| bucket.take(0, 2, 3)).count();
        assert_eq!(granted, 3);
        assert!(!bucket.take(S / 2 - 1, 2, 3));
        assert!(bucket.take(S / 2, 2, 3));
        let after_a_year = (0..10).filter(|_| bucket.take(365 * 86_400 * S, 2, 3)).count();
        assert_eq!(after_a_year, 3);
    }
}
