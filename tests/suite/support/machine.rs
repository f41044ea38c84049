//! Who may use the machine: tests that assert a time have it for themselves.

use std::cell::Cell;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::new(());

thread_local! {
    static IS_EXCLUSIVE: Cell<bool> = const { Cell::new(false) };
}

/// While this lives, no other test runs a program.
pub struct Exclusive(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>);

/// Waits until no other test runs a program, and lets none begin.
pub fn exclusive() -> Exclusive {
    let guard = MACHINE.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    IS_EXCLUSIVE.set(true);
    Exclusive(guard)
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        IS_EXCLUSIVE.set(false);
    }
}

/// Waits while another test has the machine for itself. Not to be called twice in one thread.
pub fn shared() -> Option<RwLockReadGuard<'static, ()>> {
    if IS_EXCLUSIVE.get() {
        return None;
    }
    Some(MACHINE.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
}
