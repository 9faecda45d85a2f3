//! What a session description says of loss repair: redundancy, parity, requests, retransmission.

use std::collections::BTreeMap;

use sdp_types::Media;

use super::{AnnouncedStream, Announcement, line, values};

/// How a session is repaired that asks for what is missing (RFC 4585, RFC 4588).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retransmission {
    /// Payload types of retransmissions in streams of their own, each with that of what it carries (`apt`), where that
    /// is told.
    pub types: BTreeMap<u8, Option<u8>>,
    /// How long the sender keeps a packet (`rtx-time`), in ms.
    pub keep_ms: Option<u32>,
}

/// What packets of retransmissions are called (RFC 4588, section 8.1).
const RTX: &str = "rtx";

/// Parameters that are looked at.
const MAX_PARAMETERS: usize = 256;

impl Announcement {
    pub(super) fn write_repair(&self, text: &mut String) {
        let Some(first) = self.streams.first() else { return };
        let (carried, format) = (first.payload_type, first.format.to_string());
        // Clock and channels are those of what is protected.
        let clock = format.split_once('/').map_or("", |(_, clock)| clock);
        if let Some(red) = self.red {
            line(text, format_args!("rtpmap:{red} red/{clock}"));
            // Primary and redundant blocks are of the same payload type (RFC 2198, section 5).
            line(text, format_args!("fmtp:{red} {carried}/{carried}"));
        }
        if let Some(parity) = self.parity {
            line(text, format_args!("rtpmap:{parity} ulpfec/{clock}"));
        }
        let Some(again) = &self.retransmission else { return };
        line(text, format_args!("rtcp-fb:* nack"));
        for (number, carried) in &again.types {
            let Some(carried) = carried else { continue };
            let format =
                self.streams.iter().find(|stream| stream.payload_type == *carried).unwrap_or(first).format.clock;
            line(text, format_args!("rtpmap:{number} {RTX}/{}", format.hz()));
            let keep = again.keep_ms.map(|ms| format!(";rtx-time={ms}")).unwrap_or_default();
            line(text, format_args!("fmtp:{number} apt={carried}{keep}"));
        }
    }

    /// The SSRCs of the streams, and which of them repeat which (RFC 5576).
    pub(super) fn write_sources(&self, text: &mut String) {
        for AnnouncedStream { ssrc, again, cname, .. } in &self.streams {
            if let Some(again) = again {
                line(text, format_args!("ssrc-group:FID {ssrc} {again}"));
            }
            for ssrc in core::iter::once(ssrc).chain(again) {
                if let Some(cname) = cname {
                    line(text, format_args!("ssrc:{ssrc} cname:{cname}"));
                }
            }
        }
    }
}

/// What a description says of retransmissions; none where nobody is to be asked (`a=rtcp-fb:… nack`).
pub(super) fn retransmission(media: &Media) -> Option<Retransmission> {
    let asked_for = values(&media.attributes, "rtcp-fb").any(|value| {
        let mut words = value.split_whitespace().skip(1);
        // `nack pli` and the like are about pictures.
        words.next() == Some("nack") && words.next().is_none()
    });
    if !asked_for {
        return None;
    }
    let mut found = Retransmission::default();
    for value in values(&media.attributes, "rtpmap").take(MAX_PARAMETERS) {
        let Some((number, format)) = value.split_once(' ') else { continue };
        let is_rtx = format.split('/').next().is_some_and(|name| name.eq_ignore_ascii_case(RTX));
        if let (Some(number), true) = (number.parse().ok().filter(|number: &u8| *number < 128), is_rtx) {
            found.types.insert(number, None);
        }
    }
    for value in values(&media.attributes, "fmtp").take(MAX_PARAMETERS) {
        let Some((number, parameters)) = value.split_once(' ') else { continue };
        let Some(carried) = number.parse().ok().and_then(|number| found.types.get_mut(&number)) else { continue };
        for (name, value) in parameters.split(';').filter_map(|parameter| parameter.trim().split_once('=')) {
            match name {
                "apt" => *carried = value.parse().ok().filter(|number: &u8| *number < 128),
                "rtx-time" => found.keep_ms = value.parse().ok(),
                _ => {}
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use crate::Description;

    fn read(lines: &str) -> Option<super::Retransmission> {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=x\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 5004 RTP/AVPF 96 62\r\n\
             a=rtpmap:96 opus/48000/2\r\n{lines}"
        );
        Description::parse(text.as_bytes()).expect("a description").retransmission
    }

    #[test]
    fn retransmissions_and_what_they_carry_are_read() {
        let found = read("a=rtcp-fb:96 nack\r\na=rtpmap:62 rtx/48000\r\na=fmtp:62 apt=96;rtx-time=3000\r\n").unwrap();
        assert_eq!((found.types, found.keep_ms), ([(62, Some(96))].into(), Some(3000)));
        let plain = read("a=rtcp-fb:* nack\r\n").unwrap();
        assert!(plain.types.is_empty());
    }

    #[test]
    fn who_is_not_to_be_asked_is_not() {
        assert_eq!(read("a=rtpmap:62 rtx/48000\r\na=fmtp:62 apt=96\r\n"), None);
        assert_eq!(read("a=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\n"), None);
    }

    #[test]
    fn lies_about_payload_types_are_left_out() {
        let found = read("a=rtcp-fb:* nack\r\na=rtpmap:200 rtx/8000\r\na=rtpmap:62 rtx/48000\r\na=fmtp:62 apt=999\r\n");
        assert_eq!(found.unwrap().types, [(62, None)].into());
    }
}
