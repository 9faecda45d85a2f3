//! Where a recipe is cooked: a scratch folder in which all hosts of the page are this one, each with ports of its own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use vox_e2e::{Outcome, Running, Scratch, Wav, await_until, free_port, udp_is_bound};

use crate::page::{Block, Recipe};

const LIMIT: Duration = Duration::from_secs(40);

/// The port of a room server that is named without one.
const ROOMS: u16 = 10_000;

pub(crate) struct Kitchen<'a> {
    pub(crate) scratch: Scratch,
    recipe: &'a Recipe,
    /// Lines before every script, such as the environment of a sound card.
    before: String,
    ports: RefCell<BTreeMap<(String, u16), u16>>,
}

impl<'a> Kitchen<'a> {
    pub(crate) fn new(recipe: &'a Recipe, number: usize) -> Self {
        let scratch = Scratch::new(&format!("cookbook-{number}"));
        Self { scratch, recipe, before: String::new(), ports: RefCell::default() }
    }

    /// Runs shell lines before those of every block from now on.
    pub(crate) fn prepare(&mut self, lines: &str) {
        self.before.push_str(lines);
        self.before.push('\n');
    }

    /// Starts what block `n` of the recipe says.
    pub(crate) fn start(&self, n: usize) -> Running {
        let block = self.recipe.blocks.get(n).unwrap_or_else(|| panic!("\"{}\" has no block {n}", self.recipe.title));
        self.scratch.spawn(&format!("{}{}", self.before, self.at_home(block)))
    }

    /// What block `n` says, as it is typed here.
    pub(crate) fn script(&self, n: usize) -> String {
        self.at_home(&self.recipe.blocks[n])
    }

    /// Starts block `n`, which listens at that port of its host, and waits until it does.
    #[track_caller]
    pub(crate) fn listen(&self, n: usize, port: u16) -> Running {
        let running = self.start(n);
        let local = self.port(&self.recipe.blocks[n].host, port);
        self.await_listener(&running, local);
        running
    }

    /// Starts block `n`, which joins a group, and waits until it has.
    #[track_caller]
    pub(crate) fn join(&self, n: usize, group: &str, port: u16) -> Running {
        let running = self.start(n);
        self.await_listener(&running, self.port(group, port));
        running
    }

    #[track_caller]
    fn await_listener(&self, running: &Running, port: u16) {
        let listens = await_until(LIMIT, || udp_is_bound(port) || tcp_listens(port));
        assert!(listens, "nobody listens: {}", running.stderr());
    }

    /// Runs block `n` to its end, which is good.
    #[track_caller]
    pub(crate) fn run(&self, n: usize) -> Outcome {
        self.start(n).wait(LIMIT).succeeded()
    }

    /// Waits for the end, which is good.
    #[track_caller]
    pub(crate) fn end(&self, running: Running) -> Outcome {
        running.wait(LIMIT).succeeded()
    }

    /// Waits until a file has so many bytes, then presses Ctrl-C and waits for the end, which is good.
    #[track_caller]
    pub(crate) fn interrupt_when(&self, running: Running, file: &str, bytes: u64) {
        assert!(
            await_until(LIMIT, || self.size(file) >= bytes),
            "{file} has {}: {}",
            self.size(file),
            running.stderr()
        );
        running.interrupt();
        self.end(running);
    }

    pub(crate) fn size(&self, file: &str) -> u64 {
        fs::metadata(self.scratch.path(file)).map_or(0, |file| file.len())
    }

