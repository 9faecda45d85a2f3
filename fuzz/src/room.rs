//! The room's protocol.

use vox_room::{Command, Splitter};

/// Any bytes on a connection: lines and frames, or an error; what is held is bounded.
pub fn room(data: &[u8]) {
    let mut splitter = Splitter::new();
    for bytes in data.chunks(61) {
        splitter.push(bytes);
        loop {
            match splitter.next_message() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        for line in text.lines() {
            let _ = Command::parse(line);
        }
    }
}
