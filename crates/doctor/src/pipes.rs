//! Pipes: small for what is live, large for files.

use std::fs;
use std::io;

use vox_sys::pipe::{BATCH_PIPE, LIVE_PIPE};

use crate::args::Topic;
use crate::finding::Finding;

pub(crate) fn look() -> Vec<Finding> {
    vec![small(), large()]
}

/// The size that a pipe has after it was asked for.
fn sized(bytes: usize) -> io::Result<(usize, usize)> {
    let (reader, _writer) = rustix::pipe::pipe()?;
    let before = rustix::pipe::fcntl_getpipe_size(&reader)?;
    vox_sys::pipe::set_size(&reader, bytes);
    Ok((before, rustix::pipe::fcntl_getpipe_size(&reader)?))
}

/// How long speech waits in a full pipe: 16-bit mono at 48 kHz.
fn ms_of_speech(bytes: usize) -> usize {
    bytes * 1_000 / (2 * 48_000)
}

fn small() -> Finding {
    let what = "for live audio";
    match sized(LIVE_PIPE) {
        Ok((before, bytes)) if bytes <= LIVE_PIPE => {
            Finding::works(Topic::Pipes, what, format!("{before} bytes, can be {bytes}")).figure("bytes", bytes)
        }
        Ok((_, bytes)) => Finding::limited(
            Topic::Pipes,
            what,
            format!("{bytes} bytes at least: where a stage stalls {} ms of PCM wait in each pipe", ms_of_speech(bytes)),
        )
        .advise("nothing is lost: what is too old is left out (--max-age), what is due is not waited for")
        .figure("bytes", bytes),
        Err(error) => Finding::fails(Topic::Pipes, what, error.to_string()),
    }
}

fn large() -> Finding {
    let what = "for files";
    match sized(BATCH_PIPE) {
        Ok((_, bytes)) if bytes >= BATCH_PIPE => {
            Finding::works(Topic::Pipes, what, format!("{} KiB", bytes >> 10)).figure("bytes", bytes)
        }
        Ok((_, bytes)) => {
            let most = fs::read_to_string("/proc/sys/fs/pipe-max-size").unwrap_or_default();
            Finding::limited(
                Topic::Pipes,
                what,
                format!("{} KiB at most (fs.pipe-max-size is {}): only slower", bytes >> 10, most.trim()),
            )
            .advise(format!("sysctl -w fs.pipe-max-size={BATCH_PIPE}"))
            .figure("bytes", bytes)
        }
        Err(error) => Finding::fails(Topic::Pipes, what, error.to_string()),
    }
}
