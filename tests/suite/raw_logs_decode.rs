//! Raw logs made by hand, machine word by machine word, so that rare cases of a recording are
//! covered. And the rules of what the recorder refuses.

#[path = "../../src/recorder/rawlog.rs"]
mod layout;
#[path = "../../src/recorder/refusal.rs"]
#[allow(dead_code, reason = "the tests use a part of the rules")]
mod refusal;

use heaplay::trace::{
    self, AllocatorRequest, ArenaEvent, Domain, MemoryParts, Op, PresentBytes, RawLog, Row,
    TraceError,
};
use layout::{Control, ShortBase, ShortCall, call, control, field, tag, word};
use refusal::{InterpreterOptions, PythonVariables, interpreter, options, settings};
use tempfile::TempDir;

/// Units of a block of the log: its stamp has two.
const BLOCK_UNITS: usize = 32;

/// The word of a base, without the base: its first bit, tag 0, and the bit that tells it from padding.
const BASE_WORD: u64 = 0x8400_0000_0000_0000;

/// What a log is made of: calls of one unit, and words.
#[derive(Clone, Copy)]
enum Written {
    Unit(u32),
    Word(u64),
}

/// A log of these words. Block n begins at n microseconds.
fn log(folder: &TempDir, words: &[u64]) -> RawLog {
    let written: Vec<Written> = words.iter().map(|&word| Written::Word(word)).collect();
    log_of(folder, &written)
}

/// A log of units and words, with a stamp at the begin of each block. A word that would lie in two
/// blocks has its place in the second. New blocks of one unit are of obj.
fn log_of(folder: &TempDir, written: &[Written]) -> RawLog {
    let halves = |word: u64| [(word >> 32) as u32, word as u32];
    let mut units: Vec<u32> = Vec::new();
    for &next in written {
        let needs = if matches!(next, Written::Word(_)) { 2 } else { 1 };
        if units.len() % BLOCK_UNITS + needs > BLOCK_UNITS {
            units.push(0x8000_0000);
        }
        if units.len().is_multiple_of(BLOCK_UNITS) {
            units.extend(halves(1 << 63 | ((units.len() / BLOCK_UNITS) as u64 * 1000)));
        }
        match next {
            Written::Unit(unit) => units.push(unit),
            Written::Word(word) => units.extend(halves(word)),
        }
    }
    let per_chunk = layout::TAIL_BYTES / 4;
    let chunks: Vec<&[u32]> = units.chunks(per_chunk).collect();
    let (tail, full) = chunks.split_last().unwrap();
    let mut header = vec![0u64; layout::HEADER_BYTES / 8];
    header[field::MAGIC] = layout::MAGIC;
    header[field::VERSION] = layout::VERSION;
    header[field::CHUNKS] = full.len() as u64;
    header[field::TAIL] = full.len() as u64;
    header[field::SHORT_DOMAIN] = OBJ;
    let mut bytes: Vec<u8> = header.iter().flat_map(|number| number.to_ne_bytes()).collect();
    bytes.extend(tail.iter().flat_map(|unit| unit.to_ne_bytes()));
    bytes.resize(layout::HEADER_BYTES + layout::TAIL_BYTES, 0);
    bytes.extend(full.iter().copied().flatten().flat_map(|unit| unit.to_ne_bytes()));
    let path = folder.path().join("log");
    std::fs::write(&path, bytes).unwrap();
    RawLog::open(&path).unwrap()
}

struct Read {
    rows: Vec<Row>,
    sites: Vec<String>,
    unseen_frees: u64,
    unseen_ends: u64,
    events: u64,
}

fn read(words: &[u64]) -> Read {
    let folder = TempDir::new().unwrap();
    read_log(&log(&folder, words))
}

fn read_log(log: &RawLog) -> Read {
    let survey = log.survey().unwrap();
    let (mut rows, mut sites) = (Vec::new(), Vec::new());
    log.rows(&survey, &mut |row, known| {
        rows.push(*row);
        sites.push(known.name(row.site).to_owned());
        Ok(())
    })
    .unwrap();
    assert_eq!(survey.rows, rows.len() as u64);
    let (unseen_frees, unseen_ends, events) =
        (survey.unseen_frees, survey.unseen_ends, survey.events);
    Read { rows, sites, unseen_frees, unseen_ends, events }
}

const RAW: u64 = 0;
const OBJ: u64 = 2;

fn malloc(size: u64, address: u64) -> u64 {
    call(tag::MALLOC + OBJ, size, address)
}

fn free(address: u64) -> u64 {
    call(tag::FREE, 0, address)
}

