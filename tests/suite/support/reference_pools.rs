//! A reference model of CPython's pools, as plain as it can be: vectors and searches, no addresses.
//!
//! It says where each block should lie: in which arena, by birth, and at which offset. It follows
//! from the rules, not from the heap that is compared with it.

use std::collections::HashMap;

use heaplay::backends::pymalloc::{Constants, POOL_HEADER_BYTES};

use super::arena_hooks::{Bases, Place};

/// A pool by the birth of its arena and its offset there.
type PoolId = (usize, usize);

struct Pool {
    class: Option<usize>,
    live: usize,
    /// Offsets in the pool, the next to go out last.
    free: Vec<usize>,
    /// Blocks that were never used, by offset.
    virgin: usize,
}

struct Arena {
    birth: usize,
    /// Free pools that were used, the next to go out last.
    free: Vec<PoolId>,
    next_virgin: usize,
    pools: usize,
    virgin_pools: usize,
}

impl Arena {
    fn free_count(&self) -> usize {
        self.free.len() + self.virgin_pools
    }
}

/// The whole state.
pub struct ReferencePools {
    align: usize,
    threshold: usize,
    pool_bytes: usize,
    arena_bytes: usize,
    keeps_last_empty: bool,
    bases: Bases,
    births: usize,
    pools: HashMap<PoolId, Pool>,
    /// Pools with a free block, by class, the first to serve first.
    used: HashMap<usize, Vec<PoolId>>,
    /// Arenas with a free pool, the first to serve first.
    usable: Vec<Arena>,
    /// Arenas without one.
    full: Vec<Arena>,
}

impl ReferencePools {
    pub fn new(constants: &Constants, bases: Bases) -> ReferencePools {
        ReferencePools {
            align: constants.align(),
            threshold: constants.threshold,
            pool_bytes: constants.pool(),
            arena_bytes: constants.arena(),
            keeps_last_empty: constants.keeps_last_empty,
            bases,
            births: 0,
            pools: HashMap::new(),
            used: HashMap::new(),
            usable: Vec::new(),
            full: Vec::new(),
        }
    }

    pub fn arenas_mapped(&self) -> u64 {
        (self.usable.len() + self.full.len()) as u64
    }

    pub fn malloc(&mut self, size: usize) -> Place {
        if size == 0 || size > self.threshold {
            return Place::Below;
        }
        let class = size.div_ceil(self.align) * self.align;
        let id = match self.used.get(&class).and_then(|pools| pools.first()) {
            Some(&id) => id,
            None => self.take_pool(class),
        };
        let pool_bytes = self.pool_bytes;
        let pool = self.pools.get_mut(&id).unwrap();
        let offset = pool.free.pop().unwrap();
        let newly_taken = pool.live == 0;
        pool.live += 1;
        // One block ahead is always cut; a pool just taken has its next one already, or all its old
        // ones.
        if pool.free.is_empty() && pool.virgin + class <= pool_bytes {
            pool.free.push(pool.virgin);
            pool.virgin += class;
        }
        if newly_taken {
            self.used.entry(class).or_default().insert(0, id);
        } else if pool.free.is_empty() {
            self.used.get_mut(&class).unwrap().retain(|&other| other != id);
        }
        Place::Arena { birth: id.0, offset: id.1 + offset }
    }

    /// A free pool of the fullest arena, laid out for the class unless it was of that class before.
    fn take_pool(&mut self, class: usize) -> PoolId {
        if self.usable.is_empty() {
            self.new_arena();
        }
        let arena = &mut self.usable[0];
        let id = arena.free.pop().unwrap_or_else(|| {
            let id = (arena.birth, arena.next_virgin);
            arena.next_virgin += self.pool_bytes;
            arena.virgin_pools -= 1;
            id
        });
        if arena.free_count() == 0 {
            let arena = self.usable.remove(0);
            self.full.push(arena);
        }
        let fresh = Pool { class: None, live: 0, free: Vec::new(), virgin: 0 };
        let pool = self.pools.entry(id).or_insert(fresh);
        if pool.class != Some(class) {
            let first = POOL_HEADER_BYTES;
            *pool = Pool { class: Some(class), live: 0, free: vec![first], virgin: first + class };
        }
        id
    }

    fn new_arena(&mut self) {
        let birth = self.births;
        self.births += 1;
        let off = self.bases.offset(birth) % self.pool_bytes;
        let lost = usize::from(off != 0);
        let pools = self.arena_bytes / self.pool_bytes - lost;
        let next_virgin = lost * (self.pool_bytes - off);
        self.usable.push(Arena {
            birth,
            free: Vec::new(),
            next_virgin,
            pools,
            virgin_pools: pools,
        });
    }

    fn pool_of(&self, birth: usize, offset: usize) -> PoolId {
        let base = self.bases.offset(birth);
        (birth, (base + offset) / self.pool_bytes * self.pool_bytes - base)
    }

    pub fn free(&mut self, place: Place) {
        let Place::Arena { birth, offset } = place else { return };
        let id = self.pool_of(birth, offset);
        let pool = self.pools.get_mut(&id).unwrap();
        let class = pool.class.unwrap();
        let was_full = pool.free.is_empty();
        pool.free.push(offset - id.1);
        pool.live -= 1;
        if was_full {
            self.used.entry(class).or_default().insert(0, id);
        } else if pool.live == 0 {
            self.used.get_mut(&class).unwrap().retain(|&other| other != id);
            self.give_pool(id);
        }
    }

    fn give_pool(&mut self, id: PoolId) {
        if let Some(at) = self.full.iter().position(|arena| arena.birth == id.0) {
            let mut arena = self.full.remove(at);
            arena.free.push(id);
            self.usable.insert(0, arena);
            return;
        }
        let at = self.usable.iter().position(|arena| arena.birth == id.0).unwrap();
        let is_last = at + 1 == self.usable.len();
        let mut arena = self.usable.remove(at);
        arena.free.push(id);
        let count = arena.free_count();
        if count == arena.pools && (!self.keeps_last_empty || !is_last) {
            self.pools.retain(|pool, _| pool.0 != id.0);
            return;
        }
        // Only to the right, and only past arenas with fewer.
        let fewer = self.usable[at..].iter().take_while(|other| other.free_count() < count).count();
        self.usable.insert(at + fewer, arena);
    }

    pub fn realloc(&mut self, place: Place, size: usize) -> Place {
        match place {
            Place::Null => self.malloc(size),
            Place::Below => Place::Below,
            Place::Arena { birth, offset } => {
                let class = self.pools[&self.pool_of(birth, offset)].class.unwrap();
                if size <= class && 4 * size > 3 * class {
                    return place;
                }
                let new = self.malloc(size);
                self.free(place);
                new
            }
        }
    }
}
