//! Safetensors files: model checkpoints, the trainer's own, and encoded rows.

use std::fs;

use mtorec::balance::Balancer;
use mtorec::data::{Field, Parts, Rows, Schema};
use mtorec::model::{Arch, Network, Sizes, read_checkpoint, write_checkpoint};
use mtorec::optim::Adam;
use mtorec::spec::parse_argument;
use mtorec::stage::train::Trainer;
use mtorec::tensor::Cpu;

use crate::{Target, folder};

const NAME: &str = "file.safetensors";

fn schema() -> Schema {
    let field = |f: usize| Field { name: format!("f{f}"), size: 2 + f, out_of_vocabulary: Some(0) };
    Schema {
        fields: (0..2).map(field).collect(),
        numerical: vec!["x".into()],
        tasks: vec!["click".into(), "buy".into()],
    }
}

/// A small network: mutations of a small file hit more.
fn network() -> Network<Cpu> {
    let arch: Arch = parse_argument("SharedBottom()").unwrap_or_else(|problems| panic!("{problems:?}"));
    let sizes = Sizes::Custom { embed: 2, bottom: (2, 2), tower: (2, 1) };
    Network::build(&arch, &sizes, &schema(), 1, &Cpu::default()).expect("a network")
}

fn trainer() -> Trainer<Cpu> {
    let balancer: Balancer = parse_argument("Famo()").unwrap_or_else(|problems| panic!("{problems:?}"));
    Trainer::new(network(), Adam::default(), balancer.build(2).expect("a balancer"), 1)
}

/// How long the header is by its own brackets: a changed one is read only where its length is right.
fn header_length(file: &[u8]) -> Option<usize> {
    let header = file.get(8..)?;
    let (mut depth, mut text, mut escaped) = (0, false, false);
    let end = header.iter().position(|&byte| {
        match byte {
            b'"' if !escaped => text = !text,
            b'{' if !text => depth += 1,
            b'}' if !text => depth -= 1,
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
        depth == 0
    })?;
    // padded, so that the tensors are aligned
    Some(end + 1 + header[end + 1..].iter().take_while(|byte| **byte == b' ').count())
}

/// An input is one byte that says what is read and whether the length of the header is put right first, and the file.
pub fn checkpoint() -> Target {
    let folder = folder();
    let path = folder.path().join(NAME);
    let parts = Parts {
        categorical: vec![0, 1, 1, 2, 0, 0],
        numerical: vec![0.5, -1.0, 2.0],
        labels: vec![0, 0, 1, 0, 1, 1],
        group: Some(vec![7, 7, -9]),
        probability: None,
    };
    let rows = Rows::from_parts(&schema(), parts).expect("rows");
    let read = || fs::read(&path).expect("a file");
    write_checkpoint(&network(), &path).expect("a checkpoint");
    let model = read();
    rows.write(&path, &mut |_| Ok(())).expect("rows");
    let sound = [model, trainer().save().expect("a record"), read()];
    let mut seeds = Vec::new();
    for (kind, file) in sound.iter().enumerate() {
        seeds.extend([0, 3].map(|mend| [&[kind as u8 + mend], &file[..]].concat()));
    }
    let run = Box::new(move |input: &[u8]| {
        let (way, file) = input.split_first().map_or((0, &[][..]), |(way, file)| (way % 6, file));
        let mut file = file.to_vec();
        if way >= 3
            && let Some(length) = header_length(&file)
        {
            file[..8].copy_from_slice(&(length as u64).to_le_bytes());
        }
        fs::write(folder.path().join(NAME), &file).expect("a file");
        match way % 3 {
            0 => read_checkpoint(&mut network(), &path)
                .map_or_else(|error| error.to_string(), |n| format!("{n} tensors")),
            1 => trainer().restore(&file).map_or_else(|error| error, |()| "restored".to_owned()),
            _ => Rows::open(&path, &schema())
                .map_or_else(|error| error.to_string(), |rows| format!("{} rows", rows.len())),
        }
    });
    let dictionary = [
        "\"dtype\":\"F32\"",
        "\"F64\"",
        "\"I64\"",
        "\"BF16\"",
        "\"U8\"",
        "\"BOOL\"",
        "\"shape\":[",
        "\"data_offsets\":[",
        "__metadata__",
        "num_batches_tracked",
        "value/0",
        "m/0/0",
        "best/",
        "trainer",
        "run",
        "labels",
        "categorical",
        "group",
        "[0,0]",
        "[]",
        "-1",
        "18446744073709551615",
        "9223372036854775808",
        "null",
        "{\"",
        "}",
        "\\\"steps\\\":",
        "\\\"adam_steps\\\":[[null]]",
    ];
    let dictionary = dictionary.map(str::to_owned).into();
    Target { name: "checkpoint", sound: "tensors", longest: 16384, seeds, dictionary, run }
}
