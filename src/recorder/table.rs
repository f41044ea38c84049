//! A hash table whose memory comes from the kernel, none from the recorded domains or libc's heap.

use crate::system;

/// Slots of a new table: a power of two.
const FIRST_SLOTS: usize = 4096;
/// Slots of a cache at most: a full cache is emptied and does not grow further.
const MOST_SLOTS: usize = 1 << 20;

/// A hash table of non-zero keys with open addressing, in pages from the kernel.
pub struct HashTable {
    slots: *mut (u64, u64),
    count: usize,
    used: usize,
}

impl HashTable {
    pub const fn new() -> HashTable {
        HashTable { slots: core::ptr::null_mut(), count: 0, used: 0 }
    }

    /// The slot that holds `key`, or the empty slot where `key` would go; `None` for a table without
    /// memory.
    #[inline(always)]
    fn slot(&self, key: u64) -> Option<*mut (u64, u64)> {
        if self.count == 0 {
            return None;
        }
        let mut at = hash(key) as usize & (self.count - 1);
        loop {
            // SAFETY: `at` is below `count`. A table is at most half full, so the loop ends.
            unsafe {
                let slot = self.slots.add(at);
                if (*slot).0 == key || (*slot).0 == 0 {
                    return Some(slot);
                }
            }
            at = (at + 1) & (self.count - 1);
        }
    }

    #[inline(always)]
    pub fn get(&self, key: u64) -> Option<u64> {
        let slot = self.slot(key)?;
        // SAFETY: a slot of the table.
        unsafe { ((*slot).0 == key).then_some((*slot).1) }
    }

    /// Enters or changes a key; `false` when there is no memory.
    pub fn set(&mut self, key: u64, value: u64) -> bool {
        if self.used * 2 >= self.count && !self.grow() {
            return false;
        }
        let Some(slot) = self.slot(key) else { return false };
        // SAFETY: a slot of the table.
        unsafe {
            if (*slot).0 == 0 {
                self.used += 1;
            }
            *slot = (key, value);
        }
        true
    }

    fn grow(&mut self) -> bool {
        let count = (self.count * 2).max(FIRST_SLOTS);
        let slots: *mut (u64, u64) = system::pages(count * size_of::<(u64, u64)>()).cast();
        if slots.is_null() {
            return false;
        }
        let old = core::mem::replace(self, HashTable { slots, count, used: 0 });
        for at in 0..old.count {
            // SAFETY: a slot of the old table.
            let (key, value) = unsafe { *old.slots.add(at) };
            if key != 0 {
                self.set(key, value);
            }
        }
        old.release();
        true
    }

    /// Gives every key and its value to `see`.
    pub fn each(&self, mut see: impl FnMut(u64, u64)) {
        for at in 0..self.count {
            // SAFETY: a slot of the table.
            let (key, value) = unsafe { *self.slots.add(at) };
            if key != 0 {
                see(key, value);
            }
        }
    }

    /// Whether one more entry would make a cache too large.
    pub fn is_full(&self) -> bool {
        self.used * 2 >= MOST_SLOTS
    }

    pub fn clear(&mut self) {
        core::mem::replace(self, HashTable::new()).release();
    }

    fn release(self) {
        if !self.slots.is_null() {
            // SAFETY: the pages belong to this table.
            unsafe {
                system::return_pages(self.slots.cast(), self.count * size_of::<(u64, u64)>())
            };
        }
    }
}

/// Spreads a key over all bits (the finaliser of SplitMix64).
#[inline(always)]
pub fn hash(key: u64) -> u64 {
    let key = (key ^ key >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    key ^ key >> 32
}
