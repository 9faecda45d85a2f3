//! Strangers who send to a receiver everything that they should not, while somebody speaks.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use vox_e2e::{Entry, Scratch, Speech, await_udp, await_until, free_port, read_vox, speech};
use vox_frame::Format;

const LIMIT: Duration = Duration::from_secs(30);

/// The source that strangers pretend to be.
const SSRC: u32 = 0x0700_0007;

fn summary(scratch: &Scratch, name: &str) -> Value {
    let text = fs::read_to_string(scratch.path(name)).expect("statistics");
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

/// An RTP packet: first byte, payload type, number, timestamp, and what follows the header.
fn rtp(first: u8, payload_type: u8, ssrc: u32, number: u16, timestamp: u32, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![first, payload_type];
    packet.extend_from_slice(&number.to_be_bytes());
    packet.extend_from_slice(&timestamp.to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(rest);
    packet
}

/// One of each kind of what nobody should send; `turn` makes them differ.
fn everything(turn: u16) -> Vec<Vec<u8>> {
    let number = turn.wrapping_mul(7919);
    let stranger = 0x6600_0000 | u32::from(turn);
    let audio = [0xd5; 160];
    let mut lies = vec![
        // Nothing, next to nothing, and as much as there can be.
        Vec::new(),
        vec![0x80],
        rtp(0x80, 0, stranger, number, 0, &[0xd5; 65_495]),
        rtp(0x80, 0, SSRC, number, 0, &[0xd5; 65_495]),
        // More contributing sources, a longer extension, more padding than the packet has.
        rtp(0x8f, 0, SSRC, number, 0, &[1; 20]),
        rtp(0x90, 0, SSRC, number, 0, &[0xbe, 0xde, 0xff, 0xff, 0x10, 1, 2, 3]),
        rtp(0x90, 0, stranger, number, 0, &[0x10, 0, 0xff, 0xf0]),
        rtp(0xa0, 0, SSRC, number, 0, &[0, 0, 0, 255]),
        // An element of an extension that is longer than it.
        rtp(0x90, 0, stranger, number, 0, &[&[0xbe, 0xde, 0, 1, 0x1f, 1, 2, 3][..], &audio].concat()),
        // The source from elsewhere: its next numbers, a timestamp half a round off, another version.
        rtp(0x80, 0, SSRC, number, u32::from(turn) * 160 + (1 << 31), &audio),
        rtp(0x40, 0, SSRC, number, 0, &audio),
        // Padding and nothing else.
        rtp(0xa0, 0, SSRC, number, 0, &[0, 0, 0, 4]),
        // Redundancy, parity and retransmissions of nothing.
        rtp(0x80, 63, SSRC, number, 0, &[0x80, 0xff, 0xff, 0xff, 0]),
        rtp(0x80, 127, SSRC, number, 0, &[0xff; 24]),
        rtp(0x80, 62, stranger, number, 0, &[0, 1, 0xd5]),
    ];
    // A flood of sources, each with two packets in sequence.
    for source in 0..20u32 {
        let ssrc = stranger << 8 | source;
        lies.push(rtp(0x80, 0, ssrc, 1, 0, &audio));
        lies.push(rtp(0x80, 0, ssrc, 2, 160, &audio));
    }
    lies
}

/// RTCP that nobody should send: goodbyes of the source, reports on it, requests to it, lengths that lie.
fn everything_about_reports() -> Vec<Vec<u8>> {
    let ssrc = SSRC.to_be_bytes();
    let sender_report = [&[0x80, 200, 0, 6][..], &ssrc, &[0xff; 20]].concat();
    vec![
        Vec::new(),
        vec![0x80, 200],
        [&[0x81, 203, 0, 1][..], &ssrc].concat(),
        [&sender_report[..], &[0x81, 203, 0, 1], &ssrc].concat(),
        [&[0x81, 203, 0xff, 0xff][..], &ssrc].concat(),
        [&[0x81, 205, 0, 3][..], &[0, 0, 0, 1], &ssrc, &[0, 1, 0xff, 0xff]].concat(),
        // Padding, an application's packet and a name with lengths that are not there.
        vec![0xba, 0xcc, 0, 2, 0x5d, 0x0a, 0x0a, 0x08, 0x7a, 0x05, 0x29, 0x07],
        vec![0x81, 202, 0, 3, 0, 0, 0, 1, 8, 255, 255, 1, 0, 0, 0, 0],
        vec![0xff; 1500],
    ]
}

/// Peak resident size of a process, in KiB.
fn peak_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn strangers_harm_no_stream_get_no_answer_and_take_no_room() {
    let scratch = Scratch::new("hostile");
    speech(&scratch, "said.wav", Speech::mono(8_000, 24_000));
    scratch.run("vox-capture said.wav | vox-encode pcmu >said.vox").succeeded();
    let port = free_port();
    let receiver = scratch.spawn(&format!(
        "vox-recv :{port} --max-sources 16 --rtcp-interval 0.2 --bandwidth 1000000 --idle-timeout 2 --wait 20 --stats stats \
         >heard.vox"
    ));
    await_udp(port);
    let pid = receiver.pid_of("vox-recv").as_raw_pid();
    let sender = scratch.spawn(&format!(
        "vox-capture said.wav | vox-encode pcmu | vox-send 127.0.0.1:{port} --ssrc {SSRC} --rtcp-interval 0.2 \
         --bandwidth 1000000"
    ));
    let heard = || fs::metadata(scratch.path("heard.vox")).is_ok_and(|data| data.len() > 2_000);
    assert!(await_until(LIMIT, heard), "the call is on");
    // From another address of this host, as far as a receiver can tell.
    let (media, control) = (elsewhere(), elsewhere());
    let over = Arc::new(AtomicBool::new(false));
    let flood = {
        let (over, media, control) =
            (Arc::clone(&over), media.try_clone().expect("it"), control.try_clone().expect("it"));
        thread::spawn(move || {
            let (mut turn, mut sent) = (0, 0u64);
            while !over.load(Ordering::Relaxed) {
                let to: [SocketAddr; 2] = [port, port + 1].map(|port| ([127, 0, 0, 1], port).into());
                for packet in everything(turn) {
                    sent += u64::from(media.send_to(&packet, to[0]).is_ok());
                }
                for packet in everything_about_reports() {
                    sent += u64::from(control.send_to(&packet, to[1]).is_ok() && media.send_to(&packet, to[0]).is_ok());
                }
                turn = turn.wrapping_add(1);
                thread::sleep(Duration::from_millis(20));
            }
            sent
        })
    };
    sender.wait(LIMIT).succeeded();
    let peak = peak_kib(pid);
    over.store(true, Ordering::Relaxed);
    let sent = flood.join().expect("it ends");
    receiver.wait(LIMIT).succeeded();
    let told = summary(&scratch, "stats");
    let count = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("{name}: {told}"));
    assert!(sent > 2_000, "{sent} were sent");
    let (whole, heard) = (payloads(&scratch, "said.vox"), payloads(&scratch, "heard.vox"));
    assert!(heard.iter().all(|(number, payload)| whole.get(number) == Some(payload)), "nothing else was heard of it");
    // The flood may push some out of the kernel's buffer where the receiver has to wait for a processor.
    assert!(heard.len() * 10 >= whole.len() * 9, "{} of {}: {told}", heard.len(), whole.len());
    assert!(count("packetsForeign") > 50 && count("packetsMalformed") > 100, "{told}");
    assert!(count("packetsRefused") + count("packetsStray") > 100 && count("rtcpRefused") > 20, "{told}");
    assert_eq!(count("restarts"), 0, "{told}");
    // 16 sources with 64 KiB each, a batch of the largest datagrams, and the program.
    assert!(peak > 0 && peak < 24 * 1024, "{peak} KiB");
    for socket in [media, control] {
        socket.set_nonblocking(true).expect("a socket");
        assert!(socket.recv(&mut [0; 2048]).is_err(), "a stranger was answered");
    }
}

fn elsewhere() -> UdpSocket {
    UdpSocket::bind("127.0.0.66:0").expect("an address of this host")
}

/// The payloads of the stream of `SSRC`, or of the only one, by how many packets after the first each is.
fn payloads(scratch: &Scratch, name: &str) -> BTreeMap<u64, Vec<u8>> {
    let entries = read_vox(&scratch.path(name));
    let ours = |format: &Format| format.rtp.as_ref().is_none_or(|rtp| rtp.ssrc == SSRC);
    let mut streams = entries.iter().filter_map(|entry| match entry {
        Entry::Format(id, format) if ours(format) => Some(*id),
        _ => None,
    });
    let id = streams.next().expect("the stream");
    assert_eq!(streams.next(), None, "it began once");
    let mut first = None;
    let audio = entries.into_iter().filter_map(|entry| match entry {
        Entry::Audio { id: of, timestamp, payload, .. } if of == id => {
            Some(((timestamp - *first.get_or_insert(timestamp)) / 160, payload))
        }
        _ => None,
    });
    audio.collect()
}
