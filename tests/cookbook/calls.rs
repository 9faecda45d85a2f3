//! Calls.

use std::thread;
use std::time::Duration;

use vox_e2e::{Card, Speech, Tape, Wav, await_until, speech};

use crate::kitchen::{Kitchen, share_heard};

const SAID: Speech = Speech::mono(48_000, 96_000);

/// So many bytes of a WAV hold most of what was said.
pub(crate) const MOST: u64 = 180_000;

/// What a tape holds on its right: what the loudspeaker played, from shortly before the first sound on.
fn loudspeaker(tape: Tape<'_>) -> Wav {
    let played: Vec<i16> = tape.stop().iter().copied().skip(1).step_by(2).collect();
    let onset = played.iter().position(|sample| sample.unsigned_abs() > 1_500).unwrap_or(0);
    Wav { rate: 48_000, channels: 1, samples: played[onset.saturating_sub(4_800)..].to_vec() }
}

/// Starts the blocks, speaks into the microphone that they hear, and gives what was said and what their loudspeakers
/// played.
fn by_sound_card(kitchen: &mut Kitchen<'_>, blocks: &[(usize, u16)]) -> (Wav, Wav) {
    let said = speech(&kitchen.scratch, "said.wav", SAID);
    let card = Card::insert(&kitchen.scratch);
    kitchen.prepare(&card.environment);
    (said, spoken(kitchen, &card, blocks))
}

/// As above, with a card that is there, and speech in `said.wav`. Port 0 is of a block that does not listen.
pub(crate) fn spoken(kitchen: &Kitchen<'_>, card: &Card, blocks: &[(usize, u16)]) -> Wav {
    let start = |&(n, port): &(usize, u16)| if port == 0 { kitchen.start(n) } else { kitchen.listen(n, port) };
    let running: Vec<_> = blocks.iter().map(start).collect();
    let tape = Tape::start(&kitchen.scratch, card);
    // Both the microphone and the loudspeaker of a server that has just been asked for them need a moment.
    thread::sleep(Duration::from_secs(1));
    kitchen.scratch.run(&format!("{}\n$promptly paplay -d mic said.wav", card.environment)).succeeded();
    tape.roll_on();
    for one in &running {
        one.interrupt();
    }
    for one in running {
        let outcome = one.wait(Duration::from_secs(20));
        // ssh has an exit code of its own for Ctrl-C.
        let good = outcome.codes.iter().all(|code| matches!(code, 0 | 255));
        assert!(good && outcome.codes.last() == Some(&0), "exit codes {:?}; {}", outcome.codes, outcome.stderr);
    }
    loudspeaker(tape)
}

pub(crate) fn hear_a_microphone(kitchen: &mut Kitchen<'_>) {
    let (said, heard) = by_sound_card(kitchen, &[(0, 5004), (1, 0)]);
    let share = share_heard(&said, &heard);
    assert!(share >= 0.5, "{share} is heard");
}

pub(crate) fn talk_to_each_other(kitchen: &mut Kitchen<'_>) {
    // Both sides hear the one microphone and play on the one loudspeaker: speech is heard twice there, a little apart.
    let (said, heard) = by_sound_card(kitchen, &[(0, 5004), (1, 5004)]);
    let energy = |wav: &Wav| wav.samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>();
    assert!(energy(&heard) > energy(&said) * 0.7, "{} of {}", energy(&heard), energy(&said));
}

#[track_caller]
pub(crate) fn is_heard(kitchen: &Kitchen<'_>, said: &Wav, file: &str) {
    let share = share_heard(said, &kitchen.wav(file));
    assert!(share >= 0.7, "{share} of it is heard in {file}");
}

pub(crate) fn play_to_somebody(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    let bob = kitchen.listen(0, 5004);
    kitchen.run(1);
    kitchen.end(bob);
    is_heard(kitchen, &said, "heard.wav");
}

pub(crate) fn whole_network(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    let bob = kitchen.join(0, "239.10.0.1", 5004);
    kitchen.run(1);
    kitchen.interrupt_when(bob, "heard.wav", MOST);
    is_heard(kitchen, &said, "heard.wav");
}

pub(crate) fn keep_strangers_out(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    kitchen.run(0);
    let bob = kitchen.listen(1, 5004);
    kitchen.run(2);
    kitchen.interrupt_when(bob, "heard.wav", MOST);
    is_heard(kitchen, &said, "heard.wav");
}

pub(crate) fn bad_network(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    let bob = kitchen.listen(0, 5004);
    let network = kitchen.listen(1, 5004);
    kitchen.run(2);
    kitchen.interrupt_when(bob, "heard.wav", MOST);
    network.interrupt();
    kitchen.end(network);
    is_heard(kitchen, &said, "heard.wav");
}

pub(crate) fn meet_in_a_room(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    let server = kitchen.listen(0, 10_000);
    let tape = kitchen.start(1);
    let begun = await_until(Duration::from_secs(20), || {
        tape.stderr().contains("tape") || kitchen.scratch.path("takes").is_dir()
    });
    assert!(begun, "{}", tape.stderr());
    kitchen.run(2);
    tape.interrupt();
    kitchen.end(tape);
    server.interrupt();
    kitchen.end(server);
    let takes = std::fs::read_dir(kitchen.scratch.path("takes")).expect("takes").flatten();
    let take = takes.map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with("-ana.wav"));
    let share = share_heard(&said, &Wav::read(&take.expect("a file for ana")));
    assert!(share >= 0.7, "{share} of it is recorded");
}

pub(crate) fn call_through_a_server(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    let server = kitchen.listen(0, 10_000);
    let bob = kitchen.start(1);
    thread::sleep(Duration::from_millis(500));
    kitchen.run(2);
    kitchen.interrupt_when(bob, "heard.wav", MOST);
    server.interrupt();
    kitchen.end(server);
    is_heard(kitchen, &said, "heard.wav");
}

pub(crate) fn bot_on_the_telephone(kitchen: &mut Kitchen<'_>) {
    let said = speech(&kitchen.scratch, "talk.wav", SAID);
    let bot = kitchen.listen(0, 8080);
    kitchen.run(1);
    bot.interrupt();
    kitchen.end(bot);
    is_heard(kitchen, &said, "heard.wav");
}

pub(crate) fn announce(kitchen: &mut Kitchen<'_>) {
    vox_e2e::need(&["espeak-ng"]);
    let bob = kitchen.listen(0, 5004);
    kitchen.run(1);
    kitchen.end(bob);
    kitchen
        .scratch
        .run("espeak-ng --stdout 'The meeting begins in five minutes' >raw.wav; sox raw.wav -r 48000 said.wav")
        .succeeded();
    is_heard(kitchen, &kitchen.wav("said.wav"), "heard.wav");
}
