//! How much of the processors other programs took while a run measured. Ratios of time are taken side by
//! side, and still another program changes them: it takes caches and memory bandwidth.

use std::fs;

/// From this share of the processors' time on, others are noted.
const NOTABLE_SHARE: f64 = 0.2;
/// Ticks (1/100 s) of a run that is too short to judge.
const FEW_TICKS: u64 = 200;

/// Ticks of all processors at a moment, by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessorTicks {
    /// All of them, idle ones too.
    all: u64,
    /// Those in which something ran, here or in another virtual machine.
    busy: u64,
    /// Those of this process and of its children that have ended.
    own: u64,
}

impl ProcessorTicks {
    /// Now; `None` where the kernel does not say.
    pub fn now() -> Option<ProcessorTicks> {
        let read = |path| fs::read_to_string(path).ok();
        ProcessorTicks::of(&read("/proc/stat")?, &read("/proc/self/stat")?)
    }

    /// Of the texts of `/proc/stat` and `/proc/self/stat` (proc(5)).
    fn of(machine: &str, own: &str) -> Option<ProcessorTicks> {
        let all = machine.lines().next()?.strip_prefix("cpu ")?;
        let all: Vec<u64> = all.split_whitespace().map_while(|field| field.parse().ok()).collect();
        // User, nice, system, idle, waiting for a disk, two kinds of interrupts, stolen. What follows is
        // in the first two.
        let [user, nice, system, idle, waiting, hard, soft, stolen] =
            all.get(..8)?.try_into().ok()?;
        let busy = [user, nice, system, hard, soft, stolen].iter().sum::<u64>();
        // The name of the program, in parentheses, may have spaces.
        let own: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
        let own: Option<Vec<u64>> =
            own.get(11..15)?.iter().map(|field| field.parse().ok()).collect();
        Some(ProcessorTicks { all: busy + idle + waiting, busy, own: own?.iter().sum() })
    }

    /// The note on other programs since then; `None` where they took little.
    pub fn note_since(self, before: ProcessorTicks) -> Option<String> {
        let all = self.all.checked_sub(before.all).filter(|all| *all >= FEW_TICKS)?;
        let busy = self.busy.saturating_sub(before.busy);
        let share = busy.saturating_sub(self.own.saturating_sub(before.own)) as f64 / all as f64;
        (share >= NOTABLE_SHARE).then(|| {
            format!(
                "other programs took {:.0} % of the processors' time during this run, and caches with it: \
                 repeat it on a quiet machine before you decide by a small difference of time",
                share * 100.0
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_took_is_noted() {
        let at = |user: u64, idle: u64, own: u64| {
            let machine = format!("cpu  {user} 0 50 {idle} 7 1 2 3 0 0\ncpu0 1 2 3\n");
            let own = format!("7 (a b) c) R 1 1 1 0 -1 0 0 0 0 0 {own} 5 20 1 20 0 1\n");
            ProcessorTicks::of(&machine, &own).unwrap()
        };
        let before = at(1000, 9000, 100);
        assert_eq!(before, ProcessorTicks { all: 10_063, busy: 1056, own: 126 });
        let note = at(1900, 9100, 400).note_since(before).unwrap();
        assert!(note.starts_with("other programs took 60 % of the processors"), "{note}");
        assert_eq!(at(1900, 9100, 900).note_since(before), None);
        assert_eq!(at(1100, 9000, 100).note_since(before), None, "too short");
        assert_eq!(ProcessorTicks::of("cpu 1 2\n", ""), None);
    }

    #[test]
    fn this_machine_has_them() {
        let now = ProcessorTicks::now().expect("Linux has /proc");
        assert!(now.own <= now.busy && now.busy <= now.all, "{now:?}");
    }
}
