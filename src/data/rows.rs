//! The rows of one split: row-major columns, in memory or memory-mapped, checked before anybody sees them.

mod writer;

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use bytemuck::Pod;
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata};

use self::writer::RowsWriter;
use super::{Advance, Chunk, DataError, Schema};

// The file format is little-endian and is read in place.
#[cfg(target_endian = "big")]
compile_error!("encoded logs are mapped as they lie on disk, which needs a little-endian machine");

/// Rows that are checked together.
const CHUNK: usize = 1024;

/// The columns of some rows, owned.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parts {
    /// Ids within the field, 0-based: `[rows, fields]`, row-major.
    pub categorical: Vec<u32>,
    /// Numerical columns: `[rows, columns]`, row-major.
    pub numerical: Vec<f32>,
    /// Labels, 0 or 1: `[rows, tasks]`, row-major.
    pub labels: Vec<u8>,
    /// The group of each row (a search, a user): `[rows]`.
    pub group: Option<Vec<i64>>,
    /// The true probability of each label, known for a simulated log: `[rows, tasks]`, row-major.
    pub probability: Option<Vec<f32>>,
}

/// How many of what a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    rows: usize,
    fields: usize,
    columns: usize,
    tasks: usize,
}

/// The rows of one split.
///
/// All slices are row-major. Every id is below its field's size, every number finite and every label 0 or 1: this is
/// checked when the rows are opened or built, so that readers need not.
#[derive(Debug)]
pub struct Rows {
    shape: Shape,
    storage: Storage,
}

#[derive(Debug)]
enum Storage {
    Owned(Parts),
    Mapped { map: Mmap, layout: Layout },
}

/// Where each tensor lies in the mapped file, in bytes; alignment and length were checked on opening.
#[derive(Debug)]
struct Layout {
    categorical: Range<usize>,
    numerical: Range<usize>,
    labels: Range<usize>,
    group: Option<Range<usize>>,
    probability: Option<Range<usize>>,
}

impl Rows {
    /// Rows from columns in memory.
    ///
    /// # Errors
    /// When the lengths do not fit the schema, an id is not below its field's size, a label is neither 0 nor 1 or a
    /// number is not finite.
    pub fn from_parts(schema: &Schema, parts: Parts) -> Result<Self, DataError> {
        let problem = |problem: String| DataError::unsound(Path::new("rows in memory"), problem);
        let tasks = schema.tasks.len();
        if tasks == 0 || !parts.labels.len().is_multiple_of(tasks) {
            return Err(problem(format!("{} labels for {tasks} tasks", parts.labels.len())));
        }
        let shape = Shape::of(schema, parts.labels.len() / tasks);
        let lengths = [
            ("categorical", parts.categorical.len(), shape.rows * shape.fields),
            ("numerical", parts.numerical.len(), shape.rows * shape.columns),
            ("group", parts.group.as_ref().map_or(shape.rows, Vec::len), shape.rows),
            ("probability", parts.probability.as_ref().map_or(parts.labels.len(), Vec::len), parts.labels.len()),
        ];
        if let Some((name, found, expected)) = lengths.into_iter().find(|(_, found, expected)| found != expected) {
            return Err(problem(format!("`{name}` has {found} values where {expected} are expected")));
        }
        let rows = Self { shape, storage: Storage::Owned(parts) };
        rows.check_values(schema).map_err(problem)?;
        Ok(rows)
    }

