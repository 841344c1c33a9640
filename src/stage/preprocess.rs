//! `Preprocess`: encodes a log into train, valid and test.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::{Context, Execute, Inputs, Outcome, StageError};
use crate::data::{
    Advance, DataError, EncodedDataset, Encoding, RawLog, Reading, Rows, Schema, Source, check_split, encode, split,
};
use crate::spec::Preprocess;
use crate::store::{Artifact, Draft};

impl Execute for Preprocess {
    const REVISION: u32 = 2;

    fn run(&self, cx: &Context, inputs: &Inputs, out: &Draft) -> Result<Outcome, StageError> {
        let from = inputs.get("from");
        let source = Source::read(&from.file(Source::FILE)?)?;
        if let Some(fill) = self.fill.filter(|fill| !fill.is_finite()) {
            return Err(StageError::failed(format!("`fill: {fill}` is not a finite number")));
        }
        check_split(self, source.has_test_rows())?;

        let log = match source.simulated {
            Some(_) => read_simulated(from)?,
            None => read_files(&source, self.fill, cx)?,
        };
        cx.check_interrupt()?;
        let split = split(log.given()?, self)?;
        let encoded = encode(log, &split.train)?;
        cx.check_interrupt()?;

        out.write(EncodedDataset::SCHEMA, encoded.schema.to_json().as_bytes())?;
        out.write(Encoding::FILE, encoded.encoding.to_json().as_bytes())?;
        cx.progress.begin(encoded.rows.len() as u64, "rows");
        let done = AtomicU64::new(0);
        let splits = [
            (EncodedDataset::TRAIN, &split.train),
            (EncodedDataset::VALID, &split.valid),
            (EncodedDataset::TEST, &split.test),
        ];
        splits.into_par_iter().try_for_each(|(file, rows)| {
            let mut before = 0;
            let mut watch = |advance: Advance| {
                let new = advance.rows - std::mem::replace(&mut before, advance.rows);
                cx.progress.at(done.fetch_add(new, Ordering::Relaxed) + new, "writing");
                cx.check_interrupt().map_err(|_| DataError::Interrupted)
            };
            encoded.rows.write(&out.path(file), Some(rows), &mut watch)
        })?;
        let Schema { fields, numerical, tasks } = &encoded.schema;
        let summary = format!(
            "{} fields, {} numerical, {} tasks; {} train, {} valid, {} test rows",
            fields.len(),
            numerical.len(),
            tasks.len(),
            split.train.len(),
            split.valid.len(),
            split.test.len()
        );
        Ok(Outcome { simulated: source.simulated.is_some(), summary })
    }
}

fn read_files(source: &Source, fill: Option<f32>, cx: &Context) -> Result<RawLog, StageError> {
    // How many rows there are is known at the end only; how many bytes, from the start.
    cx.progress.begin(source.files.iter().map(|file| file.bytes).sum(), "bytes");
    let mut watch = |advance: Advance| {
        cx.progress.at(advance.bytes, &format!("{} rows read", advance.rows));
        cx.check_interrupt().map_err(|_| DataError::Interrupted)
    };
    let mut reading = Reading::new(cx.root, fill, &mut watch);
    Ok(source.dataset.read(&source.files, &mut reading)?)
}

fn read_simulated(from: &Artifact) -> Result<RawLog, StageError> {
    let schema = Schema::read(&from.file(EncodedDataset::SCHEMA)?)?;
    let train = Rows::open(&from.file(EncodedDataset::TRAIN)?, &schema)?;
    let test = Rows::open(&from.file(EncodedDataset::TEST)?, &schema)?;
    Ok(RawLog::of_rows(schema, &train, &test))
}
