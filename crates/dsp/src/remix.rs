//! From one number of channels to another.

use vox_frame::Channels;

/// What a channel that is not left or right of the listener weighs in a downmix: -3 dB (ITU-R BS.775-3, annex 4).
const SIDE: f32 = core::f32::consts::FRAC_1_SQRT_2;

/// Changes the number of channels of interleaved frames.
///
/// Mono goes to every channel. More than two channels are taken to be in WAV order (front left, front right, centre,
/// low frequency, back left, back right, side left, side right) and are folded into two by ITU-R BS.775, into one by
/// the mean of those two, scaled so that nothing can clip; 7.1 into 5.1 by its sides. Otherwise channels keep their
/// place: those that are missing are silent, those that are too many are left out.
#[derive(Debug, Clone)]
pub struct Remix {
    from: usize,
    to: usize,
    /// Weights of the inputs, a row for every output; empty where nothing changes.
    matrix: Vec<f32>,
}

impl Remix {
    /// A change from one number of channels to another.
    pub fn new(from: Channels, to: Channels) -> Self {
        let (from, to) = (from.count(), to.count());
        Self { from, to, matrix: if from == to { Vec::new() } else { matrix(from, to) } }
    }

    /// Whether nothing changes.
    pub const fn is_identity(&self) -> bool {
        self.from == self.to
    }

    /// Appends the frames of `input` to `out` with the other number of channels.
    pub fn process(&self, input: &[f32], out: &mut Vec<f32>) {
        if self.is_identity() {
            out.extend_from_slice(input);
            return;
        }
        if self.from == 1 {
            out.extend(input.iter().flat_map(|&sample| core::iter::repeat_n(sample, self.to)));
            return;
        }
        for frame in input.chunks_exact(self.from) {
            for row in self.matrix.chunks_exact(self.from) {
                out.push(row.iter().zip(frame).map(|(weight, sample)| weight * sample).sum());
            }
        }
    }
}

fn matrix(from: usize, to: usize) -> Vec<f32> {
    match (from, to) {
        (1, _) => vec![1.0; to],
        (2, 1) => vec![0.5, 0.5],
        (_, 2) => downmix(from),
        (8, 6) => fold_sides(),
        (_, 1) => {
            let stereo = downmix(from);
            (0..from).map(|channel| (stereo[channel] + stereo[from + channel]) / 2.0).collect()
        }
        _ => (0..to * from).map(|at| if at / from == at % from { 1.0 } else { 0.0 }).collect(),
    }
}

/// 7.1 to 5.1: the side channels go into those behind, by halves, so that nothing can clip.
fn fold_sides() -> Vec<f32> {
    let weight = |to: usize, from: usize| match (to, from) {
        (4 | 5, _) if from == to || from == to + 2 => 0.5,
        _ if from == to => 1.0,
        _ => 0.0,
    };
    (0..6).flat_map(|to| (0..8).map(move |from| weight(to, from))).collect()
}

/// Two rows: what each of more than two channels weighs left and right.
fn downmix(from: usize) -> Vec<f32> {
    let places: &[Place] = match from {
        3 => &[Place::Left, Place::Right, Place::Centre],
        4 => &[Place::Left, Place::Right, Place::SideLeft, Place::SideRight],
        5 => &[Place::Left, Place::Right, Place::Centre, Place::SideLeft, Place::SideRight],
        _ => &[
            Place::Left,
            Place::Right,
            Place::Centre,
            Place::LowFrequency,
            Place::SideLeft,
            Place::SideRight,
            Place::SideLeft,
            Place::SideRight,
        ],
    };
    let mut rows = vec![0.0; from * 2];
    for (channel, place) in places.iter().take(from).enumerate() {
        let (left, right) = place.weights();
        rows[channel] = left;
        rows[from + channel] = right;
    }
    let loudest = rows[..from].iter().sum::<f32>().max(rows[from..].iter().sum());
    rows.iter().map(|weight| weight / loudest).collect()
}

#[derive(Clone, Copy)]
enum Place {
    Left,
    Right,
    Centre,
    LowFrequency,
    SideLeft,
    SideRight,
}

impl Place {
    const fn weights(self) -> (f32, f32) {
        match self {
            Self::Left => (1.0, 0.0),
            Self::Right => (0.0, 1.0),
            Self::Centre => (SIDE, SIDE),
            Self::LowFrequency => (0.0, 0.0),
            Self::SideLeft => (SIDE, 0.0),
            Self::SideRight => (0.0, SIDE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remix(from: u8, to: u8, input: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        Remix::new(Channels::new(from).unwrap(), Channels::new(to).unwrap()).process(input, &mut out);
        out
    }

    #[test]
    fn mono_goes_to_every_channel() {
        assert_eq!(remix(1, 3, &[0.5, -0.25]), [0.5, 0.5, 0.5, -0.25, -0.25, -0.25]);
    }

    #[test]
    fn stereo_becomes_the_mean() {
        assert_eq!(remix(2, 1, &[0.5, -0.25, 1.0, 1.0]), [0.125, 1.0]);
    }

    #[test]
    fn surround_keeps_its_sides_and_cannot_clip() {
        let full = remix(6, 2, &[1.0; 6]);
        assert!(full.iter().all(|&sample| (0.99..=1.0).contains(&sample)), "{full:?}");
        let left = remix(6, 2, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert!(left[0] > 0.5 && left[1] == 0.0);
        for from in 3..=8 {
            assert!(remix(from, 1, &vec![1.0; usize::from(from)])[0] <= 1.0 + 1e-6);
        }
    }

    #[test]
    fn stereo_into_surround_leaves_the_rest_silent() {
        assert_eq!(remix(2, 4, &[0.5, 0.25]), [0.5, 0.25, 0.0, 0.0]);
    }

    #[test]
    fn the_sides_of_7_1_are_heard_in_5_1() {
        let folded = remix(8, 6, &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]);
        let expected = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7];
        assert!(folded.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-6), "{folded:?}");
    }

    #[test]
    fn the_same_number_passes_untouched() {
        assert_eq!(remix(2, 2, &[0.1, 0.2]), [0.1, 0.2]);
    }
}
