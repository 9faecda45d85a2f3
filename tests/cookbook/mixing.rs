//! Mixing in the shell, and other programs in the pipe.

use serde_json::Value;
use vox_e2e::{Speech, align, need, speech};

use crate::calls::is_heard;
use crate::kitchen::Kitchen;

const SAID: Speech = Speech::mono(48_000, 96_000);

pub(crate) fn music_under_a_voice(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    kitchen.run(0);
    let mixed = kitchen.wav("mixed.wav");
    assert_eq!(mixed.frames(), said.frames());
    let rest: Vec<i16> = mixed.samples.iter().zip(&said.samples).map(|(a, b)| a.saturating_sub(*b)).collect();
    let peak = rest.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
    // -12 dB of a tone, 20 dB less: 823 of 32768.
    assert!((800..850).contains(&peak), "the music under it peaks at {peak}");
}

pub(crate) fn all_the_others(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    kitchen.run(0);
    let without_bob = kitchen.wav("minus/bob.wav");
    assert!(without_bob.samples == said.samples, "bob hears ana and nothing of himself");
    let without_ana = kitchen.wav("minus/ana.wav");
    assert!(
        align(&said.samples[..24_000], &without_ana.samples, 480).correlation.abs() < 0.2,
        "ana does not hear herself"
    );
}

pub(crate) fn another_program(kitchen: &mut Kitchen<'_>) {
    need(&["sox"]);
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    kitchen.run(0);
    let filtered = kitchen.wav("filtered.wav");
    assert_eq!(filtered.frames(), said.frames());
    assert!(filtered.samples != said.samples, "a filter changes something");
    is_heard(kitchen, &said, "filtered.wav");
}

pub(crate) fn watch_the_level(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    kitchen.run(0);
    assert!(kitchen.wav("copied.wav") == said, "the main line is untouched");
    let levels = kitchen.text("levels.jsonl");
    let levels: Vec<Value> = levels.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(!levels.is_empty(), "levels are told");
}

pub(crate) fn write_down(kitchen: &mut Kitchen<'_>) {
    need(&["pocketsphinx_continuous", "sox"]);
    let grammar = "#JSGF V1.0;\ngrammar words;\npublic <words> = (front | rear | side) (left | right | center);\n";
    std::fs::write(kitchen.scratch.path("words.gram"), grammar).expect("a grammar");
    words(kitchen);
    let studio = kitchen.listen(0, 5004);
    kitchen.run(1);
    kitchen.end(studio);
    let said = kitchen.text("said.txt");
    assert_eq!(said.lines().collect::<Vec<_>>(), ["rear left", "front center"]);
}

/// Two things that are said, each before a second of silence, in `words.wav`.
pub(crate) fn words(kitchen: &Kitchen<'_>) {
    let sounds = "/usr/share/sounds/alsa";
    kitchen
        .scratch
        .run(&format!(
            "for word in Rear_Left Front_Center; do sox {sounds}/$word.wav $word.wav pad 0.3 1; done
             sox Rear_Left.wav Front_Center.wav words.wav"
        ))
        .succeeded();
}
