//! Sessions that are announced and heard of: by SAP and by DNS-SD, against ffmpeg and python-zeroconf.
//!
//! Each test has a network of its own: what is announced there is heard there only.

use std::fs;
use std::time::Duration;

use vox_e2e::{Outcome, Scratch, Speech, Wav, align, locate, need, raw_samples, speech, ulaw, unshare};

const LIMIT: Duration = Duration::from_secs(40);

const SPEECH: Speech = Speech::mono(8_000, 12_000);

const ZEROCONF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/zeroconf_peer.py");

/// Runs a script in a network that is this host alone, where groups go round.
fn alone(scratch: &Scratch, script: &str) -> Outcome {
    need(&["unshare", "ip"]);
    let prelude = "ip link set lo up multicast on; ip route add 224.0.0.0/4 dev lo src 127.0.0.1\n\
                   bound() { until grep -q \":$(printf %04X $1) \" /proc/net/udp; do sleep 0.05; done; }\n";
    fs::write(scratch.path("alone.sh"), format!("set -e\n{prelude}{script}")).expect("a script");
    scratch.spawn(&format!("{} bash alone.sh", unshare("n"))).wait(LIMIT)
}

fn text(scratch: &Scratch, name: &str) -> String {
    fs::read_to_string(scratch.path(name)).expect("a file")
}

const SAID: &str = "vox-capture late.wav | vox-encode pcmu |";

/// What is said, after silence in which listeners join (`late.wav`).
fn said_late(scratch: &Scratch) -> Wav {
    need(&["ffmpeg"]);
    let said = speech(scratch, "said.wav", SPEECH);
    scratch
        .run("ffmpeg -nostdin -v error -i said.wav -af adelay=3000 -c:a pcm_s16le -bitexact late.wav")
        .succeeded_silently();
    said
}

/// Whether what was said was heard, every sample of it.
#[track_caller]
fn heard(scratch: &Scratch, said: &Wav, outcome: &Outcome) {
    let heard = Wav::read(&scratch.path("heard.wav"));
    let place = locate(&said.through(ulaw).samples, &heard.samples);
    assert!(place.is_some(), "not among {} samples: {}", heard.samples.len(), outcome.stderr);
}

#[test]
fn a_session_is_listed_changes_and_is_withdrawn() {
    let scratch = Scratch::new("announce");
    said_late(&scratch);
    fs::write(scratch.path("key"), "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj").expect("a key");
    alone(
        &scratch,
        &format!(
            "vox-recv --discover --json --timeout 20 >list.json & list=$!\n\
             bound 9875; bound 5353\n\
             {SAID} vox-send 239.255.7.7:7700 --announce sap,mdns --name 'morning show' --srtp key --sdp call.sdp\n\
             until [ $(grep -c gone list.json) = 2 ]; do sleep 0.05; done\n\
             kill $list; wait $list\n"
        ),
    )
    .succeeded();
    let lines = text(&scratch, "list.json");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    for way in ["sap", "mdns"] {
        let of = |line: &&serde_json::Value| line["way"] == way;
        let events: Vec<&str> = lines.iter().filter(of).filter_map(|line| line["event"].as_str()).collect();
        assert_eq!(events, ["found", "gone"], "{way}");
        let found = lines.iter().find(of).expect("it was listed");
        assert_eq!((&found["name"], &found["address"]), (&"morning show".into(), &"239.255.7.7".into()));
        assert_eq!((&found["port"], &found["secure"]), (&7700.into(), &true.into()));
        let sdp = found["sdp"].as_str().expect("a description");
        assert!(sdp.contains("RTP/SAVP") && !sdp.contains("crypto"), "a key is never announced: {sdp}");
    }
    assert!(text(&scratch, "call.sdp").contains("crypto"), "whoever reads the file may listen");
}

