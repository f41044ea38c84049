//! Room `cli`, verb `record`: the recorded program as a child, with the signals that are meant for
//! it.
//!
//! A terminal sends Ctrl-C and the like to the program as well, so heaplay only survives them. What
//! is sent by `kill` reaches heaplay alone, and is handed on.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::Context;

/// The signals that are the program's business.
const SIGNALS: [i32; 6] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// The child's process id; 0 before it started and after it ended.
static CHILD: AtomicI32 = AtomicI32::new(0);
/// A signal that came before the child was there; 0 for none.
static EARLY: AtomicI32 = AtomicI32::new(0);

/// What to run.
pub struct Job<'a> {
    /// The program's name for itself.
    pub name: &'a OsStr,
    /// Its file.
    pub path: &'a Path,
    /// Its arguments.
    pub arguments: &'a [OsString],
    /// `LD_PRELOAD`.
    pub preload: OsString,
    /// `HEAPLAY_RECORD`.
    pub order: OsString,
}

/// How the child ended.
pub struct Code {
    /// Its process id.
    pub pid: u32,
    status: ExitStatus,
}

impl Code {
    /// The child's own exit code, or 128 + n for signal n, as a shell says it.
    pub fn exit_code(&self) -> ExitCode {
        let code = self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal));
        ExitCode::from(code.and_then(|code| u8::try_from(code & 0xFF).ok()).unwrap_or(2))
    }

    /// Whether it ended by itself with 0.
    pub fn is_success(&self) -> bool {
        self.status.success()
    }
}

/// Runs the program to its end.
///
/// # Errors
/// When it cannot be started.
pub fn run(job: Job<'_>) -> anyhow::Result<Code> {
    forward_signals();
    let mut child = Command::new(job.path)
        .arg0(job.name)
        .args(job.arguments)
        .env("LD_PRELOAD", job.preload)
        .env("HEAPLAY_RECORD", job.order)
        .spawn()
        .with_context(|| format!("{}: cannot be started", job.path.display()))?;
    let pid = child.id();
    CHILD.store(i32::try_from(pid).unwrap_or(0), Ordering::SeqCst);
    let early = EARLY.swap(0, Ordering::SeqCst);
    if early != 0 {
        hand_on(early);
    }
    let status = child.wait();
    CHILD.store(0, Ordering::SeqCst);
    Ok(Code { pid, status: status.context("waiting for the program")? })
}

/// Catches the program's signals. A caught signal has its default effect again in the child, as
/// `exec` sees to; one that was ignored when heaplay was started (by `nohup`) stays ignored in
/// both.
#[expect(unsafe_code, reason = "std has no way to catch a signal and see who sent it")]
fn forward_signals() {
    for signal in SIGNALS {
        // SAFETY: both structs are plain data filled in whole; the handler does only what a handler
        // may.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut before) != 0
                || before.sa_sigaction == libc::SIG_IGN
            {
                continue;
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// The handler: async-signal-safe, for it touches two atomics and calls `kill`.
#[expect(unsafe_code, reason = "a signal handler is given a C struct")]
extern "C" fn on_signal(signal: i32, info: *const libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel hands over a valid struct. Codes above 0 are the kernel's
    // own, such as a terminal's, which reach the child too.
    let by_process = unsafe { info.as_ref() }.is_none_or(|info| info.si_code <= 0);
    if by_process {
        hand_on(signal);
    }
}

#[expect(unsafe_code, reason = "kill is a C call")]
fn hand_on(signal: i32) {
    let child = CHILD.load(Ordering::SeqCst);
    if child > 0 {
        // SAFETY: a plain call; the child has not been waited for, so the number is its own.
        unsafe { libc::kill(child, signal) };
    } else {
        EARLY.store(signal, Ordering::SeqCst);
    }
}
