//! What tests of the pure crates are made of: no test sleeps, and none depends on the machine.
//!
//! - [`SimClock`] is virtual time; [`DriftingClock`] is what a machine with a fast or slow crystal makes of it.
//! - [`Events`] picks whose deadline comes next and moves virtual time there.
//! - [`Wire`] is a [`Link`](vox_link::Link) with the packets that are on it.
//! - [`PacketSource`] sends packets as a call does, [`Tone`] and [`SpeechLike`] make samples.
//! - [`spurious`], [`roughness`] and [`envelope`] say what has become of tones.
//! - [`arrivals`] reads recorded traces of arrivals.
//! - [`watch_log`] prints log lines with virtual time, and fails a test in which anything logs an error.
//!
//! **The loop of a simulation.** Ask everybody for `next_deadline()`, let [`Events::next`] pick the earliest, let that
//! one handle it, go on:
//!
//! ```
//! use vox_frame::Stamp;
//! use vox_link::profile;
//! use vox_testkit::{Events, PacketSource, Wire};
//!
//! let (mut events, mut source) = (Events::new(), PacketSource::opus(20));
//! let mut wire = Wire::new(profile::named("wifi-good").expect("a known network"), 7);
//! let mut arrived = 0;
//! let end = Stamp::ZERO.plus(1_000_000_000);
//! while let Some((now, who)) = events.next(end, &[source.next_deadline(), wire.next_deadline()]) {
//!     match who {
//!         0 => {
//!             let packet = source.poll(now).expect("it is due");
//!             wire.send(now, packet.bytes, packet);
//!         }
//!         _ => arrived += wire.poll(now).map_or(0, |_| 1),
//!     }
//! }
//! assert!(arrived > 45);
//! ```

mod clock;
mod events;
mod logging;
mod signal;
mod source;
mod spectrum;
mod trace;
mod wire;

pub use clock::{DriftingClock, SimClock};
pub use events::Events;
pub use logging::{LogWatch, watch_log};
pub use signal::{SpeechLike, Tone};
pub use source::{PacketSource, SentPacket};
pub use spectrum::{envelope, roughness, spurious};
pub use trace::{Arrival, arrivals};
pub use wire::Wire;
