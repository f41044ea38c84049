//! The data files of heaptrack: as recorded (`heaptrack --raw`), or as interpreted (the default).
//!
//! A line is a letter and fields, hexadecimal without a prefix. The reader uses these:
//!
//! ```text
//! v HEAPTRACK FILE      versions; FILE is 0 to 3 (without FILE: 0, and 1 for 10200)
//! X COMMAND             the command line
//! A                     heaptrack was attached to a running process
//! s TEXT                a string, numbered from 1; from version 3 on `s LENGTH TEXT`
//! i ADDRESS MODULE [FUNCTION [FILE LINE …]]   an instruction, numbered from 1; names are strings
//! t INSTRUCTION PARENT  a node of the tree of call stacks, numbered from 1; PARENT 0 is the root
//! a SIZE NODE           a pair of size and call stack, numbered from 0
//! + PAIR    - PAIR      a block of that pair begins, ends
//! + SIZE NODE ADDRESS   as recorded and in version 0: the block begins
//! - ADDRESS             and ends
//! c MILLISECONDS        the time of the calls that follow
//! ```
//!
//! heaptrack writes a realloc as an end and a begin, and calloc as any allocation: each row is a
//! malloc. An interpreted file does not name the block that ends, only its size and call stack. The
//! youngest block of that pair ends here, and the fact `ends` counts the ends that had a choice. The
//! site is the innermost frame that is no `operator new`, as `file:line`, or its function where the
//! file has no line.

use super::event::{Op, SITE_LIMIT_BYTES, site_name};
use super::foreign::{Foreign, LineFault, LineParser, Log, LogParser, LogStart, hexadecimal};
use super::quote::{quoted, quoted_field};

pub(super) const MEMBER: Foreign = Foreign {
    name: "heaptrack",
    description: "a heaptrack data file",
    sniff,
    parser: || LogParser::Lines(Box::new(Heaptrack::default())),
};

/// The latest version of the file format that is read.
const LATEST_VERSION: u64 = 3;

fn sniff(start: &LogStart<'_>) -> bool {
    let mut lines = start.lines();
    let is_version = lines.by_ref().take(20).any(|line| {
        line.strip_prefix("v ").is_some_and(|rest| {
            let fields: Vec<&str> = rest.split(' ').collect();
            fields.len() <= 2 && fields.iter().all(|field| hexadecimal(field).is_some())
        })
    });
    is_version && lines.any(|line| line.starts_with("X ") || line.starts_with("x "))
}

/// An instruction: its function and its `file:line`.
#[derive(Clone, Copy, Default)]
struct InstructionNames {
    function: usize,
    file: usize,
    line: u32,
    module: usize,
}

/// A pair of size and call stack.
struct AllocationPair {
    size: u64,
    node: usize,
    /// The live blocks, the youngest last, by the ids that this reader gives them.
    live: Vec<u64>,
}

#[derive(Default)]
struct Heaptrack {
    version: Option<u64>,
    strings: Vec<String>,
    instructions: Vec<InstructionNames>,
    /// Instruction and parent.
    nodes: Vec<(usize, usize)>,
    /// The site of each node that was used, by its index.
    pairs: Vec<AllocationPair>,
    blocks: u64,
    /// Ends of one of several blocks of a pair with different ages.
    chosen_ends: u64,
    is_attached: bool,
}

/// Hexadecimal fields of a line.
fn fields(rest: &str) -> Option<Vec<u64>> {
    rest.split_ascii_whitespace().map(hexadecimal).collect()
}

/// The field of a faulty line that is no number. Where all are numbers, it is the one that is too large,
/// or all of them where their count is wrong.
fn faulty_field<'a>(letter: &str, rest: &'a str) -> &'a str {
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let is_faulty = |field: &&&str| hexadecimal(field).is_none();
    let no_number =
        fields.iter().take(if letter == "s" { 1 } else { fields.len() }).find(is_faulty);
    let suspect = match (letter, fields.as_slice()) {
        ("s", [length, ..]) => Some(*length),
        ("i", [_, _, _, _, line, ..]) => Some(*line),
        ("t", [_, parent]) => Some(*parent),
        ("+" | "-" | "c", [only]) => Some(*only),
        _ => None,
    };
    no_number.copied().or(suspect).unwrap_or(rest)
}

