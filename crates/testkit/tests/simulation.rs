//! A call of an hour between two machines whose clocks differ, in a moment.

use vox_frame::{SequenceNumber, Stamp};
use vox_link::profile;
use vox_testkit::{DriftingClock, Events, PacketSource, SentPacket, Wire, watch_log};

const MINUTE: i64 = 60_000_000_000;

/// What arrived by the receiver's clock.
fn call(
    profile: &str,
    seed: u64,
    sender: DriftingClock,
    receiver: DriftingClock,
    minutes: i64,
) -> Vec<(Stamp, SentPacket)> {
    let mut events = Events::new();
    let _watch = watch_log(events.clock());
    let mut source = PacketSource::opus(20).on(sender).from(Stamp::ZERO, SequenceNumber(65_530));
    let mut wire = Wire::new(profile::named(profile).expect("a known network"), seed);
    let end = Stamp::from_ns(minutes * MINUTE);
    let mut heard = Vec::new();
    while let Some((now, who)) = events.next(end, &[source.next_deadline(), wire.next_deadline()]) {
        if who == 0 {
            let packet = source.poll(now).expect("a source without pauses sends at its deadline");
            wire.send(now, packet.bytes, packet);
        } else if let Some(packet) = wire.poll(now) {
            heard.push((receiver.local(now), packet));
        }
    }
    heard
}

#[test]
fn the_same_seed_gives_the_same_call() {
    let clock = DriftingClock::TRUE;
    assert_eq!(call("wifi-bad", 7, clock, clock, 5), call("wifi-bad", 7, clock, clock, 5));
    assert_ne!(call("wifi-bad", 7, clock, clock, 5), call("wifi-bad", 8, clock, clock, 5));
}

#[test]
fn two_drifting_clocks_show_as_the_sum_of_their_drifts() {
    let heard = call("lan", 1, DriftingClock::new(150.0, 0), DriftingClock::new(-50.0, 77), 60);
    let delay = |(at, packet): &(Stamp, SentPacket)| at.ns() as f64 - packet.timestamp.0 as f64 * 1e9 / 48_000.0;
    let floor = |from: &[(Stamp, SentPacket)]| from.iter().map(delay).fold(f64::MAX, f64::min);
    let moved = floor(&heard[..1_000]) - floor(&heard[heard.len() - 1_000..]);
    let ppm = moved / (3_600e9 - 20e9) * 1e6;
    assert!((ppm - 200.0).abs() < 1.0, "{ppm}");
}

#[test]
fn numbers_go_on_across_the_wrap() {
    let heard = call("perfect", 1, DriftingClock::TRUE, DriftingClock::TRUE, 1);
    assert!(heard.windows(2).all(|pair| pair[1].1.sequence == pair[0].1.sequence.plus(1)));
    assert!(heard.iter().any(|(_, packet)| packet.sequence.rtp() == 0));
}