    /// Maps the rows of a file that [`Rows::write`] made.
    ///
    /// # Errors
    /// When the file cannot be mapped, is no such file, or breaks any promise of this type.
    pub fn open(path: &Path, schema: &Schema) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::read(path))?;
        // SAFETY: a map is sound as long as nobody shortens or rewrites the file under it. These files belong to
        // artifacts, which are written aside, renamed into place and never touched again.
        let map = unsafe { Mmap::map(&file) }.map_err(DataError::read(path))?;
        let unsound = |problem: String| DataError::unsound(path, problem);
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|error| unsound(error.to_string()))?;
        let tensors = Tensors { metadata: &metadata, start: size_of::<u64>() + header };

        // without a column that holds bytes, a file could claim any number of rows
        let rows = match metadata.info("labels").map(|info| info.shape.as_slice()) {
            Some(&[rows, tasks]) if tasks > 0 => rows,
            _ => return Err(unsound("no tensor `labels` of two dimensions".into())),
        };
        let shape = Shape::of(schema, rows);
        let layout = Layout {
            categorical: tensors.required::<u32>("categorical", &[rows, shape.fields], &map).map_err(unsound)?,
            numerical: tensors.required::<f32>("numerical", &[rows, shape.columns], &map).map_err(unsound)?,
            labels: tensors.required::<u8>("labels", &[rows, shape.tasks], &map).map_err(unsound)?,
            group: tensors.optional::<i64>("group", &[rows], &map).map_err(unsound)?,
            probability: tensors.optional::<f32>("probability", &[rows, shape.tasks], &map).map_err(unsound)?,
        };
        let rows = Self { shape, storage: Storage::Mapped { map, layout } };
        rows.check_values(schema).map_err(unsound)?;
        Ok(rows)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.shape.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.shape.rows == 0
    }

    /// Number of categorical fields.
    pub fn fields(&self) -> usize {
        self.shape.fields
    }

    /// Number of numerical columns.
    pub fn columns(&self) -> usize {
        self.shape.columns
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.shape.tasks
    }

    /// Ids within the field, 0-based: `[rows, fields]`.
    pub fn categorical(&self) -> &[u32] {
        match &self.storage {
            Storage::Owned(parts) => &parts.categorical,
            Storage::Mapped { map, layout } => bytemuck::cast_slice(&map[layout.categorical.clone()]),
        }
    }

    /// Numerical columns: `[rows, columns]`.
    pub fn numerical(&self) -> &[f32] {
        match &self.storage {
            Storage::Owned(parts) => &parts.numerical,
            Storage::Mapped { map, layout } => bytemuck::cast_slice(&map[layout.numerical.clone()]),
        }
    }

    /// Labels, 0 or 1: `[rows, tasks]`.
    pub fn labels(&self) -> &[u8] {
        match &self.storage {
            Storage::Owned(parts) => &parts.labels,
            Storage::Mapped { map, layout } => &map[layout.labels.clone()],
        }
    }

    /// The group of each row, if the log has groups: `[rows]`.
    pub fn group(&self) -> Option<&[i64]> {
        match &self.storage {
            Storage::Owned(parts) => parts.group.as_deref(),
            Storage::Mapped { map, layout } => layout.group.clone().map(|range| bytemuck::cast_slice(&map[range])),
        }
    }

    /// The true probability of each label, known for a simulated log: `[rows, tasks]`.
    pub fn probability(&self) -> Option<&[f32]> {
        match &self.storage {
            Storage::Owned(parts) => parts.probability.as_deref(),
            Storage::Mapped { map, layout } => {
                layout.probability.clone().map(|range| bytemuck::cast_slice(&map[range]))
            }
        }
    }

    /// The columns, copied into memory.
    pub fn to_parts(&self) -> Parts {
        Parts {
            categorical: self.categorical().to_vec(),
            numerical: self.numerical().to_vec(),
            labels: self.labels().to_vec(),
            group: self.group().map(<[i64]>::to_vec),
            probability: self.probability().map(<[f32]>::to_vec),
        }
    }

    /// Goes through the rows in order, some at a time.
    pub(crate) fn chunks(&self, mut with: impl FnMut(Chunk) -> Result<(), DataError>) -> Result<(), DataError> {
        let Shape { rows: all, fields, columns, tasks } = self.shape;
        for first in (0..all).step_by(CHUNK) {
            let rows = CHUNK.min(all - first);
            with(Chunk {
                first,
                rows,
                categorical: &self.categorical()[first * fields..][..rows * fields],
                numerical: &self.numerical()[first * columns..][..rows * columns],
                labels: &self.labels()[first * tasks..][..rows * tasks],
                group: self.group().map(|group| &group[first..][..rows]),
                probability: self.probability().map(|values| &values[first * tasks..][..rows * tasks]),
            })?;
        }
        Ok(())
    }

    /// Writes all rows as one safetensors file. `watch` hears how far it is and may stop it.
    ///
    /// # Errors
    /// When the file cannot be written, or `watch` says stop.
    pub fn write(&self, path: &Path, watch: &mut dyn FnMut(Advance) -> Result<(), DataError>) -> Result<(), DataError> {
        let (group, probability) = (self.group().is_some(), self.probability().is_some());
        let mut writer = RowsWriter::create(path, self.shape, group, probability)?;
        let bytes_per_row = writer.bytes_per_row();
        let mut keep: Vec<u32> = Vec::new();
        self.chunks(|chunk| {
            keep.clear();
            keep.extend(0..chunk.rows as u32);
            writer.push(&chunk, &keep, chunk.categorical, chunk.numerical)?;
            let rows = (chunk.first + chunk.rows) as u64;
            watch(Advance { bytes: rows * bytes_per_row, rows })
        })?;
        writer.finish()
    }

    /// Starts a file of rows that fit this schema; see [`RowsWriter::push`].
    pub(crate) fn writer(
        path: &Path,
        schema: &Schema,
        rows: usize,
        group: bool,
        probability: bool,
    ) -> Result<RowsWriter, DataError> {
        RowsWriter::create(path, Shape::of(schema, rows), group, probability)
    }

    /// What the slices' types do not promise: ids below their field's size, labels 0 or 1, finite numbers.
    fn check_values(&self, schema: &Schema) -> Result<(), String> {
        let Shape { fields, columns, tasks, .. } = self.shape;
        let sizes: Vec<usize> = schema.fields.iter().map(|field| field.size).collect();
        let ids = self.categorical();
        if let Some((row, field)) = first_wrong(ids, fields, |id, field| id as usize >= sizes[field]) {
            let (id, field) = (ids[row * fields + field], &schema.fields[field]);
            return Err(format!("row {row} has id {id} in field `{}`, which has {}", field.name, field.size));
        }
        let numbers = self.numerical();
        if let Some((row, column)) = first_wrong(numbers, columns, |number, _| !number.is_finite()) {
            let name = &schema.numerical[column];
            return Err(format!("row {row} has {} in column `{name}`", numbers[row * columns + column]));
        }
        let labels = self.labels();
        if let Some((row, task)) = first_wrong(labels, tasks, |label, _| label > 1) {
            let name = &schema.tasks[task];
            return Err(format!("row {row} has label {} for task `{name}`", labels[row * tasks + task]));
        }
        let probability = self.probability().unwrap_or_default();
        if let Some((row, task)) = first_wrong(probability, tasks, |value, _| !(0.0..=1.0).contains(&value)) {
            let name = &schema.tasks[task];
            return Err(format!("row {row} has probability {} for task `{name}`", probability[row * tasks + task]));
        }
        Ok(())
    }
}

