//! What somebody expects of every stream that passes.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A field of a stream's summary, how it compares, and with what: `lost_ms<=40`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expectation {
    field: String,
    relation: Relation,
    bound: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    AtMost,
    AtLeast,
    Equal,
    Not,
    Below,
    Above,
}

impl Relation {
    /// The longer signs first: `<=` begins with `<`.
    const SIGNS: [(&'static str, Self); 6] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("==", Self::Equal),
        ("!=", Self::Not),
        ("<", Self::Below),
        (">", Self::Above),
    ];

    fn holds(self, found: f64, bound: f64) -> bool {
        match self {
            Self::AtMost => found <= bound,
            Self::AtLeast => found >= bound,
            Self::Equal => found == bound,
            Self::Not => found != bound,
            Self::Below => found < bound,
            Self::Above => found > bound,
        }
    }
}

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>', '=', '!']);
        let found = at.and_then(|at| {
            let (field, rest) = text.split_at(at);
            let (sign, relation) = Relation::SIGNS.into_iter().find(|(sign, _)| rest.starts_with(sign))?;
            Some((field.trim(), relation, rest[sign.len()..].trim()))
        });
        let Some((field, relation, bound)) = found.filter(|(field, _, bound)| !field.is_empty() && !bound.is_empty())
        else {
            return Err("expected FIELD<=NUMBER, or another of < >= > == !=, such as lost_ms<=40".to_owned());
        };
        if bound.parse::<f64>().is_err() && !matches!(relation, Relation::Equal | Relation::Not) {
            return Err(format!("{bound:?} is not a number"));
        }
        Ok(Self { field: field.to_owned(), relation, bound: bound.to_owned() })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = Relation::SIGNS.iter().find(|(_, relation)| *relation == self.relation).map_or("", |(sign, _)| sign);
        write!(f, "{}{sign}{}", self.field, self.bound)
    }
}

impl Expectation {
    /// What does not hold of a stream's summary, in a line; none where it holds.
    pub(crate) fn failure(&self, stream: &Value) -> Option<String> {
        let name = |field: &str| stream[field].as_str().unwrap_or_default().to_owned();
        let told = |what: &str| Some(format!("{} {}: {self} does not hold: {what}", name("id"), name("codec")));
        let Some(found) = find(stream, &self.field) else { return told("there is no such figure") };
        let holds = match (found.as_f64(), self.bound.parse()) {
            (Some(found), Ok(bound)) => self.relation.holds(found, bound),
            _ => {
                let equal = found.as_str().map_or_else(|| found.to_string(), str::to_owned) == self.bound;
                match self.relation {
                    Relation::Equal => equal,
                    Relation::Not => !equal,
                    _ => false,
                }
            }
        };
        if holds { None } else { told(&format!("it is {found}")) }
    }
}

/// A figure by its name in the JSON summary, with dots between the levels, or by a short name of a common one.
fn find(stream: &Value, field: &str) -> Option<Value> {
    let number = |value: f64| Some(Value::from((value * 1e3).round() / 1e3));
    if field == "gap_ms" {
        return number(stream["gap_ticks"].as_f64()? / stream["rate"].as_f64()? * 1e3);
    }
    if let Some(quantile) = field.strip_suffix("_latency_ms") {
        return find(stream, &format!("since_captured.{quantile}_ms"));
    }
    if let Some(reason) = field.strip_suffix("_ms").filter(|reason| REASONS.contains(reason)) {
        return number(find(stream, &format!("gaps.{reason}.seconds"))?.as_f64()? * 1e3);
    }
    let value = stream.pointer(&format!("/{}", field.replace('.', "/"))).filter(|value| !value.is_null());
    // Where nothing is missing for a reason, the summary does not name the reason.
    let none = || field.strip_prefix("gaps.").filter(|rest| rest.contains('.')).map(|_| Value::from(0));
    value.cloned().or_else(none)
}

/// The reasons of a gap that have a short name (docs/frame-format.md).
const REASONS: [&str; 6] = ["lost", "late", "overrun", "muted", "silent", "other"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn failure(expected: &str) -> Option<String> {
        let stream = json!({
            "id": "0b9ea298", "codec": "opus", "rate": 48_000, "gap_ticks": 2_880, "bitrate": 24_000, "ended": "bye",
            "gaps": { "lost": { "records": 1, "packets": 3, "seconds": 0.06 } }, "since_arrived": null,
            "since_captured": { "p50_ms": 40.0, "p95_ms": 60.0, "p99_ms": 80.5 },
        });
        expected.parse::<Expectation>().expect("an expectation").failure(&stream)
    }

    #[test]
    fn what_holds_is_not_mentioned() {
        for expected in [
            "lost_ms<=60",
            "gap_ms == 60",
            "late_ms<1",
            "p99_latency_ms<80.6",
            "gaps.lost.packets>2",
            "gaps.late.records==0",
        ] {
            assert_eq!(failure(expected), None, "{expected}");
        }
        for expected in ["bitrate>=24000", "codec==opus", "ended != interrupted", "since_captured.p50_ms>39"] {
            assert_eq!(failure(expected), None, "{expected}");
        }
    }

    #[test]
    fn what_does_not_hold_is_told_with_its_stream_and_its_value() {
        assert_eq!(failure("lost_ms<=40").unwrap(), "0b9ea298 opus: lost_ms<=40 does not hold: it is 60.0");
        assert_eq!(failure("codec==pcmu").unwrap(), "0b9ea298 opus: codec==pcmu does not hold: it is \"opus\"");
        for unknown in ["no_such<1", "since_arrived.p99_ms<1", "lots_ms<=1"] {
            assert!(failure(unknown).unwrap().ends_with("there is no such figure"), "{unknown}");
        }
    }

    #[test]
    fn what_is_no_expectation_is_refused() {
        for text in ["", "lost_ms", "<=4", "lost_ms<=", "lost_ms<=many", "lost_ms=4"] {
            assert!(text.parse::<Expectation>().is_err(), "{text}");
        }
    }
}
