//! Session descriptions (RFC 8866): written for the audio streams of a sender, read from any program.

mod repair;
mod types;

use core::fmt::{self, Arguments, Write};
use std::net::{IpAddr, SocketAddr};

use sdp_types::{Attribute, Media, Session};
use zeroize::Zeroizing;

pub use self::repair::Retransmission;
use crate::{ExtensionMap, HeaderExtension, PayloadFormat, PayloadMap};

/// How audio may be carried: plain or secured, with or without early feedback (RFC 3551, RFC 4585, RFC 3711, RFC 5124).
const PROFILES: [&str; 4] = ["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF"];

/// The most `a=crypto` lines that are looked at.
const MAX_CRYPTO: usize = 16;

/// An audio stream of a session description, as a receiver needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The name of the session; empty where it has none.
    pub name: String,
    /// Where it is sent to.
    pub address: IpAddr,
    /// The UDP port.
    pub port: u16,
    /// What its payload types mean.
    pub map: PayloadMap,
    /// The payload types that it may use, the best first.
    pub payload_types: Vec<u8>,
    /// For source-specific multicast, the only sender (RFC 4570).
    pub source: Option<IpAddr>,
    /// What the ids of header extensions mean (RFC 8285).
    pub extensions: ExtensionMap,
    /// Whether RTCP comes to the same port (RFC 5761).
    pub rtcp_mux: bool,
    /// The port of RTCP, where it is not the next one (RFC 3605).
    pub rtcp_port: Option<u16>,
    /// Whether packets are secured (RTP/SAVP).
    pub secure: bool,
    /// How the sender sends again what is asked for, where it does.
    pub retransmission: Option<Retransmission>,
    /// What stands behind `a=crypto:`, each a suite with its key (RFC 4568).
    pub crypto: Vec<Secret>,
}

/// A part of a session description that has a key in it: not shown, and overwritten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<Zeroizing<String>>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever is meant to see it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a sender announces: streams that go to one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The name of the session, for people.
    pub name: String,
    /// Where they are sent to.
    pub address: IpAddr,
    /// The UDP port.
    pub port: u16,
    /// Hops of multicast packets.
    pub ttl: u32,
    /// Where they are sent from: named where the group is source-specific (RFC 4607, RFC 4570).
    pub source: Option<IpAddr>,
    /// A number that no other session of this host has.
    pub session: u64,
    /// Counts the versions of the description.
    pub version: u64,
    /// What the ids of header extensions mean.
    pub extensions: ExtensionMap,
    /// Whether RTCP goes to the same port.
    pub rtcp_mux: bool,
    /// What secures the packets: the value of an `a=crypto` line (RFC 4568). Whoever reads the description has the key.
    pub crypto: Option<Secret>,
    /// Whether packets are secured (RTP/SAVP) by a key that is told elsewhere; with `crypto` they are anyhow.
    pub secure: bool,
    /// Payload type of redundant audio (RFC 2198), where the streams are repeated.
    pub red: Option<u8>,
    /// Payload type of parity packets (RFC 5109), where there are some.
    pub parity: Option<u8>,
    /// How what is asked for is sent again, where it is.
    pub retransmission: Option<Retransmission>,
    /// The streams, each by its SSRC.
    pub streams: Vec<AnnouncedStream>,
}

/// A stream of an [`Announcement`].
#[derive(Debug, Clone, PartialEq)]
pub struct AnnouncedStream {
    /// Its synchronisation source.
    pub ssrc: u32,
    /// Its payload type.
    pub payload_type: u8,
    /// What the payload type means.
    pub format: PayloadFormat,
    /// Whether it has more than one channel, which Opus does not tell otherwise.
    pub stereo: bool,
    /// How long a packet lasts, in ms.
    pub packet_ms: f64,
    /// Payload type of telephone events, where the stream may carry them.
    pub events: Option<u8>,
    /// The SSRC of its retransmissions, where they have a stream of their own (RFC 4588).
    pub again: Option<u32>,
    /// The sender's lasting name (RFC 5576, section 6.1).
    pub cname: Option<String>,
}

impl Eq for AnnouncedStream {}

