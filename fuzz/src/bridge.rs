//! The bridge that mixes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vox_bridge::{Audience, Bridge, Config, Effort, Packet, PersonId, Shape};
use vox_frame::{Channels, Codec, Format, Rate, Stamp};
use vox_rtp::PayloadFormat;

use crate::pieces::Pieces;

/// The most streams and listeners at a time.
const MOST: u8 = 6;

/// Codecs and rates that streams have and listeners ask for; not each can have each.
const CODECS: [(Codec, u32); 5] =
    [(Codec::Opus, 48_000), (Codec::Pcmu, 8_000), (Codec::L16, 44_100), (Codec::L16, 5_000), (Codec::PcmF32, 48_000)];

/// Any streams, packets, listeners and times: only who listens gets something, a packet a block at most, and time goes on.
pub fn bridge(data: &[u8]) {
    let mut pieces = Pieces::new(data);
    let most = usize::from(MOST);
    let config = Config { max_streams: most, max_listeners: most, max_rates: 3, ..Config::default() };
    let mut now = Stamp::from_ns(1_000_000_000);
    let mut bridge = Bridge::new(config, now);
    let mut listeners: BTreeMap<PersonId, Option<u64>> = BTreeMap::new();
    while !pieces.is_empty() {
        let (step, who) = (pieces.byte(), pieces.byte() % (MOST + 1));
        let (id, person) = (u32::from(who), PersonId(u64::from(who)));
        let (codec, hz) = CODECS[usize::from(step >> 4) % CODECS.len()].clone();
        let rate = Rate::new(hz).expect("a rate");
        let channels = if step & 8 == 0 { Channels::MONO } else { Channels::STEREO };
        match step & 7 {
            0 => {
                let mut format = Format::new(codec.clone(), rate, channels, hz / 50);
                format.live = true;
                let _refused = bridge.open(id, person, &format, PayloadFormat::new(codec, rate, channels));
            }
            1 => {
                if bridge.listen(person, &Shape { codec, rate, channels }).is_ok() {
                    listeners.insert(person, None);
                } else {
                    listeners.remove(&person);
                }
            }
            2 => {
                bridge.leave(person);
                listeners.remove(&person);
            }
            3 => {
                let deaf = || Arc::new(BTreeSet::from([PersonId(u64::from(step >> 4))]));
                let audiences = [Audience::All, Audience::Nobody, Audience::AllBut(deaf())];
                bridge.set_audience(id, audiences[usize::from(step >> 3) % 3].clone());
            }
            4 if step & 8 == 0 => bridge.close(now, id),
            4 => bridge.set_effort(if step & 16 == 0 { Effort::Full } else { Effort::Light }),
            5 | 6 => {
                let packet = Packet {
                    sequence: u16::from(pieces.byte()) * if step & 16 == 0 { 1 } else { 257 },
                    timestamp: u32::from(pieces.byte()) * if step & 32 == 0 { 160 } else { 16_843_009 },
                    marker: step & 64 != 0,
                    audible: step & 128 == 0,
                    arrived: now,
                    payload: pieces.piece(),
                };
                bridge.packet(now, id, packet);
            }
            _ => {
                now = now.plus(i64::from(pieces.byte()) * 2_000_000);
                mix(&mut bridge, now, &mut listeners);
            }
        }
        assert!(bridge.own_encoders() <= listeners.len() && bridge.listeners() == listeners.len());
    }
}

fn mix(bridge: &mut Bridge, now: Stamp, listeners: &mut BTreeMap<PersonId, Option<u64>>) {
    let mut made = 0;
    bridge.poll(now, &mut |mixed| {
        assert!(!mixed.to.is_empty() && !mixed.payload.is_empty() && mixed.payload.len() <= 1500);
        for person in mixed.to {
            let last = listeners.get_mut(person).expect("somebody who listens");
            assert!(last.is_none_or(|last| last < mixed.timestamp), "time goes on");
            *last = Some(mixed.timestamp);
            made += 1;
        }
    });
    // Half a second at most is caught up with; a block of L16 may take a few packets.
    assert!(made <= 26 * 4 * usize::from(MOST));
    if let Some(deadline) = bridge.next_deadline() {
        assert!(deadline > now, "what is due was done");
    }
}
