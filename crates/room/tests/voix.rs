//! A session of the Voix protocol, line by line, and what goes wrong in one.

mod house;

use house::House;

#[test]
fn a_session_runs_as_in_the_document_of_the_protocol() {
    let mut house = House::new();
    let (john, nick) = (house.arrive("John"), house.dial());
    house.clear();
    house.says(nick, "CONNECT: \"Nickname\" \"Real Name\" 1.0.0");
    let lines = house.heard(nick);
    assert_eq!(lines[0], "ACCEPT: hostname.com");
    let number = lines[1].strip_prefix("PING: ").expect("a ping").to_owned();
    assert_eq!(lines[2..], ["JOINED: #lobby", "USERLIST #lobby: John, Nickname"]);
    assert_eq!(house.heard(john), ["USERJOIN #lobby: Nickname"]);
    house.says(nick, &format!("PONG: {number}"));
    assert_eq!(house.heard(nick), [""; 0]);
    house.says(nick, "MSG #Lobby: Hey all!");
    assert_eq!(house.heard(john), ["MSG Nickname #lobby: Hey all!"]);
    house.says(john, "MSG #lobby: Hey Nickname!");
    assert_eq!(house.heard(nick), ["MSG John #lobby: Hey Nickname!"]);
    house.says(nick, "PRIVMSG John: Hey John!");
    assert_eq!(house.heard(john), ["PRIVMSG Nickname: Hey John!"]);
    house.says(nick, "TALK John: Request");
    assert_eq!(house.heard(john), ["TALK Nickname: Request"]);
    house.says(john, "TALK Nickname: Accept");
    assert_eq!(house.heard(nick), ["TALK John: Accept"]);
    house.says(nick, "Talk John: End");
    assert_eq!(house.heard(john), ["TALK Nickname: End"]);
    house.says(nick, "JOIN: #TurboRoom");
    assert_eq!(house.heard(nick), ["JOINED: #turboroom", "USERLIST #turboroom: Nickname"]);
    house.says(john, "TALK Nickname: Request");
    house.says(nick, "TALK John: Deny");
    assert_eq!(house.heard(john), ["TALK Nickname: Deny"]);
    house.says(nick, "DISCONNECT");
    assert!(house.is_closed(nick));
    assert_eq!(house.heard(john), ["USERLEAVE #lobby: Nickname"]);
}

#[test]
fn a_nickname_is_one_persons() {
    let mut house = House::new();
    let _john = house.arrive("John");
    let other = house.dial();
    house.says(other, "CONNECT: \"JOHN\" \"x\" 1.0.0");
    assert_eq!(house.heard(other), ["NICKNAMEINUSE: JOHN is taken; try another"]);
    house.says(other, "CONNECT: \"Jo hn\" \"x\" 1.0.0");
    assert!(house.heard(other)[0].starts_with("NOTACCEPTED: ERROR CONNECT: syntax"));
    house.says(other, "MSG #lobby: hello");
    assert!(house.heard(other)[0].starts_with("NOTACCEPTED: say CONNECT"));
    house.says(other, "CONNECT: \"Joan\" \"x\" 1.0.0");
    assert_eq!(house.heard(other)[0], "ACCEPT: hostname.com");
}

#[test]
fn whatever_is_not_understood_is_answered() {
    let mut house = House::new();
    let john = house.arrive("John");
    house.clear();
    for line in [
        "",
        "FOO",
        "foo: bar",
        "MSG",
        "MSG #lobby",
        "MSG lobby text",
        "TALK John: Perhaps",
        "JOIN:",
        "JOIN: ##",
        "STREAM x: pt=0",
        "PONG: seven",
        "VOICE",
        "KICK #lobby",
        "USERLIST #nowhere",
        "MSG #nowhere: hi",
        "PRIVMSG Nobody: hi",
        "TALK Nobody: Request",
        "LOCK #lobby: x",
        "DELETE: #lobby",
        "STREAMEND 7",
        "LEAVE: #x",
        "TALK 123456789012345: ACCEPT",
        "\u{0}\u{1b}[31m",
        "RECORD #lobby: maybe",
        "CREATE: #lobby",
    ] {
        house.says(john, line);
        let answer = house.heard(john);
        assert_eq!(answer.len(), 1, "{line:?} {answer:?}");
        assert!(answer[0].starts_with("ERROR") || answer[0] == "TALK: BADSESSIONKEY", "{line:?} {answer:?}");
        assert!(!answer[0].contains('\u{1b}'));
    }
    assert!(!house.is_closed(john));
}

#[test]
fn who_does_not_answer_a_ping_is_dropped_after_200_s() {
    let mut house = House::new();
    let (john, mary) = (house.arrive("John"), house.arrive("Mary"));
    house.advance_s(150);
    house.says(mary, "LIST");
    house.advance_s(49);
    assert!(!house.is_closed(john));
    house.advance_s(2);
    assert!(house.is_closed(john));
    assert!(!house.is_closed(mary));
    assert!(house.heard(mary).contains(&"USERLEAVE #lobby: John".to_owned()));
    house.advance_s(400);
    assert!(house.is_closed(mary));
}

