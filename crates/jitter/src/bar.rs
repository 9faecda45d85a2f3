//! How full the buffer is, for whoever looks at a terminal.

use std::io::{IsTerminal, Write};

use vox_frame::Stamp;

use crate::lane::Lane;

/// How often it is drawn, in ns.
const EVERY_NS: i64 = 100_000_000;

/// Its length in characters.
const LENGTH: i64 = 40;

/// A line on stderr that is drawn over and over.
pub(crate) struct Bar {
    drawn: Option<Stamp>,
    width: usize,
}

impl Bar {
    /// A bar where stderr is a terminal.
    pub(crate) fn new() -> Option<Self> {
        std::io::stderr().is_terminal().then_some(Self { drawn: None, width: 0 })
    }

    /// Draws the first stream, if it is time.
    pub(crate) fn draw(&mut self, now: Stamp, lane: &Lane, streams: usize) {
        if self.drawn.is_some_and(|drawn| now.since(drawn) < EVERY_NS) {
            return;
        }
        self.drawn = Some(now);
        let stats = lane.stats();
        let played = stats.jitter_buffer_emitted_count + stats.repaired_ticks + stats.concealed_ticks;
        let concealed = 100.0 * stats.concealed_ticks as f64 / played.max(1) as f64;
        let text = line(lane.held().1, lane.aim().0, concealed, streams);
        self.show(&text);
    }

    /// Leaves the terminal as it was.
    pub(crate) fn clear(&mut self) {
        self.show("");
    }

    fn show(&mut self, text: &str) {
        let width = text.chars().count();
        let blank = self.width.saturating_sub(width);
        self.width = width;
        // Nobody is told when a terminal goes away.
        let _ = write!(std::io::stderr(), "\r{text}{:blank$}\r{text}", "");
    }
}

fn line(held_ns: i64, target_ns: Option<i64>, concealed: f64, streams: usize) -> String {
    let target = target_ns.unwrap_or(held_ns).max(1);
    let full = target.saturating_mul(2).max(held_ns).max(20_000_000);
    let at = |ns: i64| (i128::from(ns) * i128::from(LENGTH - 1) / i128::from(full)) as i64;
    let cell = |n: i64| match n {
        _ if target_ns.is_some() && n == at(target) => '|',
        _ if n < at(held_ns) => '#',
        _ => '.',
    };
    let cells: String = (0..LENGTH).map(cell).collect();
    let aim = target_ns.map_or_else(String::new, |target| format!(" of {:.0}", target as f64 / 1e6));
    let more = if streams > 1 { format!(", {streams} streams") } else { String::new() };
    format!("[{cells}] {:.0}{aim} ms, {concealed:.2} % concealed{more}", held_ns as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn the_bar_shows_what_is_held_and_where_it_should_be() {
        let text = line(30 * MS, Some(60 * MS), 0.25, 1);
        assert_eq!(text, "[#########..........|....................] 30 of 60 ms, 0.25 % concealed");
        assert!(line(80 * MS, None, 0.0, 3).ends_with("80 ms, 0.00 % concealed, 3 streams"));
    }

    #[test]
    fn nothing_that_can_be_held_breaks_it() {
        for held in [0, 1, i64::MAX] {
            for target in [None, Some(0), Some(i64::MAX)] {
                assert_eq!(line(held, target, f64::NAN, 0).chars().position(|c| c == ']'), Some(41));
            }
        }
    }
}
