//! How far back deep redundancy reaches: what is estimated of it without the model, and what the model finds.

use vox_codec::{Coded, DecoderOptions, OpusSettings, OpusStreamEncoder, StreamDecoder};
use vox_frame::{
    Channels, Codec, Format, Gap, GapReason, LaterPacket, MediaTime, Rate, SequenceNumber, StreamId, Times,
};
use vox_playout::deep_reach;
use vox_testkit::SpeechLike;

/// Packets of something like speech.
fn packets(settings: &OpusSettings) -> (Format, Vec<Vec<u8>>) {
    let input = Format::new(Codec::PcmF32, Rate::HZ_48000, Channels::MONO, 0);
    let mut encoder = OpusStreamEncoder::new(&input, settings, 20_000_000).expect("settings that libopus takes");
    let pcm: Vec<f32> = SpeechLike::new(3, 48_000).take(10 * 48_000).collect();
    let mut packets = Vec::new();
    let emit = |coded: Coded<'_>| {
        if let Coded::Packet { payload, .. } = coded {
            packets.push(payload.to_vec());
        }
    };
    encoder.audio(&pcm, Channels::MONO, MediaTime(0), None, emit).expect("encodes");
    (encoder.format(&input), packets)
}

/// How far back the model finds something, in pieces of 20 ms.
fn found(format: &Format, payload: &[u8]) -> u64 {
    let mut decoder = StreamDecoder::new(format, DecoderOptions::default()).expect("a decoder");
    let mut out = Vec::new();
    let gap = Gap {
        id: StreamId(1),
        sequence: SequenceNumber(0),
        timestamp: MediaTime(0),
        duration: 48_000,
        packets: 50,
        reason: GapReason::Lost,
        times: Times::default(),
        slot: None,
        later: Some(LaterPacket { ahead: 48_000, payload }),
    };
    decoder.gap(&gap, &mut out);
    decoder.recovered() / 960
}

#[test]
fn the_estimate_is_near_what_the_model_finds() {
    for (bitrate, dred_ms, loss) in [(28_000, 200, 20), (32_000, 200, 20), (48_000, 500, 10)] {
        let settings = OpusSettings { bitrate: Some(bitrate), dred_ms, loss, ..OpusSettings::default() };
        let (format, packets) = packets(&settings);
        let reaches: Vec<_> = packets
            .iter()
            .map(|payload| (u64::from(deep_reach(&Codec::Opus, payload)) / 960, found(&format, payload)))
            .filter(|(estimate, found)| estimate + found > 0)
            .collect();
        assert!(reaches.len() * 4 > packets.len() * 3, "{} of {} packets carry it", reaches.len(), packets.len());
        // A piece of the description is 40 ms.
        let near = reaches.iter().filter(|(estimate, found)| estimate.abs_diff(*found) <= 4).count();
        let (estimated, real) = reaches.iter().fold((0, 0), |(a, b), (estimate, found)| (a + estimate, b + found));
        let all = reaches.len();
        println!("{bitrate} bit/s, {dred_ms} ms: {near} of {all} near, {estimated} estimated, {real} found");
        assert!(near * 10 >= all * 7, "{near} of {all} at {bitrate} bit/s, {estimated} estimated, {real} found");
        assert!(
            (estimated * 4).abs_diff(real * 4) <= real,
            "{estimated} estimated and {real} found at {bitrate} bit/s"
        );
    }
    let (_, plain) = packets(&OpusSettings { bitrate: Some(24_000), ..OpusSettings::default() });
    assert!(plain.iter().all(|payload| deep_reach(&Codec::Opus, payload) == 0));
}
