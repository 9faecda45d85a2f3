//! A page that needs nothing but a browser: the samples are in it.

use serde_json::json;
use vox_frame::GapReason;
use vox_media::{About, Listener};

use crate::canvas::{base64, escape};
use crate::peaks::{Span, Track};

/// The most bytes of samples in a page: browsers hold a few times as much.
const MAX_BYTES: usize = 400 << 20;

/// The samples of every track, 16 bits each.
#[derive(Default)]
pub(crate) struct Samples {
    tracks: Vec<(usize, Vec<u8>)>,
    /// There are more than fit a page.
    pub(crate) too_many: bool,
}

impl Listener for Samples {
    fn track(&mut self, _: usize, about: &About) {
        self.tracks.push((about.channels.count(), Vec::new()));
    }

    fn samples(&mut self, track: usize, at: u64, samples: &[f32]) {
        let (channels, bytes) = &mut self.tracks[track];
        let begin = usize::try_from(at).unwrap_or(usize::MAX).saturating_mul(*channels * 2);
        if begin.saturating_add(samples.len() * 2) > MAX_BYTES {
            self.too_many = true;
            return;
        }
        bytes.resize(begin, 0);
        bytes.extend(samples.iter().flat_map(|sample| ((sample * 32_768.0).round_ties_even() as i16).to_le_bytes()));
    }

    fn gap(&mut self, _: usize, _: u64, _: u64, _: GapReason) {}

    fn talk(&mut self, _: usize, _: u64, _: bool) {}
}

/// The page of a file called `name`.
pub(crate) fn page(name: &str, tracks: &[Track], titles: &[String], samples: &Samples) -> String {
    let lanes: Vec<_> = tracks
        .iter()
        .zip(titles)
        .zip(&samples.tracks)
        .map(|((track, title), (channels, bytes))| {
            let hz = f64::from(track.about.rate.hz());
            let seconds = |span: &Span| [span.at as f64 / hz, (span.at + span.frames) as f64 / hz];
            json!({
                "label": title,
                "rate": track.about.rate.hz(),
                "channels": channels,
                "gaps": track.gaps.iter().map(seconds).collect::<Vec<_>>(),
                "talks": track.talk_spurts().iter().map(seconds).collect::<Vec<_>>(),
                "samples": base64(bytes),
            })
        })
        .collect();
    let edit = format!("{name}.edit");
    // "</script>" in a label must not end the script that holds it.
    let data = json!({"tracks": lanes, "edit": edit}).to_string().replace('<', "\\u003c");
    let about = tracks.first().map_or_else(String::new, |track| format!("{:.3} s", track.seconds()));
    include_str!("page.html")
        .replace("@TITLE@", &escape(name))
        .replace("@ABOUT@", &escape(&about))
        .replace("@EDIT@", &escape(&edit))
        .replace("@NAME@", &escape(name))
        .replace("@DATA@", &data)
}
