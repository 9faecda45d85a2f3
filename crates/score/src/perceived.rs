//! How well it sounds to people: PESQ for wideband speech (ITU-T P.862.2).

use serde::Serialize;
use vox_frame::Rate;

use crate::mono::Mono;
use crate::track::Fix;

/// The rate of the model, in Hz.
const RATE: Rate = Rate::new(16_000).expect("not zero");

/// Seconds that are judged at a time: the model was made for 8 s and somewhat more (P.862, section 8).
const PIECE: usize = 10;

/// What is shorter at the end is judged with the piece before, in seconds.
const LEAST: usize = 5;

/// What people would say, from 1 (bad) to 4.64 (nothing is to be heard of it).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Perceived {
    /// The mean of all pieces in which somebody speaks.
    pub(crate) mos: f64,
    /// The worst of them.
    pub(crate) worst_mos: f64,
    /// Where that begins, in seconds.
    pub(crate) worst_at: f64,
}

/// Judges piece by piece, each where it was heard; none where nobody speaks for long enough.
pub(crate) fn perceive(said: &mut Mono, heard: &mut Mono, fixes: &[Fix]) -> Option<Perceived> {
    // Fixes are in frames of the rate that both have until here.
    let hz = f64::from(said.rate.hz());
    said.resample(RATE);
    heard.resample(RATE);
    let rate = RATE.hz() as usize;
    let (said, heard) = (to_16_bits(&said.samples), to_16_bits(&heard.samples));
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < said.len() {
        let rest = said.len() - at;
        let length = if rest < (PIECE + LEAST) * rate { rest } else { PIECE * rate };
        let middle = (at + length / 2) as f64 / rate as f64 * hz;
        let delay = nearest(fixes, middle).map_or(0.0, |fix| fix.delay / hz * rate as f64);
        let piece = shifted(&heard, at as i64 + delay.round() as i64, length);
        if let Ok(mos) = pesq::pesq_wb(&said[at..at + length], &piece) {
            pieces.push((f64::from(mos), at as f64 / rate as f64));
        }
        at += length;
    }
    let worst = pieces.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0))?;
    let mos = pieces.iter().map(|(mos, _)| mos).sum::<f64>() / pieces.len() as f64;
    Some(Perceived { mos, worst_mos: worst.0, worst_at: worst.1 })
}

fn nearest(fixes: &[Fix], at: f64) -> Option<&Fix> {
    fixes.iter().min_by(|a, b| (a.at - at).abs().total_cmp(&(b.at - at).abs()))
}

/// A part of a recording, silent beyond its ends.
fn shifted(samples: &[i16], from: i64, length: usize) -> Vec<i16> {
    let sample = |at: i64| usize::try_from(at).ok().and_then(|at| samples.get(at)).copied().unwrap_or(0);
    (from..from + length as i64).map(sample).collect()
}

fn to_16_bits(samples: &[f32]) -> Vec<i16> {
    samples.iter().map(|sample| (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).collect()
}
