//! A server that people leave running: what it keeps, and how it is looked after.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use vox_e2e::{
    Person, Running, Scratch, Speech, Wav, await_until, free_port, locate, need, room_server, signal, speech, ulaw,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn server(scratch: &Scratch, port: u16, options: &str) -> Running {
    room_server(scratch, port, &format!("--control ctl.sock --state state {options}"))
}

/// What `vox-roomd ctl` answers.
fn ctl(scratch: &Scratch, what: &str) -> Value {
    let outcome = scratch.run(&format!("vox-roomd ctl --control ctl.sock --json {what}")).succeeded();
    serde_json::from_str(&outcome.text()).expect("JSON")
}

#[test]
fn what_was_registered_kept_and_banned_outlives_a_server_that_is_killed() {
    let (scratch, port) = (Scratch::new("roomd-state"), free_port());
    let running = server(&scratch, port, "--registration");
    let mut ana = Person::hello(port, "Ana", "");
    ana.says("REGISTER: secret").hears("REGISTERED: Ana");
    ana.says("CREATE: #studio word").hears("LOCKED: #studio");
    ana.says("KEEP #studio: on").hears("KEEP #studio: on");
    ctl(&scratch, "ban Eve");
    // What is answered is with the disk at once, not before: it is there when the file says so.
    let kept = |word: &str| {
        let mut bytes = fs::read(scratch.path("state")).unwrap_or_default();
        bytes.extend(fs::read(scratch.path("state-wal")).unwrap_or_default());
        bytes.windows(word.len()).any(|window| window == word.as_bytes())
    };
    assert!(await_until(PATIENCE, || kept("#studio") && kept("Eve")), "{}", running.stderr());
    signal(running.pid_of("vox-roomd"), Signal::KILL);
    running.wait(PATIENCE);

    let _running = server(&scratch, port, "");
    Person::connect(port).says("CONNECT: \"Eve\" \"x\" 1.0.0").hears("NOTACCEPTED: Eve is banned");
    Person::connect(port).says("CONNECT: \"Ana\" \"x\" 1.0.0").hears("NOTACCEPTED: Ana is registered");
    let mut bob = Person::hello(port, "Bob", "");
    bob.says("JOIN: #studio").hears("ERROR JOIN: locked");
    bob.says("JOIN: #studio word").hears("JOINED: #studio");
    let mut ana = Person::hello(port, "Ana", " pass=secret");
    ana.says("JOIN: #studio word").hears("JOINED: #studio");
    ana.says("KICK #studio: Bob").hears("KICKED #studio: Bob");
    ctl(&scratch, "unban eve");
    Person::hello(port, "Eve", "");
}

#[test]
fn who_runs_the_server_sees_everybody_and_puts_things_in_order() {
    let (scratch, port) = (Scratch::new("roomd-ctl"), free_port());
    let running = server(&scratch, port, "");
    let mut ana = Person::hello(port, "Ana", "");
    ana.says("CREATE: #studio").hears("CREATED: #studio");
    let list = ctl(&scratch, "list");
    assert_eq!(list["rooms"][1]["name"], "#studio");
    assert_eq!(list["rooms"][1]["members"][0]["nick"], "Ana");
    assert_eq!(list["rooms"][1]["members"][0]["operator"], true);
    let shown = scratch.run("vox-roomd ctl --control ctl.sock list").succeeded().text();
    assert!(shown.contains("@Ana"), "{shown}");
    fs::write(scratch.path("word"), "word\n").expect("a file");
    ctl(&scratch, "lock '#studio' --password word");
    ana.hears("LOCKED: #studio");
    let mut bob = Person::hello(port, "Bob", "");
    bob.says("JOIN: #studio word").hears("JOINED: #studio");
    ctl(&scratch, "say 'back in a minute'");
    bob.hears("MSG server #lobby: back in a minute");
    ctl(&scratch, "delete '#studio'");
    bob.hears("DELETED: #studio");
    ctl(&scratch, "account Carl --password word");
    Person::connect(port).says("CONNECT: \"Carl\" \"x\" 1.0.0").hears("NOTACCEPTED: Carl is registered");
    ctl(&scratch, "kick ana");
    ana.hears("ERROR: you were sent away");
    assert_eq!(ctl(&scratch, "stats")["members"], 1);
    scratch.run("vox-roomd ctl --control ctl.sock kick nobody").exited(&[1]);
    running.interrupt();
    let closed = running.wait(PATIENCE);
    assert!(closed.stderr.contains("is closing"), "{}", closed.stderr);
    let outcome = scratch.run("vox-roomd ctl --control ctl.sock list").exited(&[5]);
    assert!(outcome.stderr.contains("no server answers"), "{}", outcome.stderr);
}

