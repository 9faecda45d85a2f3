//! Encoders and decoders between PCM and the payloads of records: mu-law, A-law, L16 and Opus.
//!
//! [`StreamDecoder`] turns the records of one stream into samples, exactly as many as media time asks for: it conceals
//! gaps, uses in-band FEC and deep redundancy where a gap carries a later packet, fits records into their slots, and
//! survives damaged packets. [`OpusStreamEncoder`] goes
//! the other way. Samples are `f32`, full scale ±1.0, channels interleaved; 16-bit samples pass through them unchanged.

mod block;
mod comfort;
mod conceal;
mod decoder;
mod dred;
mod encoder;
mod enhancement;
mod error;
pub mod g711;
pub mod linear;
mod options;
mod opus;
mod opus_decoder;
mod pieces;
mod repeat;
mod slots;

pub use block::{BlockEncoder, Effort};
pub use decoder::StreamDecoder;
pub use encoder::{Coded, OpusStreamEncoder};
pub use error::Error;
pub use options::{Concealment, DecoderOptions, Plc};
pub use opus::{Application, OpusSettings};
pub use pieces::pieces;
