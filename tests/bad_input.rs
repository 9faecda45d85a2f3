//! What each stage says to input that it cannot use, and to a world that does not play along: the documented exit
//! code, and one clear line on stderr.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use vox_e2e::{Outcome, Scratch, Speech, await_udp, free_port, need, speech};

/// Every stage that reads a vox stream, as it is typed.
const READERS: [&str; 14] = [
    "vox-encode opus",
    "vox-decode",
    "vox-jitter --virtual",
    "vox-play heard.wav",
    "vox-play null",
    "vox-inspect --summary",
    "vox-send 127.0.0.1:9",
    "vox-impair wifi --virtual",
    "vox-replay - --virtual",
    "vox-tee copy.vox",
    "vox-mix",
    "vox-meter --stats lines",
    "vox-record take.wav",
    "vox-edit -e \"gain 0..1 6dB\"",
];

#[test]
fn text_is_named_for_what_it_is() {
    readers_refuse("text", "printf 'hello world, this is no audio\\n'", &["hello"]);
}

#[test]
fn a_wav_is_told_to_go_through_capture() {
    readers_refuse("wav", "cat said.wav", &["RIFF", "vox-capture"]);
}

#[test]
fn an_ogg_opus_file_is_told_to_go_through_capture() {
    need(&["opusenc"]);
    let make = "opusenc --quiet said.wav said.opus";
    readers_refuse("ogg", &format!("{make} && cat said.opus"), &["Ogg", "vox-capture"]);
}

#[test]
fn an_empty_input_is_said_to_be_empty() {
    readers_refuse("empty", "true", &["empty"]);
}

#[test]
fn random_bytes_are_no_stream() {
    readers_refuse(
        "random",
        "printf '\\001\\002\\003\\004\\005\\006\\007\\010\\011\\012\\013\\014\\015'",
        &["01 02 03"],
    );
}

#[track_caller]
fn readers_refuse(name: &str, input: &str, words: &[&str]) {
    let scratch = Scratch::new(&format!("refuse-{name}"));
    speech(&scratch, "said.wav", Speech::mono(48_000, 9_600));
    for stage in READERS {
        let outcome = scratch.run(&format!("({input}) >input\n{stage} <input >output"));
        fails_with(&outcome, stage, 3, words);
        let written = fs::read(scratch.path("output")).expect("an output");
        assert!(written.is_empty(), "{stage} writes {} bytes behind {name}", written.len());
    }
}

#[test]
fn a_truncated_stream_is_played_to_its_last_record_and_reported_with_its_offset() {
    let scratch = Scratch::new("truncated");
    speech(&scratch, "said.wav", Speech::mono(48_000, 48_000));
    scratch.run("vox-capture said.wav | vox-encode pcmu >said.vox; head -c 40001 said.vox >input").succeeded_silently();
    for stage in READERS {
        let outcome = scratch.run(&format!("{} <input >output", stage));
        fails_with(&outcome, stage, 3, &["inside a record"]);
        assert!(outcome.stderr.contains("byte"), "{stage} names the offset: {}", outcome.stderr);
    }
    let heard = vox_e2e::Wav::read(&scratch.path("heard.wav"));
    assert!(heard.frames() > 20_000, "what had arrived is there: {} samples", heard.frames());
}

#[test]
fn a_stream_without_its_end_is_a_warning_and_an_error_only_with_strict() {
    let scratch = Scratch::new("interrupted");
    speech(&scratch, "said.wav", Speech::mono(48_000, 48_000));
    scratch.run("vox-capture said.wav | vox-encode pcmu >said.vox").succeeded_silently();
    // The End is the last record: a fixed part, a head of 8 bytes, a short JSON text.
    let bytes = fs::read(scratch.path("said.vox")).expect("a stream");
    let end = bytes.windows(9).rposition(|window| window == b"{\"reason\"").expect("an End") - 24;
    fs::write(scratch.path("input"), &bytes[..end]).expect("a file");
    for stage in READERS {
        let lenient = scratch.run(&format!("{} <input >output", stage)).exited(&[0]);
        one_line(&lenient, stage, &["without an End"]);
        let strict = scratch.run(&format!("{} --strict <input >output", stage));
        fails_with(&strict, stage, 3, &["without an End"]);
    }
}

