//! Clients of other programs in a room: the TCP streamer, the P2P communication app, ffmpeg. They hear each other, and
//! nobody hears himself.

use std::fs;
use std::time::Duration;

use vox_e2e::{Entry, Running, Scratch, Wav, await_udp, await_until, free_port, need, raw_samples, read_vox};

const LIMIT: Duration = Duration::from_secs(40);

const STREAMER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/tcpstreamer.py");
const APP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/p2p_app.py");

#[track_caller]
fn await_word(running: &Running, word: &str) {
    assert!(await_until(LIMIT, || running.stderr().contains(word)), "no {word:?}: {}", running.stderr());
}

/// A house, and a gateway to its lobby.
fn house(scratch: &Scratch, port: u16) -> Running {
    let server = scratch.spawn(&format!("exec vox-roomd --listen 127.0.0.1:{port} -l"));
    await_word(&server, "listening on");
    server
}

fn gateway(scratch: &Scratch, arguments: &str) -> Running {
    let gateway = scratch.spawn(&format!("exec vox-gateway {arguments}"));
    await_word(&gateway, "clients connect to");
    gateway
}

/// Somebody of the room's own, once he is there.
fn await_joined(scratch: &Scratch, server: &Running, name: &str) {
    let there = await_until(LIMIT, || server.stderr().contains("JOINED: #lobby") && server.stderr().contains(name));
    assert!(there, "{name} is not in {}: {}", scratch.dir().display(), server.stderr());
}

/// Power of a frequency in what was heard, in dB of full scale: in the loudest second, and in the one in the middle of all
/// by their power (where a tone begins or ends it is of every frequency).
fn level(samples: &[i16], rate: u32, hz: u32) -> [f64; 2] {
    let second = rate as usize;
    let power = |part: &[i16]| {
        let (mut re, mut im) = (0.0, 0.0);
        let length = part.len() as f64;
        for (n, sample) in part.iter().enumerate() {
            let angle = core::f64::consts::TAU * f64::from(hz) * n as f64 / f64::from(rate);
            // A window, so that what stands beside it does not leak in.
            let window = 1.0 - (core::f64::consts::TAU * n as f64 / length).cos();
            re += window * f64::from(*sample) / 32_768.0 * angle.cos();
            im += window * f64::from(*sample) / 32_768.0 * angle.sin();
        }
        4.0 * (re * re + im * im) / (length * length)
    };
    let mut powers: Vec<f64> = samples.windows(second).step_by(second / 4).map(power).collect();
    powers.sort_by(f64::total_cmp);
    let db = |at: usize| (powers.get(at).copied().unwrap_or_default().max(1e-14).log10() * 10.0).round();
    [db(powers.len().saturating_sub(1)), db(powers.len() / 2)]
}

fn raw(scratch: &Scratch, name: &str) -> Vec<i16> {
    raw_samples(&fs::read(scratch.path(name)).unwrap_or_else(|error| panic!("{name}: {error}")))
}

// Primes: what mu-law makes of a sum of tones lies on sums and differences of their multiples, and with a common
// divisor one participant's own tone would be among them.
const STREAMER_HZ: u32 = 523;
const APP_HZ: u32 = 977;
const OWN_HZ: u32 = 1_493;
const FFMPEG_HZ: u32 = 2_131;