#[test]
fn a_session_is_joined_by_its_name() {
    for way in ["sap", "mdns"] {
        let scratch = Scratch::new(&format!("join-{way}"));
        let said = said_late(&scratch);
        let outcome = alone(
            &scratch,
            &format!(
                "vox-recv --join 'a talk' --idle-timeout 2 --wait 20 --max-age off | vox-jitter --delay 500 | vox-play heard.wav & heard=$!\n\
                 bound 9875; bound 5353\n\
                 {SAID} vox-send 239.255.7.8:7702 --announce {way} --name 'a talk'\n\
                 wait $heard\n"
            ),
        );
        heard(&scratch, &said, &outcome);
        assert!(
            outcome.stderr.contains(&format!("\"a talk\" is at 239.255.7.8:7702, says {way}")),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn ffmpeg_joins_what_we_announce_by_sap() {
    let scratch = Scratch::new("sap-to-ffmpeg");
    let said = said_late(&scratch);
    let outcome = alone(
        &scratch,
        &format!(
            "ffmpeg -nostdin -v error -f sap -i sap://239.255.255.255 -c:a pcm_s16le -f s16le heard.raw & heard=$!\n\
             bound 9875\n\
             {SAID} vox-send 239.255.7.9:7704 --announce sap --announce-interval 1 --name call & said=$!\n\
             wait $said; sleep 1; kill -INT $heard; wait $heard || true\n"
        ),
    );
    let heard = raw_samples(&fs::read(scratch.path("heard.raw")).expect("ffmpeg has written"));
    assert!(locate(&said.through(ulaw).samples, &heard).is_some(), "{} samples: {}", heard.len(), outcome.stderr);
}

#[test]
fn what_ffmpeg_announces_by_sap_is_joined() {
    let scratch = Scratch::new("sap-from-ffmpeg");
    let said = said_late(&scratch);
    let outcome = alone(
        &scratch,
        "vox-recv --join 'from ffmpeg' --announcer 127.0.0.1 --idle-timeout 2 --wait 20 --max-age off | vox-jitter --delay 500 | vox-play heard.wav & heard=$!\n\
         bound 9875\n\
         ffmpeg -nostdin -v error -re -i late.wav \
           -c:a pcm_mulaw -metadata title='from ffmpeg' -f sap sap://239.255.7.10:7706\n\
         wait $heard\n",
    );
    // Its encoder does not follow the ITU in every sample.
    let heard = Wav::read(&scratch.path("heard.wav"));
    let alignment = align(&said.samples, &heard.samples, 30_000);
    assert!(alignment.correlation > 0.99, "{alignment:?}: {}", outcome.stderr);
}

#[test]
fn python_zeroconf_finds_our_service_and_we_find_its() {
    let scratch = Scratch::new("zeroconf");
    said_late(&scratch);
    fs::write(
        scratch.path("its.sdp"),
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=from python\r\nc=IN IP4 239.255.7.11/1\r\nt=0 0\r\n\
         m=audio 7708 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n",
    )
    .expect("a description");
    alone(
        &scratch,
        &format!(
            "{ZEROCONF} find ours >theirs.txt & theirs=$!\n\
             vox-recv --discover --via mdns --timeout 20 >ours.txt & ours=$!\n\
             bound 5353\n\
             mkfifo open; {ZEROCONF} announce 'from python' 7708 its.sdp <open & its=$!; exec 9>open\n\
             {SAID} vox-send 239.255.7.12:7710 --announce mdns --name ours\n\
             until grep -q '^+ from python' ours.txt; do sleep 0.05; done\n\
             exec 9>&-; wait $its\n\
             until grep -q '^- from python' ours.txt; do sleep 0.05; done\n\
             kill $ours; wait $ours; wait $theirs\n"
        ),
    )
    .succeeded();
    let ours = text(&scratch, "ours.txt");
    assert!(ours.contains("+ from python  239.255.7.11:7708  PCMU/8000 telephone-event/8000  mdns"), "{ours}");
    let theirs = text(&scratch, "theirs.txt");
    assert!(theirs.starts_with("7710 'v=0\\r\\n") && theirs.contains("s=ours\\r\\n"), "{theirs}");
    assert!(theirs.ends_with("gone\n"), "{theirs}");
}

#[test]
fn hostile_announcements_are_survived_and_push_nothing_out() {
    let scratch = Scratch::new("sap-hostile");
    said_late(&scratch);
    let flood = r#"
import random, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
to = ("239.255.255.255", 9875)
random.seed(7)
sdp = "v=0\r\no=- %d 1 IN IP4 127.0.0.1\r\ns=\x1b[2Jtrap\r\nc=IN IP4 239.1.1.1/1\r\nt=0 0\r\nm=audio 5004 RTP/AVP 0\r\n"
for n in range(3000):
    kind = n % 4
    body = (sdp % n).encode()
    head = b"\x20\x00" + n.to_bytes(2, "big") + bytes([127, 0, 0, 1])
    if kind == 0: packet = random.randbytes(random.randrange(0, 1400))
    elif kind == 1: packet = head + body
    elif kind == 2: packet = head + b"application/sdp\0" + body[: random.randrange(len(body))]
    else: packet = b"\x24" + head[1:] + b"o=- 1 1 IN IP4 127.0.0.1\r\n" + random.randbytes(8)
    s.sendto(packet, to)
s.sendto(b"\x20\0\0\1\x7f\0\0\1" + b"A" * 60000, to)
"#;
    fs::write(scratch.path("flood.py"), flood).expect("a script");
    alone(
        &scratch,
        &format!(
            "ip addr add 127.0.0.2/8 dev lo
             vox-recv --discover --via sap --timeout 20 >list.txt & list=$!
             bound 9875
             {SAID} vox-send 239.255.7.13:7712 --local 127.0.0.2:0 --announce sap --name true --announce-interval 1 & said=$!
             until grep -q '^+ true' list.txt; do sleep 0.05; done
             python3 flood.py; wait $said
             until grep -q '^- true' list.txt; do sleep 0.05; done
             kill $list; wait $list
"
        ),
    )
    .succeeded();
    let list = text(&scratch, "list.txt");
    assert!(list.lines().count() < 200, "the list is bounded: {} lines", list.lines().count());
    assert!(list.contains("trap") && !list.contains(''), "names command no terminal");
}
