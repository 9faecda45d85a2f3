//! Tracks above each other on one time line.

use crate::canvas::{Canvas, Color};
use crate::peaks::Track;

const INK: Color = [40, 44, 52];
const FAINT: Color = [150, 155, 165];
const GRID: Color = [228, 230, 235];
const BACK: Color = [247, 248, 250];
const PEAK: Color = [126, 166, 214];
const POWER: Color = [38, 92, 158];
const GAP: Color = [214, 39, 40];
const GAP_BACK: Color = [250, 219, 219];
const TALK: Color = [44, 160, 44];

/// Pixels left and right of the waves.
const LEFT: i32 = 8;
const RIGHT: i32 = 8;
/// Pixels of a track's title, and of what marks talk spurts.
const TITLE: i32 = 14;
const MARKS: i32 = 6;
/// Pixels between tracks, and of the axis below.
const SPACE: i32 = 10;
const AXIS: i32 = 22;

/// A track and where it lies.
pub(crate) struct Lane<'a> {
    /// What was heard.
    pub(crate) track: &'a Track,
    /// The file's name, and what is to be said of it.
    pub(crate) title: String,
    /// Seconds by which it is moved to the right.
    pub(crate) shift: f64,
    /// Its frequencies, column by column from the lowest, 0 to 1; empty where the wave is drawn.
    pub(crate) spectrum: Vec<Vec<f32>>,
}

/// What is drawn.
pub(crate) struct Picture<'a> {
    /// The tracks, from above.
    pub(crate) lanes: Vec<Lane<'a>>,
    /// Pixels from left to right, all of it.
    pub(crate) width: i32,
    /// Pixels of a track from above to below.
    pub(crate) height: i32,
}

impl Picture<'_> {
    /// Pixels from above to below, all of it.
    pub(crate) fn total_height(&self) -> i32 {
        SPACE + self.lanes.len() as i32 * (TITLE + MARKS + self.height + SPACE) + AXIS
    }

    /// Pixels of the waves from left to right.
    pub(crate) const fn columns(&self) -> i32 {
        self.width - LEFT - RIGHT
    }

    /// When the picture begins and ends, in seconds.
    pub(crate) fn span(&self) -> (f64, f64) {
        let begin = self.lanes.iter().map(|lane| lane.shift).fold(0.0, f64::min);
        let end = self.lanes.iter().map(|lane| lane.shift + lane.track.seconds()).fold(0.0, f64::max);
        (begin, end.max(begin + 1e-3))
    }

    /// Draws it.
    pub(crate) fn draw(&self, canvas: &mut impl Canvas) {
        let (begin, end) = self.span();
        let scale = f64::from(self.columns()) / (end - begin);
        let step = nice((end - begin) / f64::from(self.width / 90).max(1.0));
        let mut y = SPACE;
        for lane in &self.lanes {
            self.lane(canvas, lane, y, &|seconds| ((seconds - begin) * scale).round() as i32, step);
            y += TITLE + MARKS + self.height + SPACE;
        }
        let mut tick = (begin / step).ceil() * step;
        while tick <= end {
            let x = LEFT + ((tick - begin) * scale).round() as i32;
            canvas.fill(x, y - SPACE / 2, 1, 5, FAINT);
            let text = clock(tick, step);
            let half = text.chars().count() as i32 * 4;
            canvas.text((x - half).clamp(0, (self.width - 2 * half).max(0)), y + 4, &text, INK);
            tick += step;
        }
    }

    fn lane(&self, canvas: &mut impl Canvas, lane: &Lane<'_>, y: i32, x_of: &dyn Fn(f64) -> i32, step: f64) {
        let track = lane.track;
        let hz = f64::from(track.about.rate.hz());
        let place = |frame: u64| x_of(frame as f64 / hz + lane.shift);
        canvas.text(LEFT, y, &lane.title, INK);
        let top = y + TITLE + MARKS;
        for spurt in track.talk_spurts() {
            let (from, to) = (place(spurt.at), place(spurt.at + spurt.frames));
            canvas.fill(LEFT + from, y + TITLE - 1, (to - from).max(1), 3, TALK);
        }
        let (from, to) = (place(0), place(track.frames));
        canvas.fill(LEFT + from, top, (to - from).max(1), self.height, BACK);
        let (begin, end) = self.span();
        let mut tick = (begin / step).ceil() * step;
        while tick <= end {
            canvas.fill(LEFT + x_of(tick), top, 1, self.height, GRID);
            tick += step;
        }
        if lane.spectrum.is_empty() {
            self.wave(canvas, lane, top);
        } else {
            self.frequencies(canvas, lane, top);
        }
    }

    fn wave(&self, canvas: &mut impl Canvas, lane: &Lane<'_>, top: i32) {
        let track = lane.track;
        let middle = top + self.height / 2;
        let half = f64::from(self.height / 2 - 1);
        let gaps = self.gap_columns(lane);
        for &(from, to) in &gaps {
            canvas.fill(LEFT + from, top, to - from, self.height, GAP_BACK);
        }
        canvas.fill(LEFT, middle, self.columns(), 1, FAINT);
        let y_of = |level: f32| middle - (f64::from(level.clamp(-1.0, 1.0)) * half).round() as i32;
        let (mut peaks, mut powers) = (Vec::new(), Vec::new());
        for column in 0..self.columns() {
            let heard = self.frames_at(lane, column).map(|(from, to)| track.between(from, to));
            let heard = heard.filter(|heard| heard.high > heard.low || heard.high != 0.0);
            peaks.push(heard.map(|heard| (y_of(heard.high), y_of(heard.low))));
            powers.push(
                heard.map(|heard| (y_of(heard.rms().min(heard.high.abs().max(heard.low.abs()))), y_of(-heard.rms()))),
            );
        }
        canvas.strokes(LEFT, &peaks, PEAK);
        canvas.strokes(LEFT, &powers, POWER);
        for (from, to) in gaps {
            canvas.fill(LEFT + from, middle - 1, to - from, 3, GAP);
        }
    }

    fn frequencies(&self, canvas: &mut impl Canvas, lane: &Lane<'_>, top: i32) {
        let rows = self.height;
        let mut pixels = vec![heat(0.0); (self.columns() * rows) as usize];
        for (column, levels) in lane.spectrum.iter().enumerate().take(self.columns() as usize) {
            if levels.is_empty() {
                continue;
            }
            for row in 0..rows as usize {
                let bin = (rows as usize - 1 - row) * levels.len() / rows as usize;
                pixels[row * self.columns() as usize + column] = heat(levels[bin]);
            }
        }
        for (from, to) in self.gap_columns(lane) {
            for row in 0..rows {
                for column in from..to.min(self.columns()) {
                    pixels[(row * self.columns() + column) as usize] = GAP;
                }
            }
        }
        canvas.image(LEFT, top, self.columns(), &pixels);
        let highest = f64::from(lane.track.about.rate.hz()) / 2_000.0;
        canvas.text(LEFT + 2, top + 2, &format!("{highest:.0} kHz"), [255, 255, 255]);
    }

    /// Gaps as columns, at least one wide, side by side joined.
    fn gap_columns(&self, lane: &Lane<'_>) -> Vec<(i32, i32)> {
        let (begin, end) = self.span();
        let scale = f64::from(self.columns()) / (end - begin);
        let hz = f64::from(lane.track.about.rate.hz());
        let x_of = |frame: u64| (frame as f64 / hz + lane.shift - begin) * scale;
        let mut columns: Vec<(i32, i32)> = Vec::new();
        for gap in &lane.track.gaps {
            let from = x_of(gap.at).floor() as i32;
            let to = (x_of(gap.at + gap.frames).ceil() as i32).max(from + 1);
            match columns.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => columns.push((from, to)),
            }
        }
        columns
    }

    /// The frames of a lane that a column shows.
    pub(crate) fn frames_at(&self, lane: &Lane<'_>, column: i32) -> Option<(u64, u64)> {
        let (begin, end) = self.span();
        let each = (end - begin) / f64::from(self.columns());
        let hz = f64::from(lane.track.about.rate.hz());
        let from = (begin + f64::from(column) * each - lane.shift) * hz;
        let to = from + each * hz;
        (to > 0.0 && from < lane.track.frames as f64).then(|| (from.max(0.0) as u64, to.ceil() as u64))
    }
}

