//! Whether a packet's sequence number belongs to its source: RFC 3550, appendix A.1.

/// Packets in sequence before a source is taken for one (RFC 3550, A.1).
pub const MIN_SEQUENTIAL: u32 = 2;
/// The widest hole in sequence numbers that counts as loss, in packets (RFC 3550, A.1).
pub const MAX_DROPOUT: u16 = 3000;
/// How far behind the highest number a packet may come and still count as reordered (RFC 3550, A.1).
pub const MAX_MISORDER: u16 = 100;

/// The sequence state of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waiting for `needed` more packets in sequence.
    Probation { expected: u16, needed: u32 },
    /// Heard. `suspect` is the number that would confirm a restart, after a packet out of all range.
    Valid { highest: u16, suspect: Option<u16> },
}

/// What a packet's sequence number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Not yet known to be of a source, or far outside the source's range: keep it until it is.
    Held,
    /// With this packet the source is valid: those held before it are part of it.
    Confirmed,
    /// Next in order, or after a loss.
    InOrder,
    /// Behind the highest number: reordered or a duplicate.
    Misordered,
    /// Second packet in sequence far outside the range: the sender has restarted, and the one held before is its first.
    Restarted,
}

impl Source {
    /// The state before its first packet, which has number `sequence`.
    pub const fn new(sequence: u16) -> Self {
        Self { state: State::Probation { expected: sequence, needed: MIN_SEQUENTIAL } }
    }

    /// Whether the source has passed its probation.
    pub const fn is_valid(&self) -> bool {
        matches!(self.state, State::Valid { .. })
    }

    /// Takes the next packet's number.
    pub fn handle(&mut self, sequence: u16) -> Admission {
        match self.state {
            State::Probation { expected, needed } => self.probe(sequence, expected, needed),
            State::Valid { highest, suspect } => self.update(sequence, highest, suspect),
        }
    }

    fn probe(&mut self, sequence: u16, expected: u16, needed: u32) -> Admission {
        let needed = if sequence == expected { needed - 1 } else { MIN_SEQUENTIAL - 1 };
        if needed == 0 {
            self.state = State::Valid { highest: sequence, suspect: None };
            return Admission::Confirmed;
        }
        self.state = State::Probation { expected: sequence.wrapping_add(1), needed };
        Admission::Held
    }

    fn update(&mut self, sequence: u16, highest: u16, suspect: Option<u16>) -> Admission {
        let ahead = sequence.wrapping_sub(highest);
        if ahead != 0 && ahead < MAX_DROPOUT {
            self.state = State::Valid { highest: sequence, suspect: None };
            Admission::InOrder
        } else if ahead == 0 || ahead > (u16::MAX - MAX_MISORDER) + 1 {
            Admission::Misordered
        } else if suspect == Some(sequence) {
            self.state = State::Valid { highest: sequence, suspect: None };
            Admission::Restarted
        } else {
            self.state = State::Valid { highest, suspect: Some(sequence.wrapping_add(1)) };
            Admission::Held
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(numbers: &[u16]) -> Vec<Admission> {
        let mut source = Source::new(numbers[0]);
        numbers.iter().map(|&number| source.handle(number)).collect()
    }

    #[test]
    fn two_packets_in_sequence_make_a_source() {
        assert_eq!(run(&[7, 8, 9]), [Admission::Held, Admission::Confirmed, Admission::InOrder]);
        assert_eq!(run(&[65_535, 0]), [Admission::Held, Admission::Confirmed]);
    }

    #[test]
    fn packets_out_of_sequence_stay_on_probation() {
        assert_eq!(run(&[7, 9, 12, 13]), [Admission::Held, Admission::Held, Admission::Held, Admission::Confirmed]);
        assert_eq!(run(&[7, 7, 7]), [Admission::Held; 3]);
    }

    #[test]
    fn a_loss_within_the_dropout_is_in_order() {
        assert_eq!(run(&[0, 1, 3000])[2], Admission::InOrder);
        assert_eq!(run(&[0, 1, 3001])[2], Admission::Held);
    }

    #[test]
    fn reordering_up_to_the_limit_is_let_through() {
        assert_eq!(run(&[999, 1000, 1000])[2], Admission::Misordered);
        assert_eq!(run(&[999, 1000, 901])[2], Admission::Misordered);
        assert_eq!(run(&[999, 1000, 900])[2], Admission::Held);
    }

    #[test]
    fn a_restart_takes_two_packets_in_sequence() {
        assert_eq!(
            run(&[0, 1, 30_000, 30_001, 30_002])[2..],
            [Admission::Held, Admission::Restarted, Admission::InOrder]
        );
    }

    #[test]
    fn one_stray_packet_does_not_restart_a_source() {
        assert_eq!(run(&[0, 1, 30_000, 2, 30_001])[2..], [Admission::Held, Admission::InOrder, Admission::Held]);
    }
}
