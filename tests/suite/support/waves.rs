//! Generated requests in waves, the same for a seed on every machine.

/// A small generator (xorshift64*), so that a seed gives the same trace everywhere.
pub struct Random(u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Event {
    Malloc(usize),
    Calloc(usize, usize),
    Realloc(usize, usize),
    ReallocNull(usize),
    Free(usize),
    FreeNull,
}

/// Waves: the number of live blocks rises to a peak and falls, each wave with its own sizes and its
/// own order of frees.
pub struct Waves {
    random: Random,
    rising: bool,
    target: usize,
    widest: usize,
    order: usize,
}

impl Waves {
    pub fn new(seed: u64) -> Waves {
        Waves { random: Random(seed), rising: false, target: 0, widest: 512, order: 0 }
    }

    fn size(&mut self) -> usize {
        match self.random.below(100) {
            0 => 0,
            1..=3 => 513 + self.random.below(4000),
            4 => 505 + self.random.below(16),
            5..=39 => 1 + self.random.below(self.widest.min(96)),
            _ => 1 + self.random.below(self.widest),
        }
    }

    /// The next event. The `live` blocks are numbered from 0. The number of a freed block goes to
    /// the last one.
    pub fn next(&mut self, live: usize) -> Event {
        if (self.rising && live >= self.target) || (!self.rising && live <= self.target) {
            self.reverse();
        }
        let allocate = if self.rising { 70 } else { 12 };
        if live > 0 && self.random.percent(18) {
            let at = self.random.below(live);
            let size = self.size();
            return Event::Realloc(at, size);
        }
        if live == 0 || self.random.percent(allocate) {
            let size = self.size();
            return match self.random.below(20) {
                0 | 1 => Event::Calloc(1 + self.random.below(3), size / 2),
                2 => Event::ReallocNull(size),
                _ => Event::Malloc(size),
            };
        }
        match (self.random.below(500), self.order) {
            (0, _) => Event::FreeNull,
            (_, 0) => Event::Free(self.random.below(live)),
            (_, 1) => Event::Free(live - 1),
            _ => Event::Free(self.random.below(live.min(64))),
        }
    }

    /// Rises after a fall, and falls after a rise.
    fn reverse(&mut self) {
        self.rising = !self.rising;
        self.order = self.random.below(3);
        self.widest = [16, 64, 256, 512][self.random.below(4)];
        self.target = if self.rising {
            1_000 + self.random.below(100_000)
        } else {
            [0, 10, 500, 5_000][self.random.below(4)]
        };
    }
}
