//! Makes the calls of a program in their recorded order, each on the thread that made it.
//!
//! The thread that replays stands for the program's first thread. It makes that thread's calls, and
//! it starts and ends the other threads. Whoever holds the baton calls the `step` of the pass for
//! its run of calls, then passes the baton to the thread of the next run directly. A hand-over costs
//! two system calls and a context switch. No `step` contains one, so a pass that times its steps
//! times no hand-over.
//!
//! A program of one thread has no such machinery: its `step` is called directly, once.
#![expect(unsafe_code, reason = "one thread at a time uses what all threads point to")]

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr;

use super::mailbox::{FIRST_MESSAGE, Mailbox};
use super::os_thread::{OsThread, Stacks};
use super::schedule::{Schedule, ThreadChange, first_thread};
use crate::backends::Backend;
use crate::program::{Outline, Program, ProgramThread, ThreadRun};
use crate::replay::error::ReplayError;
use crate::trace::AllocatorRequest;

/// The threads of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadCounts {
    /// Threads that made calls.
    pub threads: u64,
    /// Times that the baton went from one thread to another.
    pub hand_overs: u64,
}

/// The threads of a program, and the order of their calls.
pub(crate) struct RecordedOrder<'a> {
    /// `None` where one thread makes all calls, without requests to the allocator.
    crew: Option<Crew<'a>>,
}

impl<'a> RecordedOrder<'a> {
    /// The threads of the program of `outline`, which use `backend` one at a time.
    pub fn new(outline: &Outline, backend: &'a dyn Backend) -> RecordedOrder<'a> {
        let threads = outline.threads.as_slice();
        let schedule = Schedule::new(outline, threads);
        let is_needed = threads.len() > 1 || !schedule.is_empty();
        RecordedOrder { crew: is_needed.then(|| Crew::new(threads, schedule, outline, backend)) }
    }

    /// Whether one thread makes all calls, without interruption.
    pub fn is_one_run(&self) -> bool {
        self.crew.is_none()
    }

    /// Makes the calls of `range` of this part of the program: calls `step` for each run of them, on
    /// the thread that makes these calls. The ranges of one program come in order.
    ///
    /// # Errors
    /// Those of `step`, after which nothing more is made; and a thread that cannot be started.
    pub fn run(
        &mut self,
        part: &Program,
        range: Range<usize>,
        mut step: impl FnMut(Range<usize>) -> Result<(), ReplayError>,
    ) -> Result<(), ReplayError> {
        match &mut self.crew {
            None => step(range),
            Some(crew) => crew.run(part, range, &mut step),
        }
    }

    /// Ends all threads and begins again at the first call.
    pub fn restart(&mut self) {
        if let Some(crew) = &mut self.crew {
            crew.end_all();
            crew.schedule.restart();
        }
    }

    /// The threads so far.
    pub fn counts(&self) -> ThreadCounts {
        let one = ThreadCounts { threads: 1, hand_overs: 0 };
        self.crew.as_ref().map_or(one, |crew| ThreadCounts {
            threads: crew.threads.len().max(1) as u64,
            hand_overs: crew.hand_overs(),
        })
    }
}

/// What a pass does for a run of calls.
type RunStep<'s> = dyn FnMut(Range<usize>) -> Result<(), ReplayError> + 's;

/// Make calls, as far as they are this thread's.
const RUN: u32 = FIRST_MESSAGE;
/// Make the request to the allocator.
const REQUEST: u32 = FIRST_MESSAGE + 1;
/// End.
const END: u32 = FIRST_MESSAGE + 2;

/// The calls that are made now. Only the holder of the baton touches it.
struct Baton {
    /// The next call, and one past the last call that is to be made.
    at: usize,
    stop: usize,
    /// The runs of the part, and the one that `at` is in.
    runs: *const [ThreadRun],
    run: usize,
    step: Option<*mut RunStep<'static>>,
    failure: Option<ReplayError>,
    request: Option<AllocatorRequest>,
    hand_overs: u64,
}

/// What all threads point to.
struct Shared {
    /// By thread.
    mailboxes: Vec<Mailbox>,
    /// Of the thread that replays.
    driver: Mailbox,
    first_thread: u32,
    backend: *const dyn Backend,
    baton: UnsafeCell<Baton>,
}

/// The argument of a thread's body.
struct Seat {
    shared: *const Shared,
    thread: u32,
}

/// Who holds the baton next.
enum Next {
    /// Another thread of the program.
    Thread(u32),
    /// The thread that replays: it has calls to make, or nobody has.
    Driver,
}

impl Shared {
    /// Makes the calls that are `thread`'s, and returns who is next.
    ///
    /// # Safety
    /// The caller holds the baton, and `step` and `runs` are alive.
    unsafe fn make_calls(&self, thread: u32) -> Next {
        // SAFETY: only the holder of the baton touches it.
        let baton = unsafe { &mut *self.baton.get() };
        let Some(step) = baton.step else { return Next::Driver };
        // SAFETY: alive by the caller's promise.
        let (runs, step) = unsafe { (&*baton.runs, &mut *step) };
        while baton.at < baton.stop && runs[baton.run].thread == thread {
            let end = runs[baton.run].until.min(baton.stop);
            if let Err(failure) = step(baton.at..end) {
                baton.failure = Some(failure);
                baton.stop = baton.at;
                return Next::Driver;
            }
            baton.at = end;
            baton.run += usize::from(end == runs[baton.run].until);
        }
        match runs.get(baton.run) {
            Some(run) if baton.at < baton.stop && run.thread != self.first_thread => {
                baton.hand_overs += 1;
                Next::Thread(run.thread)
            }
            _ => {
                baton.hand_overs += u64::from(thread != self.first_thread);
                Next::Driver
            }
        }
    }

