//! What a bridge mixes, on a simulated clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vox_bridge::{Audience, Bridge, Config, Effort, Packet, PersonId, Shape};
use vox_codec::{BlockEncoder, DecoderOptions, OpusSettings, StreamDecoder};
use vox_frame::{Audio, Channels, Codec, Format, MediaTime, Rate, SequenceNumber, Stamp, StreamId, Times};
use vox_rtp::PayloadFormat;

const MS: i64 = 1_000_000;

/// A room on a simulated clock: what everybody says is a function of the sample's number, what everybody hears is kept.
struct Rig {
    bridge: Bridge,
    begin: i64,
    sent: Vec<Sent>,
    heard: BTreeMap<u64, Vec<(u64, bool, Vec<u8>)>>,
    /// For how many the last packet was.
    together: usize,
}

/// A packet under way.
struct Sent {
    at: i64,
    stream: u32,
    sequence: u16,
    timestamp: u32,
    payload: Vec<u8>,
}

impl Rig {
    fn new(config: Config) -> Self {
        let begin = 1_000_000 * MS;
        let bridge = Bridge::new(config, Stamp::from_ns(begin));
        Self { bridge, begin, sent: Vec::new(), heard: BTreeMap::new(), together: 0 }
    }

    fn listens(&mut self, who: u64, codec: Codec, hz: u32) {
        let shape = Shape { codec, rate: Rate::new(hz).expect("valid"), channels: Channels::MONO };
        self.bridge.listen(PersonId(who), &shape).expect("valid");
    }

    /// Somebody says `samples` from `from` ms on, in packets of 20 ms; `way` gives each packet's delay in ms, or none
    /// where it is lost.
    fn says(
        &mut self,
        who: u64,
        codec: Codec,
        hz: u32,
        from: i64,
        samples: &[f32],
        way: impl Fn(usize) -> Option<i64>,
    ) {
        let rate = Rate::new(hz).expect("valid");
        let mut format = Format::new(codec.clone(), rate, Channels::MONO, hz / 50);
        format.live = true;
        let settings = OpusSettings { complexity: 4, ..OpusSettings::default() };
        let mut encoder = BlockEncoder::new(&codec, rate, Channels::MONO, &settings).expect("valid");
        format.pre_skip = encoder.delay();
        let carried = PayloadFormat::new(codec, rate, Channels::MONO);
        self.bridge.open(who as u32, PersonId(who), &format, carried).expect("valid");
        for (n, block) in samples.chunks_exact(hz as usize / 50).enumerate() {
            let mut payload = Vec::new();
            encoder.encode(block, &mut payload).expect("valid");
            let Some(delay) = way(n) else { continue };
            self.sent.push(Sent {
                at: self.begin + (from + n as i64 * 20 + delay) * MS,
                stream: who as u32,
                sequence: (65_500 + n as u32) as u16,
                timestamp: (u32::MAX - 4_000).wrapping_add(n as u32 * hz / 50),
                payload,
            });
        }
    }

    /// Runs up to `until` ms.
    fn run(&mut self, until: i64) {
        self.sent.sort_by_key(|packet| packet.at);
        let until = self.begin + until * MS;
        loop {
            let arrival = self.sent.first().map(|packet| packet.at).filter(|at| *at < until);
            let deadline = self.bridge.next_deadline().map(Stamp::ns).filter(|at| *at < until);
            let Some(now) = [arrival, deadline].into_iter().flatten().min() else { return };
            let now = Stamp::from_ns(now);
            while self.sent.first().is_some_and(|packet| packet.at <= now.ns()) {
                let Sent { stream, sequence, timestamp, payload, .. } = self.sent.remove(0);
                let marker = false;
                let packet = Packet { sequence, timestamp, marker, audible: true, arrived: now, payload: &payload };
                self.bridge.packet(now, stream, packet);
            }
            let (heard, together) = (&mut self.heard, &mut self.together);
            self.bridge.poll(now, &mut |mixed| {
                *together = mixed.to.len();
                for who in mixed.to {
                    let entry = (mixed.timestamp, mixed.marker, mixed.payload.to_vec());
                    heard.entry(who.0).or_default().push(entry);
                }
            });
        }
    }

