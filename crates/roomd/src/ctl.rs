//! `vox-roomd ctl`: looks into a running server and puts it in order.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use vox_cli::{Failure, SecretSource, print, stop_requested, wait};
use vox_sys::monotonic_ns;

use crate::{control, passwords, top};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the live view is drawn, in ns.
const FRAME_NS: i64 = 500_000_000;

/// Which server, and how to answer.
#[derive(Debug, Args)]
pub(crate) struct Ctl {
    /// The port of the signalling of the server.
    #[arg(long, value_name = "PORT", default_value_t = 10_000)]
    port: u16,

    /// Its socket, where it was started with one of its own; that of the service is found
    /// (/run/vox-roomd/PORT.sock).
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    /// Answers as JSON.
    #[arg(long)]
    json: bool,

    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every room and who is in it.
    List,
    /// A live view: who talks and how loud.
    Top,
    /// Counters since the start.
    Stats,
    /// Send somebody away; he may come back.
    Kick { nick: String },
    /// Let an address or a nickname in no more.
    Ban {
        #[arg(value_name = "ADDRESS|NICK")]
        who: String,
    },
    /// Let it in again.
    Unban {
        #[arg(value_name = "ADDRESS|NICK")]
        who: String,
    },
    /// Who is banned.
    Bans,
    /// Nobody hears somebody.
    Mute { nick: String },
    /// He is heard again.
    Unmute { nick: String },
    /// Only who knows the password may enter a room.
    Lock {
        #[arg(value_name = "#ROOM")]
        room: String,
        /// Where the password is: a file (`-` for stdin), or env:NAME.
        #[arg(long, value_name = "FILE|env:NAME")]
        password: SecretSource,
    },
    /// Everybody may enter it.
    Unlock {
        #[arg(value_name = "#ROOM")]
        room: String,
    },
    /// Nobody may record a room: a recording of the server's ends.
    Forbid {
        #[arg(value_name = "#ROOM")]
        room: String,
    },
    /// It may be recorded again.
    Allow {
        #[arg(value_name = "#ROOM")]
        room: String,
    },
    /// End a room, kept or not; everybody goes to the lobby.
    Delete {
        #[arg(value_name = "#ROOM")]
        room: String,
    },
    /// Which nicknames are registered.
    Accounts,
    /// Register a nickname, or give it another password.
    Account {
        nick: String,
        /// Where the password is: a file, or env:NAME.
        #[arg(long, value_name = "FILE|env:NAME")]
        password: SecretSource,
    },
    /// A nickname is anybody's again.
    Forget { nick: String },
    /// Tell everybody something.
    Say { text: String },
    /// Bring in a participant that speaks plain RTP: ffmpeg, GStreamer, a telephone. Kick sends it away.
    Peer(Peer),
    /// The description (SDP) of what such a participant is sent, for the program that plays it.
    Sdp {
        #[arg(value_name = "#ROOM")]
        room: String,
        nick: String,
    },
}

/// A participant that speaks plain RTP.
///
///     vox-roomd ctl peer lobby phone --codec pcmu --listen 127.0.0.1:5004 --send-to 127.0.0.1:5006
///     vox-roomd ctl sdp lobby phone >phone.sdp; ffplay -protocol_whitelist file,udp,rtp phone.sdp
///     ffmpeg -re -i talk.wav -c:a pcm_mulaw -ar 8000 -ac 1 -f rtp rtp://127.0.0.1:5004
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct Peer {
    /// The room; made where there is none.
    #[arg(value_name = "#ROOM")]
    room: String,

    /// Under which name.
    nick: String,

    /// Where its packets come to; port 0 takes any that is free, and tells it.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Where what it hears is sent to [default: to where its packets come from].
    #[arg(long, value_name = "ADDR:PORT")]
    send_to: Option<SocketAddr>,

    /// Whose packets are taken [default: those of the address of --send-to, else of this host alone].
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,

    /// How both directions are coded: pcmu, pcma, opus, or as in SDP: L16/44100/2.
    #[arg(long, value_name = "CODEC", default_value = "pcmu", conflicts_with = "sdp")]
    codec: String,

    /// It hears the loudest of those who are coded as it is, untouched, instead of a mix of everybody else.
    #[arg(long)]
    forward: bool,

    /// Take address and codecs from its own description, and answer with ours.
    #[arg(long, value_name = "FILE")]
    sdp: Option<PathBuf>,
}

