//! A room that the server mixes and records: who asked for one stream hears everybody else in it, sample by sample, and
//! the files hold what was said.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use vox_e2e::{
    Entry, Running, Scratch, Wav, await_until, free_port, read_so_far, read_vox, room_server, signal, udp_is_bound,
};
use vox_frame::StreamId;

const PATIENCE: Duration = Duration::from_secs(30);

/// By how much the place of what is heard may move, in samples. It does not, unless this machine holds up a sender: the
/// silence that makes is a chance to come nearer to the fastest packets.
const HELD_UP: i64 = 800;

/// Somebody who listens, once he does.
fn listener(scratch: &Scratch, server: &Running, port: u16, name: &str, options: &str) -> Running {
    let running = scratch
        .spawn(&format!("exec vox-join 127.0.0.1:{port}/lobby --name {name} --listen-only {options} >{name}.vox"));
    let begun = || fs::metadata(scratch.path(&format!("{name}.vox"))).is_ok_and(|file| file.len() > 0);
    assert!(await_until(PATIENCE, begun), "{} {}", running.stderr(), server.stderr());
    running
}

/// Somebody who says noise of that seed and hears a mix.
fn talker(scratch: &Scratch, port: u16, name: &str, seed: u32, options: &str) -> Running {
    scratch.spawn(&format!(
        "vox-capture noise:{seed} --duration 3 --rate 8000 | vox-encode l16 | \
         exec vox-join 127.0.0.1:{port}/lobby --name {name} --mix L16/8000 {options} >{name}.vox"
    ))
}

fn samples(payload: &[u8]) -> Vec<i16> {
    payload.chunks_exact(2).map(|two| i16::from_be_bytes([two[0], two[1]])).collect()
}

/// The streams of a label: what came, by media time.
fn packets(entries: &[Entry], label: &str) -> BTreeMap<u64, Vec<i16>> {
    let of = |entry: &Entry| match entry {
        Entry::Format(id, format) if format.label.as_deref() == Some(label) => Some(*id),
        _ => None,
    };
    let ids: Vec<StreamId> = entries.iter().filter_map(of).collect();
    let audio = entries.iter().filter_map(|entry| match entry {
        Entry::Audio { id, timestamp, payload, .. } if ids.contains(id) => Some((*timestamp, samples(payload))),
        _ => None,
    });
    audio.collect()
}

/// How many packets of what was said are heard, bit for bit, and how far apart in the earliest and the latest case.
#[derive(Debug)]
struct Share {
    said: usize,
    heard: Vec<(u64, i64)>,
}

impl Share {
    /// Looks for each packet in what was heard, which is one line of samples by media time.
    fn of(said: &BTreeMap<u64, Vec<i16>>, heard: &BTreeMap<u64, Vec<i16>>) -> Self {
        let mut line: Vec<(u64, i16)> = Vec::new();
        for (at, samples) in heard {
            line.extend((*at..).zip(samples.iter().copied()));
        }
        let mut places: BTreeMap<[i16; 8], usize> = BTreeMap::new();
        for (n, window) in line.windows(8).enumerate() {
            places.insert(std::array::from_fn(|at| window[at].1), n);
        }
        let find = |samples: &[i16]| {
            let begin: [i16; 8] = samples.get(..8)?.try_into().ok()?;
            let n = *places.get(&begin)?;
            let found = line.get(n..n + samples.len())?;
            let together = found[found.len() - 1].0 - found[0].0 == samples.len() as u64 - 1;
            (together && found.iter().map(|(_, sample)| *sample).eq(samples.iter().copied())).then_some(found[0].0)
        };
        let places = said.iter().filter_map(|(at, samples)| Some((*at, find(samples)?)));
        Self { said: said.len(), heard: places.map(|(at, place)| (at, place as i64 - at as i64)).collect() }
    }

    fn is(&self, of_hundred: usize, at_least: usize) -> bool {
        self.said >= at_least && self.heard.len() * 100 >= self.said * of_hundred
    }

    /// By how many samples the place of what was heard moved, at most.
    fn spread(&self) -> i64 {
        let lags = || self.heard.iter().map(|(_, lag)| *lag);
        lags().max().unwrap_or(0) - lags().min().unwrap_or(0)
    }
}

fn so_far(scratch: &Scratch, name: &str, label: &str) -> BTreeMap<u64, Vec<i16>> {
    packets(&read_so_far(&scratch.path(&format!("{name}.vox"))), label)
}

