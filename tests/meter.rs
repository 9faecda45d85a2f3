//! What a meter and the table of latencies say of a stream.

use std::fs;

use serde_json::Value;
use vox_e2e::Scratch;

fn lines(scratch: &Scratch, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(scratch.path(name)).expect("lines");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[track_caller]
fn near(line: &Value, name: &str, expected: f64, tolerance: f64) {
    let got = line[name].as_f64().unwrap_or_else(|| panic!("no {name} in {line}"));
    assert!((got - expected).abs() <= tolerance, "{name} is {got}, expected {expected} ± {tolerance}");
}

#[test]
fn a_tone_has_its_level_and_passes_unchanged() {
    let scratch = Scratch::new("meter-tone");
    scratch
        .run("vox-capture tone:997,-20 --channels 2 --duration 5 | tee -i sent.vox | vox-meter --stats lines >passed.vox")
        .succeeded_silently();
    assert!(fs::read(scratch.path("passed.vox")).ok() == fs::read(scratch.path("sent.vox")).ok());
    let lines = lines(&scratch, "lines");
    assert_eq!(lines.len(), 6, "a line a second and one at the end");
    for line in &lines[3..5] {
        near(line, "peakDb", -20.0, 0.1);
        near(line, "rmsDb", -23.01, 0.1);
        // Both channels at -20 dBFS peak: BS.1770 weighs 997 Hz with 0.691 dB.
        near(line, "momentaryLufs", -20.0, 0.2);
        near(line, "shortTermLufs", -20.0, 0.2);
        assert_eq!(line["talking"], true);
    }
    assert_eq!(lines[5]["type"], "stream-end");
    near(&lines[5], "seconds", 5.0, 0.001);
    near(&lines[5], "talkSeconds", 5.0, 0.03);
}

#[test]
fn losses_and_the_fill_of_the_jitter_buffer_are_shown() {
    let scratch = Scratch::new("meter-loss");
    scratch
        .run(
            "vox-capture tone:440 --duration 20 | vox-encode opus | vox-impair loss20 --seed 3 --stats stats \
             | vox-jitter --virtual --delay 60 | vox-meter --stats lines | vox-play null",
        )
        .succeeded_silently();
    let impaired = lines(&scratch, "stats").pop().expect("a summary");
    let end = lines(&scratch, "lines").pop().expect("a line");
    // What is lost before the first packet and behind the last one nobody can count.
    near(&end, "packetsLost", impaired["packetsLost"].as_f64().expect("a count"), 2.0);
    near(&end, "lostPercent", 20.0, 5.0);
    near(&end, "bufferMaxMs", 60.0, 15.0);
}

#[test]
fn the_latency_of_a_live_call_is_told_stage_by_stage() {
    let scratch = Scratch::new("inspect-latency");
    scratch
        .run(
            "vox-capture tone:440 --duration 2 | vox-encode pcmu | vox-replay - | vox-impair --live --delay 100ms \
             | vox-jitter --delay 60 | vox-inspect --latency --json 2>told | vox-play null",
        )
        .succeeded();
    let told = lines(&scratch, "told").pop().expect("a summary");
    let latency = &told["streams"][0]["latency"];
    let p50 = |stage: &str| latency[stage]["p50_ms"].as_f64().unwrap_or_else(|| panic!("no {stage} in {told}"));
    assert!((p50("frame") / 20.0 - 1.0).abs() < 0.02, "{latency}");
    // A loaded machine may add to it, nothing takes away from it.
    assert!(p50("transport") >= 99.0, "{latency}");
    assert!(p50("buffer") >= 20.0, "{latency}");
    assert!(p50("total") >= 170.0 && p50("total") >= p50("transport") + p50("frame"), "{latency}");
}

#[test]
fn what_is_expected_of_a_stream_holds_or_ends_with_6() {
    let scratch = Scratch::new("meter-expect");
    scratch
        .run(
            "vox-capture tone:440 --duration 4 | vox-encode pcmu | vox-impair --loss 10% --seed 7 | vox-jitter --virtual \
             | tee -i lossy.vox | vox-inspect --expect 'gap_ms>0' --expect codec==pcmu --expect 'lost_ms<4000' >passed.vox",
        )
        .succeeded_silently();
    assert!(fs::read(scratch.path("passed.vox")).ok() == fs::read(scratch.path("lossy.vox")).ok());
    let broken =
        scratch.run("vox-inspect --expect 'lost_ms<=0' --expect 'bitrate>0' <lossy.vox >/dev/null").exited(&[6]);
    assert!(broken.stderr.contains("lost_ms<=0 does not hold: it is"), "{}", broken.stderr);
    assert_eq!(broken.stderr.lines().count(), 1, "{}", broken.stderr);
    // Nothing came: nothing was as it was expected.
    scratch.run("head -c 40 lossy.vox | vox-inspect --expect 'lost_ms<=40' >/dev/null").exited(&[0, 6]);
    scratch.run("vox-inspect --expect 'lost_ms<=many' <lossy.vox").exited(&[2]);
}
