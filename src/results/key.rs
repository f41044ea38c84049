//! The keys of the run record: which cell a row belongs to, and which calls of it a figure is
//! about.

use serde::{Deserialize, Serialize};

/// Which measurement a child made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// Nothing but the loop, and a clock read every few thousand calls.
    Time,
    /// A clock pair around each call.
    Latency,
    /// Every page of every block touched; pointers accounted; resident memory sampled.
    Footprint,
    /// As the time pass, with the program's first and last access to each block.
    Touch,
    /// As the touch pass, with other code between two calls.
    Cold,
    /// Live blocks walked in the order of their births.
    Traversal,
    /// Resident memory in free order: all threads at once, every page of every block touched.
    Free,
}

impl Pass {
    /// The passes in recorded order, in the order in which they are run.
    pub const RECORDED: [Pass; 6] =
        [Pass::Footprint, Pass::Time, Pass::Touch, Pass::Cold, Pass::Traversal, Pass::Latency];

    /// The name used in tables and options.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Time => "time",
            Pass::Latency => "latency",
            Pass::Footprint => "footprint",
            Pass::Touch => "touch",
            Pass::Cold => "cold",
            Pass::Traversal => "traversal",
            Pass::Free => "free",
        }
    }

    /// Whether its children are timed, so that they run interleaved on one processor.
    pub fn is_timed(self) -> bool {
        !matches!(self, Pass::Footprint | Pass::Free)
    }
}

/// One cell of a run: what one child was to do. The key of every table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CellKey {
    /// The trace's name in the manifest.
    pub trace: String,
    /// The backend's spec, settings and all.
    pub backend: String,
    /// Which measurement.
    pub pass: Pass,
    /// From 0.
    pub repetition: u32,
}

/// One kind of call, as it is named in the column `op` of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// `malloc(size)`.
    Malloc,
    /// `calloc(1, size)`.
    Calloc,
    /// `realloc(block, size)`.
    Realloc,
    /// `free(block)`.
    Free,
}

impl Operation {
    /// All operations, in the order of the tables.
    pub const ALL: [Operation; 4] =
        [Operation::Malloc, Operation::Calloc, Operation::Realloc, Operation::Free];

    /// The name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Malloc => "malloc",
            Operation::Calloc => "calloc",
            Operation::Realloc => "realloc",
            Operation::Free => "free",
        }
    }

    /// The operation of that name.
    pub fn find(name: &str) -> Option<Operation> {
        Operation::ALL.into_iter().find(|operation| operation.name() == name)
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Which calls of a cell a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Scope {
    /// All calls: `all`.
    All,
    /// The calls of one operation, by its name.
    Op(Operation),
}

impl Scope {
    /// The name in the column `op`.
    pub fn name(self) -> &'static str {
        match self {
            Scope::All => "all",
            Scope::Op(operation) => operation.name(),
        }
    }
}

impl From<Scope> for &'static str {
    fn from(scope: Scope) -> &'static str {
        scope.name()
    }
}

impl From<Operation> for Scope {
    fn from(operation: Operation) -> Scope {
        Scope::Op(operation)
    }
}

impl TryFrom<String> for Scope {
    type Error = String;

    fn try_from(name: String) -> Result<Scope, String> {
        match name.as_str() {
            "all" => Ok(Scope::All),
            _ => Operation::find(&name).map(Scope::Op).ok_or_else(|| {
                format!("`{name}` is no operation: expected all, malloc, calloc, realloc or free")
            }),
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
