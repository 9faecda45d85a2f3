//! A recording in letters.

use crate::draw::{Lane, Picture, clock};

/// Dots of a braille letter: bits by column and row from above (Unicode, block Braille Patterns).
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// The picture in lines; `picture.columns()` are dots, two a letter, `picture.height` lines a track.
pub(crate) fn text(picture: &Picture<'_>, color: bool) -> String {
    let mut out = String::new();
    for lane in &picture.lanes {
        out.push_str(&lane.title);
        out.push('\n');
        wave(picture, lane, color, &mut out);
    }
    let (begin, end) = picture.span();
    let letters = picture.columns() as usize / 2;
    let (first, last) = (clock(begin, 0.1), clock(end, 0.1));
    let space = letters.saturating_sub(first.chars().count() + last.chars().count());
    out.push_str(&format!("{first}{}{last}\n", " ".repeat(space)));
    out
}

fn wave(picture: &Picture<'_>, lane: &Lane<'_>, color: bool, out: &mut String) {
    let letters = picture.columns() as usize / 2;
    let lines = picture.height as usize;
    let dots = lines * 4;
    let mut cells = vec![0_u32; letters * lines];
    let middle = (dots as f32 - 1.0) / 2.0;
    let mut missing = vec![false; letters];
    let mut talks = vec![false; letters];
    let spurts = lane.track.talk_spurts();
    for column in 0..letters * 2 {
        let Some((from, to)) = picture.frames_at(lane, column as i32) else { continue };
        let heard = lane.track.between(from, to);
        let row = |level: f32| (middle - level.clamp(-1.0, 1.0) * middle).round() as usize;
        for dot in row(heard.high)..=row(heard.low).min(dots - 1) {
            cells[dot / 4 * letters + column / 2] |= DOTS[column % 2][dot % 4];
        }
        let within = |spans: &[crate::peaks::Span]| {
            let behind = spans.partition_point(|span| span.at + span.frames <= from);
            spans.get(behind).is_some_and(|span| span.at < to)
        };
        missing[column / 2] |= within(&lane.track.gaps);
        talks[column / 2] |= within(&spurts);
    }
    let marks: String = (0..letters)
        .map(|n| match (missing[n], talks[n]) {
            (true, _) => '×',
            (false, true) => '‾',
            (false, false) => ' ',
        })
        .collect();
    push(&mut *out, &marks, &missing, color, "32");
    for line in cells.chunks(letters) {
        let text: String = line.iter().map(|bits| char::from_u32(0x2800 + bits).unwrap_or(' ')).collect();
        push(out, &text, &missing, color, "34");
    }
}

/// A line, red where something is missing.
fn push(out: &mut String, text: &str, missing: &[bool], color: bool, usual: &str) {
    if !color {
        out.push_str(text.trim_end());
        out.push('\n');
        return;
    }
    let mut before = None;
    for (letter, missing) in text.chars().zip(missing) {
        if before != Some(*missing) {
            out.push_str(&format!("\x1b[{}m", if *missing { "31" } else { usual }));
            before = Some(*missing);
        }
        out.push(letter);
    }
    out.push_str("\x1b[0m\n");
}

/// Letters of a line of the terminal.
pub(crate) fn width() -> i32 {
    rustix::termios::tcgetwinsize(rustix::stdio::stdout()).map_or(80, |size| i32::from(size.ws_col).clamp(40, 400))
}
