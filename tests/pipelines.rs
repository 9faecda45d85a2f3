//! Real pipelines of the real stages: what goes in is what comes out.

use std::fs;
use std::path::Path;
use std::time::Duration;

use vox_e2e::{
    Entry, Scratch, Speech, Wav, alaw, align, await_udp, free_port, heard_in_full, locate, need, read_vox, speech, ulaw,
};
use vox_frame::Codec;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_mono_wav_comes_out_bit_identical() {
    comes_out_bit_identical("mono", Speech::mono(48_000, 100_001));
}

#[test]
fn a_stereo_wav_comes_out_bit_identical() {
    comes_out_bit_identical("stereo", Speech::stereo(48_000, 77_777));
}

#[test]
fn a_44100_hz_wav_comes_out_bit_identical() {
    comes_out_bit_identical("cd", Speech::stereo(44_100, 60_001));
}

#[test]
fn an_8000_hz_wav_comes_out_bit_identical() {
    comes_out_bit_identical("telephone", Speech::mono(8_000, 12_345));
}

fn comes_out_bit_identical(name: &str, wanted: Speech) {
    let scratch = Scratch::new(&format!("identical-{name}"));
    let said = speech(&scratch, "said.wav", wanted);
    scratch.run("vox-capture said.wav | vox-play heard.wav").succeeded_silently();
    same(&Wav::read(&scratch.path("heard.wav")), &said);
}

#[test]
fn a_wav_through_stdin_and_stdout_comes_out_bit_identical() {
    let scratch = Scratch::new("wav-through-stdio");
    let said = speech(&scratch, "said.wav", Speech::mono(16_000, 20_001));
    let outcome = scratch.run("vox-capture - <said.wav | vox-play - --raw").succeeded_silently();
    assert!(vox_e2e::raw_samples(&outcome.stdout) == said.samples, "raw samples are those of the WAV");
}

#[test]
fn pcmu_changes_samples_as_the_itu_says_and_no_more() {
    codec_is("pcmu", Speech::mono(8_000, 16_003), ulaw);
}

#[test]
fn pcma_changes_samples_as_the_itu_says_and_no_more() {
    codec_is("pcma", Speech::mono(8_000, 16_003), alaw);
}

#[test]
fn pcmu_works_at_any_rate_and_in_stereo() {
    codec_is("pcmu", Speech::stereo(44_100, 30_011), ulaw);
}

#[test]
fn l16_changes_nothing() {
    codec_is("l16", Speech::stereo(44_100, 44_103), |sample| sample);
}

fn codec_is(codec: &str, wanted: Speech, reference: fn(i16) -> i16) {
    let scratch = Scratch::new(&format!("codec-{codec}-{}", wanted.rate));
    let said = speech(&scratch, "said.wav", wanted);
    scratch.run(&format!("vox-capture said.wav | vox-encode {codec} | vox-play heard.wav")).succeeded_silently();
    same(&Wav::read(&scratch.path("heard.wav")), &said.through(reference));
}

#[test]
fn opus_comes_out_as_long_as_it_went_in_and_aligned() {
    let scratch = Scratch::new("opus");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 150_001));
    scratch
        .run("vox-capture said.wav | vox-encode opus --application audio --bitrate 64k | vox-play heard.wav")
        .succeeded_silently();
    sounds_the_same(&said, &Wav::read(&scratch.path("heard.wav")), 0.95);
}

#[test]
fn opus_in_stereo_keeps_its_sides() {
    let scratch = Scratch::new("opus-stereo");
    let said = speech(&scratch, "said.wav", Speech::stereo(48_000, 120_000));
    scratch
        .run("vox-capture said.wav | vox-encode opus --application audio --bitrate 128k | vox-play heard.wav")
        .succeeded_silently();
    sounds_the_same(&said, &Wav::read(&scratch.path("heard.wav")), 0.95);
}

#[test]
fn opus_of_every_frame_length_comes_out_aligned() {
    let scratch = Scratch::new("opus-frames");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 100_000));
    for frame in ["2.5", "5", "10", "20", "40", "60"] {
        let encode = "vox-encode opus --application audio --bitrate 96k";
        scratch
            .run(&format!("vox-capture --frame {frame} said.wav | {encode} | vox-play heard.wav"))
            .succeeded_silently();
        sounds_the_same(&said, &Wav::read(&scratch.path("heard.wav")), 0.95);
    }
}

#[test]
fn decode_gives_what_play_hears() {
    let scratch = Scratch::new("decode");
    speech(&scratch, "said.wav", Speech::mono(48_000, 96_001));
    let encode = "vox-capture said.wav | vox-encode opus";
    scratch.run(&format!("{encode} | vox-play direct.wav")).succeeded_silently();
    scratch.run(&format!("{encode} | vox-decode | vox-play decoded.wav")).succeeded_silently();
    same(&Wav::read(&scratch.path("decoded.wav")), &Wav::read(&scratch.path("direct.wav")));
}

