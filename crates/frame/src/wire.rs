//! Records to bytes and bytes to records. The layout is described in `docs/frame-format.md`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::record::LaterPacket;
use crate::{
    Audio, End, EndReason, Error, Event, FIXED_LEN, Format, Gap, GapReason, Kind, MAX_HEAD, MAX_JSON, MAX_PAYLOAD,
    MediaTime, Problem, Raw, Record, SequenceNumber, Stamp, StreamId, Times, VERSION,
};

/// What a stream begins with. The first byte is no letter, so that it is no record; the line ends show what a
/// transfer in text mode did to them.
pub const MAGIC: [u8; 8] = *b"\x93VOX\r\n\x1a\n";

/// Length of an opening, in bytes.
pub(crate) const OPENING_LEN: usize = 40;

/// The opening of a stream: version, and the clock that its stamps are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Major and minor version of the contract.
    pub version: (u16, u16),
    /// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC` at the source, in nanoseconds, taken once.
    pub anchor: i64,
    /// The boot of the host whose monotonic clock it is: on another boot a reader takes its own anchor.
    pub boot: [u8; 16],
}

impl Opening {
    /// An opening of this version.
    pub const fn new(anchor: i64, boot: [u8; 16]) -> Self {
        Self { version: VERSION, anchor, boot }
    }

    /// Appends the opening to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.version.0.to_le_bytes());
        out.extend_from_slice(&self.version.1.to_le_bytes());
        out.extend_from_slice(&self.anchor.to_le_bytes());
        out.extend_from_slice(&self.boot);
        let check = crc32fast::hash(&out[start..]);
        out.extend_from_slice(&check.to_le_bytes());
    }

    /// Reads the opening in exactly [`OPENING_LEN`] bytes that begin with the magic.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let mut fields = Fields(&bytes[MAGIC.len()..]);
        let version = (fields.u16(), fields.u16());
        let anchor = fields.u64() as i64;
        let boot = fields.array::<16>();
        let found = fields.u32();
        let computed = crc32fast::hash(&bytes[..OPENING_LEN - 4]);
        if found != computed {
            return Err(Problem::Check { found, computed });
        }
        if version.0 > VERSION.0 {
            return Err(Problem::Version(version.0, version.1));
        }
        Ok(Self { version, anchor, boot })
    }
}

const HAS_CAPTURED: u8 = 1;
const HAS_ARRIVED: u8 = 1 << 1;
const HAS_DUE: u8 = 1 << 2;
const HAS_SLOT: u8 = 1 << 3;
const MARKER: u8 = 1 << 4;
const RECOVERED: u8 = 1 << 5;
const PADDING: u8 = 1 << 6;

/// Checks the fixed part of a record and gives its head and payload lengths.
pub(crate) fn lengths(fixed: &[u8]) -> Result<(usize, usize), Problem> {
    let mut fields = Fields(fixed);
    let kind = fields.u8();
    if !kind.is_ascii_alphabetic() {
        return Err(Problem::Kind(kind));
    }
    let _flags = fields.u8();
    let head = usize::from(fields.u16());
    if head > MAX_HEAD {
        return Err(Problem::HeadLength(head));
    }
    let payload = fields.u32() as usize;
    if payload > MAX_PAYLOAD {
        return Err(Problem::PayloadLength(payload));
    }
    Ok((head, payload))
}

/// The check of a record whose bytes begin with `fixed part ++ head`.
pub(crate) fn verify(bytes: &[u8], head: usize) -> Result<(), Problem> {
    let mut found = [0; 4];
    found.copy_from_slice(&bytes[12..16]);
    let found = u32::from_le_bytes(found);
    let computed = check(bytes, head);
    if found == computed { Ok(()) } else { Err(Problem::Check { found, computed }) }
}

fn check(bytes: &[u8], head: usize) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&bytes[FIXED_LEN..FIXED_LEN + head]);
    hasher.finalize()
}

/// Appends a record: `head` appends the fields behind the fixed part, `payload` is copied behind them.
fn write_record(out: &mut Vec<u8>, kind: u8, flags: u8, id: StreamId, payload: &[u8], head: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[kind, flags, 0, 0]);
    out.extend_from_slice(&(payload.len().min(MAX_PAYLOAD) as u32).to_le_bytes());
    out.extend_from_slice(&id.0.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    head(out);
    let head_len = (out.len() - start - FIXED_LEN).min(MAX_HEAD);
    out.truncate(start + FIXED_LEN + head_len);
    out[start + 2..start + 4].copy_from_slice(&(head_len as u16).to_le_bytes());
    let sum = check(&out[start..], head_len);
    out[start + 12..start + 16].copy_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(&payload[..payload.len().min(MAX_PAYLOAD)]);
}