fn gives_up(address: u64) -> u64 {
    call(tag::FREE, 0, address) | layout::GIVES_UP
}

fn thread(number: u64) -> u64 {
    control(Control::Thread, number)
}

/// (event, op, size, lifetime) of each row.
fn short(read: &Read) -> Vec<(u64, Op, u64, Option<u64>)> {
    read.rows.iter().map(|row| (row.event, row.op, row.size, row.lifetime.map(u64::from))).collect()
}

#[test]
fn lifetimes_follow_addresses() {
    let read = read(&[malloc(10, 16), malloc(20, 32), free(16), malloc(30, 16), free(32)]);
    assert_eq!(
        short(&read),
        [(0, Op::Malloc, 10, Some(2)), (1, Op::Malloc, 20, Some(3)), (3, Op::Malloc, 30, None)]
    );
    assert_eq!((read.unseen_frees, read.unseen_ends, read.events), (0, 0, 5));
}

/// A realloc in flight gives up its old address at once. Its block lives on, and the realloc may
/// fail.
#[test]
fn reallocs_of_two_threads_cross() {
    let raw = |tag: u64, size, address| call(tag + RAW, size, address);
    let read = read(&[
        raw(tag::MALLOC, 10, 16),
        raw(tag::MALLOC, 20, 32),
        gives_up(16),
        thread(7),
        gives_up(32),
        raw(tag::REALLOC, 40, 16),
        thread(1),
        raw(tag::REALLOC, 50, 32),
        gives_up(32),
        control(Control::ReallocFailed, 0),
        call(tag::FREE, 0, 32),
        thread(7),
        call(tag::FREE, 0, 16),
    ]);
    assert_eq!(
        short(&read),
        [
            (0, Op::Malloc, 10, Some(3)),
            (1, Op::Malloc, 20, Some(1)),
            (2, Op::Realloc, 40, Some(3)),
            (3, Op::Realloc, 50, Some(1)),
        ]
    );
    assert_eq!((read.unseen_frees, read.unseen_ends), (0, 0));
    assert_eq!(read.rows.iter().map(|row| row.thread).collect::<Vec<_>>(), [1, 1, 2, 1]);
    assert_eq!(read.rows[1].end_thread, Some(2));
    assert_eq!(read.rows[3].end_thread, None);
    assert!(read.rows.iter().all(|row| row.domain == Domain::Raw));
}

/// A mark stands before the next call. A name may hold a zero word.
#[test]
fn marks_stand_between_the_calls() {
    let folder = TempDir::new().unwrap();
    let name = |text: &[u8; 8]| u64::from_ne_bytes(*text);
    let words = [
        control(Control::Mark, 5),
        name(b"start\0\0\0"),
        malloc(10, 16),
        free(16),
        control(Control::Mark, 16),
        name(b"\"second\""),
        0,
        malloc(20, 32),
        control(Control::Mark, 3),
        name(b"end\0\0\0\0\0"),
    ];
    let log = log(&folder, &words);
    let survey = log.survey().unwrap();
    let second = format!("\"second\"{}", "\0".repeat(8));
    assert_eq!(survey.marks, [(0, "start".into()), (2, second), (3, "end".into())]);
    assert_eq!((survey.events, log.header(&survey).marks()), (3, survey.marks));
}

/// An arena is born before the call that needs it, and dies after the call that emptied it. A chunk
/// of frames is no arena.
#[test]
fn arenas_stand_between_the_calls() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (0x7F00_0010_0000u64, 0x7F00_0030_4000u64);
    let words = [
        control(Control::Arena, layout::arena(true, 1 << 20)),
        first,
        malloc(10, first),
        control(Control::Arena, layout::arena(true, 16 << 10)),
        second + 16,
        free(first),
        control(Control::Arena, layout::arena(false, 1 << 20)),
        first,
        control(Control::Arena, layout::arena(true, 1 << 20)),
        second,
        malloc(20, second),
    ];
    let log = log(&folder, &words);
    let survey = log.survey().unwrap();
    let arena = |event, is_birth, base| ArenaEvent { event, is_birth, base, size: 1 << 20 };
    let expected = [arena(0, true, first), arena(2, false, first), arena(2, true, second)];
    assert_eq!((&survey.arenas[..], survey.events), (&expected[..], 3));
    assert_eq!((survey.frame_chunks.births, survey.frame_chunks.peak_bytes), (1, 16 << 10));
    assert_eq!(log.header(&survey).arenas(), expected);
}

