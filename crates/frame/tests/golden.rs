//! The bytes of version 1.0, kept as a file: every later version reads and writes them the same.
//!
//! `cargo run -p vox-frame --example golden > crates/frame/tests/data/every-record.vox` wrote it. It is written again
//! only where a version adds a record or a field, never to make a test pass.

mod every_record;

use vox_frame::{Item, Splitter};

const KEPT: &[u8] = include_bytes!("data/every-record.vox");

#[test]
fn what_is_written_is_the_golden_file() {
    let written = every_record::bytes();
    let differs = written.iter().zip(KEPT).position(|(ours, kept)| ours != kept);
    assert_eq!(differs, None, "the first byte that differs");
    assert_eq!(written.len(), KEPT.len());
}

#[test]
fn the_golden_file_reads_as_the_records_that_made_it() {
    let mut splitter = Splitter::new();
    assert_eq!(splitter.feed(KEPT), KEPT.len());
    let Ok(Some(Item::Opening(opening))) = splitter.poll() else { panic!("an opening") };
    assert_eq!(opening, every_record::opening());
    every_record::records(|expected| {
        let Ok(Some(Item::Record(raw))) = splitter.poll() else { panic!("a record, such as {expected:?}") };
        assert_eq!(&raw.parse().expect("its fields"), expected);
    });
    assert!(matches!(splitter.poll(), Ok(None)));
    splitter.finish().expect("it ends with a whole record");
}