impl Times {
    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.captured.is_some() {
            flags |= HAS_CAPTURED;
        }
        if self.arrived.is_some() {
            flags |= HAS_ARRIVED;
        }
        if self.due.is_some() {
            flags |= HAS_DUE;
        }
        flags
    }

    fn write(&self, out: &mut Vec<u8>) {
        for stamp in [self.captured, self.arrived, self.due].into_iter().flatten() {
            out.extend_from_slice(&stamp.ns().to_le_bytes());
        }
    }

    fn read(flags: u8, fields: &mut Fields<'_>) -> Self {
        let mut stamp = |bit| (flags & bit != 0).then(|| Stamp::from_ns(fields.u64() as i64));
        Self { captured: stamp(HAS_CAPTURED), arrived: stamp(HAS_ARRIVED), due: stamp(HAS_DUE) }
    }

    const fn wire_len(flags: u8) -> usize {
        8 * (flags & (HAS_CAPTURED | HAS_ARRIVED | HAS_DUE)).count_ones() as usize
    }
}

impl Audio<'_> {
    /// Appends the record to `out`. A payload beyond [`MAX_PAYLOAD`] is cut there.
    pub fn write(&self, out: &mut Vec<u8>) {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = self.times.flags()
            | flag(self.slot.is_some(), HAS_SLOT)
            | flag(self.marker, MARKER)
            | flag(self.recovered, RECOVERED)
            | flag(self.padding, PADDING);
        write_record(out, b'A', flags, self.id, self.payload, |out| {
            out.extend_from_slice(&self.sequence.0.to_le_bytes());
            out.extend_from_slice(&self.timestamp.0.to_le_bytes());
            out.extend_from_slice(&self.duration.to_le_bytes());
            self.times.write(out);
            if let Some(slot) = self.slot {
                out.extend_from_slice(&slot.to_le_bytes());
            }
            out.extend_from_slice(self.extensions);
        });
    }
}

impl Gap<'_> {
    /// Appends the record to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let flags = self.times.flags() | if self.slot.is_some() { HAS_SLOT } else { 0 };
        let (ahead, payload) = self.later.map_or((0, &[][..]), |later| (later.ahead, later.payload));
        write_record(out, b'G', flags, self.id, payload, |out| {
            out.extend_from_slice(&self.sequence.0.to_le_bytes());
            out.extend_from_slice(&self.timestamp.0.to_le_bytes());
            out.extend_from_slice(&self.duration.to_le_bytes());
            out.extend_from_slice(&self.packets.to_le_bytes());
            out.extend_from_slice(&ahead.to_le_bytes());
            out.push(self.reason.to_wire());
            self.times.write(out);
            if let Some(slot) = self.slot {
                out.extend_from_slice(&slot.to_le_bytes());
            }
        });
    }
}

#[derive(Serialize, Deserialize)]
struct WireEvent {
    event: String,
    #[serde(flatten)]
    details: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct WireEnd {
    reason: EndReason,
}

impl Event {
    /// Appends the record to `out`. Details that make it longer than [`MAX_JSON`] are left out.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut wire = WireEvent { event: self.event.chars().take(100).collect(), details: self.details.clone() };
        let mut json = serde_json::to_vec(&wire).unwrap_or_default();
        if json.len() > MAX_JSON {
            wire.details = Map::new();
            json = serde_json::to_vec(&wire).unwrap_or_default();
        }
        write_timed_json(out, b'E', self.id, self.timestamp, &self.times, &json);
    }
}

impl End {
    /// Appends the record to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let reason = match &self.reason {
            EndReason::Other(text) => EndReason::Other(text.chars().take(200).collect()),
            named => named.clone(),
        };
        let json = serde_json::to_vec(&WireEnd { reason }).unwrap_or_default();
        write_timed_json(out, b'Z', self.id, self.timestamp, &self.times, &json);
    }
}

fn write_timed_json(out: &mut Vec<u8>, kind: u8, id: StreamId, timestamp: MediaTime, times: &Times, json: &[u8]) {
    write_record(out, kind, times.flags(), id, json, |out| {
        out.extend_from_slice(&timestamp.0.to_le_bytes());
        times.write(out);
    });
}

impl Record<'_> {
    /// Appends the record to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Format(id, format) => write_record(out, b'F', 0, *id, &format.to_json(), |_| ()),
            Self::Audio(audio) => audio.write(out),
            Self::Gap(gap) => gap.write(out),
            Self::Event(event) => event.write(out),
            Self::End(end) => end.write(out),
            Self::Unknown(raw) => out.extend_from_slice(raw.bytes),
        }
    }
}

