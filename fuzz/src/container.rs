//! Files that somebody else wrote, or did not finish.

use std::io::Cursor;

use vox_container::{mend_opus, ogg_opus, repair, wav};

/// Any bytes as a WAV or an Ogg file: what mending leaves is whole.
pub fn container(data: &[u8]) {
    let _ = wav::find(&mut Cursor::new(data));
    let mut file = Cursor::new(data.to_vec());
    if repair::mend_wav(&mut file).is_ok() {
        let mended = file.into_inner();
        wav::find(&mut Cursor::new(&mended)).expect("a mended file is a WAV file");
        assert!(mended.len() <= data.len() + 1024, "{} bytes became {}", data.len(), mended.len());
    }
    if let Ok(mut reader) = ogg_opus::Reader::open(Cursor::new(data)) {
        while let Ok(Some(_)) = reader.next_packet() {}
    }
    let mut mended = Vec::new();
    if mend_opus::mend_opus(data, &mut mended).is_ok() {
        let again = mend_opus::mend_opus(&mended[..], std::io::sink()).expect("a mended file is Ogg Opus");
        assert!(again.faults.is_empty(), "{:?}", again.faults);
    }
}
