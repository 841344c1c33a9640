//! A log as it is read, before encoding: categories numbered as they come, all files one after the other. What does not fit
//! into its share of memory waits on the disk.

use std::collections::HashMap;
use std::path::PathBuf;

use indexmap::IndexSet;

use super::split::Given;
pub(crate) use super::spool::Table;
use super::spool::{Chunk, Spool};
use super::time::{Time, Times};
use super::{DataError, Parts, Rows, Schema, Transform};
use crate::spec::{By, Fill};

/// A log as it is read.
pub(crate) struct RawLog {
    /// The categorical columns.
    pub(crate) fields: Vec<RawField>,
    /// Names of the numerical columns.
    pub(crate) numerical: Vec<String>,
    /// Names of the tasks.
    pub(crate) tasks: Vec<String>,
    /// The last rows. Ids are the log's own for dense fields, places in the dictionary for the others.
    pub(crate) parts: Parts,
    /// The rows before them, and where they wait; without it all rows stay in memory.
    pub(super) spool: Option<Spool>,
    /// How many rows are the log's own test rows; `None` when it comes without a split.
    pub(crate) test_rows: Option<usize>,
    /// The groups that have names, numbered by first appearance.
    groups: IndexSet<String>,
    /// Each row's time, in a log that has times: eight bytes a row, in memory.
    pub(super) times: Times,
    /// What becomes of the numerical columns.
    pub(crate) transforms: Vec<Transform>,
    /// What stands for a missing number. Rows hold NaN until they are encoded, so that missing ones can be counted.
    pub(crate) fill: Option<Fill>,
    /// Categories in a dictionary that fewer training rows than this have are out of vocabulary.
    pub(crate) min_count: u32,
}

/// A categorical column as it is read.
pub(crate) struct RawField {
    pub(crate) name: String,
    pub(crate) categories: Categories,
    /// How many ids its categories were hashed to, if they were; it is dense then.
    pub(crate) buckets: Option<u32>,
}

/// Some rows of a log, whose categories in dictionaries and groups are numbered by first appearance among them alone.
#[derive(Default)]
pub(crate) struct Piece {
    pub(crate) parts: Parts,
    dictionaries: Vec<IndexSet<String>>,
    groups: IndexSet<String>,
    times: Times,
}

/// How much of everything a piece holds.
pub(crate) struct Mark([usize; 5]);

impl Piece {
    /// What it holds before a row is read.
    pub(crate) fn mark(&self) -> Mark {
        let Parts { categorical, numerical, labels, group, .. } = &self.parts;
        let groups = group.as_ref().map_or(0, Vec::len);
        Mark([categorical.len(), numerical.len(), labels.len(), groups, self.times.len()])
    }

    /// Forgets what was read of a row that is wrong. A category or group that only it has keeps its number, which means
    /// nothing: no row has it.
    pub(crate) fn back_to(&mut self, Mark([categories, numbers, labels, groups, times]): Mark) {
        self.parts.categorical.truncate(categories);
        self.parts.numerical.truncate(numbers);
        self.parts.labels.truncate(labels);
        if let Some(group) = &mut self.parts.group {
            group.truncate(groups);
        }
        self.times.truncate(times);
    }

    /// Adds a category to the row being read.
    pub(crate) fn push_category(&mut self, field: usize, category: &str) {
        if self.dictionaries.len() <= field {
            self.dictionaries.resize_with(field + 1, IndexSet::new);
        }
        // `append` objects to more categories than there are ids; no piece has as many
        self.parts.categorical.push(place(&mut self.dictionaries[field], category) as u32);
    }

    /// Says which group the row being read belongs to.
    pub(crate) fn push_group(&mut self, group: i64) {
        self.parts.group.get_or_insert_default().push(group);
    }

    /// Says which group the row being read belongs to, by name.
    pub(crate) fn push_group_name(&mut self, name: &str) {
        let group = place(&mut self.groups, name);
        self.push_group(group as i64);
    }

    /// Says when the row being read was logged.
    pub(crate) fn push_time(&mut self, time: Time) {
        self.times.push(time);
    }
}

