//! The environment variables that heaplay reads, passes on or sets: a documented constant each.
//! `docs/reference/environment.md` is generated from [`VARIABLES`]. This module imports nothing of
//! the crate.
#![cfg_attr(
    not(feature = "internals"),
    expect(dead_code, reason = "a test writes the reference from the table")
)]

/// Where a variable comes from, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VariableRole {
    /// The caller or the system sets it, and heaplay reads it.
    Read,
    /// The caller sets it, and it reaches the allocators in every child.
    PassedOn,
    /// heaplay sets it for programs and children that it starts.
    Set,
    /// heaplay sets it for its own processes; nobody else does.
    Internal,
}

impl VariableRole {
    /// Every role, in the order of the reference.
    pub const ALL: [VariableRole; 4] =
        [VariableRole::Read, VariableRole::PassedOn, VariableRole::Set, VariableRole::Internal];

    /// What a variable of this role is, in a sentence.
    pub fn describe(self) -> &'static str {
        match self {
            VariableRole::Read => "The caller or the system sets these, and heaplay reads them.",
            VariableRole::PassedOn => {
                "The caller sets these, and they reach every child that measures. All other \
                 variables are removed from the environment of a child, so that its memory does not \
                 depend on the caller."
            }
            VariableRole::Set => "heaplay sets these for the programs and children that it starts.",
            VariableRole::Internal => "heaplay sets these for its own processes.",
        }
    }
}

/// An environment variable, or all that begin with a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The name; a prefix ends with `*`.
    pub name: &'static str,
    /// Where it comes from.
    pub role: VariableRole,
    /// The verbs or the backends that read it.
    pub reader: &'static str,
    /// The effect.
    pub meaning: &'static str,
}

/// Declares a constant for each name, and [`VARIABLES`].
macro_rules! variables {
    ($($constant:ident = $name:literal, $role:ident, $reader:literal, $meaning:expr;)*) => {
        $(#[doc = concat!("`", $name, "`: see [`VARIABLES`].")]
        pub const $constant: &str = $name;)*

        /// Every variable, in the order of the reference.
        pub const VARIABLES: &[Variable] = &[
            $(Variable {
                name: $constant,
                role: VariableRole::$role,
                reader: $reader,
                meaning: $meaning,
            },)*
        ];
    };
}