/// A site with callers is a chain. Chains share their common part. The innermost line comes first.
#[test]
fn chains_are_read_newest_first() {
    let name = |text: &[u8; 8]| u64::from_ne_bytes(*text);
    let read = read(&[
        control(Control::File, 1 << 24 | 4),
        name(b"a.py\0\0\0\0"),
        control(Control::Site, 1),
        1 << 32 | 10,
        control(Control::Site, 2),
        1 << 32 | 20,
        control(Control::Chain, 3),
        1 << 32 | 2,
        control(Control::Chain, 4),
        2 << 32 | 3,
        word(tag::ASIDE, 3),
        malloc(1, 16),
        word(tag::ASIDE, 4),
        malloc(2, 32),
        word(tag::ASIDE, 2),
        malloc(3, 48),
        // A chain that calls itself ends somewhere.
        control(Control::Chain, 5),
        1 << 32 | 5,
        word(tag::ASIDE, 5),
        malloc(4, 64),
        word(tag::ASIDE, 99),
        malloc(5, 80),
    ]);
    assert_eq!(read.sites[..3], ["a.py:10 < a.py:20", "a.py:20 < a.py:10 < a.py:20", "a.py:20"]);
    assert!(read.sites[3].starts_with("a.py:10 < a.py:10") && read.sites[3].len() < 4096);
    assert_eq!(read.sites[4], "");
}

/// A thread in a sub-interpreter has a number of its own, which the header explains.
#[test]
fn threads_of_sub_interpreters_have_numbers_of_their_own() {
    let folder = TempDir::new().unwrap();
    let words = [
        malloc(1, 16),
        control(Control::Interpreter, 5),
        malloc(2, 32),
        thread(2),
        malloc(3, 48),
        control(Control::Interpreter, 0),
        malloc(4, 64),
        thread(1),
        control(Control::Interpreter, 5),
        free(16),
    ];
    let log = log(&folder, &words);
    let survey = log.survey().unwrap();
    assert_eq!(log.header(&survey).interpreters(), [(2, 5), (3, 5)]);
    let mut threads = Vec::new();
    log.rows(&survey, &mut |row, _| {
        threads.push((row.thread, row.end_thread));
        Ok(())
    })
    .unwrap();
    assert_eq!(threads, [(1, Some(2)), (2, None), (3, None), (4, None)]);
}

/// The recorder checks its limits once a block. The reader stops at the exact call.
#[test]
fn a_limit_of_calls_is_exact() {
    let folder = TempDir::new().unwrap();
    let words: Vec<u64> =
        (0..50).flat_map(|n| [malloc(8, 16 + n * 16), free(16 + n * 16)]).collect();
    let path = log(&folder, &words).path().to_owned();
    let mut bytes = std::fs::read(&path).unwrap();
    let mut set = |field: usize, value: u64| {
        bytes[field * 8..field * 8 + 8].copy_from_slice(&value.to_ne_bytes());
        std::fs::write(&path, &bytes).unwrap();
    };
    set(field::END, layout::end::LIMIT);
    set(field::LIMIT, layout::limit::EVENTS);
    for most in [1, 7, 99, 100, 200] {
        set(field::MAX_EVENTS, most);
        set(field::LIMIT_VALUE, most);
        let log = RawLog::open(&path).unwrap();
        let survey = log.survey().unwrap();
        assert_eq!(survey.events, most.min(100));
        let limit = &log.header(&survey).facts["limit"];
        assert!(
            limit.starts_with(&format!(
                "--max-events {most}, reached after {} calls",
                survey.events
            )),
            "{limit}"
        );
    }
}

#[test]
fn calls_that_the_log_misses_are_counted() {
    let read = read(&[
        free(160),
        gives_up(176),
        call(tag::REALLOC + OBJ, 5, 192),
        malloc(10, 16),
        malloc(20, 16),
        free(16),
    ]);
    // The realloc of an unseen block is a malloc. The block at 16 ended before its address came
    // back.
    assert_eq!(
        short(&read),
        [(0, Op::Malloc, 5, None), (1, Op::Malloc, 10, Some(1)), (3, Op::Malloc, 20, Some(1))]
    );
    assert_eq!((read.unseen_frees, read.unseen_ends, read.events), (2, 1, 5));
}

/// A block of a trace cannot change between the raw domain and another one. So it ends, and a new
/// block begins.
#[test]
fn a_realloc_across_domains_is_a_free_and_a_malloc() {
    let read = read(&[malloc(10, 16), gives_up(16), call(tag::REALLOC + RAW, 9, 32)]);
    assert_eq!(short(&read), [(0, Op::Malloc, 10, Some(1)), (2, Op::Malloc, 9, None)]);
}