/// Why a text is no session description of use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It cannot be parsed.
    #[error("not a session description: {0}")]
    Syntax(String),
    /// It has no audio over RTP.
    #[error("it describes no audio over RTP")]
    NoAudio,
    /// It does not say where to.
    #[error("it has no address (a c= line)")]
    NoAddress,
}

impl Description {
    /// A session at that address of which nothing else is known.
    pub fn of(address: SocketAddr) -> Self {
        Self {
            name: String::new(),
            address: address.ip(),
            port: address.port(),
            map: PayloadMap::standard(),
            payload_types: Vec::new(),
            source: None,
            extensions: ExtensionMap::default(),
            rtcp_mux: false,
            rtcp_port: None,
            secure: false,
            retransmission: None,
            crypto: Vec::new(),
        }
    }

    /// Reads the first audio stream of a description.
    ///
    /// # Errors
    /// Where it is none, or has no audio over RTP, or no address.
    pub fn parse(text: &[u8]) -> Result<Self, SdpError> {
        let session = Session::parse(text).map_err(|error| SdpError::Syntax(error.to_string()))?;
        let media = session
            .medias
            .iter()
            .find(|media| media.media == "audio" && PROFILES.iter().any(|known| *known == media.proto))
            .ok_or(SdpError::NoAudio)?;
        let connection = media.connections.first().or(session.connection.as_ref()).ok_or(SdpError::NoAddress)?;
        let address = connection.connection_address.split('/').next().and_then(|address| address.parse().ok());
        let address: IpAddr = address.ok_or(SdpError::NoAddress)?;
        Ok(Self {
            // A name that is one space is none (RFC 8866, section 5.3).
            name: session.session_name.trim().to_owned(),
            address,
            port: media.port,
            map: payload_types(media),
            payload_types: media.fmt.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect(),
            source: source_of(media.attributes.iter().chain(&session.attributes), address),
            extensions: extensions(media.attributes.iter().chain(&session.attributes)),
            rtcp_mux: media.attributes.iter().any(|attribute| attribute.attribute == "rtcp-mux"),
            rtcp_port: values(&media.attributes, "rtcp").find_map(|value| value.split(' ').next()?.parse().ok()),
            secure: media.proto.starts_with("RTP/SAVP"),
            retransmission: repair::retransmission(media),
            crypto: values(&media.attributes, "crypto")
                .take(MAX_CRYPTO)
                .map(|value| Secret::new(value.to_owned()))
                .collect(),
        })
    }
}

impl Announcement {
    /// What everybody may know of it: all but the key. That the streams are secured is still said.
    #[must_use]
    pub fn public(&self) -> Self {
        Self { secure: self.secure || self.crypto.is_some(), crypto: None, ..self.clone() }
    }

    /// The description as text. Streams share the port: SSRC and payload type tell them apart (RFC 5576).
    pub fn to_sdp(&self) -> String {
        let Self { address, session, version, port, .. } = self;
        // Whatever it holds, it is one line.
        let name = self.name.replace(|c: char| c.is_control(), " ");
        let name = if name.trim().is_empty() { "-" } else { name.trim() };
        let family = if address.is_ipv4() { "IP4" } else { "IP6" };
        let ttl = if address.is_multicast() && address.is_ipv4() { format!("/{}", self.ttl) } else { String::new() };
        let mut types: Vec<u8> = self.streams.iter().map(|stream| stream.payload_type).collect();
        types.extend(self.streams.iter().filter_map(|stream| stream.events));
        types.extend(self.red.into_iter().chain(self.parity));
        types.extend(self.retransmission.iter().flat_map(|again| again.types.keys()));
        let mut known = 0u128;
        types.retain(|number| {
            let new = known & (1 << number) == 0;
            known |= 1 << number;
            new
        });
        let list: String = types.iter().map(|number| format!(" {number}")).collect();
        let origin = self.source.filter(|source| !source.is_unspecified()).unwrap_or(*address);
        let origin_family = if origin.is_ipv4() { "IP4" } else { "IP6" };
        let profile = if self.secure || self.crypto.is_some() { "SAVP" } else { "AVP" };
        // Requests are early feedback (RFC 4585).
        let feedback = if self.retransmission.is_some() { "F" } else { "" };
        let mut text = format!(
            "v=0\r\no=- {session} {version} IN {origin_family} {origin}\r\ns={name}\r\nc=IN {family} {address}{ttl}\r\n\
             t=0 0\r\nm=audio {port} RTP/{profile}{feedback}{list}\r\n"
        );
        if let Some(crypto) = &self.crypto {
            line(&mut text, format_args!("crypto:{}", crypto.expose()));
        }
        if let Some(source) = self.source.filter(|_| is_source_specific(*address)) {
            line(&mut text, format_args!("source-filter: incl IN {family} {address} {source}"));
        }
        // What the first payload type is comes last: ffmpeg takes clock and channels of each `rtpmap` for it.
        self.write_repair(&mut text);
        self.write_payload_types(&mut text);
        if let Some(stream) = self.streams.first() {
            line(&mut text, format_args!("ptime:{}", stream.packet_ms));
        }
        for (id, extension) in self.extensions.iter() {
            line(&mut text, format_args!("extmap:{id} {}", extension.uri()));
        }
        if self.rtcp_mux {
            line(&mut text, format_args!("rtcp-mux"));
        }
        self.write_sources(&mut text);
        line(&mut text, format_args!("recvonly"));
        text
    }
}

