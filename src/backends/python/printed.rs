//! Reads the statistics that an interpreter prints of its pools (`sys._debugmallocstats`, also at
//! exit and before each new arena with `PYTHONMALLOCSTATS=1`).

use crate::backends::arenas::{ArenaStatistics, ClassStatistics, Geometry};

/// One print: the sizes of the allocator, and the figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// Threshold, alignment, and sizes of pools and arenas.
    pub geometry: Geometry,
    /// All figures; a class without a pool has zeros.
    pub statistics: ArenaStatistics,
}

/// Reads the last print in `text`.
///
/// # Errors
/// The line that is missing or is no number.
///
/// ```
/// # use heaplay::backends::read_print;
/// let text = "\
/// Small block threshold = 512, in 32 size classes.
///
/// class   size   num pools   blocks in use  avail blocks
/// -----   ----   ---------   -------------  ------------
///     1     32           1               5           121
///
/// ## arenas allocated total           =                    1
/// ## arenas reclaimed                 =                    0
/// ## arenas highwater mark            =                    1
/// ## arenas allocated current         =                    1
/// 1 arenas * 262144 bytes/arena      =              262,144
///
/// ## bytes in allocated blocks        =                  160
/// ## bytes in available blocks        =                3,872
/// 63 unused pools * 4096 bytes       =              258,048
/// ## bytes lost to pool headers       =                   48
/// ## bytes lost to quantization       =                   16
/// ## bytes lost to arena alignment    =                    0
/// ";
/// let print = read_print(text).unwrap();
/// assert_eq!((print.geometry.align, print.geometry.pool), (16, 4096));
/// assert_eq!(print.statistics.classes[1].live, 5);
/// print.statistics.check_identity(262_144).unwrap();
/// ```
pub fn read(text: &str) -> Result<Printed, String> {
    const START: &str = "Small block threshold = ";
    let from = text
        .rfind(START)
        .ok_or("it printed nothing of its pools: was it built --without-pymalloc?")?;
    let text = &text[from..];
    let numbers = |line: &str| -> Vec<u64> {
        let parts = line.split(|c: char| !c.is_ascii_digit() && c != ',');
        parts.filter_map(|part| part.replace(',', "").parse().ok()).collect()
    };
    let line = |label: &str| -> Result<Vec<u64>, String> {
        let line = text.lines().find(|line| line.contains(label) && line.contains('='));
        line.map(numbers).ok_or_else(|| format!("its print has no line `{label}`"))
    };
    let figure = |label: &str| -> Result<u64, String> {
        line(label)?.last().copied().ok_or_else(|| format!("its print has no figure for `{label}`"))
    };
    let size = |label: &str, at: usize| -> Result<usize, String> {
        let found = line(label)?.get(at).copied().filter(|&bytes| bytes > 0);
        found
            .map(|bytes| bytes as usize)
            .ok_or_else(|| format!("its print has no size in `{label}`"))
    };
    let (threshold, classes) = (size(START, 0)?, size(START, 1)?);
    let align = threshold / classes;
    let empty =
        |class: usize| ClassStatistics { size: ((class + 1) * align) as u64, ..Default::default() };
    let mut statistics = ArenaStatistics {
        arenas_end: figure("arenas allocated current")?,
        arenas_peak: figure("arenas highwater mark")?,
        arenas_total: figure("arenas allocated total")?,
        pools_end: 0,
        allocated_bytes: figure("bytes in allocated blocks")?,
        available_bytes: figure("bytes in available blocks")?,
        unused_pool_bytes: figure("unused pools")?,
        pool_header_bytes: figure("bytes lost to pool headers")?,
        quantization_bytes: figure("bytes lost to quantization")?,
        arena_alignment_bytes: figure("bytes lost to arena alignment")?,
        classes: (0..classes).map(empty).collect(),
    };
    let rows = text.lines().take_while(|line| !line.contains("arenas allocated total"));
    for row in rows.filter(|line| !line.contains('=')).map(numbers) {
        let [class, size, pools, live, free] = row[..] else { continue };
        let entry =
            statistics.classes.get_mut(class as usize).ok_or("its print has a class too many")?;
        *entry = ClassStatistics { size, pools, live, free };
        statistics.pools_end += pools;
    }
    let geometry = Geometry {
        align,
        threshold,
        pool: size("unused pools *", 1)?,
        arena: size("bytes/arena", 1)?,
    };
    Ok(Printed { geometry, statistics })
}
