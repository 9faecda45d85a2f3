use vox_frame::Channels;
use vox_testkit::SpeechLike;

use super::{DEEP, Decoder, State};
use crate::enhancement::COMPUTED;
use crate::opus::{Application, OpusSettings, encoder};

/// Frames of 20 ms.
const FRAMES: usize = 960;

/// Packets of something like speech, of one channel or two, in one of the modes of Opus.
fn packets(channels: Channels, bitrate: u32, application: Application, count: usize) -> Vec<Vec<u8>> {
    let settings = OpusSettings { bitrate: Some(bitrate), application, fec: true, loss: 10, ..OpusSettings::default() };
    let encoder = encoder(audiopus::SampleRate::Hz48000, channels, &settings).expect("settings that libopus takes");
    let width = channels.count();
    let voice = SpeechLike::new(1, 48_000).take(count * FRAMES);
    let pcm: Vec<f32> = voice.flat_map(|sample| (0..width).map(move |n| sample / (n + 1) as f32)).collect();
    let encode = |frame: &[f32]| {
        let mut packet = [0; 1_500];
        let length = encoder.encode_float(frame, &mut packet[..]).expect("encodes");
        packet[..length].to_vec()
    };
    pcm.chunks_exact(FRAMES * width).map(encode).collect()
}

/// What libopus makes of a packet for two channels; of none it makes what might have been there.
fn two_of_libopus(state: &mut State, packet: Option<&[u8]>, fec: bool) -> Vec<f32> {
    let mut samples = vec![0.0; 2 * FRAMES];
    assert_eq!(state.decode(packet, &mut samples, FRAMES as i32, fec), FRAMES as i32);
    samples
}

/// How far the difference of ours to what libopus decodes for two channels lies below it, in dB, where packets are lost as
/// `lost` says.
fn likeness(packets: &[Vec<u8>], ours: &mut Decoder, lost: fn(usize) -> bool) -> f64 {
    let mut theirs = State::new(2).expect("a decoder");
    let (mut error, mut power) = (0.0_f64, 0.0_f64);
    for (n, packet) in packets.iter().enumerate() {
        let mut out = Vec::new();
        let next = packets.get(n + 1).filter(|_| n % 2 == 0);
        ours.widens_for(packet);
        let (made, expected) = match (lost(n), next) {
            (true, Some(next)) => (ours.fec(next, FRAMES, &mut out), two_of_libopus(&mut theirs, Some(next), true)),
            (true, None) => (ours.conceal(FRAMES, &mut out), two_of_libopus(&mut theirs, None, false)),
            (false, _) => (ours.packet(packet, &mut out), two_of_libopus(&mut theirs, Some(packet), false)),
        };
        assert!(made && out.len() == FRAMES * ours.width());
        let both = out.iter().flat_map(|sample| core::iter::repeat_n(sample, 2 / ours.width()));
        for (ours, theirs) in both.zip(expected) {
            error += f64::from(ours - theirs).powi(2);
            power += f64::from(theirs).powi(2);
        }
    }
    10.0 * (power / error).log10()
}

const MODES: [(u32, Application); 3] =
    [(12_000, Application::Voip), (28_000, Application::Voip), (64_000, Application::LowDelay)];

#[test]
fn one_channel_for_two_gives_the_samples_of_two() {
    for (bitrate, application) in MODES {
        let packets = packets(Channels::MONO, bitrate, application, 100);
        let mut ours = Decoder::new(Channels::STEREO, 0).expect("a decoder");
        assert_eq!(likeness(&packets, &mut ours, |_| false), f64::INFINITY, "{bitrate} bit/s");
        assert_eq!(ours.width(), 1);
    }
}

#[test]
fn what_is_lost_differs_by_the_noise_in_it_which_libopus_makes_for_each_channel() {
    for ((bitrate, application), least) in MODES.into_iter().zip([f64::INFINITY, 25.0, 15.0]) {
        let packets = packets(Channels::MONO, bitrate, application, 100);
        let mut ours = Decoder::new(Channels::STEREO, 0).expect("a decoder");
        let db = likeness(&packets, &mut ours, |n| n % 7 == 5);
        assert!(db >= least, "{db:.1} dB at {bitrate} bit/s");
    }
}

