//! What whoever runs the server asks for; and plain RTP peers: how he brings them in, and what they say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use vox_frame::{Codec, Stamp};
use vox_room::{ConnId, Nick, PlainTerms, RoomName};
use vox_rtp::{Description, PayloadFormat, PayloadMap};

use super::Server;
use crate::control;
use crate::guests::{BURST, Came};
use crate::way::Way;

/// The payload type of what has none of its own.
const OTHER: u8 = 97;

/// What is agreed where nothing is said.
const DEFAULT_CODEC: &str = "PCMU/8000";

impl Server {
    /// Does what whoever runs the server asks for.
    pub(super) fn answer(&mut self, now: Stamp, question: &Value) -> Value {
        if let Some(answer) = self.handle_peer_question(now, question) {
            return answer;
        }
        let figures = self.figures();
        let mut answer = control::answer(&mut self.hall, now, question, &figures);
        let rooms = answer["rooms"].as_array_mut().into_iter().flatten();
        for member in rooms.flat_map(|room| room["members"].as_array_mut().into_iter().flatten()) {
            let elsewhere = member["path"]["connection"].as_u64().and_then(|conn| self.clients.elsewhere(ConnId(conn)));
            if let Some(path) = elsewhere {
                member["path"] = path;
            }
        }
        answer
    }

    /// Does what `vox-roomd ctl` asks about peers; none where that is not what is asked.
    fn handle_peer_question(&mut self, now: Stamp, question: &Value) -> Option<Value> {
        let answer = match question["do"].as_str()? {
            "peer" => self.add_peer(now, question),
            "sdp" => self.describe_peer(question),
            _ => return None,
        };
        Some(answer.unwrap_or_else(|why| json!({ "error": why })))
    }

    fn add_peer(&mut self, now: Stamp, question: &Value) -> Result<Value, String> {
        let (room, nick) = whom(question)?;
        let listen = address(question, "listen")?.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let terms = terms(question, listen)?;
        let conn = self.clients.draw();
        let mixes = question["forward"].as_bool() != Some(true);
        let wish = if mixes { format!(" mix={}", terms.sends.1) } else { String::new() };
        let listens = self.clients.guests.add(now, conn, listen, terms, (room.clone(), mixes), &self.readiness);
        let listens = listens.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        if let Err(why) = self.hall.handle_guest(now, conn, nick, "plain RTP", &room) {
            self.clients.guests.remove(now, conn);
            return Err(why);
        }
        self.hall.handle_line(now, conn, format!("VOICE {room}: tcp{wish}").as_bytes());
        self.hall.handle_line(now, conn, b"EVENTS: off");
        let (peer, _) = self.clients.guests.get(conn).ok_or("it is gone")?;
        let sdp = peer.answer(&format!("{room}"), listens);
        Ok(json!({
            "listens": listens.to_string(),
            "sendsTo": peer.destination().map(|to| to.to_string()),
            "sdp": sdp,
        }))
    }

    fn describe_peer(&self, question: &Value) -> Result<Value, String> {
        let (room, nick) = whom(question)?;
        let conn = self.hall.connection_of(&room, &nick).ok_or_else(|| format!("there is no {nick} in {room}"))?;
        let (peer, _) = self.clients.guests.get(conn).ok_or_else(|| format!("{nick} does not speak plain RTP"))?;
        let unknown = || format!("where {nick} listens is not known before its first packet, or by --send-to");
        let sdp = peer.description(&format!("{room}")).ok_or_else(unknown)?;
        Ok(json!({ "sdp": sdp }))
    }

    /// Reads what a peer sends.
    pub(super) fn receive_from_guest(&mut self, now: Stamp, conn: ConnId) {
        for _ in 0..BURST {
            let Some(came) = self.clients.guests.receive(now, conn, &mut self.buffer) else { return };
            let Came::Packet(length, line) = came else { continue };
            if let Some(line) = line {
                self.hall.handle_line(now, conn, line.as_bytes());
                self.settle_outputs();
            }
            let mut packet = std::mem::take(&mut self.buffer);
            self.pass_packet(now, conn, &mut packet[..length]);
            self.buffer = packet;
        }
    }

    fn pass_packet(&mut self, now: Stamp, conn: ConnId, packet: &mut [u8]) {
        let mut way = Way::new(self.udp.as_ref(), &mut self.clients, &mut self.outbox);
        self.hall.handle_packet(now, conn, packet, &mut |path, bytes| way.deliver(path, bytes));
        self.send_errors += way.lost;
    }