#[test]
fn a_virtual_jitter_buffer_changes_nothing_where_nothing_is_lost() {
    let scratch = Scratch::new("virtual-jitter");
    // Longer than a script may take.
    speech(&scratch, "said.wav", Speech::mono(48_000, 40 * 48_000 + 1));
    let encode = "vox-capture said.wav | vox-encode opus --complexity 0";
    scratch.run(&format!("{encode} | vox-play direct.wav")).succeeded_silently();
    scratch.run(&format!("{encode} | vox-jitter --virtual | vox-play heard.wav")).succeeded();
    same(&Wav::read(&scratch.path("heard.wav")), &Wav::read(&scratch.path("direct.wav")));
}

#[test]
fn a_stage_in_python_works_in_the_middle() {
    need(&["python3"]);
    let scratch = Scratch::new("python-stage");
    let said = speech(&scratch, "said.wav", Speech::stereo(48_000, 48_001));
    let gain = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/gain.py");
    assert!(gain.is_file(), "{} is the stage", gain.display());
    let gain = gain.display();
    scratch.run(&format!("vox-capture said.wav | python3 {gain} -6 | vox-play heard.wav")).succeeded_silently();
    let heard = Wav::read(&scratch.path("heard.wav"));
    assert_eq!(heard.frames(), said.frames());
    let off = said
        .samples
        .iter()
        .zip(&heard.samples)
        .filter(|(said, heard)| (f64::from(**said) * 0.501_187 - f64::from(**heard)).abs() > 1.0);
    assert_eq!(off.count(), 0, "every sample is 6 dB less than it was");
}

#[test]
fn two_streams_one_after_the_other_are_a_stream() {
    let scratch = Scratch::new("cat");
    let first = speech(&scratch, "a.wav", Speech::mono(48_000, 48_000));
    let second = speech(&scratch, "b.wav", Speech::mono(48_000, 24_000));
    scratch.run("vox-capture a.wav >a.vox; vox-capture b.wav >b.vox").succeeded_silently();
    let summary = scratch.run("cat a.vox b.vox | vox-inspect --summary >/dev/null").succeeded();
    let json = scratch.run("cat a.vox b.vox | vox-inspect --summary --json 2>&1 >/dev/null").succeeded();
    assert!(summary.stderr.contains("48000"), "{}", summary.stderr);
    let values: Vec<serde_json::Value> =
        json.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(!values.is_empty(), "JSON lines: {}", json.text());
    scratch.run("cat a.vox b.vox | vox-play both.wav").succeeded_silently();
    let both = Wav::read(&scratch.path("both.wav"));
    assert!(both.samples == [first.samples, second.samples].concat(), "one after the other, sample by sample");
}

#[test]
fn pcmu_over_rtp_arrives_bit_equal() {
    let scratch = Scratch::new("rtp-pcmu");
    let said = speech(&scratch, "said.wav", Speech::mono(8_000, 24_000));
    let heard = over_rtp(&scratch, "vox-encode pcmu");
    assert_eq!(locate(&said.through(ulaw).samples, &heard.samples), Some(0), "{} samples", heard.frames());
    assert_eq!(heard.frames(), said.frames());
}

#[test]
fn l16_in_stereo_over_rtp_arrives_bit_equal() {
    let scratch = Scratch::new("rtp-l16");
    let said = speech(&scratch, "said.wav", Speech::stereo(44_100, 88_200));
    let heard = over_rtp(&scratch, "vox-encode l16");
    assert_eq!(locate(&said.samples, &heard.samples), Some(0), "{} frames", heard.frames());
    assert_eq!(heard.frames(), said.frames());
}

#[test]
fn opus_over_rtp_arrives_whole() {
    let scratch = Scratch::new("rtp-opus");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 144_000));
    let heard = over_rtp(&scratch, "vox-encode opus --application audio --bitrate 64k");
    let alignment = align(&said.samples, &heard.left(), 2_000);
    assert!(alignment.correlation > 0.95, "{alignment:?}");
    // RTP knows neither pre-skip nor the true end: up to one frame more, and the encoder's delay.
    assert!((0..=960).contains(&alignment.lag), "{alignment:?}");
    assert!((144_000..=144_000 + 1_920).contains(&heard.frames()), "{} samples", heard.frames());
}

/// said.wav through the main job, on loopback.
fn over_rtp(scratch: &Scratch, encode: &str) -> Wav {
    let port = free_port();
    let receiver = scratch.spawn(&format!("vox-recv :{port} --idle-timeout 2s --wait 20 --max-age off >heard.vox"));
    await_udp(port);
    scratch.run(&format!("vox-capture said.wav | {encode} | vox-send 127.0.0.1:{port}")).succeeded_silently();
    receiver.wait(LIMIT).succeeded();
    heard_in_full(scratch)
}

