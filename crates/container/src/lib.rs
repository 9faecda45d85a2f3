//! Files of audio, as bytes: Ogg Opus, and what mends a broken one. WAV is a crate of its own, for those who need
//! nothing else.
//!
//! Nothing here opens a file: writers give bytes and say where they belong, readers take anything that reads and seeks.

pub mod mend_opus;
pub mod ogg_opus;
mod ogg_pages;

pub use vox_wav as wav;
pub use vox_wav::repair;
