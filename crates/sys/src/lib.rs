//! The edge between the pure crates and the system: clocks, pipes, waiting, sockets.

mod clock;
pub mod net;
pub mod pipe;
pub mod tcp;

pub use clock::{Clock, monotonic_ns};
