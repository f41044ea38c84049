//! The threads of a replay: each call is made on the thread that made it in the recorded program.
//!
//! [`RecordedOrder`] makes the calls in their recorded order, one at a time. The OS threads pass a
//! baton: whoever holds it makes the calls of its run, then passes it to the thread of the next
//! run. So a replay is as deterministic as one on a single thread, and it has the arenas, the thread
//! caches and the remote frees of the program.
//!
//! In free order ([`free_order()`]) the threads run at once on all processors. They wait only for
//! the blocks of other threads that they end. This shows contention and scaling.
//!
//! | file | what it has |
//! |---|---|
//! | `recorded_order.rs` | the executor |
//! | `free_order.rs` | the executor of [`free_order()`]: all threads at once |
//! | `split.rs` | a program, split by thread, for free order |
//! | `cells.rs` | blocks that go from one thread to another, and the waits for them |
//! | `shared_reference.rs` | the reference heap that threads share, for `verify` |
//! | `schedule.rs` | when threads begin and end, and the program's requests to its allocator |
//! | `os_thread.rs` | a thread on a stack of the harness's memory |
//! | `mailbox.rs`, `futex.rs` | a message from one thread to another; sleeping in the kernel |

mod cells;
mod free_order;
mod futex;
mod mailbox;
mod os_thread;
mod recorded_order;
mod schedule;
mod shared_reference;
mod split;

pub use cells::Waits;
pub use free_order::{FreeOrderMeasure, FreeOrderResult, LaneResult, free_order};
pub(super) use recorded_order::RecordedOrder;
pub use recorded_order::ThreadCounts;
pub use schedule::ThreadLife;
pub(super) use schedule::thread_lives;
pub use split::Lanes;
