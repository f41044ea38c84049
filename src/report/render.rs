//! Writes a report: pictures, tables and the page.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::chart::{
    CHARTS, Chart, ChartKind, TRACE_CHARTS, arenas, effect, scaling, scorecard, side_by_side,
};
use super::error::ReportError;
use super::figures::{ArenaMap, Effect, ScalingFigures, SideBySide, TraceReport, TraceShape};
use super::files::{
    COMPARISONS_CSV, PAGE, PERCENTILES_CSV, SIDES_CSV, SUMMARY, SUMMARY_CSV, SUMMARY_MARKDOWN,
    picture_name,
};
use super::page::{self, DrawnPicture};
use super::picture::draw;
use super::terminal::summary;
use super::{comparison_table, percentiles_table, scorecard_table, sides_table};
use crate::results::Run;

/// Draws every chart of every trace into `folder`, with the page, the scorecard and every
/// percentile as tables. Gives the page and the pictures, the page first.
///
/// # Errors
/// When a file cannot be written.
#[cfg(feature = "internals")]
pub fn render(run: &Run, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let (page, pictures) = render_page(run, folder)?;
    let drawn = pictures.draw()?;
    Ok(std::iter::once(page).chain(drawn).collect())
}

/// Writes the page and the tables into `folder`: the page can be opened at once. Gives it, and the
/// pictures that it names, which are still to be drawn.
///
/// # Errors
/// When a file cannot be written.
pub fn render_page(run: &Run, folder: &Path) -> Result<(PathBuf, PendingPictures), ReportError> {
    create(folder)?;
    let trace_reports = TraceReport::all(run);
    let charts = describe(&trace_reports);
    let path = folder.join(PAGE);
    write(&path, page::html(run, &trace_reports, &titles(&charts)).as_bytes())?;
    let table = |name: &str, table: Result<Vec<u8>, csv::Error>| {
        let path = folder.join(name);
        match table {
            Ok(bytes) => write(&path, &bytes),
            Err(source) => Err(ReportError::Table { path, source }),
        }
    };
    table(SUMMARY_CSV, scorecard_table::csv(&trace_reports))?;
    table(COMPARISONS_CSV, comparison_table::csv(&trace_reports))?;
    write(&folder.join(SUMMARY_MARKDOWN), summary(run).as_bytes())?;
    if !run.latencies.is_empty() {
        table(PERCENTILES_CSV, percentiles_table::csv(&trace_reports))?;
    }
    Ok((path, PendingPictures { folder: folder.to_owned(), charts }))
}

/// The page of a run by itself. No picture is drawn.
#[cfg(feature = "internals")]
pub fn page(run: &Run) -> String {
    let trace_reports = TraceReport::all(run);
    page::html(run, &trace_reports, &titles(&describe(&trace_reports)))
}

/// A chart and the file of its picture.
type NamedChart = (String, Chart);

/// The pictures of a report that are still to be drawn.
pub struct PendingPictures {
    folder: PathBuf,
    charts: Vec<NamedChart>,
}

impl PendingPictures {
    /// The number of pictures.
    pub fn count(&self) -> usize {
        self.charts.len()
    }

    /// Draws them; gives the files, in the order of the page.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn draw(&self) -> Result<Vec<PathBuf>, ReportError> {
        let draw_one = |(file, chart): &NamedChart| {
            let path = self.folder.join(file);
            write_picture(&path, chart)?;
            Ok(path)
        };
        self.charts.par_iter().map(draw_one).collect()
    }
}

/// Describes the scorecard, then every chart of every trace, in the order of the page.
fn describe(trace_reports: &[TraceReport]) -> Vec<NamedChart> {
    let charts = trace_reports
        .iter()
        .flat_map(|trace_report| CHARTS.iter().map(move |kind| Some((trace_report, kind))));
    let jobs: Vec<Option<(&TraceReport, &ChartKind)>> =
        std::iter::once(None).chain(charts).collect();
    let described: Vec<Option<NamedChart>> = jobs
        .par_iter()
        .map(|job| match job {
            None => Some((SUMMARY.to_owned(), scorecard(trace_reports)?)),
            Some((trace_report, kind)) => {
                let file = picture_name(&trace_report.trace.name, kind.about.name);
                Some((file, kind.describe(trace_report)?))
            }
        })
        .collect();
    described.into_iter().flatten().collect()
}

/// What the page says of each picture.
fn titles(charts: &[NamedChart]) -> Vec<DrawnPicture> {
    let title = |(file, chart): &NamedChart| DrawnPicture {
        file: file.clone(),
        title: chart.caption().title.clone(),
    };
    charts.iter().map(title).collect()
}

