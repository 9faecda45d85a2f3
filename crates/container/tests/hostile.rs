//! Files of anyone's: whatever they hold, reading and mending them ends, with a result or a sentence.

use std::io::Cursor;

use vox_container::{mend_opus, ogg_opus, repair, wav};
use vox_frame::{Channels, Rate};

/// Numbers that look random, the same on every run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// A file with some bytes changed, cut somewhere.
fn damaged(good: &[u8], state: &mut u64) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..random(state) % 8 {
        let at = random(state) as usize % bytes.len();
        bytes[at] = match random(state) % 3 {
            0 => 0xff,
            1 => 0,
            _ => random(state) as u8,
        };
    }
    bytes.truncate(random(state) as usize % (bytes.len() + 1));
    bytes
}

fn wav_file(data: u64) -> Vec<u8> {
    let channels = Channels::STEREO;
    let spec = wav::Spec { sample: wav::Sample::S24, rate: Rate::HZ_48000, channels };
    let mut file = spec.header(data, wav::Large::Rf64);
    file.resize(file.len() + 600, 7);
    file
}

#[test]
fn a_damaged_wav_is_found_or_refused_and_once_mended_stays_mended() {
    let mut state = 1;
    for good in [wav_file(600), wav_file(6 << 30)] {
        for _ in 0..20_000 {
            let bytes = damaged(&good, &mut state);
            if let Ok(found) = wav::find(&mut Cursor::new(&bytes)) {
                assert!(found.start + found.data <= bytes.len() as u64);
            }
            let mut file = Cursor::new(bytes);
            let Ok(mended) = repair::mend_wav(&mut file) else { continue };
            let mut bytes = file.into_inner();
            if let Some(length) = mended.length {
                bytes.resize(length as usize, 0);
            }
            let again = repair::mend_wav(&mut Cursor::new(&mut bytes[..])).expect("it was mended");
            assert!(again.faults.is_empty() && again.frames == mended.frames, "{:?} then {:?}", mended, again);
        }
    }
}

#[test]
fn a_damaged_ogg_ends() {
    let mut writer = ogg_opus::Writer::new(3, Channels::MONO, 312, &["TITLE=x".to_owned()]);
    for n in 0..60_u8 {
        writer.packet(&[0xf8, n, n, n], 960);
        if n % 7 == 0 {
            writer.flush();
        }
    }
    writer.finish(60 * 960 - 100);
    let good = writer.take();
    let mut state = 2;
    for _ in 0..20_000 {
        let bytes = damaged(&good, &mut state);
        let mut mended = Vec::new();
        if let Ok(done) = mend_opus::mend_opus(&bytes[..], &mut mended) {
            let again = mend_opus::mend_opus(&mended[..], std::io::sink()).expect("it was mended");
            assert!(again.faults.is_empty() && again.ticks == done.ticks, "{done:?} then {again:?}");
        }
        let Ok(mut reader) = ogg_opus::Reader::open(Cursor::new(bytes)) else { continue };
        let mut count = 0;
        while let Ok(Some(_)) = reader.next_packet() {
            count += 1;
        }
        assert!(count <= 60);
    }
}