#[test]
fn sizes_sites_and_times() {
    let name = "ä/long name.py";
    let mut words =
        vec![word(tag::ASIDE, layout::IS_WIDE | 1 << 40), malloc(0, 16), malloc(32_767, 32)];
    words.push(control(Control::File, 1 << 24 | name.len() as u64));
    for chunk in name.as_bytes().chunks(8) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        words.push(u64::from_ne_bytes(bytes));
    }
    words.extend([control(Control::Site, 3), 1 << 32 | 77, word(tag::ASIDE, 3), malloc(1, 48)]);
    words.extend([word(tag::ASIDE, 0), malloc(2, 64)]);
    let first = words.len();
    // Enough to fill more than one chunk.
    words.extend((0..40_000).map(|n| malloc(3, 80 + n * 16)));
    let read = read(&words);
    assert_eq!(read.rows[0].size, 1 << 40);
    assert_eq!(read.rows[1].size, 32_767);
    assert_eq!(read.sites[..4], ["", "", "ä/long name.py:77", ""]);
    assert_eq!(read.rows.len(), 40_004);
    let last = (first + 40_000 - 1) / (BLOCK_UNITS / 2 - 1);
    assert_eq!((read.rows[0].time_ns, read.rows[40_003].time_ns), (0, last as u64 * 1000));
}

/// A process may die after its tail was appended and before it was cleared. Its log has the same
/// words twice, and the reader takes them once.
#[test]
fn a_tail_that_was_appended_is_read_once() {
    let folder = TempDir::new().unwrap();
    let words: Vec<u64> = (0..40_000).map(|n| malloc(3, 80 + n * 16)).collect();
    let rows = log(&folder, &words).survey().unwrap().rows;
    assert_eq!(rows, 40_000);
    let path = folder.path().join("log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[field::TAIL * 8..field::TAIL * 8 + 8].copy_from_slice(&0u64.to_ne_bytes());
    std::fs::write(&path, bytes).unwrap();
    let in_chunk = layout::TAIL_BYTES / 4 / BLOCK_UNITS * (BLOCK_UNITS / 2 - 1);
    assert_eq!(RawLog::open(&path).unwrap().survey().unwrap().rows, in_chunk as u64);
}

/// Words of a made-up program of three threads: reallocs in flight, alignments, large sizes, sites,
/// marks. `seed` chooses the program.
fn made_up_words(mut seed: u64, count: usize) -> Vec<u64> {
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let size = |random: &mut dyn FnMut(u64) -> u64| {
        let below = if random(2) == 0 { 600 } else { 30_000 };
        random(below)
    };
    let numbers = [1, 7, 9];
    let mut words = vec![control(Control::File, 1 << 24 | 4), u64::from_ne_bytes(*b"f.py\0\0\0\0")];
    // One block of each thread lives to the end, so that threads have the same order in each reading.
    for (index, number) in numbers.into_iter().enumerate() {
        words.extend([thread(number), malloc(5, 16 + 16 * index as u64)]);
    }
    let (mut live, mut next_address, mut sites) = (Vec::new(), 1024, 0);
    let mut in_flight: [Option<u64>; 3] = [None; 3];
    while words.len() < count {
        let now = random(3) as usize;
        words.push(thread(numbers[now]));
        let address = next_address;
        next_address += 16;
        if let Some(old) = in_flight[now] {
            if random(4) == 0 {
                words.push(control(Control::ReallocFailed, 0));
                live.push(old);
            } else {
                words.push(call(tag::REALLOC + OBJ, size(&mut random), address));
                live.push(address);
            }
            in_flight[now] = None;
            continue;
        }
        let kind = if live.len() > 300 { random(3) } else { random(9) };
        match kind {
            0 | 1 if !live.is_empty() => {
                let old = live.swap_remove(random(live.len() as u64) as usize);
                words.push(free(old));
            }
            2 if !live.is_empty() => {
                let old = live.swap_remove(random(live.len() as u64) as usize);
                words.push(gives_up(old));
                in_flight[now] = Some(old);
            }
            3 => {
                words.push(control(Control::Alignment, 5 + random(4)));
                words.push(call(tag::MALLOC + 3, size(&mut random), address));
                live.push(address);
            }
            4 => {
                words.push(word(tag::ASIDE, layout::IS_WIDE | (70_000 + random(1000))));
                words.push(call(tag::CALLOC + OBJ, 0, address));
                live.push(address);
            }
            5 => {
                sites += 1;
                words.extend([control(Control::Site, sites), 1 << 32 | sites]);
                words.push(word(tag::ASIDE, random(sites + 1)));
            }
            6 => words.extend([control(Control::Mark, 3), u64::from_ne_bytes(*b"abc\0\0\0\0\0")]),
            _ => {
                words.push(malloc(size(&mut random), address));
                live.push(address);
            }
        }
    }
    words
}

/// What is known of each block that is live at the end, ordered.
fn live_blocks(log: &RawLog) -> (Vec<String>, Vec<String>) {
    let survey = log.survey().unwrap();
    assert_eq!((survey.unseen_frees, survey.unseen_ends), (0, 0));
    let (mut live, mut newest) = (Vec::new(), Vec::new());
    log.rows(&survey, &mut |row, known| {
        let site = known.name(row.site);
        let (lifetime, end_thread) = (row.lifetime, row.end_thread);
        let block = format!(
            "{} {} {:?} {} {} {site}",
            row.size, row.alignment, row.domain, row.thread, row.time_ns
        );
        if lifetime.is_none() {
            live.push(block.clone());
        }
        newest.push(format!("{:?} {block} {lifetime:?} {end_thread:?}", row.op));
        Ok(())
    })
    .unwrap();
    live.sort();
    let newest = newest.split_off(newest.len() - 1000);
    (live, newest)
}

/// The same calls with one unit for each call that has one: 16-byte addresses, mallocs of obj with
/// sizes below 512 at 32 MiB from the base up, and ends at 8 GiB from the base down and up. Every 500
/// words the base moves. `seed` chooses where to.
fn shortened(words: &[u64], mut seed: u64) -> Vec<Written> {
    let mut base = 0u64;
    let (mut written, mut words_of_entry) = (Vec::new(), 0);
    for (index, &word) in words.iter().enumerate() {
        if words_of_entry > 0 {
            words_of_entry -= 1;
            written.push(Written::Word(word));
            continue;
        }
        if index % 500 == 499 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            base = (seed >> 48) * 16 + if seed & 1 << 40 == 0 { 0 } else { (8 << 30) - (8 << 20) };
            written.push(Written::Word(BASE_WORD | (base / 16)));
        }
        let tag = word >> 59 & 0xF;
        let (size, address) = (word >> 44 & 0x7FFF, (word & ((1 << 44) - 1)) * 8);
        let is_wide =
            matches!(written.last(), Some(Written::Word(last)) if last >> 58 & 0x1F == 0x1F);
        let from_base = i128::from(address) - i128::from(base);
        let is_birth = tag == 3 && size < 512 && (0..32 << 20).contains(&from_base) && !is_wide;
        let is_end = tag == 13 && size == 0 && from_base.abs() < 8 << 30;
        written.push(match address % 16 {
            0 if is_birth => Written::Unit(1 << 30 | (size as u32) << 21 | (from_base / 16) as u32),
            0 if is_end => Written::Unit(((from_base + (8 << 30)) / 16) as u32),
            _ => Written::Word(word),
        });
        if tag == 14 {
            words_of_entry = match word >> 55 & 0xF {
                3 | 4 | 6 => 1, // the names have up to 8 bytes
                _ => 0,
            };
        }
    }
    written
}

