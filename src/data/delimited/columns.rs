//! Parquet files as delimited text: what is read, checked and complained about is then the same, whatever a log is stored as.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};

/// Bytes of text made at once.
const TEXT: usize = 1 << 18;

/// A Parquet file being turned into text: a header line, and a line for each row.
pub(super) struct ColumnsText {
    rows: RowIter<'static>,
    /// Rows of the file, and those that have become text.
    all: u64,
    done: u64,
    /// Bytes of the file.
    bytes: u64,
    text: Vec<u8>,
    at: usize,
}

impl ColumnsText {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let reader = SerializedFileReader::new(file).map_err(io::Error::other)?;
        let description = reader.metadata().file_metadata();
        let all = u64::try_from(description.num_rows()).unwrap_or(0);
        let mut text = Vec::new();
        for (at, column) in description.schema().get_fields().iter().enumerate() {
            if column.is_group() {
                return Err(io::Error::other(format!("column `{}` holds more than one value a row", column.name())));
            }
            push(&mut text, at, column.name());
        }
        text.push(b'\n');
        Ok(Self { rows: reader.into_iter(), all, done: 0, bytes, text, at: 0 })
    }

    /// How much of the file has been read, about.
    pub(super) fn bytes_read(&self) -> u64 {
        if self.all == 0 { self.bytes } else { (self.bytes as f64 * (self.done as f64 / self.all as f64)) as u64 }
    }

    /// Makes text of the rows that come next; none at the end.
    fn fill(&mut self) -> io::Result<()> {
        self.at = 0;
        self.text.clear();
        while self.text.len() < TEXT {
            let Some(row) = self.rows.next() else { break };
            push_row(&mut self.text, &row.map_err(io::Error::other)?)?;
            self.done += 1;
        }
        Ok(())
    }
}

fn push_row(text: &mut Vec<u8>, row: &Row) -> io::Result<()> {
    for (at, (name, field)) in row.get_column_iter().enumerate() {
        match field {
            Field::Null => push(text, at, ""),
            Field::Bool(value) => push(text, at, if *value { "1" } else { "0" }),
            Field::Str(value) => push(text, at, value),
            Field::Float(value) => push(text, at, &value.to_string()),
            Field::Double(value) => push(text, at, &value.to_string()),
            Field::Byte(_) | Field::Short(_) | Field::Int(_) | Field::Long(_) => push(text, at, &field.to_string()),
            Field::UByte(_) | Field::UShort(_) | Field::UInt(_) | Field::ULong(_) => push(text, at, &field.to_string()),
            Field::Decimal(_) | Field::Date(_) | Field::TimestampMillis(_) | Field::TimestampMicros(_) => {
                push(text, at, &field.to_string());
            }
            _ => {
                return Err(io::Error::other(format!("column `{name}` holds values that are neither text nor number")));
            }
        }
    }
    text.push(b'\n');
    Ok(())
}

/// Adds a field; in quotes if it could be taken for more than one, or for none at all.
fn push(text: &mut Vec<u8>, at: usize, field: &str) {
    if at > 0 {
        text.push(b',');
    }
    if field.contains([',', '"', '\n', '\r']) {
        text.push(b'"');
        for byte in field.bytes() {
            text.push(byte);
            if byte == b'"' {
                text.push(b'"');
            }
        }
        text.push(b'"');
    } else {
        text.extend_from_slice(field.as_bytes());
    }
}

impl Read for ColumnsText {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.text.len() {
            self.fill()?;
        }
        let count = buffer.len().min(self.text.len() - self.at);
        buffer[..count].copy_from_slice(&self.text[self.at..][..count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;
    use crate::data::fixtures::Project;
    use crate::data::{Csv, Dataset};

    /// Three rows in two groups of rows.
    fn write(path: &Path) {
        let schema = "message log { required int64 user; optional binary shop (UTF8); required double price; required int32 like; }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::default()).unwrap();
        for rows in [0..2, 2..3] {
            let mut group = writer.next_row_group().unwrap();
            let users: Vec<i64> = rows.clone().map(|row| 7 + row as i64 / 2).collect();
            let shops = ["a,b \"c\"", "", "b"].map(ByteArray::from)[rows.clone()].to_vec();
            let prices = [0.5, -2.0, 1e-7][rows.clone()].to_vec();
            let likes = [1, 0, 1][rows.clone()].to_vec();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int64Type>().write_batch(&users, None, None).unwrap();
            column.close().unwrap();
            let levels: Vec<i16> = rows.map(|row| i16::from(row != 1)).collect();
            let there: Vec<ByteArray> =
                shops.into_iter().zip(&levels).filter(|(_, level)| **level == 1).map(|(shop, _)| shop).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&there, Some(&levels), None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<DoubleType>().write_batch(&prices, None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int32Type>().write_batch(&likes, None, None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    #[test]
    fn rows_become_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.parquet");
        write(&path);
        let mut text = String::new();
        ColumnsText::open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "user,shop,price,like\n7,\"a,b \"\"c\"\"\",0.5,1\n7,,-2,0\n8,b,0.0000001,1\n");
        std::fs::write(&path, "no parquet").unwrap();
        assert!(ColumnsText::open(&path).is_err());
    }

    #[test]
    fn a_log_reads_the_same_from_either() {
        let project = Project::new();
        write(&project.root().join("log.parquet"));
        project.write("log.csv", "user,shop,price,like\n7,\"a,b \"\"c\"\"\",0.5,1\n7,,-2,0\n8,b,1e-7,1\n");
        let read = |train: &str| {
            let csv = Csv {
                train: train.into(),
                categorical: vec!["shop".into()],
                numerical: vec!["price".into()],
                labels: vec!["like".into()],
                group: Some("user".into()),
                ..Csv::default()
            };
            project.read(&Dataset::from(csv), None).unwrap().parts
        };
        assert_eq!(read("log.parquet"), read("log.csv"));
    }
}
