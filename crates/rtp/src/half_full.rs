//! The jitter rule of the TCP streamer: a queue that plays from when it is half full.

/// What becomes of a packet that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queued {
    /// It waits for its turn.
    Kept,
    /// The queue is too long, or was and has not drained to half since.
    Refused,
    /// There is no queue: it is played at once.
    Bypassed,
}

/// Decides as the TCP streamer does, packet by packet and tick by tick: plays from when the queue is half full until
/// it is empty, and refuses packets from when it is overfull until it has drained to half. It holds no packets, only
/// their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfFull {
    most: u32,
    count: u32,
    playing: bool,
    draining: bool,
}

impl HalfFull {
    /// The number of packets that the TCP streamer has by default.
    pub const DEFAULT: u32 = 20;

    /// A queue of `most` packets; fewer than 2 are none.
    pub const fn new(most: u32) -> Self {
        Self { most, count: 0, playing: false, draining: false }
    }

    /// A packet arrives.
    pub const fn handle_packet(&mut self) -> Queued {
        if self.most < 2 {
            return Queued::Bypassed;
        }
        if self.draining && self.count > self.most / 2 {
            return Queued::Refused;
        }
        self.draining = self.count > self.most;
        if self.draining {
            return Queued::Refused;
        }
        self.count += 1;
        self.playing |= self.count >= self.most / 2;
        Queued::Kept
    }

    /// The time of a packet has come, every 20 ms: whether the oldest is played. None is while the queue fills.
    pub const fn handle_tick(&mut self) -> bool {
        if self.count == 0 {
            self.playing = false;
        }
        if self.playing {
            self.count -= 1;
        }
        self.playing
    }

    /// Packets that wait.
    pub const fn len(&self) -> u32 {
        self.count
    }

    /// Whether none waits.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_plays_from_half_full_to_empty_and_waits_for_half_again() {
        let mut queue = HalfFull::new(HalfFull::DEFAULT);
        for round in 0..2 {
            for packet in 0..10 {
                assert!(!queue.handle_tick(), "round {round}, packet {packet}");
                assert_eq!(queue.handle_packet(), Queued::Kept);
            }
            assert_eq!((0..11).filter(|_| queue.handle_tick()).count(), 10);
        }
    }

    #[test]
    fn an_overfull_queue_refuses_packets_until_it_has_drained_to_half() {
        let mut queue = HalfFull::new(20);
        let kept = (0..40).filter(|_| queue.handle_packet() == Queued::Kept).count();
        // An arrival at more than the most is refused: one more than the most fits.
        assert_eq!(kept, 21);
        for _ in 0..10 {
            assert_eq!(queue.handle_packet(), Queued::Refused);
            assert!(queue.handle_tick());
        }
        assert_eq!((queue.len(), queue.handle_packet()), (11, Queued::Refused));
        assert!(queue.handle_tick());
        assert_eq!(queue.handle_packet(), Queued::Kept);
    }

    #[test]
    fn a_queue_of_one_is_none() {
        let mut queue = HalfFull::new(1);
        assert_eq!((queue.handle_packet(), queue.handle_tick(), queue.is_empty()), (Queued::Bypassed, false, true));
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_one_above_the_most(most in 2u32..50, steps in prop::collection::vec(any::<bool>(), 0..500)) {
            let mut queue = HalfFull::new(most);
            for arrives in steps {
                if arrives {
                    queue.handle_packet();
                } else {
                    queue.handle_tick();
                }
                prop_assert!(queue.len() <= most + 1);
            }
        }
    }
}