/// What is known of each row but for its time.
fn without_times(read: &Read) -> Vec<String> {
    let rows = read.rows.iter().zip(&read.sites);
    rows.map(|(row, site)| format!("{:?} {site}", Row { time_ns: 0, ..*row })).collect()
}

/// Calls of one unit mean what the same calls as words mean.
#[test]
fn calls_of_one_unit_are_those_of_words() {
    for seed in 1..9 {
        let folder = TempDir::new().unwrap();
        let words = made_up_words(seed, 60_000);
        let written = shortened(&words, seed);
        let units = written.iter().filter(|next| matches!(next, Written::Unit(_))).count();
        assert!(units > 4000, "{units} calls of one unit");
        let long = read(&words);
        let short = read_log(&log_of(&folder, &written));
        assert!(without_times(&short) == without_times(&long), "seed {seed}");
        assert_eq!((short.unseen_frees, short.unseen_ends, short.events), (0, 0, long.events));
    }
}

/// A log with damaged units is read or refused, as a whole and folded; no damage ends the reader.
#[test]
fn damaged_units_are_read_or_refused() {
    let mut seed = 7u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let folder = TempDir::new().unwrap();
    let log = log_of(&folder, &shortened(&made_up_words(3, 40_000), 3));
    let whole = std::fs::read(log.path()).unwrap();
    let mut refused = 0;
    for _ in 0..60 {
        let mut bytes = whole.clone();
        for _ in 0..=random(3) {
            let at = layout::HEADER_BYTES + random((bytes.len() - layout::HEADER_BYTES) / 4) * 4;
            let unit =
                [0, u32::MAX, 1 << 31, 0x8400_0000, 1 << 30, random(1 << 31) as u32][random(6)];
            bytes[at..at + 4].copy_from_slice(&unit.to_ne_bytes());
        }
        std::fs::write(log.path(), &bytes).unwrap();
        drop(std::fs::remove_file(folder.path().join("log.fold")));
        for is_folded in [false, true] {
            if is_folded {
                drop(trace::fold_oldest(log.path(), 1));
            }
            let opened = RawLog::open(log.path()).unwrap();
            match opened.survey() {
                Ok(survey) => {
                    let mut rows = 0;
                    opened
                        .rows(&survey, &mut |_, _| {
                            rows += 1;
                            Ok(())
                        })
                        .unwrap();
                    assert_eq!(rows, survey.rows);
                }
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().contains("log"), "{error}");
                }
            }
        }
    }
    assert!(refused > 0);
}

