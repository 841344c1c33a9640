//! Finding out what stands between the fields of a file.

use std::ops::ControlFlow;
use std::path::Path;

use super::content::is_parquet;
use super::{Layout, each_row};
use crate::data::DataError;

/// What may stand between fields.
const DELIMITERS: [u8; 4] = [b',', b'\t', b';', b'|'];

impl Layout<'_> {
    /// The layout in which the beginning of a file makes most sense: its rows have as many fields as its header, and that is
    /// as many as can be. What its name suggests goes before what says no more; and nothing else is said of a file that
    /// cannot be read.
    pub(crate) fn sniffed(path: &Path) -> Self {
        let suggested = Self::by_extension(path);
        if is_parquet(path) {
            return suggested;
        }
        let sense = |delimiter: &u8| {
            let (fits, fields) = fields(path, Self { delimiter: *delimiter, ..suggested });
            (fields > 1, fits, fields, *delimiter == suggested.delimiter)
        };
        let delimiter = DELIMITERS.into_iter().max_by_key(sense).unwrap_or(suggested.delimiter);
        Self { delimiter, ..suggested }
    }
}

/// Whether the rows in the first block of a file have as many fields as its header, no field of either being a part of what
/// stands in quotes; and how many fields those are.
fn fields(path: &Path, layout: Layout) -> (bool, usize) {
    let (mut count, mut broken) = (0, false);
    let is_broken = |field: &str| field.matches('"').count() % 2 == 1;
    let rows = each_row(
        Path::new(""),
        path,
        layout,
        None,
        |header| {
            count = header.names().len();
            Ok(header.names().iter().any(|name| is_broken(name)))
        },
        |broken, row| {
            for at in 0..row.fields.len() {
                *broken |= is_broken(row.text(at)?);
            }
            Ok(())
        },
        |found, _| {
            broken = *found;
            Ok::<_, DataError>(ControlFlow::Break(()))
        },
    );
    (rows.is_ok() && !broken, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_splits_every_row_alike_and_most_separates_fields() {
        let folder = tempfile::tempdir().unwrap();
        let found = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            char::from(Layout::sniffed(&path).delimiter)
        };
        for (delimiter, text) in [
            (',', "y,x\n0,1\n"),
            (';', "y;x\n0;1\n"),
            ('|', "y|x\n0|1\n"),
            ('\t', "y\tx\n0\t1\n"),
            // decimal commas, one of them in the header
            (';', "y;size;price, EUR\n0;1,5;2,5\n1;2,5;3,5\n"),
            // lists within a field, as many in each
            (',', "y,tags,x\n0,a|b,1\n1,c|d,2\n"),
            // within quotes nothing separates
            (';', "\"a,b,c\";\"d\"\n\"1,2,3\";4\n"),
            (',', "y,\"a;b;c;d\"\n0,\"1;2;3;4\"\n"),
            (';', "\"say \"\"so\"\"\";y\n\"1,\"\"2\"\"\";0\n"),
            // a header alone, and rows that fit no way
            (';', "y;x\n"),
            (';', "y;x\n0;1;2\n"),
            (',', "y,x\n0,7\n1\n"),
            (',', "y\n0\n1\n"),
            (',', ""),
        ] {
            assert_eq!(found("x.csv", text), delimiter, "{text:?}");
        }
        assert_eq!(found("x.tsv", "y,x\tz,u\n0,1\t1,1\n"), ',');
        assert_eq!(found("x.tsv", "y,x\tz\n0,1\t1\n"), '\t');
        assert_eq!(char::from(Layout::sniffed(&folder.path().join("none.tsv")).delimiter), '\t');
    }
}