#[test]
fn a_flipped_bit_in_a_header_is_found_where_it_is() {
    let scratch = Scratch::new("flipped");
    speech(&scratch, "said.wav", Speech::mono(48_000, 48_000));
    scratch.run("vox-capture said.wav | vox-encode pcmu >said.vox").succeeded_silently();
    let mut bytes = fs::read(scratch.path("said.vox")).expect("a stream");
    let header = bytes.windows(2).enumerate().skip(20_000).find(|(_, pair)| *pair == b"A\0").expect("an Audio").0;
    bytes[header + 16 + 3] ^= 0x10;
    fs::write(scratch.path("input"), &bytes).expect("a file");
    for stage in READERS {
        let outcome = scratch.run(&format!("{} <input >output", stage));
        fails_with(&outcome, stage, 3, &[&header.to_string()]);
    }
}

#[test]
fn a_lying_length_is_an_error_and_no_wait_and_no_memory() {
    let scratch = Scratch::new("lying");
    speech(&scratch, "said.wav", Speech::mono(48_000, 4_800));
    scratch.run("vox-capture said.wav >said.vox").succeeded_silently();
    let mut bytes = fs::read(scratch.path("said.vox")).expect("a stream");
    bytes.truncate(40);
    bytes.extend_from_slice(b"A\0\x14\0\xff\xff\xff\x7f\x01\0\0\0\0\0\0\0");
    fs::write(scratch.path("beginning"), &bytes).expect("a file");
    for stage in READERS {
        // 200 MB of address space hold every stage, but not a record of 2 GB; and the input never ends.
        let limited = format!("(ulimit -v 400000; exec {stage})");
        let outcome = scratch.run(&format!("(cat beginning; exec cat /dev/zero) | {limited} >output"));
        let outcome = Outcome { codes: outcome.codes[1..].to_vec(), ..outcome };
        fails_with(&outcome, stage, 3, &["40", "payload"]);
    }
}

#[test]
fn an_endless_record_ends_with_its_limit() {
    let scratch = Scratch::new("endless");
    speech(&scratch, "said.wav", Speech::mono(48_000, 4_800));
    scratch.run("vox-capture said.wav | head -c 40 >beginning").succeeded();
    for stage in READERS {
        let outcome = scratch.run(&format!("(cat beginning; exec yes AAAAAAAA) | {stage} >output"));
        let outcome = Outcome { codes: outcome.codes[1..].to_vec(), ..outcome };
        fails_with(&outcome, stage, 3, &["40"]);
    }
}

#[test]
fn no_stage_writes_records_to_a_terminal() {
    need(&["script"]);
    let scratch = Scratch::new("terminal");
    speech(&scratch, "said.wav", Speech::mono(48_000, 4_800));
    scratch.run("vox-capture said.wav >said.vox").succeeded_silently();
    let port = free_port();
    let writers = [
        "vox-capture said.wav".to_owned(),
        "vox-encode opus <said.vox".to_owned(),
        "vox-decode <said.vox".to_owned(),
        "vox-jitter --virtual <said.vox".to_owned(),
        format!("vox-recv :{port}"),
    ];
    for stage in writers {
        let outcome = scratch.run(&format!("script -qec '{stage} 2>said' screen >/dev/null"));
        let outcome = Outcome { stderr: text(&scratch, "said"), ..outcome };
        fails_with(&outcome, &stage, 2, &["stdout is a terminal"]);
        let screen = text(&scratch, "screen");
        assert!(!screen.contains("VOX\r"), "{stage} wrote to the screen");
    }
}

#[test]
fn no_stage_reads_records_from_a_terminal() {
    need(&["script"]);
    let scratch = Scratch::new("keyboard");
    for stage in READERS {
        let outcome = scratch.run(&format!("script -qec '{stage} 2>said >output' screen >/dev/null"));
        let outcome = Outcome { stderr: text(&scratch, "said"), ..outcome };
        fails_with(&outcome, stage, 2, &["stdin is a terminal"]);
    }
}

