//! Pauses: from the sender that falls silent to the noise that is heard, and never taken for losses.

use std::fs;
use std::time::Duration;

use vox_e2e::{Entry, Scratch, Speech, Wav, await_udp, free_port, read_vox, speech};
use vox_frame::{
    Audio, Channels, Codec, End, EndReason, Extension, Format, MediaTime, Opening, Rate, Record, SequenceNumber, Stamp,
    StreamId, Times,
};

const LIMIT: Duration = Duration::from_secs(30);

/// The last line of a file of statistics.
fn told(scratch: &Scratch, name: &str) -> serde_json::Value {
    let text = fs::read_to_string(scratch.path(name)).expect("the statistics are there");
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

/// Level below full scale, in dB.
fn level(samples: &[i16]) -> f64 {
    let power = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / samples.len().max(1) as f64;
    20.0 * (32_768.0 / power.sqrt().max(1e-6)).log10()
}

#[test]
fn who_falls_silent_on_the_network_is_heard_as_the_noise_of_the_room() {
    let scratch = Scratch::new("pauses-opus");
    let said = speech(&scratch, "words.wav", Speech::mono(48_000, 48_000));
    // A word, two seconds of a room, a word.
    let mut random = 1u32;
    let room = (0..96_000).map(|_| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (i64::from(random >> 16) - 32_768) as i16 / 128
    });
    let samples: Vec<i16> = said.samples.iter().copied().chain(room).chain(said.samples.iter().copied()).collect();
    Wav { samples, ..said }.write(&scratch.path("said.wav"));
    let port = free_port();
    let heard = scratch.spawn(&format!(
        "vox-recv :{port} --idle-timeout 2 --wait 20 --map 96=opus/48000/2 | vox-jitter --delay auto --stats jitter.json | \
         vox-decode --stats decode.json >heard.vox"
    ));
    await_udp(port);
    let sent = format!("vox-capture said.wav | vox-encode opus --dtx | vox-send 127.0.0.1:{port} --stats send.json");
    scratch.run(&sent).succeeded();
    heard.wait(LIMIT).succeeded();
    let (decoded, buffered) = (told(&scratch, "decode.json"), told(&scratch, "jitter.json"));
    let frames = |name: &str| decoded[name].as_u64().unwrap_or_else(|| panic!("{name} in {decoded}"));
    let (concealed, silent) = (frames("concealedSamples"), frames("silentConcealedSamples"));
    assert!(silent > 40_000, "at least 0.8 s of the pause were not sent: {decoded}");
    // A busy machine may make some of it late.
    assert!(concealed - silent < silent / 2, "a pause is no loss: {decoded} {buffered}");
    // Nowhere in the pause is there digital silence.
    let samples: Vec<i16> = read_vox(&scratch.path("heard.vox"))
        .into_iter()
        .filter_map(|entry| if let Entry::Audio { payload, .. } = entry { Some(payload) } else { None })
        .flat_map(|payload| vox_e2e::raw_samples(&payload))
        .collect();
    let quiet = samples[62_400..134_400].chunks(2_400).map(level).fold(0.0, f64::max);
    assert!(quiet < 90.0, "{quiet:.0} dB below full scale somewhere in the pause");
}

#[test]
fn the_noise_that_a_telephone_describes_is_heard_until_it_speaks_again() {
    let scratch = Scratch::new("pauses-cn");
    let id = StreamId(7);
    let mut bytes = Vec::new();
    Opening::new(0, [0; 16]).write(&mut bytes);
    let format = Format { live: true, ..Format::new(Codec::Pcmu, Rate::HZ_8000, Channels::MONO, 160) };
    Record::Format(id, format).write(&mut bytes);
    let mut noise = Vec::new();
    Extension::RtpPayload { payload_type: 13, payload: &[50] }.write(&mut noise);
    let mut packet = |sequence: u64, frame: u64, describes: bool| {
        let arrived = Stamp::from_ns((frame as i64 + 1) * 20_000_000);
        Record::Audio(Audio {
            id,
            sequence: SequenceNumber(sequence),
            timestamp: MediaTime(frame * 160),
            duration: if describes { 0 } else { 160 },
            marker: false,
            recovered: false,
            padding: describes,
            times: Times { arrived: Some(arrived), ..Times::default() },
            slot: None,
            extensions: if describes { &noise } else { &[] },
            payload: if describes { &[] } else { &[0x9a; 160] },
        })
        .write(&mut bytes);
    };
    (0..50).for_each(|n| packet(n, n, false));
    packet(50, 50, true);
    // Two seconds later.
    (51..101).for_each(|n| packet(n, n + 99, false));
    let end = End { id, timestamp: MediaTime(200 * 160), times: Times::default(), reason: EndReason::Complete };
    Record::End(end).write(&mut bytes);
    fs::write(scratch.path("call.vox"), &bytes).expect("a writable folder");
    scratch
        .run("vox-jitter --virtual --stats jitter.json <call.vox | vox-decode --stats decode.json | vox-play heard.wav")
        .succeeded();
    let decoded = told(&scratch, "decode.json");
    assert_eq!(decoded["concealedSamples"], decoded["silentConcealedSamples"], "nothing was lost: {decoded}");
    let heard = Wav::read(&scratch.path("heard.wav"));
    assert!(heard.frames().abs_diff(200 * 160) < 400, "{} frames", heard.frames());
    for second in heard.samples[9_000..23_000].chunks(1_000) {
        assert!((level(second) - 50.0).abs() < 3.0, "{:.1} dB below full scale", level(second));
    }
}
