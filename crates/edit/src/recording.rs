//! A recording in a file, as the records of a pipe.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use vox_cli::{Failure, Output};
use vox_container::{ogg_opus, wav};
use vox_frame::{
    Audio, Codec, End, EndReason, Format, Item, MediaTime, Rate, Record, SequenceNumber, Splitter, StreamId, Times,
};

use crate::editor::Editor;

/// Frames of a record of PCM, in ns.
const FRAME_NS: i64 = 20_000_000;

/// Reads a file through the editor to its end.
///
/// # Errors
/// Where it cannot be read or is none that is known (3), or stdout cannot be written.
pub(crate) fn edit(path: &Path, editor: &mut Editor, output: &mut Output) -> Result<(), Failure> {
    let bad = |what: &str| Failure::input(format_args!("{}: {what}", path.display()));
    let failed = |error: std::io::Error| Failure::input(format_args!("cannot read {}: {error}", path.display()));
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| Failure::failed(format_args!("no random numbers: {error}")))?;
    let id = StreamId(u32::from_ne_bytes(random));
    let mut reader = Reader { id, editor, output };
    match &magic[..] {
        b"RIFF" | b"RF64" | b"BW64" => reader.wav(&mut file, &bad),
        b"OggS" => reader.opus(file, &bad),
        _ => reader.vox(&mut file, &bad),
    }
}

struct Reader<'a> {
    id: StreamId,
    editor: &'a mut Editor,
    output: &'a mut Output,
}

impl Reader<'_> {
    fn wav(&mut self, file: &mut (impl Read + Seek), bad: &dyn Fn(&str) -> Failure) -> Result<(), Failure> {
        let found = wav::find(file).map_err(|what| bad(&what))?;
        let spec = found.spec;
        let narrow = matches!(spec.sample, wav::Sample::U8 | wav::Sample::S16 | wav::Sample::Mulaw | wav::Sample::Alaw);
        let codec = if narrow { Codec::PcmS16 } else { Codec::PcmF32 };
        let frame = spec.rate.ticks(FRAME_NS).max(1);
        self.record(&Record::Format(self.id, Format::new(codec, spec.rate, spec.channels, frame as u32)))?;
        let (mut samples, mut payload) = (Vec::new(), Vec::new());
        let mut bytes = vec![0; frame as usize * spec.frame_bytes()];
        let (mut at, mut left) = (0, found.data);
        while left > 0 {
            let now = (bytes.len() as u64).min(left) as usize;
            file.read_exact(&mut bytes[..now]).map_err(|error| bad(&error.to_string()))?;
            samples.clear();
            payload.clear();
            spec.sample.read(&bytes[..now], &mut samples);
            if narrow {
                wav::Sample::S16.write(&samples, &mut payload);
            } else {
                wav::Sample::F32.write(&samples, &mut payload);
            }
            let frames = now / spec.frame_bytes();
            self.audio(at, frames as u32, &payload)?;
            at += frames as u64;
            left -= now as u64;
        }
        self.end(at)
    }

    fn opus(&mut self, file: BufReader<File>, bad: &dyn Fn(&str) -> Failure) -> Result<(), Failure> {
        let mut reader = ogg_opus::Reader::open(file).map_err(|what| bad(&what))?;
        let mut format = Format::new(Codec::Opus, Rate::HZ_48000, reader.channels, 960);
        format.pre_skip = reader.pre_skip;
        self.record(&Record::Format(self.id, format))?;
        let mut at = 0;
        while let Some((payload, ticks)) = reader.next_packet().map_err(|what| bad(&what))? {
            self.audio(at, ticks, &payload)?;
            at += u64::from(ticks);
        }
        self.end(reader.length())
    }

    fn vox(&mut self, file: &mut impl Read, bad: &dyn Fn(&str) -> Failure) -> Result<(), Failure> {
        let mut splitter = Splitter::new();
        loop {
            while let Some(item) = splitter.poll().map_err(|error| bad(&error.to_string()))? {
                let Item::Record(raw) = item else { continue };
                let record = raw.parse().map_err(|error| bad(&error.to_string()))?;
                self.editor.handle(&record, Some(raw), self.output)?;
            }
            match file.read(splitter.space()).map_err(|error| bad(&error.to_string()))? {
                0 => return splitter.finish().map_err(|error| bad(&error.to_string())),
                more => splitter.commit(more),
            }
        }
    }

    fn audio(&mut self, at: u64, duration: u32, payload: &[u8]) -> Result<(), Failure> {
        self.record(&Record::Audio(Audio {
            id: self.id,
            sequence: SequenceNumber(0),
            timestamp: MediaTime(at),
            duration,
            marker: false,
            recovered: false,
            padding: false,
            times: Times::default(),
            slot: None,
            extensions: &[],
            payload,
        }))
    }

    fn end(&mut self, at: u64) -> Result<(), Failure> {
        let (id, timestamp) = (self.id, MediaTime(at));
        self.record(&Record::End(End { id, timestamp, times: Times::default(), reason: EndReason::Complete }))
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        self.editor.handle(record, None, self.output)
    }
}