#[test]
fn whoever_watches_it_gets_figures_and_its_health() {
    let (scratch, port) = (Scratch::new("roomd-http"), free_port());
    let running = server(&scratch, port, "--http 127.0.0.1:0");
    let stderr = running.stderr();
    let address = stderr.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address");
    let get = |request: &str| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        text
    };
    let _ana = Person::hello(port, "Ana", "");
    assert!(get("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
    let metrics = get("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(metrics.contains("\nvoxpipe_members 1\n") && metrics.ends_with("# EOF\n"), "{metrics}");
    assert!(get("GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(get("hello\r\n\r\n").starts_with("HTTP/1.1 400"));
}

#[test]
fn who_guesses_passwords_is_let_in_no_more() {
    let (scratch, port) = (Scratch::new("roomd-guess"), free_port());
    let _running = server(&scratch, port, "");
    fs::write(scratch.path("word"), "word\n").expect("a file");
    ctl(&scratch, "account Carl --password word");
    let mut eve = Person::connect(port);
    for guess in 0..8 {
        eve.says(&format!("CONNECT: \"Carl\" \"x\" 1.0.0 pass=guess{guess}")).hears("NOTACCEPTED: Carl has another");
    }
    Person::connect(port).hears("NOTACCEPTED: you are not let in");
}

#[test]
fn by_tls_a_room_is_entered_its_voice_is_sealed_and_a_changed_key_is_refused_loudly() {
    let (scratch, port) = (Scratch::new("roomd-tls"), free_port());
    need(&["openssl"]);
    let said = speech(&scratch, "said.wav", Speech::mono(8_000, 16_000));
    let options = "--tls-folder identity --stats stats";
    let running = server(&scratch, port, options);
    let typed = "CONNECT: \"Typist\" \"x\" 1.0.0\nMSG #lobby: hello\nHELP\nDISCONNECT\n";
    fs::write(scratch.path("typed"), typed).expect("a file");
    let person = scratch.run(&format!("(cat typed; sleep 1) | openssl s_client -quiet -connect 127.0.0.1:{port}"));
    assert!(person.text().contains("JOINED: #lobby"), "{} {}", person.text(), person.stderr);
    let tape = scratch.spawn(&format!(
        "exec vox-join --tls --known-hosts known 127.0.0.1:{port}/lobby --name tape --listen-only --stats tape.stats >tape.vox"
    ));
    let begun = await_until(PATIENCE, || fs::metadata(scratch.path("tape.vox")).is_ok_and(|file| file.len() > 0));
    assert!(begun, "{}", tape.stderr());
    scratch
        .run(&format!(
            "vox-capture said.wav | vox-encode pcmu | \
             vox-join --tls --known-hosts known 127.0.0.1:{port}/lobby --name ana --send-only"
        ))
        .succeeded();
    let heard = await_until(PATIENCE, || {
        let stats = fs::read(scratch.path("tape.vox")).unwrap_or_default();
        stats.len() > 16_000
    });
    assert!(heard, "{}", tape.stderr());
    tape.interrupt();
    tape.wait(PATIENCE);
    scratch.run("vox-play heard.wav <tape.vox").succeeded();
    let heard = Wav::read(&scratch.path("heard.wav"));
    assert!(locate(&said.through(ulaw).samples, &heard.samples).is_some(), "{} samples", heard.samples.len());
    let known = fs::read_to_string(scratch.path("known")).expect("it is remembered");
    assert_eq!(known.lines().count(), 1, "{known}");
    running.interrupt();
    running.wait(PATIENCE);
    let stats = fs::read_to_string(scratch.path("stats")).expect("counters");
    let stats: Value = serde_json::from_str(stats.lines().last().expect("a line")).expect("JSON");
    assert!(stats["packetsReceived"].as_u64() >= Some(100) && stats["packetsUnauthentic"] == 0, "{stats}");

    fs::remove_dir_all(scratch.path("identity")).expect("a folder");
    let _another = server(&scratch, port, options);
    let outcome = scratch
        .run(&format!("vox-join --tls --known-hosts known 127.0.0.1:{port}/lobby --name ana --listen-only </dev/null"))
        .exited(&[5]);
    assert!(outcome.stderr.contains("IS NOT WHO IT WAS"), "{}", outcome.stderr);
}

#[test]
fn a_server_without_tls_is_said_to_be_one() {
    let (scratch, port) = (Scratch::new("roomd-no-tls"), free_port());
    let _running = server(&scratch, port, "");
    let outcome = scratch
        .run(&format!("vox-join --tls --known-hosts known 127.0.0.1:{port}/lobby --name ana --listen-only </dev/null"))
        .exited(&[5]);
    assert!(outcome.stderr.contains("speaks no TLS"), "{}", outcome.stderr);
}
