//! How an error ends the program: its chain of causes on standard error, and the exit status.

use std::process::ExitCode;

use super::exit::Exit;
use super::near_path;
use super::terminal::note;

/// The exit code of a verb that ended so. An error is printed with its causes.
pub(super) fn exit_code(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => Exit::Fine.into(),
        Err(error) => {
            note(chain(&error));
            if is_for_now(&error) { Exit::Retry.into() } else { Exit::Failed.into() }
        }
    }
}

/// The error and its causes, and the near name of a path that is not there.
pub(super) fn chain(error: &anyhow::Error) -> String {
    causes(error) + &near_path::suggestion(error)
}

/// The error and its causes, outermost first. Where an error quotes its cause in its own sentence,
/// the cause is not repeated. Where a cause begins with the same path, the path is not repeated.
fn causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        text if text.contains(&cause) => text.to_owned(),
        text if cause.strip_prefix(text).is_some_and(|rest| rest.starts_with(':')) => cause,
        text => format!("{text}: {cause}"),
    })
}

/// Whether the machine lacked something that it may have later: space on a disk, memory, processes, files.
fn is_for_now(error: &anyhow::Error) -> bool {
    let lacks = |error: &std::io::Error| {
        let code = error.raw_os_error();
        [libc::ENOSPC, libc::EDQUOT, libc::ENOMEM, libc::EAGAIN, libc::EMFILE, libc::ENFILE]
            .into_iter()
            .any(|lack| code == Some(lack))
    };
    error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).any(lacks)
}

/// Whether the reader of the output closed the pipe early (`heaplay inspect … | head`): no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