variables! {
    PATH = "PATH", Read, "run, check, record, backends",
        "where `valgrind`, the program to record and interpreters are searched";
    TMPDIR = "TMPDIR", Read, "run, check, record, calibrate",
        "the folder of temporary files; `/tmp` without it";
    HOME = "HOME", Read, "the backend `python`",
        "interpreters are also searched in `.pyenv` of this folder";
    PYENV_ROOT = "PYENV_ROOT", Read, "the backend `python`",
        "the folder of pyenv, instead of `.pyenv` in the home folder";
    GITHUB_ACTIONS = "GITHUB_ACTIONS", Read, "check",
        "with the value `true`, `::error` lines are printed as with `--github`";
    HEAPLAY_SHARD = "HEAPLAY_SHARD", Read, "run --shard auto", "the shard, such as `2/8`";
    HEAPLAY_SHARDS = "HEAPLAY_SHARDS", Read, "run --shard auto",
        "the number of shards, where the scheduler's variables lack it (Kubernetes)";
    SLURM_ARRAY_TASK_ID = "SLURM_ARRAY_TASK_ID", Read, "run --shard auto",
        "the task of a Slurm array; its shard follows from `SLURM_ARRAY_TASK_MIN`, `_STEP` and `_COUNT`";
    SLURM_ARRAY_TASK_MIN = "SLURM_ARRAY_TASK_MIN", Read, "run --shard auto",
        "the first task of the array";
    SLURM_ARRAY_TASK_STEP = "SLURM_ARRAY_TASK_STEP", Read, "run --shard auto",
        "the step between tasks of the array; 1 without it";
    SLURM_ARRAY_TASK_COUNT = "SLURM_ARRAY_TASK_COUNT", Read, "run --shard auto",
        "the number of tasks, which is that of the shards";
    JOB_COMPLETION_INDEX = "JOB_COMPLETION_INDEX", Read, "run --shard auto",
        "the index of a pod in an indexed Job of Kubernetes, from 0";
    CI_NODE_INDEX = "CI_NODE_INDEX", Read, "run --shard auto",
        "the job of GitLab's `parallel`, from 1";
    CI_NODE_TOTAL = "CI_NODE_TOTAL", Read, "run --shard auto", "the number of such jobs";
    NO_COLOR = "NO_COLOR", Read, "every verb", "any value turns colours off";
    CLICOLOR_FORCE = "CLICOLOR_FORCE", Read, "every verb",
        "any value but `0` turns colours on, even where the output is no terminal";
    CFLAGS = "CFLAGS", Read, "calibrate",
        "`--rebuild` adds an alignment of functions, and passes it on to the command";
    CXXFLAGS = "CXXFLAGS", Read, "calibrate", "as `CFLAGS`";
    RUSTFLAGS = "RUSTFLAGS", Read, "calibrate", "as `CFLAGS`";
    RECORD_PYTHONMALLOC = "PYTHONMALLOC", Read, "the recorder in the recorded program",
        "any value removes the recorder's hooks, so nothing is recorded";
    PYTHONDEVMODE = "PYTHONDEVMODE", Read, "the recorder in the recorded program",
        "it puts CPython's debug allocator in the place of the hooks, so nothing is recorded";
    PYTHONTRACEMALLOC = "PYTHONTRACEMALLOC", Read, "the recorder in the recorded program",
        "its own memory would count as the program's, so nothing is recorded";

    GLIBC_TUNABLES = "GLIBC_TUNABLES", PassedOn, "malloc",
        "tunables of the C library, joined with those of the backend's settings";
    MALLOC_VARIABLES = "MALLOC_*", PassedOn, "malloc, and libraries by path",
        "variables of the C library's malloc and of other allocators, such as `MALLOC_CONF`";
    MIMALLOC_VARIABLES = "MIMALLOC_*", PassedOn, "mimalloc", "options of mimalloc";
    RJEM_MALLOC_CONF = "_RJEM_MALLOC_CONF", PassedOn, "jemalloc",
        "options of the jemalloc that is compiled in; the backend's settings replace it";
    LD_LIBRARY_PATH = "LD_LIBRARY_PATH", PassedOn, "the dynamic linker",
        "where libraries are searched; it is not part of the record of the machine";

    LD_PRELOAD = "LD_PRELOAD", Set, "the dynamic linker",
        "`record` puts the recorder before the libraries that stand there, and `preload:PATH` its \
         library. The caller's value does not reach the children";
    MALLOC_CONF = "MALLOC_CONF", Set, "jemalloc by path",
        "options of a jemalloc that is loaded from a file: a setting of `so:` and `preload:`";
    PYTHONMALLOC = "PYTHONMALLOC", Set, "the backend `python`",
        "`malloc`, so that the interpreter itself does not use the pymalloc that is measured";
    PYTHONHASHSEED = "PYTHONHASHSEED", Set, "live",
        "`0` in the runs whose instructions are counted, unless the caller sets it: another seed is \
         another order of sets";
    PYTHONHOME = "PYTHONHOME", Set, "the backend `python`",
        "the folder of the interpreter's standard library";

    HEAPLAY_RECORD = "HEAPLAY_RECORD", Internal, "the recorder in the recorded program",
        "what to record; `heaplay record` sets it, and `heaplay recorder` prints it";
    HEAPLAY_OBSERVE = "HEAPLAY_OBSERVE", Internal, "the observer in a program of `live`",
        "the file for what the observer reads; `heaplay live` sets it";
    HEAPLAY_LAYOUT = "HEAPLAY_LAYOUT", Internal, "a child, and the command of `calibrate --rebuild`",
        "in a child its length moves the stack, so that addresses follow from it. The command gets \
         the number of the build";
    HEAPLAY_PYTHON_LIBRARY = "HEAPLAY_PYTHON_LIBRARY", Internal, "the backend `python`",
        "the interpreter's library, found by the parent";
}

/// [`GLIBC_TUNABLES`] for C: for code that must not allocate.
pub const GLIBC_TUNABLES_C: &std::ffi::CStr = c"GLIBC_TUNABLES";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_there_once_in_each_role() {
        let mut names: Vec<(&str, VariableRole)> =
            VARIABLES.iter().map(|variable| (variable.name, variable.role)).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(VARIABLES.is_sorted_by_key(|variable| variable.role));
    }
}
