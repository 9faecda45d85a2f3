//! Encoders and decoders between PCM and the payloads of records: mu-law, A-law, L16, Opus.
