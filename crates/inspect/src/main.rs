//! Shows what passes through a pipe.

fn main() {}
