//! The pipe contract.

use vox_frame::{Item, MAX_RECORD, Splitter};

/// Any bytes are records, which are written as they were read, or an error at an offset within them; in any pieces.
pub fn frame(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    let mut splitter = Splitter::new();
    let mut rest = stream;
    let mut passed = 0;
    loop {
        let taken = splitter.feed(&rest[..rest.len().min(usize::from(size) + 1)]);
        rest = &rest[taken..];
        loop {
            match splitter.poll() {
                Ok(Some(Item::Record(raw))) => {
                    passed += raw.bytes().len();
                    assert!(raw.bytes().len() <= MAX_RECORD);
                    let Ok(record) = raw.parse() else { continue };
                    let mut again = Vec::new();
                    record.write(&mut again);
                    let mut reread = Splitter::new();
                    let mut opened = Vec::new();
                    vox_frame::Opening::new(0, [0; 16]).write(&mut opened);
                    opened.extend_from_slice(&again);
                    // A record that says more than this version knows comes out shorter, never as another record.
                    assert_eq!(reread.feed(&opened), opened.len());
                    assert!(matches!(reread.poll(), Ok(Some(Item::Opening(_)))));
                    let Ok(Some(Item::Record(second))) = reread.poll() else { panic!("a record became none") };
                    assert_eq!(second.parse().expect("it was written by us"), record);
                }
                Ok(Some(Item::Opening(_))) => {}
                Ok(None) => break,
                Err(error) => return assert!(error.offset <= stream.len() as u64),
            }
        }
        if rest.is_empty() {
            assert!(passed <= stream.len());
            return;
        }
    }
}
