//! Every pipeline of `docs/cookbook.md` is run as it stands on the page, and does what the page says.

mod calls;
mod files;
mod kitchen;
mod mixing;
mod page;
mod relays;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kitchen::{Kitchen, share_heard};
use page::{Recipe, recipes};
use vox_e2e::{Scratch, Speech, Wav, speech};

/// Recipes that are cooked at a time: most of them wait for real time to pass.
const COOKS: usize = 5;

/// What a recipe of the page must bring about.
type Cook = fn(&mut Kitchen<'_>);

const WITH_SOUND_CARD: &[(&str, Cook)] = &[
    ("Hear a microphone elsewhere", calls::hear_a_microphone),
    ("Talk to each other", calls::talk_to_each_other),
    ("Through ssh", relays::through_ssh),
];

/// The longest first, so that none is left over at the end.
const COOKBOOK: &[(&str, Cook)] = &[
    ("Write down what was said", mixing::write_down),
    ("Meet in a room", calls::meet_in_a_room),
    ("Call somebody through a server", calls::call_through_a_server),
    ("A bot on the telephone", calls::bot_on_the_telephone),
    ("Announce something in a spoken voice", calls::announce),
    ("Play a recording to somebody, in real time", calls::play_to_somebody),
    ("Keep the packets, hear them later", files::keep_the_packets),
    ("From ffmpeg", relays::from_ffmpeg),
    ("To any player", relays::to_any_player),
    ("Get through a bad network", calls::bad_network),
    ("Everybody on one time line", files::one_time_line),
    ("To a telephone", relays::to_a_telephone),
    ("Where no UDP gets through", relays::no_udp),
    ("Speak to a whole network", calls::whole_network),
    ("Keep strangers out", calls::keep_strangers_out),
    ("From one to many", relays::one_to_many),
    ("Two senders into one ear", relays::two_into_one),
    ("A session again, faster", files::session_faster),
    ("A file into Ogg Opus", files::into_ogg_opus),
    ("A new file every so often", files::new_file_every_so_often),
    ("A file for each thing that is said", files::each_thing_said),
    ("Mend a recording that was cut off", files::mend),
    ("Cut, quieten, fade", files::cut_quieten_fade),
    ("Look at it", files::look_at_it),
    ("Is it still good behind that network?", files::still_good),
    ("The same noise every time", files::same_noise),
    ("Count what was lost", files::count_lost),
    ("Fail when too much is lost", files::fail_when_lost),
    ("Music under a voice", mixing::music_under_a_voice),
    ("Everybody hears all the others", mixing::all_the_others),
    ("Another program in the middle", mixing::another_program),
    ("Watch the level while it plays", mixing::watch_the_level),
];

fn page() -> Vec<Recipe> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cookbook.md");
    recipes(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

#[test]
fn every_recipe_of_the_page_is_tested() {
    let page = page();
    assert!(page.len() >= 25, "{} recipes", page.len());
    let tested: Vec<&str> = WITH_SOUND_CARD.iter().chain(COOKBOOK).map(|(title, _)| *title).collect();
    for recipe in &page {
        assert!(!recipe.blocks.is_empty(), "\"{}\" has no pipeline", recipe.title);
        assert!(tested.contains(&recipe.title.as_str()), "nobody tests \"{}\"", recipe.title);
    }
    for title in tested {
        assert!(page.iter().any(|recipe| recipe.title == title), "\"{title}\" is not on the page");
    }
}

#[test]
fn what_was_not_said_is_not_heard() {
    let scratch = Scratch::new("cookbook-ear");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 96_000));
    let backwards = Wav { samples: said.samples.iter().rev().copied().collect(), ..said.clone() };
    scratch.run("vox-capture said.wav | vox-encode opus | vox-play coded.wav").succeeded();
    let coded = share_heard(&said, &Wav::read(&scratch.path("coded.wav")));
    let other = share_heard(&said, &backwards);
    assert!(coded > 0.9 && other < 0.3, "{coded} of it is heard, and {other} backwards");
}

/// `VOX_RECIPE=room` cooks only those with the word in their title.
#[test]
fn every_recipe_does_what_the_page_says() {
    let page = page();
    let wanted = std::env::var("VOX_RECIPE").unwrap_or_default();
    let of = |recipes: &'static [(&'static str, Cook)]| -> Vec<(&'static str, Cook)> {
        recipes.iter().copied().filter(|(title, _)| title.contains(&wanted)).collect()
    };
    // A sound card is a matter of time: it is alone while it is in use.
    let spoiled = [cook(&page, &of(WITH_SOUND_CARD), 1), cook(&page, &of(COOKBOOK), COOKS)].concat();
    assert!(spoiled.is_empty(), "these recipes fail: {spoiled:?}");
}

/// Cooks so many at a time; gives the titles of those that failed.
fn cook(page: &[Recipe], menu: &[(&'static str, Cook)], cooks: usize) -> Vec<&'static str> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut spoiled = Vec::new();
        while let Some(&(title, cook)) = menu.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(at) = page.iter().position(|recipe| recipe.title == title) else { continue };
            let mut kitchen = Kitchen::new(&page[at], at);
            // The first failure must not keep the others from being seen.
            let done = catch_unwind(AssertUnwindSafe(move || cook(&mut kitchen)));
            spoiled.extend(done.is_err().then_some(title));
        }
        spoiled
    };
    thread::scope(|scope| {
        let cooks: Vec<_> = (0..cooks).map(|_| scope.spawn(work)).collect();
        cooks.into_iter().flat_map(|cook| cook.join().expect("a cook survives his recipes")).collect()
    })
}
