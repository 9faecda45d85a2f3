//! The jitter buffer.

use vox_frame::{MediaTime, Rate, SequenceNumber, Stamp};
use vox_playout::{Adaptive, Config, Meta, Output, Playout};

use crate::pieces::Pieces;

/// Any packets at any times: what comes out is in order, nothing twice, and both timelines are gapless.
pub fn playout(data: &[u8]) {
    let mut steps = Pieces::new(data);
    let choice = steps.byte();
    let config = if choice & 1 == 0 {
        Config::fixed(i64::from(choice) * 1_000_000)
    } else {
        Config::adaptive(Adaptive::default())
    };
    let rate = Rate::new(8000).expect("not zero");
    let mut playout = Playout::new(config, rate);
    let mut now = Stamp::ZERO;
    let mut reached = None;
    while !steps.is_empty() {
        let step = steps.byte();
        now = now.plus(i64::from(steps.byte()) * 1_000_000);
        let number = u64::from(steps.byte());
        let (sequence, timestamp) =
            if step & 0xf0 == 0xf0 { (steps.number(), steps.number()) } else { (number, number * 160) };
        let meta = Meta {
            sequence: SequenceNumber(sequence),
            timestamp: MediaTime(timestamp),
            duration: if step & 8 == 0 { 160 } else { u32::from(step) },
            marker: step & 1 != 0,
            recovered: step & 2 != 0,
            padding: step & 7 == 7,
            redundant: step & 4 != 0,
            reach: u32::from(step & 0x30) * 100,
            silent: step & 5 == 5,
            quiet: step & 6 == 6,
            arrived: now.plus(-i64::from(step) * 1_000_000),
            bytes: 100,
        };
        playout.handle_packet(now, meta, ());
        drain(&mut playout, now, &mut reached);
    }
    playout.finish(now, None);
    drain(&mut playout, now.plus(3_600_000_000_000), &mut reached);
}

/// Takes all that is due; media time goes on without a hole.
fn drain(playout: &mut Playout<()>, now: Stamp, reached: &mut Option<u64>) {
    for _ in 0..100_000 {
        let (begins, lasts) = match playout.poll(now) {
            Output::Audio(played) => (played.meta.timestamp.0, u64::from(played.meta.duration)),
            Output::Gap(missing) => (missing.timestamp.0, missing.duration),
            _ => return,
        };
        if let Some(reached) = *reached {
            assert_eq!(begins, reached, "media time jumped");
        }
        // The contract's own arithmetic: media time stops at its end.
        *reached = Some(begins.saturating_add(lasts));
    }
    panic!("it gives records without end");
}
