//! Mends the header of a WAV file that a crash, a full disk or a pipe left wrong.

use std::io::{Read, Seek, SeekFrom, Write};

use crate::find::{Layout, layout};

/// What was done to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// What was wrong, a short sentence each; empty where nothing was.
    pub faults: Vec<String>,
    /// Frames of audio in it.
    pub frames: u64,
    /// Frames a second.
    pub rate: u32,
    /// How long the file should be, where it holds a broken frame at its end or lacks its last byte of padding.
    pub length: Option<u64>,
}

/// Mends the header in place: no sample is moved. The caller then gives the file the length that [`Mended::length`]
/// says.
///
/// # Errors
/// A sentence where it cannot be mended.
pub fn mend_wav(file: &mut (impl Read + Write + Seek)) -> Result<Mended, String> {
    let layout = layout(file)?;
    let mut mender = Mender { file, faults: Vec::new() };
    let data = mender.true_data(&layout)?;
    mender.format(&layout)?;
    let behind = behind(&layout, data);
    let end = layout.head.start + data + if behind { layout.length - layout.head.start - data } else { data % 2 };
    mender.sizes(&layout, data, end - 8)?;
    let frames = data / layout.head.spec.frame_bytes() as u64;
    let length = (end != layout.length).then_some(end);
    if length.is_some() && layout.length > end {
        mender.faults.push(format!("{} bytes of a broken frame at its end", layout.length - end));
    }
    Ok(Mended { faults: mender.faults, frames, rate: layout.head.spec.rate.hz(), length })
}

/// Whether more chunks stand behind the samples.
fn behind(layout: &Layout, data: u64) -> bool {
    let end = layout.head.start + data + data % 2;
    layout.head.claimed == Some(data) && end + 8 <= layout.length
}

struct Mender<'a, F> {
    file: &'a mut F,
    faults: Vec<String>,
}

