//! The door for whoever runs the server: a Unix socket that only he can open, a JSON value a line each way.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vox_cli::Failure;
use vox_frame::Stamp;
use vox_room::{Admin, Ban, Hall, MemberView, Nick, RoomName, RoomView};
use vox_sys::Readiness;

/// Connections at a time, that of the HTTP page included.
const MAX_CLIENTS: usize = 8;

/// The longest question, and the most of an answer that may wait for a slow reader, in bytes.
const MAX_QUESTION: usize = 16 * 1024;
const MAX_WAITING: usize = 16 * 1024 * 1024;

/// The socket and who is connected to it.
pub(crate) struct Control {
    listener: Option<(UnixListener, PathBuf)>,
    clients: [Option<Client>; MAX_CLIENTS],
    first_key: u64,
}

struct Client {
    stream: UnixStream,
    asked: Vec<u8>,
    waiting: Vec<u8>,
}

/// Where somebody finds the socket of a server on that port who was not told: of one that he runs himself, else of one
/// that is a service (contrib/vox-roomd.service).
pub(crate) fn find(port: u16) -> PathBuf {
    let (own, service) = (default_path(port), PathBuf::from(format!("/run/vox-roomd/{port}.sock")));
    if !own.exists() && service.exists() { service } else { own }
}

/// Where the socket of a server on that port is, unless told otherwise.
pub(crate) fn default_path(port: u16) -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    let folder = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .unwrap_or_else(|| std::env::temp_dir().join(format!("vox-{uid}")));
    folder.join(format!("vox-roomd-{port}.sock"))
}

impl Control {
    /// No socket yet; its connections are told apart by numbers from `first_key`, and the socket by `first_key - 1`.
    pub(crate) const fn new(first_key: u64) -> Self {
        Self { listener: None, clients: [const { None }; MAX_CLIENTS], first_key }
    }

    /// Listens at `path`, which nobody else can open.
    pub(crate) fn listen(&mut self, path: &Path, readiness: &Readiness) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::failed(format_args!("cannot listen on {}: {error}", path.display()));
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            own_folder(folder).map_err(failed)?;
        }
        vox_sys::remove_abandoned_socket(path).map_err(failed)?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        readiness.add(&listener, self.first_key - 1).map_err(failed)?;
        self.listener = Some((listener, path.to_owned()));
        Ok(())
    }

    /// Serves `stream`, too. False where too many are served already.
    pub(crate) fn add(&mut self, stream: UnixStream, readiness: &Readiness) -> io::Result<bool> {
        let Some(at) = self.clients.iter().position(Option::is_none) else { return Ok(false) };
        stream.set_nonblocking(true)?;
        readiness.add(&stream, self.first_key + at as u64)?;
        self.clients[at] = Some(Client { stream, asked: Vec::new(), waiting: Vec::new() });
        Ok(true)
    }

    /// Takes who wants to be served.
    pub(crate) fn accept(&mut self, readiness: &Readiness) {
        while let Some((stream, _)) = self.listener.as_ref().and_then(|(listener, _)| listener.accept().ok()) {
            // One too many is closed at once, which it sees.
            let _served = self.add(stream, readiness);
        }
    }

    /// Whether this is the number of a connection.
    pub(crate) fn has(&self, key: u64) -> bool {
        (self.first_key..self.first_key + MAX_CLIENTS as u64).contains(&key)
    }

    /// Reads what was asked.
    pub(crate) fn questions(&mut self, key: u64) -> Vec<Value> {
        let Some(slot) = self.clients.get_mut((key - self.first_key) as usize) else { return Vec::new() };
        let questions = slot.as_mut().and_then(Client::read);
        if questions.is_none() {
            *slot = None;
        }
        questions.unwrap_or_default()
    }

    /// Answers it.
    pub(crate) fn answer(&mut self, key: u64, readiness: &Readiness, answers: &[Value]) {
        let Some(slot) = self.clients.get_mut((key - self.first_key) as usize) else { return };
        let Some(client) = slot else { return };
        let alive = client.write(answers);
        if !alive || readiness.change(&client.stream, key, !client.waiting.is_empty()).is_err() {
            *slot = None;
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.listener {
            let _gone_already = fs::remove_file(path);
        }
    }
}

impl Client {
    /// The questions that have come; none where the connection is over.
    fn read(&mut self) -> Option<Vec<Value>> {
        let mut space = [0; 4096];
        match self.stream.read(&mut space) {
            Ok(0) => return None,
            Ok(read) => self.asked.extend_from_slice(&space[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return None,
        }
        let mut questions = Vec::new();
        while let Some(end) = self.asked.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.asked.drain(..=end).collect();
            // What is no JSON is nothing that could be done, and is answered as that.
            questions.push(serde_json::from_slice(&line).unwrap_or(Value::Null));
        }
        (self.asked.len() <= MAX_QUESTION).then_some(questions)
    }

    /// False where the connection is over.
    fn write(&mut self, answers: &[Value]) -> bool {
        for answer in answers {
            self.waiting.extend_from_slice(answer.to_string().as_bytes());
            self.waiting.push(b'\n');
        }
        if self.waiting.len() > MAX_WAITING {
            return false;
        }
        match self.stream.write(&self.waiting) {
            Ok(written) => drop(self.waiting.drain(..written)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return false,
        }
        true
    }
}

/// A folder that is nobody else's: in a place where everybody may write, somebody may have made it before.
fn own_folder(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let there = fs::symlink_metadata(folder)?;
            let trusted = there.uid() == 0 || there.uid() == rustix::process::getuid().as_raw();
            if there.is_dir() && trusted {
                Ok(())
            } else {
                Err(io::Error::new(ErrorKind::PermissionDenied, "its folder is somebody else's"))
            }
        }
        Err(error) => Err(error),
    }
}

