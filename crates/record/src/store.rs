//! Where files are made, forced to the disk, and written about in the sidecar.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Sender, bounded};
use serde_json::{Value, json};
use vox_cli::{Failure, warn};
use vox_container::wav::{Sample, Spec};
use vox_frame::{Channels, Rate, Stamp};

use crate::args::{Args, Kind, Split};
use crate::file::{PcmFile, WavFile};
use crate::flac::{FlacFile, takes};
use crate::name::{Facts, Naming, cannot};

/// How often files are forced to the disk, in ns.
const SYNC_NS: i64 = 800_000_000;

/// The most lines that wait for the beginning.
const MAX_KEPT: usize = 4096;

/// Makes files and writes about them.
pub(crate) struct Store {
    naming: Naming,
    kind: Kind,
    /// Samples of PCM files, where somebody asked.
    sample: Option<Sample>,
    large: vox_container::wav::Large,
    /// When a new file begins.
    pub(crate) split: Option<Split>,
    sidecar: Option<(File, PathBuf)>,
    disk: Disk,
    /// Files that were written to since they were last forced to the disk, and when that was.
    unsynced: Vec<Arc<File>>,
    synced: Stamp,
    begun: Option<Stamp>,
    /// Lines from before the recording began.
    kept: Vec<Value>,
    wants_sidecar: bool,
    /// Names of the mix and of the sidecar.
    mixed: Naming,
    beside: Naming,
}

impl Store {
    /// As the arguments say; makes the folder.
    ///
    /// # Errors
    /// Where the folder cannot be made, or a name is none.
    pub(crate) fn new(args: &Args, to: &Path) -> Result<Self, Failure> {
        let is_folder = to.is_dir() || to.as_os_str().to_string_lossy().ends_with('/') || to.extension().is_none();
        let (naming, beside) = if is_folder {
            std::fs::create_dir_all(to).map_err(|error| cannot("make the folder", to, &error))?;
            let beside = args.mix_name.as_deref().unwrap_or("{start}");
            (Naming::in_folder(to, &args.name)?, Naming::in_folder(to, beside)?)
        } else {
            (Naming::file(to), Naming::file(to))
        };
        let named = if is_folder { Some(Kind::Wav) } else { Kind::of_extension(to) };
        let kind = args.format.or(named).ok_or_else(|| {
            Failure::usage(format_args!(
                "{}: what is it to be? Name it .wav, .opus or .flac, or say --format",
                to.display()
            ))
        })?;
        if kind == Kind::Flac && args.bits == Some(crate::args::Bits::Float) {
            return Err(Failure::usage("FLAC has no float samples: --bits 16 or 24"));
        }
        Ok(Self {
            mixed: if args.mix_name.is_some() { beside.clone() } else { naming.clone() },
            naming,
            kind,
            sample: args.bits.map(crate::args::Bits::sample),
            large: args.large.form(),
            split: args.split,
            sidecar: None,
            disk: Disk::new(),
            unsynced: Vec::new(),
            synced: Stamp::ZERO,
            begun: None,
            kept: Vec::new(),
            wants_sidecar: !args.no_sidecar,
            beside,
        })
    }

    /// What kind of files streams become.
    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// The kind of files that PCM becomes.
    fn pcm_kind(&self, rate: Rate, channels: Channels) -> Kind {
        match self.kind {
            Kind::Flac if takes(rate, channels) => Kind::Flac,
            _ => Kind::Wav,
        }
    }

    /// What the files of a stream hold, whose samples are float or not. Says so where they cannot be what was asked for.
    pub(crate) fn spec(&self, stream: &str, float: bool, rate: Rate, channels: Channels) -> Spec {
        let kind = self.pcm_kind(rate, channels);
        if self.kind == Kind::Flac && kind != Kind::Flac {
            warn(format_args!("{stream} becomes WAV: FLAC takes up to 96 kHz and 8 channels here"));
        }
        let natural = match (float, kind) {
            (false, _) => Sample::S16,
            (true, Kind::Flac) => Sample::S24,
            (true, _) => Sample::F32,
        };
        Spec { sample: self.sample.unwrap_or(natural), rate, channels }
    }

