//! How long an Opus packet lasts, from its first bytes alone (RFC 6716, section 3).

/// Ticks of the 48 kHz clock that an Opus packet lasts, or none when it is no Opus packet.
pub fn opus_ticks(packet: &[u8]) -> Option<u32> {
    let (&toc, rest) = packet.split_first()?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(rest.first()? & 0x3f),
    };
    let ticks = frames * frame_ticks(toc >> 3);
    // A packet holds no more than 120 ms (section 3.2.5, requirement R5) and at least one frame.
    (1..=5760).contains(&ticks).then_some(ticks)
}

/// Ticks at 48 kHz of one frame of that configuration (RFC 6716, table 2).
const fn frame_ticks(configuration: u8) -> u32 {
    match configuration {
        // SILK: 10, 20, 40, 60 ms
        0..=11 => [480, 960, 1920, 2880][(configuration & 3) as usize],
        // Hybrid: 10, 20 ms
        12..=15 => [480, 960][(configuration & 1) as usize],
        // CELT: 2.5, 5, 10, 20 ms
        _ => [120, 240, 480, 960][(configuration & 3) as usize],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_contents_gives_the_duration() {
        for (toc, ticks) in
            [(0b0100_1000, 960), (0b0001_1000, 2880), (0b0110_0000, 480), (0b1000_0000, 120), (0b1111_1001, 1920)]
        {
            assert_eq!(opus_ticks(&[toc, 0]), Some(ticks), "toc {toc:#010b}");
        }
        assert_eq!(opus_ticks(&[0b1111_1011, 6]), Some(5760));
    }

    #[test]
    fn impossible_packets_have_no_duration() {
        assert_eq!(opus_ticks(&[]), None);
        assert_eq!(opus_ticks(&[3]), None);
        assert_eq!(opus_ticks(&[0b1111_1011, 0]), None);
        assert_eq!(opus_ticks(&[0b1111_1011, 7]), None);
    }
}
