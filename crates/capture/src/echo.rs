//! A microphone that does not hear the loudspeaker: what `vox-play --reference` tells is taken out of it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use vox_cli::Failure;
use vox_frame::{Audio, Channels, Codec, Format, Item, MAGIC, Rate, Record, Splitter};
use vox_sys::{Clock, pipe};
use vox_voice::EchoCanceller;

/// Records of the loudspeaker that may wait: a second of the shortest.
const WAITING: usize = 256;

/// What the loudspeaker plays, and when it is heard, in ns of CLOCK_MONOTONIC.
struct Played {
    rate: Rate,
    frame: u64,
    at: i64,
    samples: Vec<f32>,
}

/// Takes the echo out of what a microphone gives.
pub(crate) struct Cleaner {
    canceller: EchoCanceller,
    played: Receiver<Played>,
    rate: Rate,
    channels: usize,
    /// Frames that went in, that came out, and that are thrown away before the next is kept.
    fed: u64,
    came: u64,
    skip: u64,
    /// When what was taken last ends, in ns of CLOCK_MONOTONIC.
    until: i64,
    out: Vec<f32>,
}

impl Cleaner {
    /// For a microphone of that rate and with those channels, beside a loudspeaker that tells `fifo` what it plays.
    ///
    /// # Errors
    /// When there is no such FIFO (1), or the stream is none that can be cleaned (2).
    pub(crate) fn open(fifo: &Path, rate: Rate, channels: Channels) -> Result<Self, Failure> {
        let canceller = EchoCanceller::new(rate, channels).map_err(Failure::usage)?;
        let file = open_fifo(fifo)?;
        let (sender, played) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("reference".to_owned())
            .spawn(move || read(file, &sender))
            .map_err(|error| Failure::failed(format_args!("cannot start a thread: {error}")))?;
        let skip = canceller.delay() as u64;
        Ok(Self {
            canceller,
            played,
            rate,
            channels: channels.count(),
            fed: 0,
            came: 0,
            skip,
            until: 0,
            out: Vec::new(),
        })
    }

    /// Takes samples that were captured from `at` on, in ns of CLOCK_MONOTONIC; gives what has come out and when the first
    /// of it was captured.
    pub(crate) fn clean(&mut self, at: i64, samples: &[f32]) -> (i64, &[f32]) {
        for Played { rate, frame, at, samples } in self.played.try_iter() {
            self.canceller.play(rate, frame, at, &samples);
        }
        self.out.clear();
        self.canceller.process(at, samples, &mut self.out);
        let frames = (self.out.len() / self.channels) as u64;
        let skipped = self.skip.min(frames);
        self.skip -= skipped;
        let taken = (samples.len() / self.channels) as u64;
        self.until = at + self.rate.ns(taken);
        let at = at - self.rate.ns(self.fed - self.came);
        self.fed += taken;
        self.came += frames - skipped;
        (at, &self.out[skipped as usize * self.channels..])
    }

    /// What is still to come of what was taken, and when the first of it was captured: behind it there is a hole.
    pub(crate) fn rest(&mut self) -> (i64, Vec<f32>) {
        let (owed, mut rest) = ((self.fed - self.came) as usize * self.channels, Vec::new());
        let begins = self.until - self.rate.ns(self.fed - self.came);
        let zeros = vec![0.0; self.rate.ticks(10_000_000) as usize * self.channels];
        let mut more = 0;
        while rest.len() < owed {
            let (_, out) = self.clean(self.until, &zeros);
            rest.extend_from_slice(out);
            more += zeros.len() / self.channels;
        }
        // What has come of the zeros, and what will, is not wanted.
        let over = (rest.len() - owed) / self.channels;
        self.skip = (more - over) as u64;
        self.came += self.skip;
        rest.truncate(owed);
        (begins, rest)
    }
}

fn open_fifo(path: &Path) -> Result<File, Failure> {
    let shown = path.display();
    // Open for writing too, so that it has no end when the loudspeaker leaves.
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(|error| {
        Failure::failed(format_args!("cannot read {shown}: {error} (make it with `mkfifo {shown}`)"))
    })?;
    if pipe::is_pipe(&file) {
        Ok(file)
    } else {
        Err(Failure::failed(format_args!("{shown} is no FIFO: make it with `mkfifo {shown}`")))
    }
}