/// Calls of one unit at the limits of what one unit holds, bit by bit. A block ends with a unit that
/// has no meaning if a word follows, and with a call if that has its place there.
#[test]
fn units_at_their_limits() {
    let base = 0x7F12_3400_0000u64;
    let unit = Written::Unit;
    let (malloc, end) = (1 << 30, 1 << 29);
    let mut written = vec![
        unit(malloc | 24 << 21 | 2), // base 0
        unit(end | 2),
        Written::Word(BASE_WORD | base >> 4),
        unit(malloc),
        unit(end),
        unit(malloc | 511 << 21 | 0x1F_FFFF),
        unit(1),
        unit(0x3FFF_FFFF),
    ];
    // The stamp has 2 units, and these have 9: a word after 20 more units comes after padding.
    written.extend((0..20).map(|n| unit(malloc | 8 << 21 | (16 + n))));
    written.push(Written::Word(call(tag::MALLOC + RAW, 77, 4096)));
    written.extend((0..28).map(|n| unit(malloc | 9 << 21 | (100 + n))));
    written.extend([unit(malloc | 10 << 21 | 200), Written::Word(free(base + 32))]);
    let folder = TempDir::new().unwrap();
    let read = read_log(&log_of(&folder, &written));
    let rows = short(&read);
    assert_eq!(rows[0], (0, Op::Malloc, 24, Some(1)));
    assert_eq!(rows[1], (2, Op::Malloc, 0, Some(1)));
    assert_eq!(rows[2], (4, Op::Malloc, 511, None));
    assert_eq!(read.unseen_frees, 3);
    assert_eq!((rows[3].0, rows[22].0, rows[23].0), (5, 24, 25));
    assert!(rows[3..23].iter().all(|row| row.2 == 8));
    assert_eq!((rows[23].2, read.rows[23].domain), (77, Domain::Raw));
    assert!(rows[24..52].iter().all(|row| row.2 == 9));
    assert_eq!((rows[52].2, rows.len(), read.events), (10, 53, 55));
    assert!(read.rows.iter().enumerate().all(|(n, row)| n == 23 || row.domain == Domain::Obj));
    // The word opens the second block, and the call after 28 more the third.
    let times: Vec<u64> = [22, 23, 51, 52].map(|n| read.rows[n].time_ns).to_vec();
    assert_eq!(times, [0, 1000, 1000, 2000]);
}

/// What fits into one unit is written as one, and read as it was.
#[test]
fn the_recorder_writes_units_as_they_are_read() {
    let base = ShortBase::around(0x7F12_3500_0000);
    let lowest = 0x7F12_3400_0000u64;
    let (last, reach) = (lowest + (32 << 20) - 16, 8u64 << 30);
    for (size, address) in [(0, lowest), (511, last), (1, lowest + 16), (300, 0x7F12_3500_0000)] {
        let unit = base.birth(size, address).unwrap();
        assert_eq!(base.call(unit), ShortCall::Birth { size, address });
    }
    for (size, address) in
        [(512, lowest), (1, lowest - 16), (1, last + 16), (1, lowest + 8), (1, 0)]
    {
        assert_eq!(base.birth(size, address), None, "{size} {address:#x}");
    }
    for address in [lowest, lowest - reach + 16, lowest + reach - 16] {
        let unit = base.end(address).unwrap();
        assert!(unit != 0 && unit >> 30 == 0);
        assert_eq!(base.call(unit), ShortCall::End { address });
    }
    for address in [lowest - reach, lowest + reach, lowest + 8, 0, 16] {
        assert_eq!(base.end(address), None, "{address:#x}");
    }
    assert_eq!(base.word(), BASE_WORD | lowest >> 4);
    assert_eq!(ShortBase::of(base.word()), base);
    assert_eq!(ShortBase::around(4096).birth(3, 4096), Some(1 << 30 | 3 << 21 | 256));
}

