//! A person in front of the server: lines typed by hand, by TLS too, terminals, calls to who is busy, and the door.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use vox_e2e::{Entry, Person, Scratch, await_until, free_port, need, read_so_far, room_server, signal};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_person_converses_by_openssl_s_client_and_the_protocol_is_logged() {
    need(&["openssl"]);
    let (scratch, port) = (Scratch::new("conversation-tls"), free_port());
    let server = room_server(&scratch, port, "--control ctl.sock --tls-folder tls");
    let mut plain = Person::connect(port);
    plain.says("CONNECT: \"Ana\" \"Ana in plain\" 1.0.0").hears("JOINED: #lobby");
    let lines = "CONNECT: \"Bob\" \"By TLS\" 1.0.0\\nLIST\\nNONSENSE\\nMSG #lobby: hello by TLS\\nDISCONNECT\\n";
    let typed =
        scratch.run(&format!("printf '{lines}' | openssl s_client -quiet -connect 127.0.0.1:{port} 2>/dev/null"));
    let shown = typed.text();
    for line in ["ACCEPT: ", "JOINED: #lobby", "USERLIST #lobby: ", "ROOM #lobby: users=2", "ERROR NONSENSE: unknown"] {
        assert!(shown.lines().any(|shown| shown.starts_with(line)), "no {line:?} in {shown}");
    }
    plain.hears("USERJOIN #lobby: Bob").hears("MSG Bob #lobby: hello by TLS").hears("USERLEAVE #lobby: Bob");
    let log = server.stderr();
    for (direction, verb, text) in [("I", "MSG", "hello by TLS"), ("O", "USERJOIN", "Bob"), ("I", "CONNECT", "Ana")] {
        let fits = |line: &str| line.contains(&format!("{direction}/{verb} ")) && line.contains(" : 127.0.0.1 ");
        assert!(log.lines().any(|line| fits(line) && line.contains(text)), "no {direction}/{verb} {text} in {log}");
    }
}

#[test]
fn who_is_in_a_call_is_busy() {
    let (scratch, port) = (Scratch::new("conversation-busy"), free_port());
    let server = room_server(&scratch, port, "--control ctl.sock");
    let bob =
        scratch.spawn(&format!("exec vox-join 127.0.0.1:{port}/lobby --name bob --listen-only --accept all >bob.vox"));
    assert!(await_until(PATIENCE, || server.stderr().contains("VOICE #lobby")), "{}", server.stderr());
    let mut ana = Person::connect(port);
    ana.says("CONNECT: \"ana\" \"Ana\" 1.0.0").hears("JOINED: #lobby");
    ana.says("TALK bob: Request").hears("TALK bob: Accept");
    scratch.run("vox-capture silence: --duration 1 --rate 8000 | vox-encode pcmu >said.vox").succeeded();
    let call = format!("vox-call bob@127.0.0.1:{port} --name carl <said.vox >/dev/null");
    scratch.run(&call).exited(&[11]);
    ana.says("TALK bob: End");
    // Bob is back where he was, and takes the next call.
    assert!(await_until(PATIENCE, || scratch.run(&call).codes == [0]));
    bob.interrupt();
    bob.wait(PATIENCE);
}

#[test]
fn an_address_that_is_banned_is_not_let_in() {
    let (scratch, port) = (Scratch::new("conversation-ban"), free_port());
    let _server = room_server(&scratch, port, "--control ctl.sock");
    let ctl = |what: &str| scratch.run(&format!("vox-roomd ctl --control ctl.sock {what}")).succeeded().text();
    ctl("ban 127.0.0.1");
    assert!(ctl("bans").contains("127.0.0.1"));
    Person::connect(port).hears("NOTACCEPTED: you are not let in");
    ctl("unban 127.0.0.1");
    Person::connect(port).says("CONNECT: \"Ana\" \"Ana\" 1.0.0").hears("JOINED: #lobby");
}

#[test]
fn ctrl_c_tells_where_the_server_is_and_the_second_ends_it() {
    need(&["script"]);
    let (scratch, port) = (Scratch::new("conversation-tty"), free_port());
    let terminal = scratch.spawn(&format!(
        "script -qefc 'echo $$ >pid; exec vox-roomd --listen 127.0.0.1:{port} --control ctl.sock' screen </dev/null >/dev/null"
    ));
    let screen = || fs::read_to_string(scratch.path("screen")).unwrap_or_default();
    assert!(await_until(PATIENCE, || screen().contains("listening on")), "{}", screen());
    // It is in a session of its own, as what is started in a terminal is.
    let roomd = fs::read_to_string(scratch.path("pid")).expect("a file");
    let roomd = Pid::from_raw(roomd.trim().parse().expect("a number")).expect("a process");
    signal(roomd, Signal::INT);
    let told = format!("0 people on 127.0.0.1:{port} (TCP)");
    assert!(
        await_until(PATIENCE, || screen().contains(&told) && screen().contains("Ctrl-C again ends")),
        "{}",
        screen()
    );
    let mut ana = Person::connect(port);
    ana.says("CONNECT: \"Ana\" \"Ana\" 1.0.0").hears("JOINED: #lobby");
    signal(roomd, Signal::INT);
    ana.hears("TERMINATE: ");
    terminal.wait(PATIENCE);
    assert!(screen().contains("is closing"), "{}", screen());
}

#[test]
fn a_terminal_is_neither_listened_to_nor_written_to() {
    need(&["script"]);
    let (scratch, port) = (Scratch::new("conversation-join"), free_port());
    let server = room_server(&scratch, port, "--control ctl.sock");
    // stdin is the terminal: it listens only, and what it hears is in the file.
    let listener = scratch.spawn(&format!(
        "script -qec 'exec vox-join 127.0.0.1:{port}/lobby --name tape >tape.vox' /dev/null >/dev/null"
    ));
    assert!(await_until(PATIENCE, || server.stderr().contains("VOICE #lobby")), "{}", server.stderr());
    // stdout is the terminal: it says all, writes nothing there, and leaves by itself.
    scratch
        .run(&format!(
            "vox-capture noise: --duration 0.4 --rate 8000 | vox-encode pcmu >said.vox\n\
             script -qec 'vox-join 127.0.0.1:{port}/lobby --name ana <said.vox' shown </dev/null >/dev/null"
        ))
        .succeeded();
    let shown = fs::read(scratch.path("shown")).expect("what a terminal was shown");
    assert!(!shown.windows(4).any(|bytes| bytes == &fs::read(scratch.path("said.vox")).expect("a file")[..4]));
    let is_heard = || read_so_far(&scratch.path("tape.vox")).iter().any(|entry| matches!(entry, Entry::End(_)));
    assert!(await_until(PATIENCE, is_heard), "{}", server.stderr());
    listener.interrupt();
    listener.wait(PATIENCE);
}
