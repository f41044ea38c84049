//! Free order: the threads of a program run at once, on all processors.
//!
//! A thread waits only for a block of another thread that it ends ([`super::cells`]). So threads
//! contend for the allocator's locks as they do in a program that has no lock of its own around its
//! calls. Where blocks lie depends on the scheduler, and so does resident memory: it is a range over
//! repetitions.
//!
//! With [`Lanes::Recorded`], a thread begins when all threads have ended whose ends precede its birth
//! in the recording. So no more threads live at once than in the recorded process, and arenas of dead
//! threads are reused as there.
#![expect(unsafe_code, reason = "threads that call C function pointers at the same time")]

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;

use super::cells::{Cells, Waits};
use super::futex;
use super::os_thread::{OsThread, Stacks};
use super::schedule::{Schedule, ThreadChange, first_thread};
use super::shared_reference::SharedReference;
use super::split::{BlockHome, Lane, LaneCall, Lanes, SplitProgram, share_out};
use crate::backends::{AlignedCall, Allocator, Backend, Domains, ThreadUse};
use crate::program::{Action, Program};
use crate::replay::clock::Clock;
use crate::replay::error::ReplayError;
use crate::replay::footprint::touch;
use crate::replay::histogram::empty_histogram;
use crate::replay::memory::{Resident, self_test};
use crate::replay::usage::{context_switches, processor_ns};
use crate::trace::Domain;

/// What a replay in free order measures.
#[derive(Clone, Copy, Debug)]
pub enum FreeOrderMeasure<'a> {
    /// Time, without anything between two calls of a thread.
    Time,
    /// The time of each call, by a fenced clock pair.
    Latency(&'a Clock),
    /// Resident memory: each page of each block is touched.
    Footprint,
    /// The rules of allocators, by a reference heap that all threads share.
    Verify,
}

/// What one thread did.
#[derive(Clone, Debug)]
pub struct LaneResult {
    /// The trace's number of the thread; counted from 1 where the replay has threads of its own.
    pub number: u32,
    /// Its calls.
    pub calls: u64,
    /// Its processor time, in ns, with its spinning for blocks of other threads.
    pub processor_ns: u64,
    /// When it began its first call and ended its last, in ns since the replay began.
    pub began_ns: u64,
    /// See `began_ns`.
    pub ended_ns: u64,
    /// Its waits for blocks of other threads.
    pub waits: Waits,
    /// Context switches by its own wish: it waited, here or in the allocator.
    pub voluntary_switches: u64,
    /// Context switches against its wish.
    pub involuntary_switches: u64,
    /// The times of its calls, in ns, with the clock pair; only for [`FreeOrderMeasure::Latency`].
    pub latencies: Option<Histogram<u64>>,
}

/// What a replay in free order found.
#[derive(Clone, Debug)]
pub struct FreeOrderResult {
    /// By thread.
    pub lanes: Vec<LaneResult>,
    /// From the begin to the last thread's last call, in ns.
    pub wall_ns: u64,
    /// Resident private memory, in bytes above that before the first call: the largest that a thread
    /// has read after each 1,024 of its calls, and after the last thread has ended. Only for
    /// [`FreeOrderMeasure::Footprint`].
    pub resident_peak_bytes: u64,
    /// See `resident_peak_bytes`.
    pub resident_end_bytes: u64,
    /// Calls whose blocks were checked; only for [`FreeOrderMeasure::Verify`].
    pub checked: u64,
}

/// Replays a whole program with its threads at once. All blocks that it leaves live are freed
/// afterwards.
///
/// # Errors
/// The backend may not be called by several threads at once, it gives no memory, it breaks a rule
/// ([`FreeOrderMeasure::Verify`]), or a thread cannot be started.
pub fn free_order(
    program: &Program,
    backend: &dyn Backend,
    lanes: Lanes,
    measure: FreeOrderMeasure<'_>,
) -> Result<FreeOrderResult, ReplayError> {
    if backend.thread_use() != ThreadUse::Concurrent {
        return Err(ReplayError::OneThreadAtATime);
    }
    if !program.is_whole() {
        return Err(ReplayError::Instrument(
            "free order needs the whole program in memory; give it more with --memory".to_owned(),
        ));
    }
    let replay = FreeReplay::new(program, backend, lanes, measure)?;
    replay.run();
    replay.finish()
}

