//! Files of audio and kept streams, read as samples that lie on one time line.
//!
//! [`read`] takes a WAV, an Ogg Opus file or a vox stream and hands its samples, gaps and talk spurts to a
//! [`Listener`], in one pass and in bounded memory.

pub mod align;
mod vox;

use std::io::{Read, Seek, SeekFrom};

use vox_codec::{DecoderOptions, StreamDecoder};
use vox_container::{ogg_opus, wav};
use vox_frame::{
    Audio, Channels, Codec, End, EndReason, Format, GapReason, MAGIC, MediaTime, Rate, SequenceNumber, StreamId, Times,
};

/// What a track is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// What people call it.
    pub label: Option<String>,
    /// Frames a second.
    pub rate: Rate,
    /// Channels, interleaved.
    pub channels: Channels,
    /// How it is coded, for people.
    pub codec: String,
}

/// Takes what is read. Tracks are numbered from 0; positions are frames of the track's rate since the file's beginning.
pub trait Listener {
    /// A track begins at that frame.
    fn track(&mut self, track: usize, about: &About);
    /// Interleaved samples.
    fn samples(&mut self, track: usize, at: u64, samples: &[f32]);
    /// That many frames are missing; no samples are given for them.
    fn gap(&mut self, track: usize, at: u64, frames: u64, reason: GapReason);
    /// Somebody began to talk, or stopped.
    fn talk(&mut self, track: usize, at: u64, talks: bool);
}

/// Samples that are handed on at a time.
const BLOCK: usize = 16_384;

/// Reads a file to its end.
///
/// # Errors
/// A sentence about what is wrong with it.
pub fn read(input: &mut (impl Read + Seek), listener: &mut impl Listener) -> Result<(), String> {
    let mut magic = [0; 8];
    let mut there = 0;
    while there < magic.len() {
        match input.read(&mut magic[there..]) {
            Ok(0) => break,
            Ok(more) => there += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("cannot be read: {error}")),
        }
    }
    input.seek(SeekFrom::Start(0)).map_err(|error| format!("cannot be read: {error}"))?;
    match &magic[..] {
        [b'R', b'I', b'F', b'F', ..] | [b'R', b'F', b'6', b'4', ..] | [b'B', b'W', b'6', b'4', ..] => {
            read_wav(input, listener)
        }
        [b'O', b'g', b'g', b'S', ..] => read_opus(input, listener),
        start if MAGIC.starts_with(start) => vox::read(input, listener),
        start => Err(format!(
            "{}: not known here (WAV, Ogg Opus, a vox stream; others through `vox-capture FILE |`)",
            vox_frame::describe_foreign(start)
        )),
    }
}

fn read_wav(input: &mut (impl Read + Seek), listener: &mut impl Listener) -> Result<(), String> {
    let found = wav::find(input)?;
    let spec = found.spec;
    let about = About {
        label: None,
        rate: spec.rate,
        channels: spec.channels,
        codec: format!("{}-bit WAV", spec.sample.bytes() * 8),
    };
    listener.track(0, &about);
    let frames = (BLOCK / spec.channels.count()).max(1);
    let mut bytes = vec![0; frames * spec.frame_bytes()];
    let mut samples = Vec::with_capacity(BLOCK);
    let (mut at, mut left) = (0, found.data);
    while left > 0 {
        let now = (bytes.len() as u64).min(left) as usize;
        input.read_exact(&mut bytes[..now]).map_err(|error| format!("cannot be read: {error}"))?;
        samples.clear();
        spec.sample.read(&bytes[..now], &mut samples);
        listener.samples(0, at, &samples);
        at += (now / spec.frame_bytes()) as u64;
        left -= now as u64;
    }
    Ok(())
}

fn read_opus(input: &mut (impl Read + Seek), listener: &mut impl Listener) -> Result<(), String> {
    let mut reader = ogg_opus::Reader::open(input)?;
    let mut format = Format::new(Codec::Opus, Rate::HZ_48000, reader.channels, 960);
    // So that the decoder holds back what the end may cut off, also where nothing is skipped.
    format.pre_skip = reader.pre_skip.max(1);
    let extra = u64::from(format.pre_skip - reader.pre_skip);
    let mut decoder = StreamDecoder::new(&format, DecoderOptions::default()).map_err(|error| error.to_string())?;
    let about = About { label: None, rate: format.rate, channels: format.channels, codec: "Opus".to_owned() };
    listener.track(0, &about);
    let (mut media, mut at, mut samples) = (0, 0, Vec::new());
    while let Some((payload, ticks)) = reader.next_packet()? {
        samples.clear();
        decoder.audio(&packet(media, ticks, &payload), &mut samples);
        media += u64::from(ticks);
        listener.samples(0, at, &samples);
        at += (samples.len() / format.channels.count()) as u64;
    }
    samples.clear();
    let timestamp = MediaTime(reader.length().saturating_sub(extra));
    decoder
        .end(&End { id: StreamId(0), timestamp, times: Times::default(), reason: EndReason::Complete }, &mut samples);
    listener.samples(0, at, &samples);
    Ok(())
}

/// A record of audio that came from no pipe.
const fn packet(media: u64, ticks: u32, payload: &[u8]) -> Audio<'_> {
    Audio {
        id: StreamId(0),
        sequence: SequenceNumber(0),
        timestamp: MediaTime(media),
        duration: ticks,
        marker: false,
        recovered: false,
        padding: false,
        times: Times { captured: None, arrived: None, due: None },
        slot: None,
        extensions: &[],
        payload,
    }
}
