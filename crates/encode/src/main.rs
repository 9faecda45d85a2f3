//! Encodes the PCM streams of a pipe.

fn main() {}