/// Calls of a thread between two readings of resident memory.
const READING_CALLS: usize = 1024;

/// What all threads share.
struct FreeReplay<'a> {
    split: SplitProgram,
    seats: Vec<LaneSeat>,
    /// The seat of the thread that replays.
    first: usize,
    cells: Cells,
    life: Lives,
    domains: Domains,
    backend: &'a dyn Backend,
    measure: FreeOrderMeasure<'a>,
    reference: SharedReference,
    resident: Resident,
    resident_peak: AtomicU64,
    /// When the threads began, and resident private memory before, in bytes.
    start: OnceLock<(Instant, u64)>,
    /// 1 once the threads may begin.
    has_begun: AtomicU32,
    failure: Mutex<Option<ReplayError>>,
}

/// One thread.
struct LaneSeat {
    index: usize,
    lane: usize,
    number: u32,
    /// What it did, and its slots. Only the thread touches it until it was joined.
    done: UnsafeCell<Option<(LaneResult, Vec<*mut c_void>)>>,
}

/// The argument of a thread's body.
struct LaneStart<'r> {
    replay: &'r FreeReplay<'r>,
    seat: &'r LaneSeat,
}

/// In place of the number of ended threads: a thread has failed.
const FAILED: u32 = u32::MAX;

/// Who must have ended before a thread begins.
#[derive(Default)]
struct Lives {
    /// Threads in the order of their ends.
    ends: Vec<u32>,
    /// By thread: how many of `ends` must have ended.
    needs: Vec<u32>,
    /// How many of `ends`, from the first on, have ended.
    ended: AtomicU32,
    has_ended: Mutex<Vec<bool>>,
    /// By thread: its id in the kernel, 0 before it runs.
    kernel_ids: Vec<AtomicI32>,
}

impl Lives {
    fn of(program: &Program) -> Lives {
        let threads = &program.outline().threads;
        let mut schedule = Schedule::new(program.outline(), threads);
        let mut lives = Lives {
            needs: vec![0; threads.len().max(1)],
            has_ended: Mutex::new(vec![false; threads.len().max(1)]),
            ..Lives::unbounded(threads.len().max(1))
        };
        while let Some(change) = schedule.due(u64::MAX) {
            match change {
                ThreadChange::End(thread) => lives.ends.push(thread),
                ThreadChange::Begin(thread) => {
                    lives.needs[thread as usize] = lives.ends.len() as u32
                }
                ThreadChange::Request(..) => {}
            }
        }
        lives
    }

    /// So many threads, all of which may begin at once.
    fn unbounded(threads: usize) -> Lives {
        Lives {
            needs: vec![0; threads],
            has_ended: Mutex::new(vec![false; threads]),
            kernel_ids: (0..threads).map(|_| AtomicI32::new(0)).collect(),
            ..Lives::default()
        }
    }

    /// Waits until the thread may begin; `false` where the replay has failed.
    fn begin(&self, thread: usize) -> bool {
        // SAFETY: the system calls take no memory.
        let (own, process) = unsafe { (libc::syscall(libc::SYS_gettid) as i32, libc::getpid()) };
        self.kernel_ids[thread].store(own, Ordering::Release);
        let needs = self.needs[thread];
        loop {
            let ended = self.ended.load(Ordering::Acquire);
            if ended == FAILED {
                return false;
            }
            if ended >= needs {
                break;
            }
            futex::wait(&self.ended, ended);
        }
        // They have made their last calls. Their allocator's work at a thread's end counts, too.
        for &before in &self.ends[..needs as usize] {
            let id = self.kernel_ids[before as usize].load(Ordering::Acquire);
            // SAFETY: asks whether the thread exists; sends nothing.
            while unsafe { libc::syscall(libc::SYS_tgkill, process, id, 0) } == 0 {
                std::thread::yield_now();
            }
        }
        true
    }

    /// The thread has made its last call.
    fn end(&self, thread: usize) {
        let mut has_ended = self.has_ended.lock().unwrap_or_else(PoisonError::into_inner);
        has_ended[thread] = true;
        let ended = self.ended.load(Ordering::Relaxed);
        if ended == FAILED {
            return;
        }
        let mut ended = ended as usize;
        while self.ends.get(ended).is_some_and(|&next| has_ended[next as usize]) {
            ended += 1;
        }
        self.ended.store(ended as u32, Ordering::Release);
        futex::wake(&self.ended, u32::MAX >> 1);
    }