#[test]
fn a_player_hears_two_receivers_on_one_pipe() {
    let scratch = Scratch::new("two-receivers");
    let (left, right) = (free_port(), free_port());
    let said = speech(&scratch, "said.wav", Speech::stereo(48_000, 96_000));
    for (name, side) in [("a.wav", 0), ("b.wav", 1)] {
        let samples = said.samples.iter().copied().skip(side).step_by(2).map(|sample| sample / 2).collect();
        Wav { rate: 48_000, channels: 1, samples }.write(&scratch.path(name));
    }
    let receiver = scratch.spawn(&format!(
        "{{ vox-recv :{left} --idle-timeout 2s --wait 20 --max-age off & vox-recv :{right} --idle-timeout 2s --max-age off; }} | vox-play heard.wav"
    ));
    await_udp(left);
    await_udp(right);
    let send =
        |file: &str, port| format!("vox-capture {file} | vox-encode opus --bitrate 64k | vox-send 127.0.0.1:{port}");
    scratch.run(&format!("{} & {}; wait", send("a.wav", left), send("b.wav", right))).succeeded();
    receiver.wait(LIMIT).succeeded();
    let heard = Wav::read(&scratch.path("heard.wav")).left();
    for name in ["a.wav", "b.wav"] {
        let alignment = align(&Wav::read(&scratch.path(name)).samples, &heard, 12_000);
        assert!(alignment.correlation > 0.55, "{name} is half of what is heard: {alignment:?}");
    }
}

#[test]
fn a_relay_keeps_what_rtp_says() {
    let scratch = Scratch::new("relay");
    let said = speech(&scratch, "said.wav", Speech::mono(8_000, 16_000));
    let (first, second) = (free_port(), free_port());
    let receiver = scratch.spawn(&format!("vox-recv :{second} --idle-timeout 2s --wait 20 --max-age off >second.vox"));
    let relay = scratch.spawn(&format!(
        "vox-recv :{first} --idle-timeout 2s --wait 20 --max-age off | tee -i first.vox | vox-send --max-age off 127.0.0.1:{second}"
    ));
    await_udp(first);
    await_udp(second);
    scratch
        .run(&format!("vox-capture said.wav | vox-encode pcma | vox-send --ssrc 0x1234abcd 127.0.0.1:{first}"))
        .succeeded_silently();
    relay.wait(LIMIT).succeeded();
    receiver.wait(LIMIT).succeeded();
    let (first, second) = (packets(&scratch, "first.vox"), packets(&scratch, "second.vox"));
    assert_eq!(first.len(), said.frames() / 160);
    assert!(first == second, "SSRC, sequence numbers, timestamps and payloads are the same behind the relay");
}

/// SSRC, RTP sequence number, RTP timestamp and payload of every packet.
fn packets(scratch: &Scratch, name: &str) -> Vec<(u32, u16, u32, Vec<u8>)> {
    let mut ssrc = 0;
    let mut packets = Vec::new();
    for entry in read_vox(&scratch.path(name)) {
        match entry {
            Entry::Format(_, format) => {
                assert_eq!(format.codec, Codec::Pcma);
                ssrc = format.rtp.expect("it came from RTP").ssrc;
            }
            Entry::Audio { sequence, timestamp, payload, .. } => {
                packets.push((ssrc, sequence.0 as u16, timestamp as u32, payload));
            }
            _ => {}
        }
    }
    packets
}

#[test]
fn a_pipeline_from_file_to_file_runs_faster_than_time() {
    let scratch = Scratch::new("fast");
    // Longer than a script may take.
    speech(&scratch, "said.wav", Speech::mono(8_000, 8_000 * 60));
    scratch.run("vox-capture said.wav | vox-encode pcmu | vox-decode | vox-play heard.wav").succeeded_silently();
    assert_eq!(fs::metadata(scratch.path("heard.wav")).expect("it is there").len(), 80 + 8_000 * 60 * 2);
}

#[track_caller]
fn same(heard: &Wav, said: &Wav) {
    assert_eq!((heard.rate, heard.channels, heard.frames()), (said.rate, said.channels, said.frames()));
    let first = heard.samples.iter().zip(&said.samples).position(|(heard, said)| heard != said);
    assert_eq!(first, None, "the first sample that differs");
}

#[track_caller]
fn sounds_the_same(said: &Wav, heard: &Wav, least: f64) {
    assert_eq!((heard.rate, heard.channels, heard.frames()), (said.rate, said.channels, said.frames()));
    for channel in 0..usize::from(said.channels) {
        let side = |wav: &Wav| -> Vec<i16> {
            wav.samples.iter().copied().skip(channel).step_by(usize::from(wav.channels)).collect()
        };
        let alignment = align(&side(said), &side(heard), 1_000);
        assert_eq!(alignment.lag, 0, "{alignment:?}");
        assert!(alignment.correlation > least, "{alignment:?}");
    }
}
