//! The threads of a replay: each call is made on the thread that made it in the recorded program.
//!
//! [`RecordedOrder`] makes the calls in their recorded order, one at a time. The OS threads pass a
//! baton: whoever holds it makes the calls of its run, then passes it to the thread of the next
//! run. So a replay is as deterministic as one on a single thread, and it has the arenas, the thread
//! caches and the remote frees of the program.
//!
//! | file | what it has |
//! |---|---|
//! | `recorded_order.rs` | the executor |
//! | `schedule.rs` | when threads begin and end, and the program's requests to its allocator |
//! | `os_thread.rs` | a thread on a stack of the harness's memory |
//! | `mailbox.rs` | a message from one thread to another, with a futex |

mod mailbox;
mod os_thread;
mod recorded_order;
mod schedule;

pub(super) use recorded_order::RecordedOrder;
pub use recorded_order::ThreadCounts;