/// Draws the pictures of a trace by itself into `folder`; gives the files.
///
/// # Errors
/// When a file cannot be written.
pub fn render_trace(shape: &TraceShape, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    create(folder)?;
    let drawn: Vec<Option<PathBuf>> = TRACE_CHARTS
        .par_iter()
        .map(|(name, describe)| {
            let Some(chart) = describe(shape) else { return Ok(None) };
            let path = folder.join(picture_name(&shape.name, name));
            write_picture(&path, &chart)?;
            Ok(Some(path))
        })
        .collect::<Result<_, ReportError>>()?;
    Ok(drawn.into_iter().flatten().collect())
}

/// Draws a map of arenas into `folder`; gives the file, when there was an arena.
///
/// # Errors
/// When the file cannot be written.
pub fn render_arenas(map: &ArenaMap, folder: &Path) -> Result<Option<PathBuf>, ReportError> {
    let Some(chart) = arenas(map) else { return Ok(None) };
    create(folder)?;
    let path = folder.join(picture_name(&map.name, "arenas"));
    write_picture(&path, &chart)?;
    Ok(Some(path))
}

/// Draws timed measures of a check into `folder`; gives the files.
///
/// # Errors
/// When a file cannot be written.
pub fn render_effects(effects: &[Effect], folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    create(folder)?;
    let mut files = Vec::new();
    for (number, figures) in effects.iter().enumerate() {
        let Some(chart) = effect(figures) else { continue };
        let name = format!("check-{}-{}", figures.measure, number + 1);
        let path = folder.join(picture_name(&figures.trace, &name));
        write_picture(&path, &chart)?;
        files.push(path);
    }
    Ok(files)
}

/// Draws the scaling of traces into `folder`: a picture of each trace, and one of all where there are
/// several. Gives the files.
///
/// # Errors
/// When a file cannot be written.
pub fn render_scaling(
    traces: &[ScalingFigures],
    folder: &Path,
) -> Result<Vec<PathBuf>, ReportError> {
    create(folder)?;
    let mut files = Vec::new();
    let mut put = |name: String, chart: &Chart| {
        let path = folder.join(name);
        write_picture(&path, chart)?;
        files.push(path);
        Ok(())
    };
    for trace in traces {
        for chart in scaling(std::slice::from_ref(trace)) {
            put(picture_name(&trace.trace, "scaling"), &chart)?;
        }
    }
    if traces.len() > 1 {
        for (at, chart) in scaling(traces).iter().enumerate() {
            let name =
                if at == 0 { "scaling.png".to_owned() } else { format!("scaling-{}.png", at + 1) };
            put(name, chart)?;
        }
    }
    Ok(files)
}

/// Writes two sides into `folder`: a page, a table of all rows, and pictures of what moved. Gives the
/// page, and the pictures that it names, which are still to be drawn.
///
/// # Errors
/// When a file cannot be written.
pub fn render_sides(
    sides: &SideBySide,
    folder: &Path,
) -> Result<(PathBuf, PendingPictures), ReportError> {
    create(folder)?;
    let by_part: Vec<Vec<NamedChart>> = sides
        .parts
        .iter()
        .map(|part| {
            let subject = if part.name.is_empty() { "diff" } else { &part.name };
            let charts = side_by_side(sides, part).into_iter();
            charts.map(|(name, chart)| (picture_name(subject, &name), chart)).collect()
        })
        .collect();
    let drawn: Vec<Vec<DrawnPicture>> = by_part.iter().map(|charts| titles(charts)).collect();
    let path = folder.join(PAGE);
    write(&path, page::sides_html(sides, &drawn).as_bytes())?;
    let table = folder.join(SIDES_CSV);
    match sides_table::csv(sides) {
        Ok(bytes) => write(&table, &bytes)?,
        Err(source) => return Err(ReportError::Table { path: table, source }),
    }
    let charts = by_part.into_iter().flatten().collect();
    Ok((path, PendingPictures { folder: folder.to_owned(), charts }))
}

fn create(folder: &Path) -> Result<(), ReportError> {
    let path = folder.to_owned();
    fs::create_dir_all(folder).map_err(|source| match folder.exists() && !folder.is_dir() {
        true => ReportError::NoFolder { path },
        false => ReportError::Io { path, source },
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    fs::write(path, bytes).map_err(|source| ReportError::Io { path: path.to_owned(), source })
}

/// Draws a chart into a file.
fn write_picture(path: &Path, chart: &Chart) -> Result<(), ReportError> {
    let picture = draw(chart);
    let bytes = picture
        .canvas
        .png()
        .map_err(|source| ReportError::Picture { path: path.to_owned(), source })?;
    write(path, &bytes)
}
