//! A short run of each target with seeded bytes: random ones, and valid ones that were damaged.

use rand_pcg::Pcg32;
use rand_pcg::rand_core::Rng;

/// Inputs a target: a few seconds altogether.
const RUNS: u64 = 3000;

/// Inputs of a target that takes ten times as long as others: a bridge computes a filter for each two rates.
const SLOW_RUNS: (&str, u64) = ("bridge", RUNS / 10);

/// Valid inputs to begin from.
const SEEDS: [&[u8]; 11] = [
    include_bytes!("../../crates/frame/tests/data/every-record.vox"),
    b"\x80\x60\x00\x01\x00\x00\x00\xa0\xde\xad\xbe\xef\xfc\xff\xfe",
    b"\x80\xc8\x00\x06\xde\xad\xbe\xef\xe9\xd4\x80\x00\x00\x00\x00\x00\x00\x00\x00\xa0\x00\x00\x00\x01\x00\x00\x00\x0a",
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 5004 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n",
    b"\x20\0\x12\x34\xc0\0\x02\x01application/sdp\0v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=a talk\r\nc=IN IP4 239.1.2.3/4\r\nt=0 0\r\nm=audio 5004 RTP/AVP 0\r\n",
    b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x08\0\0\0\0\0\x01\0\x02\0\x03\0",
    b"\0\x0c\x80\0\0\x01\0\0\0\xa0\0\0\0\x01\0\x16\0\0\0SamplesPerSecond:8000",
    b"CONNECT ana\nJOIN lobby\nMSG lobby :hello\nMUTE bob in\nPING\n",
    b"{\"action\":\"voice\",\"room_name\":\"x\",\"audio_data\":\"AQACAA==\"}\r\n",
    b"\x01\0\x02\0\x02\x01\xd0\x40\x03\0\x02\x05\xb0\x04\0\x60{\"event\":\"media\",\"media\":{\"payload\":\"fw==\"}}\xf0\x01\x08\0",
    b"1:inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA AES_CM_128_HMAC_SHA1_80",
];

#[test]
fn no_bytes_break_a_promise() {
    for (name, target) in vox_fuzz::TARGETS {
        let runs = if name == SLOW_RUNS.0 { SLOW_RUNS.1 } else { RUNS };
        for run in 0..runs {
            let input = input(run);
            let outcome = std::panic::catch_unwind(|| target(&input));
            assert!(outcome.is_ok(), "target {name}, run {run}: {input:02x?}");
        }
    }
}

fn input(run: u64) -> Vec<u8> {
    let mut random = Pcg32::new(run, 0xf022);
    let mut below = |end: usize| random.next_u32() as usize % end.max(1);
    let mut bytes = match below(3) {
        0 => (0..below(400)).map(|_| below(256) as u8).collect(),
        _ => SEEDS[below(SEEDS.len())].to_vec(),
    };
    for _ in 0..below(8) {
        let at = below(bytes.len() + 1);
        match below(5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, below(256) as u8),
            _ => {
                let other = SEEDS[below(SEEDS.len())];
                let from = below(other.len());
                bytes.splice(at..at, other[from..].iter().copied());
            }
        }
    }
    bytes
}
