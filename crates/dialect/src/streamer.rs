//! The TCP Audio Streamer and Player: mu-law at one rate, in frames of its own, no names and no rooms.

use vox_codec::g711::Law;
use vox_codec::linear;
use vox_dsp::{Levels, mean_power_s16le};
use vox_frame::{Rate, Stamp};
use vox_room::{Notice, RoomName};
use vox_rtp::{Deframer, Framing, Packet, StreamerPackets, streamer_greeting};

use crate::speaker::{Joined, Speaker};
use crate::{Dialect, Goodbye, Said, ToClient, ToRoom, voice_line};

/// Packets a second: 20 ms each.
const PACKETS_A_SECOND: u32 = 50;

/// The payload type of mu-law at another rate than that of telephones.
const OTHER: u8 = 97;

/// Names that are tried.
const NAMES: u32 = 150;

/// Mu-law's zero.
const SILENCE: u8 = 0xff;

/// A client of that program.
pub struct Streamer {
    room: RoomName,
    name: String,
    rate: Rate,
    /// The number behind the name that is tried.
    number: u32,
    is_seated: bool,
    deframer: Deframer,
    packets: StreamerPackets,
    speaker: Speaker,
    levels: Levels,
    joined: Joined,
    heard: Vec<u8>,
    decoded: Vec<f32>,
    samples: Vec<u8>,
}

impl Streamer {
    /// A client that is to be in `room`, under `name` and a number, at that rate.
    pub fn new(room: RoomName, name: String, rate: Rate, random: u64) -> Self {
        let payload_type = payload_type(rate);
        Self {
            room,
            name,
            rate,
            number: 0,
            is_seated: false,
            deframer: Deframer::new(Framing::TcpStreamer),
            packets: StreamerPackets::default(),
            speaker: Speaker::new(payload_type, rate, random),
            levels: Levels::default(),
            joined: Joined::default(),
            heard: Vec::new(),
            decoded: Vec::new(),
            samples: Vec::new(),
        }
    }

    fn connect(&mut self, said: &mut Said) {
        self.number += 1;
        said.line(format!("CONNECT: \"{}{}\" \"TCP streamer\" 1.0.0", self.name, self.number));
    }
}

fn payload_type(rate: Rate) -> u8 {
    if rate == Rate::HZ_8000 { 0 } else { OTHER }
}

fn frame(packet: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(packet.len() + 4);
    Framing::TcpStreamer.write(packet, &mut framed);
    framed
}

impl Dialect for Streamer {
    fn begin(&mut self, _now: Stamp, said: &mut Said) {
        said.tell(frame(&streamer_greeting(self.rate)));
        self.connect(said);
    }

    fn handle_bytes(&mut self, now: Stamp, bytes: &[u8], said: &mut Said) -> Result<(), Goodbye> {
        self.deframer.push(bytes);
        while let Some(frame) = self.deframer.next_packet().map_err(|error| Goodbye(error.to_string()))? {
            // What is no RTP is counted by nobody; the framing was good.
            let Ok(packet) = Packet::parse(frame) else { continue };
            self.decoded.clear();
            Law::Mu.decode(packet.payload, &mut self.decoded);
            self.samples.clear();
            linear::f32_to_s16le(&self.decoded, &mut self.samples);
            let ticks = packet.payload.len() as u32;
            let level = self.levels.handle(mean_power_s16le(&self.samples), self.rate.ns(u64::from(ticks)));
            said.room.push(ToRoom::Packet(self.speaker.packet(now, packet.payload, ticks, level)));
        }
        Ok(())
    }

    fn handle_line(&mut self, _now: Stamp, line: &str, said: &mut Said) -> Result<(), Goodbye> {
        match Notice::parse(line) {
            Notice::Ping(number) => said.line(format!("PONG: {number}")),
            Notice::NickInUse(_) if self.number < NAMES => self.connect(said),
            Notice::NickInUse(text) | Notice::NotAccepted(text) => return Err(Goodbye(text)),
            Notice::Accepted(_) => said.line(format!("JOIN: {}", self.room)),
            Notice::Joined(room) if room == self.room.as_str() && !self.is_seated => {
                self.is_seated = true;
                let (hz, number) = (self.rate.hz(), payload_type(self.rate));
                let format = format!("PCMU/{hz}");
                said.line(voice_line(self.room.as_str(), &format));
                let frame = hz / PACKETS_A_SECOND;
                said.line(format!(
                    "STREAM {}: pt={number} format={format} channels=1 frame={frame}",
                    self.speaker.ssrc
                ));
                said.line("EVENTS: off");
            }
            Notice::Refused { verb, text, .. } if verb == "JOIN" || verb == "VOICE" => return Err(Goodbye(text)),
            Notice::Talk { nick, action } if action == "Request" => said.line(format!("TALK {nick}: Deny")),
            Notice::Other(line) if line.starts_with("KICKED ") || line.starts_with("DELETED") => {
                return Err(Goodbye(line));
            }
            _ => {}
        }
        Ok(())
    }

    fn handle_packet(&mut self, _now: Stamp, packet: &[u8], said: &mut Said) {
        self.joined.handle(self.rate, packet, 1, SILENCE, &mut self.heard);
        let whole = (self.rate.hz() / PACKETS_A_SECOND) as usize;
        while self.heard.len() >= whole {
            let framed = frame(self.packets.next(&self.heard[..whole]));
            self.heard.drain(..whole);
            said.client.push(ToClient::Voice(framed));
        }
    }

    fn next_deadline(&self) -> Option<Stamp> {
        None
    }

    fn handle_timeout(&mut self, _now: Stamp, _said: &mut Said) {}
}
