//! RTP as pure state: packets, payload types, per-source receive state, packetising, session descriptions.
//!
//! [`Receiver`] is handed datagrams with their times of arrival and gives records of the pipe contract; [`Sender`] is
//! handed the records of one stream and gives packets. Nothing here touches a socket or a clock: times and random
//! numbers are arguments.
//!
//! The rules followed: RFC 3550 (RTP; appendix A.1 for the validation of sources), RFC 3551 (static payload types,
//! talk spurts), RFC 4571 (packets over TCP), RFC 7587 (Opus), RFC 5761 (telling RTCP from RTP), RFC 8866 and RFC 4570
//! (session descriptions), RFC 2974 (announcements of them).

mod advice;
mod control;
mod directory;
mod event;
mod extension;
mod framing;
mod heard;
mod interval;
mod ntp;
mod opus;
mod packet;
mod payload;
mod receiver;
mod reception;
mod rtcp;
mod sap;
mod sdp;
mod sender;
mod session;
mod source;
mod stream;
mod tones;

pub use advice::LossAdvice;
pub use control::{Control, ControlConfig, Outgoing, RemoteReport};
pub use directory::{Announcer, Change, Directory, Listed, Unlisted, description_from_txt, description_to_txt};
pub use event::{TELEPHONE_EVENT, TelephoneEvent, code_of, key_of};
pub use extension::{ExtensionMap, HeaderExtension, HeaderFacts};
pub use framing::{Deframer, Framing, FramingError, StreamerPackets, read_streamer_greeting, streamer_greeting};
pub use heard::Route;
pub use ntp::NtpTime;
pub use opus::opus_ticks;
pub use packet::{Header, MAX_CSRC, Packet, PacketError, write_extended, write_packet, write_padding};
pub use payload::{Content, PayloadFormat, PayloadMap, PayloadTypeError, static_format};
pub use receiver::{Receiver, ReceiverConfig, ReceiverStats};
pub use reception::Reception;
pub use rtcp::{Block, Fact, Malformed, read_control, write_control};
pub use sap::{MAX_DESCRIPTION, SAP_GROUPS, SAP_PORT, SapAnnouncer, SapError, SapPacket, sap_group};
pub use sdp::{AnnouncedStream, Announcement, Description, Retransmission, SdpError, Secret, is_source_specific};
pub use sender::{Piece, Sender};
pub use session::{Protocol, Session};
pub use source::{Admission, MAX_DROPOUT, MAX_MISORDER, MIN_SEQUENTIAL, Source};
