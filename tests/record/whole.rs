//! Whole files, whatever happened to the recorder, and those of others that are not.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vox_e2e::{Scratch, Speech, Wav, await_until, free_port, need, signal, speech, unshare};
use vox_frame::{Channels, Codec, Format, Rate, Times};

use crate::session::{
    FRAME, LIMIT, SECOND, START, Session, arrived, decoded, files, noise, opus_frames, readable, telephone,
};

#[test]
fn recorders_are_killed_at_any_moment_and_leave_whole_files() {
    let scratch = Scratch::new("record-kill");
    need(&["ffmpeg", "sox", "opusinfo"]);
    let rounds: u64 = std::env::var("VOX_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(12);
    std::thread::scope(|scope| {
        for (lane, kind) in ["wav", "opus", "flac"].into_iter().enumerate() {
            let scratch = &scratch;
            scope.spawn(move || {
                for round in 0..rounds / 3 {
                    killed(scratch, kind, 400 + noise(11 + lane as u64, round) % 1_600);
                }
            });
        }
    });
}

fn killed(scratch: &Scratch, kind: &str, after_ms: u64) {
    let (port, name) = (free_port(), format!("{kind}-{after_ms}.{kind}"));
    let source = "vox-capture tone:440 --duration 20 | vox-encode opus";
    let script = format!("({source} | vox-send 127.0.0.1:{port}) & vox-recv :{port} | vox-record {name}");
    let running = scratch.spawn(&script);
    let path = scratch.path(&name);
    assert!(await_until(LIMIT, || path.is_file()), "{}", running.stderr());
    let began = Instant::now();
    let victim = running.pid_of("vox-record");
    std::thread::sleep(Duration::from_millis(after_ms));
    let lived = began.elapsed().as_secs_f64();
    signal(victim, Signal::KILL);
    drop(running);
    let heard = decoded(&path).len() as f64 / 48_000.0;
    assert!(heard > lived - 1.0, "{kind}: {heard} s of {lived} s");
    if kind != "opus" {
        let sox = Command::new("sox").arg(&path).args(["-n", "stat"]).output().expect("sox runs");
        assert!(sox.status.success(), "{}", String::from_utf8_lossy(&sox.stderr));
    }
}

#[test]
fn a_killed_recorder_leaves_streams_that_were_over_as_long_as_the_others() {
    let scratch = Scratch::new("record-killed-late");
    let mut opus = Format::new(Codec::Opus, Rate::HZ_48000, Channels::MONO, 960);
    opus.label = Some("opus".to_owned());
    let mut session = Session::default();
    session.open(START, 1, &telephone("short"));
    session.open(START, 2, &opus);
    session.open(START, 3, &telephone("long"));
    for n in 0..300_u64 {
        let at = START + n as i64 * FRAME;
        if n < 50 {
            session.packet(at, 1, n * 160, 160, arrived(at), &[7; 160]);
            session.packet(at, 2, n * 960, 960, arrived(at), &[0xf8, 0xff, 0xfe]);
        }
        session.packet(at, 3, n * 160, 160, arrived(at), &[9; 160]);
    }
    session.end(START + SECOND, 1, 8_000);
    session.end(START + SECOND, 2, 48_000);
    session.save(&scratch.path("session.vox"));
    for (format, files) in [("wav", ["short.wav", "opus.wav"]), ("opus", ["short.wav", "opus.opus"])] {
        let take = "vox-record --name {label} --format";
        // Longer than anything is awaited: at its end all files would be whole.
        let running = scratch.spawn(&format!("{{ cat session.vox; sleep 60; }} | {take} {format} {format}/"));
        let long = scratch.path(&format!("{format}/long.wav"));
        let whole = || readable(&long).is_ok_and(|samples| samples.len() > 5 * 8_000);
        assert!(await_until(LIMIT, whole), "{}", running.stderr());
        signal(running.pid_of("vox-record"), Signal::KILL);
        drop(running);
        for file in files {
            let path = scratch.path(&format!("{format}/{file}"));
            let seconds = decoded(&path).len() as f64 / if file.starts_with("opus") { 48_000.0 } else { 8_000.0 };
            assert!(seconds > 4.5, "{format}/{file}: {seconds} s");
        }
    }
}

#[test]
fn a_full_disk_is_said_and_leaves_a_whole_file() {
    let scratch = Scratch::new("record-full");
    speech(&scratch, "said.wav", Speech::stereo(48_000, 2_000_000));
    scratch.run("vox-capture said.wav | vox-encode opus --bitrate 128k >said.vox").succeeded_silently();
    for (kind, size) in [("wav", "2m"), ("flac", "2m"), ("opus", "300k")] {
        let input = if kind == "opus" { "said.vox" } else { "pcm.vox" };
        let script = format!(
            "mkdir -p full; vox-capture said.wav >pcm.vox; {} bash -c 'mount -t tmpfs -o size={size} none full \
             && vox-record full/a.{kind} <{input}; code=$?; cp full/* .; exit $code'",
            unshare("m")
        );
        let outcome = scratch.run(&script).exited(&[1]);
        assert!(outcome.stderr.contains("a.") && outcome.stderr.contains("No space left"), "{}", outcome.stderr);
        let frames = decoded(&scratch.path(&format!("a.{kind}"))).len() / 2;
        assert!(frames > 300_000, "{kind}: {frames} frames before the disk was full");
        if kind == "opus" {
            let whole = scratch.run("opusinfo a.opus").text();
            assert!(!whole.contains("sequence number gap"), "{whole}");
        }
    }
}

#[test]
fn a_broken_wav_of_anyones_is_mended() {
    let scratch = Scratch::new("record-repair");
    need(&["ffmpeg", "sox"]);
    let said = speech(&scratch, "said.wav", Speech::stereo(48_000, 48_000));
    let good = fs::read(scratch.path("said.wav")).expect("speech");
    let broken = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        fs::write(scratch.path(name), bytes).expect("a broken file");
    };
    broken("zero.wav", &|bytes| {
        bytes[4..8].fill(0);
        bytes[40..44].fill(0);
    });
    broken("huge.wav", &|bytes| bytes[40..44].fill(0xff));
    broken("cut.wav", &|bytes| bytes.truncate(100_001));
    broken("half.wav", &|bytes| bytes[40..44].copy_from_slice(&96_000_u32.to_le_bytes()));
    broken("block.wav", &|bytes| bytes[28..34].fill(0));
    scratch.run("ffmpeg -v error -i said.wav -f wav - >pipe.wav").succeeded();
    scratch.run("sox said.wav -t wav - >soxpipe.wav; true").succeeded();
    let all = "zero.wav huge.wav cut.wav half.wav block.wav pipe.wav soxpipe.wav";
    scratch.run(&format!("vox-record --repair {all}")).succeeded();
    for name in all.split(' ') {
        let mended = Wav::read(&scratch.path(name));
        let whole = if name == "cut.wav" { (100_001 - 44) / 4 } else { 48_000 };
        assert!(mended.samples == said.samples[..whole * 2], "{name}: {} frames", mended.frames());
    }
    let again = scratch.run(&format!("vox-record --repair {all}")).succeeded();
    assert_eq!(again.stderr.matches("nothing is wrong").count(), 7, "{}", again.stderr);
    scratch.run("echo no audio >text.wav; vox-record --repair text.wav").exited(&[3]);
}

