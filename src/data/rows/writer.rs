//! Writing rows as one safetensors file, a stretch at a time: the tensors lie one after the other in the file, and each grows
//! at its own place.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::Shape;
use crate::data::{Chunk, DataError};
use crate::fault;

/// Bytes of a tensor that are written together.
const BUFFER: usize = 1 << 18;

/// A file of rows being written.
pub(crate) struct RowsWriter {
    path: PathBuf,
    shape: Shape,
    written: usize,
    categorical: Tensor,
    numerical: Tensor,
    labels: Tensor,
    group: Option<Tensor>,
    probability: Option<Tensor>,
}

/// One tensor's place in the file.
struct Tensor(BufWriter<File>);

impl RowsWriter {
    /// Starts a file for exactly `shape.rows` rows, with or without groups and probabilities.
    pub(super) fn create(path: &Path, shape: Shape, group: bool, probability: bool) -> Result<Self, DataError> {
        let wrong = DataError::write(path);
        let file = fault::at("rows.create", || File::create(path)).map_err(&wrong)?;
        let Beginning { header, starts, end } =
            header(shape, group, probability).map_err(|error| DataError::unsound(path, error.to_string()))?;
        let start = size_of::<u64>() + header.len();
        // the last tensor may be empty, and then nothing else would give the file its length
        file.set_len((start + end) as u64).map_err(&wrong)?;
        let length = (header.len() as u64).to_le_bytes();
        fault::write("rows.header", &file, &[&length, &header[..]].concat()).map_err(&wrong)?;
        let tensor = |name: &str| -> Result<Option<Tensor>, DataError> {
            let Some((_, at)) = starts.iter().find(|(known, _)| *known == name) else { return Ok(None) };
            let mut file = File::options().write(true).open(path).map_err(&wrong)?;
            file.seek(SeekFrom::Start((start + at) as u64)).map_err(&wrong)?;
            Ok(Some(Tensor(BufWriter::with_capacity(BUFFER, file))))
        };
        let required =
            |name: &str| tensor(name)?.ok_or_else(|| DataError::unsound(path, format!("no tensor `{name}`")));
        Ok(Self {
            categorical: required("categorical")?,
            numerical: required("numerical")?,
            labels: required("labels")?,
            group: tensor("group")?,
            probability: tensor("probability")?,
            path: path.to_path_buf(),
            shape,
            written: 0,
        })
    }

    /// Adds rows: those of a chunk that `keep` names by their places in it, with these ids and numbers in the place of the
    /// chunk's own.
    pub(crate) fn push(
        &mut self,
        chunk: &Chunk,
        keep: &[u32],
        categorical: &[u32],
        numerical: &[f32],
    ) -> Result<(), DataError> {
        let Shape { fields, columns, tasks, .. } = self.shape;
        let wrong = DataError::write(&self.path);
        self.categorical.rows(categorical, fields, keep).map_err(&wrong)?;
        self.numerical.rows(numerical, columns, keep).map_err(&wrong)?;
        self.labels.rows(chunk.labels, tasks, keep).map_err(&wrong)?;
        if let (Some(tensor), Some(values)) = (&mut self.group, chunk.group) {
            tensor.rows(values, 1, keep).map_err(&wrong)?;
        }
        if let (Some(tensor), Some(values)) = (&mut self.probability, chunk.probability) {
            tensor.rows(values, tasks, keep).map_err(&wrong)?;
        }
        self.written += keep.len();
        Ok(())
    }

    /// Bytes of a row in the file.
    pub(crate) fn bytes_per_row(&self) -> u64 {
        let Shape { fields, columns, tasks, .. } = self.shape;
        let group = if self.group.is_some() { size_of::<i64>() } else { 0 };
        let probability = if self.probability.is_some() { tasks * size_of::<f32>() } else { 0 };
        (fields * size_of::<u32>() + columns * size_of::<f32>() + tasks + group + probability) as u64
    }

    /// Ends the file.
    pub(crate) fn finish(self) -> Result<(), DataError> {
        let Self { path, shape, written, categorical, numerical, labels, group, probability } = self;
        if written != shape.rows {
            return Err(DataError::unsound(&path, format!("{written} rows where {} were announced", shape.rows)));
        }
        let tensors = [Some(categorical), Some(numerical), Some(labels), group, probability];
        let flush = |mut tensor: Tensor| fault::at("rows.flush", || tensor.0.flush());
        tensors.into_iter().flatten().try_for_each(flush).map_err(DataError::write(&path))
    }
}

impl Tensor {
    /// Adds some rows of a row-major table; those that stand side by side at once.
    fn rows<T: Pod>(&mut self, values: &[T], width: usize, keep: &[u32]) -> std::io::Result<()> {
        keep.chunk_by(|a, b| a + 1 == *b).try_for_each(|run| {
            let first = run[0] as usize * width;
            self.0.write_all(bytemuck::cast_slice(&values[first..first + run.len() * width]))
        })
    }
}

/// A header, where each tensor starts behind it, and how many bytes they take.
struct Beginning {
    header: Vec<u8>,
    starts: Vec<(&'static str, usize)>,
    end: usize,
}

/// The safetensors header for rows of this shape, padded so that the tensors start aligned: wide types come first, and every
/// tensor before the labels is a multiple of four bytes long. With it, where each tensor starts, and how many bytes they take.
fn header(shape: Shape, group: bool, probability: bool) -> Result<Beginning, Box<dyn std::error::Error>> {
    let Shape { rows, fields, columns, tasks } = shape;
    let tensors = [
        group.then(|| ("group", Dtype::I64, vec![rows])),
        Some(("categorical", Dtype::U32, vec![rows, fields])),
        Some(("numerical", Dtype::F32, vec![rows, columns])),
        probability.then(|| ("probability", Dtype::F32, vec![rows, tasks])),
        Some(("labels", Dtype::U8, vec![rows, tasks])),
    ];
    let (mut end, mut starts) = (0, Vec::new());
    let place = |(name, dtype, shape): (&'static str, Dtype, Vec<usize>)| {
        let start = end;
        starts.push((name, start));
        end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (name.to_owned(), TensorInfo { dtype, shape, data_offsets: (start, end) })
    };
    let infos = tensors.into_iter().flatten().map(place).collect();
    let mut header = serde_json::to_vec(&Metadata::new(None, infos)?)?;
    header.resize(header.len().next_multiple_of(size_of::<u64>()), b' ');
    Ok(Beginning { header, starts, end })
}
