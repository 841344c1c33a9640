//! Logs as somebody may put them there: delimited text, and archives of it. They are read as a run reads them, through
//! `Download` and `Preprocess`.

use std::error::Error;
use std::fs;
use std::io::{Cursor, Write};
use std::iter::successors;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use mtorec::spec::{Pipeline, Stage, parse};
use mtorec::stage::{Context, Device, Inputs, Progress, Work};
use mtorec::store::{Draft, FileDigests, Finished, KeyLock, LockAttempt, Recipe, Store};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::{Target, folder};

struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _total: u64, _unit: &str) {}
    fn at(&self, _done: u64, _message: &str) {}
    fn note(&self, _line: &str) {}
    fn warn(&self, _line: &str) {}
}

/// A project whose log is read again and again.
struct Project {
    folder: TempDir,
    store: Store,
    digests: FileDigests,
    cancelled: AtomicBool,
}

fn recipe(kind: &str) -> Recipe {
    let (parameters, inputs, files) = Default::default();
    Recipe { kind: kind.to_owned(), revision: 1, device: None, parameters, inputs, files }
}

impl Project {
    fn new() -> Self {
        let folder = folder();
        let store = Store::open(folder.path()).expect("a store");
        fs::create_dir(folder.path().join("scratch")).expect("a folder");
        Self { folder, store, digests: FileDigests::default(), cancelled: AtomicBool::new(false) }
    }

    fn lock(&self, kind: &str) -> KeyLock {
        match self.store.try_lock(recipe(kind).key(), "fuzzing").expect("a store") {
            LockAttempt::Held(lock) => lock,
            LockAttempt::Busy(_) => panic!("nobody else is here"),
        }
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }

    /// Reads the log of a pipeline of these two stages; the outcome is the summary or the error.
    fn read(&self, pipeline: &Pipeline) -> String {
        let scratch = self.folder.path().join("scratch");
        let cx = Context {
            root: self.folder.path(),
            device: Device::Cpu,
            progress: &Quiet,
            cancelled: &self.cancelled,
            digests: &self.digests,
            scratch: &scratch,
        };
        let run = |stage: &str, inputs: &Inputs, draft: &Draft| {
            let stage: &Stage = &pipeline.stages[stage];
            stage.run(&cx, inputs, draft).map_err(|error| {
                let causes = successors(error.source(), |cause| (*cause).source()).map(|cause| format!(": {cause}"));
                format!("{error}{} {:?}", causes.collect::<String>(), error.remedy())
            })
        };
        let read = || {
            let lock = self.lock("download");
            let draft = Draft::new(&self.store, &lock).expect("a draft");
            let outcome = run("download", &Inputs(Vec::new()), &draft)?;
            let took = Duration::ZERO;
            let finished = Finished { recipe: recipe("download"), simulated: false, summary: outcome.summary, took };
            let download = draft.commit(&lock, finished).expect("an artifact");
            let lock = self.lock("preprocess");
            let draft = Draft::new(&self.store, &lock).expect("a draft");
            run("preprocess", &Inputs(vec![("from", &download)]), &draft)
        };
        let outcome = read().map_or_else(|error: String| error, |outcome| outcome.summary);
        assert_eq!(fs::read_dir(scratch).map_or(0, Iterator::count), 0, "nothing stays in the scratch folder");
        outcome
    }
}

fn pipeline(dataset: &str, preprocess: &str) -> Pipeline {
    let text = format!(
        r#"Pipeline(name: "fuzz", stages: {{
            "download": Download(dataset: {dataset}, path: "data"),
            "preprocess": Preprocess(from: "download", {preprocess}),
        }})"#
    );
    parse(&text, "fuzz.ron", &[]).unwrap_or_else(|problems| panic!("{problems:?}")).pipeline
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("bytes in memory")
}

fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        // not packed: a changed byte is then a changed byte of the text
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        writer.start_file(*name, options).and_then(|()| Ok(writer.write_all(bytes)?)).expect("bytes in memory");
    }
    writer.finish().expect("bytes in memory").into_inner()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append_data(&mut header, name, *bytes).expect("bytes in memory");
    }
    builder.into_inner().expect("bytes in memory")
}

