//! What waits to be written to one TCP peer: whole packets, in bounded time and space.

use std::collections::VecDeque;
use std::io;

/// The most bytes that wait, whatever their age.
const MAX_BYTES: usize = 256 * 1024;

/// Packets for one peer. When it is too slow, the oldest give way: only its own audio suffers.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// When each was put in, in ns, and its bytes.
    packets: VecDeque<(i64, Vec<u8>)>,
    bytes: usize,
    /// How much of the first is written.
    written: usize,
    dropped: u64,
}

impl Queue {
    /// Puts in a framed packet, `now`; what is older than `max_age` ns gives way.
    pub(crate) fn push(&mut self, now: i64, framed: Vec<u8>, max_age: Option<i64>) {
        self.bytes += framed.len();
        self.packets.push_back((now, framed));
        // Half a packet cannot be taken back.
        let first = usize::from(self.written > 0);
        while let Some((since, _)) = self.packets.get(first).filter(|_| self.packets.len() > first + 1) {
            let is_old = max_age.is_some_and(|max_age| now - since > max_age);
            if !is_old && self.bytes <= MAX_BYTES {
                break;
            }
            if let Some((_, packet)) = self.packets.remove(first) {
                self.bytes -= packet.len();
                self.dropped += 1;
            }
        }
    }

    /// Writes as much as `write` takes: it says how much that was, or none.
    pub(crate) fn flush(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<Option<usize>>) -> io::Result<()> {
        while let Some((_, packet)) = self.packets.front() {
            let Some(bytes) = write(&packet[self.written..])? else { return Ok(()) };
            self.written += bytes;
            if self.written >= packet.len() {
                self.bytes -= packet.len();
                self.written = 0;
                self.packets.pop_front();
            }
        }
        Ok(())
    }

    /// Whether everything is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// How many packets were dropped since last asked.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut Queue) -> Vec<u8> {
        let mut got = Vec::new();
        queue
            .flush(|bytes| {
                got.extend_from_slice(bytes);
                Ok(Some(bytes.len()))
            })
            .unwrap();
        got
    }

    #[test]
    fn the_oldest_give_way_and_half_a_packet_never_does() {
        let mut queue = Queue::default();
        queue.push(0, vec![0; 10], Some(100));
        let mut room = 4;
        queue.flush(|_| Ok(if std::mem::take(&mut room) == 0 { None } else { Some(4) })).unwrap();
        for at in 1..=5u8 {
            queue.push(i64::from(at) * 50, vec![at; 10], Some(100));
        }
        assert_eq!(queue.take_dropped(), 2);
        assert_eq!(drain(&mut queue), [&[0; 6][..], &[3; 10], &[4; 10], &[5; 10]].concat());
        assert!(queue.is_empty() && queue.bytes == 0);
    }

    #[test]
    fn a_peer_that_never_reads_costs_bounded_memory() {
        let mut queue = Queue::default();
        for at in 0..100_000 {
            queue.push(at, vec![0; 1000], None);
            assert!(queue.bytes <= MAX_BYTES + 1000);
        }
        assert_eq!(queue.take_dropped() as usize + queue.packets.len(), 100_000);
    }
}
