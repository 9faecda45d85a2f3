//! Both ways over one socket: encrypted, protected, through networks that lose and through addresses that change.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use vox_e2e::{Scratch, Speech, Wav, await_udp, free_port, locate, speech, ulaw};

const LIMIT: Duration = Duration::from_secs(30);

/// Hexadecimal characters of key and salt: 30 bytes.
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d";

/// One side of a call: says `said.wav`, writes what it hears to NAME.vox and its figures to NAME.json.
fn side(name: &str, own: u16, other: u16, options: &str) -> String {
    format!(
        "vox-capture said.wav | vox-encode pcmu | vox-send --duplex 127.0.0.1:{other} --local 127.0.0.1:{own} \
         {options} --linger 1 --rtcp-mux --stats {name}.json > {name}.vox"
    )
}

fn summary(scratch: &Scratch, name: &str) -> Value {
    let text = fs::read_to_string(scratch.path(&format!("{name}.json"))).expect("statistics");
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

fn count(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_else(|| panic!("{name}: {summary}"))
}

/// What a side heard, as samples.
fn heard(scratch: &Scratch, name: &str) -> Vec<i16> {
    scratch.run(&format!("vox-jitter --virtual --delay 800 < {name}.vox | vox-play {name}.wav")).succeeded();
    Wav::read(&scratch.path(&format!("{name}.wav"))).samples
}

/// Who began first may have spoken to nobody for a moment, but what was heard is what was said, to its end.
#[track_caller]
fn assert_heard(scratch: &Scratch, name: &str, said: &[i16]) {
    let heard = heard(scratch, name);
    let tail = &said[said.len() / 2..said.len() - 800];
    assert!(
        locate(tail, &heard).is_some(),
        "{name}: {} of {} samples, {}",
        heard.len(),
        said.len(),
        summary(scratch, name)
    );
}

/// A network that holds every packet for `delay` ms and loses those whose number, each way, `lost` says: by the clock
/// nobody knows which packets a loss falls upon.
fn network(delay: u32, lost: impl Fn(usize) -> bool) -> String {
    (0..1_000).map(|number| if lost(number) { "lost\n".into() } else { format!("{delay}\n") }).collect()
}

/// A call whose sides have the same options, over the network between: `vox-impair` stands for it, and for a NAT, as
/// the second side learns only from what comes where the first one is.
fn call(name: &str, network: &str, options: &str) -> (Scratch, Value, Value) {
    let scratch = Scratch::new(name);
    fs::write(scratch.path("network.csv"), network).expect("a trace");
    fs::write(scratch.path("key"), KEY).expect("a key");
    fs::write(scratch.path("short"), &KEY[..56]).expect("a key");
    let said = speech(&scratch, "said.wav", Speech::mono(8_000, 24_000)).through(ulaw).samples;
    let (first, second, between, nobody) = (free_port(), free_port(), free_port(), free_port());
    let relay = scratch.spawn(&format!("vox-impair --udp :{between}=127.0.0.1:{second} --trace network.csv"));
    await_udp(between);
    let there = scratch.spawn(&side("second", second, nobody, &format!("--latch {options}")));
    await_udp(second);
    let here = scratch.spawn(&side("first", first, between, options));
    here.wait(LIMIT).succeeded();
    there.wait(LIMIT).succeeded();
    relay.interrupt();
    relay.wait(LIMIT);
    for name in ["first", "second"] {
        assert_heard(&scratch, name, &said);
    }
    let told = (summary(&scratch, "first"), summary(&scratch, "second"));
    (scratch, told.0, told.1)
}

#[test]
fn an_encrypted_call_goes_both_ways_in_both_kinds_of_suite() {
    for (key, suite) in [("key", "AES_CM_128_HMAC_SHA1_80"), ("short", "AEAD_AES_128_GCM")] {
        let (_scratch, first, second) =
            call("duplex-srtp", &network(0, |_| false), &format!("--srtp {key} --srtp-suite {suite}"));
        for told in [first, second] {
            assert!(count(&told, "packetsReceived") > 70, "{told}");
            assert_eq!(count(&told, "packetsForeign"), 0, "{told}");
        }
    }
}

#[test]
fn redundancy_is_undone_both_ways() {
    let (_scratch, first, second) = call("duplex-red", &network(0, |number| number % 15 > 12), "--red 3");
    for told in [first, second] {
        assert!(count(&told, "packetsRecoveredByRed") >= 2, "{told}");
        assert_eq!(told["packetsRecovered"], told["packetsRecoveredByRed"], "{told}");
    }
}

#[test]
fn parity_is_undone_both_ways_and_encrypted() {
    // Two groups of five and their parity are twelve packets: never are two of one group lost.
    let network = network(0, |number| number % 13 == 12);
    let (_scratch, first, second) = call("duplex-fec", &network, "--fec 5 --srtp key");
    for told in [first, second] {
        assert!(count(&told, "packetsRecoveredByFec") >= 3, "{told}");
    }
}

#[test]
fn what_is_missing_is_asked_for_both_ways_and_encrypted() {
    let options = "--rtx --nack 400 --rtcp-interval 0.2 --bandwidth 1000000 --srtp key";
    // Some of these are reports or requests.
    let network = network(10, |number| matches!(number, 50..53 | 70..73 | 90..93 | 110..113));
    let (_scratch, first, second) = call("duplex-rtx", &network, options);
    for told in [first, second] {
        assert!(count(&told, "packetsRetransmitted") >= 3, "{told}");
        assert!(count(&told, "retransmittedPacketsSent") >= 3, "{told}");
    }
}

/// A NAT that changes its mind: what comes to `inside` goes out by the first socket, later by the second.
struct Nat {
    inside: UdpSocket,
    out: [UdpSocket; 2],
}

impl Nat {
    fn new() -> Self {
        let socket = || UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let nat = Self { inside: socket(), out: [socket(), socket()] };
        for socket in [&nat.inside, &nat.out[0], &nat.out[1]] {
            socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a time-out");
        }
        nat
    }

    fn port(&self) -> u16 {
        self.inside.local_addr().expect("an address").port()
    }

    /// Passes everything on to `to`: the first `before` packets by the first socket, nothing for `pause` packets, then all
    /// by the second. What comes back to the socket that is in use goes back. Gives how many came back to the second.
    fn run(self, to: u16, before: usize, pause: usize) -> usize {
        let Self { inside, out: [first, second] } = self;
        let client = std::sync::Arc::new(std::sync::Mutex::new(None::<SocketAddr>));
        let back = |socket: &UdpSocket| {
            let (socket, inside) = (socket.try_clone().expect("a socket"), inside.try_clone().expect("a socket"));
            let client = std::sync::Arc::clone(&client);
            thread::spawn(move || {
                let (mut buffer, mut count, mut quiet) = ([0; 2048], 0, 0);
                while quiet < 8 {
                    let Ok(length) = socket.recv(&mut buffer) else {
                        quiet += 1;
                        continue;
                    };
                    quiet = 0;
                    count += 1;
                    if let Some(client) = *client.lock().expect("nobody panics") {
                        inside.send_to(&buffer[..length], client).expect("sent");
                    }
                }
                count
            })
        };
        let (_old, new) = (back(&first), back(&second));
        let (mut buffer, mut passed, mut quiet) = ([0; 2048], 0, 0);
        while quiet < 6 {
            let Ok((length, from)) = inside.recv_from(&mut buffer) else {
                quiet += 1;
                continue;
            };
            (quiet, passed) = (0, passed + 1);
            *client.lock().expect("nobody panics") = Some(from);
            let socket = match passed {
                passed if passed <= before => &first,
                passed if passed <= before + pause => continue,
                _ => &second,
            };
            socket.send_to(&buffer[..length], ("127.0.0.1", to)).expect("sent");
        }
        new.join().expect("it ends")
    }
}

#[test]
fn a_call_follows_the_other_side_to_another_address() {
    let scratch = Scratch::new("duplex-follow");
    speech(&scratch, "said.wav", Speech::mono(8_000, 32_000));
    let (first, second) = (free_port(), free_port());
    let nat = Nat::new();
    let (port, known) = (nat.port(), nat.out[0].local_addr().expect("an address").port());
    let there = scratch.spawn(&side("second", second, known, "--follow --max-sources 4"));
    await_udp(second);
    let nat = thread::spawn(move || nat.run(second, 50, 40));
    let here = scratch.spawn(&side("first", first, port, ""));
    here.wait(LIMIT).succeeded();
    there.wait(LIMIT).succeeded();
    let back = nat.join().expect("a NAT");
    let (first, second) = (summary(&scratch, "first"), summary(&scratch, "second"));
    assert_eq!(count(&second, "moves"), 1, "{second}");
    // It heard what came after the move, and spoke to where that came from.
    assert!(count(&second, "packetsReceived") > 130, "{second}");
    assert!(back > 50 && count(&first, "packetsReceived") > 90, "{back} came back, {first}");
}

#[test]
fn who_neither_follows_nor_latches_hears_and_serves_nobody_else() {
    let scratch = Scratch::new("duplex-stranger");
    speech(&scratch, "said.wav", Speech::mono(8_000, 8_000));
    let (own, other) = (free_port(), UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let to = other.local_addr().expect("an address").port();
    let side = scratch.spawn(&side("only", own, to, ""));
    await_udp(own);
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    packet.resize(172, 0xd5);
    for number in 0..20u8 {
        packet[3] = number;
        packet[6] = number;
        stranger.send_to(&packet, ("127.0.0.1", own)).expect("sent");
    }
    side.wait(LIMIT).succeeded();
    let told = summary(&scratch, "only");
    assert_eq!((count(&told, "packetsReceived"), &told["moves"]), (0, &0.into()), "{told}");
    stranger.set_nonblocking(true).expect("a socket");
    assert!(stranger.recv(&mut [0; 2048]).is_err(), "a stranger was answered");
}
