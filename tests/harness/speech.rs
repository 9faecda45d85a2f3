//! Real speech, from what `scripts/setup` installs.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Scratch, Wav, need};

/// What kind of speech.
#[derive(Debug, Clone, Copy)]
pub struct Speech {
    /// Samples a second.
    pub rate: u32,
    /// 1 or 2 channels; the second says something else.
    pub channels: u16,
    /// Samples of one channel.
    pub frames: usize,
}

impl Speech {
    /// Mono at `rate`.
    pub const fn mono(rate: u32, frames: usize) -> Self {
        Self { rate, channels: 1, frames }
    }

    /// Stereo at `rate`.
    pub const fn stereo(rate: u32, frames: usize) -> Self {
        Self { rate, channels: 2, frames }
    }
}

const CLIPS: &str = "/usr/share/sounds/alsa";

/// Writes speech to `name` in the scratch folder and gives its samples.
///
/// # Panics
/// When alsa-utils or sox are missing.
pub fn speech(scratch: &Scratch, name: &str, wanted: Speech) -> Wav {
    let left = voice(scratch, wanted, &["Front_Center.wav", "Rear_Left.wav", "Side_Right.wav"]);
    let samples = match wanted.channels {
        1 => left,
        _ => {
            let right = voice(scratch, wanted, &["Side_Left.wav", "Front_Right.wav", "Rear_Center.wav"]);
            left.into_iter().zip(right).flat_map(|(left, right)| [left, right]).collect()
        }
    };
    let wav = Wav { rate: wanted.rate, channels: wanted.channels, samples };
    wav.write(&scratch.path(name));
    wav
}

/// The clips one after the other, again and again, `frames` samples of them, with no sample of 0 at either end that
/// would hide a sample lost there.
fn voice(scratch: &Scratch, wanted: Speech, clips: &[&str]) -> Vec<i16> {
    let mut once = Vec::new();
    for clip in clips {
        let clip = Path::new(CLIPS).join(clip);
        assert!(clip.is_file(), "{} is missing: run scripts/setup, which installs alsa-utils", clip.display());
        once.extend(at_rate(scratch, &clip, wanted.rate));
    }
    let mut samples: Vec<i16> = once.iter().copied().cycle().take(wanted.frames).collect();
    for end in [0, wanted.frames - 1] {
        samples[end] = samples[end].saturating_add(900);
    }
    samples
}

fn at_rate(scratch: &Scratch, clip: &Path, rate: u32) -> Vec<i16> {
    let wav = Wav::read(clip);
    if wav.rate == rate {
        return wav.left();
    }
    need(&["sox"]);
    let to = scratch.path(&format!("speech-{rate}.wav"));
    let done = Command::new("sox").arg("-D").arg(clip).args(["-r", &rate.to_string(), "-b", "16"]).arg(&to).status();
    assert!(done.is_ok_and(|status| status.success()), "sox resamples {}", clip.display());
    let samples = Wav::read(&to).left();
    let _left = fs::remove_file(&to);
    samples
}