/// Whether only one sender may send to the group: 232.0.0.0/8 and ff3x::/32 (RFC 4607).
pub const fn is_source_specific(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group.octets()[0] == 232,
        IpAddr::V6(group) => group.segments()[0] & 0xfff0 == 0xff30,
    }
}

fn line(text: &mut String, attribute: Arguments<'_>) {
    // Writing to a string cannot fail.
    let _infallible = write!(text, "a={attribute}\r\n");
}

fn values<'a>(attributes: &'a [Attribute], name: &'a str) -> impl Iterator<Item = &'a str> {
    attributes.iter().filter(move |attribute| attribute.attribute == name).filter_map(|found| found.value.as_deref())
}

fn payload_types(media: &Media) -> PayloadMap {
    let mut map = PayloadMap::standard();
    for value in values(&media.attributes, "rtpmap") {
        let Some((number, format)) = value.split_once(' ') else { continue };
        // What is not known is left out: its packets are counted when they come.
        if let (Ok(number), Ok(format)) = (number.parse::<u8>(), format.parse::<PayloadFormat>()) {
            map.insert(number, format);
        }
    }
    for value in values(&media.attributes, "fmtp") {
        let Some((number, parameters)) = value.split_once(' ') else { continue };
        let stereo = parameters.split(';').any(|parameter| parameter.trim() == "sprop-stereo=1");
        if let (Ok(number), true) = (number.parse(), stereo) {
            map.expect_stereo(number);
        }
    }
    map
}

/// The only sender of the group: `incl IN IP4 GROUP SOURCE`. An `excl` filter names nobody to listen to.
fn source_of<'a>(mut attributes: impl Iterator<Item = &'a Attribute>, group: IpAddr) -> Option<IpAddr> {
    attributes.find_map(|attribute| {
        let value = attribute.value.as_deref().filter(|_| attribute.attribute == "source-filter")?;
        let [mode, _net, _family, destination, source, ..] = value.split_whitespace().collect::<Vec<_>>()[..] else {
            return None;
        };
        let applies = destination == "*" || destination.parse() == Ok(group);
        if mode == "incl" && applies { source.parse().ok() } else { None }
    })
}

