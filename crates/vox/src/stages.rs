//! Which stages there are and where their programs lie.

use std::path::PathBuf;

/// The stages in the order of a call, each with its sentence.
pub(crate) const STAGES: &[(&str, &str)] = &[
    ("capture", "a device, a file, stdin, a tone or silence becomes a stream"),
    ("encode", "encodes PCM: opus, pcmu, pcma, l16"),
    ("send", "sends streams as RTP over UDP"),
    ("recv", "receives RTP, a stream per sender"),
    ("jitter", "says when each packet is to be played and what is missing"),
    ("decode", "decodes to PCM, concealing what is missing"),
    ("play", "plays streams on a device, into a WAV or to stdout"),
    ("record", "records streams, a file each or all in one, on one time line"),
    ("wave", "draws a recording: terminal, PNG, SVG, or a page that edits it"),
    ("edit", "applies a list of edits: cut, keep, insert, gain, fade, speed, pitch"),
    ("score", "says what became of a recording: delay, drift, what is missing, noise"),
    ("inspect", "shows what passes through and changes nothing"),
    ("meter", "shows levels, loudness, losses and delays of what passes through"),
    ("gain", "makes PCM louder, softer or even; fades, limits, mutes"),
    ("gate", "says when somebody talks, and leaves the rest out"),
    ("denoise", "takes fans and hiss away from voices"),
    ("mix", "mixes streams to one, aligned by time, all or all but one"),
    ("tee", "copies a stream into files, FIFOs and commands that cannot stall it"),
    ("replay", "plays a kept stream again, paced by its stamps"),
    ("roomd", "a server of rooms: people enter, talk and hear each other"),
    ("join", "enters a room: stdin goes out, stdout carries what is said there"),
    ("call", "calls somebody through a room server: a private call between two"),
    ("ws", "speaks the media-stream protocol of voice bots over WebSocket, both sides"),
    ("doctor", "says what of this host works for audio, what does not, and what to do"),
    ("impair", "a simulated network in the pipe, the same for the same seed"),
];

/// The program of stage `name`: beside this program first, so that a build is whole, then in PATH.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return None;
    }
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(std::path::Path::parent).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(format!("vox-{name}")))
        .find(|program| program.is_file())
}

/// The stage whose name is most like `name`, if any is near.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let (distance, stage) = STAGES.iter().map(|(stage, _)| (distance(name, stage), *stage)).min()?;
    (distance <= 3).then_some(stage)
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_stage() {
        assert_eq!(nearest("captrue"), Some("capture"));
        assert_eq!(nearest("jiter"), Some("jitter"));
        assert_eq!(nearest("something-else"), None);
    }

    #[test]
    fn a_stage_name_is_no_path() {
        assert_eq!(find("../../bin/sh"), None);
        assert_eq!(find(""), None);
    }
}
