//! Runs shell pipelines in a scratch folder, each in a process group of its own, with a time limit.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How often something is looked at that cannot be waited for in another way.
const POLL: Duration = Duration::from_millis(5);

/// A folder for one test, removed when the test has passed.
pub struct Scratch {
    dir: PathBuf,
    count: AtomicU32,
    kept: AtomicBool,
}

impl Scratch {
    /// An empty folder, named after the test.
    pub fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("vox-e2e-{}-{name}", std::process::id()));
        let _absent = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a scratch folder");
        Self { dir, count: AtomicU32::new(0), kept: AtomicBool::new(false) }
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Leaves the folder where it is, for somebody to look into.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// A bash script that runs in the folder with the binaries in its PATH.
    pub fn shell(&self, script: &str) -> Shell {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new("bash");
        let status = self.dir.join(format!("status.{number}"));
        // The exit codes of all stages of the last pipeline; a trap keeps bash alive to write them after Ctrl-C.
        let body =
            format!("trap : INT TERM\n{script}\ncodes=\"${{PIPESTATUS[*]}}\"\necho \"$codes\" >{}\n", status.display());
        command
            .args(["-c", &body])
            .current_dir(&self.dir)
            .env("PATH", format!("{}:{}", binaries().display(), std::env::var("PATH").unwrap_or_default()))
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .process_group(0);
        Shell {
            command,
            script: script.to_owned(),
            status,
            stdout: self.dir.join(format!("stdout.{number}")),
            stderr: self.dir.join(format!("stderr.{number}")),
            read_stdout: false,
        }
    }

    /// Runs a script to its end, at most 30 s.
    pub fn run(&self, script: &str) -> Outcome {
        self.shell(script).run()
    }

    /// Starts a script.
    pub fn spawn(&self, script: &str) -> Running {
        self.shell(script).spawn()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !thread::panicking() && !self.kept.load(Ordering::Relaxed) {
            let _gone = fs::remove_dir_all(&self.dir);
        }
    }
}

/// A script that is not yet running.
pub struct Shell {
    command: Command,
    script: String,
    status: PathBuf,
    stdout: PathBuf,
    stderr: PathBuf,
    read_stdout: bool,
}

impl Shell {
    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Lets the test read stdout while the script runs ([`Running::stdout`]).
    #[must_use]
    pub const fn read_stdout(mut self) -> Self {
        self.read_stdout = true;
        self
    }

    /// Starts it.
    pub fn spawn(mut self) -> Running {
        let file = |path: &Path| File::create(path).expect("a file in the scratch folder");
        self.command.stderr(file(&self.stderr));
        self.command.stdout(if self.read_stdout { Stdio::piped() } else { file(&self.stdout).into() });
        let child = self.command.spawn().expect("bash starts");
        let group = Pid::from_child(&child);
        Running {
            child,
            group,
            script: self.script,
            status: self.status,
            stdout: self.stdout,
            stderr: self.stderr,
            began: Instant::now(),
            done: false,
        }
    }

    /// Runs it to its end, at most 30 s.
    pub fn run(self) -> Outcome {
        self.spawn().wait(Duration::from_secs(30))
    }
}

/// A script that runs. Whatever is left of its process group is killed when this is dropped.
pub struct Running {
    child: Child,
    group: Pid,
    script: String,
    status: PathBuf,
    stdout: PathBuf,
    stderr: PathBuf,
    began: Instant,
    done: bool,
}

impl Running {
    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes longer than `limit`.
    pub fn wait(mut self, limit: Duration) -> Outcome {
        let ended = await_until(limit, || self.has_ended());
        let wall = self.began.elapsed();
        assert!(ended, "still running after {limit:?}: {}\nstderr:\n{}", self.script, self.stderr());
        self.done = true;
        let status = fs::read_to_string(&self.status).unwrap_or_default();
        Outcome {
            codes: status.split_whitespace().filter_map(|code| code.parse().ok()).collect(),
            stdout: fs::read(&self.stdout).unwrap_or_default(),
            stderr: self.stderr(),
            script: self.script.clone(),
            wall,
        }
    }

