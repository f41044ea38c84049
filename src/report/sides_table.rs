//! Two sides as CSV: every row of every measure, exact.

use super::figures::SideBySide;

/// The table. A measure has a row of its own, in which `by` is empty; then its breakdowns follow.
///
/// # Errors
/// When it cannot be written.
pub fn csv(sides: &SideBySide) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "part",
        "measure",
        "unit",
        "by",
        "row",
        "was",
        "before",
        "after",
        "difference",
    ])?;
    let text = |value: Option<i64>| value.map_or(String::new(), |value| value.to_string());
    for part in &sides.parts {
        for measure in &part.measures {
            let unit = measure.unit.name();
            let opening = [part.name.as_str(), &measure.name, unit];
            let values = [measure.before, measure.after, measure.difference];
            let values = values.map(|value| value.to_string());
            let total = opening.into_iter().chain(["", "total", ""]);
            writer.write_record(total.chain(values.iter().map(String::as_str)))?;
            for breakdown in &measure.breakdowns {
                for row in &breakdown.rows {
                    let values = [text(row.before), text(row.after), row.difference.to_string()];
                    let was = row.was.as_deref().unwrap_or_default();
                    let labels = [breakdown.by.name(), row.label.as_str(), was];
                    let record = opening.into_iter().chain(labels);
                    writer.write_record(record.chain(values.iter().map(String::as_str)))?;
                }
            }
        }
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}
