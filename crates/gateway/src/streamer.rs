//! The TCP Audio Streamer and Player: mu-law at one rate, in frames of its own, no names and no rooms.

use std::io;

use vox_codec::g711::Law;
use vox_codec::linear;
use vox_room::{Nick, Notice, RoomName};
use vox_rtp::{Deframer, Framing, Packet, StreamerPackets, streamer_greeting};

use crate::client::{Desk, Dialect};
use crate::house::{House, Refusal};

/// Packets a second: 20 ms each.
const PACKETS_A_SECOND: u32 = 50;

/// The payload type of mu-law at another rate than that of telephones.
const OTHER: u8 = 97;

/// Names that are tried before a client is told that there is none.
const NAMES: u32 = 200;

pub(crate) struct Streamer {
    room: RoomName,
    name: String,
    deframer: Deframer,
    packets: StreamerPackets,
    decoded: Vec<f32>,
    samples: Vec<u8>,
    coded: Vec<u8>,
}

impl Streamer {
    /// A client that is to be in `room`, under `name` and a number.
    pub(crate) fn new(room: RoomName, name: String) -> Self {
        Self {
            room,
            name,
            deframer: Deframer::new(Framing::TcpStreamer),
            packets: StreamerPackets::default(),
            decoded: Vec::new(),
            samples: Vec::new(),
            coded: Vec::new(),
        }
    }

    fn find_seat(&self, server: &str) -> io::Result<House> {
        for number in 1..=NAMES {
            let Some(nick) = Nick::parse(&format!("{}{number}", self.name)) else { break };
            match House::enter(server, &nick) {
                Ok(house) => return Ok(house),
                Err(Refusal::Taken) => {}
                Err(Refusal::Other(text)) => return Err(io::Error::other(text)),
            }
        }
        Err(io::Error::other(format!("no name is free that begins with {:?}", self.name)))
    }
}

fn frame(packet: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(packet.len() + 4);
    Framing::TcpStreamer.write(packet, &mut framed);
    framed
}

impl Dialect for Streamer {
    fn begin(&mut self, desk: &mut Desk) -> io::Result<()> {
        desk.send(frame(&streamer_greeting(desk.rate)));
        desk.house = Some(self.find_seat(&desk.server)?);
        desk.say(&format!("JOIN: {}", self.room));
        let hz = desk.rate.hz();
        let payload_type = if hz == 8_000 { 0 } else { OTHER };
        let facts = format!("pt={payload_type} format=PCMU/{hz} channels=1 frame={}", hz / PACKETS_A_SECOND);
        desk.enter(self.room.as_str(), payload_type, &facts)
    }

    fn handle_bytes(&mut self, desk: &mut Desk, bytes: &[u8]) -> io::Result<()> {
        self.deframer.push(bytes);
        while let Some(frame) = self.deframer.next_packet().map_err(|error| io::Error::other(error.to_string()))? {
            // What is no RTP is counted by nobody; the framing was good.
            let Ok(packet) = Packet::parse(frame) else { continue };
            self.decoded.clear();
            Law::Mu.decode(packet.payload, &mut self.decoded);
            self.samples.clear();
            linear::f32_to_s16le(&self.decoded, &mut self.samples);
            desk.speak(&self.samples, packet.payload);
        }
        Ok(())
    }

    fn handle_notice(&mut self, _desk: &mut Desk, notice: &Notice) -> io::Result<()> {
        match notice {
            Notice::Refused { verb, text, .. } if verb == "JOIN" || verb == "VOICE" => {
                Err(io::Error::other(format!("the rooms say: {text}")))
            }
            _ => Ok(()),
        }
    }

    fn handle_samples(&mut self, desk: &mut Desk, samples: &mut Vec<u8>) -> io::Result<()> {
        let whole = 2 * (desk.rate.hz() / PACKETS_A_SECOND) as usize;
        while samples.len() >= whole {
            self.coded.clear();
            Law::Mu.encode_s16le(&samples[..whole], &mut self.coded);
            samples.drain(..whole);
            desk.send(frame(self.packets.next(&self.coded)));
        }
        Ok(())
    }

    fn handle_time(&mut self, _desk: &mut Desk, _now: i64) -> io::Result<()> {
        Ok(())
    }
}