    /// Whether bash has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// What it has said on stderr so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Its stdout, once; only with [`Shell::read_stdout`].
    pub fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("stdout is read by the test")
    }

    /// What Ctrl-C in a terminal does: SIGINT to the whole process group.
    pub fn interrupt(&self) {
        let _gone = kill_process_group(self.group, Signal::INT);
    }

    /// The pid of the process of that name in the group.
    ///
    /// # Panics
    /// When there is none within 30 s.
    pub fn pid_of(&self, name: &str) -> Pid {
        let mut found = None;
        await_until(Duration::from_secs(30), || {
            found = self.members().into_iter().find(|(_, command)| command == name).map(|(pid, _)| pid);
            found.is_some()
        });
        found.and_then(Pid::from_raw).unwrap_or_else(|| panic!("no {name} in: {}\n{}", self.script, self.stderr()))
    }

    /// Pids and names of what runs in the group, zombies left out.
    pub fn members(&self) -> Vec<(i32, String)> {
        let group = self.group.as_raw_nonzero().get();
        let processes = fs::read_dir("/proc").expect("/proc").flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        numbers.filter_map(|pid| Some((pid, member_name(pid, group)?))).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _none_left = kill_process_group(self.group, Signal::KILL);
        if !self.done {
            let _reaped = self.child.wait();
        }
    }
}

/// The name of process `pid` where it lives and belongs to `group`.
fn member_name(pid: i32, group: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = tail.split(' ').collect();
    let alive = fields.first()? != &"Z";
    let name = head.split_once('(')?.1.to_owned();
    (alive && fields.get(2)?.parse() == Ok(group)).then_some(name)
}

/// How a script ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit codes of all stages of the last pipeline.
    pub codes: Vec<i32>,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What all stages said.
    pub stderr: String,
    /// What ran.
    pub script: String,
    /// How long it took.
    pub wall: Duration,
}

impl Outcome {
    /// All stages ended with 0.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        let good = !self.codes.is_empty() && self.codes.iter().all(|&code| code == 0);
        assert!(good, "exit codes {:?} of: {}\nstderr:\n{}", self.codes, self.script, self.stderr);
        self
    }

    /// All stages ended with 0 and none had anything to say.
    #[track_caller]
    pub fn succeeded_silently(self) -> Self {
        let outcome = self.succeeded();
        assert_eq!(outcome.stderr, "", "{}", outcome.script);
        outcome
    }

    /// The last pipeline's stages ended with these codes.
    #[track_caller]
    pub fn exited(self, codes: &[i32]) -> Self {
        assert_eq!(self.codes, codes, "exit codes of: {}\nstderr:\n{}", self.script, self.stderr);
        self
    }

    /// stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Looks every 5 ms whether `condition` holds; false when it does not within `limit`.
pub fn await_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// Sends a signal to one process that the test started.
pub fn signal(pid: Pid, signal: Signal) {
    kill_process(pid, signal).expect("the process lives");
}

/// Fails where a program is missing.
///
/// # Panics
/// When none of the folders in PATH has it.
pub fn need(programs: &[&str]) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for program in programs {
        let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
        assert!(found, "{program} is missing: run scripts/setup, which installs it");
    }
}

/// The command that runs another in namespaces of its own: `kinds` as `unshare` takes them, `n` for the network, `m` for
/// mounts. Who is root already needs no user namespace, which a container or a chroot may refuse.
pub fn unshare(kinds: &str) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    format!("unshare -{}{kinds}", if root { "" } else { "r" })
}

/// The folder of the stages' binaries.
pub(crate) fn binaries() -> PathBuf {
    let exe = std::env::current_exe().expect("the test knows its own path");
    let dir = exe.parent().and_then(Path::parent).expect("it lies in target/PROFILE/deps").to_owned();
    assert!(dir.join("vox-capture").is_file(), "vox-capture is not in {}: cargo build --workspace", dir.display());
    dir
}
