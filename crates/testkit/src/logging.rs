//! Log lines with virtual time, and tests that fail where anything logs an error.

use std::cell::RefCell;
use std::sync::Once;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::SimClock;

thread_local! {
    /// What is watched in this thread: tests run in threads of their own.
    static WATCHED: RefCell<Option<Watched>> = const { RefCell::new(None) };
}

struct Watched {
    clock: SimClock,
    errors: Vec<String>,
}

/// Watches the log of this thread until it is dropped; then fails the test if an error was logged.
#[must_use = "the log is watched as long as this lives"]
#[derive(Debug)]
pub struct LogWatch(());

/// Prints what is logged in this thread with the time of `clock`, and fails the test at the end of the watch where
/// something logged an error.
pub fn watch_log(clock: &SimClock) -> LogWatch {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        if log::set_logger(&Logger).is_ok() {
            log::set_max_level(LevelFilter::Debug);
        }
    });
    WATCHED.set(Some(Watched { clock: clock.clone(), errors: Vec::new() }));
    LogWatch(())
}

impl LogWatch {
    /// Takes the errors that were logged so far, for tests that expect them.
    pub fn take_errors(&self) -> Vec<String> {
        WATCHED
            .with_borrow_mut(|watched| watched.as_mut().map(|watched| core::mem::take(&mut watched.errors)))
            .unwrap_or_default()
    }
}

impl Drop for LogWatch {
    fn drop(&mut self) {
        let errors = self.take_errors();
        WATCHED.set(None);
        assert!(errors.is_empty() || std::thread::panicking(), "errors were logged:\n{}", errors.join("\n"));
    }
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        WATCHED.with_borrow(Option::is_some)
    }

    #[expect(clippy::print_stderr, reason = "the test harness shows it with the test that failed")]
    fn log(&self, record: &Record<'_>) {
        WATCHED.with_borrow_mut(|watched| {
            let Some(watched) = watched else { return };
            let line = format!("{:?} {} {}: {}", watched.clock.now(), record.level(), record.target(), record.args());
            eprintln!("{line}");
            if record.level() == Level::Error {
                watched.errors.push(line);
            }
        });
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_carry_virtual_time() {
        let clock = SimClock::new();
        let watch = watch_log(&clock);
        clock.advance(1_500_000_000);
        log::error!("something broke");
        let errors = watch.take_errors();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("1.500000000s ERROR "), "{}", errors[0]);
    }

    #[test]
    #[should_panic(expected = "errors were logged")]
    fn an_error_fails_the_test() {
        let _watch = watch_log(&SimClock::new());
        log::error!("something broke");
    }

    #[test]
    fn warnings_do_not() {
        let _watch = watch_log(&SimClock::new());
        log::warn!("something is odd");
    }
}
