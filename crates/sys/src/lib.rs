//! The edge between the pure crates and the system: clocks, pipes, waiting, sockets, priorities.

pub mod batch;
mod clock;
pub mod net;
mod outbox;
pub mod pipe;
pub mod priority;
mod readiness;
mod socket_file;
pub mod tcp;

pub use clock::{Clock, monotonic_ns};
pub use outbox::Outbox;
pub use priority::{Prompt, go_before_others, go_realtime};
pub use readiness::{Readiness, Ready};
pub use socket_file::remove_abandoned_socket;
