//! Loss repair for RTP audio, as pure state: redundant audio (RFC 2198), parity packets (RFC 5109), retransmission
//! (RFC 4585, RFC 4588).

mod mend;
mod parity;
mod protect;
mod red;
mod request;
mod resend;
mod restore;

pub use mend::{MendConfig, MendStats, Mender, PARITY_TYPE, RED_TYPE, RETRANSMISSION_TYPE};
pub use parity::{MAX_SPAN, Parity, ReceivedParity};
pub use protect::{Guard, ParityShape, Protection};
pub use red::{MAX_BLOCKS, MAX_GENERATIONS, RedBlock, RedBlocks, RedEncoder, RedError, read_red};
pub use request::{
    Arrival, PATIENCE_NS, RequestConfig, Requester, append_request, read_nack, read_requests, write_nack,
};
pub use resend::{OwnStream, ResendConfig, Resender, read_resent};
pub use restore::{Origin, RestoreStats, Restorer};
