//! Participants by plain RTP in the server itself, and what else other programs need of a room.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use serde_json::Value;
use vox_e2e::{Entry, Scratch, await_until, free_port, need, read_so_far, read_vox, room_server};

const PATIENCE: Duration = Duration::from_secs(30);

fn ctl(scratch: &Scratch, what: &str) -> Value {
    let outcome = scratch.run(&format!("vox-roomd ctl --control ctl.sock --json {what}")).succeeded();
    serde_json::from_str(&outcome.text()).expect("JSON")
}

/// Waits until somebody is in the lobby and hears it.
#[track_caller]
fn await_voice(scratch: &Scratch, name: &str) {
    let is_there = || {
        let list = ctl(scratch, "list");
        let members = list["rooms"][0]["members"].as_array().cloned().unwrap_or_default();
        members.iter().any(|member| member["nick"] == name && member["voice"] == true && !member["path"].is_null())
    };
    assert!(await_until(PATIENCE, is_there), "{name} is not there");
}

/// An RTP packet of mu-law, written out by hand (RFC 3550, section 5.1).
fn rtp(ssrc: u32, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

fn payloads(entries: &[Entry], label: &str) -> Vec<u8> {
    let named = |entry: &Entry| match entry {
        Entry::Format(id, format) if format.label.as_deref() == Some(label) => Some(*id),
        _ => None,
    };
    let Some(own) = entries.iter().find_map(named) else { return Vec::new() };
    let audio = |entry: &Entry| match entry {
        Entry::Audio { id, payload, .. } if *id == own => Some(payload.clone()),
        _ => None,
    };
    entries.iter().filter_map(audio).flatten().collect()
}

/// Numbers, timestamps and payloads of one stream, until one of its packets has that payload.
fn listen(socket: &UdpSocket, last: &[u8]) -> Vec<(u16, u32, Vec<u8>)> {
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let (mut heard, mut ssrc, mut buffer) = (Vec::new(), None, [0; 2048]);
    loop {
        let length = socket.recv(&mut buffer).expect("a packet comes");
        let word = |at: usize| u32::from_be_bytes(buffer[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(*ssrc.get_or_insert_with(|| word(8)), word(8), "one source");
        let sequence = u16::from_be_bytes([buffer[2], buffer[3]]);
        // Words of header extension, where the packet tells its level (RFC 6464).
        let extension = if buffer[0] & 0x10 == 0 { 0 } else { 4 + 4 * usize::from(buffer[15]) };
        heard.push((sequence, word(4), buffer[12 + extension..length].to_vec()));
        if heard.last().is_some_and(|(.., payload)| payload == last) {
            return heard;
        }
    }
}

#[test]
fn a_plain_rtp_peer_is_heard_and_hears_one_stream_and_nobody_takes_its_place() {
    let (scratch, port) = (Scratch::new("plain"), free_port());
    // Where nothing is mixed it hears who talks.
    let server = room_server(&scratch, port, "--control ctl.sock --mixers 0");
    let ear = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let send_to = ear.local_addr().expect("an address");
    let peer = ctl(&scratch, &format!("peer lobby phone --codec pcmu --send-to {send_to}"));
    let listens: SocketAddr = peer["listens"].as_str().expect("an address").parse().expect("an address");
    assert!(peer["sdp"].as_str().is_some_and(|sdp| sdp.contains(&format!("m=audio {} RTP/AVP 0", listens.port()))));
    let sdp = scratch.run("vox-roomd ctl --control ctl.sock sdp lobby phone").succeeded().text();
    assert!(sdp.contains(&format!("m=audio {} RTP/AVP 0\r\n", send_to.port())), "{sdp}");
    let taken = scratch.run("vox-roomd ctl --control ctl.sock peer lobby Phone").exited(&[1]);
    assert!(taken.stderr.contains("is taken"), "{}", taken.stderr);

    let tape = scratch.spawn(&format!(
        "exec vox-join 127.0.0.1:{port}/lobby --name tape --listen-only --events 3 >tape.vox 3>events.jsonl"
    ));
    await_voice(&scratch, "tape");
    let mouth = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let forger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let said: Vec<Vec<u8>> = (0..50u8).map(|n| vec![n; 160]).collect();
    for (n, payload) in (0u16..).zip(&said) {
        mouth.send_to(&rtp(7, n, u32::from(n) * 160, payload), listens).expect("loopback takes it");
        forger.send_to(&rtp(7, n + 1, u32::from(n) * 160, &[0xee; 160]), listens).expect("it too");
    }
    let heard = || payloads(&read_so_far(&scratch.path("tape.vox")), "phone");
    let whole = said.concat();
    assert!(await_until(PATIENCE, || heard().len() >= whole.len()), "{} bytes: {}", heard().len(), server.stderr());
    assert!(heard() == whole, "what the phone says, and nothing of the forger");

    let list = ctl(&scratch, "list");
    let seen = list["rooms"][0]["members"].as_array().expect("members").iter().find(|member| member["nick"] == "phone");
    let path = &seen.expect("it is listed")["path"];
    assert_eq!((path["carrier"].as_str(), path["packetsForeign"].as_u64()), (Some("rtp"), Some(50)), "{path}");

    // Two after each other come to the phone as one.
    for name in ["ana", "bob"] {
        scratch
            .run(&format!(
                "vox-capture noise:{} --duration 0.4 --rate 8000 | vox-encode pcmu >{name}.vox\n\
                 vox-join 127.0.0.1:{port}/lobby --name {name} --send-only <{name}.vox",
                name.len() + usize::from(name == "bob")
            ))
            .succeeded();
        // He has the word until he is gone.
        assert!(await_until(PATIENCE, || server.stderr().contains(&format!("left {name}"))));
    }
    let spoken = ["ana", "bob"].map(|name| {
        let audio = |entry: Entry| if let Entry::Audio { payload, .. } = entry { Some(payload) } else { None };
        read_vox(&scratch.path(&format!("{name}.vox"))).into_iter().filter_map(audio).collect::<Vec<_>>()
    });
    let heard = listen(&ear, spoken[1].last().expect("bob says something"));
    for pair in heard.windows(2) {
        assert_eq!(pair[1].0, pair[0].0.wrapping_add(1), "numbers go on");
        assert!(pair[1].1.wrapping_sub(pair[0].1).wrapping_sub(160) < 80_000, "time goes on: {pair:?}");
    }
    assert_eq!(heard.len(), spoken.iter().map(Vec::len).sum::<usize>(), "packets of the two");
    let payloads: Vec<u8> = heard.into_iter().flat_map(|(.., payload)| payload).collect();
    assert!(payloads == spoken.concat().concat(), "every packet of the two");
    ctl(&scratch, "kick phone");
    scratch.run("vox-roomd ctl --control ctl.sock sdp lobby phone").exited(&[1]);
    tape.interrupt();
    tape.wait(PATIENCE);
    let events = fs::read_to_string(scratch.path("events.jsonl")).expect("events");
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for (what, nick) in [("talk-start", "phone"), ("joined", "ana"), ("left", "ana"), ("left", "phone")] {
        let told = events.iter().any(|event| event["event"] == what && event["nick"] == nick);
        assert!(told, "no {what} {nick}: {events:?}");
    }
}

#[test]
fn what_a_streamer_says_reaches_the_room_untouched() {
    need(&["python3"]);
    let (scratch, port, door) = (Scratch::new("plain-streamer"), free_port(), free_port());
    let server = room_server(
        &scratch,
        port,
        &format!("--control ctl.sock --tcpstreamer 127.0.0.1:{door}=lobby --tcpstreamer-rate 22050"),
    );
    let tape = scratch.spawn(&format!("exec vox-join 127.0.0.1:{port}/lobby --name tape --listen-only >tape.vox"));
    await_voice(&scratch, "tape");
    let said: Vec<u8> = (0..22_050u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(scratch.path("said.ul"), &said).expect("a file");
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/tcpstreamer.py");
    scratch.run(&format!("{client} client say {door} 22050 said.ul")).succeeded();
    let heard = || payloads(&read_so_far(&scratch.path("tape.vox")), "streamer1");
    assert!(await_until(PATIENCE, || heard().len() >= said.len()), "{}", server.stderr());
    tape.interrupt();
    tape.wait(PATIENCE);
    let entries = read_vox(&scratch.path("tape.vox"));
    let format = entries.iter().find_map(|entry| match entry {
        Entry::Format(_, format) => Some((format.rate.hz(), format.codec.to_string())),
        _ => None,
    });
    assert_eq!(format, Some((22_050, "pcmu".to_owned())));
    assert!(heard() == said, "{} bytes of {}", heard().len(), said.len());
}

#[test]
fn a_peer_is_taken_by_its_own_description_and_from_where_it_said_alone() {
    let (scratch, port) = (Scratch::new("plain-sdp"), free_port());
    let _server = room_server(&scratch, port, "--control ctl.sock");
    let ear = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let hears_at = ear.local_addr().expect("an address").port();
    let offer = |profile: &str, crypto: &str| {
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {hears_at} {profile} 9 111 8\r\n{crypto}a=rtpmap:9 G722/8000\r\na=rtpmap:111 opus/48000/2\r\n"
        )
    };
    fs::write(scratch.path("offer.sdp"), offer("RTP/AVP", "")).expect("a file");
    let peer = ctl(&scratch, "peer lobby phone --sdp offer.sdp");
    assert_eq!(peer["sendsTo"], format!("127.0.0.1:{hears_at}"));
    let listens = peer["listens"].as_str().and_then(|address| address.rsplit_once(':')).expect("an address").1;
    let answer = peer["sdp"].as_str().expect("an answer");
    for line in [&format!("m=audio {listens} RTP/AVP 111 8"), "a=rtpmap:111 opus/48000/2", "a=sendrecv"] {
        assert!(answer.lines().any(|answered| answered == line), "no {line:?} in {answer}");
    }
    let refused = |what: &str, why: &str| {
        let outcome = scratch.run(&format!("vox-roomd ctl --control ctl.sock peer lobby {what}")).exited(&[1]);
        assert!(outcome.stderr.contains(why), "{}", outcome.stderr);
    };
    fs::write(scratch.path("secret.sdp"), offer("RTP/SAVP", "")).expect("a file");
    refused("a --sdp secret.sdp", "SRTP");
    refused("b --listen 0.0.0.0:0", "say whose packets are taken");
    refused("c --codec g722/8000", "no codec of rooms");
    refused("d --send-to 239.1.2.3:5004", "a group is no participant");
    ctl(&scratch, "peer lobby far --listen 0.0.0.0:0 --from 192.0.2.7");
    let list = ctl(&scratch, "list");
    let members: Vec<&str> = list["rooms"][0]["members"]
        .as_array()
        .expect("members")
        .iter()
        .filter_map(|one| one["nick"].as_str())
        .collect();
    assert_eq!(members, ["phone", "far"], "who was refused is not there");
}
