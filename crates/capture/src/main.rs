//! Captures audio from a device, a file, a pipe or a generator as a stream of records.

mod args;
mod decoded;
mod device;
mod echo;
mod encoding;
mod generate;
mod recorder;
mod source;
mod stamps;
mod voice;

use std::io::Write;
use std::process::ExitCode;

use vox_cli::{Failure, Output, stop_requested};
use vox_frame::{EndReason, Format, StreamId};
use vox_sys::Clock;
use vox_wav::Spec;

use crate::args::{Args, Source};
use crate::encoding::Converter;
use crate::recorder::{Recorder, draw_id};
use crate::source::Samples;

fn main() -> ExitCode {
    vox_cli::run(run)
}

fn run(args: Args) -> Result<(), Failure> {
    if args.list_devices {
        return print(&device::list(&args.host)?);
    }
    match &args.source {
        None | Some(Source::Device(_)) => device::capture(&args),
        Some(source) if args.cancel_echo.is_some() => {
            Err(Failure::usage(format_args!("{source} hears no loudspeaker: --cancel-echo takes a microphone")))
        }
        Some(source) => capture_samples(source, &args),
    }
}

/// Writes a list for people to stdout, which carries no stream then.
fn print(text: &str) -> Result<(), Failure> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::failed(format_args!("cannot write stdout: {error}")))
}

/// Files, stdin and generators: as fast as the reader takes it.
fn capture_samples(source: &Source, args: &Args) -> Result<(), Failure> {
    let mut samples = Samples::open(source, args)?;
    let (shape, format) = (samples.shape(), stream_format(&samples, args));
    let tick_bytes = format.tick_bytes().unwrap_or(1) as u64;
    let limit = args.duration.map_or(u64::MAX, |duration| format.rate.ticks(duration.ns()));
    let mut converter = Converter::new(shape, format.codec.clone(), format.rate, format.channels);
    let mut output = Output::stdout(Clock::own().opening(), args.batch)?;
    let mut recorder = Recorder::new(stream_id(args), format, args.voice.open()?, args.batch, &mut output)?;
    let (mut chunk, mut pcm) = (Vec::new(), Vec::new());
    let mut begun = 0;
    while !stop_requested() && recorder.position() < limit {
        if !args.batch && samples.would_wait() {
            output.flush()?;
        }
        let room = (limit - recorder.position()).saturating_mul(tick_bytes);
        let more = samples.read(&mut chunk)?;
        if more && converter.is_identity() {
            recorder.push(up_to(&chunk, room), &mut output)?;
            continue;
        }
        pcm.clear();
        if more {
            converter.process(&chunk, &mut pcm);
        } else if args.repeat && recorder.position() > begun && !stop_requested() {
            begun = recorder.position();
            samples = reopen(source, args, shape)?;
            continue;
        } else {
            converter.finish(&mut pcm);
        }
        recorder.push(up_to(&pcm, room), &mut output)?;
        if !more {
            break;
        }
    }
    recorder.end(if stop_requested() { EndReason::Stopped } else { EndReason::Complete }, &mut output)
}

/// At most `room` bytes of `bytes`.
fn up_to(bytes: &[u8], room: u64) -> &[u8] {
    &bytes[..usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len())]
}

/// The file from its beginning, for `--loop`.
fn reopen(source: &Source, args: &Args, shape: Spec) -> Result<Samples, Failure> {
    let Source::File(_) = source else {
        return Err(Failure::usage(format_args!("{source} cannot begin again: --loop takes a file")));
    };
    let samples = Samples::open(source, args)?;
    if samples.shape() == shape {
        Ok(samples)
    } else {
        Err(Failure::input(format_args!("{source} has changed its format since it was opened")))
    }
}

fn stream_format(samples: &Samples, args: &Args) -> Format {
    let shape = samples.shape();
    let rate = args.rate.map_or(shape.rate, |rate| rate.0);
    let codec = args.format.map_or_else(|| samples.natural_pcm(), Into::into);
    let channels = args.channels.unwrap_or(shape.channels);
    let mut format = Format::new(codec, rate, channels, args.frame.ticks(rate));
    format.label.clone_from(&args.name);
    format
}

fn stream_id(args: &Args) -> StreamId {
    args.id.map_or_else(|| draw_id(args.seed), StreamId)
}