    fn pass(&self, next: &Next) {
        match next {
            Next::Thread(thread) => self.mailboxes[*thread as usize].post(RUN),
            Next::Driver => self.driver.post(RUN),
        }
    }

    fn backend(&self) -> &dyn Backend {
        // SAFETY: `Crew` borrows the backend and ends all threads before its borrow ends.
        unsafe { &*self.backend }
    }
}

/// The body of a thread. Its first message to the driver says that it has begun.
extern "C" fn body(seat: *mut c_void) -> *mut c_void {
    // SAFETY: `Crew::begin` passes a seat that is alive until the thread was joined, and so is what
    // it points to.
    let (shared, thread) = unsafe {
        let seat = &*seat.cast::<Seat>();
        (&*seat.shared, seat.thread)
    };
    shared.backend().thread_begins();
    shared.driver.post(RUN);
    let mailbox = &shared.mailboxes[thread as usize];
    loop {
        match mailbox.take() {
            RUN => {
                shared.backend().calls_resumed();
                // SAFETY: the message is the baton. The driver waits for it, in a function that
                // borrows `step` and `runs`.
                let next = unsafe { shared.make_calls(thread) };
                shared.backend().calls_paused();
                shared.pass(&next);
            }
            REQUEST => {
                shared.backend().calls_resumed();
                // SAFETY: the message is the baton.
                let request = unsafe { (*shared.baton.get()).request };
                if let Some(request) = request {
                    shared.backend().request(request);
                }
                shared.backend().calls_paused();
                shared.driver.post(RUN);
            }
            _ => break,
        }
    }
    shared.backend().thread_ends();
    ptr::null_mut()
}

/// The state of one thread of the program.
struct CrewThread {
    seat: Box<Seat>,
    running: Option<OsThread>,
    number: u32,
}

/// The machinery for several threads.
struct Crew<'a> {
    shared: Box<Shared>,
    schedule: Schedule,
    /// By index in the outline; empty where one thread makes all calls.
    threads: Vec<CrewThread>,
    stacks: Stacks,
    calls: u64,
    backend: PhantomData<&'a dyn Backend>,
}

