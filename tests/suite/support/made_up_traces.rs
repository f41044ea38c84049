//! Made-up figures of a trace, for the tests of its pictures.

use heaplay::report::{AgeBar, AgeCurve, LiveSegment, SizeBar, TraceShape};

use super::{made_up_runs, made_up_threads};

/// Made-up figures of a trace. `scale` multiplies sizes and ages.
pub fn shape(scale: u64) -> TraceShape {
    let mut dice = made_up_runs::Dice::new(3);
    let mut next = |most: u64| (dice.next() * most as f64) as u64;
    let limits = (1..=32).map(|k| k * 16).chain((0..14).map(|k| 1024 << k));
    let sizes = limits.map(|up_to| {
        let requests = next(100_000 * scale / up_to + 2);
        SizeBar { up_to, requests, bytes: requests * up_to }
    });
    let sizes: Vec<SizeBar> = sizes.collect();
    let mut curve = |label: &str| AgeCurve {
        label: label.to_owned(),
        bars: (0..100)
            .map(|k| AgeBar {
                from: (1.3_f64.powi(k) as u64) * scale,
                ended: next(9000),
                survived: next(5),
            })
            .collect(),
    };
    let ages =
        ["all blocks", "up to 64 B", "65–512 B", "513–4096 B", "over 4096 B"].map(&mut curve);
    let live = (1..=4000).map(|k: u64| LiveSegment {
        event: k * 250,
        clock: k * 50_000 * scale,
        bytes: ((k % 700) * 9000 * scale, (k % 700) * 10_000 * scale + 1),
        blocks: ((k % 700) * 90, (k % 700) * 100 + 1),
    });
    let weights = (0..20).map(|_| (0..30).map(|_| next(1000) as f64).collect()).collect();
    TraceShape {
        name: "made-up".into(),
        synthesised: Some("synthesised from snapshots: vouches for 43 % of its bytes".into()),
        marks: vec![(0, "load".into()), (scale * 90_000_000, "serve".into())],
        calls: 1_000_000,
        end: None,
        requested: 200_000_000 * scale,
        live_peak: 699 * 10_000 * scale + 1,
        live_end: 1_000_000 * scale,
        sizes,
        ages: ages.to_vec(),
        weights,
        live: live.collect(),
        threads: Some(made_up_threads::threads(9, 1_000_000)),
    }
}