impl<'a> Raw<'a> {
    /// Looks at the record's fields.
    ///
    /// # Errors
    /// Where a field holds what it must not; the error names the record's offset.
    pub fn parse(&self) -> Result<Record<'a>, Error> {
        self.read_fields().map_err(|problem| Error { offset: self.offset, problem })
    }

    fn read_fields(&self) -> Result<Record<'a>, Problem> {
        match self.kind() {
            Kind::Format => self.read_format(),
            Kind::Audio => self.read_audio().map(Record::Audio),
            Kind::Gap => self.read_gap().map(Record::Gap),
            Kind::Event => self.read_event(),
            Kind::End => self.read_end(),
            Kind::Unknown(_) => Ok(Record::Unknown(*self)),
        }
    }

    fn flags(&self) -> u8 {
        self.bytes[1]
    }

    /// The head, if it is long enough for `fixed` bytes of fields, the times and the slot.
    fn fields(&self, name: &'static str, fixed: usize, slot: usize) -> Result<Fields<'a>, Problem> {
        let flags = self.flags();
        let slot = if flags & HAS_SLOT != 0 { slot } else { 0 };
        let need = fixed + Times::wire_len(flags) + slot;
        if self.head < need {
            return Err(Problem::Field(name, format!("a head of {} bytes, its fields take {need}", self.head)));
        }
        Ok(Fields(self.head()))
    }

    fn read_audio(&self) -> Result<Audio<'a>, Problem> {
        let flags = self.flags();
        let mut fields = self.fields("Audio", 20, 4)?;
        Ok(Audio {
            id: self.id(),
            sequence: SequenceNumber(fields.u64()),
            timestamp: MediaTime(fields.u64()),
            duration: fields.u32(),
            marker: flags & MARKER != 0,
            recovered: flags & RECOVERED != 0,
            padding: flags & PADDING != 0,
            times: Times::read(flags, &mut fields),
            slot: (flags & HAS_SLOT != 0).then(|| fields.u32()),
            extensions: fields.0,
            payload: self.payload(),
        })
    }

    fn read_gap(&self) -> Result<Gap<'a>, Problem> {
        let flags = self.flags();
        let mut fields = self.fields("Gap", 33, 8)?;
        let (sequence, timestamp) = (SequenceNumber(fields.u64()), MediaTime(fields.u64()));
        let (duration, packets, ahead) = (fields.u64(), fields.u32(), fields.u32());
        let reason = GapReason::from_wire(fields.u8());
        let times = Times::read(flags, &mut fields);
        let slot = (flags & HAS_SLOT != 0).then(|| fields.u64());
        let payload = self.payload();
        let later = (!payload.is_empty()).then_some(LaterPacket { ahead, payload });
        Ok(Gap { id: self.id(), sequence, timestamp, duration, packets, reason, times, slot, later })
    }

    fn read_format(&self) -> Result<Record<'a>, Problem> {
        let format = Format::from_json(self.json("Format")?).map_err(|text| Problem::Field("Format", text))?;
        Ok(Record::Format(self.id(), format))
    }

    fn read_event(&self) -> Result<Record<'a>, Problem> {
        let mut fields = self.fields("Event", 8, 0)?;
        let timestamp = MediaTime(fields.u64());
        let times = Times::read(self.flags(), &mut fields);
        let wire: WireEvent =
            serde_json::from_slice(self.json("Event")?).map_err(|error| Problem::Field("Event", error.to_string()))?;
        Ok(Record::Event(Event { id: self.id(), timestamp, times, event: wire.event, details: wire.details }))
    }

    fn read_end(&self) -> Result<Record<'a>, Problem> {
        let mut fields = self.fields("End", 8, 0)?;
        let timestamp = MediaTime(fields.u64());
        let times = Times::read(self.flags(), &mut fields);
        let wire: WireEnd =
            serde_json::from_slice(self.json("End")?).map_err(|error| Problem::Field("End", error.to_string()))?;
        Ok(Record::End(End { id: self.id(), timestamp, times, reason: wire.reason }))
    }

    fn json(&self, name: &'static str) -> Result<&'a [u8], Problem> {
        let payload = self.payload();
        if payload.len() > MAX_JSON {
            return Err(Problem::Field(name, format!("{} bytes of JSON (the limit is {MAX_JSON})", payload.len())));
        }
        Ok(payload)
    }
}

/// Takes little-endian fields from the front of bytes whose length was checked before.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk::<N>().expect("the length of the fields was checked");
        self.0 = rest;
        *field
    }

    fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}