#[test]
fn the_first_packet_with_two_channels_is_heard_as_if_two_had_been_decoded_all_along() {
    for (bitrate, application) in
        [(16_000, Application::Voip), (40_000, Application::Voip), (64_000, Application::LowDelay)]
    {
        let mut ours = Decoder::new(Channels::STEREO, 0).expect("a decoder");
        let mono = packets(Channels::MONO, bitrate, application, 60);
        let stereo = packets(Channels::STEREO, 2 * bitrate, application, 60);
        assert!(super::is_stereo(&stereo[30]));
        let all: Vec<Vec<u8>> = mono.into_iter().chain(stereo.into_iter().skip(30)).collect();
        let db = likeness(&all, &mut ours, |_| false);
        assert_eq!((ours.width(), ours.recent.len()), (2, 0));
        assert!(db > 40.0, "{db:.1} dB at {bitrate} bit/s");
    }
}

#[test]
fn what_is_remembered_for_a_second_channel_is_a_fifth_of_a_second() {
    let packets = packets(Channels::MONO, 24_000, Application::Voip, 40);
    let mut decoder = Decoder::new(Channels::STEREO, 0).expect("a decoder");
    for packet in &packets {
        assert!(decoder.packet(packet, &mut Vec::new()));
    }
    assert!(decoder.recent.iter().eq(&packets[30..]));
    let mut single = Decoder::new(Channels::MONO, 0).expect("a decoder");
    assert!(single.packet(&packets[0], &mut Vec::new()) && single.recent.is_empty());
}

#[test]
fn what_is_no_packet_is_damaged_and_leaves_nothing() {
    for channels in [Channels::MONO, Channels::STEREO] {
        let mut decoder = Decoder::new(channels, 0).expect("a decoder");
        let mut out = Vec::new();
        for damaged in [&[][..], &[0xff], &[0xfc, 1, 2, 3][..3], &[3, 0xff, 1]] {
            let made = decoder.packet(damaged, &mut out);
            assert!(!made || out.len().is_multiple_of(120), "{damaged:?}");
            out.clear();
        }
    }
}

/// What comes out of `decode` for each packet, a seventh of them lost, at complexities that change on the way, and for how
/// many frames of each complexity the features for LACE were computed.
fn at_changing_complexities(
    packets: &[Vec<u8>],
    decode: fn(&mut State, Option<&[u8]>, &mut [f32]) -> i32,
) -> (Vec<f32>, [usize; 8]) {
    let mut state = State::new(1).expect("a decoder");
    let (mut heard, mut computed) = (Vec::new(), [0; 8]);
    for (n, packet) in packets.iter().enumerate() {
        let complexity = [0, 7, 0, DEEP, 6, 4][n / 20 % 6];
        state.set_complexity(complexity);
        let mut samples = [0.0; FRAMES];
        let before = COMPUTED.get();
        assert_eq!(decode(&mut state, (n % 7 != 5).then_some(packet), &mut samples), FRAMES as i32);
        computed[usize::from(complexity)] += COMPUTED.get() - before;
        heard.extend(samples);
    }
    (heard, computed)
}

#[cfg(target_os = "linux")]
#[test]
fn where_lace_is_off_its_features_are_left_out_and_no_sample_changes() {
    let past_us = |state: &mut State, packet: Option<&[u8]>, samples: &mut [f32]| {
        let (data, length) = packet.map_or((core::ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len() as i32));
        // SAFETY: `data` is null or points at `length` bytes, and `samples` has room for the frames of one channel.
        unsafe { opusic_sys::opus_decode_float(state.as_ptr(), data, length, samples.as_mut_ptr(), FRAMES as i32, 0) }
    };
    for (bitrate, application) in
        [(16_000, Application::Voip), (24_000, Application::Voip), (32_000, Application::Audio)]
    {
        let packets = packets(Channels::MONO, bitrate, application, 240);
        let ours = |state: &mut State, packet: Option<&[u8]>, samples: &mut [f32]| {
            state.decode(packet, samples, FRAMES as i32, false)
        };
        let (samples, computed) = at_changing_complexities(&packets, ours);
        let (expected, all_computed) = at_changing_complexities(&packets, past_us);
        assert!(samples == expected, "{bitrate} bit/s");
        for complexity in [0, 4, DEEP, 6, 7] {
            let (ours, all) = (computed[usize::from(complexity)], all_computed[usize::from(complexity)]);
            assert!(all > 0, "{bitrate} bit/s: libopus computes them whenever it decodes speech");
            assert_eq!(ours, if complexity > DEEP { all } else { 0 }, "{bitrate} bit/s at complexity {complexity}");
        }
    }
}
