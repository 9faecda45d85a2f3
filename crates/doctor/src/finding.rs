//! What was found, and how it is told.

use serde::Serialize;

use crate::args::Topic;

/// How well something works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It works.
    Works,
    /// It works, but less well than it could.
    Limited,
    /// It does not work.
    Fails,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Finding {
    topic: Topic,
    /// What was looked at, such as `microphone` or `eth0`.
    what: String,
    state: State,
    /// What was seen.
    seen: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    /// The figure in `seen`, where there is one: its unit is in its name.
    #[serde(flatten)]
    figures: serde_json::Map<String, serde_json::Value>,
}

impl Finding {
    fn new(topic: Topic, what: impl Into<String>, state: State, seen: impl Into<String>) -> Self {
        Self { topic, what: what.into(), state, seen: seen.into(), advice: None, figures: serde_json::Map::new() }
    }

    pub(crate) fn works(topic: Topic, what: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::new(topic, what, State::Works, seen)
    }

    pub(crate) fn limited(topic: Topic, what: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::new(topic, what, State::Limited, seen)
    }

    pub(crate) fn fails(topic: Topic, what: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::new(topic, what, State::Fails, seen)
    }

    /// What to do about it.
    #[must_use]
    pub(crate) fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// A figure for scripts.
    #[must_use]
    pub(crate) fn figure(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.figures.insert(name.to_owned(), value.into());
        self
    }
}

/// All that was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
}

impl Extend<Finding> for Report {
    fn extend<T: IntoIterator<Item = Finding>>(&mut self, findings: T) {
        self.findings.extend(findings);
    }
}

/// The last line of `--json`.
#[derive(Serialize)]
struct Summary<'a> {
    summary: bool,
    works: Vec<&'a str>,
    limited: Vec<&'a str>,
    fails: Vec<&'a str>,
}

impl Report {
    /// How well a topic works: at its best, as one microphone, interface or pipe that works is enough; but where nothing
    /// was found it fails.
    fn best(&self, topic: Topic) -> State {
        let states = self.findings.iter().filter(|finding| finding.topic == topic).map(|finding| finding.state);
        match topic {
            Topic::Multicast => states.min(),
            Topic::Devices | Topic::Ports | Topic::Pipes | Topic::Priority | Topic::Timers => states.max(),
        }
        .unwrap_or(State::Fails)
    }

    /// Those of `needed` that do not work at all.
    pub(crate) fn failing(&self, needed: &[Topic]) -> Vec<&'static str> {
        needed.iter().filter(|topic| self.best(**topic) == State::Fails).map(|topic| topic.name()).collect()
    }

    /// Lines for people: a block for each topic.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for topic in Topic::ALL {
            text.push_str(&format!("{}\n", topic.name()));
            for finding in self.findings.iter().filter(|finding| finding.topic == topic) {
                let mark = match finding.state {
                    State::Works => "ok  ",
                    State::Limited => "so-so",
                    State::Fails => "FAILS",
                };
                text.push_str(&format!("  {mark:<6} {}: {}\n", finding.what, finding.seen));
                if let Some(advice) = &finding.advice {
                    text.push_str(&format!("         {advice}\n"));
                }
            }
        }
        text
    }

    /// A line of JSON for each finding, and the summary.
    pub(crate) fn json(&self) -> String {
        let named = |state| Topic::ALL.into_iter().filter(|t| self.best(*t) == state).map(Topic::name).collect();
        let summary = Summary {
            summary: true,
            works: named(State::Works),
            limited: named(State::Limited),
            fails: named(State::Fails),
        };
        let lines = self.findings.iter().map(serde_json::to_string).chain([serde_json::to_string(&summary)]);
        lines.map(|line| line.expect("findings are JSON") + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: impl IntoIterator<Item = Finding>) -> Report {
        let mut report = Report::default();
        report.extend(findings);
        report
    }

    #[test]
    fn one_interface_that_hears_groups_is_enough_but_every_port_must_work() {
        let report = report([
            Finding::fails(Topic::Multicast, "wlan0", "nothing came"),
            Finding::works(Topic::Multicast, "lo", "heard"),
            Finding::works(Topic::Ports, "5004", "free"),
            Finding::fails(Topic::Ports, "loopback", "nothing came"),
        ]);
        assert_eq!(report.failing(&[Topic::Multicast, Topic::Ports]), ["ports"]);
    }

    #[test]
    fn what_was_not_found_fails() {
        assert_eq!(report([]).failing(&[Topic::Devices]), ["devices"]);
    }

    #[test]
    fn advice_stands_under_what_it_is_about() {
        let finding = Finding::limited(Topic::Pipes, "size", "64 KiB").advise("raise it");
        assert!(report([finding]).text().contains("  so-so  size: 64 KiB\n         raise it\n"));
    }

    #[test]
    fn json_has_figures_and_a_summary() {
        let json = report([Finding::works(Topic::Timers, "wake", "0.1 ms").figure("late_ms", 0.1)]).json();
        let lines: Vec<&str> = json.lines().collect();
        assert!(lines[0].contains(r#""state":"works""#) && lines[0].contains(r#""late_ms":0.1"#), "{json}");
        assert!(lines[1].starts_with(r#"{"summary":true,"works":["timers"]"#), "{json}");
    }
}
