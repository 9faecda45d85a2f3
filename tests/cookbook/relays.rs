//! Relays and transcoders.

use vox_e2e::{Card, Entry, Speech, Sshd, Wav, need, read_vox, speech};

use crate::calls::{MOST, is_heard, spoken};
use crate::kitchen::{Kitchen, share_heard};

const SAID: Speech = Speech::mono(48_000, 96_000);
const TELEPHONE: Speech = Speech::mono(8_000, 12_000);

fn payload_bytes(kitchen: &Kitchen<'_>, file: &str) -> Vec<u8> {
    let entries = read_vox(&kitchen.scratch.path(file));
    let payloads = entries.into_iter().filter_map(|entry| match entry {
        Entry::Audio { payload, .. } => Some(payload),
        _ => None,
    });
    payloads.flatten().collect()
}

pub(crate) fn one_to_many(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", TELEPHONE);
    let (ana, bob) = (kitchen.listen(1, 5004), kitchen.listen(2, 5004));
    let relay = kitchen.listen(0, 5004);
    kitchen.run(3);
    kitchen.interrupt_when(ana, "ana.vox", 12_500);
    kitchen.interrupt_when(bob, "bob.vox", 12_500);
    relay.interrupt();
    kitchen.end(relay);
    let heard = payload_bytes(kitchen, "ana.vox");
    assert_eq!(heard.len(), said.frames(), "bytes of mu-law");
    assert!(heard == payload_bytes(kitchen, "bob.vox"), "both hear the same packets");
}

pub(crate) fn two_into_one(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", TELEPHONE);
    let bob = kitchen.listen(0, 5006);
    let tone = kitchen.start(2);
    kitchen.run(1);
    kitchen.end(tone);
    kitchen.interrupt_when(bob, "heard.wav", 30_000);
    is_heard(kitchen, &said, "heard.wav");
    // The tone lasts longer than the speech, and is -30 dB at its peak: 1036.
    let heard = kitchen.wav("heard.wav").left();
    let windows = heard.chunks_exact(400).map(|window| window.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0));
    let alone = windows.filter(|peak| (900..1_200).contains(peak)).count();
    assert!(alone >= 3, "the tone is there alone for {alone} windows of 50 ms");
}

pub(crate) fn no_udp(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    let bob = kitchen.listen(0, 5004);
    kitchen.run(1);
    kitchen.interrupt_when(bob, "heard.wav", MOST);
    is_heard(kitchen, &said, "heard.wav");
}

pub(crate) fn to_a_telephone(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    let bob = kitchen.listen(1, 5004);
    let gateway = kitchen.listen(0, 5004);
    kitchen.run(2);
    kitchen.interrupt_when(bob, "phone.vox", 14_000);
    gateway.interrupt();
    kitchen.end(gateway);
    let format = read_vox(&kitchen.scratch.path("phone.vox")).into_iter().find_map(|entry| match entry {
        Entry::Format(_, format) => Some(format),
        _ => None,
    });
    let format = format.expect("a stream");
    assert_eq!((format.codec, format.rate.hz()), (vox_frame::Codec::Pcmu, 8_000));
    kitchen.scratch.run("vox-play phone.wav <phone.vox").succeeded();
    is_heard(kitchen, &said, "phone.wav");
}

pub(crate) fn to_any_player(kitchen: &mut Kitchen<'_>) {
    need(&["ffmpeg"]);
    let said = speech(&kitchen.scratch, "talk.wav", Speech::mono(48_000, 192_000));
    let ana = kitchen.start(0);
    let described = vox_e2e::await_until(std::time::Duration::from_secs(10), || kitchen.size("talk.sdp") > 0);
    assert!(described, "{}", ana.stderr());
    kitchen.run(1);
    kitchen.end(ana);
    let heard = kitchen.wav("heard.wav");
    let part = Wav { samples: heard.left(), rate: heard.rate, channels: 1 };
    // A second from somewhere: what was heard is sought in what was said.
    let share = share_heard(&part, &said);
    assert!(share >= 0.6, "{share} of the second that was heard was said");
}

pub(crate) fn from_ffmpeg(kitchen: &mut Kitchen<'_>) {
    need(&["ffmpeg"]);
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    let bob = kitchen.listen(0, 5004);
    kitchen.run(1);
    kitchen.end(bob);
    is_heard(kitchen, &said, "heard.wav");
}

pub(crate) fn through_ssh(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "said.wav", SAID);
    let card = Card::insert(&kitchen.scratch);
    // What makes programs use the card has to reach those behind ssh too.
    let variables = kitchen.scratch.run(&format!("{}\nenv", card.environment)).succeeded().text();
    let of_card = |line: &&str| line.starts_with("XDG_RUNTIME_DIR=") || line.starts_with("ALSA_CONFIG_PATH=");
    let variables: Vec<String> = variables.lines().filter(of_card).map(str::to_owned).collect();
    let server = Sshd::start(&kitchen.scratch, &variables);
    kitchen.prepare(&card.environment);
    kitchen.prepare(&server.environment);
    let heard = spoken(kitchen, &card, &[(0, 0)]);
    let share = share_heard(&said, &heard);
    assert!(share >= 0.5, "{share} is heard; {}", server.stderr());
}
