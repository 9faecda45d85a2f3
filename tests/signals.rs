//! Ctrl-C: all stages are gone within 2 s, with 0, their files whole and nothing said about truncated streams.

use std::io::Write;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vox_e2e::{
    Entry, Outcome, Running, Scratch, Speech, Wav, await_udp, await_until, free_port, need, read_vox, signal, speech,
};

/// How long a pipeline may take to go.
const GONE: Duration = Duration::from_secs(2);
const START: Duration = Duration::from_secs(10);

#[test]
fn ctrl_c_ends_a_recording_with_a_whole_wav() {
    let scratch = Scratch::new("int-recording");
    let pipeline = scratch.spawn("vox-capture tone:440 | vox-encode pcmu | vox-play heard.wav");
    await_file(&scratch, "heard.wav");
    ends_in_good_order(pipeline);
    assert!(Wav::read(&scratch.path("heard.wav")).frames() > 0);
}

#[test]
fn ctrl_c_ends_a_file_of_records_with_its_end() {
    let scratch = Scratch::new("int-records");
    let pipeline = scratch.spawn("vox-capture tone:440 | vox-encode opus >said.vox");
    await_file(&scratch, "said.vox");
    ends_in_good_order(pipeline);
    let entries = read_vox(&scratch.path("said.vox"));
    let Some(Entry::End(end)) = entries.last() else { panic!("the last record is no End") };
    assert!(end.timestamp.0 > 0, "{end:?}");
}

#[test]
fn ctrl_c_ends_a_whole_call() {
    let scratch = Scratch::new("int-call");
    speech(&scratch, "said.wav", Speech::mono(48_000, 960_000));
    let port = free_port();
    let receiver = scratch.spawn(&format!("vox-recv :{port} | vox-jitter | vox-play heard.wav"));
    await_udp(port);
    let sender = scratch.spawn(&format!("vox-capture said.wav | vox-encode opus | vox-send 127.0.0.1:{port}"));
    await_file(&scratch, "heard.wav");
    ends_in_good_order(sender);
    ends_in_good_order(receiver);
    assert!(Wav::read(&scratch.path("heard.wav")).frames() > 0);
}

#[test]
fn ctrl_c_ends_a_receiver_that_has_heard_nothing() {
    let scratch = Scratch::new("int-deaf");
    let port = free_port();
    let receiver = scratch.spawn(&format!("vox-recv :{port} | vox-jitter | vox-play heard.wav"));
    await_udp(port);
    await_handlers(&receiver, 3);
    ends_in_good_order(receiver);
}

#[test]
fn ctrl_c_ends_every_pipeline_of_the_readme() {
    let scratch = Scratch::new("int-readme");
    speech(&scratch, "talk.wav", Speech::mono(48_000, 960_000));
    let [relay, transcoder, tape, left, right] = [(); 5].map(|()| free_port());
    let gain = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/gain.py");
    let pipelines = [
        format!("vox-recv :{relay} | vox-send 127.0.0.1:{left} 127.0.0.1:{right}"),
        format!(
            "vox-recv :{transcoder} | vox-jitter | vox-decode --rate 8000 --channels 1 | vox-encode pcmu | \
             vox-send 127.0.0.1:{left}"
        ),
        format!("vox-recv :{tape} | tee -i session.vox | vox-jitter | vox-play take.wav"),
        format!("{{ vox-recv :{left} & vox-recv :{right}; }} | vox-jitter | vox-play both.wav"),
        format!("vox-capture tone:440 | python3 {gain} -6 | vox-play null"),
        format!(
            "vox-capture talk.wav | vox-encode opus | vox-send --sdp talk.sdp 127.0.0.1:{relay} 127.0.0.1:{transcoder} \
             127.0.0.1:{tape}"
        ),
    ];
    let mut running = Vec::new();
    for pipeline in &pipelines[..5] {
        running.push(scratch.spawn(pipeline));
    }
    for port in [relay, transcoder, tape, left, right] {
        await_udp(port);
    }
    running.push(scratch.spawn(&pipelines[5]));
    await_file(&scratch, "take.wav");
    await_file(&scratch, "both.wav");
    // Ctrl-C is for the whole group: Python's own traceback would be noise, so its stage is ended from its source.
    let python = running.remove(4);
    signal(python.pid_of("vox-capture"), Signal::INT);
    quietly_done(python.wait(GONE));
    for pipeline in running {
        ends_in_good_order(pipeline);
    }
    assert!(Wav::read(&scratch.path("take.wav")).frames() > 0);
    assert!(Wav::read(&scratch.path("both.wav")).frames() > 0);
    read_vox(&scratch.path("session.vox"));
}