impl<'a> Crew<'a> {
    fn new(
        threads: &[ProgramThread],
        schedule: Schedule,
        outline: &Outline,
        backend: &'a dyn Backend,
    ) -> Crew<'a> {
        let baton = Baton {
            at: 0,
            stop: 0,
            runs: &[],
            run: 0,
            step: None,
            failure: None,
            request: None,
            hand_overs: 0,
        };
        let backend: *const (dyn Backend + 'a) = backend;
        let shared = Box::new(Shared {
            mailboxes: threads.iter().map(|_| Mailbox::default()).collect(),
            driver: Mailbox::default(),
            first_thread: first_thread(threads),
            // SAFETY: only the lifetime changes. `Crew` is not longer alive than the backend, and
            // ends all threads when it is dropped.
            backend: unsafe {
                std::mem::transmute::<*const (dyn Backend + 'a), *const (dyn Backend + 'static)>(
                    backend,
                )
            },
            baton: UnsafeCell::new(baton),
        });
        let crew_thread = |(index, thread): (u32, &ProgramThread)| CrewThread {
            seat: Box::new(Seat { shared: &raw const *shared, thread: index }),
            running: None,
            number: thread.number,
        };
        Crew {
            threads: (0..).zip(threads).map(crew_thread).collect(),
            shared,
            schedule,
            stacks: Stacks::default(),
            calls: outline.calls,
            backend: PhantomData,
        }
    }

    /// The driver's access to the baton.
    fn baton(&mut self) -> &mut Baton {
        // SAFETY: `&mut self` is the driver's, and the other threads wait for messages.
        unsafe { &mut *self.shared.baton.get() }
    }

    fn hand_overs(&self) -> u64 {
        // SAFETY: `&self` is the driver's, and the other threads wait for messages.
        unsafe { (*self.shared.baton.get()).hand_overs }
    }

    /// See [`RecordedOrder::run`].
    fn run(
        &mut self,
        part: &Program,
        range: Range<usize>,
        step: &mut RunStep<'_>,
    ) -> Result<(), ReplayError> {
        let first = part.first();
        let one = [ThreadRun { until: part.instructions().len(), thread: 0 }];
        let has_threads = !self.threads.is_empty() && !part.thread_runs().is_empty();
        let runs = if has_threads { part.thread_runs() } else { &one };
        let mut at = range.start;
        while at < range.end {
            self.make_changes(first + at as u64)?;
            let next_change = self.schedule.next_event().map_or(u64::MAX, |event| event - first);
            let stop = usize::try_from(next_change).unwrap_or(usize::MAX).min(range.end);
            self.make_calls(runs, at..stop, step)?;
            at = stop;
        }
        if first + range.end as u64 == self.calls {
            self.make_changes(self.calls)?;
        }
        Ok(())
    }

    /// Makes calls between two changes.
    fn make_calls(
        &mut self,
        runs: &[ThreadRun],
        range: Range<usize>,
        step: &mut RunStep<'_>,
    ) -> Result<(), ReplayError> {
        let baton = self.baton();
        (baton.at, baton.stop) = (range.start, range.end);
        baton.runs = runs;
        baton.run = runs.partition_point(|run| run.until <= range.start);
        // SAFETY: only the lifetime changes. The pointer is used until this function returns: it
        // waits for the baton while another thread has it.
        let step = unsafe { std::mem::transmute::<*mut RunStep<'_>, *mut RunStep<'static>>(step) };
        baton.step = Some(step);
        let first_thread = self.shared.first_thread;
        loop {
            // SAFETY: the driver holds the baton, and `runs` and `step` are borrowed here.
            let next = unsafe { self.shared.make_calls(first_thread) };
            let Next::Thread(_) = next else { break };
            self.shared.backend().calls_paused();
            self.shared.pass(&next);
            self.shared.driver.take();
            self.shared.backend().calls_resumed();
            let baton = self.baton();
            if baton.at >= baton.stop {
                break;
            }
        }
        self.baton().failure.take().map_or(Ok(()), Err)
    }

    /// Makes the changes that are due before the call of that index.
    fn make_changes(&mut self, event: u64) -> Result<(), ReplayError> {
        while let Some(change) = self.schedule.due(event) {
            match change {
                ThreadChange::Begin(thread) => self.begin(thread)?,
                ThreadChange::End(thread) => self.end(thread),
                ThreadChange::Request(thread, request) => self.request(thread, request),
            }
        }
        Ok(())
    }

