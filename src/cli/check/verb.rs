//! Chooses the use of `check`, and reads the policy.

use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};

use super::options::CheckArgs;
use super::{init, list, sides, stored, traces};
use crate::backends;
use crate::check::Policy;
use crate::cli::exit::Exit;
use crate::cli::near_path::did_you_mean;
use crate::cli::terminal::print;

impl CheckArgs {
    /// Judges, prints and writes what was found.
    ///
    /// # Errors
    /// A side, trace or file that cannot be had, or a mixture of uses.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.list {
            print(&list::measures())?;
            return Ok(Exit::Fine.into());
        }
        if let Some(ci) = self.init {
            return init::write(ci);
        }
        let policy = read_policy(&self)?;
        if self.has_two_sides() {
            return sides::run(&self, &policy);
        }
        if let Some(recordings) = traces::named(&self)? {
            return traces::run(&self, &recordings, &policy);
        }
        match (self.baseline.as_slice(), self.paths.as_slice()) {
            ([baseline], [candidate]) => stored::run(&self, baseline.as_ref(), candidate, &policy),
            ([baseline, ..], _) if backends::parse(baseline).is_ok() => bail!(
                "--baseline {baseline} is a backend: name the other side, too, with --candidate"
            ),
            ([_, ..], _) => bail!("--baseline RUN takes one other run folder to judge"),
            ([], _) => bail!(
                "what is to be compared? TRACE… --baseline A --candidate B, or OLD.trace NEW.trace, \
                 or --old FILE… --new FILE…, or --baseline RUN RUN"
            ),
        }
    }
}

/// The form of a policy, and where an example is.
const POLICY_FORM: &str =
    "a policy is TOML with margins and accepted increases: docs/guide/check.md has an example";

fn read_policy(args: &CheckArgs) -> anyhow::Result<Policy> {
    let policy = match &args.policy {
        None => Policy::default(),
        Some(path) => {
            let bytes = std::fs::read(path).with_context(|| {
                format!("the policy {}: check the path{}", path.display(), did_you_mean(path))
            })?;
            let Ok(text) = String::from_utf8(bytes) else {
                bail!("the policy {}: no text; {POLICY_FORM}", path.display());
            };
            Policy::read(&text)
                .map_err(|error| anyhow!("the policy {}, {error}; {POLICY_FORM}", path.display()))?
        }
    };
    Ok(policy.with_recording_tolerance(args.recording_tolerance))
}
