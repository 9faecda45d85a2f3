//! Files, stdin and generators as one thing: bytes of samples with a shape.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use vox_cli::{Failure, Wake, stop_requested, warn};
use vox_frame::{Channels, Codec, Rate};
use vox_sys::pipe;
use vox_wav::{Head, Sample, Spec};

use crate::args::{Args, Source};
use crate::decoded::Decoded;
use crate::encoding::natural_pcm;
use crate::generate::{Generator, Signal};

/// Bytes that are read at once.
const CHUNK: usize = 65_536;

/// A source that is not paced by the world.
pub(crate) struct Samples {
    kind: Kind,
    shape: Spec,
    natural: Codec,
}

enum Kind {
    Bytes(Bytes),
    Decoded(Box<Decoded>),
    Generated(Generator),
}

impl Samples {
    /// Opens what the arguments name.
    ///
    /// # Errors
    /// When it cannot be opened or is no audio (3), or the arguments contradict it (2).
    pub(crate) fn open(source: &Source, args: &Args) -> Result<Self, Failure> {
        let asked = |sample| Spec {
            sample,
            rate: args.rate.map_or(Rate::HZ_48000, |rate| rate.0),
            channels: args.channels.unwrap_or(Channels::MONO),
        };
        let generated = |signal| {
            let shape = asked(Sample::F32);
            let generator = Generator::new(signal, shape.rate.hz(), shape.channels.count());
            Ok(Self { kind: Kind::Generated(generator), shape, natural: Codec::PcmS16 })
        };
        match source {
            Source::Device(id) => Err(Failure::usage(format_args!("{id} is a device"))),
            Source::File(path) => Self::file(path, args.raw.map(asked)),
            Source::Noise(seed) => generated(Signal::Noise(seed.or(args.seed).unwrap_or(0))),
            Source::Silence => generated(Signal::Silence),
            Source::Stdin => Self::stdin(args.raw.map(asked), args.batch),
            Source::Tone(tone) => {
                let rate = asked(Sample::F32).rate;
                if tone.hz > f64::from(rate.hz()) / 2.0 {
                    return Err(Failure::usage(format_args!("{rate} carries tones up to half of it, not {source}")));
                }
                generated(Signal::Tone(*tone))
            }
        }
    }

    /// What the samples are.
    pub(crate) const fn shape(&self) -> Spec {
        self.shape
    }

    /// The PCM that keeps every bit of them.
    pub(crate) fn natural_pcm(&self) -> Codec {
        self.natural.clone()
    }

    /// Whether the next read may have to wait for somebody.
    pub(crate) fn would_wait(&self) -> bool {
        match &self.kind {
            Kind::Bytes(bytes) => bytes.would_wait(),
            Kind::Decoded(_) | Kind::Generated(_) => false,
        }
    }

    /// Replaces `chunk` by the next samples, whole frames only; false at the end (or after a signal).
    ///
    /// # Errors
    /// When the source cannot be read (1) or is damaged (3).
    pub(crate) fn read(&mut self, chunk: &mut Vec<u8>) -> Result<bool, Failure> {
        match &mut self.kind {
            Kind::Bytes(bytes) => bytes.read(self.shape.frame_bytes(), chunk),
            Kind::Decoded(decoded) => {
                chunk.clear();
                decoded.read(chunk)
            }
            Kind::Generated(generator) => {
                chunk.clear();
                generator.read(chunk);
                Ok(true)
            }
        }
    }