    /// Starts a thread and waits until it has begun.
    fn begin(&mut self, index: u32) -> Result<(), ReplayError> {
        let thread = &mut self.threads[index as usize];
        let seat: *const Seat = &raw const *thread.seat;
        self.shared.backend().calls_paused();
        // SAFETY: the seat and what it points to are boxes of `self`, which joins the thread before
        // they are dropped.
        let started =
            unsafe { OsThread::start(&mut self.stacks, body, seat.cast_mut().cast::<c_void>()) };
        let number = thread.number;
        thread.running = Some(started.map_err(|error| {
            ReplayError::Instrument(format!("thread {number} of the trace: {error}"))
        })?);
        self.shared.driver.take();
        self.shared.backend().calls_resumed();
        Ok(())
    }

    /// Lets a thread end, and waits for its end.
    fn end(&mut self, index: u32) {
        if let Some(thread) = self.threads[index as usize].running.take() {
            self.shared.backend().calls_paused();
            self.shared.mailboxes[index as usize].post(END);
            thread.join(&mut self.stacks);
            self.shared.backend().calls_resumed();
        }
    }

    fn end_all(&mut self) {
        for index in 0..self.threads.len() as u32 {
            self.end(index);
        }
    }

    /// Makes a request on the thread that made it, or here if that thread does not run.
    fn request(&mut self, index: u32, request: AllocatorRequest) {
        if self.threads.get(index as usize).is_some_and(|thread| thread.running.is_some()) {
            self.baton().request = Some(request);
            self.shared.backend().calls_paused();
            self.shared.mailboxes[index as usize].post(REQUEST);
            self.shared.driver.take();
            self.shared.backend().calls_resumed();
        } else {
            self.shared.backend().request(request);
        }
    }
}