#[test]
fn each_file_that_cannot_be_mended_is_told_of_in_its_turn() {
    let scratch = Scratch::new("record-repair-all");
    speech(&scratch, "said.wav", Speech::mono(8_000, 8_000));
    fs::write(scratch.path("text.wav"), "no audio").expect("a text");
    let outcome = scratch.run("vox-record --repair text.wav said.wav gone.wav text.wav").exited(&[3]);
    let told: Vec<&str> = outcome.stderr.lines().collect();
    let names = ["text.wav", "said.wav", "gone.wav", "text.wav"];
    assert_eq!(told.len(), names.len(), "{told:?}");
    assert!(told.iter().zip(names).all(|(line, name)| line.contains(name)), "{told:?}");
    scratch.run("vox-record --repair gone.wav text.wav").exited(&[1]);
}

#[test]
fn a_broken_ogg_of_anyones_is_mended() {
    let scratch = Scratch::new("record-repair-ogg");
    need(&["ffmpeg", "opusenc", "opusdec", "opusinfo"]);
    speech(&scratch, "said.wav", Speech::mono(48_000, 480_000));
    scratch
        .run(
            "ffmpeg -v error -i said.wav -c:a libopus theirs.opus
             opusenc --quiet said.wav others.opus
             vox-capture said.wav | vox-encode opus | vox-record ours.opus",
        )
        .succeeded();
    for name in ["theirs", "others", "ours"] {
        let good = fs::read(scratch.path(&format!("{name}.opus"))).expect("a file");
        let whole = opus_frames(&scratch.path(&format!("{name}.opus")));
        let save = |kind: &str, bytes: &[u8]| fs::write(scratch.path(&format!("{name}-{kind}.opus")), bytes);
        save("cut", &good[..good.len() * 3 / 4]).expect("a file");
        let mut hole = good.clone();
        hole[good.len() / 2] ^= 1;
        save("hole", &hole).expect("a file");
        scratch.run(&format!("vox-record --repair {name}-cut.opus {name}-hole.opus")).succeeded();
        for (kind, least) in [("cut", whole / 2), ("hole", whole)] {
            let path = scratch.path(&format!("{name}-{kind}.opus"));
            let frames = opus_frames(&path);
            assert!((least..=whole).contains(&frames), "{name}, {kind}: {frames} of {whole} frames");
            let info = Command::new("opusinfo").arg(&path).output().expect("opusinfo runs");
            let text = String::from_utf8_lossy(&info.stdout).into_owned() + &String::from_utf8_lossy(&info.stderr);
            assert!(info.status.success() && !text.contains("WARNING"), "{name}, {kind}: {text}");
        }
        let again =
            scratch.run(&format!("vox-record --repair {name}.opus {name}-cut.opus {name}-hole.opus")).succeeded();
        assert_eq!(again.stderr.matches("nothing is wrong").count(), 3, "{}", again.stderr);
        assert!(fs::read(scratch.path(&format!("{name}.opus"))).expect("a file") == good, "{name} is left alone");
    }
}

