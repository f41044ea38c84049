//! Runs the recorded program as a child, and passes signals on to it.
//!
//! A terminal sends Ctrl-C and the like to the program as well, so heaplay only survives them. A
//! signal sent by `kill` reaches only heaplay, which sends it on.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use anyhow::Context;

use super::limits::order;
use crate::environment::LD_PRELOAD;

/// The signals that are passed on to the program.
const SIGNALS: [i32; 6] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// The child's process id; 0 before its start and after its end.
static CHILD: AtomicI32 = AtomicI32::new(0);
/// A signal that came before the start of the child; 0 for none.
static EARLY: AtomicI32 = AtomicI32::new(0);
/// Whether a signal came that ends a program, from whomever.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// The program to run.
pub struct ChildCommand<'a> {
    /// The program's name for itself (`argv[0]`).
    pub name: &'a OsStr,
    /// The program's file.
    pub path: &'a Path,
    /// The program's arguments.
    pub arguments: &'a [OsString],
    /// The value of `LD_PRELOAD`.
    pub preload: OsString,
    /// The value of [`order::VARIABLE`].
    pub order: OsString,
}

/// How the child ended.
pub struct ChildExit {
    /// The child's process id.
    pub pid: u32,
    status: ExitStatus,
}

impl ChildExit {
    /// The child's own exit code, or 128 + n for signal n, as in a shell.
    pub fn exit_code(&self) -> ExitCode {
        let code = self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal));
        ExitCode::from(code.and_then(|code| u8::try_from(code & 0xFF).ok()).unwrap_or(2))
    }

    /// How the child ended, as text: `signal 9` or `exit status 3`.
    pub fn signal_or_status(&self) -> Option<String> {
        let signal = self.status.signal().map(|signal| format!("signal {signal}"));
        signal.or_else(|| self.status.code().map(|code| format!("exit status {code}")))
    }

    /// Whether the recorder ended the child before its program began. A program that ends with that
    /// status has a log of its own, unless it is not recorded.
    pub fn is_recorders(&self) -> bool {
        self.status.code() == Some(order::NOT_STARTED)
    }

    /// Whether the child ended by itself with exit code 0.
    pub fn is_success(&self) -> bool {
        self.status.success()
    }
}

/// Runs the program to its end.
///
/// # Errors
/// When the program cannot be started.
pub fn run(command: ChildCommand<'_>) -> anyhow::Result<ChildExit> {
    forward_signals();
    let mut child = Command::new(command.path)
        .arg0(command.name)
        .args(command.arguments)
        .env(LD_PRELOAD, command.preload)
        .env(order::VARIABLE, command.order)
        .spawn()
        .with_context(|| format!("{}: cannot be started", command.path.display()))?;
    let pid = child.id();
    CHILD.store(i32::try_from(pid).unwrap_or(0), Ordering::SeqCst);
    let early = EARLY.swap(0, Ordering::SeqCst);
    if early != 0 {
        send_on(early);
    }
    let status = child.wait();
    CHILD.store(0, Ordering::SeqCst);
    Ok(ChildExit { pid, status: status.context("waiting for the program")? })
}

/// Whether a signal came that ends a program: no further run shall begin.
pub fn is_stopped() -> bool {
    STOPPED.load(Ordering::SeqCst)
}

/// Catches the program's signals. `exec` restores the default effect of a caught signal in the child.
/// A signal that was ignored at the start of heaplay (by `nohup`) stays ignored in both.
#[expect(unsafe_code, reason = "std has no way to catch a signal and see who sent it")]
fn forward_signals() {
    for signal in SIGNALS {
        // SAFETY: both structs are plain data and completely filled. The handler calls only
        // async-signal-safe functions.
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

/// The handler. It is async-signal-safe: it uses three atomics and calls `kill`.
#[expect(unsafe_code, reason = "a signal handler is given a C struct")]
extern "C" fn on_signal(signal: i32, info: *const libc::siginfo_t, _context: *mut libc::c_void) {
    let is_ending = !matches!(signal, libc::SIGUSR1 | libc::SIGUSR2);
    STOPPED.fetch_or(is_ending, Ordering::SeqCst);
    // SAFETY: with SA_SIGINFO the kernel passes a valid struct. Codes above 0 are signals of the
    // kernel, such as a terminal's, which reach the child, too.
    let is_by_process = unsafe { info.as_ref() }.is_none_or(|info| info.si_code <= 0);
    if is_by_process {
        send_on(signal);
    }
}

#[expect(unsafe_code, reason = "kill is a C call")]
fn send_on(signal: i32) {
    let child = CHILD.load(Ordering::SeqCst);
    if child > 0 {
        // SAFETY: a plain call. The child has not been waited for, so the number is still its own.
        unsafe { libc::kill(child, signal) };
    } else {
        EARLY.store(signal, Ordering::SeqCst);
    }
}