    fn file(path: &Path, raw: Option<Spec>) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let unreadable = |error| Failure::input(format_args!("cannot read {name}: {error}"));
        let mut file = File::open(path).map_err(unreadable)?;
        if let Some(shape) = raw {
            return Ok(Self::bytes(Bytes::new(file.into(), name.clone(), None), shape));
        }
        let mut magic = [0; 4];
        let known = file.read_exact(&mut magic).is_ok();
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(unreadable(ErrorKind::IsADirectory.into()));
        }
        if known && &magic == b"\x93VOX" {
            return Err(Failure::input(format_args!("{name} is a vox stream already: `vox-play < {name}`")));
        }
        file.seek(SeekFrom::Start(0)).map_err(|_| {
            Failure::input(format_args!("{name} is no file: `vox-capture - < {name}` reads WAV from a pipe"))
        })?;
        if !(known && matches!(&magic, b"RIFF" | b"RF64" | b"BW64")) {
            let decoded = Decoded::open(path, file)?;
            let shape = decoded.shape();
            return Ok(Self { natural: natural_pcm(shape.sample), shape, kind: Kind::Decoded(Box::new(decoded)) });
        }
        let header = read_head(&mut std::io::BufReader::new(&file))
            .map_err(|problem| Failure::input(format_args!("{name}: {problem}")))?;
        file.seek(SeekFrom::Start(header.start)).map_err(unreadable)?;
        Ok(Self::bytes(Bytes::new(file.into(), name.clone(), header.claimed), header.spec))
    }

    fn stdin(raw: Option<Spec>, batch: bool) -> Result<Self, Failure> {
        if pipe::is_terminal(rustix::stdio::stdin()) {
            return Err(Failure::usage(
                "stdin is a terminal: `-` reads WAV or raw samples, as in `sox … -t wav - | vox-capture -`",
            ));
        }
        let stdin = rustix::stdio::stdin().try_clone_to_owned();
        let stdin = stdin.map_err(|error| Failure::input(format_args!("cannot read stdin: {error}")))?;
        if batch {
            pipe::set_size(&stdin, pipe::BATCH_PIPE);
        }
        let mut bytes = Bytes::new(stdin, "stdin".to_owned(), None);
        if let Some(shape) = raw {
            return Ok(Self::bytes(bytes, shape));
        }
        let header = read_head(&mut bytes).map_err(|problem| {
            Failure::input(format_args!(
                "stdin: {problem}; name other files (`vox-capture FILE`), and say what raw samples are (`--raw s16le --rate 48000`)"
            ))
        })?;
        bytes.left = header.claimed;
        Ok(Self::bytes(bytes, header.spec))
    }

    fn bytes(bytes: Bytes, shape: Spec) -> Self {
        Self { kind: Kind::Bytes(bytes), shape, natural: natural_pcm(shape.sample) }
    }
}

/// A header that a stream can follow.
fn read_head(input: &mut impl Read) -> Result<Head, String> {
    let head = vox_wav::read(input)?;
    let (hz, channels) = (head.spec.rate.hz(), head.spec.channels.count());
    if !(5_000..=192_000).contains(&hz) {
        return Err(format!("it has a rate of {hz} Hz (5000 to 192000 are supported)"));
    }
    if channels > 8 {
        return Err(format!("it has {channels} channels (1 to 8 are supported)"));
    }
    Ok(head)
}

/// Samples as they stand in a file or a pipe.
struct Bytes {
    fd: OwnedFd,
    name: String,
    regular: bool,
    /// Bytes of samples that the header promises; none where nobody knows.
    left: Option<u64>,
    /// Bytes of a frame that is not yet whole.
    rest: Vec<u8>,
}

impl Bytes {
    fn new(fd: OwnedFd, name: String, left: Option<u64>) -> Self {
        let regular = pipe::is_regular_file(&fd);
        Self { fd, name, regular, left, rest: Vec::new() }
    }

    fn would_wait(&self) -> bool {
        !self.regular && pipe::wait(&[self.fd.as_fd()], None, Some(0)).is_ok_and(|ready| ready.is_none())
    }

    fn read(&mut self, frame: usize, chunk: &mut Vec<u8>) -> Result<bool, Failure> {
        let held = self.rest.len();
        let limit = self.left.map_or(CHUNK, |left| usize::try_from(left).unwrap_or(CHUNK).min(CHUNK));
        chunk.resize(held + limit, 0);
        chunk[..held].copy_from_slice(&self.rest);
        let read = if limit == 0 { 0 } else { self.fill(&mut chunk[held..])? };
        if read == 0 {
            self.warn_of_the_missing();
            return Ok(false);
        }
        if let Some(left) = &mut self.left {
            *left -= read as u64;
        }
        let whole = (held + read) / frame * frame;
        self.rest.clear();
        self.rest.extend_from_slice(&chunk[whole..held + read]);
        chunk.truncate(whole);
        Ok(true)
    }

    /// Reads what is there; 0 at the end of the input or after a signal.
    fn fill(&self, space: &mut [u8]) -> Result<usize, Failure> {
        loop {
            if stop_requested() {
                return Ok(0);
            }
            if !self.regular && vox_cli::wait(Some(self.fd.as_fd()), None)? == Wake::Signal {
                return Ok(0);
            }
            match pipe::read(&self.fd, space) {
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::failed(format_args!("cannot read {}: {error}", self.name))),
            }
        }
    }

    fn warn_of_the_missing(&self) {
        if stop_requested() {
            return;
        }
        if let Some(left) = self.left.filter(|&left| left > 0) {
            warn(format_args!("{} ends {left} bytes before its header says", self.name));
        } else if !self.rest.is_empty() {
            warn(format_args!("{} ends inside a sample: {} bytes were left out", self.name, self.rest.len()));
        }
    }
}

impl Read for Bytes {
    fn read(&mut self, space: &mut [u8]) -> std::io::Result<usize> {
        self.fill(space).map_err(|failure| std::io::Error::other(failure.message))
    }
}
