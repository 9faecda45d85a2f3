//! The list of edits. All times are of the recording as it comes in, so the order of lines means nothing.

use core::str::FromStr;
use std::path::PathBuf;

/// Ends that reach to the end of the recording.
pub(crate) const FOREVER: i64 = i64::MAX;

/// The most edits of a list.
const MAX_EDITS: usize = 100_000;

/// From one time to another, in ns of the recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// The first ns.
    pub(crate) from: i64,
    /// Behind the last; [`FOREVER`] to the end.
    pub(crate) to: i64,
}

/// What is done to a range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Change {
    /// It is taken out.
    Cut,
    /// What no `keep` names is taken out.
    Keep,
    /// It is silent.
    Silence,
    /// It is louder by that factor.
    Gain(f32),
    /// It comes from silence.
    FadeIn,
    /// It goes to silence.
    FadeOut,
    /// It is that many times as fast, at the same pitch.
    Speed(f64),
    /// Its frequencies are higher by that factor, at the same speed.
    Pitch(f64),
}

/// What comes from a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Other {
    /// The file.
    pub(crate) path: PathBuf,
    /// Where it begins, in ns.
    pub(crate) at: i64,
    /// Whether it is laid over what is there; else what is there moves.
    pub(crate) over: bool,
    /// How loud, as a factor.
    pub(crate) gain: f32,
}

/// A list of edits.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct List {
    /// Changes of ranges.
    pub(crate) changes: Vec<(Range, Change)>,
    /// Files.
    pub(crate) others: Vec<Other>,
}

impl List {
    /// Adds the edits of a text, one a line; `#` begins a comment.
    ///
    /// # Errors
    /// A sentence that names the line.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        for (number, line) in text.lines().enumerate() {
            let words = words(line).map_err(|what| format!("line {}: {what}", number + 1))?;
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if words.is_empty() {
                continue;
            }
            self.edit(&words).map_err(|what| format!("line {}: {what}: `{}`", number + 1, line.trim()))?;
            if self.changes.len() + self.others.len() > MAX_EDITS {
                return Err(format!("more than {MAX_EDITS} edits"));
            }
        }
        self.check()
    }

    fn edit(&mut self, words: &[&str]) -> Result<(), String> {
        let mut change = |range: &str, change| -> Result<(), String> {
            self.changes.push((range.parse()?, change));
            Ok(())
        };
        match *words {
            ["cut", range] => change(range, Change::Cut),
            ["keep", range] => change(range, Change::Keep),
            ["silence", range] => change(range, Change::Silence),
            ["gain", range, db] => change(range, Change::Gain(decibels(db)?)),
            ["fade", range, "in"] => change(range, Change::FadeIn),
            ["fade", range, "out"] => change(range, Change::FadeOut),
            ["speed", range, factor] => change(range, Change::Speed(within(factor, 0.25, 4.0)?)),
            ["pitch", range, steps] => change(range, Change::Pitch(2_f64.powf(within(steps, -24.0, 24.0)? / 12.0))),
            ["insert", path, "at", at] => self.other(path, at, false, "0dB"),
            ["overlay", path, "at", at] => self.other(path, at, true, "0dB"),
            ["insert", path, "at", at, db] => self.other(path, at, false, db),
            ["overlay", path, "at", at, db] => self.other(path, at, true, db),
            _ => Err("no edit (cut, keep, silence, gain, fade, speed, pitch, insert, overlay; see --help)".to_owned()),
        }
    }

    fn other(&mut self, path: &str, at: &str, over: bool, db: &str) -> Result<(), String> {
        let (at, gain) = (time(at)?, decibels(db)?);
        self.others.push(Other { path: path.into(), at, over, gain });
        Ok(())
    }

    /// What cannot be.
    fn check(&self) -> Result<(), String> {
        let mut paced: Vec<Range> = self
            .changes
            .iter()
            .filter(|(_, change)| matches!(change, Change::Speed(_) | Change::Pitch(_)))
            .map(|(range, _)| *range)
            .collect();
        paced.sort_unstable_by_key(|range| range.from);
        if paced.windows(2).any(|pair| pair[1].from < pair[0].to) {
            return Err("ranges of speed and pitch lie over each other".to_owned());
        }
        if self.changes.iter().any(|(range, change)| matches!(change, Change::FadeOut) && range.to == FOREVER) {
            return Err("a fade out needs an end, which nobody knows in a pipe".to_owned());
        }
        Ok(())
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once("..").ok_or("a range is FROM..TO, such as 3s..10s")?;
        let from = if from.is_empty() { 0 } else { time(from)? };
        let to = if to.is_empty() { FOREVER } else { time(to)? };
        if from < to { Ok(Self { from, to }) } else { Err("the range is empty".to_owned()) }
    }
}

