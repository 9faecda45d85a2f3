//! Two receivers of one stream, vox-recv and GStreamer, behind a relay that is set to loss, jitter and delay: what they
//! report to its sender is compared with each other.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use vox_e2e::Scratch;

use crate::matrix::{run_apart, target};

/// What the relay is set to: each way 40 ms, the media on top of it up to 16 ms, and one packet in ten lost.
const WAY_MS: f64 = 40.0;
const JITTER_MS: f64 = 16.0;
const SECONDS: f64 = 12.0;
const PACKETS: f64 = SECONDS * 50.0;

/// The SSRC that GStreamer reports as.
const GSTREAMER: u64 = 4711;

/// The group hears the stream and the sender's reports; the receivers' reports go back through a relay of their own.
fn script() -> String {
    let rig = concat!(env!("CARGO_MANIFEST_DIR"), "/rig");
    let often = "--rtcp-interval 0.3 --bandwidth 1000000";
    format!(
        "vox-impair --udp :6000=239.1.2.3:5004 --delay {WAY_MS} --jitter uniform:{JITTER_MS}ms --loss 0.1 --seed 7 \
         --stats media.json & media=$!\n\
         vox-impair --udp :6001=239.1.2.3:5005 --delay {WAY_MS} & there=$!\n\
         vox-impair --udp :7003=127.0.0.1:7001 --delay {WAY_MS} & back=$!\n\
         vox-recv 239.1.2.3:5004 {often} --rtcp-to 127.0.0.1:7003 --idle-timeout 3s --wait 20 >heard.vox & receiver=$!\n\
         {rig}/gst_session.py 239.1.2.3 5004 7003 gst.json & peer=$!\n\
         for port in 6000 6001 7003; do await udp $port; done\n\
         await eval '[ $(grep -ci \":138C 0\" /proc/net/udp) -ge 2 ]'\n\
         vox-capture tone:440 --rate 8000 --duration {SECONDS} | vox-encode pcmu \
         | vox-send 127.0.0.1:6000 --local 127.0.0.1:7000 {often} --stats sent.json\n\
         kill -INT $media $there $back $peer\nwait\ntrue\n"
    )
}

#[test]
fn gstreamer_and_vox_report_the_same_of_one_stream() {
    let scratch = Scratch::new("interop-agreement");
    let stderr = run_apart(&scratch, &script()).unwrap_or_else(|stderr| panic!("still running: {stderr}"));
    let text = fs::read_to_string(scratch.path("sent.json")).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut reporters: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for line in lines.filter(|line| line["type"] == "remote-inbound-rtp") {
        reporters.entry(line["reporter"].as_u64().expect("an SSRC")).or_default().push(line);
    }
    assert_eq!(reporters.len(), 2, "two receivers report: {text}");
    let reports = |gstreamer| reporters.iter().find(|(ssrc, _)| (**ssrc == GSTREAMER) == gstreamer);
    let figures = |gstreamer| Figures::of(reports(gstreamer).expect("both report").1);
    let (ours, its) = (figures(false), figures(true));
    let own = gstreamers_own(&scratch, &stderr);
    let told = format!("{ours:?}, GStreamer {its:?} and {own:?}");
    // The last reports are up to half a second old.
    assert!((ours.lost - its.lost).abs() <= 8.0 && (ours.lost - own.lost).abs() <= 8.0, "the same packets: {told}");
    // GStreamer times packets when it reads them, vox-recv when the kernel had them.
    assert!((ours.jitter_ms - its.jitter_ms).abs() < 0.2 * JITTER_MS / 3.0 + 1.0, "{told}");
    assert!((ours.round_trip_ms - its.round_trip_ms).abs() < 10.0, "{told}");
    for figures in [&ours, &its] {
        assert!(figures.round_trip_ms >= 2.0 * WAY_MS - 0.1, "{told}");
        assert!((0.06..0.14).contains(&(figures.lost / PACKETS)), "{told}");
    }
    let lost = relay_lost(&scratch);
    let told = json!({
        "the relay": { "lossPercent": lost / PACKETS * 100.0, "jitterMs": JITTER_MS / 3.0, "roundTripMs": 2.0 * WAY_MS },
        "vox-recv's reports": ours.json(),
        "GStreamer's reports": its.json(),
        "GStreamer's own statistics": { "lossPercent": own.lost / PACKETS * 100.0, "jitterMs": own.jitter_ms },
    });
    fs::write(target().join("agreement"), told.to_string()).expect("a file");
}

fn relay_lost(scratch: &Scratch) -> f64 {
    let text = fs::read_to_string(scratch.path("media.json")).expect("statistics");
    let summary: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    summary["there"]["packetsLost"].as_f64().expect("the relay counts")
}

/// What GStreamer's session knows of the source when all is over.
#[derive(Debug)]
struct Own {
    lost: f64,
    jitter_ms: f64,
}

fn gstreamers_own(scratch: &Scratch, stderr: &str) -> Own {
    let text = fs::read_to_string(scratch.path("gst.json")).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    let sources: Value = serde_json::from_str(&text).expect("JSON");
    let figure = |name: &str| sources[0][name].as_f64().unwrap_or_else(|| panic!("{name}: {sources}"));
    Own { lost: figure("packets-lost"), jitter_ms: figure("jitter") / 8.0 }
}

/// What one receiver reports.
#[derive(Debug)]
struct Figures {
    /// Packets, at the end.
    lost: f64,
    jitter_ms: f64,
    round_trip_ms: f64,
}

impl Figures {
    /// Medians, when the first quarter of the reports has passed.
    fn of(reports: &[Value]) -> Self {
        assert!(reports.len() >= 12, "{} reports", reports.len());
        let settled = &reports[reports.len() / 4..];
        let median = |name: &str| {
            let mut figures: Vec<f64> = settled.iter().filter_map(|report| report[name].as_f64()).collect();
            figures.sort_by(f64::total_cmp);
            figures.get(figures.len() / 2).copied().unwrap_or_else(|| panic!("no {name}: {settled:?}"))
        };
        let lost = reports[reports.len() - 1]["packetsLost"].as_f64().expect("a number");
        let (jitter_ms, round_trip_ms) = (median("jitter") * 1e3, median("roundTripTime") * 1e3);
        Self { lost, jitter_ms, round_trip_ms }
    }

    fn json(&self) -> Value {
        json!({
            "lossPercent": self.lost / PACKETS * 100.0,
            "jitterMs": self.jitter_ms,
            "roundTripMs": self.round_trip_ms,
        })
    }
}