    /// What somebody heard, of a codec sample by sample.
    fn samples(&self, who: u64, codec: &Codec) -> Vec<f32> {
        let mut samples = Vec::new();
        let packets = self.heard.get(&who).map_or(&[][..], Vec::as_slice);
        match codec {
            Codec::L16 => packets.iter().for_each(|(.., bytes)| vox_codec::linear::s16be_to_f32(bytes, &mut samples)),
            Codec::Pcmu => packets.iter().for_each(|(.., bytes)| vox_codec::g711::Law::Mu.decode(bytes, &mut samples)),
            codec => {
                let mut format = Format::new(codec.clone(), Rate::HZ_48000, Channels::MONO, 960);
                format.live = true;
                let mut decoder = StreamDecoder::new(&format, DecoderOptions::default()).expect("valid");
                for (n, (at, _, payload)) in packets.iter().enumerate() {
                    decoder.audio(&audio(n, *at, payload), &mut samples);
                }
            }
        }
        samples
    }
}

fn audio(n: usize, at: u64, payload: &[u8]) -> Audio<'_> {
    Audio {
        id: StreamId(1),
        sequence: SequenceNumber(n as u64),
        timestamp: MediaTime(at),
        duration: 960,
        marker: false,
        recovered: false,
        padding: false,
        times: Times::default(),
        slot: None,
        extensions: &[],
        payload,
    }
}

/// Noise in 16-bit samples, by a seed.
fn noise(seed: u32, frames: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 16) as i32 % 8_000 - 4_000
    };
    (0..frames).map(|_| next() as f32 / 32_768.0).collect()
}

fn tone(hz: f32, rate: u32, frames: usize) -> Vec<f32> {
    (0..frames).map(|n| 0.3 * (n as f32 * hz * core::f32::consts::TAU / rate as f32).sin()).collect()
}

/// How loud a frequency is, as a power.
fn power(samples: &[f32], hz: f64, rate: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        // A window, so that other frequencies leak nothing into this one.
        let window = 0.5 - 0.5 * (core::f64::consts::TAU * n as f64 / samples.len() as f64).cos();
        let angle = core::f64::consts::TAU * hz * n as f64 / rate;
        re += window * f64::from(*sample) * angle.cos();
        im += window * f64::from(*sample) * angle.sin();
    }
    (re * re + im * im) / (samples.len() as f64).powi(2)
}

fn at_once(_: usize) -> Option<i64> {
    Some(0)
}

/// Where `part` lies within `whole`, bit for bit.
fn find(whole: &[f32], part: &[f32]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part)
}

fn sum(streams: &[&[f32]]) -> Vec<f32> {
    (0..streams[0].len()).map(|n| streams.iter().map(|stream| stream[n]).sum()).collect()
}

#[test]
fn everybody_hears_the_exact_sum_of_the_others_and_nothing_of_himself() {
    let mut rig = Rig::new(Config::default());
    let said: Vec<Vec<f32>> = (0..4).map(|seed| noise(seed + 1, 16_000)).collect();
    for who in 0..4 {
        rig.listens(who, Codec::L16, 8_000);
        rig.says(who, Codec::L16, 8_000, 0, &said[who as usize], at_once);
    }
    rig.run(2_500);
    for who in 0..4 {
        let others: Vec<&[f32]> =
            (0..4).filter(|other| *other != who).map(|other| said[other as usize].as_slice()).collect();
        let found = find(&rig.samples(who, &Codec::L16), &sum(&others));
        // 80 ms behind the arrivals, and the limiter's look-ahead.
        assert_eq!(found, Some(640 + 15), "listener {who}");
    }
}

#[test]
fn jitter_and_order_of_arrival_change_no_sample() {
    let mut rig = Rig::new(Config::default());
    let (ana, bob) = (noise(1, 24_000), noise(2, 24_000));
    rig.listens(9, Codec::L16, 8_000);
    rig.says(1, Codec::L16, 8_000, 0, &ana, |n| Some((n as i64 * 37) % 50));
    rig.says(2, Codec::L16, 8_000, 0, &bob, |n| Some((n as i64 * 23) % 55));
    rig.run(3_500);
    assert_eq!(find(&rig.samples(9, &Codec::L16), &sum(&[&ana, &bob])), Some(655));
}

