//! Files of audio, as bytes: WAV with its 64-bit forms, Ogg Opus, and what mends a broken one.
//!
//! Nothing here opens a file: writers give bytes and say where they belong, readers take anything that reads and seeks.

pub mod mend_opus;
pub mod ogg_opus;
mod ogg_pages;
pub mod repair;
pub mod wav;