#[test]
fn who_answers_pings_stays() {
    let mut house = House::new();
    let john = house.arrive("John");
    for _ in 0..60 {
        house.advance_s(60);
        house.answer_pings(john);
    }
    assert!(!house.is_closed(john));
}

#[test]
fn who_never_says_connect_is_dropped() {
    let mut house = House::new();
    let silent = house.dial();
    house.advance_s(16);
    assert!(house.is_closed(silent));
}

#[test]
fn calls_by_keys_are_told_by_keys() {
    let mut house = House::new();
    let (john, mary) = (house.arrive("John"), house.arrive("Mary"));
    house.says(mary, "DIALECT: keys");
    house.clear();
    house.says(john, "TALK Mary: REQUEST");
    let line = house.heard(mary).remove(0);
    let key =
        line.strip_prefix("TALK John ").and_then(|rest| rest.strip_suffix(": REQUEST")).expect("a key").to_owned();
    assert_eq!(key.len(), 15);
    house.says(mary, &format!("TALK {key}: ACCEPT"));
    assert_eq!(house.heard(john), [format!("TALK {key}: ACCEPTED")]);
    assert_eq!(house.heard(mary), [format!("TALK {key}: ACCEPTED")]);
    let (a, b) = ("10.0.0.1:7000", "10.0.0.2:7000");
    assert_eq!(
        house.datagram(a, format!("TALKSESSION: {key}").as_bytes()),
        [(a.to_owned(), b"TALKSESSION: ok".to_vec())]
    );
    house.datagram(b, format!("TALKSESSION: {key}").as_bytes());
    assert_eq!(house.datagram(a, b"raw audio"), [(b.to_owned(), b"raw audio".to_vec())]);
    assert_eq!(house.datagram("10.0.0.3:7000", format!("TALKSESSION: {key}").as_bytes())[0].1, b"SESSIONERROR: key");
    house.says(john, &format!("TALK {key}: END"));
    assert_eq!(house.heard(mary), [format!("TALK {key}: END")]);
    assert_eq!(house.datagram(a, b"raw audio"), []);
    house.says(john, &format!("TALK {key}: END"));
    assert_eq!(house.heard(john), ["TALK: BADSESSIONKEY"]);
}

#[test]
fn a_call_that_nobody_takes_ends_after_30_s() {
    let mut house = House::new();
    let (john, mary) = (house.arrive("John"), house.arrive("Mary"));
    house.clear();
    house.says(john, "TALK Mary: Request");
    house.advance_s(31);
    assert_eq!(house.heard(john), ["TALK Mary: End"]);
    assert_eq!(house.heard(mary), ["TALK John: Request", "TALK John: End"]);
    house.says(mary, "TALK John: Accept");
    assert_eq!(house.heard(mary), ["TALK: BADSESSIONKEY"]);
}

#[test]
fn a_locked_room_is_entered_by_its_password_only() {
    let mut house = House::new();
    let (john, mary) = (house.arrive("John"), house.arrive("Mary"));
    house.clear();
    house.says(john, "CREATE: #secret hunter2");
    assert_eq!(house.heard(john), ["CREATED: #secret", "JOINED: #secret", "USERLIST #secret: John", "LOCKED: #secret"]);
    house.says(mary, "JOIN: #secret");
    assert_eq!(house.heard(mary), ["ERROR JOIN: locked #secret needs a password: JOIN: #secret password"]);
    house.says(mary, "JOIN: #secret hunter3");
    assert_eq!(house.heard(mary), ["ERROR JOIN: denied #secret has another password"]);
    house.says(mary, "JOIN: #secret hunter2");
    assert_eq!(house.heard(mary), ["JOINED: #secret", "USERLIST #secret: John, Mary"]);
    house.says(mary, "UNLOCK: #secret");
    assert_eq!(house.heard(mary), ["ERROR UNLOCK: forbidden you are no operator of #secret"]);
    house.says(john, "DELETE: #secret");
    assert!(house.heard(mary).starts_with(&["DELETED: #secret".to_owned()]));
    house.says(mary, "LIST");
    assert_eq!(house.heard(mary), ["ROOM #lobby: users=2 voice=0 open", "LIST: 1"]);
}

#[test]
fn a_flood_of_lines_is_dropped_and_then_its_sender() {
    let mut house = House::new();
    let (john, mary) = (house.arrive("John"), house.arrive("Mary"));
    house.clear();
    for _ in 0..1000 {
        house.says(john, "MSG #lobby: spam");
    }
    assert!(house.is_closed(john));
    assert!(house.heard(mary).len() <= 202);
}