/// A time: `3`, `3s`, `500ms`, `2m`, `1:02.5`, `1:02:03`.
fn time(text: &str) -> Result<i64, String> {
    let bad = || format!("`{text}` is no time, such as 3s, 500ms or 1:02.5");
    if text.contains(':') {
        let mut seconds = 0.0;
        for part in text.split(':') {
            let part: f64 = part.parse().map_err(|_| bad())?;
            seconds = seconds * 60.0 + part;
        }
        return if (0.0..1e9).contains(&seconds) { Ok((seconds * 1e9).round() as i64) } else { Err(bad()) };
    }
    text.parse::<vox_cli::value::Seconds>().map(vox_cli::value::Seconds::ns).map_err(|_| bad())
}

fn decibels(text: &str) -> Result<f32, String> {
    let number = text.strip_suffix("dB").or_else(|| text.strip_suffix("db")).unwrap_or(text);
    Ok(10_f64.powf(within(number, -200.0, 60.0)? / 20.0) as f32)
}

fn within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.trim_start_matches('+').parse::<f64>().ok();
    number.filter(|number| (least..=most).contains(number)).ok_or_else(|| format!("`{text}` is not {least} to {most}"))
}

/// The words of a line; quotes hold spaces.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '#' {
            break;
        }
        let (word, behind) = match first {
            '"' | '\'' => rest[1..].split_once(first).ok_or("a quote has no end")?,
            _ => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = behind.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Result<List, String> {
        let mut list = List::default();
        list.add(text).map(|()| list)
    }

    #[test]
    fn every_edit_is_read() {
        let text = "# a list\ncut 3s..10s\nkeep 1:00..\n\ngain ..500ms -6dB # quieter\nfade 0..1 in\nsilence 2..3\n\
                    speed 4..5 1.5\npitch 6..7 +12\ninsert 'a file.wav' at 3s\noverlay b.wav at 0.5 -10dB";
        let list = list(text).unwrap();
        assert_eq!(list.changes.len(), 7);
        assert_eq!(list.changes[0], (Range { from: 3_000_000_000, to: 10_000_000_000 }, Change::Cut));
        assert_eq!(list.changes[1].0, Range { from: 60_000_000_000, to: FOREVER });
        assert_eq!(list.changes[6].1, Change::Pitch(2.0));
        assert_eq!(list.others[0].path, PathBuf::from("a file.wav"));
        assert!((list.others[1].gain - 0.316).abs() < 1e-3 && list.others[1].over);
    }

    #[test]
    fn what_is_no_edit_names_its_line() {
        for text in ["cut", "cut 3s", "cut 5..3", "gain 0..1 loud", "fade 0.. out", "speed 0..1 9", "insert 'a at 3"] {
            let error = list(&format!("keep 0..1\n{text}")).unwrap_err();
            assert!(error.contains("line 2") || text.starts_with("fade"), "{text}: {error}");
        }
        assert!(list("speed 0..2 2\npitch 1..3 2").is_err());
    }

    #[test]
    fn a_sample_is_met_by_its_time() {
        // What the page writes for a frame of any rate comes back as that frame.
        for hz in [8_000_u64, 44_100, 48_000, 192_000] {
            for frame in [1_u64, 12_345, 999_999_937] {
                let text = format!("{:.9}s", frame as f64 / hz as f64);
                let ns = time(&text).unwrap() as u128;
                assert_eq!((ns * u128::from(hz) + 500_000_000) / 1_000_000_000, u128::from(frame), "{hz} {frame}");
            }
        }
    }
}
