//! Who guesses passwords, and has to wait.

use std::collections::BTreeMap;
use std::net::IpAddr;

use vox_frame::Stamp;

/// Wrong passwords after which an address is not let in for a while, how many addresses are remembered, and how long.
const GUESSES: u32 = 8;
const MAX_GUESSERS: usize = 4096;
const GUESS_NS: i64 = 60_000_000_000;

/// Addresses that gave wrong passwords: how many, and since when.
#[derive(Debug, Default)]
pub(crate) struct Guesses(BTreeMap<IpAddr, (u32, i64)>);

impl Guesses {
    /// Whether so many wrong passwords came from there that it has to wait.
    pub(crate) fn are_too_many(&mut self, now: Stamp, from: IpAddr) -> bool {
        self.0.retain(|_, (_, since)| now.ns() < *since + GUESS_NS);
        self.0.get(&from).is_some_and(|(guesses, _)| *guesses >= GUESSES)
    }

    /// A wrong password came from there. True where it is one too many, or nobody else can be remembered.
    pub(crate) fn handle(&mut self, now: Stamp, from: IpAddr) -> bool {
        if !self.0.contains_key(&from) && self.0.len() >= MAX_GUESSERS {
            return true;
        }
        let (guesses, _) = self.0.entry(from).or_insert_with(|| (0, now.ns()));
        *guesses += 1;
        *guesses >= GUESSES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_waits_a_minute_and_nobody_else_does() {
        let (mut guesses, now) = (Guesses::default(), Stamp::from_ns(5));
        let [eve, ana] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let outcomes: Vec<bool> = (0..GUESSES).map(|_| guesses.handle(now, eve)).collect();
        assert_eq!(outcomes.iter().position(|too_many| *too_many), Some(GUESSES as usize - 1));
        assert!(guesses.are_too_many(now.plus(GUESS_NS - 1), eve));
        assert!(!guesses.are_too_many(now, ana));
        assert!(!guesses.are_too_many(now.plus(GUESS_NS), eve));
    }

    #[test]
    fn only_so_many_are_remembered_and_the_rest_are_sent_away() {
        let (mut guesses, now) = (Guesses::default(), Stamp::from_ns(5));
        let address = |number: usize| IpAddr::from((number as u32).to_be_bytes());
        assert!((0..MAX_GUESSERS).all(|number| !guesses.handle(now, address(number))));
        assert!(guesses.handle(now, address(MAX_GUESSERS)));
        assert!(!guesses.handle(now, address(0)), "who is remembered has his other tries");
    }
}
