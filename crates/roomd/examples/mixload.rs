//! What mixing costs: participants who all talk, or of whom one does, through a bridge on a simulated clock, as fast as
//! it goes. One JSON line a run.
//!
//!     mixload [--codec pcmu|opus] [--rate HZ] [--participants N] [--talkers N] [--seconds S] [--light]
//!
//! `bareMicroseconds` is what decoding and encoding alone take in the same run: the least that a mixer can do.
//! A participant that talks is decoded, buffered, mixed without himself, limited and encoded; a core is full where that
//! takes 20 ms of processor time every 20 ms.

use std::error::Error;

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use vox_bridge::{Bridge, Config, Effort, Packet, PersonId, Shape};
use vox_codec::{BlockEncoder, DecoderOptions, StreamDecoder};
use vox_frame::{Audio, Channels, Codec, Format, MediaTime, Rate, SequenceNumber, Stamp, StreamId, Times};
use vox_rtp::PayloadFormat;

/// The time between two packets, in ns.
const PERIOD_NS: i64 = 20_000_000;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value = "pcmu")]
    codec: String,
    #[arg(long, default_value_t = 8_000)]
    rate: u32,
    #[arg(long, default_value_t = 1000)]
    participants: u32,
    /// How many of them talk; all unless told otherwise.
    #[arg(long)]
    talkers: Option<u32>,
    #[arg(long, default_value_t = 5)]
    seconds: i64,
    #[arg(long, default_value_t = 4)]
    complexity: u8,
    /// Mix as a server does that is busy; what is heard is encoded as ever.
    #[arg(long)]
    light: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let rate = Rate::new(args.rate).ok_or("a rate in Hz")?;
    let codec = Codec::from_name(&args.codec);
    let clock = if codec == Codec::Opus { Rate::HZ_48000 } else { rate };
    let mut config = Config::default();
    config.opus.complexity = args.complexity;
    config.max_streams = args.participants as usize;
    config.max_listeners = args.participants as usize;
    let said = said(&codec, rate, args.seconds, &config)?;
    let talkers = args.talkers.unwrap_or(args.participants);
    let effort = if args.light { Effort::Light } else { Effort::Full };
    let mut bridge = Bridge::new(config, Stamp::from_ns(0));
    bridge.set_effort(effort);
    let mut format = Format::new(codec.clone(), clock, Channels::MONO, clock.hz() / 50);
    format.live = true;
    let carried = PayloadFormat::new(codec.clone(), clock, Channels::MONO);
    let shape = Shape { codec, rate, channels: Channels::MONO };
    for who in 0..args.participants {
        bridge.listen(PersonId(u64::from(who)), &shape)?;
        if who < talkers {
            bridge.open(who, PersonId(u64::from(who)), &format, carried.clone())?;
        }
    }
    let (mut packets, mut bytes) = (0u64, 0u64);
    let begun = processor_ns();
    for n in 0..args.seconds * 50 {
        let now = Stamp::from_ns(n * PERIOD_NS);
        for who in 0..talkers {
            // Each begins somewhere else in what is said.
            let payload = &said[(n as usize + who as usize * 7) % said.len()];
            let packet = Packet {
                sequence: n as u16,
                timestamp: n as u32 * (clock.hz() / 50),
                marker: false,
                audible: true,
                arrived: now,
                payload,
            };
            bridge.packet(now, who, packet);
        }
        bridge.poll(now, &mut |mixed| {
            packets += mixed.to.len() as u64;
            bytes += mixed.payload.len() as u64;
        });
    }
    let spent = processor_ns() - begun;
    let each = spent as f64 / 1e3 / f64::from(args.participants) / (args.seconds * 50) as f64;
    let bare = bare(&said, &format, &shape, &config, effort)?;
    let line = json!({
        "codec": args.codec,
        "rate": args.rate,
        "light": args.light,
        "participants": args.participants,
        "talkers": talkers,
        "packetsMixed": packets,
        "bytesEach": bytes as f64 / packets.max(1) as f64,
        "ownEncoders": bridge.own_encoders(),
        "microsecondsEach20Ms": (each * 100.0).round() / 100.0,
        "bareMicroseconds": (bare * 100.0).round() / 100.0,
        "participantsPerCore": (20_000.0 / each) as u64,
        "ofACore": (spent as f64 / 1e9 / args.seconds as f64 * 1000.0).round() / 1000.0,
    });
    vox_cli::note(format_args!("{line}"));
    Ok(())
}

/// Microseconds of a packet decoded and encoded, and nothing else.
fn bare(
    said: &[Vec<u8>],
    format: &Format,
    shape: &Shape,
    config: &Config,
    effort: Effort,
) -> Result<f64, Box<dyn Error>> {
    let mut decoder = StreamDecoder::new(format, DecoderOptions::default())?;
    let mut encoder = BlockEncoder::new(&shape.codec, shape.rate, shape.channels, &config.opus)?;
    encoder.set_effort(effort)?;
    let ticks = u64::from(format.rate.hz()) / 50;
    let block = shape.rate.hz() as usize / 50;
    let (mut samples, mut payload) = (Vec::new(), Vec::new());
    let rounds = 4;
    let begun = processor_ns();
    for n in 0..rounds * said.len() {
        samples.clear();
        decoder.audio(&audio(n as u64, ticks, &said[n % said.len()]), &mut samples);
        // The encoder's delay is left out of the first packet.
        samples.resize(block, 0.0);
        payload.clear();
        encoder.encode(&samples, &mut payload)?;
    }
    Ok((processor_ns() - begun) as f64 / 1e3 / (rounds * said.len()) as f64)
}

fn audio(n: u64, ticks: u64, payload: &[u8]) -> Audio<'_> {
    Audio {
        id: StreamId(0),
        sequence: SequenceNumber(n),
        timestamp: MediaTime(n * ticks),
        duration: ticks as u32,
        marker: false,
        recovered: false,
        padding: false,
        times: Times::default(),
        slot: None,
        extensions: &[],
        payload,
    }
}

/// Processor time of this thread: what else runs on the machine does not count.
fn processor_ns() -> i64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.tv_sec * 1_000_000_000 + spent.tv_nsec
}

/// Something like speech: a buzz whose pitch and loudness move, with noise.
fn said(codec: &Codec, rate: Rate, seconds: i64, config: &Config) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut encoder = BlockEncoder::new(codec, rate, Channels::MONO, &config.opus)?;
    let block = rate.hz() as usize / 50;
    let (mut phase, mut noise) = (0.0f32, 1u32);
    let mut packets = Vec::new();
    for n in 0..seconds.max(2) as usize * 50 {
        let samples: Vec<f32> = (0..block)
            .map(|at| {
                let time = (n * block + at) as f32 / rate.hz() as f32;
                phase = (phase + (120.0 + 30.0 * (time * 3.0).sin()) / rate.hz() as f32).fract();
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let hiss = (noise >> 16) as f32 / 32_768.0 - 1.0;
                (0.02 + 0.1 * (time * 12.0).sin().abs()) * ((phase * 2.0 - 1.0) + 0.2 * hiss)
            })
            .collect();
        let mut payload = Vec::new();
        encoder.encode(&samples, &mut payload)?;
        packets.push(payload);
    }
    Ok(packets)
}
