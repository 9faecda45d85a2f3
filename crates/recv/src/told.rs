//! What is told: by `--stats`, and by warnings.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};
use vox_cli::warn;
use vox_rtp::{ReceiverStats, Reception, Session};

/// Says once what a stranger may say a thousand times; `told` are the payload types that a warning was given for.
pub(crate) fn warn_of_unknown(session: &Session, told: &mut BTreeSet<u8>) {
    let unknown = session.receiver.unknown_payload_types();
    if unknown.len() == told.len() {
        return;
    }
    for number in unknown.keys() {
        if told.insert(*number) {
            warn(format_args!(
                "packets of payload type {number} are dropped: say what it means, as in --map {number}=opus/48000/2"
            ));
        }
    }
}

/// What was received, for the last line of the statistics.
pub(crate) fn summary(stats: &ReceiverStats) -> Value {
    json!({
        "summary": true,
        "packetsReceived": stats.packets_received,
        "bytesReceived": stats.bytes_received,
        "packetsDiscarded": stats.packets_discarded,
        "packetsMisordered": stats.packets_misordered,
        "packetsStray": stats.packets_stray,
        "packetsMalformed": stats.packets_malformed,
        "packetsUnknown": stats.packets_unknown,
        "packetsRefused": stats.packets_refused,
        "packetsForeign": stats.packets_foreign,
        "packetsReflected": stats.packets_reflected,
        "rtcpPackets": stats.packets_rtcp,
        "rtcpRefused": stats.rtcp_refused,
        "byesIgnored": stats.byes_ignored,
        "moves": stats.moves,
        "streams": stats.streams,
        "restarts": stats.restarts,
        "packetsRecovered": stats.packets_recovered,
    })
}

/// What is known of each source.
pub(crate) fn sources(session: &Session) -> Vec<Value> {
    let round_trip = session.control.round_trip_ns().map(|ns| ns as f64 / 1e9);
    let line = |(ssrc, from, reception): (u32, _, &Reception)| {
        json!({
            "type": "inbound-rtp",
            "ssrc": ssrc,
            "source": format!("{from}"),
            "packetsReceived": reception.received(),
            "packetsLost": reception.lost(),
            "jitter": f64::from(reception.jitter()) / f64::from(reception.clock().hz()),
            "roundTripTime": round_trip,
        })
    };
    let receptions = session.receiver.receptions();
    receptions.map(|(ssrc, from, reception): (u32, SocketAddr, _)| line((ssrc, from, reception))).collect()
}
