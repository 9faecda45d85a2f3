//! Simulated sessions, and what other programs find in what was recorded of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use vox_e2e::{Entry, Wav, need, read_vox};
use vox_frame::{
    Audio, Channels, Codec, End, EndReason, Format, MediaTime, Opening, Rate, Record, SequenceNumber, Stamp, StreamId,
    Times,
};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// When simulated sessions begin.
pub(crate) const START: i64 = 1_795_000_000_000_000_000;
pub(crate) const SECOND: i64 = 1_000_000_000;
/// A frame of 20 ms, in ns.
pub(crate) const FRAME: i64 = 20_000_000;

/// A session whose records are put into the order of their times.
#[derive(Default)]
pub(crate) struct Session {
    records: Vec<(i64, Vec<u8>)>,
}

impl Session {
    pub(crate) fn add(&mut self, at: i64, record: &Record<'_>) {
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        self.records.push((at, bytes));
    }

    pub(crate) fn open(&mut self, at: i64, id: u32, format: &Format) {
        self.add(at, &Record::Format(StreamId(id), format.clone()));
    }

    pub(crate) fn packet(&mut self, at: i64, id: u32, media: u64, duration: u32, times: Times, payload: &[u8]) {
        self.add(
            at,
            &Record::Audio(Audio {
                id: StreamId(id),
                sequence: SequenceNumber(media / u64::from(duration)),
                timestamp: MediaTime(media),
                duration,
                marker: false,
                recovered: false,
                padding: false,
                times,
                slot: None,
                extensions: &[],
                payload,
            }),
        );
    }

    pub(crate) fn end(&mut self, at: i64, id: u32, media: u64) {
        let (id, timestamp) = (StreamId(id), MediaTime(media));
        self.add(at, &Record::End(End { id, timestamp, times: Times::default(), reason: EndReason::Bye }));
    }

    pub(crate) fn save(mut self, path: &Path) {
        let mut bytes = Vec::new();
        Opening::new(0, [9; 16]).write(&mut bytes);
        self.records.sort_by_key(|(at, _)| *at);
        bytes.extend(self.records.into_iter().flat_map(|(_, record)| record));
        fs::write(path, bytes).expect("a session");
    }
}

pub(crate) fn captured(at: i64) -> Times {
    Times { captured: Some(Stamp::from_ns(at)), ..Times::default() }
}

pub(crate) fn arrived(at: i64) -> Times {
    Times { arrived: Some(Stamp::from_ns(at)), ..Times::default() }
}

pub(crate) fn telephone(label: &str) -> Format {
    let mut format = Format::new(Codec::Pcmu, Rate::HZ_8000, Channels::MONO, 160);
    format.live = true;
    format.label = Some(label.to_owned());
    format
}

/// A number that looks like noise.
pub(crate) fn noise(seed: u64, n: u64) -> u64 {
    let mixed = (n ^ seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
}

/// Files of a folder that end so, by name.
pub(crate) fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder of takes").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    files.sort();
    files
}

/// What the packets of a stream hold, in their order.
pub(crate) fn payloads(path: &Path) -> Vec<Vec<u8>> {
    let payload = |entry| match entry {
        Entry::Audio { payload, .. } => Some(payload),
        _ => None,
    };
    read_vox(path).into_iter().filter_map(payload).collect()
}

/// Samples of a file as ffmpeg decodes it.
#[track_caller]
pub(crate) fn decoded(path: &Path) -> Vec<i16> {
    match readable(path) {
        Ok(samples) => samples,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// The same of a file that may not be one yet: what is wrong with it.
pub(crate) fn readable(path: &Path) -> Result<Vec<i16>, String> {
    need(&["ffmpeg"]);
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:a", "-f", "s16le", "-"])
        .output()
        .expect("ffmpeg runs");
    let error = || String::from_utf8_lossy(&done.stderr).into_owned();
    if done.status.success() { Ok(vox_e2e::raw_samples(&done.stdout)) } else { Err(error()) }
}

/// Samples before the decoder's own padding: seconds of audio as ffprobe's packets say is not exact, this is.
#[track_caller]
pub(crate) fn opus_frames(path: &Path) -> usize {
    need(&["opusdec"]);
    let wav = path.with_extension("decoded.wav");
    let done = Command::new("opusdec").args(["--quiet", "--rate", "48000"]).arg(path).arg(&wav).output();
    let done = done.expect("opusdec runs");
    assert!(done.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&done.stderr));
    Wav::read(&wav).frames()
}

/// What a mu-law byte means (ITU-T G.711).
pub(crate) fn ulaw_byte(code: u8) -> i16 {
    let code = !code;
    let magnitude = ((i16::from(code & 0x0f) << 3) + 0x84) << ((code & 0x70) >> 4);
    if code & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }
}