/// Reads what loudspeakers play, one after the other.
fn read(mut fifo: File, sender: &SyncSender<Played>) {
    let mut buffer = vec![0; 65_536];
    let mut loudspeaker = Loudspeaker::default();
    loop {
        match fifo.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => loudspeaker.take(&buffer[..read], |played| {
                // A microphone that is behind hears what comes next.
                let _full = sender.try_send(played);
            }),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The stream of a loudspeaker, which may begin in the middle: it says again and again what it is.
#[derive(Default)]
struct Loudspeaker {
    splitter: Option<Splitter>,
    clock: Option<Clock>,
    format: Option<Format>,
}

impl Loudspeaker {
    fn take(&mut self, mut bytes: &[u8], mut give: impl FnMut(Played)) {
        while !bytes.is_empty() {
            let Some(mut splitter) = self.splitter.take() else {
                let Some(begins) = bytes.windows(MAGIC.len()).position(|window| window == MAGIC) else { return };
                bytes = &bytes[begins..];
                self.splitter = Some(Splitter::new());
                continue;
            };
            let taken = splitter.feed(bytes);
            bytes = &bytes[taken..];
            // What is damaged is left out up to the next beginning.
            if self.items(&mut splitter, &mut give).is_ok() {
                self.splitter = Some(splitter);
            }
        }
    }

    fn items(&mut self, splitter: &mut Splitter, give: &mut impl FnMut(Played)) -> Result<(), vox_frame::Error> {
        while let Some(item) = splitter.poll()? {
            match item {
                Item::Opening(opening) => self.clock = Some(Clock::for_stream(&opening)),
                Item::Record(raw) => match raw.parse()? {
                    Record::Format(_, format) => self.format = Some(format),
                    Record::Audio(audio) => self.played(&audio).map_or((), &mut *give),
                    Record::Gap(_) | Record::Event(_) | Record::End(_) | Record::Unknown(_) => {}
                },
            }
        }
        Ok(())
    }

    fn played(&self, audio: &Audio<'_>) -> Option<Played> {
        let format = self.format.as_ref().filter(|format| format.codec == Codec::PcmS16)?;
        let (clock, due) = (self.clock?, audio.times.due?);
        let samples = audio.payload.as_chunks().0.iter().map(|&two| f32::from(i16::from_le_bytes(two)) / 32_768.0);
        let samples = samples.step_by(format.channels.count()).collect();
        Some(Played { rate: format.rate, frame: audio.timestamp.0, at: clock.mono_ns(due), samples })
    }
}

#[cfg(test)]
mod tests {
    use vox_frame::{MediaTime, SequenceNumber, Stamp, StreamId, Times};

    use super::*;

    fn opening_and_format(bytes: &mut Vec<u8>) {
        Clock::own().opening().write(bytes);
        Record::Format(StreamId(1), Format::new(Codec::PcmS16, Rate::HZ_48000, Channels::MONO, 0)).write(bytes);
    }

    fn audio(frame: u64, bytes: &mut Vec<u8>) {
        let audio = Audio {
            id: StreamId(1),
            sequence: SequenceNumber(0),
            timestamp: MediaTime(frame),
            duration: 2,
            marker: false,
            recovered: false,
            padding: false,
            times: Times { due: Some(Stamp::from_ns(7)), ..Times::default() },
            slot: None,
            extensions: &[],
            payload: &[0, 64, 0, 192],
        };
        audio.write(bytes);
    }

    fn heard(loudspeaker: &mut Loudspeaker, bytes: &[u8]) -> Vec<(u64, Vec<f32>)> {
        let mut played = Vec::new();
        loudspeaker.take(bytes, |piece| played.push((piece.frame, piece.samples)));
        played
    }

    #[test]
    fn a_microphone_that_comes_late_hears_from_the_next_beginning_on() {
        let mut bytes = Vec::new();
        audio(10, &mut bytes);
        opening_and_format(&mut bytes);
        audio(20, &mut bytes);
        bytes.extend_from_slice(b"\0nonsense");
        audio(30, &mut bytes);
        let mut loudspeaker = Loudspeaker::default();
        assert_eq!(heard(&mut loudspeaker, &bytes), [(20, vec![0.5, -0.5])]);
        bytes.clear();
        audio(40, &mut bytes);
        opening_and_format(&mut bytes);
        audio(50, &mut bytes);
        assert_eq!(heard(&mut loudspeaker, &bytes), [(50, vec![0.5, -0.5])]);
    }

    fn cleaner() -> Cleaner {
        let canceller = EchoCanceller::new(Rate::HZ_48000, Channels::MONO).unwrap();
        let (_, played) = sync_channel(1);
        let skip = canceller.delay() as u64;
        Cleaner {
            canceller,
            played,
            rate: Rate::HZ_48000,
            channels: 1,
            fed: 0,
            came: 0,
            skip,
            until: 0,
            out: Vec::new(),
        }
    }

    #[test]
    fn what_comes_out_is_as_much_as_went_in_and_says_when_it_was_captured() {
        let mut cleaner = cleaner();
        let mut came = 0;
        for begin in [1_000_000_000_i64, 9_000_000_000] {
            let (mut at, mut expected, mut fed) = (begin, begin, 0);
            for frames in [480, 441, 512, 960, 100, 3] {
                let (first, out) = cleaner.clean(at, &vec![0.1; frames]);
                assert!(out.is_empty() || (first - expected).abs() < 100, "{first} {expected}");
                came += out.len();
                at += Rate::HZ_48000.ns(frames as u64);
                expected += Rate::HZ_48000.ns(out.len() as u64);
                fed += frames;
            }
            let (first, rest) = cleaner.rest();
            assert!((first - expected).abs() < 100, "{first} {expected}");
            came += rest.len();
            assert_eq!(std::mem::take(&mut came), fed);
            // Now there is a hole, and it goes on behind it.
        }
    }
}