    /// Passes on what peers have sent ahead of its time, and ends the streams of those that have fallen silent.
    pub(super) fn tend_guests(&mut self, now: Stamp) {
        while let Some((conn, mut packet)) = self.clients.guests.poll_packet(now) {
            self.pass_packet(now, conn, &mut packet);
        }
        self.clients.guests.send_reports(now);
        for (conn, line) in self.clients.guests.handle_timeout(now) {
            self.hall.handle_line(now, conn, line.as_bytes());
        }
    }
}

fn whom(question: &Value) -> Result<(RoomName, Nick), String> {
    let room = question["room"].as_str().and_then(RoomName::parse).ok_or("this is no name of a room")?;
    let nick = question["nick"].as_str().and_then(Nick::parse).ok_or("this is no nickname")?;
    Ok((room, nick))
}

fn address(question: &Value, name: &str) -> Result<Option<SocketAddr>, String> {
    let Some(text) = question[name].as_str() else { return Ok(None) };
    text.parse().map(Some).map_err(|_| format!("{text:?} is not ADDR:PORT"))
}

/// What is agreed: by the peer's own description, or by what is said of it.
fn terms(question: &Value, listen: SocketAddr) -> Result<PlainTerms, String> {
    let told = address(question, "sendTo")?;
    let from = match question["from"].as_str() {
        Some(text) => Some(text.parse::<IpAddr>().map_err(|_| format!("{text:?} is no address"))?),
        None => None,
    };
    let ((accepts, sends), to) = match question["offer"].as_str() {
        Some(offer) => offered(offer).map(|(agreed, to)| (agreed, Some(to)))?,
        None => (coded(question["codec"].as_str().unwrap_or(DEFAULT_CODEC))?, None),
    };
    let (to, reports_to) = to.map_or((None, None), |(to, reports)| (Some(to), Some(reports)));
    // Who is sent his voice elsewhere than he described is not where he takes reports either.
    let reports_to = reports_to.filter(|_| told.is_none_or(|told| Some(told) == to));
    let to = told.or(to);
    let from = from.or_else(|| to.map(|to| to.ip()));
    if to.is_some_and(|to| to.ip().is_multicast()) {
        return Err("a group is no participant: everybody in it would be".to_owned());
    }
    if from.is_none() && !listen.ip().is_loopback() {
        // Beyond this host anybody could be the first.
        return Err("beyond loopback say whose packets are taken: --from ADDRESS or --send-to ADDR:PORT".to_owned());
    }
    Ok(PlainTerms { accepts, sends, from, to, reports_to })
}

type Agreed = (PayloadMap, (u8, PayloadFormat));

fn coded(text: &str) -> Result<Agreed, String> {
    let format: PayloadFormat = match text.to_ascii_lowercase().as_str() {
        "pcmu" => "PCMU/8000".parse(),
        "pcma" => "PCMA/8000".parse(),
        "l16" => "L16/44100/1".parse(),
        "opus" => "opus/48000/2".parse(),
        _ => text.parse(),
    }
    .map_err(|error: vox_rtp::PayloadTypeError| error.to_string())?;
    if matches!(format.codec, Codec::Other(_)) {
        return Err(format!("{text:?} is no codec of rooms: opus, pcmu, pcma, L16/RATE[/CHANNELS]"));
    }
    let other = if format.codec == Codec::Opus { PayloadMap::OPUS } else { OTHER };
    let number = format.static_type().unwrap_or(other);
    let mut accepts = PayloadMap::empty();
    accepts.insert(number, format.clone());
    Ok((accepts, (number, format)))
}

/// What a description offers that rooms know: the first of it is what is sent. And where: voice, and reports.
fn offered(offer: &str) -> Result<(Agreed, (SocketAddr, SocketAddr)), String> {
    let offer = Description::parse(offer.as_bytes()).map_err(|error| error.to_string())?;
    if offer.secure || !offer.crypto.is_empty() {
        return Err("it describes SRTP, which a plain peer does not speak".to_owned());
    }
    let known = |number: &u8| {
        let format = offer.map.get(*number).filter(|format| !matches!(format.codec, Codec::Other(_)));
        format.map(|format| (*number, format.clone()))
    };
    let types: Vec<(u8, PayloadFormat)> = offer.payload_types.iter().filter_map(known).collect();
    let sends = types.first().cloned().ok_or("it offers no codec of rooms: opus, PCMU, PCMA, L16")?;
    let mut accepts = PayloadMap::empty();
    for (number, format) in types {
        accepts.insert(number, format);
    }
    // RFC 5761, section 5.1.1; RFC 3605; RFC 3550, section 11.
    let beside = offer.rtcp_port.unwrap_or_else(|| offer.port.saturating_add(1));
    let reports = if offer.rtcp_mux { offer.port } else { beside };
    let at = |port| SocketAddr::new(offer.address, port);
    Ok(((accepts, sends), (at(offer.port), at(reports))))
}