impl<F: Read + Write + Seek> Mender<'_, F> {
    /// Bytes of samples: what the header says where a chunk or the end of the file stands behind them, else all.
    fn true_data(&mut self, layout: &Layout) -> Result<u64, String> {
        let frame = layout.head.spec.frame_bytes() as u64;
        let all = (layout.length - layout.head.start) / frame * frame;
        let Some(claimed) = layout.head.claimed else {
            self.faults.push("no size of its samples".to_owned());
            return Ok(all);
        };
        let end = layout.head.start.saturating_add(claimed);
        if end > layout.length {
            self.faults.push(format!("{} bytes of samples are missing", end - layout.length));
            return Ok(all);
        }
        let padded = end + claimed % 2;
        if padded >= layout.length || self.is_chunk(padded, layout.length)? {
            return Ok(claimed / frame * frame);
        }
        self.faults.push(format!("{} bytes of samples behind those it counts", layout.length - end));
        Ok(all)
    }

    /// Whether a chunk that fits the file begins at `offset`.
    fn is_chunk(&mut self, offset: u64, length: u64) -> Result<bool, String> {
        if offset + 8 > length {
            return Ok(false);
        }
        let mut head = [0; 8];
        self.file.seek(SeekFrom::Start(offset)).map_err(|error| error.to_string())?;
        self.file.read_exact(&mut head).map_err(|error| error.to_string())?;
        let size = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
        let named = head[..4].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b' ' || *byte == b'_');
        Ok(named && offset + 8 + size <= length + 1)
    }

    /// Bytes a second and bytes a frame, which follow from the rest.
    fn format(&mut self, layout: &Layout) -> Result<(), String> {
        let frame = layout.head.spec.frame_bytes() as u32;
        let mut right = layout.head.spec.rate.hz().saturating_mul(frame).to_le_bytes().to_vec();
        right.extend_from_slice(&(frame as u16).to_le_bytes());
        self.set(layout.head.format + 8, &right, "wrong bytes a second or a frame")
    }

    fn sizes(&mut self, layout: &Layout, data: u64, riff: u64) -> Result<(), String> {
        let small = u32::try_from(riff).ok();
        match (small, layout.head.large) {
            (Some(riff), _) => {
                let marked = layout.head.large.is_some();
                self.set(0, b"RIFF", "the name of its 64-bit form, which it does not need")?;
                if marked {
                    self.set(12, b"JUNK", "64-bit sizes, which it does not need")?;
                }
                self.set(4, &riff.to_le_bytes(), "a wrong size of the file")?;
                self.set(layout.head.start - 4, &(data as u32).to_le_bytes(), "a wrong size of its samples")
            }
            (None, Some(large)) => {
                let mut name = [0; 4];
                self.file.seek(SeekFrom::Start(0)).map_err(|error| error.to_string())?;
                self.file.read_exact(&mut name).map_err(|error| error.to_string())?;
                self.set(0, if &name == b"BW64" { b"BW64" } else { b"RF64" }, "no 64-bit form")?;
                self.set(large - 8, b"ds64", "no 64-bit sizes")?;
                let frames = data / layout.head.spec.frame_bytes() as u64;
                let right: Vec<u8> = [riff, data, frames].iter().flat_map(|size| size.to_le_bytes()).collect();
                self.set(large, &right, "wrong 64-bit sizes")?;
                self.set(4, &[0xff; 4], "a wrong size of the file")?;
                self.set(layout.head.start - 4, &[0xff; 4], "a wrong size of its samples")
            }
            // No room for 64-bit sizes: readers take the largest size for "until the file ends".
            (None, None) => {
                self.set(4, &[0xff; 4], "a wrong size of the file")?;
                self.set(layout.head.start - 4, &[0xff; 4], "a wrong size of its samples")
            }
        }
    }

    fn set(&mut self, offset: u64, right: &[u8], fault: &str) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("cannot be mended: {error}");
        let mut found = vec![0; right.len()];
        self.file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        self.file.read_exact(&mut found).map_err(failed)?;
        if found != right {
            self.faults.push(fault.to_owned());
            self.file.seek(SeekFrom::Start(offset)).map_err(failed)?;
            self.file.write_all(right).map_err(failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use vox_frame::{Channels, Rate};

    use super::*;
    use crate::{Large, Sample, Spec, find};

    const SPEC: Spec = Spec { sample: Sample::S16, rate: Rate::HZ_8000, channels: Channels::STEREO };

    fn file(claimed: u64, there: usize) -> Cursor<Vec<u8>> {
        let mut file = SPEC.header(claimed, Large::Rf64);
        file.extend((0..there).map(|n| n as u8));
        Cursor::new(file)
    }

    fn mended(mut file: Cursor<Vec<u8>>) -> (Mended, Vec<u8>) {
        let mended = mend_wav(&mut file).unwrap();
        let mut bytes = file.into_inner();
        if let Some(length) = mended.length {
            bytes.resize(length as usize, 0);
        }
        (mended, bytes)
    }

    #[test]
    fn a_sound_file_is_left_alone() {
        let before = file(400, 400);
        let (done, after) = mended(before.clone());
        assert_eq!((done.faults.len(), done.frames, done.length), (0, 100, None));
        assert_eq!(after, before.into_inner());
    }

    #[test]
    fn a_header_that_lags_behind_a_crash_gets_all_samples() {
        let (done, after) = mended(file(0, 402));
        assert_eq!(done.frames, 100);
        assert_eq!(after, file(400, 400).into_inner(), "the broken frame is gone, the rest as if it had been closed");
        let (done, _) = mended(file(100, 400));
        assert_eq!(done.frames, 100);
    }

    #[test]
    fn a_truncated_file_and_one_from_a_pipe_count_what_is_there() {
        for claimed in [4_000, u64::from(u32::MAX) - 100, 5 << 30] {
            let (done, mut after) = mended(file(claimed, 400));
            assert_eq!(done.frames, 100);
            after[20..48].fill(0);
            assert_eq!(after, file(400, 400).into_inner());
        }
    }

    #[test]
    fn what_stands_behind_the_samples_stays() {
        let mut bytes = file(400, 400).into_inner();
        bytes.extend_from_slice(b"LIST\x04\0\0\0INFO");
        bytes[4..8].copy_from_slice(&7_u32.to_le_bytes());
        let (done, after) = mended(Cursor::new(bytes.clone()));
        assert_eq!((done.faults.len(), done.frames), (1, 100));
        assert_eq!(after.len(), bytes.len());
        assert_eq!(after[4..8], (bytes.len() as u32 - 8).to_le_bytes());
        assert_eq!(find(&mut Cursor::new(after)).unwrap().frames(), 100);
    }

    #[test]
    fn bytes_a_frame_that_are_wrong_are_computed() {
        let mut bytes = file(400, 400).into_inner();
        let at = 12 + 8 + 28 + 8;
        bytes[at + 8..at + 14].fill(0);
        let (done, after) = mended(Cursor::new(bytes));
        assert_eq!((done.faults.len(), after), (1, file(400, 400).into_inner()));
    }

    #[test]
    fn what_is_no_wav_cannot_be_mended() {
        assert!(mend_wav(&mut Cursor::new(b"OggS".to_vec())).is_err());
        assert!(mend_wav(&mut Cursor::new(b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec())).is_err());
    }
}
