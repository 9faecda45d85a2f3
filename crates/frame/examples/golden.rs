//! Writes the golden file of the frame format to stdout.

#![allow(clippy::disallowed_methods, reason = "an example is a program, not the crate")]

#[path = "../tests/every_record/mod.rs"]
mod every_record;

use std::io::{self, Write};

fn main() -> io::Result<()> {
    io::stdout().write_all(&every_record::bytes())
}
