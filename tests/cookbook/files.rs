//! Recorders and harnesses.

use std::fs;

use serde_json::Value;
use vox_e2e::{Speech, Wav, need, speech, ulaw};

use crate::calls::is_heard;
use crate::kitchen::Kitchen;
use crate::mixing::words;

const SAID: Speech = Speech::mono(48_000, 96_000);

/// The files of a folder whose names end like that, in order.
fn files(kitchen: &Kitchen<'_>, folder: &str, ending: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(kitchen.scratch.path(folder)).expect("a folder").flatten();
    let mut files: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    files
}

pub(crate) fn into_ogg_opus(kitchen: &mut Kitchen<'_>) {
    need(&["opusdec"]);
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    kitchen.run(0);
    kitchen.scratch.run("opusdec --quiet --rate 48000 talk.opus decoded.wav").succeeded();
    let decoded = kitchen.wav("decoded.wav");
    assert_eq!(decoded.frames(), said.frames(), "as long as it went in");
    is_heard(kitchen, &said, "decoded.wav");
}

pub(crate) fn one_time_line(kitchen: &mut Kitchen<'_>) {
    speech(&kitchen.scratch, "talk.wav", SAID);
    let studio = kitchen.listen(0, 5004);
    let bob = kitchen.start(2);
    kitchen.run(1);
    kitchen.end(bob);
    std::thread::sleep(std::time::Duration::from_millis(500));
    studio.interrupt();
    kitchen.end(studio);
    let takes: Vec<Wav> = files(kitchen, "takes", ".wav").iter().map(|path| Wav::read(path)).collect();
    assert_eq!(takes.len(), 3, "a file for each of two, and one of both");
    assert!(takes.iter().all(|take| take.frames() == takes[0].frames()), "all are equally long");
    assert!(takes[0].frames() >= 90_000, "{} samples", takes[0].frames());
}

pub(crate) fn keep_the_packets(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    let bob = kitchen.listen(0, 5004);
    kitchen.run(1);
    kitchen.end(bob);
    kitchen.run(2);
    let again = fs::read(kitchen.scratch.path("again.wav")).expect("a WAV");
    kitchen.run(2);
    assert!(again == fs::read(kitchen.scratch.path("again.wav")).expect("a WAV"), "the same every time");
    is_heard(kitchen, &said, "heard.wav");
    is_heard(kitchen, &said, "again.wav");
}

pub(crate) fn new_file_every_so_often(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", Speech::mono(48_000, 120_000));
    kitchen.run(0);
    let parts: Vec<Wav> = files(kitchen, "takes", ".wav").iter().map(|path| Wav::read(path)).collect();
    assert_eq!(parts.iter().map(Wav::frames).collect::<Vec<_>>(), [48_000, 48_000, 24_000]);
    let joined: Vec<i16> = parts.into_iter().flat_map(|part| part.samples).collect();
    assert!(joined == said.samples, "together they are what was said");
}

pub(crate) fn each_thing_said(kitchen: &mut Kitchen<'_>) {
    need(&["sox"]);
    words(kitchen);
    kitchen.run(0);
    let said: Vec<Wav> = files(kitchen, "takes", ".wav").iter().map(|path| Wav::read(path)).collect();
    assert!((2..=4).contains(&said.len()), "{} files", said.len());
    let seconds = said.iter().map(Wav::frames).sum::<usize>() as f64 / 48_000.0;
    assert!((1.5..4.0).contains(&seconds), "{seconds} s of voice");
}

pub(crate) fn mend(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    let mut bytes = fs::read(kitchen.scratch.path("talk.wav")).expect("a WAV");
    // What a pipe leaves: a header that knows no lengths.
    bytes[4..8].fill(0xff);
    bytes[40..44].fill(0xff);
    fs::write(kitchen.scratch.path("broken.wav"), &bytes).expect("a file");
    kitchen.run(0);
    assert_eq!(kitchen.wav("broken.wav"), said);
}

pub(crate) fn cut_quieten_fade(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID).samples;
    kitchen.run(0);
    let edited = kitchen.wav("edited.wav").samples;
    assert_eq!(edited.len(), 96_000 - 24_000, "half a second is gone");
    assert!(edited[..24_000] == said[..24_000], "before the cut nothing changes");
    let halved =
        said[48_000..72_000].iter().zip(&edited[24_000..]).map(|(a, b)| (f64::from(*a) * 0.501 - f64::from(*b)).abs());
    assert!(halved.fold(0.0, f64::max) < 12.0, "6 dB are about a half");
    assert!(edited[71_000..].iter().all(|sample| sample.unsigned_abs() < 6_000), "the end fades");
}

pub(crate) fn look_at_it(kitchen: &mut Kitchen<'_>) {
    speech(&kitchen.scratch, "talk.wav", SAID);
    kitchen.run(0);
    let picture = fs::read(kitchen.scratch.path("talk.png")).expect("a picture");
    assert!(picture.starts_with(b"\x89PNG"));
    assert!(kitchen.text("talk.html").contains("<canvas"));
}

pub(crate) fn still_good(kitchen: &mut Kitchen<'_>) {
    speech(&kitchen.scratch, "talk.wav", Speech::mono(48_000, 480_000));
    let good = kitchen.run(0);
    assert!(good.text().contains("delay"), "{}", good.text());
    kitchen.scratch.run("vox-score talk.wav heard.wav --min-snr 90").exited(&[6]);
}

pub(crate) fn same_noise(kitchen: &mut Kitchen<'_>) {
    speech(&kitchen.scratch, "talk.wav", SAID);
    let sums = kitchen.run(0).text();
    let sums: Vec<&str> = sums.lines().collect();
    assert!(sums.len() == 3 && sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
}

pub(crate) fn count_lost(kitchen: &mut Kitchen<'_>) {
    speech(&kitchen.scratch, "talk.wav", Speech::mono(48_000, 480_000));
    kitchen.run(0);
    let summary = kitchen.text("what.json");
    let summary: Value = serde_json::from_str(summary.lines().last().expect("a line")).expect("JSON");
    let stream = &summary["streams"][0];
    let (lost, heard) = (stream["gaps"]["lost"]["seconds"].as_f64(), stream["audio_seconds"].as_f64());
    let (lost, heard) = (lost.expect("seconds"), heard.expect("seconds"));
    assert!((0.4..2.0).contains(&lost) && (lost + heard - 10.0).abs() < 0.1, "{lost} s lost, {heard} s heard");
}

pub(crate) fn fail_when_lost(kitchen: &mut Kitchen<'_>) {
    speech(&kitchen.scratch, "talk.wav", Speech::mono(48_000, 480_000));
    kitchen.run(0);
    let stricter = kitchen.script(0).replace("2000", "200");
    let outcome = kitchen.scratch.run(&stricter).exited(&[0, 0, 0, 0, 6]);
    assert!(outcome.stderr.contains("lost_ms<=200"), "{}", outcome.stderr);
}

pub(crate) fn session_faster(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", Speech::mono(8_000, 32_000));
    let outcome = kitchen.run(0);
    assert!(outcome.wall > std::time::Duration::from_millis(900), "four seconds in {:?}", outcome.wall);
    assert!(kitchen.wav("heard.wav") == said.through(ulaw), "nothing is missing");
}