/// Does what is asked, `{"do": "kick", "nick": "Eve"}`, and says what came of it.
pub(crate) fn answer(hall: &mut Hall, now: Stamp, question: &Value, stats: &Value) -> Value {
    let word = question["do"].as_str().unwrap_or_default();
    match word {
        "stats" => return stats.clone(),
        "list" => return json!({ "rooms": hall.view().iter().map(|one| room(one, stats)).collect::<Vec<_>>() }),
        "bans" => return json!({ "bans": hall.bans().map(ToString::to_string).collect::<Vec<_>>() }),
        "accounts" => return json!({ "accounts": hall.accounts().map(ToString::to_string).collect::<Vec<_>>() }),
        _ => {}
    }
    let outcome = match admin(word, question) {
        Some(what) => hall.handle_admin(now, what),
        None => Err(format!("this is not understood: {question}")),
    };
    match outcome {
        Ok(()) => json!({ "ok": true }),
        Err(why) => json!({ "error": why }),
    }
}

fn admin(word: &str, question: &Value) -> Option<Admin> {
    let text = |name: &str| question[name].as_str();
    let nick = || text("nick").and_then(Nick::parse);
    let room = || text("room").and_then(RoomName::parse);
    let who = || text("who").and_then(|who| who.parse::<Ban>().ok());
    Some(match word {
        "kick" => Admin::Kick(nick()?),
        "ban" => Admin::Ban(who()?),
        "unban" => Admin::Unban(who()?),
        "mute" => Admin::Mute(nick()?, true),
        "unmute" => Admin::Mute(nick()?, false),
        "lock" => Admin::Lock(room()?, text("kept")?.to_owned()),
        "unlock" => Admin::Unlock(room()?),
        "forbid" => Admin::Record(room()?, false),
        "allow" => Admin::Record(room()?, true),
        "delete" => Admin::Delete(room()?),
        "account" => Admin::Account(nick()?, text("kept")?.to_owned()),
        "forget" => Admin::Forget(nick()?),
        "say" => Admin::Say(text("text")?.chars().filter(|c| !c.is_control()).collect()),
        _ => return None,
    })
}

fn room(room: &RoomView, stats: &Value) -> Value {
    json!({
        "name": room.name.to_string(),
        "locked": room.locked,
        "kept": room.kept,
        "muted": room.muted,
        "recorders": room.recorders,
        "recorded": room.recorded,
        "forbidsRecording": room.forbids_recording,
        "members": room.members.iter().map(|one| member(one, stats)).collect::<Vec<_>>(),
    })
}

fn member(member: &MemberView, stats: &Value) -> Value {
    let path = match member.path {
        Some(vox_room::Path::Udp(address)) => json!({ "carrier": "udp", "address": address.to_string() }),
        Some(vox_room::Path::Conn(conn)) => json!({ "carrier": "tcp", "connection": conn.0 }),
        None => Value::Null,
    };
    json!({
        "nick": member.nick.to_string(),
        "registered": member.registered,
        "operator": member.operator,
        "away": member.away,
        "voice": member.voice,
        "mixed": member.mixed,
        "path": path,
        "streams": member.streams,
        "talking": member.talking,
        "levelDbov": member.level.map(|level| -i32::from(level)),
        "lateMs": member.late_ns.map(|ns| ns as f64 / 1e6),
        "bufferFill": member.late_ns.and_then(|ns| fill(ns, stats["mixDelayMs"].as_f64()?)),
        "muted": member.muted,
        "roundTripTimeMs": member.rtt_ns.map(|ns| ns as f64 / 1e6),
    })
}

/// How much of the mixer's buffer is full when the latest packets come: nothing of those is heard at 0.
fn fill(late_ns: i64, delay_ms: f64) -> Option<f64> {
    (delay_ms > 0.0).then(|| (1.0 - late_ns as f64 / 1e6 / delay_ms).clamp(0.0, 1.0))
}

/// Counters of the rooms since the start, and who is in them.
pub(crate) fn figures(hall: &Hall) -> Value {
    let stats = hall.stats();
    json!({
        "members": hall.members(),
        "rooms": hall.room_count(),
        "lines": stats.lines,
        "linesMisunderstood": stats.lines_misunderstood,
        "linesRefused": stats.lines_refused,
        "packetsReceived": stats.packets_received,
        "bytesReceived": stats.bytes_received,
        "packetsSent": stats.packets_sent,
        "bytesSent": stats.bytes_sent,
        "packetsForeign": stats.packets_foreign,
        "packetsMalformed": stats.packets_malformed,
        "packetsUnauthentic": stats.packets_unauthentic,
        "packetsRefused": stats.packets_refused,
        "packetsQuiet": stats.packets_quiet,
        "packetsUnheard": stats.packets_unheard,
        "packetsMixed": stats.packets_mixed,
    })
}
