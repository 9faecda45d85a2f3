//! What must hold for any bytes at all: one function a parser and a stateful core.
//!
//! Each takes arbitrary bytes and panics where a promise is broken: a panic within, memory that grows without bound,
//! something that is taken for what it is not. `cargo fuzz run --features libfuzzer NAME` searches for such bytes for
//! as long as one likes; the test of this crate feeds each a few thousand seeded ones.

mod bridge;
mod codec;
mod container;
mod frame;
mod guests;
mod mediastream;
mod pieces;
mod playout;
mod repair;
mod room;
mod rtp;
mod websocket;

pub use bridge::bridge;
pub use codec::decoder;
pub use container::container;
pub use frame::frame;
pub use guests::{dialects, plain};
pub use mediastream::mediastream;
pub use playout::playout;
pub use repair::{mend, repair};
pub use room::{house, p2p, room};
pub use rtp::{framing, link_trace, rtcp, rtp_receiver, sap, sdp, srtp};
pub use websocket::websocket;

/// Takes any bytes; panics where a promise is broken.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 21] = [
    ("frame", frame),
    ("rtp_receiver", rtp_receiver),
    ("rtcp", rtcp),
    ("sdp", sdp),
    ("sap", sap),
    ("srtp", srtp),
    ("repair", repair),
    ("mend", mend),
    ("framing", framing),
    ("link_trace", link_trace),
    ("container", container),
    ("decoder", decoder),
    ("playout", playout),
    ("room", room),
    ("house", house),
    ("p2p", p2p),
    ("dialects", dialects),
    ("plain", plain),
    ("mediastream", mediastream),
    ("bridge", bridge),
    ("websocket", websocket),
];