#[test]
fn a_lost_packet_shortens_nothing() {
    let mut rig = Rig::new(Config::default());
    let (ana, bob) = (noise(1, 16_000), noise(2, 16_000));
    rig.listens(9, Codec::L16, 8_000);
    rig.says(1, Codec::L16, 8_000, 0, &ana, |n| (n % 20 != 7).then_some(0));
    rig.says(2, Codec::L16, 8_000, 0, &bob, at_once);
    rig.run(2_500);
    let heard = rig.samples(9, &Codec::L16);
    let both = sum(&[&ana, &bob]);
    // Before the first loss, and behind the second (concealment fades into what follows within a packet).
    for range in [0..7 * 160, 29 * 160..46 * 160, 49 * 160..66 * 160] {
        assert_eq!(find(&heard, &both[range.clone()]), Some(655 + range.start));
    }
}

#[test]
fn who_must_not_be_heard_is_not_in_the_mix_from_the_next_block_on() {
    let mut rig = Rig::new(Config::default());
    let (ana, bob, eve) = (noise(1, 32_000), noise(2, 32_000), noise(3, 32_000));
    for (who, said) in [(1, &ana), (2, &bob), (3, &eve)] {
        rig.says(who, Codec::L16, 8_000, 0, said, at_once);
    }
    for who in [8, 9] {
        rig.listens(who, Codec::L16, 8_000);
    }
    let deaf = BTreeSet::from([PersonId(9)]);
    rig.bridge.set_audience(3, Audience::AllBut(Arc::new(deaf)));
    rig.run(2_000);
    assert_eq!(find(&rig.samples(9, &Codec::L16)[..15_000], &sum(&[&ana, &bob])[..8_000]), Some(655));
    assert_eq!(find(&rig.samples(8, &Codec::L16)[..15_000], &sum(&[&ana, &bob, &eve])[..8_000]), Some(655));
    let before = rig.samples(8, &Codec::L16).len();
    rig.bridge.set_audience(1, Audience::Nobody);
    rig.run(4_000);
    let after = &rig.samples(8, &Codec::L16)[before..];
    assert_eq!(find(after, &sum(&[&bob, &eve])[before - 655 + 15..before + 8_000]), Some(15), "at once");
    let after = &rig.samples(9, &Codec::L16)[before..];
    assert_eq!(find(after, &bob[before - 655 + 15..before + 8_000]), Some(15));
}

#[test]
fn a_talker_is_sixty_db_down_in_what_he_hears_whatever_the_codecs() {
    for codec in [Codec::Opus, Codec::Pcmu, Codec::L16] {
        let rate = if codec == Codec::Pcmu { 8_000 } else { 48_000 };
        let mut rig = Rig::new(Config::default());
        for who in [1, 2] {
            rig.listens(who, codec.clone(), rate);
        }
        // One talks and then the other, each with a codec of his own: what is left of him is all that he hears.
        rig.says(1, Codec::Opus, 48_000, 0, &tone(700.0, 48_000, 96_000), at_once);
        rig.says(2, Codec::Pcmu, 8_000, 2_500, &tone(1_300.0, 8_000, 16_000), at_once);
        rig.run(5_000);
        let energy = |who, from: usize| {
            let heard = rig.samples(who, &codec);
            let part = &heard[from * rate as usize / 1000..(from + 1_500) * rate as usize / 1000];
            part.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() + 1e-12
        };
        for (from, speaker, other) in [(300, 1, 2), (2_900, 2, 1)] {
            let down = 10.0 * (energy(other, from) / energy(speaker, from)).log10();
            assert!(down > 60.0, "{codec:?}: {speaker} is only {down} dB down");
        }
    }
}

