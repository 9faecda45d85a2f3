//! What outlives the server, in a file of SQLite's. A thread of its own writes, so that voice never waits for a disk.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use vox_cli::{Failure, warn};
use vox_room::{Ban, Change, KeptRoom, Nick, RoomName};

/// Changes that wait for the disk at a time.
const MAX_WAITING: usize = 4096;

/// Each step from one shape of the file to the next; its `user_version` tells how many were done.
const MIGRATIONS: &[&str] =
    &["CREATE TABLE account (key TEXT PRIMARY KEY, nick TEXT NOT NULL, password TEXT NOT NULL) STRICT;
     CREATE TABLE ban (kind TEXT NOT NULL, key TEXT NOT NULL, who TEXT NOT NULL, PRIMARY KEY (kind, key)) STRICT;
     CREATE TABLE room (name TEXT PRIMARY KEY, password TEXT, forbids_recording INTEGER NOT NULL,
                        muted INTEGER NOT NULL) STRICT;
     CREATE TABLE room_nick (room TEXT NOT NULL REFERENCES room ON DELETE CASCADE, kind TEXT NOT NULL,
                             nick TEXT NOT NULL, PRIMARY KEY (room, kind, nick)) STRICT;"];

/// The file, being written.
pub(crate) struct Store {
    changes: Option<SyncSender<Change>>,
    writer: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens or makes the file at `path`; gives everything in it, too.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Change>), Failure> {
        let failed = |error: &dyn core::fmt::Display| Failure::failed(format_args!("{}: {error}", path.display()));
        let mut database = open(path).map_err(|error| failed(&error))?;
        migrate(&mut database).map_err(|error| failed(&error))?;
        let kept = load(&database).map_err(|error| failed(&error))?;
        let (changes, waiting) = sync_channel(MAX_WAITING);
        let writer = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || write_all(&mut database, &waiting))
            .map_err(|error| failed(&error))?;
        Ok((Self { changes: Some(changes), writer: Some(writer) }, kept))
    }

    /// Keeps a change, as soon as the disk has time.
    pub(crate) fn save(&self, change: Change) {
        let Some(changes) = &self.changes else { return };
        if let Err(TrySendError::Full(change) | TrySendError::Disconnected(change)) = changes.try_send(change) {
            warn(format_args!("the disk is too slow: this is not kept: {change:?}"));
        }
    }
}

impl Drop for Store {
    /// Waits until everything is written.
    fn drop(&mut self) {
        self.changes = None;
        if let Some(writer) = self.writer.take() {
            let _panicked = writer.join();
        }
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    // A second server on the same file would overwrite what the first one keeps.
    database.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.pragma_update(None, "foreign_keys", true)?;
    database.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
    Ok(database)
}

fn migrate(database: &mut Connection) -> Result<(), String> {
    let told = |error: rusqlite::Error| error.to_string();
    let version: u32 = database.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(told)?;
    if version as usize > MIGRATIONS.len() {
        return Err("it was written by a later version of vox-roomd".to_owned());
    }
    for (step, number) in MIGRATIONS.iter().zip(1_u32..).skip(version as usize) {
        let change = database.transaction().map_err(told)?;
        change.execute_batch(step).map_err(told)?;
        change.pragma_update(None, "user_version", number).map_err(told)?;
        change.commit().map_err(told)?;
    }
    Ok(())
}

/// Everything that is kept. What does not parse was not written by this program, and is left alone.
fn load(database: &Connection) -> rusqlite::Result<Vec<Change>> {
    let mut kept = Vec::new();
    let mut accounts = database.prepare("SELECT nick, password FROM account")?;
    for account in accounts.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))? {
        let (nick, password) = account?;
        kept.extend(Nick::parse(&nick).map(|nick| Change::Account(nick, password)));
    }
    let mut bans = database.prepare("SELECT kind, who FROM ban")?;
    for ban in bans.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))? {
        let (kind, who) = ban?;
        kept.extend(
            match kind.as_str() {
                "address" => who.parse().ok().map(Ban::Address),
                _ => Nick::parse(&who).map(Ban::Nick),
            }
            .map(Change::Ban),
        );
    }
    let mut names = database.prepare("SELECT name FROM room")?;
    for name in names.query_map([], |row| row.get::<_, String>(0))? {
        kept.extend(room(database, &name?)?.map(Change::Room));
    }
    Ok(kept)
}

fn room(database: &Connection, name: &str) -> rusqlite::Result<Option<KeptRoom>> {
    let Some(parsed) = RoomName::parse(name) else { return Ok(None) };
    let mut kept = database
        .query_row("SELECT password, forbids_recording, muted FROM room WHERE name = ?1", [name], |row| {
            Ok(KeptRoom {
                name: parsed,
                password: row.get(0)?,
                forbids_recording: row.get(1)?,
                muted: row.get(2)?,
                owners: Vec::new(),
                banned: Vec::new(),
            })
        })
        .optional()?;
    if let Some(kept) = &mut kept {
        let mut nicks = database.prepare("SELECT kind, nick FROM room_nick WHERE room = ?1")?;
        for row in nicks.query_map([name], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))? {
            let (kind, nick) = row?;
            let list = if kind == "owner" { &mut kept.owners } else { &mut kept.banned };
            list.extend(Nick::parse(&nick));
        }
    }
    Ok(kept)
}

