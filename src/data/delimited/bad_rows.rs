//! Wrong rows that a user tolerates: left out, counted, the first few shown.

use crate::data::DataError;

/// How many complaints are shown. The line of each is found by reading the file again.
const SHOWN: usize = 5;

/// The wrong rows of a log.
#[derive(Debug, Default)]
pub(crate) struct BadRows {
    /// How many are tolerated.
    pub(crate) tolerated: usize,
    /// How many there are so far.
    pub(crate) count: usize,
    /// The first complaints, with file, line and column.
    pub(crate) first: Vec<String>,
}

impl BadRows {
    /// Counts one more.
    ///
    /// # Errors
    /// The complaint, once there are more than are tolerated.
    pub(super) fn add(&mut self, error: DataError, locate: impl Fn(DataError) -> DataError) -> Result<(), DataError> {
        if !matches!(error, DataError::Row { .. }) {
            return Err(error);
        }
        if self.count == self.tolerated {
            let error = locate(error);
            let tolerated = self.tolerated;
            return Err(if tolerated == 0 {
                error
            } else {
                DataError::TooManyBadRows { error: error.into(), tolerated }
            });
        }
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(locate(error).to_string());
        }
        Ok(())
    }

    /// What to tell the user: the first complaints, and how many rows are left out.
    pub(crate) fn warnings(&self) -> Vec<String> {
        if self.count == 0 {
            return Vec::new();
        }
        let of_them = match self.count - self.first.len() {
            0 => String::new(),
            more => format!(", {more} more than are shown here"),
        };
        let rows = if self.count == 1 { "row is" } else { "rows are" };
        let first = self.first.iter().map(|complaint| format!("left out: {complaint}"));
        first.chain([format!("{} wrong {rows} left out{of_them}", self.count)]).collect()
    }
}
