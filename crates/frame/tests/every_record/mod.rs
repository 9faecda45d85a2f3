//! The stream of `tests/data/every-record.vox`: each kind of record, each field, each reason.

use serde_json::json;
use vox_frame::{
    Audio, Channels, Codec, End, EndReason, Event, Extension, Format, Gap, GapReason, LaterPacket, MediaTime, Opening,
    Rate, Record, RtpOrigin, SequenceNumber, Stamp, StreamId, Times,
};

const PLAIN: StreamId = StreamId(0x0000_0001);
const FULL: StreamId = StreamId(0xfedc_ba98);

/// The opening that it begins with.
pub(crate) fn opening() -> Opening {
    Opening::new(1_700_000_000_123_456_789, *b"golden boot id!!")
}

/// Its records, in order, handed to `out` one by one.
pub(crate) fn records(mut out: impl FnMut(&Record<'_>)) {
    formats(&mut out);
    audio(&mut out);
    gaps(&mut out);
    events_and_ends(&mut out);
}

/// All of it, as bytes.
pub(crate) fn bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    opening().write(&mut bytes);
    records(|record| record.write(&mut bytes));
    bytes
}

fn formats(out: &mut impl FnMut(&Record<'_>)) {
    let mono = Channels::new(1).expect("not zero");
    out(&Record::Format(PLAIN, Format::new(Codec::PcmS16, Rate::new(8000).expect("not zero"), mono, 0)));
    let mut full = Format::new(Codec::Opus, Rate::HZ_48000, Channels::new(2).expect("not zero"), 960);
    full.pre_skip = 312;
    full.live = true;
    full.label = Some("Ana \"the\" lecturer \u{2713}".into());
    full.rtp = Some(RtpOrigin { ssrc: 0xdead_beef, payload_type: 96, source: Some("[2001:db8::1]:5004".into()) });
    full.other.insert("x-later".into(), json!({"a": [1, 2.5, null]}));
    out(&Record::Format(FULL, full));
}

fn audio(out: &mut impl FnMut(&Record<'_>)) {
    let plain = Audio {
        id: PLAIN,
        sequence: SequenceNumber(0),
        timestamp: MediaTime(0),
        duration: 3,
        marker: false,
        recovered: false,
        padding: false,
        times: Times::default(),
        slot: None,
        extensions: &[],
        payload: &[0x00, 0x00, 0xff, 0x7f, 0x00, 0x80],
    };
    out(&Record::Audio(plain));
    let mut extensions = Vec::new();
    Extension::AudioLevel { voice: true, level: 42 }.write(&mut extensions);
    Extension::ContributingSources(&[1, 2, 3, 4, 5, 6, 7, 8]).write(&mut extensions);
    Extension::RtpPayload { payload_type: 101, payload: &[1, 2, 3, 4] }.write(&mut extensions);
    Extension::Unknown(200, b"kept").write(&mut extensions);
    let full = Audio {
        id: FULL,
        sequence: SequenceNumber(u64::from(u16::MAX) + 1),
        timestamp: MediaTime(u64::from(u32::MAX) + 961),
        duration: 960,
        marker: true,
        recovered: true,
        padding: false,
        times: times(),
        slot: Some(20_004_000),
        extensions: &extensions,
        payload: b"an opus packet",
    };
    out(&Record::Audio(full));
    let padding = Audio { padding: true, duration: 0, extensions: &[], payload: &[], ..full };
    out(&Record::Audio(Audio { marker: false, recovered: false, times: Times::default(), slot: None, ..padding }));
}

fn gaps(out: &mut impl FnMut(&Record<'_>)) {
    let reasons = [GapReason::Lost, GapReason::Late, GapReason::Overrun, GapReason::Muted, GapReason::Silent];
    for (n, reason) in (0..).zip(reasons) {
        out(&Record::Gap(Gap {
            id: FULL,
            sequence: SequenceNumber(70_000 + n),
            timestamp: MediaTime(5_000_000_000 + n * 960),
            duration: 960,
            packets: 1,
            reason,
            times: Times { due: Some(Stamp::from_ns(-1)), ..Times::default() },
            slot: None,
            later: None,
        }));
    }
    out(&Record::Gap(Gap {
        id: FULL,
        sequence: SequenceNumber(u64::MAX),
        timestamp: MediaTime(u64::MAX - 1_000),
        duration: 1_000,
        packets: u32::MAX,
        reason: GapReason::Lost,
        times: times(),
        slot: Some(u64::MAX),
        later: Some(LaterPacket { ahead: 960, payload: b"a later packet" }),
    }));
}

fn events_and_ends(out: &mut impl FnMut(&Record<'_>)) {
    let mut details = serde_json::Map::new();
    details.insert("text".into(), json!("line one\nline two"));
    out(&Record::Event(Event {
        id: StreamId(0),
        timestamp: MediaTime(7),
        times: Times { captured: Some(Stamp::from_ns(5)), ..Times::default() },
        event: "message".into(),
        details,
    }));
    let reasons = [
        EndReason::Complete,
        EndReason::Stopped,
        EndReason::Interrupted,
        EndReason::Bye,
        EndReason::Timeout,
        EndReason::Other("moved".into()),
    ];
    for (n, reason) in (0..).zip(reasons) {
        let id = StreamId([PLAIN.0, FULL.0][(n % 2) as usize]);
        out(&Record::End(End { id, timestamp: MediaTime(n), times: Times::default(), reason }));
    }
}

const fn times() -> Times {
    Times {
        captured: Some(Stamp::from_ns(1_700_000_000_000_000_000)),
        arrived: Some(Stamp::from_ns(1_700_000_000_040_000_000)),
        due: Some(Stamp::from_ns(1_700_000_000_100_000_000)),
    }
}
