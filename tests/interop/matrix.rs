//! Runs the cells of a peer, several at a time, judges what was heard, and writes down what came of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vox_e2e::{Scratch, Wav, await_until, need, speech, unshare};

use crate::cell::{Call, Cell, Plan, Verdict};
use crate::judge::verdict;
use crate::stage::KEY;

/// Cells of one peer that run beside each other; nearly all of their time is waiting.
const AT_A_TIME: usize = 10;
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
                    let result = tried(peer, cell);
                    results.lock().expect("no cell panics with the lock").push(result);
                }
            });
        }
    });
    let mut results = results.into_inner().expect("all cells are through");
    results.sort_by_key(|result| cells.iter().position(|cell| *cell == result.cell));
    write_down(peer, &results);
    let failed: Vec<_> = results.iter().filter(|result| matches!(result.verdict, Verdict::Failed(_))).collect();
    let told = failed.iter().map(|result| format!("{}: {:?}", result.cell.name(), result.verdict));
    let told = told.collect::<Vec<_>>().join("\n").replace("\\n", "\n");
    assert!(failed.is_empty(), "{}, {} cells:\n{told}", peer.name, failed.len());
}

/// What came of a cell, after how many attempts and seconds.
struct Tried {
    cell: Cell,
    verdict: Verdict,
    attempts: u32,
    seconds: f64,
}

fn tried(peer: &Peer, cell: Cell) -> Tried {
    let (began, mut attempts) = (Instant::now(), 0);
    let verdict = match (peer.plan)(cell) {
        Plan::Cannot(why) => Verdict::Cannot(why),
        Plan::NotRun(why) => Verdict::NotRun(why),
        Plan::Run(call) => loop {
            attempts += 1;
            let verdict = run(peer, cell, &call, attempts);
            // A busy machine may make a peer lose audio: twice is once too often.
            if attempts == 2 || !matches!(verdict, Verdict::Failed(_)) {
                break verdict;
            }
        },
    };
    Tried { cell, verdict, attempts, seconds: began.elapsed().as_secs_f64() }
}

fn run(peer: &Peer, cell: Cell, call: &Call, attempt: u32) -> Verdict {
    let coding = cell.coding;
    let scratch = Scratch::new(&format!("{}-{}-{attempt}", peer.name, cell.name()).to_lowercase());
    let said = speech(&scratch, "said.wav", coding.speech());
    between_silences(&said).write(&scratch.path("late.wav"));
    Wav { samples: said.samples.repeat(6), ..said }.write(&scratch.path("long.wav"));
    fs::write(scratch.path("key"), KEY).expect("a key");
    fs::set_permissions(scratch.path("key"), fs::Permissions::from_mode(0o600)).expect("permissions");
    let failed = |why: &str, stderr: &str| {
        scratch.keep();
        Verdict::Failed(format!("{why}, in {}: {}\n{stderr}", scratch.dir().display(), call.script))
    };
    match run_apart(&scratch, &call.script) {
        Ok(stderr) => verdict(&scratch, cell, call, &said).unwrap_or_else(|why| failed(&why, &stderr)),
        Err(stderr) => failed("still running", &stderr),
    }
}

/// Runs a script in a network of its own; gives what it said, as an error where it does not end.
pub(crate) fn run_apart(scratch: &Scratch, script: &str) -> Result<String, String> {
    let rig = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/network.sh");
    fs::write(scratch.path("call.sh"), format!(". {rig}\n{script}")).expect("a script");
    let mut running = scratch.spawn(&format!("{} bash call.sh", unshare("n")));
    let ended = await_until(LIMIT, || running.has_ended());
    if ended { Ok(running.stderr()) } else { Err(running.stderr()) }
}

/// 1.5 s before, for whoever needs time to begin, and 2 s after, for whoever swallows the end.
fn between_silences(said: &Wav) -> Wav {
    let silence = |tenths: u32| vec![0; (said.rate * tenths / 10) as usize * usize::from(said.channels)];
    Wav { samples: [silence(15), said.samples.clone(), silence(20)].concat(), ..*said }
}

/// `target/interop/PEER.json`: an array of cells.
fn write_down(peer: &Peer, results: &[Tried]) {
    let target = target();
    let lines = results.iter().map(|Tried { cell: Cell { coding, way, path }, verdict, attempts, seconds }| {
        let mut line = verdict.json();
        line["peer"] = json!(peer.name);
        line["codec"] = json!(coding.name());
        line["way"] = json!(way.name());
        line["path"] = json!(path.name());
        line["attempts"] = json!(attempts);
        line["seconds"] = json!((seconds * 10.0).round() / 10.0);
        line
    });
    let text = serde_json::to_string_pretty(&lines.collect::<Vec<Value>>()).expect("JSON");
    fs::write(target.join(format!("{}.json", peer.name)), text).expect("a file");
}

/// The folder of the results, `target/interop`.
pub(crate) fn target() -> PathBuf {
    let exe = std::env::current_exe().expect("the test knows its own path");
    let target = exe.ancestors().nth(3).expect("it lies in target/PROFILE/deps").join("interop");
    fs::create_dir_all(&target).expect("a folder");
    target
}
