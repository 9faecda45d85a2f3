//! What is written where, under which name.

use std::fs;

use vox_e2e::{Scratch, Speech, Wav, locate, speech};
use vox_frame::{Channels, Codec, Format, Gap, GapReason, MediaTime, Rate, Record, SequenceNumber, StreamId, Times};

use crate::session::{
    FRAME, SECOND, START, Session, arrived, captured, decoded, files, opus_frames, telephone, ulaw_byte,
};

#[test]
fn a_name_overwrites_nothing_and_leads_nowhere() {
    let scratch = Scratch::new("record-names");
    let mut session = Session::default();
    for (id, label) in [(1, "../../escape"), (2, "ana"), (3, "ana"), (4, "")] {
        session.open(START, id, &telephone(label));
        for n in 0..20 {
            let at = START + n * FRAME;
            session.packet(at, id, n as u64 * 160, 160, captured(at), &[0x55; 160]);
        }
        session.end(START + SECOND, id, 3_200);
    }
    session.save(&scratch.path("session.vox"));
    scratch.run("vox-record a/b/takes/ --name {label} <session.vox").succeeded_silently();
    let named: Vec<String> = files(&scratch.path("a/b/takes"), ".wav")
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    assert_eq!(named, ["00000004.wav", "ana-2.wav", "ana.wav", "escape.wav"]);
    scratch.run("echo mine >talk.wav; vox-record talk.wav --mix <session.vox").succeeded_silently();
    assert_eq!(fs::read(scratch.path("talk.wav")).expect("mine"), b"mine\n");
    assert_eq!(Wav::read(&scratch.path("talk-2.wav")).frames(), 3_200);
    let sum = Wav::read(&scratch.path("talk-2.wav")).samples[100];
    assert_eq!(i32::from(sum), 4 * i32::from(ulaw_byte(0x55)));
    scratch.run("vox-record x/ --name ../{label} <session.vox").exited(&[2]);
}

#[test]
fn files_are_split_at_the_same_places_and_join_to_the_whole() {
    let scratch = Scratch::new("record-split");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 168_000));
    scratch.run("vox-capture said.wav | vox-record parts/ --split 1s --name p").succeeded_silently();
    let parts = files(&scratch.path("parts"), ".wav");
    let lengths: Vec<usize> = parts.iter().map(|part| Wav::read(part).frames()).collect();
    assert_eq!(lengths, [48_000, 48_000, 48_000, 24_000]);
    let whole: Vec<i16> = parts.iter().flat_map(|part| Wav::read(part).samples).collect();
    assert!(whole == said.samples);
    scratch
        .run("vox-capture said.wav | vox-encode opus | vox-record opus/ --format opus --split 1s --name p")
        .succeeded();
    let total: usize = files(&scratch.path("opus"), ".opus").iter().map(|part| opus_frames(part)).sum();
    assert!(total.abs_diff(168_000) <= 960, "{total} frames");
}

#[test]
fn each_talk_spurt_gets_a_file_of_its_own() {
    let scratch = Scratch::new("record-spurts");
    let mut session = Session::default();
    session.open(START, 1, &telephone("ana"));
    // Nothing is sent between the spurts, and a packet is lost in the second.
    for n in (0..50).chain(100..175).filter(|n| *n != 120) {
        let at = START + n * FRAME;
        session.packet(at, 1, n as u64 * 160, 160, captured(at), &[0x22; 160]);
    }
    let gap = Gap {
        id: StreamId(1),
        sequence: SequenceNumber(50),
        timestamp: MediaTime(8_000),
        duration: 8_000,
        packets: 0,
        reason: GapReason::Silent,
        times: Times::default(),
        slot: None,
        later: None,
    };
    session.add(START + 99 * FRAME, &Record::Gap(gap));
    session.end(START + 4 * SECOND, 1, 28_000);
    session.save(&scratch.path("session.vox"));
    scratch.run("vox-record takes/ --split talkspurt --name {label} <session.vox").succeeded_silently();
    let lengths: Vec<usize> =
        files(&scratch.path("takes"), ".wav").iter().map(|take| Wav::read(take).frames()).collect();
    assert_eq!(lengths, [8_000, 12_000]);
    let notes = fs::read_to_string(&files(&scratch.path("takes"), ".jsonl")[0]).expect("a sidecar");
    let second = notes.lines().find(|line| line.contains("ana-0002.wav")).expect("a line for the second file");
    assert!(second.contains("\"at\":2.0"), "{second}");
    assert!(notes.contains("\"gap\":\"lost\"") && notes.contains("\"gap\":\"silent\""), "{notes}");
}