fn write_all(database: &mut Connection, changes: &Receiver<Change>) {
    while let Ok(change) = changes.recv() {
        let written = database.transaction().and_then(|transaction| {
            write(&transaction, &change)?;
            transaction.commit()
        });
        if let Err(error) = written {
            warn(format_args!("this is not kept: {change:?}: {error}"));
        }
    }
}

fn write(database: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Account(nick, password) => {
            database
                .execute("INSERT OR REPLACE INTO account VALUES (?1, ?2, ?3)", [nick.key(), nick.as_str(), password])?;
        }
        Change::AccountGone(nick) => {
            database.execute("DELETE FROM account WHERE key = ?1", [nick.key()])?;
        }
        Change::Ban(ban) => {
            let (kind, key) = key(ban);
            database.execute("INSERT OR REPLACE INTO ban VALUES (?1, ?2, ?3)", [kind, &key, &ban.to_string()])?;
        }
        Change::BanGone(ban) => {
            let (kind, key) = key(ban);
            database.execute("DELETE FROM ban WHERE kind = ?1 AND key = ?2", [kind, &key])?;
        }
        Change::Room(kept) => {
            let name = kept.name.to_string();
            database.execute(
                "INSERT OR REPLACE INTO room VALUES (?1, ?2, ?3, ?4)",
                params![name, kept.password, kept.forbids_recording, kept.muted],
            )?;
            database.execute("DELETE FROM room_nick WHERE room = ?1", [&name])?;
            for (kind, nicks) in [("owner", &kept.owners), ("banned", &kept.banned)] {
                for nick in nicks {
                    database.execute("INSERT INTO room_nick VALUES (?1, ?2, ?3)", [&name, kind, nick.as_str()])?;
                }
            }
        }
        Change::RoomGone(name) => {
            database.execute("DELETE FROM room WHERE name = ?1", [name.to_string()])?;
        }
    }
    Ok(())
}

/// What tells one ban from another: nicknames that differ in case only are the same.
fn key(ban: &Ban) -> (&'static str, String) {
    match ban {
        Ban::Address(address) => ("address", address.to_string()),
        Ban::Nick(nick) => ("nick", nick.key().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn nick(name: &str) -> Nick {
        Nick::parse(name).expect("a nickname")
    }

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("vox-roomd-{}-{name}", std::process::id()));
        let _was_not_there = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder.join("state")
    }

    fn studio() -> KeptRoom {
        KeptRoom {
            name: RoomName::parse("#studio").expect("a room"),
            password: Some("hash".to_owned()),
            forbids_recording: true,
            muted: false,
            owners: vec![nick("Ana")],
            banned: vec![nick("Eve"), nick("Mallory")],
        }
    }

    #[test]
    fn what_was_saved_is_there_again_and_what_was_taken_back_is_not() {
        let path = scratch("kept");
        let (store, kept) = Store::open(&path).expect("a new file");
        assert!(kept.is_empty());
        let address = Ban::Address("192.0.2.1".parse().expect("an address"));
        for change in [
            Change::Account(nick("Ana"), "one".to_owned()),
            Change::Account(nick("Ana"), "two".to_owned()),
            Change::Account(nick("Bob"), "three".to_owned()),
            Change::AccountGone(nick("BOB")),
            Change::Ban(address.clone()),
            Change::Ban(Ban::Nick(nick("Eve"))),
            Change::BanGone(Ban::Nick(nick("eve"))),
            Change::Room(KeptRoom { banned: Vec::new(), ..studio() }),
            Change::Room(studio()),
        ] {
            store.save(change);
        }
        drop(store);
        let (store, kept) = Store::open(&path).expect("the same file");
        let wanted = [Change::Account(nick("Ana"), "two".to_owned()), Change::Ban(address), Change::Room(studio())];
        assert_eq!(kept, wanted);
        assert!(Store::open(&path).is_err(), "two servers do not share a file");
        store.save(Change::RoomGone(studio().name));
        drop(store);
        let (_store, kept) = Store::open(&path).expect("the same file");
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn a_file_of_a_later_version_or_of_somebody_else_is_refused() {
        let path = scratch("foreign");
        drop(Store::open(&path).expect("a new file"));
        let database = Connection::open(&path).expect("it opens");
        database.pragma_update(None, "user_version", 99).expect("it is written");
        drop(database);
        assert!(Store::open(&path).is_err());
        std::fs::write(&path, "this is no database, however long one looks at it").expect("a file");
        assert!(Store::open(&path).is_err());
    }
}
