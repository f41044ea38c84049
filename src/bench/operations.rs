//! A program's actions as the run record names them.

use crate::program::Action;
use crate::results::{Operation, Scope};

impl From<Action> for Operation {
    fn from(action: Action) -> Operation {
        match action {
            Action::Malloc => Operation::Malloc,
            Action::Calloc => Operation::Calloc,
            Action::Realloc => Operation::Realloc,
            Action::Free => Operation::Free,
        }
    }
}

/// The scope of a figure about one action.
pub(super) fn scope_of(action: Action) -> Scope {
    Scope::Op(action.into())
}