/// Row and column of the first value that is wrong for its column.
fn first_wrong<T: Copy + Sync>(
    values: &[T],
    width: usize,
    wrong: impl Fn(T, usize) -> bool + Sync,
) -> Option<(usize, usize)> {
    // a table without columns has no values either
    let width = width.max(1);
    let chunks = values.par_chunks(width * CHUNK).enumerate();
    chunks.find_map_first(|(chunk, values)| {
        // all of a chunk without a way out: such loops are vectorised
        let any = |any: bool, row: &[T]| row.iter().zip(0..).fold(any, |any, (&value, at)| any | wrong(value, at));
        if !values.chunks_exact(width).fold(false, any) {
            return None;
        }
        let at = values.iter().zip((0..width).cycle()).position(|(&value, at)| wrong(value, at))?;
        Some((chunk * CHUNK + at / width, at % width))
    })
}

impl Shape {
    fn of(schema: &Schema, rows: usize) -> Self {
        Self { rows, fields: schema.fields.len(), columns: schema.numerical.len(), tasks: schema.tasks.len() }
    }
}

/// The tensors of a mapped file by name.
struct Tensors<'a> {
    metadata: &'a Metadata,
    /// Where the first tensor starts in the file.
    start: usize,
}

impl Tensors<'_> {
    fn required<T: Element>(&self, name: &str, shape: &[usize], map: &[u8]) -> Result<Range<usize>, String> {
        self.optional::<T>(name, shape, map)?.ok_or_else(|| format!("no tensor `{name}`"))
    }

    /// The bytes of a tensor, once type, shape, bounds and alignment are known to be right.
    fn optional<T: Element>(&self, name: &str, shape: &[usize], map: &[u8]) -> Result<Option<Range<usize>>, String> {
        let Some(info) = self.metadata.info(name) else { return Ok(None) };
        if info.dtype != T::DTYPE {
            return Err(format!("tensor `{name}` is {} where {} is expected", info.dtype, T::DTYPE));
        }
        if info.shape != shape {
            return Err(format!("tensor `{name}` has shape {:?} where {shape:?} is expected", info.shape));
        }
        let range = self.start + info.data_offsets.0..self.start + info.data_offsets.1;
        let bytes = map.get(range.clone()).ok_or_else(|| format!("tensor `{name}` ends after the file"))?;
        let values: &[T] =
            bytemuck::try_cast_slice(bytes).map_err(|_| format!("tensor `{name}` does not start aligned"))?;
        if values.len() != shape.iter().product::<usize>() {
            return Err(format!("tensor `{name}` holds {} values for shape {shape:?}", values.len()));
        }
        Ok(Some(range))
    }
}

/// A Rust type and its name in the format.
trait Element: Pod {
    const DTYPE: Dtype;
}

impl Element for u8 {
    const DTYPE: Dtype = Dtype::U8;
}
impl Element for u32 {
    const DTYPE: Dtype = Dtype::U32;
}
impl Element for i64 {
    const DTYPE: Dtype = Dtype::I64;
}
impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;
}
