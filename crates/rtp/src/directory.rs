//! The sessions that are announced right now: what strangers say, kept within bounds.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use vox_frame::Stamp;

use crate::sap::{MAX_DESCRIPTION, SapError, SapPacket};
use crate::{Description, SdpError};

/// The most sessions that are listed, and the most of one host.
const MAX_SESSIONS: usize = 1024;
const MAX_OF_ONE: usize = 64;

/// A session is gone when it was not announced for ten times the interval in which it was before (RFC 2974, section 4),
/// which lies between these, in ns.
const INTERVALS: i64 = 10;
const SHORTEST_NS: i64 = 2_000_000_000;
const LONGEST_NS: i64 = 360_000_000_000;

/// The longest name that is shown, in characters.
const MAX_NAME: usize = 100;

/// Who announces a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Announcer {
    /// A host, by SAP: where the packet came from, whatever it says of itself.
    Sap(IpAddr),
    /// A service of DNS-SD, by its full name.
    Service(String),
}

/// A session that is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name, without anything that a terminal would take for a command.
    pub name: String,
    /// Who announces it.
    pub announcer: Announcer,
    /// What a receiver needs to know.
    pub session: Description,
    /// The whole description.
    pub sdp: String,
}

/// What has changed in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A session is announced for the first time.
    Found(Listed),
    /// It is described in another way.
    Changed(Listed),
    /// It was withdrawn, or is not announced any longer.
    Gone(Listed),
}

