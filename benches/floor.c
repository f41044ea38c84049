// The yardstick of heaplay's loop: a replay in plain C, with the calls in a switch.
//
// An operation is 8 bytes: action (bits 0-1: malloc, calloc, realloc, free), slot (bits 4-31), size
// (bits 32-63). This is the form of heaplay's own instructions; their domain (bits 2-3) is ignored.
// `benches/floor.rs` builds this file as a shared library with the machine's C compiler. It runs
// interleaved with heaplay's loop, in one process.

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

struct calls {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
};

static inline uint32_t slot_of(uint64_t operation) { return operation >> 4 & 0x0fffffff; }
static inline size_t size_of(uint64_t operation) { return operation >> 32; }

// Makes no call: it writes a slot where a block would begin and reads it where the block would end.
uint64_t floor_noop(const uint64_t *operations, size_t count, void **slots) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t operation = operations[i];
        uint32_t slot = slot_of(operation);
        switch (operation & 3) {
        case 3:
            sum += (uintptr_t)slots[slot];
            break;
        default:
            slots[slot] = (void *)size_of(operation);
        }
    }
    return sum;
}

// One call of `calls`. A compiler that knows the table makes the call by name.
static inline void make(uint64_t operation, void **place, const struct calls *calls) {
    switch (operation & 3) {
    case 0:
        *place = calls->malloc(size_of(operation));
        break;
    case 1:
        *place = calls->calloc(1, size_of(operation));
        break;
    case 2:
        *place = calls->realloc(*place, size_of(operation));
        break;
    default:
        calls->free(*place);
        *place = NULL;
    }
}

static const struct calls by_name = {malloc, calloc, realloc, free};

// The C library's allocator, called by name.
void floor_malloc(const uint64_t *operations, size_t count, void **slots) {
    for (size_t i = 0; i < count; i++)
        make(operations[i], &slots[slot_of(operations[i])], &by_name);
}

// Any allocator, by four pointers that stay in registers. A call by name goes through the linker's
// table and costs as much.
void floor_calls(const uint64_t *operations, size_t count, void **slots,
                 const struct calls *table) {
    struct calls calls = *table;
    for (size_t i = 0; i < count; i++)
        make(operations[i], &slots[slot_of(operations[i])], &calls);
}

static char somewhere[16];
static void *empty_malloc(size_t size) { (void)size; return somewhere; }
static void *empty_calloc(size_t count, size_t size) { (void)count, (void)size; return somewhere; }
static void *empty_realloc(void *block, size_t size) { (void)block, (void)size; return somewhere; }
static void empty_free(void *block) { (void)block; }

// For `floor_calls`: functions that do nothing, so only the call and its return remain.
const struct calls *floor_empty(void) {
    static const struct calls empty = {empty_malloc, empty_calloc, empty_realloc, empty_free};
    return &empty;
}

// As `floor_malloc`, with each call between a pair of clock reads that is fenced on its inner
// sides, as in heaplay's latency pass. Returns 0 where the processor has no such counter, else 1.
int floor_pairs(const uint64_t *operations, size_t count, void **slots, uint32_t *ticks) {
#if defined(__x86_64__)
    for (size_t i = 0; i < count; i++) {
        uint64_t operation = operations[i];
        void **place = &slots[slot_of(operation)];
        uint64_t before = __rdtsc();
        _mm_lfence();
        make(operation, place, &by_name);
        _mm_lfence();
        ticks[i] = (uint32_t)(__rdtsc() - before);
    }
    return 1;
#else
    (void)operations, (void)count, (void)slots, (void)ticks;
    return 0;
#endif
}
