//! Ctrl-C: all stages are gone within 2 s, with 0, their files whole and nothing said about truncated streams.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use vox_e2e::{
    Entry, Outcome, Running, Scratch, Speech, Wav, await_udp, await_until, free_port, read_vox, signal, speech,
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
    ends_in_good_order(receiver);
}

#[test]
fn ctrl_c_ends_a_relay_with_tee_and_two_receivers() {
    let scratch = Scratch::new("int-relay");
    let (first, second) = (free_port(), free_port());
    let pipeline = scratch.spawn(&format!(
        "{{ vox-recv :{first} & vox-recv :{second}; wait; }} | tee -i session.vox | vox-jitter | vox-play heard.wav"
    ));
    await_udp(first);
    await_udp(second);
    let sender = scratch.spawn(&format!(
        "vox-capture tone:440 --duration 20 | vox-encode opus | vox-send 127.0.0.1:{first} 127.0.0.1:{second}"
    ));
    await_file(&scratch, "session.vox");
    ends_in_good_order(pipeline);
    ends_in_good_order(sender);
    read_vox(&scratch.path("session.vox"));
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
        scratch.spawn(&format!("vox-capture tone:440 --duration 20 | vox-encode opus | vox-send 127.0.0.1:{port}"));
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
        "(trap '' INT TERM; vox-capture silence: --duration 1 | head -c 40; exec tail -f /dev/null) | vox-encode opus >said.vox",
    );
    let encode = pipeline.pid_of("vox-encode");
    await_file(&scratch, "said.vox");
    let asked = Instant::now();
    signal(encode, Signal::TERM);
    signal(encode, Signal::TERM);
    let gone = |pipeline: &Running| pipeline.members().iter().all(|(_, name)| name != "vox-encode");
    assert!(await_until(Duration::from_millis(800), || gone(&pipeline)), "after {:?}", asked.elapsed());
    assert!(!pipeline.has_ended());
}

#[track_caller]
fn ends_in_good_order(pipeline: Running) {
    pipeline.interrupt();
    quietly_done(pipeline.wait(GONE));
}

#[track_caller]
fn quietly_done(outcome: Outcome) {
    outcome.succeeded_silently();
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