/// Asks the server and shows what it answers.
pub(crate) fn run(ctl: &Ctl) -> Result<(), Failure> {
    let path = ctl.control.clone().unwrap_or_else(|| control::find(ctl.port));
    let failed = |error: std::io::Error| {
        Failure::network(format_args!("no server answers on {}: {error}; is it running, as you?", path.display()))
    };
    let stream = UnixStream::connect(&path).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut stream = BufReader::new(stream);
    if matches!(ctl.what, What::Top) && !ctl.json {
        return live(&mut stream);
    }
    let answer = ask(&mut stream, &question(&ctl.what)?)?;
    if let Some(why) = answer["error"].as_str() {
        return Err(Failure::failed(why));
    }
    print(&if ctl.json { format!("{answer}\n") } else { top::text(&answer) })
}

fn question(what: &What) -> Result<Value, Failure> {
    let kept = |password: &SecretSource| {
        // Only what was made of it travels; the server's loop has better things to do than to work it out.
        passwords::protect(&password.read()?).ok_or_else(|| Failure::failed("the system gives no random numbers"))
    };
    Ok(match what {
        What::List | What::Top => json!({ "do": "list" }),
        What::Stats => json!({ "do": "stats" }),
        What::Kick { nick } => json!({ "do": "kick", "nick": nick }),
        What::Ban { who } => json!({ "do": "ban", "who": who }),
        What::Unban { who } => json!({ "do": "unban", "who": who }),
        What::Bans => json!({ "do": "bans" }),
        What::Mute { nick } => json!({ "do": "mute", "nick": nick }),
        What::Unmute { nick } => json!({ "do": "unmute", "nick": nick }),
        What::Lock { room, password } => json!({ "do": "lock", "room": room, "kept": kept(password)? }),
        What::Unlock { room } => json!({ "do": "unlock", "room": room }),
        What::Forbid { room } => json!({ "do": "forbid", "room": room }),
        What::Allow { room } => json!({ "do": "allow", "room": room }),
        What::Delete { room } => json!({ "do": "delete", "room": room }),
        What::Accounts => json!({ "do": "accounts" }),
        What::Account { nick, password } => json!({ "do": "account", "nick": nick, "kept": kept(password)? }),
        What::Forget { nick } => json!({ "do": "forget", "nick": nick }),
        What::Say { text } => json!({ "do": "say", "text": text }),
        What::Peer(peer) => peer.question()?,
        What::Sdp { room, nick } => json!({ "do": "sdp", "room": room, "nick": nick }),
    })
}

impl Peer {
    fn question(&self) -> Result<Value, Failure> {
        let cannot = |path: &PathBuf, error| Failure::usage(format_args!("cannot read {}: {error}", path.display()));
        let offer = self.sdp.as_ref().map(|path| fs::read_to_string(path).map_err(|error| cannot(path, error)));
        Ok(json!({
            "do": "peer",
            "room": self.room,
            "nick": self.nick,
            "listen": self.listen,
            "sendTo": self.send_to,
            "from": self.from,
            "codec": self.codec,
            "forward": self.forward,
            "offer": offer.transpose()?,
        }))
    }
}

fn ask(stream: &mut BufReader<UnixStream>, question: &Value) -> Result<Value, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::network(format_args!("the server does not answer: {error}"));
    writeln!(stream.get_mut(), "{question}").map_err(|error| failed(&error))?;
    let mut line = String::new();
    if stream.read_line(&mut line).map_err(|error| failed(&error))? == 0 {
        return Err(failed(&"it serves too many already, or has ended"));
    }
    serde_json::from_str(&line).map_err(|error| failed(&error))
}

/// Draws until it is stopped.
fn live(stream: &mut BufReader<UnixStream>) -> Result<(), Failure> {
    while !stop_requested() {
        let list = ask(stream, &json!({ "do": "list" }))?;
        let stats = ask(stream, &json!({ "do": "stats" }))?;
        print(&top::screen(&list, &stats))?;
        wait(None, Some(monotonic_ns() + FRAME_NS))?;
    }
    Ok(())
}