    pub(crate) fn wav(&self, name: &str) -> Wav {
        Wav::read(&self.scratch.path(name))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.scratch.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The real port for that of a host on the page.
    fn port(&self, host: &str, port: u16) -> u16 {
        *self.ports.borrow_mut().entry((host.to_owned(), port)).or_insert_with(free_port)
    }

    /// The script with every host and port of the page replaced by one of loopback.
    fn at_home(&self, block: &Block) -> String {
        let (mut home, mut word, mut before) = (String::new(), String::new(), String::new());
        for letter in block.script.chars().chain(['\n']) {
            if letter.is_ascii_alphanumeric() || ".:-_".contains(letter) {
                word.push(letter);
                continue;
            }
            home.push_str(&self.word_at_home(&word, &before, &block.host));
            if !word.is_empty() {
                before = core::mem::take(&mut word);
            }
            home.push(letter);
        }
        home
    }

    fn word_at_home(&self, word: &str, before: &str, own: &str) -> String {
        let is_host = |name: &str| name.ends_with(".example");
        if word == "eth0" {
            return "lo".to_owned();
        }
        // ssh looks its hosts up in a configuration of its own.
        if is_host(word) && before != "ssh" {
            return format!("127.0.0.1:{}", self.port(word, ROOMS));
        }
        let Some((host, port)) = word.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))) else {
            return word.to_owned();
        };
        match host {
            "" => format!(":{}", self.port(own, port)),
            "0.0.0.0" => format!("127.0.0.1:{}", self.port(own, port)),
            _ if is_host(host) => format!("127.0.0.1:{}", self.port(host, port)),
            _ if host.parse().is_ok_and(|address: Ipv4Addr| address.is_multicast()) => {
                let real = self.port(host, port);
                format!("239.255.{}.{}:{real}", real >> 8, real & 0xff)
            }
            _ => word.to_owned(),
        }
    }
}

/// Whether anybody accepts connections at a port.
fn tcp_listens(port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        let table = fs::read_to_string(table).unwrap_or_default();
        table.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|local| local.ends_with(&wanted)) && fields.nth(1) == Some("0A")
        })
    })
}

/// How much of `said` is in `heard`: each 0.2 s of it that is loud enough is looked for within 0.3 s of where it should
/// be, as a jitter buffer on a busy machine stretches and shortens what it plays; the share that is found.
pub(crate) fn share_heard(said: &Wav, heard: &Wav) -> f64 {
    const PART: usize = 1_600;
    const REACH: usize = 2_400;
    let (said, heard) = (at_8_khz(said), at_8_khz(heard));
    let loud = |(_, part): &(usize, &[i16])| part.iter().filter(|s| s.unsigned_abs() > 1_000).count() > PART / 10;
    let parts: Vec<(usize, &[i16])> = said.chunks_exact(PART).enumerate().filter(loud).collect();
    assert!(!parts.is_empty(), "nothing was said");
    // Where the whole lies is where most of its parts say.
    let mut lags: Vec<i64> = parts.iter().map(|(n, part)| best(part, &heard).0 as i64 - (n * PART) as i64).collect();
    lags.sort_unstable();
    let lag = lags[lags.len() / 2];
    let found = parts.iter().filter(|(n, part)| {
        let place = (n * PART) as i64 + lag;
        let from = usize::try_from(place - REACH as i64).unwrap_or(0).min(heard.len());
        let to = usize::try_from(place + (PART + REACH) as i64).unwrap_or(0).min(heard.len());
        best(part, &heard[from..to]).1 > 0.7
    });
    found.count() as f64 / parts.len() as f64
}

/// Where `part` lies whole in `heard`, and how like it is there.
fn best(part: &[i16], heard: &[i16]) -> (usize, f64) {
    let power = |samples: &[i16]| samples.iter().map(|&s| i64::from(s) * i64::from(s)).sum::<i64>() as f64;
    let own = power(part);
    let likeness = |window: &[i16]| {
        let product: i64 = part.iter().zip(window).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum();
        product as f64 / ((own * power(window)).sqrt() + 1.0)
    };
    let windows = heard.windows(part.len()).map(likeness).enumerate();
    windows.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
}

/// The first channel, each sample the mean of those that it stands for: enough to know speech by.
fn at_8_khz(wav: &Wav) -> Vec<i16> {
    let step = (wav.rate / 8_000).max(1) as usize;
    let mean = |part: &[i16]| (part.iter().map(|&sample| i32::from(sample)).sum::<i32>() / step as i32) as i16;
    wav.left().chunks_exact(step).map(mean).collect()
}