    /// Lets every wait end: a thread has failed.
    fn fail(&self) {
        let _has_ended = self.has_ended.lock().unwrap_or_else(PoisonError::into_inner);
        self.ended.store(FAILED, Ordering::Release);
        futex::wake(&self.ended, u32::MAX >> 1);
    }
}

impl<'a> FreeReplay<'a> {
    fn new(
        program: &Program,
        backend: &'a dyn Backend,
        lanes: Lanes,
        measure: FreeOrderMeasure<'a>,
    ) -> Result<FreeReplay<'a>, ReplayError> {
        let instrument = |error: std::io::Error| ReplayError::Instrument(error.to_string());
        if matches!(measure, FreeOrderMeasure::Footprint | FreeOrderMeasure::Verify)
            && !backend.backs_memory()
        {
            return Err(ReplayError::backs_no_memory());
        }
        let threads = &program.outline().threads;
        let calls: Vec<u64> = threads.iter().map(|thread| thread.calls).collect();
        // By seat: the lane and the number of the thread.
        let (lane_of, seats): (Vec<u32>, Vec<(usize, u32)>) = match lanes {
            Lanes::Recorded if threads.len() > 1 => (
                (0..threads.len() as u32).collect(),
                threads.iter().enumerate().map(|(at, thread)| (at, thread.number)).collect(),
            ),
            Lanes::Recorded => (vec![0], vec![(0, 1)]),
            Lanes::Threads(wanted) => (
                share_out(&calls, wanted.max(1) as usize),
                (0..wanted.max(1)).map(|lane| (lane as usize, lane + 1)).collect(),
            ),
            Lanes::Copies(copies) => {
                (vec![0; threads.len()], (0..copies.max(1)).map(|copy| (0, copy + 1)).collect())
            }
        };
        let lane_count = seats.iter().map(|(lane, _)| lane + 1).max().unwrap_or(1);
        let split = SplitProgram::new(program, &lane_of, lane_count);
        let life = match lanes {
            Lanes::Recorded => Lives::of(program),
            _ => Lives::unbounded(seats.len()),
        };
        let resident = Resident::open().map_err(instrument)?;
        if matches!(measure, FreeOrderMeasure::Footprint) {
            self_test(&resident).map_err(ReplayError::Instrument)?;
        }
        let seat =
            |(index, (lane, number))| LaneSeat { index, lane, number, done: UnsafeCell::new(None) };
        Ok(FreeReplay {
            cells: Cells::new(split.cells, lane_count),
            split,
            seats: seats.into_iter().enumerate().map(seat).collect(),
            first: if matches!(lanes, Lanes::Recorded) {
                first_thread(threads) as usize
            } else {
                0
            },
            life,
            domains: backend.domains(),
            backend,
            measure,
            reference: SharedReference::new(backend.alignment()),
            resident,
            resident_peak: AtomicU64::new(0),
            start: OnceLock::new(),
            has_begun: AtomicU32::new(0),
            failure: Mutex::new(None),
        })
    }

    /// Lets all threads make their calls, and waits until they have ended.
    fn run(&self) {
        let (mut stacks, mut running) = (Stacks::default(), Vec::new());
        let others = self.seats.iter().filter(|seat| {
            seat.index != self.first && !self.split.lanes[seat.lane].calls.is_empty()
        });
        let starts: Vec<LaneStart> = others.map(|seat| LaneStart { replay: self, seat }).collect();
        for start in &starts {
            let argument = ptr::from_ref(start).cast_mut().cast::<c_void>();
            // SAFETY: the argument and what it borrows are alive until the thread was joined below.
            match unsafe { OsThread::start(&mut stacks, body, argument) } {
                Ok(thread) => running.push(thread),
                Err(error) => {
                    self.fail(ReplayError::Instrument(format!(
                        "thread {} of {}: {error}; replay on fewer threads with --threads",
                        start.seat.number,
                        self.seats.len()
                    )));
                    break;
                }
            }
        }
        self.start.get_or_init(|| (Instant::now(), self.resident.private_bytes()));
        self.has_begun.store(1, Ordering::Release);
        futex::wake(&self.has_begun, u32::MAX >> 1);
        self.make_calls(&self.seats[self.first]);
        for thread in running {
            thread.join(&mut stacks);
        }
    }

    /// Collects what the threads found, and frees what they left live.
    fn finish(mut self) -> Result<FreeOrderResult, ReplayError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(failure) = failure {
            return Err(failure);
        }
        let resident = self.resident_above();
        let mut lanes = Vec::new();
        for seat in &mut self.seats {
            let Some((lane, slots)) = seat.done.get_mut().take() else { continue };
            lanes.push(lane);
            for &(slot, domain) in &self.split.lanes[seat.lane].live_slots {
                let table = self.domains.get(domain);
                // SAFETY: the slot holds a block that no call has ended; all threads have ended.
                unsafe { (table.free)(table.ctx, slots[slot as usize]) };
            }
        }
        let is_footprint = matches!(self.measure, FreeOrderMeasure::Footprint);
        let peak = self.resident_peak.load(Ordering::Relaxed).max(resident);
        Ok(FreeOrderResult {
            wall_ns: lanes.iter().map(|lane| lane.ended_ns).max().unwrap_or(0),
            lanes,
            resident_peak_bytes: if is_footprint { peak } else { 0 },
            resident_end_bytes: if is_footprint { resident } else { 0 },
            checked: self.reference.checked(),
        })
    }

    /// Resident private memory above that before the first call, in bytes.
    fn resident_above(&self) -> u64 {
        let before = self.start.get().map_or(0, |(_, before)| *before);
        self.resident.private_bytes().saturating_sub(before)
    }

    fn fail(&self, failure: ReplayError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.cells.fail();
        self.life.fail();
    }

    /// Makes the calls of a thread, on this thread.
    fn make_calls(&self, seat: &LaneSeat) {
        if !self.life.begin(seat.index) {
            return;
        }
        let lane = &self.split.lanes[seat.lane];
        let mut maker = CallMaker {
            replay: self,
            domains: Domain::ALL.map(|domain| *self.domains.get(domain)),
            aligned: Domain::ALL.map(|domain| self.domains.aligned(domain)),
            slots: vec![ptr::null_mut(); lane.slots],
            waits: Waits::default(),
            latencies: matches!(self.measure, FreeOrderMeasure::Latency(_)).then(empty_histogram),
        };
        let switches = context_switches();
        let (began_ns, mark_ns) = (self.now_ns(), processor_ns());
        let made = match self.measure {
            FreeOrderMeasure::Time => maker.time(lane),
            FreeOrderMeasure::Latency(clock) => maker.latency(lane, clock),
            FreeOrderMeasure::Footprint => maker.footprint(lane),
            FreeOrderMeasure::Verify => maker.verify(lane),
        };
        let (processor_ns, ended_ns) = (processor_ns() - mark_ns, self.now_ns());
        let switched = context_switches();
        if let Err(Some(failure)) = made {
            self.fail(failure);
        }
        let result = LaneResult {
            number: seat.number,
            calls: lane.calls.len() as u64,
            processor_ns,
            began_ns,
            ended_ns,
            waits: maker.waits,
            voluntary_switches: switched[0] - switches[0],
            involuntary_switches: switched[1] - switches[1],
            latencies: maker.latencies,
        };
        // SAFETY: only this thread touches it until it was joined.
        unsafe { *seat.done.get() = Some((result, maker.slots)) };
        self.life.end(seat.index);
    }

    fn now_ns(&self) -> u64 {
        self.start.get().map_or(0, |(began, _)| began.elapsed().as_nanos() as u64)
    }
}