#[test]
fn wrong_usage_is_2() {
    let scratch = Scratch::new("usage");
    for stage in [
        "vox-capture --no-such-option",
        "vox-encode mp3",
        "vox-encode opus --bitrate 1",
        "vox-send",
        "vox-send nowhere",
        "vox-recv :99999",
        "vox-jitter --delay never",
        "vox-play --buffer x",
        "vox-capture tone:30000 --rate 48000",
        "vox-call ana@localhost",
    ] {
        let outcome = scratch.run(&format!("{stage} </dev/null >output")).exited(&[2]);
        assert!(!outcome.stderr.is_empty(), "{stage} says why");
    }
}

#[test]
fn every_stage_has_help_and_a_version() {
    let scratch = Scratch::new("help");
    for stage in ["capture", "encode", "decode", "send", "recv", "jitter", "play", "inspect"] {
        let help = scratch.run(&format!("vox-{stage} --help")).succeeded_silently();
        assert!(help.text().contains("Usage"), "vox-{stage} --help: {}", help.text());
        scratch.run(&format!("vox-{stage} --version")).succeeded_silently();
    }
    let own = scratch.run("vox-jitter --help").text();
    for way in ["vox jitter --help", "vox vox-jitter --help", "vox help jitter"] {
        assert_eq!(scratch.run(way).succeeded_silently().text(), own, "{way}");
    }
    let front = scratch.run("vox").text();
    assert_eq!(scratch.run("vox help").text(), front);
    for stage in ["capture", "encode", "decode", "send", "recv", "jitter", "play", "inspect"] {
        assert!(front.contains(stage), "vox lists {stage}: {front}");
    }
}

#[test]
fn a_busy_port_is_5_and_named() {
    let scratch = Scratch::new("busy");
    let port = free_port();
    let _owner = UdpSocket::bind(("127.0.0.1", port)).expect("a free port");
    let outcome = scratch.run(&format!("vox-recv 127.0.0.1:{port} >output"));
    fails_with(&outcome, "vox-recv", 5, &[&port.to_string(), "in use"]);
    let sends = format!("vox-capture silence: --duration 1 | vox-send localhost:9 --local 127.0.0.1:{port}");
    fails_with(&last(scratch.run(&sends)), "vox-send", 5, &[&port.to_string(), "in use"]);
    let room = free_port();
    let _voice = UdpSocket::bind(("127.0.0.1", room + 1)).expect("a free port");
    let outcome = scratch.run(&format!("vox-roomd --listen 127.0.0.1:{room}"));
    fails_with(&outcome, "vox-roomd", 5, &[&(room + 1).to_string(), "in use"]);
}

#[test]
fn an_address_that_is_not_ours_is_5_and_named() {
    let scratch = Scratch::new("not-ours");
    let outcome = scratch.run("vox-recv 192.0.2.1:5004 >output");
    fails_with(&outcome, "vox-recv", 5, &["192.0.2.1"]);
}

#[test]
fn an_unresolvable_host_is_5_and_named() {
    let scratch = Scratch::new("unresolvable");
    let outcome = scratch.run("vox-capture silence: --duration 1 | vox-send no-such-host.invalid:5004");
    fails_with(&last(outcome), "vox-send", 5, &["no-such-host.invalid"]);
}

#[test]
fn nothing_heard_before_the_time_out_is_5() {
    let scratch = Scratch::new("nothing-heard");
    let port = free_port();
    let outcome = scratch.run(&format!("vox-recv :{port} --idle-timeout 300ms >output"));
    fails_with(&outcome, "vox-recv", 5, &[]);
}

#[test]
fn garbage_from_the_network_is_survived() {
    let scratch = Scratch::new("network-garbage");
    let port = free_port();
    let receiver = scratch.spawn(&format!("vox-recv :{port} >output"));
    await_udp(port);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut state = 1u64;
    for length in 0..600 {
        let datagram: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        socket.send_to(&datagram, ("127.0.0.1", port)).expect("it is sent");
    }
    receiver.interrupt();
    receiver.wait(Duration::from_secs(20)).succeeded();
    vox_e2e::read_vox(&scratch.path("output"));
}

