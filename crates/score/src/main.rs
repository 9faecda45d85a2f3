//! Says what became of a recording on its way.

mod args;
mod mono;
mod perceived;
mod score;
mod track;

use std::process::ExitCode;

use vox_cli::value::Millis;
use vox_cli::{Exit, Failure, note};

use crate::args::Args;
use crate::mono::load;
use crate::score::{Score, Span, score};

fn main() -> ExitCode {
    vox_cli::run(|args: Args| compare(&args))
}

fn compare(args: &Args) -> Result<(), Failure> {
    let (mut said, mut heard) = (load(&args.reference)?, load(&args.got)?);
    // At the rate of the lower one: what only one of them can carry tells nothing.
    let rate = said.rate.min(heard.rate);
    said.resample(rate);
    heard.resample(rate);
    let hz = rate.hz() as usize;
    let guess = (said.loudness().later(&heard.loudness()) * hz as f64).round() as i64;
    let fixes = track::follow(&said.samples, &heard.samples, hz, guess);
    let mut score = score(&said.samples, &heard.samples, hz, &fixes);
    if args.mos || args.min_mos.is_some() {
        score.perceived = perceived::perceive(&mut said, &mut heard, &fixes);
    }
    let text = if args.json { serde_json::to_string(&score).unwrap_or_default() + "\n" } else { show(&score) };
    vox_cli::print(&text)?;
    judge(args, &score)
}

fn show(score: &Score) -> String {
    let spans = |spans: &[Span]| {
        let first = spans.first().map_or_else(String::new, |first| format!(", the first at {:.2} s", first.at));
        let ms: f64 = spans.iter().map(|span| span.seconds * 1e3).sum();
        format!("{} ({ms:.0} ms{first})", spans.len())
    };
    let perceived = score.perceived.map_or_else(String::new, |perceived| {
        format!("MOS       {:.2}, the worst {:.2} at {:.0} s\n", perceived.mos, perceived.worst_mos, perceived.worst_at)
    });
    let ppm = score.clock_ppm.map_or_else(|| "too short to tell".to_owned(), |ppm| format!("{ppm:+.1} ppm"));
    format!(
        "length    {:.3} s said, {:.3} s heard\n\
         found     {:.1} %\n\
         delay     {:.2} ms, spread {:.2} ms\n\
         clock     {ppm}\n\
         missing   {}, longest {:.0} ms\n\
         put in    {}\n\
         repeated  {}\n\
         left out  {}\n\
         level     {:+.2} dB, {} samples clipped\n\
         SNR       {:.1} dB segmental, {:.1} dB in all\n{perceived}",
        score.said_seconds,
        score.heard_seconds,
        score.found * 100.0,
        score.delay_ms,
        score.delay_spread_ms,
        spans(&score.missing),
        score.longest_gap_ms,
        spans(&score.inserted),
        spans(&score.repeated),
        spans(&score.removed),
        score.level_db,
        score.clipped,
        score.segmental_snr_db,
        score.snr_db,
    )
}

/// Whether the limits hold that were asked for.
fn judge(args: &Args, score: &Score) -> Result<(), Failure> {
    let ms = |limit: Option<Millis>| limit.map(|limit| limit.ns() as f64 / 1e6);
    let at_most = [
        ("longest gap, ms", score.longest_gap_ms, ms(args.max_gap)),
        ("missing, ms", score.missing_ms, ms(args.max_missing)),
        ("delay, ms", score.delay_ms, ms(args.max_delay)),
        ("spread of the delay, ms", score.delay_spread_ms, ms(args.max_spread)),
        ("clock, ppm", score.clock_ppm.unwrap_or(0.0).abs(), args.max_ppm),
        ("level, dB", score.level_db.abs(), args.max_level),
        // Less is worse: both are turned round.
        ("minus segmental SNR, dB", -score.segmental_snr_db, args.min_snr.map(|least| -least)),
        ("minus MOS", -score.perceived.map_or(0.0, |perceived| perceived.mos), args.min_mos.map(|least| -least)),
    ];
    let mut holds = true;
    let asked = at_most.iter().any(|(_, _, limit)| limit.is_some());
    if asked && score.found < 0.5 {
        note(format_args!("only {:.0} % of what was said was found", score.found * 100.0));
        holds = false;
    }
    for (name, value, limit) in at_most {
        if let Some(limit) = limit.filter(|limit| value > *limit) {
            note(format_args!("{name}: {value:.2}, the limit is {limit:.2}"));
            holds = false;
        }
    }
    if holds { Ok(()) } else { Err(Failure::quiet(Exit::Condition)) }
}
