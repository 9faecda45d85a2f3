//! Sends the streams of a pipe as RTP over UDP.

fn main() {}