#[test]
fn a_link_to_a_broken_file_leads_to_the_mended_one() {
    let scratch = Scratch::new("record-repair-link");
    speech(&scratch, "said.wav", Speech::mono(48_000, 96_000));
    scratch.run("mkdir takes; vox-capture said.wav | vox-encode opus | vox-record takes/said.opus").succeeded();
    for (name, link) in [("said.opus", "link.opus"), ("said.wav", "link.wav")] {
        let script = format!(
            "cp -n said.wav takes; truncate -s -777 takes/{name}; ln -s takes/{name} {link}; vox-record --repair {link}"
        );
        let first = scratch.run(&script).succeeded();
        assert!(first.stderr.contains(link) && first.stderr.contains("mended"), "{}", first.stderr);
        assert_eq!(fs::read_link(scratch.path(link)).expect("a link"), Path::new("takes").join(name));
        let again = scratch.run(&format!("vox-record --repair takes/{name}")).succeeded();
        assert!(again.stderr.contains("nothing is wrong"), "{}", again.stderr);
    }
    assert!(files(scratch.dir(), ".mending").is_empty() && files(&scratch.path("takes"), ".mending").is_empty());
}

#[test]
fn beyond_4_gib_a_wav_becomes_rf64_or_bw64() {
    let scratch = Scratch::new("record-large");
    let mut session = Session::default();
    let mut format = Format::new(Codec::PcmF32, Rate::new(192_000).expect("a rate"), Channels::STEREO, 256);
    format.label = Some("big".to_owned());
    session.open(0, 1, &format);
    let loud: Vec<u8> = (0..512).flat_map(|n| (n as f32 / 1_000.0).to_le_bytes()).collect();
    // 50 minutes of silence are a hole in the file.
    let far = 192_000 * 3_000;
    session.packet(1, 1, 0, 256, Times::default(), &loud);
    session.packet(2, 1, far, 256, Times::default(), &loud);
    session.end(3, 1, far + 256);
    session.save(&scratch.path("big.vox"));
    for (form, magic) in [("rf64", b"RF64"), ("bw64", b"BW64")] {
        scratch.run(&format!("vox-record {form}.wav --large {form} <big.vox")).succeeded_silently();
        let path = scratch.path(&format!("{form}.wav"));
        let length = fs::metadata(&path).expect("a file").len();
        assert!(length > 4 << 30, "{length} bytes");
        let mut head = [0; 4];
        std::io::Read::read_exact(&mut fs::File::open(&path).expect("a file"), &mut head).expect("four bytes");
        assert_eq!(&head, magic);
        let tail = scratch.run(&format!("ffmpeg -v error -ss 3000 -i {form}.wav -f f32le tail.raw -y")).succeeded();
        drop(tail);
        assert!(
            fs::read(scratch.path("tail.raw")).expect("a tail") == loud,
            "{form}: what is said at its end is there"
        );
        fs::remove_file(&path).expect("no more of it");
    }
}
