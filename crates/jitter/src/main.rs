//! Gives each record of a pipe the time at which it is to be played.

fn main() {}
