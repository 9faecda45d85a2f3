//! Passwords of rooms, kept as Argon2id hashes. Each takes tens of milliseconds by design, so a thread of its own
//! works them out while packets go on.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, Params};

/// Questions that wait at a time; more are answered with no at once.
const MAX_WAITING: usize = 256;

pub(crate) enum Question {
    Protect(u64, String),
    Verify(u64, String, String),
}

pub(crate) enum Answer {
    Protected(u64, String),
    Verified(u64, bool),
}

pub(crate) struct Passwords {
    questions: SyncSender<Question>,
    answers: Receiver<Answer>,
    /// Becomes readable when there is an answer.
    bell: UnixStream,
}

impl Passwords {
    pub(crate) fn start() -> io::Result<Self> {
        let (questions, asked) = sync_channel(MAX_WAITING);
        let (answer, answers) = sync_channel(MAX_WAITING);
        let (bell, mut ringer) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        thread::Builder::new().name("passwords".to_owned()).spawn(move || {
            while let Ok(question) = asked.recv() {
                if answer.send(work_out(question)).is_err() || ringer.write_all(&[0]).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { questions, answers, bell })
    }

    pub(crate) const fn bell(&self) -> &UnixStream {
        &self.bell
    }

    /// Asks; the answer at once where too many wait.
    pub(crate) fn ask(&self, question: Question) -> Option<Answer> {
        match self.questions.try_send(question) {
            Ok(()) => None,
            Err(TrySendError::Full(question) | TrySendError::Disconnected(question)) => Some(match question {
                // A hash that nothing matches: a room that could not be locked in the way asked for stays shut.
                Question::Protect(ticket, _) => Answer::Protected(ticket, String::new()),
                Question::Verify(ticket, ..) => Answer::Verified(ticket, false),
            }),
        }
    }

    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut rung = [0; 64];
        // How often it rang does not matter: all answers are taken.
        let _rung = self.bell.read(&mut rung);
        self.answers.try_recv().ok()
    }
}

fn work_out(question: Question) -> Answer {
    match question {
        Question::Protect(ticket, password) => Answer::Protected(ticket, protect(&password).unwrap_or_default()),
        Question::Verify(ticket, password, kept) => Answer::Verified(ticket, verify(&password, &kept)),
    }
}

fn argon2() -> Argon2<'static> {
    // OWASP's smallest setting for Argon2id: 19 MiB, 2 passes, 1 lane, which are the crate's defaults too.
    Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, Params::DEFAULT)
}

/// What is kept of a password; none where the system gives no random numbers.
pub(crate) fn protect(password: &str) -> Option<String> {
    let mut salt = [0; 16];
    let salted = getrandom::fill(&mut salt).is_ok();
    let salt = if salted { SaltString::encode_b64(&salt).ok() } else { None };
    salt.and_then(|salt| argon2().hash_password(password.as_bytes(), &salt).ok().map(|hash| hash.to_string()))
}

fn verify(password: &str, kept: &str) -> bool {
    PasswordHash::new(kept).is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_password_opens_and_no_other() {
        let kept = protect("hunter2").expect("random numbers");
        assert!(kept.starts_with("$argon2id$"));
        assert!(verify("hunter2", &kept));
        assert!(!verify("hunter3", &kept));
        assert!(!verify("", ""));
        assert_ne!(protect("hunter2"), Some(kept), "each has its own salt");
    }
}
