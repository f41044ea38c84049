//! The pictures of made-up runs: nothing blank, nothing cut off, no label on another, the same bytes twice.

mod synthetic;

use std::path::PathBuf;

use heaplay::report::{CHARTS, Scene};
use synthetic::Wish;

/// Where pictures are left for a person to look at.
fn album(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("album").join(name)
}

#[test]
fn draws_an_album() {
    let names = synthetic::backends(12);
    let sets: [(&str, Vec<&str>, usize, u64); 5] = [
        ("one", vec!["pymalloc"], 4000, 30_804_506),
        ("two", vec!["malloc", "pymalloc"], 10_000, 30_804_506),
        ("standard", vec!["malloc", "pymalloc", "bump", "null"], 4000, 30_804_506),
        ("five", vec!["tcmalloc", "malloc", "pymalloc", "mimalloc", "jemalloc"], 4000, 30_804_506),
        ("ten", names[..11].to_vec(), 4000, 30_804_506),
    ];
    for (name, backends, samples, calls) in sets {
        let traces: &[&str] = if name == "standard" { &["service", "json", "churn", "parse", "text"] } else { &["service"] };
        let run = synthetic::run(&Wish { backends: &backends, samples, calls, traces, ..Wish::default() });
        let begun = std::time::Instant::now();
        let files = heaplay::report::render(&run, &album(name)).expect("written");
        eprintln!("{name}: {} files in {:?}", files.len(), begun.elapsed());
        for scene in Scene::all(&run) {
            for chart in CHARTS {
                let begun = std::time::Instant::now();
                let Some(picture) = (chart.draw)(&scene) else { continue };
                let labels = picture.canvas.labels();
                for (at, a) in labels.iter().enumerate() {
                    for b in &labels[at + 1..] {
                        if a.overlaps(b) {
                            eprintln!("{name} {}: `{}` overlaps `{}`", chart.name, a.text, b.text);
                        }
                    }
                }
            }
        }
    }
}
