//! The option `--shard`, and what a scheduler says of the present task.

use anyhow::{Context, bail};

use crate::environment::{
    CI_NODE_INDEX, CI_NODE_TOTAL, HEAPLAY_SHARD, HEAPLAY_SHARDS, JOB_COMPLETION_INDEX,
    SLURM_ARRAY_TASK_COUNT, SLURM_ARRAY_TASK_ID, SLURM_ARRAY_TASK_MIN, SLURM_ARRAY_TASK_STEP,
};
use crate::results::Shard;

/// Which part of a run is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardChoice {
    /// That one.
    Given(Shard),
    /// The one that the scheduler's variables name.
    Auto,
}

/// Reads the value of the option.
///
/// # Errors
/// A text that is neither `K/N` nor `auto`.
pub fn parse_shard(text: &str) -> Result<ShardChoice, String> {
    match text {
        "auto" => Ok(ShardChoice::Auto),
        _ => text.parse().map(ShardChoice::Given).map_err(|error| format!("{error}, or auto")),
    }
}

impl ShardChoice {
    /// The shard, by the variables of this process.
    ///
    /// # Errors
    /// With `auto`, when no scheduler names one, or its numbers do not fit.
    pub fn shard(self) -> anyhow::Result<Shard> {
        match self {
            ShardChoice::Given(shard) => Ok(shard),
            ShardChoice::Auto => {
                by_scheduler(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
            }
        }
    }
}

/// The shard that the variables name: [`HEAPLAY_SHARD`], a Slurm array, an indexed Job of
/// Kubernetes, or GitLab's `parallel`.
fn by_scheduler(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Shard> {
    let number = |name: &str| -> anyhow::Result<Option<u32>> {
        let Some(text) = variable(name) else { return Ok(None) };
        let number = text.trim().parse().ok();
        number.map(Some).with_context(|| format!("{name}={text}: expected a number"))
    };
    let needed = |name: &str, with: &str| {
        number(name)?.with_context(|| format!("{with} is set and {name} is not; give --shard K/N"))
    };
    let shard = |index: u32, count: u32, names: &str| {
        let found = Shard::new(index, count);
        found.with_context(|| format!("{names}: {index} of {count} is no shard; give --shard K/N"))
    };
    if let Some(text) = variable(HEAPLAY_SHARD) {
        return text.parse().map_err(|error| anyhow::anyhow!("{HEAPLAY_SHARD}={error}"));
    }
    let shards = number(HEAPLAY_SHARDS)?;
    if let Some(id) = number(SLURM_ARRAY_TASK_ID)? {
        let least = needed(SLURM_ARRAY_TASK_MIN, SLURM_ARRAY_TASK_ID)?;
        let count = needed(SLURM_ARRAY_TASK_COUNT, SLURM_ARRAY_TASK_ID)?;
        let step = number(SLURM_ARRAY_TASK_STEP)?.unwrap_or(1).max(1);
        let from_least = id.checked_sub(least).filter(|distance| distance % step == 0);
        let Some(distance) = from_least else {
            bail!(
                "{SLURM_ARRAY_TASK_ID}={id} is no step of {step} from {least}; expected an array such \
                 as --array=1-8; give --shard K/N"
            );
        };
        if let Some(shards) = shards.filter(|&shards| shards != count) {
            bail!(
                "the array has {count} tasks and {HEAPLAY_SHARDS} is {shards}; for a part of an array \
                 give --shard K/{shards}"
            );
        }
        return shard(distance / step + 1, count, SLURM_ARRAY_TASK_ID);
    }
    if let Some(index) = number(JOB_COMPLETION_INDEX)? {
        let count = shards.with_context(|| {
            format!(
                "{JOB_COMPLETION_INDEX} is set and {HEAPLAY_SHARDS} is not; set it to the Job's \
                 `completions`"
            )
        })?;
        return shard(index.saturating_add(1), count, JOB_COMPLETION_INDEX);
    }
    if let Some(index) = number(CI_NODE_INDEX)? {
        return shard(index, needed(CI_NODE_TOTAL, CI_NODE_INDEX)?, CI_NODE_INDEX);
    }
    bail!(
        "--shard auto: no scheduler names a shard; expected {HEAPLAY_SHARD}, a Slurm array \
         ({SLURM_ARRAY_TASK_ID}), an indexed Job ({JOB_COMPLETION_INDEX}) or {CI_NODE_INDEX}; give \
         --shard K/N"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &str) -> Result<String, String> {
        let pairs: Vec<(&str, &str)> =
            variables.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
        let value =
            |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned());
        by_scheduler(value).map(|shard| shard.to_string()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn schedulers_are_understood() {
        let slurm = "SLURM_ARRAY_TASK_MIN=10 SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_STEP=5";
        for (variables, shard) in [
            ("HEAPLAY_SHARD=2/8 SLURM_ARRAY_TASK_ID=1", "2/8"),
            (&*format!("SLURM_ARRAY_TASK_ID=10 {slurm}"), "1/4"),
            (&*format!("SLURM_ARRAY_TASK_ID=25 {slurm} HEAPLAY_SHARDS=4"), "4/4"),
            ("SLURM_ARRAY_TASK_ID=0 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_COUNT=8", "1/8"),
            ("JOB_COMPLETION_INDEX=0 HEAPLAY_SHARDS=3", "1/3"),
            ("JOB_COMPLETION_INDEX=2 HEAPLAY_SHARDS=3", "3/3"),
            ("CI_NODE_INDEX=1 CI_NODE_TOTAL=2", "1/2"),
        ] {
            assert_eq!(found(variables).as_deref(), Ok(shard), "{variables}");
        }
        for (variables, part) in [
            ("", "no scheduler names a shard"),
            ("HEAPLAY_SHARD=9/8", "such as 2/8"),
            (&*format!("SLURM_ARRAY_TASK_ID=11 {slurm}"), "is no step of 5 from 10"),
            (&*format!("SLURM_ARRAY_TASK_ID=10 {slurm} HEAPLAY_SHARDS=8"), "give --shard K/8"),
            ("SLURM_ARRAY_TASK_ID=1", "SLURM_ARRAY_TASK_MIN is not"),
            ("JOB_COMPLETION_INDEX=0", "HEAPLAY_SHARDS is not"),
            ("JOB_COMPLETION_INDEX=3 HEAPLAY_SHARDS=3", "4 of 3 is no shard"),
            ("CI_NODE_INDEX=x CI_NODE_TOTAL=2", "expected a number"),
            ("CI_NODE_INDEX=0 CI_NODE_TOTAL=2", "0 of 2 is no shard"),
        ] {
            assert!(found(variables).unwrap_err().contains(part), "{variables}");
        }
    }
}
