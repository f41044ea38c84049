//! Weights by stack as CSV: a row for each stack, frames from the outside separated by semicolons.

use super::error::ExportError;
use super::profile::{ExportedProfile, WeightUnit};

/// The profile as a table.
///
/// # Errors
/// When it cannot be written.
pub fn stack_table(profile: &ExportedProfile) -> Result<Vec<u8>, ExportError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let columns = profile.weights.iter().map(|weight| match weight.unit {
        WeightUnit::Bytes => format!("{} (bytes)", weight.name),
        WeightUnit::Count => weight.name.clone(),
    });
    writer.write_record(std::iter::once("stack".to_owned()).chain(columns))?;
    for (stack, values) in &profile.stacks {
        let cells = values.iter().map(u64::to_string);
        writer.write_record(std::iter::once(stack.join(";")).chain(cells))?;
    }
    Ok(writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))?)
}
