//! SRTP with other people's programs, with wrong keys, and against replays and forgeries.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;
use vox_e2e::{
    Scratch, Speech, Wav, await_udp, await_until, free_port, heard_in_full, locate, need, raw_samples, speech, ulaw,
};

const LIMIT: Duration = Duration::from_secs(30);

/// A suite as each side calls it.
struct Suite {
    name: &'static str,
    /// Bytes of key and salt.
    bytes: usize,
    cipher: &'static str,
    auth: &'static str,
}

const SUITES: [Suite; 4] = [
    Suite { name: "AES_CM_128_HMAC_SHA1_80", bytes: 30, cipher: "aes-128-icm", auth: "hmac-sha1-80" },
    Suite { name: "AES_CM_128_HMAC_SHA1_32", bytes: 30, cipher: "aes-128-icm", auth: "hmac-sha1-32" },
    Suite { name: "AEAD_AES_128_GCM", bytes: 28, cipher: "aes-128-gcm", auth: "null" },
    Suite { name: "AEAD_AES_256_GCM", bytes: 44, cipher: "aes-256-gcm", auth: "null" },
];

/// Key and salt in hexadecimal.
fn hex(suite: &Suite) -> String {
    (0..suite.bytes).map(|at| format!("{:02x}", at * 5 % 251)).collect()
}

/// Writes a file that holds a secret.
fn secret(scratch: &Scratch, name: &str, text: &str) {
    fs::write(scratch.path(name), text).expect("a file");
    fs::set_permissions(scratch.path(name), fs::Permissions::from_mode(0o600)).expect("permissions");
}

fn said(scratch: &Scratch) -> Wav {
    speech(scratch, "said.wav", Speech::mono(8_000, 8_000))
}