#[test]
fn what_has_no_pauses_is_one_file_and_it_says_what_makes_them() {
    let scratch = Scratch::new("record-pauseless");
    let mut words = speech(&scratch, "word.wav", Speech::mono(16_000, 16_000)).samples;
    words.extend([0; 24_000]);
    let samples = [words.clone(), words].concat();
    Wav { rate: 16_000, channels: 1, samples }.write(&scratch.path("words.wav"));
    let outcome = scratch.run("vox-capture words.wav | vox-record one/ --split talkspurt").succeeded();
    assert!(outcome.stderr.contains("put `vox-gate` before"), "{}", outcome.stderr);
    assert_eq!(files(&scratch.path("one"), ".wav").len(), 1);
    let gate = "vox-gate --detect level --level -40";
    scratch.run(&format!("vox-capture words.wav | {gate} | vox-record two/ --split talkspurt")).succeeded_silently();
    assert!(files(&scratch.path("two"), ".wav").len() >= 2);
}

#[test]
fn a_stream_that_says_nothing_for_a_while_begins_where_it_begins_to_speak() {
    let scratch = Scratch::new("record-late");
    let mut session = Session::default();
    session.open(START, 1, &telephone("phone"));
    session.save(&scratch.path("announced.vox"));
    let announced = fs::metadata(scratch.path("announced.vox")).expect("a file").len();
    let mut session = Session::default();
    session.open(START, 1, &telephone("phone"));
    for n in 0..50_u64 {
        session.packet(START + n as i64 * FRAME, 1, n * 160, 160, arrived(START + n as i64 * FRAME), &[n as u8; 160]);
    }
    session.end(START + SECOND, 1, 8_000);
    session.save(&scratch.path("session.vox"));
    // The recorder makes its files whole meanwhile, before it knows what the stream's clock says.
    let slow = format!("{{ head -c {announced} session.vox; sleep 0.5; tail -c +{} session.vox; }}", announced + 1);
    scratch.run(&format!("{slow} | vox-record takes/ --mix --name {{label}}")).succeeded_silently();
    for file in ["takes/phone.wav", "takes/mix.wav"] {
        assert_eq!(Wav::read(&scratch.path(file)).frames(), 8_000, "{file}");
    }
}

#[test]
fn a_live_call_is_recorded_next_to_its_mix() {
    let scratch = Scratch::new("record-mix");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 96_000));
    scratch.run("vox-capture said.wav | vox-record both/ --mix --name {label}").succeeded_silently();
    let takes = files(&scratch.path("both"), ".wav");
    assert_eq!(takes.len(), 2);
    for take in takes {
        assert_eq!(locate(&said.samples, &Wav::read(&take).samples), Some(0), "{}", take.display());
    }
}

#[test]
fn what_flac_does_not_take_becomes_wav_beside_the_others() {
    let scratch = Scratch::new("record-beyond-flac");
    let channels = |count| Channels::new(count).expect("a number of channels");
    let mut session = Session::default();
    let mut pcm = |id: u32, label: &str, codec, hz: u32, count: u8| {
        let bytes = if codec == Codec::PcmF32 { 4 } else { 2 };
        let mut format = Format::new(codec, Rate::new(hz).expect("a rate"), channels(count), 0);
        format.label = Some(label.to_owned());
        session.open(START, id, &format);
        session.packet(START, id, 0, 960, captured(START), &vec![3; 960 * bytes * usize::from(count)]);
        session.end(START + 1, id, 960);
    };
    pcm(1, "usual", Codec::PcmS16, 96_000, 8);
    pcm(2, "fast", Codec::PcmF32, 192_000, 1);
    pcm(3, "broad", Codec::PcmS16, 96_000, 9);
    session.save(&scratch.path("session.vox"));
    let outcome = scratch.run("vox-record takes/ --format flac --name {label} <session.vox").succeeded();
    let told: Vec<&str> = outcome.stderr.lines().collect();
    assert!(told.len() == 2 && told.iter().all(|line| line.contains("becomes WAV: FLAC takes")), "{told:?}");
    assert_eq!(files(&scratch.path("takes"), ".flac"), [scratch.path("takes/usual.flac")]);
    assert_eq!(decoded(&scratch.path("takes/usual.flac")).len(), 960 * 8);
    assert_eq!(
        files(&scratch.path("takes"), ".wav"),
        [scratch.path("takes/broad.wav"), scratch.path("takes/fast.wav")]
    );
    assert_eq!(decoded(&scratch.path("takes/broad.wav")).len(), 960 * 9);
    let fast = scratch.run("ffmpeg -v error -i takes/fast.wav -f f32le -").succeeded().stdout;
    assert!(fast[..960 * 4] == [3; 960 * 4], "float stays float");
    let outcome = scratch.run("vox-record --mix mix.flac <session.vox --rate 192000").succeeded();
    assert!(outcome.stderr.contains("the mix becomes WAV") && scratch.path("mix.wav").is_file(), "{}", outcome.stderr);
}
