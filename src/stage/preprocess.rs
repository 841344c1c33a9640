//! `Preprocess`: encodes a log into train, valid and test.

use std::time::Instant;

use rayon::prelude::*;

use super::{Context, Execute, Inputs, Outcome, StageError};
use crate::data::{
    Advance, DataError, EncodedDataset, Encoder, Encoding, LogReader, MissingNumbers, Part, RawLog, Reading, Rows,
    Schema, Source, Split, check_split, split,
};
use crate::spec::{Fill, Preprocess};
use crate::store::{Artifact, Draft};

/// Bytes of rows that wait in memory until all are read; what is more waits in the stage's scratch folder: every row, where
/// faults on purpose are to reach the files there.
pub(super) const IN_MEMORY: usize = if cfg!(feature = "faults") { 1 } else { 512 << 20 };

impl Execute for Preprocess {
    const REVISION: u32 = 4;

    fn run(&self, cx: &Context, inputs: &Inputs, out: &Draft) -> Result<Outcome, StageError> {
        let from = inputs.get("from");
        let source = Source::read(&from.file(Source::FILE)?)?;
        if let Some(Fill::Number(fill)) = self.fill
            && !fill.is_finite()
        {
            return Err(StageError::failed(format!("`fill: {fill}` is not a finite number")));
        }
        check_split(self, source.has_test_rows())?;
        let start = Instant::now();

        let mut log = match source.simulated {
            Some(_) => read_simulated(from, cx)?,
            None => read_files(&source, self, cx)?,
        };
        log.fill = self.fill;
        cx.check_interrupt()?;
        let split = split(&log.given(self.by)?, self)?;
        cx.progress.begin(log.rows() as u64, "rows");
        let mut watch = || cx.check_interrupt().map_err(|_| DataError::Interrupted);
        let encoder = Encoder::of(&log, &split, &mut watch)?;
        out.write(EncodedDataset::SCHEMA, encoder.schema.to_json().as_bytes())?;
        out.write(Encoding::FILE, encoder.encoding.to_json().as_bytes())?;
        out.write(LogReader::FILE, LogReader::new(&source.dataset).to_json().as_bytes())?;
        write(&log, &split, &encoder, cx, out)?;
        let (rows, seconds) = (log.rows(), start.elapsed().as_secs_f64());
        cx.progress.note(&format!("{rows} rows in {seconds:.1} s, {:.0} rows/s", rows as f64 / seconds.max(1e-9)));
        let Schema { fields, numerical, tasks } = &encoder.schema;
        let summary = format!(
            "{} fields, {} numerical, {} tasks; {} train, {} valid, {} test rows",
            fields.len(),
            numerical.len(),
            tasks.len(),
            split.count(Part::Train),
            split.count(Part::Valid),
            split.count(Part::Test)
        );
        Ok(Outcome { simulated: source.simulated.is_some(), summary })
    }
}

/// Encodes the rows, and writes each to the file of its split: one way through the log.
fn write(log: &RawLog, split: &Split, encoder: &Encoder, cx: &Context, out: &Draft) -> Result<(), StageError> {
    let (group, probability) = log.has();
    let create = |file, part| {
        Rows::writer(&out.path(file), &encoder.schema, split.count(part), group, probability)
            .map(|writer| (part, writer))
    };
    let mut writers = [
        create(EncodedDataset::TRAIN, Part::Train)?,
        create(EncodedDataset::VALID, Part::Valid)?,
        create(EncodedDataset::TEST, Part::Test)?,
    ];
    let (mut ids, mut numbers) = (Vec::new(), Vec::new());
    let tasks = &encoder.schema.tasks;
    // of each split and task
    let mut positives = [(); 3].map(|()| vec![0_usize; tasks.len()]);
    let mut missing = MissingNumbers::none(encoder.schema.numerical.len());
    log.chunks(|chunk| {
        let numbers = encoder.encode(&chunk, &mut ids, &mut numbers)?;
        let parts = split.of(chunk.first, chunk.rows);
        for (labels, part) in chunk.labels.chunks_exact(tasks.len().max(1)).zip(parts) {
            positives[*part as usize].iter_mut().zip(labels).for_each(|(count, label)| *count += usize::from(*label));
        }
        // where nothing stands for them they are errors, and there are none
        if log.fill.is_some() {
            missing.count(chunk.numerical, parts);
        }
        writers.par_iter_mut().try_for_each(|(part, writer)| {
            let keep: Vec<u32> = (0..).zip(parts).filter(|(_, of)| *of == part).map(|(at, _)| at).collect();
            writer.push(&chunk, &keep, &ids, numbers)
        })?;
        cx.progress.at((chunk.first + chunk.rows) as u64, "writing");
        cx.check_interrupt().map_err(|_| DataError::Interrupted)
    })?;
    writers.into_iter().try_for_each(|(_, writer)| writer.finish())?;
    out.write(MissingNumbers::FILE, missing.to_json().as_bytes())?;
    for (name, part) in [("training", Part::Train), ("validation", Part::Valid), ("test", Part::Test)] {
        for (task, &positives) in tasks.iter().zip(&positives[part as usize]) {
            if positives == 0 || positives == split.count(part) {
                let label = u8::from(positives > 0);
                cx.progress.warn(&format!(
                    "the label `{task}` is {label} in every {name} row, which leaves its AUC there undefined"
                ));
            }
        }
    }
    Ok(())
}

fn read_files(source: &Source, stage: &Preprocess, cx: &Context) -> Result<RawLog, StageError> {
    // what stands for them is put in when rows are encoded, and they are counted before
    let fill = stage.fill.map(|_| f32::NAN);
    // How many rows there are is known at the end only; how many bytes, from the start.
    cx.progress.begin(source.files.iter().map(|file| file.bytes).sum(), "bytes");
    let mut watch = |advance: Advance| {
        cx.progress.at(advance.bytes, &format!("{} rows read", advance.rows));
        cx.check_interrupt().map_err(|_| DataError::Interrupted)
    };
    let mut reading = Reading::new(cx.root, fill, Some((cx.scratch.to_path_buf(), IN_MEMORY)), &mut watch);
    reading.bad.tolerated = stage.max_bad_rows;
    let log = source.dataset.read(&source.files, &mut reading)?;
    reading.bad.warnings().iter().for_each(|warning| cx.progress.warn(warning));
    Ok(log)
}

fn read_simulated(from: &Artifact, cx: &Context) -> Result<RawLog, StageError> {
    let schema = Schema::read(&from.file(EncodedDataset::SCHEMA)?)?;
    let train = Rows::open(&from.file(EncodedDataset::TRAIN)?, &schema)?;
    let test = Rows::open(&from.file(EncodedDataset::TEST)?, &schema)?;
    Ok(RawLog::of_rows(schema, &train, &test, cx.scratch.to_path_buf(), IN_MEMORY)?)
}
