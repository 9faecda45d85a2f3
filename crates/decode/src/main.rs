//! Decodes the streams of a pipe to PCM.

fn main() {}