/// Why an announcement changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unlisted {
    /// It is no announcement.
    #[error(transparent)]
    Packet(#[from] SapError),
    /// Its description cannot be used.
    #[error(transparent)]
    Description(#[from] SdpError),
    /// Its description has no origin (`o=`), by which it would be known again.
    #[error("its description has no origin")]
    Nameless,
    /// There are too many sessions.
    #[error("too many sessions are announced")]
    Full,
}

/// The list of sessions. A session belongs to whoever announced it first: another host that announces the same has a
/// session of its own, and can neither change nor withdraw this one.
#[derive(Debug, Default)]
pub struct Directory {
    sessions: BTreeMap<Key, Entry>,
    changes: VecDeque<Change>,
}

/// Who announces, and the origin of the description without its version (RFC 8866, section 5.2); a service has one.
type Key = (Announcer, Vec<u8>);

#[derive(Debug)]
struct Entry {
    listed: Listed,
    hash: u16,
    heard: Stamp,
    /// Between the last two announcements, in ns; none before the second.
    interval: Option<i64>,
    /// Services tell when they go; others fall silent.
    expires: bool,
}

impl Entry {
    fn gone_at(&self) -> Option<Stamp> {
        let interval = self.interval.unwrap_or(LONGEST_NS).clamp(SHORTEST_NS, LONGEST_NS);
        self.expires.then(|| self.heard.plus(INTERVALS * interval))
    }
}

impl Directory {
    /// Takes a datagram of SAP that came from `from`.
    ///
    /// # Errors
    /// Where it changes nothing, and is no repetition.
    pub fn handle_sap(&mut self, now: Stamp, from: IpAddr, bytes: &[u8]) -> Result<(), Unlisted> {
        let packet = SapPacket::parse(bytes)?;
        let origin = origin_of(packet.description).ok_or(Unlisted::Nameless)?;
        let key = (Announcer::Sap(from), origin);
        if packet.deletion {
            self.remove(&key);
            return Ok(());
        }
        if let Some(entry) = self.sessions.get_mut(&key) {
            entry.interval = Some(now.since(entry.heard));
            entry.heard = now;
            if entry.hash == packet.hash && entry.listed.sdp.as_bytes() == packet.description {
                return Ok(());
            }
        }
        self.list(now, key, packet.hash, packet.description, true)
    }

    /// Takes a service of DNS-SD, by its full name, with the description that it carries.
    ///
    /// # Errors
    /// Where its description is of no use, or there are too many.
    pub fn handle_service(&mut self, now: Stamp, name: &str, sdp: &[u8]) -> Result<(), Unlisted> {
        if sdp.len() > MAX_DESCRIPTION {
            return Err(SapError::Payload.into());
        }
        self.list(now, (Announcer::Service(name.to_owned()), Vec::new()), 0, sdp, false)
    }

    /// A service is gone.
    pub fn handle_service_gone(&mut self, name: &str) {
        self.remove(&(Announcer::Service(name.to_owned()), Vec::new()));
    }

    /// When a session may have fallen silent.
    pub fn next_deadline(&self) -> Option<Stamp> {
        self.sessions.values().filter_map(Entry::gone_at).min()
    }

    /// Takes from the list what is not announced any longer.
    pub fn handle_timeout(&mut self, now: Stamp) {
        let silent = |entry: &Entry| entry.gone_at().is_some_and(|gone| gone <= now);
        for (_, entry) in self.sessions.extract_if(.., |_, entry| silent(entry)) {
            self.changes.push_back(Change::Gone(entry.listed));
        }
    }

    /// What has changed: to be asked until there is none, after each `handle_`.
    pub fn poll(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// The sessions that are announced.
    pub fn sessions(&self) -> impl Iterator<Item = &Listed> {
        self.sessions.values().map(|entry| &entry.listed)
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.sessions.remove(key) {
            self.changes.push_back(Change::Gone(entry.listed));
        }
    }

    fn list(&mut self, now: Stamp, key: Key, hash: u16, sdp: &[u8], expires: bool) -> Result<(), Unlisted> {
        let session = Description::parse(sdp)?;
        let name = printable(&session.name);
        let sdp = String::from_utf8_lossy(sdp).into_owned();
        let listed = Listed { name, announcer: key.0.clone(), session, sdp };
        if let Some(entry) = self.sessions.get_mut(&key) {
            entry.hash = hash;
            if entry.listed != listed {
                entry.listed = listed.clone();
                self.changes.push_back(Change::Changed(listed));
            }
            return Ok(());
        }
        self.make_room(&key.0)?;
        self.changes.push_back(Change::Found(listed.clone()));
        self.sessions.insert(key, Entry { listed, hash, heard: now, interval: None, expires });
        Ok(())
    }

    /// Those who were heard only once give way, the oldest first.
    fn make_room(&mut self, announcer: &Announcer) -> Result<(), Unlisted> {
        let of_one = self.sessions.keys().filter(|(known, _)| known == announcer).count();
        if of_one >= MAX_OF_ONE {
            return Err(Unlisted::Full);
        }
        if self.sessions.len() < MAX_SESSIONS {
            return Ok(());
        }
        let fleeting = self.sessions.iter().filter(|(_, entry)| entry.expires && entry.interval.is_none());
        let oldest = fleeting.min_by_key(|(_, entry)| entry.heard).map(|(key, _)| key.clone());
        self.remove(&oldest.ok_or(Unlisted::Full)?);
        Ok(())
    }
}

/// The `o=` line of a description without its version, which changes: user, session, network, host.
fn origin_of(sdp: &[u8]) -> Option<Vec<u8>> {
    let line = sdp.split(|byte| matches!(byte, b'\r' | b'\n')).find_map(|line| line.strip_prefix(b"o="))?;
    let mut parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    if parts.len() < 6 || line.len() > 512 {
        return None;
    }
    parts.remove(2);
    Some(parts.join(&b' '))
}

/// A name as it may be shown: strangers choose it.
fn printable(name: &str) -> String {
    // Besides control characters those that change the direction of what follows.
    let harmful = |c: char| {
        c.is_control() || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    name.trim().chars().take(MAX_NAME).map(|c| if harmful(c) { '\u{fffd}' } else { c }).collect()
}

/// The most bytes of a string of a TXT record (RFC 6763, section 6.1).
const MAX_TXT: usize = 255;

/// A description as the strings of a TXT record: `sdp0`, `sdp1` and so on, each a piece of it.
pub fn description_to_txt(sdp: &str) -> Vec<(String, String)> {
    let mut rest = sdp;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let key = format!("sdp{}", pieces.len());
        let mut end = rest.len().min(MAX_TXT - key.len() - 1);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, after) = rest.split_at(end);
        pieces.push((key, piece.to_owned()));
        rest = after;
    }
    pieces
}

/// The description that the strings of a TXT record carry: `value` gives the one of a key.
pub fn description_from_txt<'a>(value: impl Fn(&str) -> Option<&'a [u8]>) -> Option<Vec<u8>> {
    let most = MAX_DESCRIPTION / (MAX_TXT - 8);
    let pieces: Vec<&[u8]> = (0..most).map_while(|n| value(&format!("sdp{n}"))).collect();
    (!pieces.is_empty()).then(|| pieces.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn sdp(session: u64, version: u64, name: &str) -> String {
        format!(
            "v=0\r\no=- {session} {version} IN IP4 192.0.2.1\r\ns={name}\r\nc=IN IP4 239.1.2.3/4\r\nt=0 0\r\n\
             m=audio 5004 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n"
        )
    }

    fn datagram(deletion: bool, hash: u16, sdp: &str) -> Vec<u8> {
        SapPacket { deletion, hash, origin: [192, 0, 2, 1].into(), description: sdp.as_bytes() }.to_bytes()
    }

    fn host(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn changes(directory: &mut Directory) -> Vec<String> {
        std::iter::from_fn(|| directory.poll())
            .map(|change| match change {
                Change::Found(listed) => format!("+{}", listed.name),
                Change::Changed(listed) => format!("~{}", listed.name),
                Change::Gone(listed) => format!("-{}", listed.name),
            })
            .collect()
    }

    #[test]
    fn a_session_is_found_once_changes_and_is_withdrawn() {
        let mut directory = Directory::default();
        let now = Stamp::ZERO;
        for _ in 0..3 {
            assert_eq!(directory.handle_sap(now, host(1), &datagram(false, 1, &sdp(1, 1, "talk"))), Ok(()));
        }
        assert_eq!(changes(&mut directory), ["+talk"]);
        assert_eq!(directory.handle_sap(now, host(1), &datagram(false, 2, &sdp(1, 2, "song"))), Ok(()));
        assert_eq!(changes(&mut directory), ["~song"]);
        let line = "o=- 1 2 IN IP4 192.0.2.1\r\n";
        assert_eq!(directory.handle_sap(now, host(1), &datagram(true, 2, line)), Ok(()));
        assert_eq!((changes(&mut directory), directory.sessions().count()), (vec!["-song".to_owned()], 0));
    }

    #[test]
    fn a_stranger_can_neither_change_nor_withdraw_a_session() {
        let mut directory = Directory::default();
        let now = Stamp::ZERO;
        directory.handle_sap(now, host(1), &datagram(false, 1, &sdp(1, 1, "talk"))).expect("an announcement");
        directory.handle_sap(now, host(2), &datagram(true, 1, &sdp(1, 1, "talk"))).expect("a deletion");
        directory.handle_sap(now, host(2), &datagram(false, 1, &sdp(1, 9, "lure"))).expect("an announcement");
        assert_eq!(changes(&mut directory), ["+talk", "+lure"]);
        let kept = directory.sessions().find(|listed| listed.name == "talk").expect("it is listed");
        assert_eq!(kept.announcer, Announcer::Sap(host(1)));
    }

    #[test]
    fn who_falls_silent_is_gone_after_ten_intervals() {
        let mut directory = Directory::default();
        let at = |seconds: i64| Stamp::ZERO.plus(seconds * SECOND);
        for seconds in [0, 5] {
            directory
                .handle_sap(at(seconds), host(1), &datagram(false, 1, &sdp(1, 1, "talk")))
                .expect("an announcement");
        }
        assert_eq!(directory.next_deadline(), Some(at(55)));
        directory.handle_timeout(at(54));
        assert_eq!(directory.sessions().count(), 1);
        directory.handle_timeout(at(55));
        assert_eq!(changes(&mut directory), ["+talk", "-talk"]);
    }

    #[test]
    fn floods_are_bounded_and_do_not_push_out_what_is_announced_again_and_again() {
        let mut directory = Directory::default();
        let at = |seconds: i64| Stamp::ZERO.plus(seconds * SECOND);
        for seconds in [0, 5] {
            directory
                .handle_sap(at(seconds), host(1), &datagram(false, 1, &sdp(1, 1, "talk")))
                .expect("an announcement");
        }
        let full = (0..200)
            .filter(|n| {
                let flood = datagram(false, 1, &sdp(100 + n, 1, "flood"));
                directory.handle_sap(at(6), host(2), &flood) == Err(Unlisted::Full)
            })
            .count();
        assert_eq!(full, 200 - MAX_OF_ONE);
        for n in 0..2000u32 {
            let from = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
            directory
                .handle_sap(at(7), from, &datagram(false, 1, &sdp(1, 1, "flood")))
                .expect("who was heard once gives way");
        }
        assert_eq!(directory.sessions().count(), MAX_SESSIONS);
        assert!(directory.sessions().any(|listed| listed.name == "talk"));
    }

    #[test]
    fn names_cannot_command_a_terminal() {
        let mut directory = Directory::default();
        let evil = sdp(1, 1, "a\x1b[2Jb\u{202e}c");
        directory.handle_sap(Stamp::ZERO, host(1), &datagram(false, 1, &evil)).expect("an announcement");
        assert_eq!(changes(&mut directory), ["+a\u{fffd}[2Jb\u{fffd}c"]);
    }

    #[test]
    fn what_cannot_be_used_is_not_listed() {
        let mut directory = Directory::default();
        let now = Stamp::ZERO;
        assert!(matches!(directory.handle_sap(now, host(1), b"hello"), Err(Unlisted::Packet(_))));
        for text in ["v=0\r\ns=x\r\n", "v=0\r\no=- 1\r\ns=x\r\n"] {
            assert_eq!(directory.handle_sap(now, host(1), &datagram(false, 1, text)), Err(Unlisted::Nameless));
        }
        let video = sdp(1, 1, "film").replace("m=audio", "m=video");
        assert!(matches!(
            directory.handle_sap(now, host(1), &datagram(false, 1, &video)),
            Err(Unlisted::Description(SdpError::NoAudio))
        ));
        assert_eq!(directory.sessions().count(), 0);
    }

    #[test]
    fn a_service_carries_its_description_in_pieces() {
        let text = sdp(1, 1, &"ü".repeat(300));
        let txt: BTreeMap<String, String> = description_to_txt(&text).into_iter().collect();
        assert!(txt.len() > 2 && txt.iter().all(|(key, value)| key.len() + 1 + value.len() <= MAX_TXT));
        let back = description_from_txt(|key| txt.get(key).map(String::as_bytes));
        assert_eq!(back.as_deref(), Some(text.as_bytes()));
        assert_eq!(description_from_txt(|_| None), None);
    }

    #[test]
    fn a_service_is_listed_until_it_says_that_it_goes() {
        let mut directory = Directory::default();
        let name = "talk._rtp._udp.local.";
        directory.handle_service(Stamp::ZERO, name, sdp(1, 1, "talk").as_bytes()).expect("a service");
        assert_eq!(directory.next_deadline(), None);
        directory.handle_service_gone(name);
        assert_eq!(changes(&mut directory), ["+talk", "-talk"]);
    }
}
