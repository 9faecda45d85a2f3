//! Writes the golden file of the frame format to stdout.

#[path = "../tests/golden/mod.rs"]
mod golden;

use std::io::{self, Write};

fn main() -> io::Result<()> {
    io::stdout().write_all(&golden::bytes())
}
