//! Pictures show what is there, and the page's edits are what vox-edit makes.

use std::fs;
use std::process::Command;
use std::time::Instant;

use vox_e2e::{Scratch, Speech, Wav, need, speech};

#[test]
fn every_kind_of_file_is_drawn_every_way() {
    let scratch = Scratch::new("wave-kinds");
    need(&["ffprobe"]);
    speech(&scratch, "said.wav", Speech::stereo(48_000, 150_000));
    scratch
        .run("vox-capture said.wav | vox-encode opus >said.vox; vox-record said.opus <said.vox")
        .succeeded_silently();
    for file in ["said.wav", "said.vox", "said.opus"] {
        let text = scratch.run(&format!("vox-wave {file}")).succeeded_silently().text();
        assert!(text.contains("48000 Hz stereo  0:03.125") && text.lines().count() == 9, "{text}");
        for (picture, extra) in [("a.png", ""), ("s.png", "--spectrogram"), ("a.svg", ""), ("s.svg", "--spectrogram")] {
            scratch.run(&format!("vox-wave {file} -o {picture} {extra} --width 600")).succeeded_silently();
            let bytes = fs::read(scratch.path(picture)).expect("a picture");
            if picture.ends_with("png") {
                let probe = Command::new("ffprobe")
                    .args(["-v", "error", "-show_entries", "stream=width", "-of", "csv=p=0"])
                    .arg(scratch.path(picture))
                    .output()
                    .expect("ffprobe runs");
                assert_eq!(String::from_utf8_lossy(&probe.stdout).trim(), "600", "{picture} of {file}");
            } else {
                let text = String::from_utf8(bytes).expect("text");
                let drawn = if extra.is_empty() { "<path" } else { "<image" };
                assert!(text.starts_with("<svg") && text.ends_with("</svg>\n") && text.contains(drawn), "{picture}");
            }
        }
    }
    let piped = scratch.run("vox-capture said.wav | vox-wave -").succeeded_silently().text();
    assert!(piped.contains("pcm_s16le"), "{piped}");
}

#[test]
fn gaps_are_red_and_counted() {
    let scratch = Scratch::new("wave-gaps");
    speech(&scratch, "said.wav", Speech::mono(48_000, 150_000));
    let lossy = "vox-capture said.wav | vox-impair perfect --loss 10% --seed 4 | vox-jitter --virtual";
    scratch.run(&format!("{lossy} >gaps.vox")).succeeded();
    scratch.run("vox-wave gaps.vox -o gaps.svg; vox-wave said.wav -o whole.svg").succeeded_silently();
    let svg = |name: &str| fs::read_to_string(scratch.path(name)).expect("a picture");
    assert!(svg("gaps.svg").contains("#d62728") && svg("gaps.svg").contains(" gaps, "));
    assert!(!svg("whole.svg").contains("#d62728"));
    let text = scratch.run("vox-wave gaps.vox --color always").succeeded_silently().text();
    assert!(text.contains('×') && text.contains("\x1b[31m"), "{text}");
}

#[test]
fn two_files_are_laid_above_each_other_by_their_offset() {
    let scratch = Scratch::new("wave-offset");
    let said = speech(&scratch, "said.wav", Speech::mono(48_000, 200_000));
    for late in [0, 1, 4_801, 48_000] {
        let mut samples = vec![0; late];
        samples.extend(said.samples.iter().map(|sample| sample / 2));
        Wav { samples, ..said.clone() }.write(&scratch.path("late.wav"));
        let said_so = scratch.run("vox-wave said.wav late.wav").succeeded().stderr;
        let expected = format!("late.wav is {:.3} ms later than said.wav", late as f64 / 48.0);
        assert!(said_so.contains(&expected), "{late}: {said_so}");
    }
}

/// What a hand does on the page, in the page's own words.
const HAND: &str = r#"<script>
addEventListener("load", () => {
  const c = document.getElementById("wave"), box = c.getBoundingClientRect();
  const x = t => t / length * c.clientWidth;
  const fire = (type, at) => c.dispatchEvent(new PointerEvent(type,
    { clientX: box.left + c.clientLeft + at, clientY: box.top + 60, bubbles: true, pointerId: 1 }));
  const drag = (a, b) => { fire("pointerdown", x(a)); fire("pointermove", x(b)); fire("pointerup", x(b)); };
  drag(1.5, 2); document.getElementById("cut").click();
  drag(3, 3.5); document.getElementById("gain").click();
  drag(0, .5); document.getElementById("fadein").click();
  drag(2.2, 2.4); document.getElementById("silence").click();
  const result = render(true, 0, length)[0];
  const samples = Array.from(result.channels[0].subarray(0, result.count), s => Math.round(s * 32768));
  const out = document.createElement("pre");
  out.id = "result"; out.textContent = samples.join(" ");
  document.body.append(out);
});
</script>"#;

#[test]
fn an_edit_made_in_the_page_is_what_vox_edit_makes() {
    let scratch = Scratch::new("wave-page");
    speech(&scratch, "said.wav", Speech::mono(8_000, 40_000));
    scratch.run("vox-wave said.wav -o page.html").succeeded_silently();
    let page = fs::read_to_string(scratch.path("page.html")).expect("a page");
    assert!(!page.contains("http://") && !page.contains("https://"), "the page needs nothing from elsewhere");
    need(&["chromium"]);
    fs::write(scratch.path("driven.html"), page + HAND).expect("a page");
    // A browser that asks nobody for anything.
    let alone = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"];
    let done = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1300,520", "--dump-dom"])
        .args(alone)
        .arg("--virtual-time-budget=3000")
        .arg(format!("--user-data-dir={}", scratch.path("profile").display()))
        .arg(format!("file://{}", scratch.path("driven.html").display()))
        .output()
        .expect("the browser runs");
    let dom = String::from_utf8_lossy(&done.stdout);
    let inside = |id: &str| {
        let (_, rest) = dom.split_once(&format!("<pre id=\"{id}\">")).unwrap_or_else(|| panic!("no {id} in:\n{dom}"));
        rest.split_once("</pre>").expect("its end").0.to_owned()
    };
    let list = inside("list");
    assert_eq!(list.lines().count(), 4, "{list}");
    let expected: Vec<i32> = inside("result").split(' ').map(|sample| sample.parse().expect("a number")).collect();
    fs::write(scratch.path("said.wav.edit"), list).expect("a list");
    scratch.run("vox-capture said.wav | vox-edit said.wav.edit | vox-play out.wav").succeeded_silently();
    let out = Wav::read(&scratch.path("out.wav"));
    assert_eq!(out.frames(), expected.len());
    let worst = out.samples.iter().zip(&expected).map(|(a, b)| (i32::from(*a) - b).abs()).max();
    assert!(worst <= Some(1), "off by {worst:?}");
}

#[test]
fn an_hour_is_drawn_in_bounded_memory() {
    let scratch = Scratch::new("wave-hour");
    // Ten minutes here; scripts/bench draws the hour.
    scratch.run("vox-capture tone:440 --rate 48000 --duration 600 | vox-record hour.wav").succeeded_silently();
    let began = Instant::now();
    scratch.run("ulimit -v 600000; vox-wave hour.wav -o hour.png").succeeded_silently();
    assert!(began.elapsed().as_secs() < 20);
}