fn summary(scratch: &Scratch, name: &str) -> Value {
    let text = fs::read_to_string(scratch.path(name)).expect("statistics");
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

fn is_whole(said: &Wav, heard: &[i16]) -> bool {
    locate(&said.through(ulaw).samples, heard).is_some()
}

#[test]
fn every_suite_goes_from_vox_to_gstreamer() {
    need(&["gst-launch-1.0"]);
    let scratch = Scratch::new("srtp-to-gst");
    let said = said(&scratch);
    for suite in &SUITES {
        let (port, key) = (free_port(), hex(suite));
        secret(&scratch, "key", &key);
        let Suite { name, cipher, auth, .. } = suite;
        let caps = format!(
            "application/x-srtp,media=audio,clock-rate=8000,encoding-name=PCMU,payload=0,ssrc=(uint)4242,\
             srtp-key=(buffer){key},srtp-cipher=(string){cipher},srtp-auth=(string){auth},\
             srtcp-cipher=(string){cipher},srtcp-auth=(string){auth},roc=(uint)0"
        );
        let heard = format!("heard-{name}.raw");
        let receiver = scratch.spawn(&format!(
            "gst-launch-1.0 -q udpsrc port={port} caps='{caps}' ! srtpdec ! rtppcmudepay ! mulawdec ! filesink buffer-mode=unbuffered location={heard}"
        ));
        await_udp(port);
        scratch
            .run(&format!(
                "vox-capture said.wav | vox-encode pcmu | vox-send --no-rtcp --ssrc 4242 --srtp key --srtp-suite {name} 127.0.0.1:{port}"
            ))
            .succeeded();
        let arrived = || is_whole(&said, &raw_samples(&fs::read(scratch.path(&heard)).unwrap_or_default()));
        assert!(await_until(LIMIT, arrived), "{name}: {}", receiver.stderr());
    }
}

#[test]
fn every_suite_goes_from_gstreamer_to_vox() {
    need(&["gst-launch-1.0"]);
    let scratch = Scratch::new("srtp-from-gst");
    said(&scratch);
    // Its encoder does not follow the ITU in every sample: what it makes is asked of itself.
    let source = "gst-launch-1.0 -q filesrc location=said.wav ! wavparse ! mulawenc";
    scratch.run(&format!("{source} ! mulawdec ! filesink location=coded.raw")).succeeded();
    for suite in &SUITES {
        let (port, key) = (free_port(), hex(suite));
        let Suite { name, cipher, auth, .. } = suite;
        let receiver = scratch
            .shell(&format!(
                "vox-recv --srtp env:VOX_KEY --srtp-suite {name} --idle-timeout 1.5 --wait 20 --max-age off --stats stats :{port} >heard.vox"
            ))
            .env("VOX_KEY", &key)
            .spawn();
        await_udp(port);
        scratch
            .run(&format!(
                "{source} ! rtppcmupay min-ptime=20000000 max-ptime=20000000 ! \
                 srtpenc key={key} rtp-cipher={cipher} rtp-auth={auth} rtcp-cipher={cipher} rtcp-auth={auth} ! udpsink host=127.0.0.1 port={port}"
            ))
            .succeeded();
        receiver.wait(LIMIT).succeeded();
        let heard = heard_in_full(&scratch).samples;
        assert!(
            locate(&raw_samples(&fs::read(scratch.path("coded.raw")).expect("samples")), &heard).is_some(),
            "{name}"
        );
        let summary = summary(&scratch, "stats");
        assert_eq!((&summary["srtpForged"], &summary["srtpReplayed"]), (&0.into(), &0.into()), "{name}");
    }
}

#[test]
fn ffmpeg_hears_what_the_description_with_its_key_says() {
    need(&["ffmpeg"]);
    let scratch = Scratch::new("srtp-to-ffmpeg");
    let said = said(&scratch);
    let port = free_port();
    secret(&scratch, "key", &hex(&SUITES[0]));
    let send = format!("vox-encode pcmu | vox-send --no-rtcp --srtp key --sdp call.sdp 127.0.0.1:{port}");
    scratch.run(&format!("vox-capture said.wav --duration 0.02 | {send}")).succeeded_silently();
    let mode = fs::metadata(scratch.path("call.sdp")).expect("a description").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "a description with a key");
    let receiver = scratch.spawn(
        "ffmpeg -nostdin -v error -protocol_whitelist file,udp,rtp,srtp -i call.sdp -f s16le -flush_packets 1 heard.raw",
    );
    await_udp(port);
    scratch.run(&format!("vox-capture said.wav | {send}")).succeeded_silently();
    let arrived = || is_whole(&said, &raw_samples(&fs::read(scratch.path("heard.raw")).unwrap_or_default()));
    // ffmpeg gives out what it has when the next packet comes.
    let all = await_until(Duration::from_secs(5), arrived);
    receiver.interrupt();
    let outcome = receiver.wait(LIMIT);
    assert!(all || arrived(), "{}", outcome.stderr);
}

#[test]
fn ffmpeg_is_heard() {
    need(&["ffmpeg", "python3"]);
    let scratch = Scratch::new("srtp-from-ffmpeg");
    said(&scratch);
    // Its encoder does not follow the ITU in every sample: what it makes is asked of itself.
    scratch
        .run("ffmpeg -nostdin -v error -i said.wav -c:a pcm_mulaw c.wav && ffmpeg -nostdin -v error -i c.wav -c:a pcm_s16le -f s16le coded.raw")
        .succeeded();
    let port = free_port();
    secret(&scratch, "key", &hex(&SUITES[0]));
    let receiver =
        scratch.spawn(&format!("vox-recv --srtp key --idle-timeout 1.5 --wait 20 --max-age off :{port} >heard.vox"));
    await_udp(port);
    scratch
        .run(&format!(
            "ffmpeg -nostdin -v error -re -i said.wav -c:a pcm_mulaw -payload_type 0 -f rtp \
             -srtp_out_suite AES_CM_128_HMAC_SHA1_80 -srtp_out_params \
             $(python3 -c 'import base64; key = open(\"key\").read(); \
             print(base64.b64encode(bytes.fromhex(key)).decode())') \
             'srtp://127.0.0.1:{port}?pkt_size=182'"
        ))
        .succeeded();
    receiver.wait(LIMIT).succeeded();
    let heard = heard_in_full(&scratch).samples;
    assert!(locate(&raw_samples(&fs::read(scratch.path("coded.raw")).expect("samples")), &heard).is_some());
}