#[test]
fn ctrl_c_typed_at_a_terminal_ends_a_call() {
    need(&["script"]);
    let scratch = Scratch::new("int-terminal");
    // The trap is for the shell between terminal and stages: some shells wait for their children on Ctrl-C, others die.
    let call =
        "trap : INT; vox-capture tone:440 | vox-encode opus | vox-decode | vox-play heard.wav 2>said; echo $? >code";
    let terminal = scratch.spawn(&format!("mkfifo keys; script -qec '{call}' /dev/null <keys >/dev/null"));
    let mut keys = None;
    assert!(await_until(START, || {
        keys = std::fs::OpenOptions::new().write(true).open(scratch.path("keys")).ok();
        keys.is_some()
    }));
    await_file(&scratch, "heard.wav");
    let mut keys = keys.expect("it is open");
    keys.write_all(b"\x03").expect("a key is typed");
    quietly_done(terminal.wait(GONE));
    assert_eq!(std::fs::read_to_string(scratch.path("code")).unwrap_or_default(), "0\n", "the code of vox-play");
    assert_eq!(std::fs::read_to_string(scratch.path("said")).unwrap_or_default(), "");
    assert!(Wav::read(&scratch.path("heard.wav")).frames() > 0);
}

#[test]
fn stages_in_the_background_of_a_shell_end_too() {
    let scratch = Scratch::new("int-background");
    let port = free_port();
    // A shell without job control starts background jobs with SIGINT ignored.
    let receiver = scratch.spawn(&format!("sh -c 'vox-recv :{port} | vox-jitter | vox-play heard.wav & wait'"));
    await_udp(port);
    let sender = scratch.spawn(&format!(
        "sh -c 'vox-capture tone:440 --duration 20 | vox-encode opus | vox-send 127.0.0.1:{port} & wait'"
    ));
    await_file(&scratch, "heard.wav");
    for pipeline in [sender, receiver] {
        let asked = Instant::now();
        pipeline.interrupt();
        assert!(await_until(GONE, || stages(&pipeline).is_empty()), "still there: {:?}", pipeline.members());
        assert!(asked.elapsed() <= GONE);
        assert_eq!(pipeline.stderr(), "");
    }
    assert!(Wav::read(&scratch.path("heard.wav")).frames() > 0);
}

#[test]
fn sigterm_to_the_source_alone_ends_the_pipeline_behind_it() {
    let scratch = Scratch::new("term-source");
    let port = free_port();
    let receiver = scratch.spawn(&format!("vox-recv :{port} | vox-jitter | vox-play heard.wav"));
    await_udp(port);
    let sender =
        scratch.spawn(&format!("vox-capture tone:440 --duration 600 | vox-encode opus | vox-send 127.0.0.1:{port}"));
    await_file(&scratch, "heard.wav");
    signal(receiver.pid_of("vox-recv"), Signal::TERM);
    quietly_done(receiver.wait(GONE));
    signal(sender.pid_of("vox-capture"), Signal::TERM);
    drop(sender);
    assert!(Wav::read(&scratch.path("heard.wav")).frames() > 0);
}

#[test]
fn a_second_signal_ends_a_stage_at_once() {
    let scratch = Scratch::new("int-twice");
    // The source behind the pipe neither ends nor hears signals: only the second one frees the stage.
    let mut pipeline = scratch.spawn(
        "mkfifo never; (trap '' INT TERM; vox-capture silence: --duration 1 | head -c 40; exec cat never) \
         | vox-encode opus >said.vox",
    );
    let encode = pipeline.pid_of("vox-encode");
    await_file(&scratch, "said.vox");
    let asked = Instant::now();
    // Two of a kind may be joined into one on their way.
    signal(encode, Signal::INT);
    signal(encode, Signal::TERM);
    let gone = |pipeline: &Running| pipeline.members().iter().all(|(_, name)| name != "vox-encode");
    assert!(await_until(Duration::from_millis(800), || gone(&pipeline)), "after {:?}", asked.elapsed());
    assert!(!pipeline.has_ended());
}

#[track_caller]
fn ends_in_good_order(pipeline: Running) {
    pipeline.interrupt();
    assert!(await_until(GONE, || stages(&pipeline).is_empty()), "still there: {:?}", pipeline.members());
    quietly_done(pipeline.wait(GONE));
}

#[track_caller]
fn quietly_done(outcome: Outcome) {
    outcome.succeeded_silently();
}

/// Waits until that many stages have begun to handle SIGINT: one that has not even started is ended by it.
#[track_caller]
fn await_handlers(pipeline: &Running, count: usize) {
    let handles = |pid: i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 2 != 0)
    };
    let ready = || pipeline.members().iter().filter(|(pid, name)| name.starts_with("vox-") && handles(*pid)).count();
    assert!(await_until(START, || ready() == count), "{} of {count} stages handle signals", ready());
}

/// The stages that still run.
fn stages(pipeline: &Running) -> Vec<String> {
    pipeline.members().into_iter().map(|(_, name)| name).filter(|name| name.starts_with("vox-")).collect()
}

/// Waits until the file holds some audio.
#[track_caller]
fn await_file(scratch: &Scratch, name: &str) {
    let size = || std::fs::metadata(scratch.path(name)).map_or(0, |meta| meta.len());
    let least = if name.ends_with(".wav") { 44 } else { 39 };
    assert!(await_until(START, || size() > least), "{name} stays empty");
}
