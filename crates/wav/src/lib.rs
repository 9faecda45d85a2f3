//! WAV (RFC 2361) and its 64-bit forms, RF64 (EBU Tech 3306) and BW64 (ITU-R BS.2088): headers that can be written
//! again and again while a file grows, a reader of anyone's, also of what comes from a pipe, and what mends a broken
//! one.
//!
//! Nothing here opens a file: writers give bytes and say where they belong, readers take anything that reads.

mod find;
mod header;
pub mod repair;
mod sample;

pub use find::{Found, Head, find, read};
pub use header::{Large, Spec};
pub use sample::{Sample, to_i16, to_i24};