/// A round number of seconds, at least `least`.
fn nice(least: f64) -> f64 {
    const STEPS: [f64; 22] = [
        0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0,
        600.0, 1800.0, 3600.0, 7200.0,
    ];
    STEPS.into_iter().find(|step| *step >= least).unwrap_or_else(|| (least / 3600.0).ceil() * 3600.0)
}

/// A time as people write it, as fine as the step.
pub(crate) fn clock(seconds: f64, step: f64) -> String {
    let digits = if step >= 1.0 { 0 } else { (-step.log10()).ceil() as usize };
    let sign = if seconds < 0.0 { "-" } else { "" };
    let seconds = seconds.abs() + 1e-9;
    let (minutes, rest) = ((seconds / 60.0) as u64, seconds % 60.0);
    let width = if digits == 0 { 2 } else { digits + 3 };
    let rest = if digits == 0 { format!("{:02}", rest as u64) } else { format!("{rest:0width$.digits$}") };
    if minutes >= 60 {
        format!("{sign}{}:{:02}:{rest}", minutes / 60, minutes % 60)
    } else {
        format!("{sign}{minutes}:{rest}")
    }
}

/// Black over purple and orange to white.
fn heat(level: f32) -> Color {
    const STOPS: [[f32; 3]; 6] = [
        [0.0, 0.0, 6.0],
        [60.0, 15.0, 110.0],
        [140.0, 40.0, 130.0],
        [225.0, 90.0, 80.0],
        [252.0, 175.0, 70.0],
        [255.0, 253.0, 230.0],
    ];
    let place = level.clamp(0.0, 0.999) * (STOPS.len() - 1) as f32;
    let (stop, part) = (place as usize, place.fract());
    core::array::from_fn(|at| (STOPS[stop][at] + (STOPS[stop + 1][at] - STOPS[stop][at]) * part) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_fine_as_it_is_meant() {
        assert_eq!(clock(65.0, 5.0), "1:05");
        assert_eq!(clock(3_725.0, 60.0), "1:02:05");
        assert_eq!(clock(1.25, 0.05), "0:01.25");
        assert_eq!(clock(-0.5, 0.1), "-0:00.5");
    }
}