#[test]
fn a_missing_file_is_3_and_named() {
    let scratch = Scratch::new("missing-file");
    speech(&scratch, "said.wav", Speech::mono(48_000, 48_000));
    for stage in [
        "vox-capture",
        "vox-mix",
        "vox-replay",
        "vox-wave",
        "vox-score said.wav",
        "vox-edit",
        "vox-edit -e \"gain 0..1 6dB\"",
    ] {
        let outcome = scratch.run(&format!("{stage} no-such-file.wav >output"));
        fails_with(&outcome, stage, 3, &["no-such-file.wav"]);
    }
    let outcome = scratch.run("vox-capture silence: --duration 1 | vox-play no/such/folder/out.wav");
    let outcome = last(outcome);
    one_line(&outcome, "vox-play", &["no/such/folder/out.wav"]);
    assert_ne!(outcome.codes, [0]);
}

#[test]
fn a_file_that_is_no_audio_is_3() {
    let scratch = Scratch::new("no-audio");
    fs::write(scratch.path("notes.wav"), "these are my notes\n".repeat(100)).expect("a file");
    let outcome = scratch.run("vox-capture notes.wav >output");
    fails_with(&outcome, "vox-capture", 3, &["notes.wav"]);
    let outcome = scratch.run("vox-capture - <notes.wav >output");
    fails_with(&outcome, "vox-capture", 3, &[]);
}

#[test]
fn a_missing_device_is_4_and_the_alternatives_are_named() {
    let scratch = Scratch::new("missing-device");
    // A home without .asoundrc and a runtime folder without PulseAudio: no default device either.
    let shell = |script: &str| scratch.shell(script).env("HOME", "/nonexistent").env("XDG_RUNTIME_DIR", "/nonexistent");
    let outcome = shell("vox-capture silence: --duration 1 | vox-play no-such-card").run();
    let outcome = last(outcome);
    one_line(&outcome, "vox-play", &["no-such-card"]);
    assert_eq!(outcome.codes, [4], "{}", outcome.stderr);
    let outcome = last(shell("vox-capture silence: --duration 1 | vox-play").run());
    one_line(&outcome, "vox-play", &["wav"]);
    assert_eq!(outcome.codes, [4], "{}", outcome.stderr);
    let outcome = shell("vox-capture >output").run();
    one_line(&outcome, "vox-capture", &[]);
    assert_eq!(outcome.codes, [4], "{}", outcome.stderr);
}

#[test]
fn a_full_disk_is_1_and_said_once() {
    let scratch = Scratch::new("full");
    speech(&scratch, "said.wav", Speech::mono(48_000, 480_000));
    scratch.run("vox-capture said.wav >said.vox").succeeded_silently();
    let stages = [
        "vox-encode opus",
        "vox-decode",
        "vox-jitter --virtual",
        "vox-inspect",
        "vox-play -",
        "vox-impair wifi --virtual",
        "vox-replay - --virtual",
        "vox-tee copy.vox",
        "vox-mix",
        "vox-meter --stats lines",
    ];
    for stage in stages {
        let outcome = scratch.run(&format!("{stage} <said.vox >/dev/full"));
        fails_with(&outcome, stage, 1, &["No space left"]);
    }
    let outcome = scratch.run("vox-capture said.wav >/dev/full");
    fails_with(&outcome, "vox-capture", 1, &["No space left"]);
}

#[test]
fn a_full_disk_under_a_wav_is_1_and_named() {
    let scratch = Scratch::new("full-wav");
    speech(&scratch, "said.wav", Speech::mono(48_000, 480_000));
    // A file size limit fails as a full disk does, and needs no right to mount one.
    let limited = "(trap '' XFSZ; ulimit -f 100; exec vox-play heard.wav)";
    let outcome = last(scratch.run(&format!("vox-capture said.wav | {limited}")));
    fails_with(&outcome, "vox-play", 1, &["heard.wav"]);
}