#[test]
fn who_asks_for_a_mix_hears_the_other_bit_for_bit_and_nothing_of_himself() {
    let scratch = Scratch::new("room-mix");
    let port = free_port();
    // So far behind that no load of this machine makes a packet late.
    let server = room_server(&scratch, port, "--mix-delay 2s");
    let tape = listener(&scratch, &server, port, "tape", "");
    let ana = talker(&scratch, port, "ana", 1, "");
    let bob = talker(&scratch, port, "bob", 2, "--carrier tcp");
    let share = |listener: &str, speaker: &str| {
        Share::of(&so_far(&scratch, "tape", speaker), &so_far(&scratch, listener, "#lobby"))
    };
    let heard = await_until(PATIENCE, || share("ana", "bob").is(80, 149) && share("bob", "ana").is(80, 149));
    assert!(heard, "{:?} {:?} {}", share("ana", "bob"), share("bob", "ana"), server.stderr());
    for (listener, speaker) in [("ana", "bob"), ("bob", "ana")] {
        let spread = share(listener, speaker).spread();
        assert!(spread <= HELD_UP, "{listener} hears {speaker} as he spoke, by time: {spread}");
        assert_eq!(share(listener, listener).heard, [], "{listener} hears himself");
    }
    [ana, bob, tape].into_iter().for_each(|running| {
        running.interrupt();
        running.wait(PATIENCE);
    });
    for name in ["ana", "bob"] {
        let labels: Vec<Option<String>> = read_vox(&scratch.path(&format!("{name}.vox")))
            .iter()
            .filter_map(|entry| match entry {
                Entry::Format(_, format) => Some(format.label.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(labels, [Some("#lobby".to_owned())], "one stream for {name}");
    }
}

/// Stands between clients and the server, and says that voice goes to another port.
fn redirect(from: u16, port: u16, voice: u16) {
    let listener = TcpListener::bind(("127.0.0.1", from)).expect("a port");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
            let pass = |from: TcpStream, mut to: TcpStream| {
                let told = format!(" 127.0.0.1:{} ", port + 1);
                move || {
                    let mut reader = BufReader::new(from);
                    let mut line = Vec::new();
                    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                        let text = String::from_utf8_lossy(&line);
                        let text = text.replace(&told, &format!(" 127.0.0.1:{voice} "));
                        if to.write_all(text.as_bytes()).is_err() {
                            break;
                        }
                        line.clear();
                    }
                    let _gone = to.shutdown(Shutdown::Both);
                }
            };
            let clones = (client.try_clone(), server.try_clone());
            let (Ok(client_too), Ok(server_too)) = clones else { return };
            thread::spawn(pass(client, server_too));
            thread::spawn(pass(server, client_too));
        }
    });
}

#[test]
fn loss_and_jitter_make_a_mix_neither_longer_nor_shorter() {
    let scratch = Scratch::new("room-mix-loss");
    let port = free_port();
    let server = room_server(&scratch, port, "--mix-delay 2s");
    let tape = listener(&scratch, &server, port, "tape", "--carrier tcp");
    let mut all = vec![tape];
    for (name, seed) in [("ana", 1), ("bob", 2)] {
        let (door, voice) = (free_port(), free_port());
        all.push(scratch.spawn(&format!(
            "exec vox-impair --udp :{voice}=127.0.0.1:{} --loss 5% --jitter uniform:30ms --seed {seed}",
            port + 1
        )));
        assert!(await_until(PATIENCE, || udp_is_bound(voice)));
        redirect(door, port, voice);
        all.push(talker(&scratch, door, name, seed, "--carrier udp"));
    }
    let share = |listener: &str, speaker: &str| {
        Share::of(&so_far(&scratch, "tape", speaker), &so_far(&scratch, listener, "#lobby"))
    };
    // What was lost on either way, and what follows it within the concealment, is not the same bits: the rest is.
    let heard = await_until(PATIENCE, || share("ana", "bob").is(60, 120) && share("bob", "ana").is(60, 120));
    assert!(heard, "{:?} {:?} {}", share("ana", "bob"), share("bob", "ana"), server.stderr());
    for (listener, speaker) in [("ana", "bob"), ("bob", "ana")] {
        let share = share(listener, speaker);
        assert!(share.said < 150, "some of it was lost");
        assert!(share.spread() <= HELD_UP, "{listener} hears {speaker}: {share:?}");
        let (first, last) = (share.heard[0].0, share.heard[share.heard.len() - 1].0);
        assert!(last - first > 2 * 8_000, "from beginning to end: {share:?}");
    }
    for running in all {
        running.interrupt();
        running.wait(PATIENCE);
    }
}

fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).map(|all| all.flatten().map(|file| file.path()).collect()).unwrap_or_default();
    let mut all: Vec<PathBuf> = all;
    all.retain(|file| file.to_string_lossy().ends_with(end));
    all.sort();
    all
}

/// How much of what was said a WAV holds, by energy: a sender that was held up by the machine is put in its place by
/// resampling, which leaves no bit as it was.
fn holds(wav: &Wav, said: &Wav) -> f64 {
    let energy = |wav: &Wav| wav.left().iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
    energy(wav) / energy(said)
}

#[test]
fn a_server_records_its_rooms_until_they_forbid_it() {
    let scratch = Scratch::new("room-takes");
    let port = free_port();
    let server = room_server(&scratch, port, "--record takes");
    for (name, seed) in [("ana", 1), ("bob", 2)] {
        scratch
            .run(&format!("vox-capture noise:{seed} --duration 2 --rate 8000 | tee {name}.vox | vox-play {name}.wav"))
            .succeeded();
    }
    let say = |name: &str, said: &str| {
        format!("vox-encode l16 <{said}.vox | vox-join 127.0.0.1:{port}/lobby --name {name} --send-only")
    };
    let talking = scratch.spawn(&say("ana", "ana"));
    scratch.run(&say("bob", "bob")).succeeded();
    talking.wait(PATIENCE).succeeded();
    let lobby = scratch.path("takes/lobby");
    let is_over = || {
        let notes = files(&lobby, ".jsonl");
        let whole = |file: &PathBuf| fs::read_to_string(file).is_ok_and(|text| text.contains("\"length\""));
        let there = |name: &str| !files(&lobby, &format!("_{name}.wav")).is_empty();
        !notes.is_empty() && notes.iter().all(whole) && there("ana") && there("bob")
    };
    assert!(await_until(PATIENCE, is_over), "{}", server.stderr());
    assert!(server.stderr().contains("RECORD #lobby: on server"), "everybody is told");
    let wavs = files(&lobby, ".wav");
    // They may have been there one after the other: then there are two recordings.
    let of = |name: &str| -> Vec<&PathBuf> {
        wavs.iter().filter(|file| file.to_string_lossy().ends_with(&format!("_{name}.wav"))).collect()
    };
    for name in ["ana", "bob"] {
        let said = Wav::read(&scratch.path(&format!("{name}.wav")));
        let held: f64 = of(name).iter().map(|file| holds(&Wav::read(file), &said)).sum();
        assert!((0.8..1.25).contains(&held), "{name}: {held} of what was said");
        let take = Wav::read(of(name)[0]);
        let mixed = of(name)[0].to_string_lossy().replace(&format!("_{name}.wav"), ".wav");
        let mix = Wav::read(Path::new(&mixed));
        assert_eq!((take.rate, mix.rate), (8_000, 48_000));
        assert!((take.left().len() * 6).abs_diff(mix.left().len()) <= 6, "all files are equally long");
        assert!(mix.left().iter().any(|sample| sample.unsigned_abs() > 1_000), "the mix holds sound");
    }
    scratch.run(&format!("vox-roomd ctl --port {port} forbid '#lobby'")).succeeded();
    let before = files(&lobby, ".wav").len();
    scratch.run(&say("eve", "ana")).succeeded();
    assert_eq!(files(&lobby, ".wav").len(), before, "a room that forbids it is not recorded");
    server.interrupt();
    server.wait(PATIENCE);
}

#[test]
fn a_server_that_is_killed_leaves_whole_recordings() {
    let scratch = Scratch::new("room-takes-killed");
    let port = free_port();
    let server = room_server(&scratch, port, "--record takes");
    let talking = scratch.spawn(&format!(
        "vox-capture noise: --duration 60 --rate 8000 | vox-encode pcmu | \
         vox-join 127.0.0.1:{port}/lobby --name ana --send-only"
    ));
    let size = |end: &str| {
        files(&scratch.path("takes/lobby"), end)
            .first()
            .and_then(|file| fs::metadata(file).ok())
            .map_or(0, |file| file.len())
    };
    let written = || size("_ana.wav") > 3 * 16_000;
    assert!(await_until(PATIENCE, written), "{}", server.stderr());
    signal(server.pid_of("vox-roomd"), Signal::KILL);
    server.wait(PATIENCE);
    for file in files(&scratch.path("takes/lobby"), ".wav") {
        let wav = Wav::read(&file);
        let seconds = wav.left().len() as f64 / f64::from(wav.rate);
        assert!(seconds >= 2.0, "{}: {seconds} s", file.display());
    }
    assert_eq!(files(&scratch.path("takes/lobby"), ".wav").len(), 2);
    talking.wait(PATIENCE);
}
