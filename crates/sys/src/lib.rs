//! The edge between the pure crates and the system: clocks, pipes, waiting, sockets, priorities.

mod clock;
pub mod net;
pub mod pipe;
mod priority;
pub mod tcp;

pub use clock::{Clock, monotonic_ns};
pub use priority::{go_before_others, go_realtime};