#[test]
fn every_dialect_hears_the_others_and_nobody_hears_himself() {
    need(&["python3", "ffmpeg"]);
    let scratch = Scratch::new("dialects");
    let (port, streamers, apps, from, to) = (free_port(), free_port(), free_port(), free_port(), free_port());
    let server = house(&scratch, port);
    let streamer_gate =
        gateway(&scratch, &format!("tcpstreamer --listen 127.0.0.1:{streamers} 127.0.0.1:{port}/lobby"));
    let app_gate = gateway(&scratch, &format!("p2p --listen 127.0.0.1:{apps} 127.0.0.1:{port}"));
    // Another one takes the first name of that program.
    let other =
        scratch.spawn(&format!("exec vox-join 127.0.0.1:{port}/lobby --name User000001 --listen-only >/dev/null"));
    await_joined(&scratch, &server, "User000001");
    let tone = |hz: u32, rate: u32| format!("sine=frequency={hz}:sample_rate={rate}:duration=7,volume=6dB");
    scratch
        .run(&format!(
            "ffmpeg -nostdin -v error -f lavfi -i '{}' -f mulaw streamer.ul\n\
             ffmpeg -nostdin -v error -f lavfi -i '{}' -f s16le app.raw\n\
             ffmpeg -nostdin -v error -f lavfi -i '{}' -c:a pcm_s16le ffmpeg.wav",
            tone(STREAMER_HZ, 8_000),
            tone(APP_HZ, 5_000),
            tone(FFMPEG_HZ, 8_000)
        ))
        .succeeded_silently();
    // A plain RTP peer: two stages at the network, and the room between them.
    scratch.run(&format!(
        "vox-capture silence: --rate 8000 --duration 0.02 | vox-encode pcmu | vox-send 127.0.0.1:{to} --sdp to-ffmpeg.sdp"
    ));
    let bridge = scratch.spawn(&format!(
        "vox-recv 127.0.0.1:{from} --idle-timeout 5 | vox-join 127.0.0.1:{port}/lobby --name ffmpeg --leave-at-end \
         | vox-jitter | vox-mix --rate 8000 --channels mono | vox-encode pcmu | vox-send 127.0.0.1:{to}"
    ));
    await_udp(from);
    let peer = scratch.spawn(
        "exec ffmpeg -nostdin -v error -protocol_whitelist file,udp,rtp -i to-ffmpeg.sdp -f s16le -t 5 ffmpeg.heard.raw",
    );
    await_udp(to);
    let own = scratch.spawn(&format!(
        "vox-capture tone:{OWN_HZ},-12 --duration 7 | vox-encode opus | vox-join 127.0.0.1:{port}/lobby --name own \
         --leave-at-end | vox-jitter | vox-mix --rate 16000 --channels mono | vox-play own.wav"
    ));
    let streamer = scratch.spawn(&format!("{STREAMER} client both {streamers} 8000 streamer.ul"));
    let app = scratch.spawn(&format!("{APP} {apps} ana lobby app.raw app.heard.raw"));
    scratch
        .run(&format!(
            "ffmpeg -nostdin -v error -re -i ffmpeg.wav -c:a pcm_mulaw -f rtp rtp://127.0.0.1:{from} >/dev/null"
        ))
        .succeeded();
    streamer.wait(LIMIT).succeeded();
    app.wait(LIMIT).succeeded();
    own.wait(LIMIT);
    peer.wait(LIMIT);
    bridge.wait(LIMIT);
    scratch
        .run("ffmpeg -nostdin -v error -f mulaw -ar 8000 -i streamer.ul.heard -f s16le streamer.heard.raw")
        .succeeded_silently();
    let own_heard = Wav::read(&scratch.path("own.wav")).samples;
    let everybody = [STREAMER_HZ, APP_HZ, OWN_HZ, FFMPEG_HZ];
    let ears = [
        ("the TCP streamer", STREAMER_HZ, raw(&scratch, "streamer.heard.raw"), 8_000),
        ("the P2P app", APP_HZ, raw(&scratch, "app.heard.raw"), 5_000),
        ("vox-join", OWN_HZ, own_heard, 16_000),
        ("ffmpeg", FFMPEG_HZ, raw(&scratch, "ffmpeg.heard.raw"), 8_000),
    ];
    for (who, own, samples, rate) in ears {
        let levels = everybody.map(|hz| (hz, level(&samples, rate, hz)));
        for (hz, [loudest, usual]) in levels {
            if hz == own {
                // 60 dB below the others, or no more than the coders and the stretching of time put beside it.
                let beside = [hz - 43, hz + 37].map(|hz| level(&samples, rate, hz)[1]);
                let floor = beside.into_iter().fold(-72.0, f64::max);
                assert!(usual < floor + 6.0, "{who} hears himself: {levels:?}, beside it {beside:?}");
            } else {
                assert!(loudest > -24.0, "{who} does not hear {hz} Hz: {levels:?}");
            }
        }
    }
    drop((streamer_gate, app_gate, other, server));
}

#[test]
fn what_a_streamer_says_reaches_the_room_untouched() {
    need(&["python3"]);
    let scratch = Scratch::new("streamer-room");
    let (port, streamers) = (free_port(), free_port());
    let server = house(&scratch, port);
    let _gate = gateway(
        &scratch,
        &format!("tcpstreamer --rate 22050 --name guest --listen 127.0.0.1:{streamers} 127.0.0.1:{port}/lobby"),
    );
    let tape = scratch.spawn(&format!("exec vox-join 127.0.0.1:{port}/lobby --name tape --listen-only >tape.vox"));
    await_joined(&scratch, &server, "tape");
    let said: Vec<u8> = (0..22_050u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(scratch.path("said.ul"), &said).expect("a file");
    scratch.run(&format!("{STREAMER} client say {streamers} 22050 said.ul")).succeeded();
    assert!(await_until(LIMIT, || server.stderr().contains("STREAMEND")), "{}", server.stderr());
    tape.interrupt();
    tape.wait(LIMIT);
    let entries = read_vox(&scratch.path("tape.vox"));
    let label = entries.iter().find_map(|entry| match entry {
        Entry::Format(_, format) => Some((format.label.clone(), format.rate.hz(), format.codec.to_string())),
        _ => None,
    });
    assert_eq!(label, Some((Some("guest1".to_owned()), 22_050, "pcmu".to_owned())));
    let heard: Vec<u8> = entries
        .iter()
        .filter_map(|entry| if let Entry::Audio { payload, .. } = entry { Some(payload.clone()) } else { None })
        .flatten()
        .collect();
    assert!(heard == said, "{} bytes of {}", heard.len(), said.len());
}
