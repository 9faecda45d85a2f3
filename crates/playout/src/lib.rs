//! The jitter buffer: when each packet is played, and what fills the gaps.
