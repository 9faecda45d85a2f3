//! Sequence numbers on the way to one listener: what is held back leaves no hole.

/// How far behind the highest number a packet may come and still count as reordered (RFC 3550, A.1).
const MAX_MISORDER: i16 = 100;

/// The order of the packets of one stream, as they come in.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Order {
    highest: Option<u16>,
}

/// Where a packet stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// That many numbers ahead of all before it (1 for the next one).
    Ahead(u16),
    /// Reordered or a duplicate.
    Behind,
}

impl Order {
    /// Takes the number of the next packet. The sender is known by its key, so a jump is believed at once.
    pub(crate) fn handle(&mut self, sequence: u16) -> Place {
        let Some(highest) = self.highest else {
            self.highest = Some(sequence);
            return Place::Ahead(1);
        };
        let step = sequence.wrapping_sub(highest);
        if (-MAX_MISORDER..=0).contains(&(step as i16)) {
            return Place::Behind;
        }
        self.highest = Some(sequence);
        Place::Ahead(step)
    }
}

/// The numbers of one stream for one listener.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Munger {
    /// Numbers that were swallowed so far.
    offset: u16,
    /// The last number that was swallowed: nothing up to it is forwarded any more.
    boundary: Option<u16>,
    /// Whether the next packet begins a talk spurt.
    marker: bool,
}

impl Munger {
    /// A packet that this listener does not hear.
    pub(crate) fn swallow(&mut self, sequence: u16, place: Place) {
        if let Place::Ahead(step) = place {
            self.offset = self.offset.wrapping_add(step);
            self.boundary = Some(sequence);
            self.marker = true;
        }
    }

    /// The number of a packet that it hears, and whether it begins a talk spurt; none for one that comes too late.
    pub(crate) fn forward(&mut self, sequence: u16, place: Place) -> Option<(u16, bool)> {
        if let Some(boundary) = self.boundary {
            let after = sequence.wrapping_sub(boundary) as i16;
            match place {
                Place::Behind if after <= 0 => return None,
                Place::Ahead(_) if after > MAX_MISORDER => self.boundary = None,
                Place::Ahead(_) | Place::Behind => {}
            }
        }
        if let Place::Ahead(step) = place
            && step >= 0x8000
        {
            // Numbers that went back: the sender has begun anew. Numbers of a listener never do.
            self.offset = self.offset.wrapping_add(step - 1);
            self.marker = true;
        }
        let marker = std::mem::take(&mut self.marker);
        Some((sequence.wrapping_sub(self.offset), marker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a listener gets of packets by (number, heard).
    fn heard(packets: &[(u16, bool)]) -> Vec<(u16, bool)> {
        let (mut order, mut munger) = (Order::default(), Munger::default());
        let mut out = Vec::new();
        for &(sequence, open) in packets {
            let place = order.handle(sequence);
            if open {
                out.extend(munger.forward(sequence, place));
            } else {
                munger.swallow(sequence, place);
            }
        }
        out
    }

    #[test]
    fn what_is_all_heard_keeps_its_numbers_and_its_losses() {
        let packets = [(65_534, true), (65_535, true), (1, true), (0, true), (2, true)];
        let expected = [(65_534, false), (65_535, false), (1, false), (0, false), (2, false)];
        assert_eq!(heard(&packets), expected);
    }

    #[test]
    fn what_is_held_back_leaves_no_hole_and_the_next_begins_a_talk_spurt() {
        let packets = [(10, true), (11, false), (12, false), (13, true), (14, true)];
        assert_eq!(heard(&packets), [(10, false), (11, true), (12, false)]);
    }

    #[test]
    fn what_was_lost_while_held_back_leaves_no_hole_either() {
        let packets = [(10, true), (12, false), (15, true)];
        // 13 and 14 were lost on the way here, after the listener could hear again.
        assert_eq!(heard(&packets), [(10, false), (13, true)]);
    }

    #[test]
    fn a_late_packet_from_before_the_silence_is_not_heard_after_it() {
        let packets = [(10, true), (12, false), (13, true), (11, true), (14, true)];
        assert_eq!(heard(&packets), [(10, false), (11, true), (12, false)]);
    }

    #[test]
    fn a_jump_is_passed_on() {
        assert_eq!(
            heard(&[(10, true), (30_000, true), (30_001, true)]),
            [(10, false), (30_000, false), (30_001, false)]
        );
    }

    #[test]
    fn a_sender_that_begins_anew_goes_on_where_it_was() {
        assert_eq!(heard(&[(1_000, true), (10, true), (11, true)]), [(1_000, false), (1_001, true), (1_002, false)]);
    }
}
