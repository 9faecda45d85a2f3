//! Captures audio from a device, a file, a pipe or a generator as a stream of records.

fn main() {}
