//! Recorded arrivals.

use vox_frame::Stamp;

/// A packet as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// When.
    pub at: Stamp,
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// What it carried.
    pub payload: &'a [u8],
}

/// The packets of a trace, in the order of arrival: `{f64 arrival in ms, u16 sequence, u32 timestamp, u32 length,
/// payload}`, all little endian. Ends at the first record that is not whole.
pub fn arrivals(mut bytes: &[u8]) -> impl Iterator<Item = Arrival<'_>> {
    core::iter::from_fn(move || {
        let (&at, rest) = bytes.split_first_chunk()?;
        let (&sequence, rest) = rest.split_first_chunk()?;
        let (&timestamp, rest) = rest.split_first_chunk()?;
        let (&length, rest) = rest.split_first_chunk()?;
        let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(length) as usize)?;
        bytes = rest;
        Some(Arrival {
            at: Stamp::from_ns((f64::from_le_bytes(at) * 1e6).round() as i64),
            sequence: u16::from_le_bytes(sequence),
            timestamp: u32::from_le_bytes(timestamp),
            payload,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_up_to_where_it_breaks_off() {
        let mut bytes = Vec::new();
        for number in 0..3u16 {
            bytes.extend_from_slice(&(f64::from(number) * 20.5).to_le_bytes());
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&(u32::from(number) * 960).to_le_bytes());
            bytes.extend_from_slice(&5u32.to_le_bytes());
            bytes.extend_from_slice(b"audio");
        }
        bytes.pop();
        let read: Vec<_> = arrivals(&bytes).collect();
        assert_eq!(read.len(), 2);
        let last = Arrival { at: Stamp::from_ns(20_500_000), sequence: 1, timestamp: 960, payload: b"audio" };
        assert_eq!(read[1], last);
    }
}
