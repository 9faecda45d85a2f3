//! A score says what became of speech on its way, and a script can hold it to limits.

use serde_json::Value;
use vox_e2e::{Scratch, Speech, Wav, speech};

fn scored(scratch: &Scratch, got: &str) -> Value {
    let outcome = scratch.run(&format!("vox-score said.wav {got} --json")).succeeded_silently();
    serde_json::from_str(&outcome.text()).expect("a line of JSON")
}

fn number(score: &Value, key: &str) -> f64 {
    score[key].as_f64().unwrap_or_else(|| panic!("no {key} in {score}"))
}

#[test]
fn what_was_not_touched_scores_perfectly_and_the_codec_a_little_less() {
    let scratch = Scratch::new("score-same");
    speech(&scratch, "said.wav", Speech::mono(48_000, 480_000));
    let same = scored(&scratch, "said.wav");
    assert!(number(&same, "snrDb") > 60.0 && number(&same, "delayMs").abs() < 0.001, "{same}");
    let encode = "vox-encode opus --application audio --bitrate 64k";
    scratch.run(&format!("vox-capture said.wav | {encode} | vox-record coded.opus")).succeeded_silently();
    let coded = scored(&scratch, "coded.opus");
    assert!((8.0..40.0).contains(&number(&coded, "segmentalSnrDb")), "{coded}");
    assert!(number(&coded, "delayMs").abs() < 0.1 && number(&coded, "found") > 0.95, "{coded}");
    assert!(number(&coded, "levelDb").abs() < 1.0 && number(&coded, "missingMs") < 50.0, "{coded}");
}

#[test]
fn losses_delays_and_levels_are_measured() {
    let scratch = Scratch::new("score-losses");
    let said = speech(&scratch, "said.wav", Speech::mono(16_000, 160_000));
    let mut samples = vec![0; 4_000];
    samples.extend(said.samples.iter().map(|sample| sample / 2));
    let loudest =
        (4_000..150_000).max_by_key(|&at| samples[at..at + 1_600].iter().map(|&s| i64::from(s).pow(2)).sum::<i64>());
    let at = loudest.expect("a loud place");
    samples[at..at + 1_600].fill(0);
    Wav { samples, ..said }.write(&scratch.path("heard.wav"));
    let score = scored(&scratch, "heard.wav");
    assert!((number(&score, "delayMs") - 250.0).abs() < 0.1, "{score}");
    assert!((number(&score, "levelDb") + 6.02).abs() < 0.1, "{score}");
    assert!((70.0..=110.0).contains(&number(&score, "longestGapMs")), "{score}");
}

#[test]
fn people_would_hear_what_the_codec_and_the_network_did() {
    let scratch = Scratch::new("score-mos");
    speech(&scratch, "said.wav", Speech::mono(48_000, 960_000));
    let mos = |way: &str| {
        scratch.run(&format!("vox-capture said.wav | {way} vox-record got.wav")).succeeded();
        let outcome = scratch.run("vox-score said.wav got.wav --mos --json; rm got.wav got.jsonl").succeeded();
        let score: Value = serde_json::from_str(&outcome.text()).expect("a line of JSON");
        number(&score["perceived"], "mos")
    };
    let same = mos("");
    let good = mos("vox-encode opus --bitrate 24k |");
    let poor = mos("vox-encode opus --bitrate 6k |");
    let lossy = mos("vox-encode opus --bitrate 24k | vox-impair loss10 --seed 3 | vox-jitter --virtual | vox-decode |");
    // P.862.2 ends at 4.64.
    assert!(same > 4.6, "nothing was done: {same}");
    assert!(same > good && good > 3.5 && good > poor + 0.5 && good > lossy + 0.5, "{same}, {good}, {poor}, {lossy}");
}

#[test]
fn limits_that_do_not_hold_end_with_6() {
    let scratch = Scratch::new("score-limits");
    speech(&scratch, "said.wav", Speech::mono(48_000, 480_000));
    let lossy =
        "vox-capture said.wav | vox-encode opus | vox-impair perfect --loss 10% --seed 4 | vox-jitter --virtual";
    scratch.run(&format!("{lossy} | vox-record lossy/ --name lossy")).succeeded_silently();
    scratch.run("vox-capture said.wav | vox-record good.wav").succeeded_silently();
    let limits = "--max-gap 40ms --max-missing 50ms --min-snr 20 --max-spread 1ms --max-ppm 5 --max-level 1";
    scratch.run(&format!("vox-score said.wav good.wav {limits}")).succeeded_silently();
    let failed = scratch.run(&format!("vox-score said.wav lossy/lossy.wav {limits}")).exited(&[6]);
    assert!(failed.stderr.contains("missing, ms") && failed.stdout.starts_with(b"length"), "{}", failed.stderr);
    scratch
        .run("sox -n -r 48000 -b 16 other.wav synth 10 pinknoise; vox-score said.wav other.wav --max-gap 1s")
        .exited(&[6]);
    scratch.run("echo text >text.wav; vox-score said.wav text.wav").exited(&[3]);
}
