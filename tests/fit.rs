//! Decoders: what they make of gaps and slots, and to other rates.

use std::fs;
use std::time::Duration;

use vox_e2e::{Entry, Scratch, Speech, Wav, align, await_udp, free_port, read_vox, speech};
use vox_frame::{
    Audio, Channels, Codec, End, EndReason, Format, Gap, GapReason, MediaTime, Opening, Rate, Record, SequenceNumber,
    StreamId, Times,
};

const LIMIT: Duration = Duration::from_secs(30);

const ID: StreamId = StreamId(7);

/// A stream of records, as bytes.
struct Tape {
    bytes: Vec<u8>,
    sequence: u64,
    timestamp: u64,
}

impl Tape {
    fn new(codec: Codec, rate: u32) -> Self {
        let mut bytes = Vec::new();
        Opening::new(0, [0; 16]).write(&mut bytes);
        let rate = Rate::new(rate).expect("a rate");
        let format = Format::new(codec, rate, Channels::MONO, rate.hz() / 50);
        Record::Format(ID, format).write(&mut bytes);
        Self { bytes, sequence: 0, timestamp: 0 }
    }

    fn audio(&mut self, samples: &[i16]) {
        let payload: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let duration = samples.len() as u32;
        let audio = Audio {
            id: ID,
            sequence: SequenceNumber(self.sequence),
            timestamp: MediaTime(self.timestamp),
            duration,
            marker: false,
            recovered: false,
            padding: false,
            times: Times::default(),
            slot: None,
            extensions: &[],
            payload: &payload,
        };
        Record::Audio(audio).write(&mut self.bytes);
        self.sequence += 1;
        self.timestamp += u64::from(duration);
    }

    fn gap(&mut self, duration: u64) {
        let gap = Gap {
            id: ID,
            sequence: SequenceNumber(self.sequence),
            timestamp: MediaTime(self.timestamp),
            duration,
            packets: 1,
            reason: GapReason::Lost,
            times: Times::default(),
            slot: None,
            later: None,
        };
        Record::Gap(gap).write(&mut self.bytes);
        self.sequence += 1;
        self.timestamp = self.timestamp.saturating_add(duration);
    }

    fn end(mut self) -> Vec<u8> {
        let (timestamp, times) = (MediaTime(self.timestamp), Times::default());
        Record::End(End { id: ID, timestamp, times, reason: EndReason::Complete }).write(&mut self.bytes);
        self.bytes
    }
}

#[test]
fn an_endless_gap_stays_a_gap_behind_ten_seconds() {
    let scratch = Scratch::new("fit-endless-gap");
    let mut tape = Tape::new(Codec::PcmS16, 8_000);
    tape.audio(&[1_000; 160]);
    tape.gap(u64::MAX);
    fs::write(scratch.path("in.vox"), tape.end()).expect("the tape is written");
    scratch.run("vox-decode <in.vox >out.vox").succeeded();
    let entries = read_vox(&scratch.path("out.vox"));
    let decoded: u64 = entries.iter().map(|e| if let Entry::Audio { duration, .. } = e { *duration } else { 0 }).sum();
    assert!((80_160..82_000).contains(&decoded), "{decoded} frames of samples");
    let gaps: Vec<_> = entries
        .iter()
        .filter_map(|e| if let Entry::Gap { duration, .. } = e { Some(*duration) } else { None })
        .collect();
    assert_eq!(gaps, [u64::MAX - decoded]);
}

#[test]
fn a_transcoder_makes_what_every_telephone_takes() {
    let scratch = Scratch::new("fit-transcoder");
    let said = speech(&scratch, "said.wav", Speech::stereo(48_000, 144_000));
    let [from, to] = [(); 2].map(|()| free_port());
    // Static payload type 0 needs no map: it is mu-law at 8000 Hz, mono (RFC 3551, table 4).
    let heard = scratch.spawn(&format!("vox-recv :{to} --idle-timeout 1 | vox-jitter --delay 60 | vox-play heard.wav"));
    let transcoder = scratch.spawn(&format!(
        "vox-recv :{from} --idle-timeout 1 --map 96=opus/48000/2 | vox-jitter --delay 60 | vox-decode --rate 8000 \
         --channels 1 | vox-encode pcmu | vox-send 127.0.0.1:{to}"
    ));
    await_udp(from);
    await_udp(to);
    let encode = "vox-encode opus --application audio --bitrate 96k";
    scratch.run(&format!("vox-capture said.wav | {encode} | vox-send 127.0.0.1:{from}")).succeeded();
    transcoder.wait(LIMIT).succeeded();
    heard.wait(LIMIT).succeeded();
    let heard = Wav::read(&scratch.path("heard.wav"));
    assert_eq!((heard.rate, heard.channels), (8_000, 1));
    let low: Vec<i16> = lowered(&said);
    let found = align(&low, &heard.samples, 4_000);
    assert!(found.correlation > 0.9, "{found:?}");
}

/// Every sixth frame of a 48 kHz stereo file, mixed to mono and smoothed.
fn lowered(wav: &Wav) -> Vec<i16> {
    let mono: Vec<i32> =
        wav.samples.chunks_exact(2).map(|frame| (i32::from(frame[0]) + i32::from(frame[1])) / 2).collect();
    mono.chunks_exact(6).map(|six| (six.iter().sum::<i32>() / 6) as i16).collect()
}