fn extensions<'a>(attributes: impl Iterator<Item = &'a Attribute>) -> ExtensionMap {
    let mut map = ExtensionMap::default();
    for value in
        attributes.filter(|attribute| attribute.attribute == "extmap").filter_map(|found| found.value.as_deref())
    {
        let mut parts = value.split_whitespace();
        let id = parts.next().and_then(|id| id.split('/').next()?.parse().ok());
        let known = parts.next().and_then(|uri| HeaderExtension::ALL.into_iter().find(|known| known.uri() == uri));
        if let (Some(id), Some(known)) = (id, known) {
            map.insert(id, known);
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(address: &str) -> Announcement {
        Announcement {
            name: "a talk".to_owned(),
            address: address.parse().expect("an address"),
            port: 5004,
            ttl: 4,
            source: None,
            session: 1,
            version: 1,
            extensions: ExtensionMap::default(),
            rtcp_mux: false,
            crypto: None,
            secure: false,
            red: None,
            parity: None,
            retransmission: None,
            streams: vec![stream(1, 97, "opus/48000/2"), stream(2, 0, "PCMU/8000"), stream(3, 97, "opus/48000/2")],
        }
    }

    fn stream(ssrc: u32, payload_type: u8, format: &str) -> AnnouncedStream {
        AnnouncedStream {
            ssrc,
            payload_type,
            format: format.parse().expect("a format"),
            stereo: true,
            packet_ms: 20.0,
            events: None,
            again: None,
            cname: Some(format!("name{ssrc}")),
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let text = announcement("239.1.2.3").to_sdp();
        assert!(text.contains("c=IN IP4 239.1.2.3/4\r\n") && text.contains("sprop-stereo=1"), "{text}");
        let read = Description::parse(text.as_bytes()).expect("a description");
        let name = |number| read.map.get(number).map(ToString::to_string);
        assert_eq!((read.address.to_string(), read.port), ("239.1.2.3".to_owned(), 5004));
        assert_eq!((read.name.as_str(), read.payload_types.as_slice()), ("a talk", &[97, 0][..]));
        assert_eq!((name(97), name(0)), (Some("opus/48000/2".to_owned()), Some("PCMU/8000".to_owned())));
        assert!(read.map.is_stereo_expected(97) && !read.map.is_stereo_expected(0));
    }

    #[test]
    fn telephone_events_are_described_at_the_clock_of_the_audio() {
        let mut announcement = announcement("192.0.2.1");
        announcement.streams = vec![AnnouncedStream { events: Some(101), ..stream(1, 0, "PCMU/8000") }];
        let text = announcement.to_sdp();
        assert!(text.contains("m=audio 5004 RTP/AVP 0 101\r\n"), "{text}");
        assert!(text.contains("a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"), "{text}");
        let map = Description::parse(text.as_bytes()).expect("a description").map;
        assert_eq!(map.get(101).map(ToString::to_string).as_deref(), Some("telephone-event/8000"));
    }

    #[test]
    fn the_first_payload_type_is_described_last() {
        let mut announcement = Announcement { red: Some(63), parity: Some(127), ..announcement("192.0.2.1") };
        announcement.streams[0].events = Some(101);
        let text = announcement.to_sdp();
        let described: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")).collect();
        assert_eq!(described.last(), Some(&"97 opus/48000/2"), "{text}");
        assert_eq!(described.len(), 5, "{text}");
    }

    #[test]
    fn a_name_cannot_add_lines() {
        let text = Announcement { name: "x\r\nm=audio 1 RTP/AVP 0".to_owned(), ..announcement("192.0.2.1") }.to_sdp();
        assert_eq!(text.lines().filter(|line| line.starts_with("m=")).count(), 1, "{text}");
    }

    #[test]
    fn every_stream_is_described_and_each_payload_type_once() {
        let text = announcement("192.0.2.1").to_sdp();
        assert!(text.contains("m=audio 5004 RTP/AVP 97 0\r\n"), "{text}");
        assert_eq!(text.matches("rtpmap").count(), 2, "{text}");
        for ssrc in 1..=3 {
            assert!(text.contains(&format!("a=ssrc:{ssrc} cname:name{ssrc}\r\n")), "{text}");
        }
    }

    #[test]
    fn a_source_specific_group_names_its_source() {
        for (group, source) in [("232.1.2.3", "192.0.2.9"), ("ff3e::4321:1", "2001:db8::9")] {
            let source: IpAddr = source.parse().expect("an address");
            let text = Announcement { source: Some(source), ..announcement(group) }.to_sdp();
            assert_eq!(Description::parse(text.as_bytes()).expect("a description").source, Some(source), "{text}");
        }
        let any = Announcement { source: Some([192, 0, 2, 9].into()), ..announcement("239.1.2.3") }.to_sdp();
        assert!(!any.contains("source-filter"), "{any}");
    }

    #[test]
    fn an_excluded_source_or_one_of_another_group_is_not_listened_to() {
        for filter in ["excl IN IP4 232.1.2.3 192.0.2.9", "incl IN IP4 232.1.2.4 192.0.2.9", "incl IN IP4"] {
            let text = format!("{}a=source-filter: {filter}\r\n", announcement("232.1.2.3").to_sdp());
            assert_eq!(Description::parse(text.as_bytes()).expect("a description").source, None, "{filter}");
        }
    }

    #[test]
    fn rtcp_and_header_extensions_are_described() {
        let mut announcement = announcement("192.0.2.1");
        announcement.rtcp_mux = true;
        announcement.extensions.insert(1, HeaderExtension::AudioLevel);
        let text = announcement.to_sdp() + "a=rtcp:5099 IN IP4 192.0.2.1\r\n";
        let read = Description::parse(text.as_bytes()).expect("a description");
        assert_eq!((read.rtcp_mux, read.rtcp_port, read.extensions), (true, Some(5099), announcement.extensions));
    }

    #[test]
    fn keys_are_described_and_never_shown() {
        let crypto = "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
        let announcement = Announcement { crypto: Some(Secret::new(crypto.to_owned())), ..announcement("192.0.2.1") };
        let text = announcement.to_sdp();
        assert!(text.contains(&format!("m=audio 5004 RTP/SAVP 97 0\r\na=crypto:{crypto}\r\n")), "{text}");
        let read = Description::parse(text.as_bytes()).expect("a description");
        assert_eq!((read.secure, read.crypto[0].expose()), (true, crypto));
        assert!(!format!("{read:?} {announcement:?}").contains("d0Rm"));
        let public = announcement.public().to_sdp();
        assert!(public.contains("RTP/SAVP 97 0\r\n") && !public.contains("crypto"), "{public}");
    }

    #[test]
    fn retransmissions_are_described_with_their_sources() {
        let again = Retransmission { types: [(61, Some(0)), (62, Some(97))].into(), keep_ms: Some(500) };
        let mut announcement = Announcement { retransmission: Some(again.clone()), ..announcement("192.0.2.1") };
        announcement.streams[0].again = Some(1001);
        let text = announcement.to_sdp();
        for expected in [
            "m=audio 5004 RTP/AVPF 97 0 61 62",
            "rtpmap:62 rtx/48000",
            "fmtp:62 apt=97;rtx-time=500",
            "rtpmap:61 rtx/8000",
            "ssrc-group:FID 1 1001",
            "ssrc:1001 cname:name1",
        ] {
            assert!(text.contains(&format!("{expected}\r\n")), "{expected}: {text}");
        }
        assert_eq!(Description::parse(text.as_bytes()).expect("a description").retransmission, Some(again));
    }

    #[test]
    fn redundancy_and_parity_are_described() {
        let text = Announcement { red: Some(63), parity: Some(127), ..announcement("192.0.2.1") }.to_sdp();
        assert!(text.contains("m=audio 5004 RTP/AVP 97 0 63 127\r\n"), "{text}");
        assert!(
            text.contains("a=rtpmap:63 red/48000/2\r\na=fmtp:63 97/97\r\na=rtpmap:127 ulpfec/48000/2\r\n"),
            "{text}"
        );
        let map = Description::parse(text.as_bytes()).expect("a description").map;
        assert_eq!(map.get(63).map(ToString::to_string).as_deref(), Some("red/48000/2"));
    }

    #[test]
    fn what_ffmpeg_writes_is_read() {
        let text = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=No Name\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
            a=tool:libavformat 59.27.100\r\nm=audio 6006 RTP/AVP 97\r\nb=AS:24\r\na=rtpmap:97 opus/48000/2\r\n\
            a=fmtp:97 sprop-stereo=0\r\n";
        let read = Description::parse(text).expect("a description");
        assert_eq!((read.port, read.map.get(97).map(ToString::to_string)), (6006, Some("opus/48000/2".to_owned())));
    }

    #[test]
    fn what_is_of_no_use_is_told_apart() {
        assert!(matches!(Description::parse(b"hello"), Err(SdpError::Syntax(_))));
        let video = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 1 RTP/AVP 96\r\n";
        assert_eq!(Description::parse(video), Err(SdpError::NoAudio));
        let nowhere = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=audio 1 RTP/AVP 0\r\n";
        assert_eq!(Description::parse(nowhere), Err(SdpError::NoAddress));
    }
}
