//! Compressed files: FLAC, MP3, Ogg Vorbis, through symphonia.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use vox_cli::{Failure, warn};
use vox_frame::{Channels, Rate};
use vox_wav::{Sample, Spec};

/// A compressed file, decoded packet by packet.
pub(crate) struct Decoded {
    name: String,
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    shape: Spec,
    damaged: u64,
}

impl Decoded {
    /// Opens a file.
    ///
    /// # Errors
    /// When the file is none of the known kinds, or holds no audio that can be decoded (3).
    pub(crate) fn open(path: &Path, file: File) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let bad = |what: &str| Failure::input(format_args!("{}: {what}", path.display()));
        let mut hint = Hint::new();
        if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
            hint.with_extension(extension);
        }
        let stream = MediaSourceStream::new(Box::new(file), Default::default());
        let reader = symphonia::default::get_probe()
            .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(|_| bad("not an audio file that is known here (WAV, FLAC, MP3, Ogg Vorbis)"))?;
        let track = reader.default_track(TrackType::Audio).ok_or_else(|| bad("no audio in it"))?;
        let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
        let parameters = parameters.ok_or_else(|| bad("no audio in it that can be decoded"))?;
        if parameters.codec == CODEC_ID_OPUS {
            return Err(bad("Ogg Opus is not read here; convert it: `opusdec FILE - | vox-capture -`"));
        }
        let bits = parameters.bits_per_sample.unwrap_or(32);
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|error| bad(&format!("cannot be decoded ({error})")))?;
        let hz = parameters.sample_rate.filter(|hz| (5_000..=192_000).contains(hz));
        let rate = hz.and_then(Rate::new).ok_or_else(|| bad("a rate that is not supported (5000 to 192000 Hz)"))?;
        let count = parameters.channels.as_ref().map_or(0, |channels| channels.count());
        let channels = u8::try_from(count).ok().filter(|count| (1..=8).contains(count)).and_then(Channels::new);
        let channels = channels.ok_or_else(|| bad("a number of channels that is not supported (1 to 8)"))?;
        let sample = if bits <= 16 { Sample::S16 } else { Sample::F32 };
        let track = track.id;
        Ok(Self { name, reader, decoder, track, shape: Spec { sample, rate, channels }, damaged: 0 })
    }

    /// What the samples are.
    pub(crate) const fn shape(&self) -> Spec {
        self.shape
    }

    /// Appends the samples of the next packet to `out`; false at the end of the file.
    ///
    /// # Errors
    /// When the file cannot be read (1) or breaks off (3).
    pub(crate) fn read(&mut self, out: &mut Vec<u8>) -> Result<bool, Failure> {
        loop {
            let packet = match self.reader.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => packet,
                Ok(Some(_)) => continue,
                Ok(None) => return Ok(self.finish()),
                Err(Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => return Ok(self.finish()),
                Err(error) => return Err(Failure::input(format_args!("{}: {error}", self.name))),
            };
            match self.decoder.decode(&packet) {
                Ok(audio) if audio.spec().rate() != self.shape.rate.hz() => {
                    return Err(Failure::input(format_args!("{}: its rate changes in the middle", self.name)));
                }
                Ok(audio) if audio.spec().channels().count() != self.shape.channels.count() => {
                    return Err(Failure::input(format_args!("{}: its channels change in the middle", self.name)));
                }
                Ok(audio) => {
                    let mut bytes = Vec::new();
                    match self.shape.sample {
                        Sample::S16 => audio.copy_bytes_to_vec_interleaved_as::<i16>(&mut bytes),
                        _ => audio.copy_bytes_to_vec_interleaved_as::<f32>(&mut bytes),
                    }
                    out.extend_from_slice(&bytes);
                    return Ok(true);
                }
                Err(_) => self.damaged += 1,
            }
        }
    }

    fn finish(&self) -> bool {
        if self.damaged > 0 {
            warn(format_args!("{}: {} damaged packets were left out", self.name, self.damaged));
        }
        false
    }
}