/// The body of a thread.
extern "C" fn body(start: *mut c_void) -> *mut c_void {
    // SAFETY: `FreeReplay::run` passes an argument that is alive until the thread was joined.
    let LaneStart { replay, seat } = unsafe { &*start.cast::<LaneStart<'_>>() };
    while replay.has_begun.load(Ordering::Acquire) == 0 {
        futex::wait(&replay.has_begun, 0);
    }
    replay.backend.thread_begins();
    replay.backend.calls_resumed();
    replay.make_calls(seat);
    replay.backend.calls_paused();
    replay.backend.thread_ends();
    ptr::null_mut()
}

/// Why a thread stopped early: its own failure, or `None` for another thread's.
type Made = Result<(), Option<ReplayError>>;

/// Makes the calls of one thread.
struct CallMaker<'a> {
    replay: &'a FreeReplay<'a>,
    domains: [Allocator; 4],
    aligned: [AlignedCall; 4],
    slots: Vec<*mut c_void>,
    waits: Waits,
    latencies: Option<Histogram<u64>>,
}

impl CallMaker<'_> {
    /// The block that a call ends; null where it ends none. Waits for a block of another thread.
    #[inline(always)]
    fn old(&mut self, call: &LaneCall) -> Result<*mut c_void, Option<ReplayError>> {
        match call.old {
            BlockHome::Nowhere => Ok(ptr::null_mut()),
            BlockHome::Slot(slot) => Ok(self.slots[slot as usize]),
            BlockHome::Cell(cell, by) => {
                let cells = &self.replay.cells;
                cells.take(cell as usize, by as usize, &mut self.waits).ok_or(None)
            }
        }
    }

    /// The call itself.
    #[inline(always)]
    fn call(&self, call: &LaneCall, old: *mut c_void) -> *mut c_void {
        let table = &self.domains[call.domain as usize];
        // SAFETY: `SplitProgram` gives each end the block of its own birth, in the same domain. The
        // tables are those of a backend that several threads may call.
        unsafe {
            match call.action {
                Action::Malloc if call.alignment > 0 => {
                    self.aligned[call.domain as usize].call(call.alignment as usize, call.size)
                }
                Action::Malloc => (table.malloc)(table.ctx, call.size),
                Action::Calloc => (table.calloc)(table.ctx, 1, call.size),
                Action::Realloc => (table.realloc)(table.ctx, old, call.size),
                Action::Free => {
                    (table.free)(table.ctx, old);
                    ptr::null_mut()
                }
            }
        }
    }

    /// Stores the block that a call began.
    #[inline(always)]
    fn put(&mut self, call: &LaneCall, new: *mut c_void) -> Made {
        match call.new {
            BlockHome::Nowhere => return Ok(()),
            _ if new.is_null() => return Err(Some(refused(call))),
            BlockHome::Slot(slot) => self.slots[slot as usize] = new,
            BlockHome::Cell(cell, by) => {
                self.replay.cells.publish(cell as usize, by as usize, new);
            }
        }
        Ok(())
    }

    fn time(&mut self, lane: &Lane) -> Made {
        for call in &lane.calls {
            let old = self.old(call)?;
            let new = self.call(call, old);
            self.put(call, new)?;
        }
        Ok(())
    }

    fn latency(&mut self, lane: &Lane, clock: &Clock) -> Made {
        for call in &lane.calls {
            let old = self.old(call)?;
            let mark = clock.before();
            let new = self.call(call, old);
            let ticks = clock.after().wrapping_sub(mark);
            if let Some(latencies) = &mut self.latencies {
                latencies.saturating_record((clock.nanoseconds(ticks).round() as u64).max(1));
            }
            self.put(call, new)?;
        }
        Ok(())
    }

    fn footprint(&mut self, lane: &Lane) -> Made {
        for (at, call) in lane.calls.iter().enumerate() {
            let old = self.old(call)?;
            let new = self.call(call, old);
            if !new.is_null() {
                touch(new, 0, call.size);
            }
            self.put(call, new)?;
            if at % READING_CALLS == 0 {
                self.replay
                    .resident_peak
                    .fetch_max(self.replay.resident_above(), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn verify(&mut self, lane: &Lane) -> Made {
        let reference = &self.replay.reference;
        for call in &lane.calls {
            let old = self.old(call)?;
            let before = match call.old {
                BlockHome::Nowhere => None,
                _ => Some(reference.ends(call, old).map_err(Some)?),
            };
            let new = self.call(call, old);
            if call.action != Action::Free && !new.is_null() {
                reference.begins(call, new, before).map_err(Some)?;
            }
            self.put(call, new)?;
        }
        Ok(())
    }
}

#[cold]
fn refused(call: &LaneCall) -> ReplayError {
    ReplayError::Refused { event: call.event as usize, op: call.action.name(), size: call.size }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::*;
    use crate::backends;
    use crate::program::FixedRows;
    use crate::trace::{Op, Row};

    fn row(event: u64, thread: u32, size: u64, end: u64, end_thread: u32) -> Row {
        let mut row = Row::new(event, Op::Malloc, size, Some(end - event));
        row.thread = thread;
        row.end_thread = (end_thread != thread).then_some(end_thread);
        row
    }

    /// Thread 1 allocates, thread 2 frees each block right after it.
    fn handed_over(blocks: u64) -> Program {
        let rows: Vec<Row> =
            (0..blocks).map(|at| row(2 * at, 1, 1 + at % 200, 2 * at + 1, 2)).collect();
        FixedRows::compiled(&rows)
    }

    /// So many threads that keep their blocks to themselves for a while.
    fn apart(threads: u64, calls: u64) -> Program {
        let mut rows = Vec::new();
        for round in 0..calls {
            for thread in 0..threads {
                let event = 2 * (round * threads + thread);
                rows.push(row(
                    event,
                    1 + thread as u32,
                    1 + round % 300,
                    event + 1,
                    1 + thread as u32,
                ));
            }
        }
        FixedRows::compiled(&rows)
    }

    fn opened(spec: &str) -> Box<dyn Backend> {
        backends::open(&backends::parse(spec).unwrap()).unwrap()
    }

    #[test]
    fn a_free_waits_for_the_birth_on_another_thread_however_often() {
        const BLOCKS: u64 = 100_000;
        let (program, backend) = (handed_over(BLOCKS), opened("malloc"));
        for measure in [FreeOrderMeasure::Time, FreeOrderMeasure::Verify] {
            let found = free_order(&program, &*backend, Lanes::Recorded, measure).unwrap();
            assert_eq!(found.lanes.len(), 2);
            let [one, two] = &found.lanes[..] else { panic!("two threads") };
            assert_eq!((one.calls, two.calls), (BLOCKS, BLOCKS));
            assert_eq!((one.waits.ends, two.waits.ends), (0, BLOCKS));
            assert!(two.waits.waits <= BLOCKS && two.waits.sleeps <= two.waits.waits);
            assert!(two.waits.longest_ns <= two.waits.waited_ns);
            if matches!(measure, FreeOrderMeasure::Verify) {
                assert_eq!(found.checked, 2 * BLOCKS);
            }
        }
    }

    #[test]
    fn threads_are_those_of_the_trace_or_as_many_as_wanted() {
        let (program, backend) = (apart(5, 400), opened("malloc"));
        for (lanes, threads, calls) in [
            (Lanes::Recorded, 5, 4000),
            (Lanes::Threads(1), 1, 4000),
            (Lanes::Threads(2), 2, 4000),
            (Lanes::Threads(8), 5, 4000),
            (Lanes::Copies(3), 3, 12_000),
        ] {
            let clock = Clock::calibrate();
            let measure = FreeOrderMeasure::Latency(&clock);
            let found = free_order(&program, &*backend, lanes, measure).unwrap();
            let sum: u64 = found.lanes.iter().map(|lane| lane.calls).sum();
            let busy = found.lanes.iter().filter(|lane| lane.calls > 0).count();
            assert_eq!((busy, sum), (threads, calls), "{lanes:?}");
            for lane in &found.lanes {
                let timed = lane.latencies.as_ref().unwrap().len();
                assert_eq!(timed, lane.calls);
                assert!(lane.ended_ns <= found.wall_ns && lane.waits.ends == 0);
            }
        }
    }

    /// A thread that ended before another was born in the recording has ended before it here, too.
    #[test]
    fn threads_live_one_after_the_other_where_they_did() {
        let mut rows = Vec::new();
        for event in 0..3000_u64 {
            rows.push(row(
                2 * event,
                1 + (event / 100) as u32,
                24,
                2 * event + 1,
                1 + (event / 100) as u32,
            ));
        }
        let (program, backend) = (FixedRows::compiled(&rows), opened("malloc"));
        let found =
            free_order(&program, &*backend, Lanes::Recorded, FreeOrderMeasure::Time).unwrap();
        let mut lives: Vec<_> =
            found.lanes[1..].iter().map(|lane| (lane.began_ns, lane.ended_ns)).collect();
        assert_eq!(lives.len(), 29);
        lives.sort_unstable();
        assert!(lives.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{lives:?}");
    }

    #[test]
    fn a_backend_for_one_thread_at_a_time_is_refused() {
        let program = apart(2, 3);
        for spec in ["bump", "pymalloc", "pymalloc+malloc"] {
            let backend = opened(spec);
            let refused = free_order(&program, &*backend, Lanes::Recorded, FreeOrderMeasure::Time);
            let message = refused.unwrap_err().to_string();
            assert!(message.contains("one thread at a time"), "{message}");
        }
    }

    /// A heap of its own range of addresses that gives each block once, or, with a race, sometimes
    /// twice.
    struct TicketHeap {
        start: *mut u8,
        next: AtomicUsize,
        has_race: AtomicBool,
        most: usize,
    }

    const TICKET_BYTES: usize = 256;

    unsafe extern "C" fn malloc(ctx: *mut c_void, _size: usize) -> *mut c_void {
        // SAFETY: the heap outlives the replay.
        let heap = unsafe { &*ctx.cast::<TicketHeap>() };
        let ticket = if heap.has_race.load(Ordering::Relaxed) {
            // Two threads may read the same number before either writes.
            let ticket = heap.next.load(Ordering::Relaxed);
            std::thread::yield_now();
            heap.next.store(ticket + 1, Ordering::Relaxed);
            ticket
        } else {
            heap.next.fetch_add(1, Ordering::Relaxed)
        };
        if ticket >= heap.most {
            return ptr::null_mut();
        }
        heap.start.wrapping_add(ticket * TICKET_BYTES).cast()
    }

    unsafe extern "C" fn calloc(ctx: *mut c_void, _: usize, size: usize) -> *mut c_void {
        // SAFETY: as the caller guarantees.
        unsafe { malloc(ctx, size) }
    }

    unsafe extern "C" fn realloc(ctx: *mut c_void, _: *mut c_void, size: usize) -> *mut c_void {
        // SAFETY: as the caller guarantees.
        unsafe { malloc(ctx, size) }
    }

    unsafe extern "C" fn free(_: *mut c_void, _: *mut c_void) {}

    impl Backend for TicketHeap {
        fn domains(&self) -> Domains {
            let ctx = ptr::from_ref(self).cast_mut().cast();
            Domains::same(Allocator { ctx, malloc, calloc, realloc, free })
        }
        fn thread_use(&self) -> ThreadUse {
            ThreadUse::Concurrent
        }
        fn version(&self) -> String {
            String::new()
        }
        unsafe fn usable_size(&self, _: *mut c_void, _: usize) -> usize {
            TICKET_BYTES
        }
    }

    fn tickets(count: usize, most: usize, has_race: bool) -> (Vec<u128>, TicketHeap) {
        let mut memory = vec![0_u128; count * TICKET_BYTES / 16];
        let heap = TicketHeap {
            start: memory.as_mut_ptr().cast(),
            next: AtomicUsize::new(0),
            has_race: AtomicBool::new(has_race),
            most,
        };
        (memory, heap)
    }

    #[test]
    fn verify_finds_an_injected_race_and_nothing_without_it() {
        // Blocks that live for 64 calls, so that those of one number meet.
        let rows: Vec<Row> = (0..20_000_u64)
            .map(|event| {
                let mut row = Row::new(event, Op::Malloc, 200, None);
                row.thread = 1 + (event % 4) as u32;
                row
            })
            .collect();
        let program = FixedRows::compiled(&rows);
        let verify = |heap: &TicketHeap| {
            free_order(&program, heap, Lanes::Recorded, FreeOrderMeasure::Verify)
        };
        let (_memory, heap) = tickets(20_000, 20_000, false);
        assert_eq!(verify(&heap).unwrap().checked, 20_000);
        let (_memory, heap) = tickets(20_000, 20_000, true);
        let found = verify(&heap).unwrap_err();
        assert!(matches!(found, ReplayError::Rule { .. }), "{found}");
        // In recorded order no two threads call at once, so there is no race to find.
        let (_memory, heap) = tickets(20_000, 20_000, true);
        assert_eq!(crate::replay::verify::verify(&program, &heap).unwrap(), 20_000);
    }

    /// A thread that gets no memory ends the replay, also for threads that wait for its blocks.
    #[test]
    fn a_refusal_ends_all_threads() {
        let program = handed_over(5000);
        let (_memory, heap) = tickets(5000, 3000, false);
        let found = free_order(&program, &heap, Lanes::Recorded, FreeOrderMeasure::Time);
        assert!(matches!(found, Err(ReplayError::Refused { event: 6000, .. })), "{found:?}");
    }
}
