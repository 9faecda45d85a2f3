//! The front door of Voxpipe: lists the stages and runs one.

fn main() {}
