//! What comes from the network.

use std::net::{IpAddr, SocketAddr};

use vox_frame::{EndReason, Stamp};
use vox_link::Trace;
use vox_repair::read_requests;
use vox_rtp::{
    Change, ControlConfig, Deframer, Description, Directory, ExtensionMap, Framing, HeaderExtension, ReceiverConfig,
    Route, SapPacket, Session, TelephoneEvent, read_control, read_streamer_greeting, write_control,
};
use vox_srtp::{CryptoLine, MasterKey, Suite, Unprotector};

use crate::pieces::Pieces;

const MAX_SOURCES: usize = 4;

/// Any datagrams from anybody, at any times: the table of sources keeps its bound, and time goes on.
pub fn rtp_receiver(data: &[u8]) {
    let mut steps = Pieces::new(data);
    let choice = steps.byte();
    let mut extensions = ExtensionMap::default();
    extensions.insert(1, HeaderExtension::AudioLevel);
    extensions.insert(2, HeaderExtension::CaptureTime);
    let receiver = ReceiverConfig {
        extensions,
        max_sources: MAX_SOURCES,
        follow: choice & 1 != 0,
        latch: choice & 2 != 0,
        max_age_ns: (choice & 4 != 0).then_some(200_000_000),
        ..ReceiverConfig::default()
    };
    let control = ControlConfig {
        ssrc: 7,
        cname: "fuzz".into(),
        bandwidth: 64_000,
        interval_ns: 5_000_000_000,
        answers: choice & 8 != 0,
        seed: 1,
    };
    let mut now = Stamp::ZERO;
    let mut session = Session::new(now, receiver, control);
    let mut out = |_: vox_frame::Record<'_>| Ok::<(), ()>(());
    while !steps.is_empty() {
        now = now.plus(i64::from(steps.byte()) * 5_000_000);
        let step = steps.byte();
        let route = Route { mux: true, to: SocketAddr::from(([127, 0, 0, step >> 4], 5004)) };
        let arrived = now.plus(-i64::from(steps.byte()) * 2_000_000);
        let datagram = steps.piece();
        match step & 7 {
            0 => session.handle_control(now, 0, route, arrived, datagram),
            1 => session.handle_timeout(now, &mut out).expect("out never fails"),
            2 => session.receiver.handle_recovered(now, 0, route.to, datagram, &mut out).expect("out never fails"),
            3 => assert!(session.poll(now).len() <= 2 * MAX_SOURCES + 1, "reports to more than there are"),
            _ => session.handle_datagram(now, 0, route, arrived, datagram, &mut out).expect("out never fails"),
        }
        let sources = session.receiver.sources();
        assert!(sources <= 2 * MAX_SOURCES, "{sources} sources");
    }
    session.finish(now, &EndReason::Stopped, &mut out).expect("out never fails");
}

/// Any RTCP packet; what was understood of it is written so that it is understood again.
pub fn rtcp(data: &[u8]) {
    for (_, numbers) in read_requests(data) {
        assert!(numbers.len() <= 128, "{} packets of one request", numbers.len());
    }
    let Ok(facts) = read_control(data) else { return };
    let mut written = Vec::new();
    write_control(&facts, &mut written);
    if !written.is_empty() {
        read_control(&written).expect("what we write is RTCP");
    }
}

/// Any session description or attribute of one.
pub fn sdp(data: &[u8]) {
    let _ = Description::parse(data);
    let line = std::str::from_utf8(data).ok().and_then(|text| CryptoLine::parse(text).ok());
    if let Some(line) = line {
        CryptoLine::parse(&line.to_attribute()).expect("what we write is an attribute");
    }
    let _ = TelephoneEvent::parse(data);
}

/// Nothing passes that was not made with the key.
pub fn srtp(data: &[u8]) {
    let mut steps = Pieces::new(data);
    let suite = Suite::ALL[usize::from(steps.byte()) % Suite::ALL.len()];
    let key = MasterKey::parse(suite, &"A".repeat(80)).or_else(|_| MasterKey::from_bytes(suite, &[7; 30]));
    let Ok(key) =
        key.or_else(|_| MasterKey::from_bytes(suite, &[7; 28])).or_else(|_| MasterKey::from_bytes(suite, &[7; 44]))
    else {
        panic!("no key of any length fits {suite:?}")
    };
    let mut unprotector = Unprotector::new(key, MAX_SOURCES);
    let mut out = Vec::new();
    let mut now = Stamp::ZERO;
    while !steps.is_empty() {
        now = now.plus(20_000_000);
        let control = steps.byte() & 1 != 0;
        let packet = steps.piece();
        let taken = if control {
            unprotector.handle_rtcp(now, packet, &mut out)
        } else {
            unprotector.handle_rtp(now, packet, &mut out)
        };
        assert!(taken.is_err(), "a packet of nobody passed: {packet:?}");
    }
}

/// Any byte stream as framed packets: a frame at most is held.
pub fn framing(data: &[u8]) {
    for framing in [Framing::Rfc4571, Framing::TcpStreamer] {
        let mut deframer = Deframer::new(framing);
        let mut taken = 0;
        'stream: for bytes in data.chunks(37) {
            deframer.push(bytes);
            loop {
                match deframer.next_packet() {
                    Ok(Some(packet)) => {
                        taken += packet.len() + framing.header();
                        let _ = read_streamer_greeting(packet);
                    }
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
        assert!(taken <= data.len());
    }
}

/// Any text as a trace of delays.
pub fn link_trace(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Trace::parse(text);
    }
}

/// Any datagrams of SAP from anybody, and any services: the list keeps its bounds, and what is withdrawn was there.
pub fn sap(data: &[u8]) {
    if let Ok(packet) = SapPacket::parse(data) {
        assert_eq!(SapPacket::parse(&packet.to_bytes()), Ok(packet));
    }
    let mut steps = Pieces::new(data);
    let mut directory = Directory::default();
    let (mut now, mut listed) = (Stamp::ZERO, 0);
    while !steps.is_empty() {
        now = now.plus(i64::from(steps.byte()) * 50_000_000);
        let step = steps.byte();
        let from = IpAddr::from([192, 0, 2, step >> 4]);
        let bytes = steps.piece();
        let name = (step >> 2 & 3).to_string();
        let _refused = match step & 3 {
            0 => directory.handle_sap(now, from, bytes),
            1 => {
                let packet = SapPacket { deletion: step & 4 != 0, hash: 1, origin: from, description: bytes };
                directory.handle_sap(now, from, &packet.to_bytes())
            }
            2 => directory.handle_service(now, &name, bytes),
            _ => {
                directory.handle_service_gone(&name);
                Ok(())
            }
        };
        directory.handle_timeout(now);
        while let Some(change) = directory.poll() {
            match change {
                Change::Found(found) => {
                    assert!(!found.name.contains(char::is_control), "{:?}", found.name);
                    listed += 1;
                }
                Change::Changed(_) => {}
                Change::Gone(_) => listed -= 1,
            }
        }
        assert_eq!(directory.sessions().count(), listed);
    }
}
