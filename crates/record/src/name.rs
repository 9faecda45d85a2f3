//! Names of files: from a template, never over a file that is there, never into another folder.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use vox_cli::Failure;
use vox_frame::{Format, Stamp, StreamId};

/// The longest part of a name that a label may give, in bytes: file systems take 255 for the whole.
const MAX_PART: usize = 80;

/// How many files of one name are told apart by a number.
const MAX_SUFFIX: u32 = 100_000;

/// Where files go and what they are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Naming {
    folder: PathBuf,
    template: String,
}

/// What a name is made from.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// What people call the stream.
    pub(crate) label: String,
    /// Its source (RFC 3550), or its id.
    pub(crate) ssrc: String,
    /// When the recording began.
    pub(crate) start: String,
    /// The same, as people write it.
    pub(crate) time: String,
    /// Whether it is the mix.
    pub(crate) is_mix: bool,
}

impl Facts {
    /// Those of a stream.
    pub(crate) fn of(id: StreamId, format: &Format, start: Stamp) -> Self {
        let ssrc = format.rtp.as_ref().map_or_else(|| id.to_string(), |rtp| format!("{:08x}", rtp.ssrc));
        let label = format.label.as_deref().map(sane).filter(|label| !label.is_empty());
        let label = label.unwrap_or_else(|| ssrc.clone());
        Self { label, ssrc, start: utc(start), time: time(start), is_mix: false }
    }

    /// Those of something that is no stream.
    pub(crate) fn named(label: &str, start: Stamp) -> Self {
        let is_mix = false;
        Self { label: label.to_owned(), ssrc: label.to_owned(), start: utc(start), time: time(start), is_mix }
    }

    /// Those of the mix.
    pub(crate) fn mix(start: Stamp) -> Self {
        Self { is_mix: true, ..Self::named("mix", start) }
    }
}

impl Naming {
    /// Files in `folder`, named by `template`.
    ///
    /// # Errors
    /// Where the template would leave the folder (2).
    pub(crate) fn in_folder(folder: &Path, template: &str) -> Result<Self, Failure> {
        if template.contains('/') || template.is_empty() || template.starts_with('.') {
            return Err(Failure::usage("--name is a file's name without a folder, such as {start}-{label}"));
        }
        Ok(Self { folder: folder.to_owned(), template: template.to_owned() })
    }

    /// One file of that stem beside others.
    pub(crate) fn file(path: &Path) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let stem = path.file_stem().map_or_else(|| "recording".to_owned(), |stem| stem.to_string_lossy().into_owned());
        Self { folder: folder.to_owned(), template: stem.replace(['{', '}'], "_") }
    }

    /// Creates a file that was not there.
    ///
    /// # Errors
    /// As the system says, with the path.
    pub(crate) fn create(&self, facts: &Facts, part: Option<u32>, extension: &str) -> Result<(File, PathBuf), Failure> {
        let mut stem = self.template.clone();
        let Facts { label, ssrc, start, time, .. } = facts;
        // What a label says is no template: it comes last.
        for (key, value) in [("{ssrc}", ssrc), ("{start}", start), ("{time}", time), ("{label}", label)] {
            stem = stem.replace(key, value);
        }
        if let Some(part) = part {
            stem = format!("{stem}-{part:04}");
        }
        for suffix in 1..MAX_SUFFIX {
            let name = if suffix == 1 { format!("{stem}.{extension}") } else { format!("{stem}-{suffix}.{extension}") };
            let path = self.folder.join(name);
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((file, path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(cannot("create", &path, &error)),
            }
        }
        Err(Failure::failed(format_args!("{}: too many files of that name", self.folder.join(&stem).display())))
    }
}

/// A failure to do something with a file.
pub(crate) fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let room = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; what was recorded until now is in the files",
        _ => "",
    };
    Failure::failed(format_args!("cannot {what} {}: {error}{room}", path.display()))
}

/// A label as a part of a file's name: letters, digits, and what is harmless. It may leave nothing.
pub fn sane(label: &str) -> String {
    let mut out = String::new();
    for letter in label.trim().chars() {
        let letter = if letter.is_alphanumeric() || "-_+@,.".contains(letter) { letter } else { '_' };
        if out.len() + letter.len_utf8() > MAX_PART {
            break;
        }
        out.push(letter);
    }
    out.trim_matches(['.', '_', '-']).to_owned()
}

/// The time as it stands in a file's name: `20261121T100115Z`.
pub(crate) fn utc(stamp: Stamp) -> String {
    let [year, month, day, hour, minute, second] = calendar(stamp);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// The same as people write it: `2026-11-21_10-01-15`.
fn time(stamp: Stamp) -> String {
    let [year, month, day, hour, minute, second] = calendar(stamp);
    format!("{year:04}-{month:02}-{day:02}_{hour:02}-{minute:02}-{second:02}")
}

/// Year, month, day, hour, minute and second (UTC).
fn calendar(stamp: Stamp) -> [i64; 6] {
    let seconds = stamp.ns().div_euclid(1_000_000_000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01 in eras of 400 years (the proleptic Gregorian calendar).
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    [year, month, day, rest / 3600, rest / 60 % 60, rest % 60]
}

#[cfg(test)]
mod tests {
    use vox_frame::{Channels, Codec, Rate};

    use super::*;

    #[test]
    fn the_time_is_that_of_the_calendar() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_795_255_275, "20261121T100115Z"),
            (4_107_542_399, "21000228T235959Z"),
        ] {
            assert_eq!(utc(Stamp::from_ns(seconds * 1_000_000_000)), text);
        }
        assert_eq!(time(Stamp::from_ns(1_795_255_275_000_000_000)), "2026-11-21_10-01-15");
    }

    #[test]
    fn a_label_leads_nowhere() {
        for (label, name) in [
            ("../../etc/passwd", "etc_passwd"),
            ("/root/.ssh/id", "root_.ssh_id"),
            ("..", ""),
            ("a\0b\nc", "a_b_c"),
            ("Zoë 小明", "Zoë_小明"),
            ("-rf", "rf"),
        ] {
            assert_eq!(sane(label), name);
        }
        assert!(sane(&"ä".repeat(500)).len() <= MAX_PART);
    }

    #[test]
    fn a_stream_without_a_usable_label_is_named_by_its_source() {
        let mut format = Format::new(Codec::Pcmu, Rate::HZ_8000, Channels::MONO, 160);
        format.label = Some("...".to_owned());
        assert_eq!(Facts::of(StreamId(0xabc), &format, Stamp::ZERO).label, "00000abc");
    }

    #[test]
    fn a_template_stays_in_its_folder() {
        assert!(Naming::in_folder(Path::new("takes"), "../{label}").is_err());
        assert!(Naming::in_folder(Path::new("takes"), "{label}").is_ok());
    }
}
