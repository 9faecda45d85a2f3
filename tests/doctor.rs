//! The doctor sees what works and what does not.

use serde_json::Value;
use vox_e2e::{Card, Outcome, Scratch};

fn findings(outcome: &Outcome) -> Vec<Value> {
    let text = outcome.text();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The finding about one thing.
#[track_caller]
fn about<'a>(findings: &'a [Value], topic: &str, what: &str) -> &'a Value {
    let found = findings.iter().find(|finding| {
        finding["topic"] == topic && finding["what"].as_str().is_some_and(|name| name.starts_with(what))
    });
    found.unwrap_or_else(|| panic!("nothing about {topic}, {what} in {findings:?}"))
}

#[test]
fn without_a_sound_card_the_network_and_the_pipes_work_and_devices_are_missed_where_they_are_needed() {
    let scratch = Scratch::new("doctor-bare");
    let bare = "export ALSA_CONFIG_PATH=/dev/null";
    let outcome = scratch.run(&format!("{bare}; vox doctor --json --measure 1")).succeeded();
    let found = findings(&outcome);
    assert_eq!(about(&found, "ports", "UDP over loopback")["state"], "works");
    assert_eq!(about(&found, "pipes", "for live audio")["bytes"], 4096);
    assert_eq!(about(&found, "multicast", "lo")["topic"], "multicast");
    assert!(about(&found, "timers", "wake-up")["late_ms"].as_f64() < Some(1_000.0));
    let microphone = about(&found, "devices", "microphone");
    assert!(microphone["state"] == "fails" && microphone["advice"].is_string(), "{microphone}");
    let summary = found.last().expect("a summary");
    assert!(summary["summary"] == true && summary["fails"][0] == "devices", "{summary}");
    let needed = scratch.run(&format!("{bare}; vox-doctor --need devices,pipes --measure 0")).exited(&[6]);
    assert!(needed.stderr.contains("does not work: devices"), "{}", needed.stderr);
    assert!(needed.text().contains("FAILS  microphone"), "{}", needed.text());
}

#[test]
fn a_sound_card_and_its_clock_are_found() {
    let scratch = Scratch::new("doctor-card");
    let card = Card::insert(&scratch);
    let outcome =
        scratch.run(&format!("{}\nvox-doctor --json --need devices --measure 3", card.environment)).succeeded();
    let found = findings(&outcome);
    for device in ["microphone", "loudspeaker"] {
        let device = about(&found, "devices", device);
        // On a busy machine callbacks come late: the error says by how much the figure may be off.
        let (ppm, error) = (device["ppm"].as_f64().expect("a figure"), device["ppm_error"].as_f64().expect("a figure"));
        assert!(ppm.abs() < 1_000.0 + 3.0 * error, "{device}");
    }
}
