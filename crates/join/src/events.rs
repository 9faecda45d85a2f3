//! What happens in the room, told to another program: a JSON object a line, on a descriptor of its own.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use serde_json::{Map, Value};
use vox_cli::Failure;
use vox_frame::{Event, StreamId};

/// Where events are told.
pub(crate) struct Events {
    file: File,
    /// Those that its reader was too slow for.
    pub(crate) lost: u64,
}

impl Events {
    /// Tells them on that descriptor of ours, which somebody has opened for us.
    ///
    /// # Errors
    /// Where it is not open for writing, or its reader has gone.
    pub(crate) fn open(descriptor: u16) -> Result<Self, Failure> {
        let failed = |error| Failure::usage(format_args!("cannot write to descriptor {descriptor}: {error}"));
        // Opened anew, so that not waiting for its reader changes nothing for whoever shares it with us.
        let mut options = File::options();
        options.append(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        options.open(format!("/dev/fd/{descriptor}")).map(|file| Self { file, lost: 0 }).map_err(failed)
    }

    /// Tells one. A reader that is too slow misses it: voice does not wait for anybody.
    pub(crate) fn tell(&mut self, event: &Event) {
        let mut line = Map::new();
        line.insert("event".to_owned(), event.event.clone().into());
        if let Some(arrived) = event.times.arrived {
            line.insert("timeNs".to_owned(), arrived.ns().into());
        }
        if event.id != StreamId(0) {
            line.insert("stream".to_owned(), event.id.0.into());
            line.insert("mediaTime".to_owned(), event.timestamp.0.into());
        }
        line.extend(event.details.clone());
        let line = format!("{}\n", Value::Object(line));
        // Shorter than what a pipe takes as a whole: it is all or nothing.
        if self.file.write(line.as_bytes()).is_err() {
            self.lost += 1;
        }
    }
}