#[test]
fn a_change_of_effort_is_heard_by_nobody() {
    let mut rig = Rig::new(Config::default());
    // One hears it by the common encoder, and one, who says nothing that can be heard, by his own.
    for who in [2, 3] {
        rig.listens(who, Codec::Opus, 48_000);
    }
    rig.says(1, Codec::L16, 48_000, 0, &tone(700.0, 48_000, 144_000), at_once);
    rig.says(2, Codec::L16, 48_000, 0, &[1.0 / 32_768.0; 144_000], at_once);
    for (until, effort) in [(1_000, Effort::Light), (2_000, Effort::Full)] {
        rig.run(until);
        rig.bridge.set_effort(effort);
    }
    rig.run(2_950);
    for who in [2, 3] {
        let modes: Vec<bool> = rig.heard[&who].iter().map(|(.., payload)| payload[0] >> 3 >= 16).collect();
        let changes = modes.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 2, "{modes:?}");
        let heard = rig.samples(who, &Codec::Opus);
        for (n, block) in heard[15_000..130_000].chunks_exact(960).enumerate() {
            let all: f64 = block.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / 960.0;
            // The block is 14 periods long; of a sine, its power is twice the square of its component.
            let loud = (power(block, 700.0, 48_000.0) * 4.0 * 2.0 / all).min(1.0);
            assert!(loud > 0.9 && (0.035..0.055).contains(&all), "{who}, block {n}: {loud} of {all}");
        }
    }
}

#[test]
fn who_says_nothing_shares_one_encoder_and_leaves_it_without_a_seam() {
    let mut rig = Rig::new(Config::default());
    for who in 1..=50 {
        rig.listens(who, Codec::Pcmu, 8_000);
    }
    let (ana, bob) = (noise(1, 32_000), noise(2, 8_000));
    rig.says(1, Codec::L16, 8_000, 0, &ana, at_once);
    rig.run(900);
    assert_eq!(rig.together, 49);
    assert_eq!(rig.bridge.own_encoders(), 1);
    // Somebody who has listened says something: only he gets a mix of his own, and it goes on where the common one was.
    rig.says(2, Codec::L16, 8_000, 1_000, &bob, at_once);
    rig.run(3_500);
    assert_eq!(rig.bridge.own_encoders(), 1, "a second after he has said it he is one of them again");
    let (alone, shared) = (rig.samples(2, &Codec::Pcmu), rig.samples(3, &Codec::Pcmu));
    assert_eq!(alone.len(), shared.len());
    assert_eq!(alone[..8_000], shared[..8_000]);
    assert_ne!(alone[9_000..16_000], shared[9_000..16_000]);
    assert_eq!(alone[18_000..], shared[18_000..]);
    let mut codes = Vec::new();
    let mut encoder =
        BlockEncoder::new(&Codec::Pcmu, Rate::HZ_8000, Channels::MONO, &OpusSettings::default()).expect("valid");
    encoder.encode(&ana, &mut codes).expect("valid");
    let mut coded = Vec::new();
    vox_codec::g711::Law::Mu.decode(&codes, &mut coded);
    assert_eq!(find(&alone, &coded[..20_000]), Some(655), "he has heard nothing of himself");
}

#[test]
fn a_room_in_which_nobody_speaks_sends_nothing_and_time_goes_on() {
    let mut rig = Rig::new(Config::default());
    rig.listens(9, Codec::L16, 8_000);
    let (first, second) = (noise(1, 8_000), noise(2, 8_000));
    rig.says(1, Codec::L16, 8_000, 0, &first, at_once);
    rig.run(5_000);
    assert_eq!(rig.bridge.next_deadline(), None, "it rests");
    let before = rig.heard[&9].len();
    assert!((54..90).contains(&before), "a second, and half a second of silence: {before} packets");
    rig.bridge.drop_stream(1);
    rig.says(2, Codec::L16, 8_000, 7_003, &second, at_once);
    rig.run(9_000);
    let packets = &rig.heard[&9];
    let marked: Vec<usize> = (0..packets.len()).filter(|&n| packets[n].1).collect();
    assert_eq!(marked, [0, before], "what begins anew is marked");
    assert_eq!(packets[before].0, 350 * 160, "its timestamp is that of the clock");
    let all = rig.samples(9, &Codec::L16);
    let at = find(&all[before * 160..], &second).expect("valid");
    assert_eq!(at, 3 * 8 + 655, "by time, not by arrival");
}