/// Changed headers of a tar archive are read only where their checksums are right.
fn put_checksums_right(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512).filter(|block| block[257..].starts_with(b"ustar")) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// An input's first byte says which of several ways to read the rest.
fn choose<T>(input: &[u8], of: &[T]) -> (usize, Vec<u8>) {
    let (way, rest) = input.split_first().map_or((0, &[][..]), |(way, rest)| (usize::from(*way), rest));
    (way % of.len(), rest.to_vec())
}

/// Delimited text, with a header and columns of every part; also what `init` makes of it.
pub fn csv() -> Target {
    let columns = r#"categorical: ["shop", "colour"], numerical: ["price", "count"], labels: ["like", "buy"]"#;
    let ways = [
        ("train.csv", "", ""),
        ("train.csv", r#", group: "user", time: "at""#, "test: Latest(0.3), valid: FromTrain(0.3), by: Group"),
        ("train.csv", r#", hashed: {"shop": 5}, min_count: 2"#, "test: Random(0.3), fill: Mean, max_bad_rows: 3"),
        (
            "train.tsv",
            r#", transforms: {"price": Log1pStandardise, "count": Standardise}"#,
            "test: Random(0.3), fill: 0",
        ),
        ("train.csv.gz", "", "test: Random(0.3), max_bad_rows: 1000"),
    ];
    let way = |(file, more, preprocess): (&'static str, &str, &str)| {
        let preprocess = if preprocess.is_empty() { "test: Random(0.3)" } else { preprocess };
        let plain = file.trim_end_matches(".gz");
        (file, pipeline(&format!("Csv(train: {plain:?}, {columns}{more})"), preprocess))
    };
    let ways = ways.map(way);
    let project = Project::new();
    let header = "shop,colour,price,count,like,buy,user,at\n";
    let mut text = header.to_owned();
    for at in 0..12 {
        let (shop, colour, like, buy) = (at % 3, ["red", "\"blue, or so\"", "", "grün"][at % 4], at % 2, at % 5 / 4);
        text += &format!("s{shop},{colour},{at}.5e-1,{},{like},{buy},u{},2026-11-{:02}\n", at * 7, at % 4, at + 1);
    }
    let mut seeds = Vec::new();
    for way in 0..ways.len() as u8 {
        let text = if way == 3 { text.replace(',', "\t") } else { text.clone() };
        seeds.push([&[way], text.as_bytes()].concat());
        seeds.push([&[way], text.replace('\n', "\r\n").as_bytes()].concat());
        // packed anew (see below) unless the second bit of the way is set
        seeds.push([&[way], format!("\u{feff}{header}s1,red,1,2,0,1,u1,1700000000\n").as_bytes()].concat());
    }
    seeds.push([&[4 + 5 * 7], &gzip(text.as_bytes())[..]].concat());
    let run = Box::new(move |input: &[u8]| {
        let (at, mut bytes) = choose(input, &ways);
        let (file, pipeline) = &ways[at];
        let as_it_is = input.first().is_some_and(|way| *way >= 35);
        if file.ends_with(".gz") && !as_it_is {
            bytes = gzip(&bytes);
        }
        project.write(&format!("data/{file}"), &bytes);
        let read = project.read(pipeline);
        let path = project.folder.path().join("data").join(file);
        let looked = mtorec::init::look(&path, &[]).map(|look| format!("{:?}", look.columns));
        fs::remove_file(path).expect("a file");
        format!("{read} {}", looked.unwrap_or_else(|error| error.to_string()))
    });
    let dictionary = [
        "\"",
        "\"\"",
        "\n\"",
        "\",",
        "\r\n",
        "\r",
        "\u{feff}",
        "\0",
        ",,,,,,,,",
        "NaN",
        "inf",
        "-0.0",
        "1e999",
        "1e-400",
        "0x1",
        "2026-13-40",
        "1969-12-31T23:59:60Z",
        "-9999999999999",
        header,
        "shop",
        "like",
        "9999999999999999999999",
        "１",
        "\u{85}",
    ];
    Target { name: "csv", sound: "train, ", longest: 4096, seeds, dictionary: words(&dictionary), run }
}

/// The AliExpress archive: zip archives within a zip archive.
pub fn zip() -> Target {
    let project = Project::new();
    let pipeline = pipeline("AliExpress(country: NL)", "max_bad_rows: 2");
    let row = |columns: usize, search: usize, last: &str| {
        let middle: String = (1..columns - 1).map(|at| format!(",{}", at % 10)).collect();
        format!("{search}{middle},{last}\n")
    };
    let users: String = (0..4).map(|at| row(33, at % 3, "3")).collect();
    let items: String = (0..6).map(|at| row(49, at % 3, ["0", "1", "2"][at % 3])).collect();
    let inner: Vec<(String, Vec<u8>)> = ["user_train", "item_train", "user_test", "item_test"]
        .map(|part| {
            let text = if part.starts_with("user") { &users } else { &items };
            (format!("nl_{part}.zip"), zipped(&[(&format!("nl_{part}.csv"), text.as_bytes())]))
        })
        .into();
    let files: Vec<(&str, &[u8])> = inner.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let sound = zipped(&files);
    let plain: Vec<(&str, &[u8])> = [
        ("nl_user_train.csv", &users),
        ("nl_item_train.csv", &items),
        ("nl_user_test.csv", &users),
        ("nl_item_test.csv", &items),
    ]
    .map(|(name, text)| (name, text.as_bytes()))
    .into();
    let seeds = vec![sound, zipped(&plain), zipped(&[("../../escape.csv", b"1"), ("nl_user_train.zip", b"")])];
    let run = Box::new(move |input: &[u8]| {
        project.write("data/AliExpress_NL_datasets.zip", input);
        project.read(&pipeline)
    });
    let dictionary = [
        "PK\x03\x04",
        "PK\x01\x02",
        "PK\x05\x06",
        "PK\x06\x06",
        "PK\x06\x07",
        "PK\x07\x08",
        "nl_user_train.zip",
        "../",
        "/",
        ".csv",
        "\x08\0",
        "\0\0\0\0",
        "\x7f\x7f\x7f\x7f",
        "\x01\0\x10\0",
    ];
    Target { name: "zip", sound: "train, ", longest: 16384, seeds, dictionary: words(&dictionary), run }
}

/// The census archive: a packed tar archive in a zip archive.
pub fn census() -> Target {
    let project = Project::new();
    let pipeline = pipeline("CensusIncome()", "max_bad_rows: 2");
    let row = |at: usize| {
        let mut cells: Vec<String> = (0..42).map(|column| format!("{}", (column + at) % 7)).collect();
        cells[41] = ["- 50000.", "50000+."][at % 2].to_owned();
        cells.join(", ") + "\n"
    };
    let text: String = (0..6).map(row).collect();
    let files: [(&str, &[u8]); 2] = [("census-income.test", text.as_bytes()), ("census-income.data", text.as_bytes())];
    let sound = tar(&files);
    let long = "folder/".repeat(30) + "notes.txt";
    let with_long_name = tar(&[(&long, b"some bytes"), files[0], files[1]]);
    // the first byte says what is changed: the tar archive, the packed one or the outer one
    let name = "census.tar.gz";
    let seeds = vec![
        [&[0], &sound[..]].concat(),
        [&[0], &with_long_name[..]].concat(),
        [&[1], &gzip(&sound)[..]].concat(),
        [&[2], &zipped(&[(name, &gzip(&sound))])[..]].concat(),
    ];
    let run = Box::new(move |input: &[u8]| {
        let (way, mut bytes) = choose(input, &[(); 3]);
        let archive = match way {
            0 => {
                put_checksums_right(&mut bytes);
                zipped(&[(name, &gzip(&bytes))])
            }
            1 => zipped(&[(name, &bytes)]),
            _ => bytes,
        };
        project.write("data/census+income+kdd.zip", &archive);
        project.read(&pipeline)
    });
    let dictionary = [
        "ustar\0",
        "ustar  \0",
        "././@LongLink",
        "census-income.data",
        "census-income.test",
        "00000000144\0",
        "77777777777\0",
        "\x1f\u{8b}",
        "../../",
        "\0\0\0\0\0\0\0\0",
        "- 50000.",
        "50000+.",
    ];
    Target { name: "census", sound: "train, ", longest: 16384, seeds, dictionary: words(&dictionary), run }
}
