//! A message from one thread to another. The receiver sleeps in the kernel until it comes.

use std::sync::atomic::{AtomicU32, Ordering};

use super::futex;

/// Nothing was posted, and nobody sleeps.
const EMPTY: u32 = 0;
/// Nothing was posted, and the owner sleeps.
const SLEEPING: u32 = 1;
/// The smallest number that can be posted.
pub(super) const FIRST_MESSAGE: u32 = 2;

/// The mailbox of one thread. It holds one message, which is taken before the next is posted.
#[derive(Debug, Default)]
pub(super) struct Mailbox(AtomicU32);

impl Mailbox {
    /// Posts a message. Everything that the poster did before is visible to the owner afterwards.
    pub fn post(&self, message: u32) {
        debug_assert!(message >= FIRST_MESSAGE);
        let before = self.0.swap(message, Ordering::AcqRel);
        debug_assert!(before < FIRST_MESSAGE, "the last message was not taken");
        if before == SLEEPING {
            futex::wake(&self.0, 1);
        }
    }

    /// Waits for a message and takes it. Only the owner calls it.
    pub fn take(&self) -> u32 {
        loop {
            let exchanged =
                self.0.compare_exchange(EMPTY, SLEEPING, Ordering::Relaxed, Ordering::Acquire);
            if let Err(message) = exchanged
                && message >= FIRST_MESSAGE
            {
                self.0.store(EMPTY, Ordering::Relaxed);
                return message;
            }
            // Returns at once where a message came meanwhile.
            futex::wait(&self.0, SLEEPING);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two threads alternate, and each sees what the other wrote, without a further lock.
    #[test]
    fn a_message_carries_what_was_written_before_it() {
        const ROUNDS: u32 = 20_000;
        let (mine, yours) = (Mailbox::default(), Mailbox::default());
        let written = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    assert_eq!(yours.take(), FIRST_MESSAGE + round % 7);
                    assert_eq!(written.load(Ordering::Relaxed), 2 * round + 1);
                    written.store(2 * round + 2, Ordering::Relaxed);
                    mine.post(FIRST_MESSAGE);
                }
            });
            for round in 0..ROUNDS {
                written.store(2 * round + 1, Ordering::Relaxed);
                yours.post(FIRST_MESSAGE + round % 7);
                assert_eq!(mine.take(), FIRST_MESSAGE);
                assert_eq!(written.load(Ordering::Relaxed), 2 * round + 2);
            }
        });
    }
}
