//! Recordings keep true time, whatever the network did, and are whole whatever happened to the recorder.

mod clocks;
mod files;
mod session;
mod whole;

use std::process::Command;

use vox_e2e::{Scratch, Speech, Wav, need, speech};
use vox_frame::{Channels, Codec, Format, Rate};

use crate::session::{
    FRAME, SECOND, START, Session, arrived, decoded, noise, opus_frames, payloads, telephone, ulaw_byte,
};

#[test]
fn pcm_is_recorded_bit_by_bit_in_every_format() {
    let scratch = Scratch::new("record-formats");
    let said = speech(&scratch, "said.wav", Speech::stereo(44_100, 100_003));
    for file in ["out.wav", "out.flac"] {
        for bits in ["16", "24"] {
            let name = format!("{bits}-{file}");
            scratch.run(&format!("vox-capture said.wav | vox-record {name} --bits {bits}")).succeeded_silently();
            assert!(decoded(&scratch.path(&name)) == said.samples, "{name}");
        }
    }
    scratch.run("vox-capture said.wav | vox-record float.wav --bits float").succeeded_silently();
    assert!(decoded(&scratch.path("float.wav")) == said.samples);
}

#[test]
fn opus_packets_are_recorded_as_they_are_and_cut_to_the_sample() {
    let scratch = Scratch::new("record-opus");
    speech(&scratch, "said.wav", Speech::mono(48_000, 150_001));
    scratch.run("vox-capture said.wav | vox-encode opus >said.vox").succeeded_silently();
    scratch.run("vox-record said.opus <said.vox; vox-record said-decoded.wav <said.vox").succeeded_silently();
    let path = scratch.path("said.opus");
    assert_eq!(opus_frames(&path), 150_001);
    let ours = Wav::read(&scratch.path("said-decoded.wav"));
    let theirs = Wav::read(&path.with_extension("decoded.wav"));
    let worst = ours.samples.iter().zip(&theirs.samples).map(|(a, b)| (a - b).abs()).max();
    assert!(ours.frames() == 150_001 && worst < Some(40), "off by {worst:?} at worst");
    need(&["opusinfo"]);
    let info = Command::new("opusinfo").arg(&path).output().expect("opusinfo runs");
    let text = String::from_utf8_lossy(&info.stdout).into_owned() + &String::from_utf8_lossy(&info.stderr);
    assert!(info.status.success() && !text.contains("WARNING"), "{text}");
}

#[test]
fn a_recording_is_as_long_as_the_session_whatever_was_lost() {
    let scratch = Scratch::new("record-loss");
    speech(&scratch, "said.wav", Speech::mono(48_000, 480_000));
    scratch.run("vox-capture said.wav | vox-encode opus >said.vox").succeeded_silently();
    let packets = payloads(&scratch.path("said.vox"));
    let mut opus = Format::new(Codec::Opus, Rate::HZ_48000, Channels::MONO, 960);
    opus.live = true;
    opus.label = Some("opus".to_owned());
    for (loss, burst) in [(0, 1), (5, 1), (10, 1), (30, 1), (10, 25)] {
        let mut session = Session::default();
        session.open(START, 1, &opus);
        session.open(START, 2, &telephone("phone"));
        for n in 0..500_u64 {
            let sent = START + n as i64 * FRAME;
            let wait = (noise(3, n) % 30_000_000) as i64;
            let heard = |seed| n == 0 || n == 499 || noise(seed, n / burst) % 100 >= loss;
            // The first and the last come at once, so that the session's length is known.
            let at = if n == 0 || n == 499 { sent } else { sent + wait };
            if heard(1) {
                session.packet(at, 1, 90_000 + n * 960, 960, arrived(at), &packets[n as usize]);
            }
            if heard(2) {
                session.packet(at, 2, 77 + n * 160, 160, arrived(at), &[n as u8; 160]);
            }
        }
        for (id, media) in [(1, 90_000 + 480_000), (2, 77 + 80_000)] {
            session.end(START + 10 * SECOND, id, media);
        }
        session.save(&scratch.path("session.vox"));
        let name = format!("{loss}-{burst}");
        scratch.run(&format!("vox-record {name}/ --name {{label}} <session.vox")).succeeded_silently();
        scratch.run(&format!("vox-record {name}/ --name {{label}} --format opus <session.vox")).succeeded_silently();
        scratch
            .run(&format!("vox-jitter --virtual <session.vox | vox-record {name}/ --name j-{{label}} --conceal"))
            .succeeded_silently();
        let folder = scratch.path(&name);
        for (file, wall) in [("opus.wav", 480_000), ("phone.wav", 80_000), ("j-opus.wav", 480_000)] {
            let frames = Wav::read(&folder.join(file)).frames();
            assert!(frames.abs_diff(wall) <= wall / 500, "{name}/{file}: {frames} frames instead of {wall}");
        }
        let frames = opus_frames(&folder.join("opus.opus"));
        assert!(frames.abs_diff(480_000) <= 960, "{name}/opus.opus: {frames} frames");
        let spoken = Wav::read(&folder.join("phone.wav"));
        let right = (0..500).filter(|&n| spoken.samples[n * 160 + 80] == ulaw_byte(n as u8)).count();
        let wanted = if burst > 1 { 350 } else { 490 - 6 * loss as usize };
        assert!(right > wanted, "{name}: {right} of 500 packets lie where they were said");
    }
}
