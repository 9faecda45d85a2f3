//! What mends loss.

use vox_frame::Stamp;
use vox_repair::{MendConfig, Mender, OwnStream, RequestConfig, ResendConfig, Resender, Restorer, read_requests};

use crate::pieces::Pieces;

const MAX_SOURCES: usize = 4;

/// Any packets through what undoes redundancy and parity.
pub fn repair(data: &[u8]) {
    let mut steps = Pieces::new(data);
    let mut restorer = Restorer::new(MAX_SOURCES);
    restorer.expect_red(100);
    restorer.expect_parity(101);
    while !steps.is_empty() {
        let path = steps.byte() & 7;
        let bytes = steps.piece();
        let mut given = 0;
        restorer.handle_packet(path, bytes, |_, _| given += 1);
        assert!(given <= 1000, "{given} packets out of one");
    }
}

/// Any packets and requests through both halves of retransmission, with redundancy and parity: what is held and what is
/// sent stay within their bounds.
pub fn mend(data: &[u8]) {
    let mut steps = Pieces::new(data);
    let mut mender = Mender::new(MendConfig {
        max_sources: MAX_SOURCES,
        red: vec![100],
        parity: vec![101],
        retransmissions: [(102, None), (103, Some(101))].into(),
        request: Some(RequestConfig { patience_ns: 5_000_000, useful_ns: 400_000_000 }),
    });
    let apart = steps.byte() & 1 != 0;
    let stream = apart.then(|| OwnStream { ssrc: 9, types: [(0, 102), (101, 103)].into() });
    let mut resender = Resender::new(ResendConfig { keep_ns: 500_000_000, stream }, 7);
    let mut now = Stamp::ZERO;
    let (mut sent, mut again) = (0, 0);
    while !steps.is_empty() {
        now = now.plus(i64::from(steps.byte()) * 1_000_000);
        let step = steps.byte();
        let bytes = steps.piece();
        if step & 1 != 0 {
            resender.handle_sent(now, bytes);
            sent += bytes.len();
            for (_, numbers) in read_requests(bytes) {
                resender.handle_request(now, &numbers, |packet| again += packet.len());
            }
        }
        let mut given = 0;
        mender.handle_packet(now, step >> 5, bytes, |_, _| given += 1);
        assert!(given <= 1000, "{given} packets out of one");
        let requests = mender.poll_requests(now, Some(i64::from(step) * 1_000_000));
        assert!(requests.len() <= MAX_SOURCES, "{} sources are asked", requests.len());
        for (_, _, numbers) in &requests {
            resender.handle_request(now, numbers, |packet| again += packet.len());
        }
        // A quarter of what was sent, a burst, and the numbers before the payloads.
        assert!(again <= sent / 2 + 12 * 1024, "{again} bytes again of {sent}");
    }
}