/// A log of another version is refused, with both versions.
#[test]
fn logs_of_other_versions_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = log(&folder, &[malloc(1, 16)]).path().to_owned();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8..16].copy_from_slice(&4u64.to_ne_bytes());
    std::fs::write(&path, bytes).unwrap();
    let error = RawLog::open(&path).unwrap_err().to_string();
    assert!(error.contains("version 4") && error.contains("version 5"), "{error}");
}

/// A fold stands for the chunks before it, wherever the cut is: within a realloc, or between a size
/// and its call.
#[test]
fn a_folded_log_has_the_same_live_blocks_and_newest_calls() {
    for seed in 1..17 {
        let folder = TempDir::new().unwrap();
        let log = if seed % 2 == 0 {
            log(&folder, &made_up_words(seed, 120_000))
        } else {
            log_of(&folder, &shortened(&made_up_words(seed, 122_000), seed))
        };
        let whole = live_blocks(&log);
        assert!(whole.0.len() > 200);
        // The log has three chunks of 256 KiB and a tail.
        for (most_bytes, chunks) in [(600 << 10, 2), (255 << 10, 3)] {
            let fold = trace::fold_oldest(log.path(), most_bytes).unwrap().unwrap();
            assert_eq!(fold.chunks, chunks);
            let mut bytes = std::fs::read(log.path()).unwrap();
            let (start, length) = fold.released_bytes();
            bytes[start as usize..(start + length) as usize].fill(0);
            std::fs::write(log.path(), bytes).unwrap();
            let folded = live_blocks(&RawLog::open(log.path()).unwrap());
            assert!(folded == whole, "seed {seed}, {chunks} chunks");
        }
        assert_eq!(trace::fold_oldest(log.path(), 255 << 10).unwrap(), None);
    }
}

/// A log whose oldest part was dropped needs its fold, which must be one.
#[test]
fn a_fold_that_is_missing_or_damaged_is_an_error() {
    let folder = TempDir::new().unwrap();
    let words: Vec<u64> = (0..40_000).map(|n| malloc(3, 80 + n * 16)).collect();
    let log = log(&folder, &words);
    let fold = folder.path().join("log.fold");
    std::fs::write(&fold, [7; 200]).unwrap();
    let error = RawLog::open(log.path()).unwrap_err().to_string();
    assert!(error.contains("log") && error.contains("is no fold"), "{error}");
    std::fs::write(&fold, b"hply").unwrap();
    assert!(RawLog::open(log.path()).is_err());
    std::fs::remove_file(&fold).unwrap();
    let mut bytes = std::fs::read(log.path()).unwrap();
    let chunk = layout::HEADER_BYTES + layout::TAIL_BYTES;
    bytes[chunk..chunk + layout::TAIL_BYTES].fill(0);
    std::fs::write(log.path(), bytes).unwrap();
    let error = RawLog::open(log.path()).unwrap().survey().unwrap_err().to_string();
    assert!(error.contains(".fold, which is missing"), "{error}");
}

