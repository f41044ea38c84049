//! Races on all processors, one lane a processor. A lane takes the waiting race that has had the
//! least time, up to its next look. A lane without a race leaves its processor to the races that go
//! on.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::machine::processors;
use super::pairs::PairError;
use super::race::Race;
use crate::results::PairJudge;

/// What is made of a race and of its result; `None` for an interruption.
type RaceEnd<'e, 'a, J, F> = dyn Fn(&Race<'a, J>, Result<(), PairError>) -> Option<F> + Sync + 'e;

/// Runs races to their ends on at most `jobs` processors, and gives what `end` makes of each. A race
/// that has no ending at `deadline` gives up. `end` returns `None` for an interruption, which ends
/// its lane.
pub fn run_races<'a, J, F>(
    races: Vec<Race<'a, J>>,
    jobs: usize,
    deadline: Instant,
    end: &RaceEnd<'_, 'a, J, F>,
) -> Vec<F>
where
    J: PairJudge<Ending: Send> + Send,
    F: Send,
{
    let processors = processors();
    let lanes = jobs.clamp(1, processors.len().max(1));
    let shared = LaneQueue {
        waiting: Mutex::new(races),
        idle: Mutex::default(),
        ended: Mutex::default(),
        deadline,
    };
    std::thread::scope(|scope| {
        for lane in 0..lanes {
            let (shared, processor) = (&shared, processors.get(lane).copied());
            scope.spawn(move || shared.serve(processor, end));
        }
    });
    shared.ended.into_inner().unwrap_or_default()
}

/// What the lanes share. Lanes never hold two of the locks at once.
struct LaneQueue<'a, J: PairJudge, F> {
    waiting: Mutex<Vec<Race<'a, J>>>,
    /// The processors of lanes that have ended.
    idle: Mutex<Vec<Option<usize>>>,
    ended: Mutex<Vec<F>>,
    deadline: Instant,
}

impl<'a, J: PairJudge, F> LaneQueue<'a, J, F> {
    /// One lane, until no race waits. A race that another lane holds comes back undecided or not at
    /// all, and that lane goes on with it.
    fn serve(&self, processor: Option<usize>, end: &RaceEnd<'_, 'a, J, F>) {
        while let Some(mut race) = self.take() {
            let result = self.advance(&mut race, processor);
            if result.is_ok() && race.ending().is_none() {
                push(&self.waiting, race);
                continue;
            }
            match end(&race, result) {
                Some(finding) => push(&self.ended, finding),
                None => return,
            }
        }
        push(&self.idle, processor);
    }

    /// The waiting race that has had the least time.
    fn take(&self) -> Option<Race<'a, J>> {
        let mut waiting = self.waiting.lock().ok()?;
        let spent = |at: &usize| -> Duration { waiting[*at].spent() };
        let least = (0..waiting.len()).min_by_key(spent)?;
        Some(waiting.swap_remove(least))
    }

    /// Advances a race to its next look, on the lane's processor and on all idle ones.
    fn advance(&self, race: &mut Race<'a, J>, processor: Option<usize>) -> Result<(), PairError> {
        if Instant::now() >= self.deadline {
            race.give_up("when the suite's time was over");
            return Ok(());
        }
        let mut processors = vec![processor];
        if let Ok(mut idle) = self.idle.lock() {
            processors.append(&mut idle);
        }
        let advanced = race.advance(&processors, self.deadline);
        if let Ok(mut idle) = self.idle.lock() {
            idle.extend(processors.drain(1..));
        }
        advanced
    }
}

fn push<T>(list: &Mutex<Vec<T>>, item: T) {
    if let Ok(mut list) = list.lock() {
        list.push(item);
    }
}
