//! Receives RTP over UDP as streams of records.

fn main() {}