/// The place of a name, which is the last if it is new.
fn place(names: &mut IndexSet<String>, name: &str) -> usize {
    match names.get_index_of(name) {
        Some(place) => place,
        None => names.insert_full(name.to_owned()).0,
    }
}

/// Moves names into a dictionary and says where each of them is.
fn number(dictionary: &mut IndexSet<String>, names: &mut IndexSet<String>) -> impl Iterator<Item = usize> {
    names.drain(..).map(|name| dictionary.insert_full(name).0)
}

/// How a column's categories were numbered.
pub(crate) enum Categories {
    /// They are small integers already, and keep their numbers.
    Dense,
    /// By first appearance.
    Dictionary(IndexSet<String>),
}

impl RawField {
    /// Moves categories into the dictionary and says which id each of them has; nothing for a field without one.
    fn number(&mut self, names: &mut IndexSet<String>) -> Result<Vec<u32>, DataError> {
        let Self { name, categories: Categories::Dictionary(dictionary), .. } = self else {
            return Ok(Vec::new());
        };
        let too_many =
            || DataError::request(format!("column `{name}` has more than 2^32 categories"), "leave the column out");
        number(dictionary, names).map(|place| u32::try_from(place).map_err(|_| too_many())).collect()
    }
}

impl RawLog {
    /// A log of these columns, still without rows.
    pub(crate) fn new(fields: Vec<RawField>, numerical: Vec<String>, tasks: Vec<String>) -> Self {
        Self {
            transforms: vec![Transform::AsIs; numerical.len()],
            fields,
            numerical,
            tasks,
            parts: Parts::default(),
            spool: None,
            test_rows: None,
            groups: IndexSet::new(),
            times: Times::default(),
            fill: None,
            min_count: 1,
        }
    }

    /// A log of rows that are numbered already; as [`RawLog::spill_to`].
    ///
    /// # Errors
    /// When what does not fit into memory cannot be written.
    pub(crate) fn of_rows(
        schema: Schema,
        train: &Rows,
        test: &Rows,
        folder: PathBuf,
        bytes: usize,
    ) -> Result<Self, DataError> {
        let names = schema.fields.into_iter().map(|field| field.name);
        let mut log = Self::new(dense_fields(names), schema.numerical, schema.tasks);
        log.spill_to(folder, bytes);
        for rows in [train, test] {
            rows.chunks(|chunk| {
                let parts = &mut log.parts;
                parts.categorical.extend_from_slice(chunk.categorical);
                parts.numerical.extend_from_slice(chunk.numerical);
                parts.labels.extend_from_slice(chunk.labels);
                if let Some(group) = chunk.group {
                    parts.group.get_or_insert_default().extend_from_slice(group);
                }
                if let Some(probability) = chunk.probability {
                    parts.probability.get_or_insert_default().extend_from_slice(probability);
                }
                log.spool.as_mut().map_or(Ok(()), |spool| spool.take_if_full(parts))
            })?;
        }
        log.test_rows = Some(test.len());
        Ok(log)
    }

    /// Adds the rows of a piece and leaves it empty. In the order of the pieces, categories are numbered by first
    /// appearance.
    ///
    /// # Errors
    /// When a column has more categories than an id can number.
    pub(crate) fn append(&mut self, piece: &mut Piece) -> Result<(), DataError> {
        let Piece { parts, dictionaries, groups, times } = piece;
        self.times.append(times);
        if !dictionaries.is_empty() {
            let fields = self.fields.iter_mut().zip(dictionaries);
            let ids = fields.map(|(field, names)| field.number(names)).collect::<Result<Vec<_>, _>>()?;
            for row in parts.categorical.chunks_exact_mut(self.fields.len()) {
                // a field without a dictionary has its ids already
                row.iter_mut().zip(&ids).for_each(|(id, ids)| *id = ids.get(*id as usize).copied().unwrap_or(*id));
            }
        }
        if let Some(group) = &mut parts.group {
            if !groups.is_empty() {
                let ids: Vec<i64> = number(&mut self.groups, groups).map(|place| place as i64).collect();
                group.iter_mut().for_each(|id| *id = ids[*id as usize]);
            }
            self.parts.group.get_or_insert_default().append(group);
        }
        self.parts.categorical.append(&mut parts.categorical);
        self.parts.numerical.append(&mut parts.numerical);
        self.parts.labels.append(&mut parts.labels);
        self.make_room()
    }