impl Drop for Crew<'_> {
    fn drop(&mut self) {
        self.end_all();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::num::NonZeroU64;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::backends::{Allocator, Domains, Trim};
    use crate::program::{Draw, compile};
    use crate::replay::calls::{Slots, Tables, replay};
    use crate::replay::probe::Nothing;
    use crate::trace::{
        AllocatorEvent, Columns, Header, Op, ProcessRecord, Row, Sites, ThreadRecord, TraceError,
        TraceReader,
    };

    /// What a backend saw, with the kernel's id of the calling thread.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Seen {
        Begin(u64),
        End(u64),
        Trim(u64),
        /// A call that begins a block, or ends one: the block's number.
        Malloc(u64, u64),
        Free(u64, u64),
    }

    fn kernel_thread() -> u64 {
        // SAFETY: the system call takes no argument.
        unsafe { libc::syscall(libc::SYS_gettid) as u64 }
    }

    /// Records who calls. Blocks are numbers from 1 up.
    #[derive(Default)]
    struct Witness {
        seen: RefCell<Vec<Seen>>,
        blocks: AtomicU64,
        /// The request that is refused, if any.
        refused: u64,
    }

    unsafe extern "C" fn malloc(ctx: *mut c_void, _size: usize) -> *mut c_void {
        // SAFETY: the witness outlives the replay.
        let witness = unsafe { &*ctx.cast::<Witness>() };
        let block = witness.blocks.fetch_add(1, Ordering::Relaxed) + 1;
        witness.seen.borrow_mut().push(Seen::Malloc(kernel_thread(), block));
        if block == witness.refused {
            return ptr::null_mut();
        }
        ptr::without_provenance_mut(block as usize)
    }

    unsafe extern "C" fn calloc(ctx: *mut c_void, _: usize, size: usize) -> *mut c_void {
        // SAFETY: as the caller guarantees.
        unsafe { malloc(ctx, size) }
    }

    unsafe extern "C" fn realloc(ctx: *mut c_void, _: *mut c_void, size: usize) -> *mut c_void {
        // SAFETY: as the caller guarantees.
        unsafe { malloc(ctx, size) }
    }

    unsafe extern "C" fn free(ctx: *mut c_void, block: *mut c_void) {
        // SAFETY: the witness outlives the replay.
        let witness = unsafe { &*ctx.cast::<Witness>() };
        witness.seen.borrow_mut().push(Seen::Free(kernel_thread(), block as u64));
    }

    impl Backend for Witness {
        fn domains(&self) -> Domains {
            let ctx = ptr::from_ref(self).cast_mut().cast();
            Domains::same(Allocator { ctx, malloc, calloc, realloc, free })
        }
        fn thread_begins(&self) {
            self.seen.borrow_mut().push(Seen::Begin(kernel_thread()));
        }
        fn thread_ends(&self) {
            self.seen.borrow_mut().push(Seen::End(kernel_thread()));
        }
        fn version(&self) -> String {
            String::new()
        }
        unsafe fn usable_size(&self, _: *mut c_void, requested: usize) -> usize {
            requested
        }
        fn trim(&self) -> Trim {
            self.seen.borrow_mut().push(Seen::Trim(kernel_thread()));
            Trim::Done
        }
    }

    /// Rows with what is known of the process.
    struct Recorded(std::vec::IntoIter<Row>, Header, Sites, ProcessRecord);

    impl Recorded {
        fn new(rows: Vec<Row>, process: ProcessRecord) -> Recorded {
            let columns = Columns { type_name: false, ..Columns::ALL };
            let header = Header { columns, ..Header::default() };
            Recorded(rows.into_iter(), header, Sites::default(), process)
        }
    }

    impl TraceReader for Recorded {
        fn header(&self) -> &Header {
            &self.1
        }
        fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
            Ok(self.0.next())
        }
        fn sites(&self) -> &Sites {
            &self.2
        }
        fn process(&self) -> &ProcessRecord {
            &self.3
        }
    }

    /// The call at `event` by `thread`, whose block `ends` at a call of a thread.
    fn row(event: u64, thread: u32, ends: Option<(u64, u32)>) -> Row {
        let mut row = Row::new(event, Op::Malloc, 8, None);
        row.thread = thread;
        row.lifetime = ends.and_then(|(end, _)| NonZeroU64::new(end - event));
        row.end_thread = ends.map(|(_, by)| by).filter(|by| *by != thread);
        row
    }

    /// Replays on the witness in ranges of `range` calls.
    fn seen_by(witness: &Witness, mut recorded: Recorded, range: usize) -> ThreadCounts {
        let program = compile(&mut recorded).unwrap();
        let (tables, mut slots) = (Tables::new(&program, witness), Slots::new(&program));
        let mut order = RecordedOrder::new(program.outline(), witness);
        let calls = program.calls();
        for start in (0..calls).step_by(range) {
            let stop = (start + range).min(calls);
            let ran = order.run(&program, start..stop, |run| {
                replay(&program, &tables, &mut slots, run, &mut Nothing)
            });
            ran.unwrap();
        }
        order.counts()
    }

    /// Threads 1 to 3 make calls, 2 frees a block of 1, 3 has a birth and a death, 1 trims and 2
    /// trims.
    fn small() -> Recorded {
        let rows = vec![
            row(0, 1, Some((2, 2))),
            row(1, 2, None),
            row(3, 1, Some((7, 1))),
            row(4, 3, Some((6, 3))),
            row(5, 3, None),
        ];
        let thread = |birth, death| ThreadRecord { birth, death, ..ThreadRecord::default() };
        let trim = |event, thread| AllocatorEvent {
            event,
            thread,
            request: AllocatorRequest::Trim { pad_bytes: 0 },
        };
        let threads = vec![thread(None, None), thread(Some(1), None), thread(Some(3), Some(7))];
        let requests = vec![trim(2, 2), trim(5, 1)];
        Recorded::new(rows, ProcessRecord { threads, requests, ..ProcessRecord::NONE })
    }

    #[test]
    fn each_call_is_made_on_its_thread_and_threads_live_as_recorded() {
        for range in [1, 2, 3, 100] {
            let witness = Witness::default();
            let counts = seen_by(&witness, small(), range);
            let seen = witness.seen.into_inner();
            let main = kernel_thread();
            let [Seen::Malloc(_, 1), Seen::Begin(two), ..] = seen[..] else { panic!("{seen:?}") };
            let three = match seen[5] {
                Seen::Begin(three) => three,
                other => panic!("{other:?}"),
            };
            assert!(main != two && two != three && main != three);
            assert_eq!(
                seen,
                [
                    Seen::Malloc(main, 1),
                    Seen::Begin(two),
                    Seen::Malloc(two, 2),
                    Seen::Trim(two),
                    Seen::Free(two, 1),
                    Seen::Begin(three),
                    Seen::Malloc(main, 3),
                    Seen::Malloc(three, 4),
                    Seen::Trim(main),
                    Seen::Malloc(three, 5),
                    Seen::Free(three, 4),
                    Seen::End(three),
                    Seen::Free(main, 3),
                    // Thread 2 outlives the trace.
                    Seen::End(two),
                ],
                "in ranges of {range}"
            );
            assert_eq!(counts.threads, 3);
        }
    }

    /// The oracle: the rows themselves, by event. Without births and deaths a thread begins with its
    /// first call and ends after its last.
    #[test]
    fn many_threads_make_the_calls_of_the_rows() {
        let (mut rows, mut expected) = (Vec::new(), Vec::new());
        let mut draw = Draw(7);
        let mut below = |limit: u64| draw.below(limit);
        let (mut live, mut blocks) = (Vec::new(), 0);
        for event in 0..6000_u64 {
            let thread = 1 + (event / 100 + below(9)) as u32;
            if !live.is_empty() && below(2) == 0 {
                let (at, block): (usize, u64) = live.swap_remove(below(live.len() as u64) as usize);
                let begun: &mut Row = &mut rows[at];
                begun.lifetime = NonZeroU64::new(event - begun.event);
                begun.end_thread = (thread != begun.thread).then_some(thread);
                expected.push((thread, Seen::Free(0, block)));
            } else {
                blocks += 1;
                live.push((rows.len(), blocks));
                rows.push(row(event, thread, None));
                expected.push((thread, Seen::Malloc(0, blocks)));
            }
        }
        let witness = Witness::default();
        let counts = seen_by(&witness, Recorded::new(rows, ProcessRecord::NONE), 777);
        let mut threads = std::collections::HashMap::new();
        let (mut made, mut running) = (Vec::new(), std::collections::HashSet::new());
        for seen in witness.seen.into_inner() {
            match seen {
                Seen::Begin(id) => assert!(running.insert(id)),
                Seen::End(id) => assert!(running.remove(&id)),
                Seen::Malloc(id, block) => made.push((id, Seen::Malloc(0, block))),
                Seen::Free(id, block) => made.push((id, Seen::Free(0, block))),
                Seen::Trim(_) => panic!("nobody trims"),
            }
        }
        assert!(running.is_empty(), "each thread has ended: {running:?}");
        assert_eq!(made.len(), expected.len());
        for (at, ((id, call), (number, wanted))) in made.iter().zip(&expected).enumerate() {
            assert_eq!(call, wanted, "call {at}");
            // The kernel may give the id of an ended thread again.
            if *number == expected[0].0 {
                assert_eq!(*id, kernel_thread());
            }
            threads.entry(*number).or_insert(*id);
            assert_eq!(threads[number], *id, "call {at} is thread {number}'s");
        }
        assert!(threads.len() == 68 && counts.threads == 68, "{}", threads.len());
        let changes = expected.windows(2).filter(|pair| pair[0].0 != pair[1].0).count() as u64;
        assert!(counts.hand_overs >= changes, "{counts:?}, {changes} changes");
    }

    #[test]
    fn a_refusal_on_another_thread_ends_the_replay_with_its_call() {
        let witness = Witness { refused: 5, ..Witness::default() };
        let program = compile(&mut small()).unwrap();
        let (tables, mut slots) = (Tables::new(&program, &witness), Slots::new(&program));
        let mut order = RecordedOrder::new(program.outline(), &witness);
        let ran = order.run(&program, 0..program.calls(), |run| {
            replay(&program, &tables, &mut slots, run, &mut Nothing)
        });
        assert!(matches!(ran, Err(ReplayError::Refused { event: 5, .. })), "{ran:?}");
        drop(order);
        let ended = |seen: &&Seen| matches!(seen, Seen::End(_));
        assert_eq!(witness.seen.into_inner().iter().filter(ended).count(), 2);
    }
}
