//! Session descriptions (RFC 8866): written for one audio stream, read from any program.

use std::net::IpAddr;

use crate::{PayloadFormat, PayloadMap};

/// An audio stream of a session description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Where it is sent to.
    pub address: IpAddr,
    /// The UDP port.
    pub port: u16,
    /// What its payload types mean.
    pub map: PayloadMap,
    /// For source-specific multicast, the only sender (RFC 4570).
    pub source: Option<IpAddr>,
}

/// Why a text is no session description of use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It cannot be parsed.
    #[error("not a session description: {0}")]
    Syntax(String),
    /// It has no audio over plain RTP.
    #[error("it describes no audio over RTP/AVP")]
    NoAudio,
    /// It does not say where to.
    #[error("it has no address (a c= line)")]
    NoAddress,
}

impl Description {
    /// Reads the first audio stream of a description.
    ///
    /// # Errors
    /// Where it is none, or has no audio over RTP, or no address.
    pub fn parse(text: &[u8]) -> Result<Self, SdpError> {
        let session = sdp_types::Session::parse(text).map_err(|error| SdpError::Syntax(error.to_string()))?;
        let media = session
            .medias
            .iter()
            .find(|media| media.media == "audio" && media.proto.starts_with("RTP/AVP"))
            .ok_or(SdpError::NoAudio)?;
        let connection = media.connections.first().or(session.connection.as_ref()).ok_or(SdpError::NoAddress)?;
        let address = connection.connection_address.split('/').next().and_then(|address| address.parse().ok());
        let mut map = PayloadMap::standard();
        for attribute in media.attributes.iter().filter(|attribute| attribute.attribute == "rtpmap") {
            let Some((number, format)) = attribute.value.as_deref().and_then(|value| value.split_once(' ')) else {
                continue;
            };
            // What is not known is left out: its packets are counted when they come.
            if let (Ok(number), Ok(format)) = (number.parse::<u8>(), format.parse::<PayloadFormat>()) {
                map.insert(number, format);
            }
        }
        let filters = media.attributes.iter().chain(&session.attributes);
        let source = filters
            .filter(|attribute| attribute.attribute == "source-filter")
            .filter_map(|attribute| attribute.value.as_deref()?.split_whitespace().last()?.parse().ok())
            .next();
        Ok(Self { address: address.ok_or(SdpError::NoAddress)?, port: media.port, map, source })
    }

    #[allow(clippy::too_many_arguments)]
    /// Writes the description of a stream that is sent with that payload type to that address. `session` is a number
    /// that no other session of this host has.
    pub fn write(
        address: IpAddr,
        port: u16,
        ttl: u32,
        payload_type: u8,
        format: &PayloadFormat,
        stereo: bool,
        ptime_ms: f64,
        session: u64,
    ) -> String {
        let family = if address.is_ipv4() { "IP4" } else { "IP6" };
        let ttl = if address.is_multicast() && address.is_ipv4() { format!("/{ttl}") } else { String::new() };
        let stereo = u8::from(stereo);
        let fmtp = match format.codec {
            vox_frame::Codec::Opus => format!("a=fmtp:{payload_type} sprop-stereo={stereo};stereo={stereo}\r\n"),
            _ => String::new(),
        };
        format!(
            "v=0\r\no=- {session} 1 IN {family} {address}\r\ns=Voxpipe\r\nc=IN {family} {address}{ttl}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {payload_type}\r\na=rtpmap:{payload_type} {format}\r\n{fmtp}a=ptime:{ptime_ms}\r\n\
             a=recvonly\r\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let format: PayloadFormat = "opus/48000/2".parse().expect("a format");
        let group: IpAddr = "239.1.2.3".parse().expect("an address");
        let text = Description::write(group, 5004, 4, 97, &format, true, 20.0, 1);
        assert!(text.contains("c=IN IP4 239.1.2.3/4\r\n") && text.contains("sprop-stereo=1"), "{text}");
        let read = Description::parse(text.as_bytes()).expect("a description");
        assert_eq!((read.address, read.port, read.map.get(97)), (group, 5004, Some(&format)));
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
