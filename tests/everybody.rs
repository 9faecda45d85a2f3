//! Everybody in one room: a client of Voix's lines, two TCP streamers, the P2P app, ffmpeg, GStreamer and vox-join. They
//! hear each other, and nobody hears himself.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use vox_e2e::{Running, Scratch, Wav, await_until, free_port, need, raw_samples};

const LIMIT: Duration = Duration::from_secs(60);

const STREAMER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/tcpstreamer.py");
const APP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/p2p_app.py");
const TALKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/voix_talker.py");

/// How long everybody talks, in s.
const TALK: u32 = 8;

/// Primes of which no sum and no difference of three or five others, as mu-law makes them, lies within 3 Hz of one of them
/// at 8000 Hz: what it adds to the others is not taken for somebody's own voice.
const HZ: [u32; 7] = [619, 809, 1033, 1123, 1381, 1777, 2027];

/// Power of a frequency in each second of what was heard (a quarter apart), in dB of full scale, the loudest last.
fn levels(samples: &[i16], rate: u32, hz: u32) -> Vec<f64> {
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
    powers.into_iter().map(|power| (power.max(1e-14).log10() * 10.0).round()).collect()
}

fn raw(scratch: &Scratch, name: &str) -> Vec<i16> {
    raw_samples(&fs::read(scratch.path(name)).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Where a peer by plain RTP is heard.
fn peer(scratch: &Scratch, what: &str) -> u16 {
    let outcome = scratch.run(&format!("vox-roomd ctl --control ctl.sock --json peer lobby {what}")).succeeded();
    let answer: Value = serde_json::from_str(&outcome.text()).expect("JSON");
    let listens = answer["listens"].as_str().and_then(|address| address.rsplit_once(':'));
    listens.and_then(|(_, port)| port.parse().ok()).expect("a port")
}

fn house(scratch: &Scratch, port: u16, options: &str) -> Running {
    let running = scratch.spawn(&format!("exec vox-roomd --listen 127.0.0.1:{port} --control ctl.sock -l {options}"));
    assert!(await_until(LIMIT, || running.stderr().contains("listening on")), "{}", running.stderr());
    running
}

/// The voices, each as its program reads it.
fn make_voices(scratch: &Scratch) {
    let tone = |hz: u32, rate: u32| format!("sine=frequency={hz}:sample_rate={rate}:duration={TALK}");
    let [streamer, other, app, talker, ..] = HZ;
    let mulaw =
        |hz: u32, name: &str| format!("ffmpeg -nostdin -v error -f lavfi -i '{}' -f mulaw {name}", tone(hz, 8_000));
    let commands = [
        mulaw(streamer, "streamer.ul"),
        mulaw(other, "other.ul"),
        mulaw(talker, "talker.ul"),
        format!("ffmpeg -nostdin -v error -f lavfi -i '{}' -f s16le app.raw", tone(app, 5_000)),
    ];
    scratch.run(&commands.join("\n")).succeeded_silently();
}

/// What the server has recorded of the lobby's mix, once it is whole.
fn recorded(scratch: &Scratch) -> Wav {
    let files = |end: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(scratch.path("takes/lobby")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with(end)).collect()
    };
    let is_whole = |notes: &PathBuf| fs::read_to_string(notes).is_ok_and(|text| text.contains("\"length\""));
    let is_over = || !files(".jsonl").is_empty() && files(".jsonl").iter().all(is_whole);
    assert!(await_until(LIMIT, is_over), "no recording that is whole");
    // Those of single participants have their names behind the time.
    let mixed = files(".wav").into_iter().min_by_key(|path| path.as_os_str().len());
    Wav::read(&mixed.expect("a recording of the mix"))
}

#[test]
fn every_program_hears_the_others_and_nobody_hears_himself() {
    need(&["python3", "ffmpeg", "gst-launch-1.0"]);
    let scratch = Scratch::new("everybody");
    let [port, streamers, apps, to_ffmpeg, to_gst] = [(); 5].map(|()| free_port());
    make_voices(&scratch);
    let doors =
        format!("--tcpstreamer 127.0.0.1:{streamers}=lobby --p2p 127.0.0.1:{apps} --record takes --record-when asked");
    let server = house(&scratch, port, &doors);
    let ffmpeg_speaks = peer(&scratch, &format!("ffmpeg --codec pcmu --send-to 127.0.0.1:{to_ffmpeg}"));
    let gst_speaks = peer(&scratch, &format!("gst --codec opus --send-to 127.0.0.1:{to_gst}"));
    scratch.run("vox-roomd ctl --control ctl.sock sdp lobby ffmpeg >ffmpeg.sdp").succeeded();
    // Somebody has the first name of that program.
    peer(&scratch, "User000001");
    let [.., own_hz, ffmpeg_hz, gst_hz] = HZ;

    let mut listeners = Vec::new();
    listeners.push(scratch.spawn(
        "exec ffmpeg -nostdin -v error -protocol_whitelist file,udp,rtp -i ffmpeg.sdp -f s16le -t 6 ffmpeg.heard",
    ));
    listeners.push(scratch.spawn(&format!(
        "exec gst-launch-1.0 -q -e udpsrc port={to_gst} \
         caps=application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,payload=96 ! rtpopusdepay ! opusdec \
         ! audioconvert ! audioresample ! audio/x-raw,format=S16LE,rate=16000,channels=1 \
         ! filesink buffer-mode=unbuffered location=gst.heard"
    )));
    vox_e2e::await_udp(to_ffmpeg);
    vox_e2e::await_udp(to_gst);
    let own = scratch.spawn(&format!(
        "vox-capture tone:{own_hz},-18 --duration {TALK} | vox-encode opus \
         | vox-join 127.0.0.1:{port}/lobby --name own --leave-at-end | vox-jitter \
         | vox-mix --rate 16000 --channels mono | vox-play own.wav"
    ));
    let talkers = [
        format!("{STREAMER} client both {streamers} 8000 streamer.ul"),
        format!("{STREAMER} client both {streamers} 8000 other.ul"),
        format!("{APP} {apps} ana lobby app.raw app.heard"),
        format!("{TALKER} {port} talker lobby talker.ul talker.ul.heard"),
        format!(
            "exec ffmpeg -nostdin -v error -re -f lavfi -i \
             'sine=frequency={ffmpeg_hz}:sample_rate=8000:samples_per_frame=160:duration={TALK}' \
             -c:a pcm_mulaw -f rtp 'rtp://127.0.0.1:{ffmpeg_speaks}?pkt_size=172' >/dev/null"
        ),
        format!(
            "exec gst-launch-1.0 -q audiotestsrc is-live=true wave=sine freq={gst_hz} volume=0.125 samplesperbuffer=960 \
             num-buffers={} ! audio/x-raw,rate=48000,channels=1 ! opusenc ! rtpopuspay pt=96 \
             ! udpsink host=127.0.0.1 port={gst_speaks}",
            TALK * 50
        ),
    ];
    let talkers: Vec<Running> = talkers.iter().map(|talker| scratch.spawn(talker)).collect();
    for talker in talkers {
        let outcome = talker.wait(LIMIT);
        assert!(!outcome.stderr.contains("Traceback"), "{}\n{}", outcome.stderr, server.stderr());
    }
    own.wait(LIMIT);
    let gst = listeners.pop().expect("GStreamer listens");
    gst.interrupt();
    gst.wait(LIMIT);
    // It ends when it has heard six seconds.
    listeners.into_iter().for_each(|listener| drop(listener.wait(LIMIT)));
    assert!(server.stderr().contains("hello from talker"), "what is written is there too");
    let decode =
        |name: &str| format!("ffmpeg -nostdin -v error -f mulaw -ar 8000 -i {name}.ul.heard -f s16le {name}.heard");
    scratch.run(&["streamer", "other", "talker"].map(decode).join("\n")).succeeded_silently();
    let ears = [
        ("the TCP streamer", HZ[0], raw(&scratch, "streamer.heard"), 8_000),
        ("the other TCP streamer", HZ[1], raw(&scratch, "other.heard"), 8_000),
        ("the P2P app", HZ[2], raw(&scratch, "app.heard"), 5_000),
        ("the client of Voix's lines", HZ[3], raw(&scratch, "talker.heard"), 8_000),
        ("vox-join", own_hz, Wav::read(&scratch.path("own.wav")).samples, 16_000),
        ("ffmpeg", ffmpeg_hz, raw(&scratch, "ffmpeg.heard"), 8_000),
        ("GStreamer", gst_hz, raw(&scratch, "gst.heard"), 16_000),
    ];
    for (who, own, samples, rate) in ears {
        assert!(samples.len() > 3 * rate as usize, "{who} hears {} samples", samples.len());
        for hz in HZ {
            let levels = levels(&samples, rate, hz);
            let (usual, loudest) = (levels[levels.len() / 2], levels[levels.len() - 1]);
            if hz != own {
                assert!(loudest > -28.0, "{who} does not hear {hz} Hz: {levels:?}");
                continue;
            }
            // 60 dB below the -18 dB at which he talks, or no more than what the coders put beside it.
            let beside = [hz - 11, hz + 12].map(|hz| self::levels(&samples, rate, hz));
            let floor = beside.iter().map(|beside| beside[beside.len() / 2]).fold(-78.0, f64::max);
            assert!(usual < floor + 6.0, "{who} hears himself: {levels:?}, beside it {beside:?}");
        }
    }
    // The app has asked for a recording while it talked: the server has made it, and everybody is in it.
    let take = recorded(&scratch);
    for hz in HZ {
        let loudest = levels(&take.left(), take.rate, hz).pop();
        assert!(loudest.is_some_and(|level| level > -28.0), "{hz} Hz is not in the recording: {loudest:?}");
    }
}