#[test]
fn a_reader_that_goes_away_is_good_order() {
    let scratch = Scratch::new("epipe");
    speech(&scratch, "said.wav", Speech::mono(48_000, 4_800_000));
    scratch.run("vox-capture said.wav >said.vox").succeeded_silently();
    for stage in ["vox-capture said.wav", "vox-encode opus", "vox-decode", "vox-jitter --virtual", "vox-play - --raw"] {
        let outcome = scratch.run(&format!("{stage} <said.vox | head -c 100 >output"));
        outcome.succeeded_silently();
    }
    scratch.run("vox-capture tone:440 | vox-inspect 2>/dev/null | head -c 5000 >output").succeeded_silently();
    scratch.run("vox-capture tone:440 | vox-encode pcmu | vox-decode | head -c 9000 >output").succeeded_silently();
}

#[track_caller]
fn fails_with(outcome: &Outcome, stage: &str, code: i32, words: &[&str]) {
    assert_eq!(outcome.codes, [code], "{stage}, which says: {}", outcome.stderr);
    one_line(outcome, stage, words);
}

/// One line of the stage, and no other, holding these words.
#[track_caller]
fn one_line(outcome: &Outcome, stage: &str, words: &[&str]) {
    let name = stage.split(' ').next().unwrap_or(stage);
    let lines: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with(name)).collect();
    // A summary is what vox-inspect is asked for, not noise.
    let quiet = name == "vox-inspect" || lines.len() == outcome.stderr.lines().count();
    assert!(lines.len() == 1 && quiet, "one line of {name}, but it says:\n{}", outcome.stderr);
    for word in words {
        let holds = lines[0].to_lowercase().contains(&word.to_lowercase());
        assert!(holds, "{name} says {word:?}, but it says: {}", lines[0]);
    }
}

/// Only the last stage's exit code.
fn last(outcome: Outcome) -> Outcome {
    Outcome { codes: outcome.codes.last().copied().into_iter().collect(), ..outcome }
}

fn text(scratch: &Scratch, name: &str) -> String {
    String::from_utf8_lossy(&fs::read(scratch.path(name)).unwrap_or_default()).into_owned()
}

#[test]
fn the_front_door_completes_stages_and_their_options() {
    let scratch = Scratch::new("completion");
    let complete = |words: &str| {
        let script = format!(
            "source <(vox --generate bash); COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _vox vox \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        scratch.run(&script).text()
    };
    let of = |words: &str| complete(words).lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(of("vox jit").contains(&"jitter".to_owned()));
    assert!(of("vox vox").is_empty() || of("vox vox") == [""]);
    let options = of("vox jitter --m");
    assert!(options.contains(&"--max".to_owned()) && options.contains(&"--min".to_owned()), "{options:?}");
    assert!(of("vox capture --cha").contains(&"--channels".to_owned()));
    assert_eq!(of("vox nothing --x").concat(), "");
}

#[test]
fn a_file_where_a_socket_is_to_be_stays_what_it_is() {
    let scratch = Scratch::new("bad-socket");
    fs::write(scratch.path("precious"), "kept").expect("a file");
    for line in [
        "vox-capture tone:440 --duration 0.1 | vox-encode pcmu | vox-send 127.0.0.1:9 --control unix:precious",
        "vox-roomd --listen 127.0.0.1:0 --control precious",
    ] {
        let refused = scratch.run(line);
        assert!(refused.stderr.contains("no socket"), "{line}: {}", refused.stderr);
        assert_eq!(fs::read_to_string(scratch.path("precious")).expect("it is there"), "kept", "{line}");
    }
}

#[test]
fn who_names_the_only_sender_where_everybody_is_heard_is_told() {
    let scratch = Scratch::new("bad-source");
    for address in ["127.0.0.1:5004", "tcp://127.0.0.1:5004"] {
        let refused = scratch.run(&format!("vox-recv {address} --source 192.0.2.9")).exited(&[2]);
        assert!(refused.stderr.contains("--source"), "{}", refused.stderr);
    }
    let refused = scratch.run("vox-recv 127.0.0.1:5004 --timeout 1").exited(&[2]);
    assert!(refused.stderr.contains("--discover"), "{}", refused.stderr);
}
