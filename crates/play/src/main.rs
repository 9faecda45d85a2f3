//! Plays the streams of a pipe on a device, into a WAV file or as raw samples.

fn main() {}
