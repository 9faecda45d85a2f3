//! A recorded network as a table: what became of each packet, or the delay from a time on.

use thiserror::Error;

/// The most rows that a trace may have: 11 hours of a packet every 20 ms.
const MAX_ROWS: usize = 2_000_000;

/// The longest delay that a trace may hold, in ms.
const MAX_DELAY_MS: f64 = 3_600_000.0;

/// The longest trace, in ms: eleven days.
const MAX_AT_MS: f64 = 1e9;

/// The delays and losses of a recorded network.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    rows: Vec<Row>,
    /// Whether rows are told by time, not by packet.
    timed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Row {
    /// From when on it holds; only for timed rows.
    at_ns: i64,
    /// None where the packet was lost.
    delay_ns: Option<i64>,
}

/// Why a text is no trace.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TraceError {
    /// It has no rows.
    #[error("it has no rows")]
    Empty,
    /// It has no column `delay_ms`.
    #[error("line 1 names columns, none of them is delay_ms")]
    NoDelay,
    /// It has too many rows.
    #[error("it has more than {MAX_ROWS} rows")]
    TooLong,
    /// A field is no number.
    #[error("line {0}: {1:?} is no time in ms")]
    Number(usize, String),
    /// Times go back.
    #[error("line {0}: at_ms goes back")]
    Order(usize),
}

impl Trace {
    /// Reads a table of comma-separated values: a line a packet with its delay in ms, or `lost`. A first line of names
    /// says otherwise: `delay_ms`, `lost` (1 where it was), and `at_ms` where rows hold from a time on instead of for a
    /// packet each; other columns are left aside. Empty lines and those that begin with `#` are too.
    ///
    /// # Errors
    /// Where it is no such table.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .peekable();
        let columns = match lines.peek() {
            Some((_, line)) if line.contains("delay_ms") || line.contains("at_ms") => {
                let columns = Columns::named(line)?;
                lines.next();
                columns
            }
            _ => Columns { delay: 0, lost: None, at: None },
        };
        let mut rows: Vec<Row> = Vec::new();
        for (number, line) in lines {
            let row = columns.row(number, line)?;
            if columns.at.is_some() && rows.last().is_some_and(|last| row.at_ns < last.at_ns) {
                return Err(TraceError::Order(number));
            }
            if rows.len() == MAX_ROWS {
                return Err(TraceError::TooLong);
            }
            rows.push(row);
        }
        if rows.is_empty() {
            return Err(TraceError::Empty);
        }
        Ok(Self { rows, timed: columns.at.is_some() })
    }

    /// Rows.
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no rows: never.
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Which field of a line is what.
struct Columns {
    delay: usize,
    lost: Option<usize>,
    at: Option<usize>,
}

impl Columns {
    fn named(line: &str) -> Result<Self, TraceError> {
        let find = |name| line.split(',').position(|column| column.trim().trim_matches('"') == name);
        let delay = find("delay_ms").ok_or(TraceError::NoDelay)?;
        Ok(Self { delay, lost: find("lost"), at: find("at_ms") })
    }

    fn row(&self, number: usize, line: &str) -> Result<Row, TraceError> {
        let field = |index: usize| line.split(',').nth(index).unwrap_or_default().trim();
        let time = |text: &str, most: f64| {
            let ms = text.parse::<f64>().ok().filter(|ms| (0.0..=most).contains(ms));
            ms.map(|ms| (ms * 1e6).round() as i64).ok_or_else(|| TraceError::Number(number, text.to_owned()))
        };
        let is_lost = field(self.delay) == "lost" || self.lost.is_some_and(|lost| matches!(field(lost), "1" | "true"));
        let delay_ns = if is_lost { None } else { Some(time(field(self.delay), MAX_DELAY_MS)?) };
        let at_ns = self.at.map_or(Ok(0), |at| time(field(at), MAX_AT_MS))?;
        Ok(Row { at_ns, delay_ns })
    }
}

/// A trace as it is played; it begins anew at its end.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    trace: Trace,
    next: usize,
    /// When the present round began, in ns; for timed rows.
    round_ns: i64,
}

impl Replay {
    pub(crate) const fn new(trace: Trace) -> Self {
        Self { trace, next: 0, round_ns: 0 }
    }

    /// The delay of the next packet, sent at `at_ns`; none where it is lost.
    pub(crate) fn pass(&mut self, at_ns: i64) -> Option<i64> {
        let rows = &self.trace.rows;
        if !self.trace.timed {
            let row = rows[self.next % rows.len()];
            self.next = (self.next + 1) % rows.len();
            return row.delay_ns;
        }
        // The last row holds as long as the mean of the others.
        let span = rows[rows.len() - 1].at_ns;
        let length = (span + span / (rows.len() as i64 - 1).max(1)).max(1);
        let into = at_ns.saturating_sub(self.round_ns).max(0);
        if into >= length {
            self.round_ns = self.round_ns.saturating_add(into / length * length);
            self.next = 0;
        }
        let into = at_ns.saturating_sub(self.round_ns).max(0);
        while rows.get(self.next + 1).is_some_and(|row| row.at_ns <= into) {
            self.next += 1;
        }
        rows[self.next].delay_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_a_packet_is_played_round_and_round() {
        let mut replay = Replay::new(Trace::parse("# ours\n20\n\n30.5\nlost\n").unwrap());
        let played: Vec<_> = (0..5).map(|n| replay.pass(n * 20_000_000)).collect();
        let (a, b) = (Some(20_000_000), Some(30_500_000));
        assert_eq!(played, [a, b, None, a, b]);
    }

    #[test]
    fn timed_rows_hold_from_their_time_on() {
        let text = "lost,at_ms,what,delay_ms\n0,0,x,10\n0,100,y,20\n1,200,z,0\n";
        let mut replay = Replay::new(Trace::parse(text).unwrap());
        let at = |ms: i64, replay: &mut Replay| replay.pass(ms * 1_000_000);
        assert_eq!(at(0, &mut replay), Some(10_000_000));
        assert_eq!(at(99, &mut replay), Some(10_000_000));
        assert_eq!(at(150, &mut replay), Some(20_000_000));
        assert_eq!(at(250, &mut replay), None);
        assert_eq!(at(301, &mut replay), Some(10_000_000));
        assert_eq!(at(1_350, &mut replay), Some(20_000_000), "four rounds later");
    }

    #[test]
    fn what_is_no_trace_says_why() {
        assert_eq!(Trace::parse("\n# nothing\n"), Err(TraceError::Empty));
        assert_eq!(Trace::parse("at_ms,loss\n"), Err(TraceError::NoDelay));
        assert_eq!(Trace::parse("20\nx\n"), Err(TraceError::Number(2, "x".to_owned())));
        assert_eq!(Trace::parse("-1\n"), Err(TraceError::Number(1, "-1".to_owned())));
        assert_eq!(Trace::parse("at_ms,delay_ms\n5,1\n4,1\n"), Err(TraceError::Order(3)));
    }
}
