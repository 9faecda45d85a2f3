//! Whether what was heard is what was said, and whether reports came.

use std::fs;

use serde_json::Value;
use vox_e2e::{Scratch, Wav, align, likeness, locate, raw_samples};

use crate::cell::{Call, Cell, Judge, Path, Verdict, Way};

/// How far from its onset a wave form is looked for, in samples.
const REACH: usize = 4_000;

/// Correlation from which on it is the same wave form; an encoder for telephones takes away what is low.
const LIKE: f64 = 0.85;

/// What came of a call.
pub(crate) fn verdict(scratch: &Scratch, cell: Cell, call: &Call, said: &Wav) -> Result<Verdict, String> {
    if let Some((file, pattern)) = call.says {
        let bytes = fs::read(scratch.path(file)).unwrap_or_default();
        if !String::from_utf8_lossy(&bytes).contains(pattern) {
            return Err(format!("{file} does not say {pattern:?}"));
        }
    }
    if cell.path == Path::Reports {
        return reported(scratch, cell, call.says.is_some());
    }
    let heard = heard(scratch, call.heard, said.channels).ok_or("nothing was heard")?;
    let exact = cell.coding.exact();
    let expected = match (call.own, exact) {
        (Some(own), _) => raw_samples(&fs::read(scratch.path(own)).unwrap_or_default()),
        (None, Some(codec)) => said.through(codec).samples,
        (None, None) => said.samples.clone(),
    };
    match call.judge {
        Judge::Standard if exact.is_some() => locate(&expected, &heard)
            .map(|_| Verdict::Exact)
            .ok_or_else(|| format!("what was said is not among the {} samples heard", heard.len())),
        Judge::Standard | Judge::Wave => like(&expected, &heard),
        Judge::Parts => like_in_parts(&expected, &heard),
    }
}

/// What was heard, with as many channels as were said.
fn heard(scratch: &Scratch, name: &str, channels: u16) -> Option<Vec<i16>> {
    let bytes = fs::read(scratch.path(name)).ok()?;
    if !name.ends_with(".wav") {
        return Some(raw_samples(&bytes));
    }
    if bytes.len() <= 44 {
        return None;
    }
    let wav = Wav::parse(&bytes, name);
    Some(if wav.channels == channels { wav.samples } else { wav.left() })
}

fn like(said: &[i16], heard: &[i16]) -> Result<Verdict, String> {
    let loud = |samples: &[i16]| samples.iter().position(|sample| sample.unsigned_abs() > 1_500).unwrap_or(0);
    let early = loud(heard).saturating_sub(loud(said) + REACH / 2);
    let alignment = align(said, &heard[early..], REACH as i64);
    if alignment.correlation > LIKE {
        Ok(Verdict::Like(alignment.correlation))
    } else {
        Err(format!("{alignment:?} in {} samples", heard.len()))
    }
}

fn like_in_parts(said: &[i16], heard: &[i16]) -> Result<Verdict, String> {
    let mut parts = likeness(said, heard);
    parts.sort_by(f64::total_cmp);
    // One of them may be lost by a program that stumbles on a busy machine.
    match parts.get(1) {
        Some(&worst) if parts.len() >= 3 && worst > 0.8 => Ok(Verdict::Like(parts[parts.len() / 2])),
        _ => Err(format!("{parts:?} in {} samples", heard.len())),
    }
}

/// Reports in both directions. That ours were understood is said by the peer itself, or by a round trip that vox-send
/// measures, which is the answer to a report of its own.
fn reported(scratch: &Scratch, cell: Cell, understood: bool) -> Result<Verdict, String> {
    let (name, count) = if cell.way == Way::To { ("sent.json", "reports") } else { ("heard.json", "rtcpPackets") };
    let text = fs::read_to_string(scratch.path(name)).map_err(|error| format!("{name}: {error}"))?;
    let summary: Value = text.lines().last().and_then(|line| serde_json::from_str(line).ok()).ok_or("no statistics")?;
    if summary[count].as_u64().unwrap_or_default() == 0 {
        return Err(format!("no report of it came: {summary}"));
    }
    let answered = cell.way == Way::To && summary["roundTripTime"].is_f64();
    Ok(Verdict::Reported { both: understood || answered })
}
