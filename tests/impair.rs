//! A simulated network between real stages.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use serde_json::Value;
use vox_e2e::{Entry, Scratch, Speech, await_udp, free_port, read_vox, speech};

const LIMIT: Duration = Duration::from_secs(30);

/// The last line of a file of statistics.
#[track_caller]
fn summary(scratch: &Scratch, name: &str) -> Value {
    let text = fs::read_to_string(scratch.path(name)).expect("statistics");
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

#[test]
fn a_whole_call_over_a_bad_network_is_the_same_in_every_run() {
    let scratch = Scratch::new("impair-same");
    speech(&scratch, "said.wav", Speech::mono(48_000, 480_000));
    for profile in ["wifi-bad", "satellite", "dsl-congested"] {
        let run = |seed: u32| {
            let script = format!(
                "vox-capture said.wav | vox-encode opus --fec | vox-impair {profile} --seed {seed} \
                 | vox-jitter --virtual | vox-play heard.wav"
            );
            scratch.run(&script).succeeded_silently();
            fs::read(scratch.path("heard.wav")).expect("a WAV")
        };
        let first = run(7);
        for _ in 0..3 {
            assert!(run(7) == first, "{profile}: two runs differ");
        }
        assert!(run(8) != first, "{profile}: the seed has no part in it");
    }
}

#[test]
fn what_arrives_is_what_was_sent_with_a_new_time() {
    let scratch = Scratch::new("impair-untouched");
    scratch.run("vox-capture tone:440 --duration 20 | vox-encode opus >sent.vox").succeeded_silently();
    scratch
        .run("vox-impair lte --duplicate 2% --seed 3 --stats stats <sent.vox | tee arrived.vox | vox-inspect --strict --summary >/dev/null")
        .succeeded();
    let sent: BTreeMap<u64, Vec<u8>> = read_vox(&scratch.path("sent.vox"))
        .into_iter()
        .filter_map(audio)
        .map(|(sequence, payload, _)| (sequence, payload))
        .collect();
    let arrived: Vec<_> = read_vox(&scratch.path("arrived.vox")).into_iter().filter_map(audio).collect();
    for (sequence, payload, _) in &arrived {
        assert_eq!(sent.get(sequence), Some(payload));
    }
    let times: Vec<i64> = arrived.iter().map(|(_, _, arrived)| arrived.expect("every packet has a time")).collect();
    assert!(times.is_sorted(), "records leave in the order of arrival");
    // The first frame ends at 20 ms.
    assert!((50_000_000..100_000_000).contains(&times[0]), "{}", times[0]);
    let stats = summary(&scratch, "stats");
    let count = |name: &str| stats[name].as_u64().expect("a counter");
    assert_eq!(count("packetsSent"), sent.len() as u64);
    assert_eq!(arrived.len() as u64, count("packetsSent") - count("packetsLost") + count("packetsDuplicated"));
    assert!(count("packetsLost") > 0 && count("packetsDuplicated") > 0, "{stats}");
}

fn audio(entry: Entry) -> Option<(u64, Vec<u8>, Option<i64>)> {
    match entry {
        Entry::Audio { sequence, payload, times, .. } => Some((sequence.0, payload, times.arrived.map(|at| at.ns()))),
        _ => None,
    }
}

#[test]
fn options_add_to_a_profile() {
    let scratch = Scratch::new("impair-options");
    fs::write(scratch.path("trace.csv"), "at_ms,delay_ms\n0,30\n1000,80\n").expect("a trace");
    scratch.run("vox-capture tone:440 --rate 8000 --duration 10 | vox-encode pcmu >sent.vox").succeeded_silently();
    let lost = |options: &str| {
        scratch.run(&format!("vox-impair {options} --stats stats <sent.vox >arrived.vox")).succeeded_silently();
        let stats = summary(&scratch, "stats");
        (stats["packetsLost"].as_u64().expect("a count"), stats["longestDelayMs"].as_f64().expect("a time"))
    };
    assert_eq!(lost("perfect"), (0, 0.0));
    assert_eq!(lost("--delay 70ms --outage 2s+200ms"), (10, 70.0));
    assert_eq!(lost("--trace trace.csv"), (0, 80.0));
    // 200 bytes every 20 ms are 80 kbit/s.
    let (dropped, longest) = lost("--rate 60k --queue 100ms");
    assert!((100..150).contains(&dropped) && longest <= 127.0, "{dropped} dropped, {longest} ms");
    let (bursts, _) = lost("--loss ge:0.02,0.2 --seed 5");
    assert!((15..100).contains(&bursts), "{bursts}");
}

#[test]
fn streams_that_follow_each_other_all_arrive() {
    let scratch = Scratch::new("impair-streams");
    scratch.run("vox-capture tone:440 --duration 3 --id 1 | vox-encode opus >a.vox").succeeded_silently();
    scratch.run("vox-capture tone:330 --duration 2 --id 2 | vox-encode opus >b.vox").succeeded_silently();
    scratch
        .run("cat a.vox b.vox a.vox | vox-impair satellite | tee all.vox | vox-jitter --virtual --delay 100 | vox-inspect --strict --json --summary 2>sums >/dev/null")
        .succeeded();
    let ends = read_vox(&scratch.path("all.vox")).into_iter().filter(|entry| matches!(entry, Entry::End(_)));
    assert_eq!(ends.count(), 3);
    let sums = fs::read_to_string(scratch.path("sums")).expect("sums");
    assert!(!sums.contains("interrupted"), "{sums}");
}

#[test]
fn live_packets_are_really_delayed() {
    let scratch = Scratch::new("impair-live");
    let outcome = scratch
        .run("vox-capture tone:440 --duration 1 | vox-encode pcmu | vox-impair --live --delay 300ms >live.vox")
        .succeeded_silently();
    assert!(outcome.wall >= Duration::from_millis(1_250), "{:?}", outcome.wall);
    let entries = read_vox(&scratch.path("live.vox"));
    let Some(Entry::Format(_, format)) = entries.first() else { panic!("a Format comes first") };
    assert!(format.live, "what was paced is live");
    let arrived: Vec<i64> = entries.into_iter().filter_map(audio).filter_map(|(_, _, arrived)| arrived).collect();
    assert_eq!(arrived.len(), 50);
    assert!(arrived.windows(2).all(|pair| pair[1] - pair[0] >= 20_000_000), "paced by media time");
}

#[test]
fn a_relay_impairs_datagrams_in_both_directions() {
    let scratch = Scratch::new("impair-udp");
    let listen = free_port();
    let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(LIMIT)).expect("a time-out");
    }
    let there: SocketAddr = server.local_addr().expect("an address");
    let relay = scratch
        .spawn(&format!("exec vox-impair --udp :{listen}={there} --delay 50ms --loss 50% --seed 2 --stats stats"));
    await_udp(listen);
    for number in 0..200u8 {
        client.send_to(&[number], ("127.0.0.1", listen)).expect("it is sent");
    }
    client.send_to(b"a last one", ("127.0.0.1", listen)).expect("it is sent");
    let mut buffer = [0; 100];
    let mut heard = Vec::new();
    let mut from = None;
    while heard.len() < 80 {
        let (length, sender) = server.recv_from(&mut buffer).expect("half of them come");
        assert!(heard.last().is_none_or(|last| *last < buffer[0]) || length > 1, "in order");
        heard.push(buffer[0]);
        from = Some(sender);
    }
    for number in 0..100u8 {
        server.send_to(&[number], from.expect("a sender")).expect("it is sent");
    }
    let (_, back) = client.recv_from(&mut buffer).expect("answers come back");
    assert_eq!(back.port(), listen, "from where the client sent to");
    relay.interrupt();
    relay.wait(LIMIT);
    let stats = summary(&scratch, "stats");
    assert_eq!(stats["there"]["packetsSent"], 201);
    let lost = stats["there"]["packetsLost"].as_u64().expect("a count");
    assert!((60..140).contains(&lost), "{stats}");
}
