//! Live bars on a terminal, a line a stream.

use std::io::Write;

use rustix::termios::tcgetwinsize;
use vox_sys::monotonic_ns;

use crate::account::Account;
use crate::level::SILENCE_DB;

/// How often the bars are drawn, in ns.
const DRAW_NS: i64 = 100_000_000;

/// Where a bar begins, in dB.
const FLOOR_DB: f64 = -60.0;

/// The widest a bar gets, in columns.
const WIDEST: usize = 40;

/// Columns of a line beside the bar.
const BESIDE: usize = 84;

/// What is drawn on stderr.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    drawn_ns: i64,
    lines: usize,
}

impl Bars {
    /// Draws the streams, if it is time to.
    pub(crate) fn draw<'a>(&mut self, accounts: impl Iterator<Item = &'a Account>) {
        let now = monotonic_ns();
        if now - self.drawn_ns < DRAW_NS {
            return;
        }
        self.redraw(accounts);
    }

    /// Draws the streams.
    pub(crate) fn redraw<'a>(&mut self, accounts: impl Iterator<Item = &'a Account>) {
        self.drawn_ns = monotonic_ns();
        let (columns, rows) = size();
        let width = columns.saturating_sub(BESIDE).clamp(10, WIDEST);
        let shown: Vec<String> =
            accounts.take(rows.saturating_sub(1).max(1)).map(|account| line(account, width)).collect();
        let mut text = String::new();
        if self.lines > 0 {
            text.push_str(&format!("\x1b[{}A", self.lines));
        }
        for line in &shown {
            text.push_str("\r\x1b[2K");
            text.extend(line.chars().take(columns));
            text.push('\n');
        }
        // Lines of streams that are gone.
        text.push_str("\x1b[J");
        self.lines = shown.len();
        let _unseen = std::io::stderr().write_all(text.as_bytes());
    }
}

/// `label  ████████▌·····│  -12.3 dB  rms -20.1  -23.0 LUFS  talk  lost 0.5 %  buffer [███··] 60/80 ms  latency 95 ms`
fn line(account: &Account, width: usize) -> String {
    let reading = account.level.peek();
    let name: String =
        account.format.label.clone().unwrap_or_else(|| account.id.to_string()).chars().take(12).collect();
    let mut text = format!(
        "{name:<12} {} {:>6.1} dB  rms {:>6.1}  {:>6.1} LUFS  {}  lost {:.1} %",
        level_bar(reading.rms_db, account.level.bar_peak_db(), width),
        account.level.bar_peak_db(),
        reading.rms_db,
        reading.short_term,
        if account.level.talks() { "talk" } else { "    " },
        account.lost_percent(),
    );
    if let Some((fill, most)) = account.fill() {
        let share = fill as f64 / most.max(1) as f64;
        text.push_str(&format!("  buffer [{}] {}/{} ms", bar(share, 8), fill / 1_000_000, most / 1_000_000));
    }
    if let Some(latency) = account.latency {
        text.push_str(&format!("  latency {} ms", latency / 1_000_000));
    }
    text
}

/// A bar up to the RMS level, with a tick at the peak.
fn level_bar(rms_db: f64, peak_db: f64, width: usize) -> String {
    let share = |db: f64| ((db.max(SILENCE_DB) - FLOOR_DB) / -FLOOR_DB).clamp(0.0, 1.0);
    let peak = ((share(peak_db) * width as f64).ceil() as usize).min(width);
    let mut cells: Vec<char> = bar(share(rms_db), width).chars().collect();
    if let Some(cell) = peak.checked_sub(1).and_then(|at| cells.get_mut(at))
        && *cell == '·'
    {
        *cell = '│';
    }
    cells.into_iter().collect()
}

/// A bar in eighths of a column.
fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [char; 8] = ['·', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let cell = |at: usize| match eighths.saturating_sub(at * 8) {
        full if full >= 8 => '█',
        part => EIGHTHS[part],
    };
    (0..width).map(cell).collect()
}

fn size() -> (usize, usize) {
    tcgetwinsize(std::io::stderr())
        .map_or((80, 24), |size| (usize::from(size.ws_col).max(20), usize::from(size.ws_row).max(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_drawn_in_eighths() {
        assert_eq!(bar(0.0, 4), "····");
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.5, 4), "██··");
        assert_eq!(bar(0.40625, 4), "█▋··");
    }

    #[test]
    fn the_peak_is_a_tick_beyond_the_bar() {
        assert_eq!(level_bar(-30.0, -7.0, 8), "████···│");
        assert_eq!(level_bar(-120.0, -120.0, 8), "········");
        assert_eq!(level_bar(0.0, 0.0, 8), "████████");
    }
}