/// What the log says of the process stands between the calls.
#[test]
fn entries_of_the_process_are_read() {
    let folder = TempDir::new().unwrap();
    let text = |text: &[u8; 8]| u64::from_ne_bytes(*text);
    let libc = |tag: u64, size, address| call(tag + 3, size, address);
    let words = [
        control(Control::Module, 1 << 24 | 7),
        text(b"/no/lib\0"),
        control(Control::Caller, 7),
        1 << 48 | 0x1234,
        0,
        word(tag::ASIDE, 7),
        control(Control::Alignment, 6),
        libc(tag::MALLOC, 100, 4096),
        control(Control::ThreadBirth, 2),
        4711,
        thread(2),
        libc(tag::CALLOC, 1 << 10, 8192),
        control(Control::Memory, 5 << 20),
        1 << 20,
        2 << 20,
        (1 << 10) + 1,
        control(Control::Request, layout::request::TRIM),
        64,
        control(Control::Present, 512),
        8192,
        call(tag::FREE, 0, 8192),
        control(Control::Request, layout::request::OPTION),
        (-3i32 as u32 as u64) << 32 | 9,
        control(Control::ThreadDeath, 2),
        text(b"worker-1"),
        0,
        thread(1),
        call(tag::FREE, 0, 4096),
    ];
    let log = log(&folder, &words);
    let survey = log.survey().unwrap();
    let mut rows = Vec::new();
    let mut sites = Vec::new();
    log.rows(&survey, &mut |row, known| {
        rows.push((row.event, row.size, row.alignment, row.domain, row.thread));
        sites.push(known.name(row.site).to_owned());
        Ok(())
    })
    .unwrap();
    let expected = [(0, 100, 64, Domain::Libc, 1), (1, 1024, 0, Domain::Libc, 2)];
    assert_eq!(rows, expected);
    assert_eq!(sites[0], "lib+0x1234");
    let process = survey.process;
    let worker = &process.threads[1];
    assert_eq!((worker.id, worker.name.as_str()), (4711, "worker-1"));
    assert_eq!((worker.birth, worker.death), (Some(1), Some(3)));
    let requests: Vec<_> =
        process.requests.iter().map(|r| (r.event, r.thread, r.request)).collect();
    let option = AllocatorRequest::Option { parameter: -3, value: 9 };
    assert_eq!(requests, [(2, 2, AllocatorRequest::Trim { pad_bytes: 64 }), (3, 2, option)]);
    assert_eq!(process.present, [PresentBytes { event: 1, bytes: 512 }]);
    let sample = process.memory[0];
    assert_eq!((sample.event, sample.anonymous_bytes), (2, 5 << 20));
    // Each block with its header: 100 becomes 112, and 1,024 becomes 1,040.
    let parts = MemoryParts {
        blocks: 112 + 1040,
        arenas: 0,
        free: 1 << 10,
        own_mappings: 1 << 20,
        images: 2 << 20,
    };
    assert_eq!(sample.parts, Some(parts));
}

#[test]
fn damage_is_an_error_with_its_place() {
    let folder = TempDir::new().unwrap();
    let log = log(&folder, &[malloc(1, 16), u64::MAX]);
    assert!(matches!(log.survey(), Err(TraceError::Byte { offset: 16, .. })));
}

#[test]
fn options_are_read_as_the_interpreter_reads_them() {
    let read = |line: &str| options(line.split_whitespace().map(str::as_bytes));
    let dev = InterpreterOptions { has_dev: true, ..InterpreterOptions::default() };
    for line in [
        "-X dev app.py",
        "-Xdev",
        "-BsX dev -c 1",
        "-W error -X dev",
        "--check-hash-based-pycs always -Xdev",
    ] {
        assert_eq!(read(line), dev, "{line}");
    }
    for line in [
        "app.py -X dev",
        "-c 1 -X dev",
        "-mjson -X dev",
        "-X device",
        "- -X dev",
        "-W -Xdev app.py",
        "-Werror",
    ] {
        assert_eq!(read(line), InterpreterOptions::default(), "{line}");
    }
    assert!(read("-X tracemalloc=3").has_tracemalloc && read("-I app.py").ignores_environment);
}

#[test]
fn settings_that_remove_the_hooks_are_refused() {
    let none = PythonVariables::default();
    let malloc = PythonVariables { malloc: Some(b"default"), ..none };
    assert_eq!(settings(InterpreterOptions::default(), none, false), None);
    assert!(settings(InterpreterOptions::default(), malloc, false).is_some());
    // A recording that sees the C library's calls places its hooks again.
    assert!(settings(InterpreterOptions::default(), malloc, true).is_none());
    assert_eq!(
        settings(
            InterpreterOptions { ignores_environment: true, ..InterpreterOptions::default() },
            malloc,
            false
        ),
        None
    );
    assert_eq!(
        settings(
            InterpreterOptions::default(),
            PythonVariables { malloc: Some(b""), ..none },
            false
        ),
        None
    );
    assert_eq!(
        settings(
            InterpreterOptions::default(),
            PythonVariables { tracemalloc: Some(b"0"), ..none },
            false
        ),
        None
    );
    let refused = |version: &str, is_late| interpreter(version.as_bytes(), is_late);
    for version in ["3.7.0", "3.11.2 (main) [GCC]", "3.13.0rc1", "3.14.0", "3.20.1"] {
        assert_eq!((refused(version, false), refused(version, true)), (None, None), "{version}");
    }
    assert!(refused("3.6.15", false).is_some() && refused("3.6.15", true).is_none());
    assert_eq!(refused("3.13.0 experimental free-threading build (main)", false), None);
    for version in ["2.7.18 (x)", "3.5.2", "4.0.0", ""] {
        assert!(refused(version, false).is_some() && refused(version, true).is_some(), "{version}");
    }
}
