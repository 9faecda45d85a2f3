//! RTP packets, per-source state and session descriptions.