    /// Moves rows out of memory if there are more than fit into their share of it.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn make_room(&mut self) -> Result<(), DataError> {
        match &mut self.spool {
            Some(spool) => spool.take_if_full(&mut self.parts),
            None => Ok(()),
        }
    }

    /// All rows at once, to be looked at in any order.
    ///
    /// # Errors
    /// When rows on the disk cannot be mapped.
    pub(crate) fn into_table(self) -> Result<Table, DataError> {
        let Self { mut parts, spool, tasks, .. } = self;
        match spool {
            Some(spool) if spool.rows() > 0 => spool.into_table(&mut parts),
            _ => Ok(Table::of_parts(parts, tasks.len())),
        }
    }

    /// From now on no more than about `bytes` of rows are kept in memory; the others wait in a file in this folder that
    /// nobody sees.
    pub(crate) fn spill_to(&mut self, folder: PathBuf, bytes: usize) {
        let widths = [self.fields.len(), self.numerical.len(), self.tasks.len()];
        self.spool.get_or_insert_with(|| Spool::new(folder, bytes, widths));
    }

    /// Number of rows read so far.
    pub(crate) fn rows(&self) -> usize {
        self.spool.as_ref().map_or(0, Spool::rows) + self.parts.labels.len() / self.tasks.len().max(1)
    }

    /// Whether its rows have groups, and known probabilities.
    pub(crate) fn has(&self) -> (bool, bool) {
        let spooled = self.spool.as_ref().map_or((false, false), Spool::has);
        (self.parts.group.is_some() || spooled.0, self.parts.probability.is_some() || spooled.1)
    }

    /// All rows in order, some at a time.
    ///
    /// # Errors
    /// When those on the disk cannot be read back, or `with` objects.
    pub(crate) fn chunks(&self, mut with: impl FnMut(Chunk) -> Result<(), DataError>) -> Result<(), DataError> {
        let mut first = 0;
        if let Some(spool) = &self.spool {
            spool.chunks(&mut with)?;
            first = spool.rows();
        }
        let widths = [self.fields.len(), self.numerical.len(), self.tasks.len()];
        Chunk::of_parts(&self.parts, widths, first, &mut with)
    }

    /// The rows as the log's files divide them, with their groups if the split goes by group.
    ///
    /// # Errors
    /// When there are more rows than a row number can count, times that cannot be compared, or rows on the disk that
    /// cannot be read back.
    pub(crate) fn given(&self, by: By) -> Result<Given<'_>, DataError> {
        let rows = u32::try_from(self.rows()).map_err(|_| {
            DataError::request(format!("{} rows are more than 2^32 - 1", self.rows()), "split the log into several")
        })?;
        let groups = if by == By::Group && self.has().0 { Some(self.group_of_rows()?) } else { None };
        let test_from = self.test_rows.map(|test| rows - test as u32);
        Ok(Given { rows, test_from, groups, times: self.times.all() })
    }

    /// Each row's group, numbered by first appearance.
    fn group_of_rows(&self) -> Result<Vec<u32>, DataError> {
        let mut numbers = HashMap::new();
        let mut groups = Vec::with_capacity(self.rows());
        self.chunks(|chunk| {
            groups.extend(chunk.group.unwrap_or_default().iter().map(|group| {
                // there are no more groups than rows, whose number fits
                let next = numbers.len() as u32;
                *numbers.entry(*group).or_insert(next)
            }));
            Ok(())
        })?;
        Ok(groups)
    }
}

/// Fields numbered by dictionary, still empty.
pub(crate) fn dictionary_fields<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Vec<RawField> {
    let field = |name: T| RawField {
        name: name.as_ref().to_owned(),
        categories: Categories::Dictionary(IndexSet::new()),
        buckets: None,
    };
    names.into_iter().map(field).collect()
}

/// Fields whose ids are dense already.
pub(crate) fn dense_fields<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Vec<RawField> {
    let field = |name: T| RawField { name: name.as_ref().to_owned(), categories: Categories::Dense, buckets: None };
    names.into_iter().map(field).collect()
}