#[test]
fn a_wrong_key_is_silence_and_says_why() {
    let scratch = Scratch::new("srtp-wrong-key");
    said(&scratch);
    let port = free_port();
    secret(&scratch, "key", &hex(&SUITES[0]));
    secret(&scratch, "wrong", &hex(&SUITES[0]).replace('0', "1"));
    let receiver = scratch.spawn(&format!("vox-recv --srtp wrong --idle-timeout 3 --stats stats :{port} >heard.vox"));
    await_udp(port);
    scratch.run(&format!("vox-capture said.wav | vox-encode pcmu | vox-send --srtp key 127.0.0.1:{port}")).succeeded();
    let outcome = receiver.wait(LIMIT).exited(&[5]);
    assert!(outcome.stderr.contains("no packet can be opened"), "{}", outcome.stderr);
    let summary = summary(&scratch, "stats");
    assert!(summary["srtpForged"].as_u64() >= Some(40), "{summary}");
    assert_eq!((&summary["packetsReceived"], &summary["streams"]), (&0.into(), &0.into()));
}

#[test]
fn replayed_and_forged_packets_are_dropped_and_counted() {
    let scratch = Scratch::new("srtp-replay");
    let said = said(&scratch);
    let (port, middle) = (free_port(), UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    secret(&scratch, "key", &hex(&SUITES[2]));
    let receiver = scratch.spawn(&format!(
        "vox-recv --no-rtcp --srtp key --srtp-suite AEAD_AES_128_GCM --idle-timeout 1.5 --wait 20 --max-age off --stats stats :{port} >heard.vox"
    ));
    await_udp(port);
    let to = middle.local_addr().expect("an address");
    let sender = scratch.spawn(&format!(
        "vox-capture said.wav | vox-encode pcmu | vox-send --no-rtcp --srtp key --srtp-suite AEAD_AES_128_GCM {to}"
    ));
    let (mut seen, mut buffer) = (Vec::<Vec<u8>>::new(), [0; 2048]);
    while seen.len() < 50 {
        let length = middle.recv(&mut buffer).expect("a packet");
        let mut forged = buffer[..length].to_vec();
        seen.push(forged.clone());
        forged[3] = forged[3].wrapping_add(1);
        let first = seen[seen.len() / 2].clone();
        for packet in [&buffer[..length], &forged, &first] {
            middle.send_to(packet, ("127.0.0.1", port)).expect("sent");
        }
    }
    sender.wait(LIMIT).succeeded();
    receiver.wait(LIMIT).succeeded();
    assert!(is_whole(&said, &heard_in_full(&scratch).samples));
    let summary = summary(&scratch, "stats");
    let count = |name: &str| summary[name].as_u64().unwrap_or_default();
    assert_eq!((count("srtpOpened"), count("packetsReceived")), (50, 50), "{summary}");
    // A forged number may be that of a packet seen before.
    assert_eq!(count("srtpForged") + count("srtpReplayed"), 100, "{summary}");
    assert!(count("srtpForged") >= 49 && count("srtpReplayed") >= 49, "{summary}");
}

#[test]
fn keys_that_are_none_and_files_that_others_may_read_are_told() {
    let scratch = Scratch::new("srtp-keys");
    secret(&scratch, "short", "c2hvcnQ=");
    let outcome = scratch.run("vox-recv --srtp short :1 >/dev/null").exited(&[2]);
    assert!(outcome.stderr.contains("5 bytes where AES_CM_128_HMAC_SHA1_80 takes 30"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("c2hvcnQ"), "{}", outcome.stderr);
    let outcome = scratch.run("vox-recv --srtp env:NO_SUCH_KEY :1 >/dev/null").exited(&[1]);
    assert!(outcome.stderr.contains("NO_SUCH_KEY"), "{}", outcome.stderr);
    fs::set_permissions(scratch.path("short"), fs::Permissions::from_mode(0o644)).expect("permissions");
    let outcome = scratch.run("vox-recv --srtp short :1 >/dev/null").exited(&[2]);
    assert!(outcome.stderr.contains("chmod 600"), "{}", outcome.stderr);
}