impl LineParser for Heaptrack {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), LineFault> {
        let (letter, rest) = match line.split_once(' ') {
            Some((letter, rest)) => (letter, rest),
            None => (line, ""),
        };
        if letter.len() != 1 {
            return if letter.starts_with('#') { Ok(()) } else { Err(LineFault::Foreign) };
        }
        log.header.columns.site = true;
        log.header.columns.time_ns = true;
        match letter {
            "v" => return self.version(line, rest, log),
            _ if self.version.is_none() => return Err(LineFault::Foreign),
            _ => {}
        }
        let wrong = || {
            let found = quoted_field(line, faulty_field(letter, rest));
            LineFault::Wrong(found, "a line of heaptrack's")
        };
        match letter {
            "X" => log.fact("program", rest),
            "A" => self.is_attached = true,
            "s" => {
                let text = self.string(rest).ok_or_else(wrong)?;
                self.strings.push(text.to_owned());
            }
            "m" | "x" | "S" | "#" => {}
            _ => {
                let fields = fields(rest).ok_or_else(wrong)?;
                self.numbers(letter, &fields, log).ok_or_else(wrong)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, log: &mut Log) -> Result<(), LineFault> {
        if self.chosen_ends > 0 {
            let text = format!(
                "{} ends could be of several blocks with the same size and call stack, which the \
                 file does not tell apart; the youngest one ended",
                self.chosen_ends
            );
            log.fact("ends", text.clone());
            log.tally.remarks.push(text);
        }
        if self.is_attached {
            log.tally.remarks.push(
                "heaptrack was attached to a running process; blocks from before are missing"
                    .into(),
            );
        }
        Ok(())
    }
}

impl Heaptrack {
    fn version(&mut self, line: &str, rest: &str, log: &mut Log) -> Result<(), LineFault> {
        let expected = "one recording in the versions 0 to 3 of the format";
        let numbers = fields(rest).filter(|numbers| (1..=2).contains(&numbers.len()));
        let Some(numbers) = numbers else {
            return Err(LineFault::Wrong(quoted(line), expected));
        };
        if self.version.is_some() {
            return Err(LineFault::Wrong("a second version".into(), expected));
        }
        let version = match numbers.as_slice() {
            [_, version] => *version,
            [0x1_0200] => 1,
            _ => 0,
        };
        if version > LATEST_VERSION {
            return Err(LineFault::Wrong(format!("version {version} of the format"), expected));
        }
        log.fact("heaptrack_version", format!("{:x}, format {version}", numbers[0]));
        self.version = Some(version);
        Ok(())
    }

    /// The text of a string.
    fn string<'a>(&self, rest: &'a str) -> Option<&'a str> {
        if self.version < Some(3) {
            return Some(rest);
        }
        let (length, text) = rest.split_once(' ')?;
        // Bytes that are no UTF-8 were replaced and are longer here.
        let length = usize::try_from(hexadecimal(length)?).ok()?;
        (text.len() == length || text.contains(char::REPLACEMENT_CHARACTER)).then_some(text)
    }

    /// Takes a line of numbers; `None` when it is faulty.
    fn numbers(&mut self, letter: &str, fields: &[u64], log: &mut Log) -> Option<()> {
        let index = |number: u64| usize::try_from(number).ok();
        match (letter, fields) {
            ("i", [_, module, names @ ..]) => {
                let names: Vec<usize> =
                    names.iter().map(|name| index(*name)).collect::<Option<_>>()?;
                let mut found = InstructionNames { module: index(*module)?, ..Default::default() };
                if let [function, ..] = *names {
                    found.function = function;
                }
                if let [_, file, line, ..] = *names {
                    (found.file, found.line) = (file, u32::try_from(line).ok()?);
                }
                self.instructions.push(found);
            }
            ("t", [instruction, parent]) => {
                let parent = index(*parent).filter(|parent| *parent <= self.nodes.len())?;
                self.nodes.push((index(*instruction)?, parent));
            }
            ("a", [size, node]) => {
                let node = index(*node)?;
                self.pairs.push(AllocationPair { size: *size, node, live: Vec::new() });
            }
            ("+", [pair]) => self.begin(index(*pair)?, log)?,
            ("-", [number]) if self.is_interpreted() => self.end_one(index(*number)?, log)?,
            ("-", [address]) => log.free(*address),
            ("+", [size, node, address]) if !self.is_interpreted() => {
                let site = self.site(index(*node)?);
                log.site = log.sites.intern(&site);
                log.birth(Op::Malloc, *size, *address);
            }
            ("c", [milliseconds]) => log.set_time(milliseconds.checked_mul(1_000_000)?, 0),
            ("R" | "I", _) => {}
            ("i" | "t" | "a" | "+" | "-" | "c", _) => return None,
            _ => log.tally.left_out += 1,
        }
        Some(())
    }

    /// Whether blocks are named by pairs.
    fn is_interpreted(&self) -> bool {
        !self.pairs.is_empty()
    }

    fn begin(&mut self, pair: usize, log: &mut Log) -> Option<()> {
        let node = self.pairs.get(pair)?.node;
        let site = self.site(node);
        log.site = log.sites.intern(&site);
        self.blocks += 1;
        let pair = self.pairs.get_mut(pair)?;
        pair.live.push(self.blocks);
        log.birth(Op::Malloc, pair.size, self.blocks);
        Some(())
    }

    fn end_one(&mut self, pair: usize, log: &mut Log) -> Option<()> {
        let live = &mut self.pairs.get_mut(pair)?.live;
        self.chosen_ends += u64::from(live.len() > 1);
        // No block has the id of an end without a begin.
        log.free(live.pop().unwrap_or(u64::MAX));
        Some(())
    }

    /// The site of a node: `file:line` or the function of the innermost frame that is no
    /// `operator new`.
    fn site(&self, mut node: usize) -> String {
        while let Some(&(instruction, parent)) =
            node.checked_sub(1).and_then(|at| self.nodes.get(at))
        {
            let names = instruction.checked_sub(1).and_then(|at| self.instructions.get(at));
            let Some(names) = names else { return String::new() };
            let function = self.text(names.function);
            if !function.starts_with("operator new") || parent == 0 {
                return match (self.text(names.file), function) {
                    ("", "") => cut(self.text(names.module)),
                    ("", function) => cut(function),
                    (file, _) => site_name(file, names.line),
                };
            }
            node = parent;
        }
        String::new()
    }

    fn text(&self, number: usize) -> &str {
        number.checked_sub(1).and_then(|at| self.strings.get(at)).map_or("", String::as_str)
    }
}

/// A name within the limit of sites.
fn cut(name: &str) -> String {
    let end = (0..=SITE_LIMIT_BYTES.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
    name[..end.unwrap_or(0)].to_owned()
}
