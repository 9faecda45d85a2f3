//! Runs the cells of a peer, several at a time, judges what was heard, and writes down what came of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use vox_e2e::{Scratch, Wav, align, await_until, locate, need, raw_samples, speech, unshare};

use crate::cell::{Call, Cell, Plan, Verdict};
use crate::stage::KEY;

/// Cells of one peer that run beside each other; nearly all of their time is waiting.
const AT_A_TIME: usize = 6;
const LIMIT: Duration = Duration::from_secs(40);

/// A row of the matrix.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// What must be installed.
    pub(crate) programs: &'static [&'static str],
    pub(crate) plan: fn(Cell) -> Plan,
}

/// Tries all cells of the peer.
///
/// # Panics
/// When one of them fails.
pub(crate) fn try_all(peer: &Peer) {
    need(peer.programs);
    need(&["unshare", "ip"]);
    let cells: Vec<Cell> = Cell::all().collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(&cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = tried(peer, cell);
                    results.lock().expect("no cell panics with the lock").push((cell, verdict));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("all cells are through");
    results.sort_by_key(|(cell, _)| cells.iter().position(|other| other == cell));
    write_down(peer, &results);
    let failed: Vec<_> = results.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Failed(_))).collect();
    let told = failed.iter().map(|(cell, verdict)| format!("{}: {verdict:?}", cell.name()));
    let told = told.collect::<Vec<_>>().join("\n").replace("\\n", "\n");
    assert!(failed.is_empty(), "{}, {} cells:\n{told}", peer.name, failed.len());
}

fn tried(peer: &Peer, cell: Cell) -> Verdict {
    match (peer.plan)(cell) {
        Plan::Cannot(why) => Verdict::Cannot(why),
        // A busy machine may make a peer lose audio: twice is once too often.
        Plan::Run(call) => match run(peer, cell, &call, 1) {
            Verdict::Failed(_) => run(peer, cell, &call, 2),
            verdict => verdict,
        },
    }
}

fn run(peer: &Peer, cell: Cell, call: &Call, attempt: u32) -> Verdict {
    let coding = cell.coding;
    let scratch = Scratch::new(&format!("{}-{}-{attempt}", peer.name, cell.name()).to_lowercase());
    let said = speech(&scratch, "said.wav", coding.speech());
    fs::write(scratch.path("key"), KEY).expect("a key");
    fs::set_permissions(scratch.path("key"), fs::Permissions::from_mode(0o600)).expect("permissions");
    let rig = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/network.sh");
    fs::write(scratch.path("call.sh"), format!(". {rig}\n{}", call.script)).expect("a script");
    let mut running = scratch.spawn(&format!("{} bash call.sh", unshare("n")));
    let ended = await_until(LIMIT, || running.has_ended());
    let stderr = running.stderr();
    drop(running);
    if !ended {
        return Verdict::Failed(format!("still running after {LIMIT:?}: {}\n{stderr}", call.script));
    }
    let Some(heard) = heard(&scratch, call.heard, said.channels) else {
        return Verdict::Failed(format!("nothing was heard: {}\n{stderr}", call.script));
    };
    let expected = match (call.own, coding.exact()) {
        (Some(own), _) => raw_samples(&fs::read(scratch.path(own)).unwrap_or_default()),
        (None, Some(codec)) => said.through(codec).samples,
        (None, None) => said.samples,
    };
    let exact = coding.exact().is_some() && !call.loose;
    judged(&expected, &heard, exact).unwrap_or_else(|why| Verdict::Failed(format!("{why}: {}\n{stderr}", call.script)))
}

/// What was heard, with as many channels as were said.
fn heard(scratch: &Scratch, name: &str, channels: u16) -> Option<Vec<i16>> {
    let bytes = fs::read(scratch.path(name)).ok()?;
    if !name.ends_with(".wav") {
        return Some(raw_samples(&bytes));
    }
    if bytes.len() <= 44 {
        return None;
    }
    let wav = Wav::parse(&bytes, name);
    Some(if wav.channels == channels { wav.samples } else { wav.left() })
}

/// Exact codecs: every sample. Others: the wave form.
fn judged(said: &[i16], heard: &[i16], exact: bool) -> Result<Verdict, String> {
    if exact {
        return locate(said, heard)
            .map(|_| Verdict::Exact)
            .ok_or_else(|| format!("what was said is not among the {} samples heard", heard.len()));
    }
    let alignment = align(said, heard, 3_000);
    if alignment.correlation > 0.9 {
        Ok(Verdict::Like(alignment.correlation))
    } else {
        Err(format!("{alignment:?} in {} samples", heard.len()))
    }
}

/// `target/interop/PEER.json`: an array of cells.
fn write_down(peer: &Peer, results: &[(Cell, Verdict)]) {
    let exe = std::env::current_exe().expect("the test knows its own path");
    let target: PathBuf = exe.ancestors().nth(3).expect("it lies in target/PROFILE/deps").join("interop");
    fs::create_dir_all(&target).expect("a folder");
    let lines = results.iter().map(|(Cell { coding, way, path }, verdict)| {
        let mut line = verdict.json();
        line["peer"] = json!(peer.name);
        line["codec"] = json!(coding.name());
        line["way"] = json!(way.name());
        line["path"] = json!(path.name());
        line
    });
    let text = serde_json::to_string_pretty(&lines.collect::<Vec<Value>>()).expect("JSON");
    fs::write(target.join(format!("{}.json", peer.name)), text).expect("a file");
}