    /// The recording begins at `start`: from now on there is a sidecar, `named` as the other files.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(crate) fn begin(&mut self, named: Stamp, start: Stamp) -> Result<(), Failure> {
        self.begun = Some(start);
        if self.wants_sidecar {
            self.sidecar = Some(self.beside.create(&Facts::named("recording", named), None, "jsonl")?);
        }
        let unix = start.ns() as f64 / 1e9;
        self.note(&json!({"recording": env!("CARGO_PKG_VERSION"), "start": crate::name::utc(start), "unix": unix}))?;
        std::mem::take(&mut self.kept).iter().try_for_each(|line| self.note(line))
    }

    /// A line in the sidecar, which waits until the recording has begun.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(crate) fn note_or_keep(&mut self, line: Value) -> Result<(), Failure> {
        if self.begun.is_some() {
            return self.note(&line);
        }
        if self.kept.len() < MAX_KEPT {
            self.kept.push(line);
        }
        Ok(())
    }

    /// A line in the sidecar.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(crate) fn note(&mut self, line: &Value) -> Result<(), Failure> {
        let Some((file, path)) = &mut self.sidecar else { return Ok(()) };
        let text = format!("{line}\n");
        file.write_all(text.as_bytes()).map_err(|error| cannot("write", path, &error))
    }

    /// A new file of PCM.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub(crate) fn pcm(&mut self, facts: &Facts, part: Option<u32>, spec: Spec) -> Result<PcmFile, Failure> {
        let kind = self.pcm_kind(spec.rate, spec.channels);
        let naming = if facts.is_mix { &self.mixed } else { &self.naming };
        let (file, path) = naming.create(facts, part, kind.extension())?;
        let made = match kind {
            Kind::Flac => FlacFile::create(file, path.clone(), spec).map(|file| PcmFile::Flac(Box::new(file))),
            _ => WavFile::create(file, path.clone(), spec, self.large).map(PcmFile::Wav),
        };
        made.map_err(|error| cannot("write", &path, &error))
    }

    /// A new Ogg file.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub(crate) fn ogg(&self, facts: &Facts, part: Option<u32>) -> Result<(File, PathBuf), Failure> {
        self.naming.create(facts, part, Kind::Opus.extension())
    }

    /// Has what was written to these files forced to the disk, without waiting for it.
    pub(crate) fn sync(&mut self, files: Vec<Arc<File>>, now: Stamp) {
        self.unsynced.retain(|file| !files.iter().any(|other| Arc::ptr_eq(file, other)));
        self.unsynced.extend(files);
        if now.since(self.synced) >= SYNC_NS {
            self.synced = now;
            self.disk.sync(std::mem::take(&mut self.unsynced));
        }
    }
}

/// Forces files to the disk beside the main loop: a disk may take its time, the pipe may not.
struct Disk {
    to: Option<Sender<Vec<Arc<File>>>>,
}

impl Disk {
    fn new() -> Self {
        let (to, from) = bounded::<Vec<Arc<File>>>(1);
        let thread = thread::Builder::new().name("disk".to_owned()).spawn(move || {
            for files in from {
                for file in files {
                    // What the disk refuses, the next write says too.
                    let _told_by_the_next_write = file.sync_data();
                }
            }
        });
        if thread.is_err() {
            warn("no thread to force files to the disk: after a power cut more than a second may be missing");
        }
        Self { to: thread.is_ok().then_some(to) }
    }

    fn sync(&self, files: Vec<Arc<File>>) {
        if let Some(to) = &self.to {
            // While it is still at the last ones, these wait for the next time.
            let _busy = to.try_send(files);
        }
    }
}