#[test]
fn any_rate_is_as_long_as_the_time_that_it_stands_for() {
    let mut rig = Rig::new(Config { delay_ns: 120 * MS, ..Config::default() });
    for (who, hz) in [(1, 5_000), (2, 11_025), (3, 44_100), (4, 48_000)] {
        rig.listens(who, Codec::L16, hz);
    }
    rig.says(7, Codec::Opus, 48_000, 0, &tone(400.0, 48_000, 96_000), at_once);
    rig.says(8, Codec::L16, 5_000, 0, &tone(900.0, 5_000, 10_000), at_once);
    rig.run(2_001);
    for (who, hz) in [(1, 5_000_usize), (2, 11_025), (3, 44_100), (4, 48_000)] {
        let heard = rig.samples(who, &Codec::L16);
        assert_eq!(heard.len(), hz * 2, "{hz} Hz");
        let middle = &heard[hz..];
        for tone in [400.0, 900.0] {
            let loud = power(middle, tone, hz as f64);
            assert!(loud > 1e-3, "{tone} Hz at {hz} Hz: {loud}");
        }
        let gaps = middle.chunks(hz / 100).filter(|part| part.iter().all(|sample| sample.abs() < 0.01)).count();
        assert_eq!(gaps, 0, "nothing is missing at {hz} Hz");
        let packets = &rig.heard[&who];
        assert!(packets.iter().all(|(.., payload)| payload.len() <= 1_200));
        let mut at = 0;
        for (timestamp, _, payload) in packets {
            assert_eq!(*timestamp, at);
            at += payload.len() as u64 / 2;
        }
    }
}

#[test]
fn what_is_too_loud_is_turned_down_and_not_clipped() {
    let mut rig = Rig::new(Config::default());
    rig.listens(9, Codec::L16, 8_000);
    for who in 1..=4 {
        let loud: Vec<f32> = tone(440.0, 8_000, 16_000).iter().map(|sample| sample * 2.5).collect();
        rig.says(who, Codec::L16, 8_000, 0, &loud, at_once);
    }
    rig.run(2_300);
    let heard = &rig.samples(9, &Codec::L16)[2_000..14_000];
    let harmonic = power(heard, 1_320.0, 8_000.0) / power(heard, 440.0, 8_000.0);
    assert!(harmonic < 1e-4, "a clipped tone has harmonics: {harmonic}");
    assert!(heard.iter().any(|sample| sample.abs() > 0.9));
}

#[test]
fn timestamps_that_jump_about_hold_up_nobody() {
    let mut rig = Rig::new(Config::default());
    rig.listens(9, Codec::L16, 8_000);
    let ana = noise(1, 24_000);
    rig.says(1, Codec::L16, 8_000, 0, &ana, at_once);
    rig.says(2, Codec::L16, 8_000, 0, &noise(2, 8_000), at_once);
    // The other's timestamps and numbers are anything.
    let mut state = 1u32;
    for packet in rig.sent.iter_mut().filter(|packet| packet.stream == 2) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        packet.timestamp = state;
        packet.sequence = (state >> 7) as u16;
    }
    rig.run(3_500);
    let heard = rig.samples(9, &Codec::L16);
    assert_eq!(find(&heard, &ana[12_000..]), Some(655 + 12_000), "one is heard as if the other were not there");
    assert_eq!(rig.heard[&9].len() * 160, heard.len());
}

#[test]
fn there_are_bounds() {
    let config = Config { max_streams: 2, max_listeners: 2, max_rates: 1, ..Config::default() };
    let mut bridge = Bridge::new(config, Stamp::from_ns(0));
    let shape = |hz| Shape { codec: Codec::L16, rate: Rate::new(hz).expect("valid"), channels: Channels::MONO };
    let format = Format::new(Codec::L16, Rate::HZ_8000, Channels::MONO, 160);
    let carried = PayloadFormat::new(Codec::L16, Rate::HZ_8000, Channels::MONO);
    let opened: Vec<bool> = (0..3).map(|n| bridge.open(n, PersonId(1), &format, carried.clone()).is_ok()).collect();
    assert_eq!(opened, [true, true, false]);
    assert!(bridge.listen(PersonId(1), &shape(8_000)).is_ok());
    assert!(bridge.listen(PersonId(2), &shape(16_000)).is_err());
    assert!(bridge.listen(PersonId(2), &shape(8_000)).is_ok());
    assert!(bridge.listen(PersonId(3), &shape(8_000)).is_err());
    bridge.leave(PersonId(1));
    bridge.leave(PersonId(2));
    assert!(bridge.listen(PersonId(3), &shape(16_000)).is_ok());
}
