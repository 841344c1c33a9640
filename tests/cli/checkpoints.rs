//! Models that start from a checkpoint file.

use std::fs;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::project::{Called, Project};

const MODEL: &str = "sizes: Tiny, seed: 1),";
const LOADED: &str = r#"sizes: Tiny, seed: 1, init: Checkpoint("mine/model.safetensors")),"#;

/// A project whose model starts from `mine/model.safetensors`, which holds these bytes, if any.
fn starting_from(bytes: Option<&[u8]>) -> Project {
    let project = Project::new();
    project.edit(MODEL, LOADED);
    if let Some(bytes) = bytes {
        fs::create_dir(project.path("mine")).unwrap();
        fs::write(project.path("mine/model.safetensors"), bytes).unwrap();
    }
    project
}

/// The file that training wrote.
fn trained() -> (Project, Vec<u8>) {
    let project = Project::new();
    project.run(&[]);
    let file = project.largest_file("train");
    assert!(file.ends_with("model.safetensors"), "{}", file.display());
    (project, fs::read(file).unwrap())
}

/// A tensor of a file: name, shape, type, bytes.
type Tensor = (String, Vec<usize>, Dtype, Vec<u8>);

/// A checkpoint's bytes with its tensors changed.
fn with_tensors(bytes: &[u8], change: fn(&mut Vec<Tensor>)) -> Vec<u8> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let tensor =
        |(name, view): (&str, TensorView)| (name.to_owned(), view.shape().to_vec(), view.dtype(), view.data().to_vec());
    let mut tensors: Vec<Tensor> = file.iter().map(tensor).collect();
    change(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, shape, dtype, bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

fn tensor<'a>(tensors: &'a mut [Tensor], name: &str) -> &'a mut Tensor {
    tensors.iter_mut().find(|(other, ..)| other == name).unwrap_or_else(|| panic!("{name}"))
}

/// Runs, and the model must fail with this text and leave nothing behind.
fn fails(project: &Project, arguments: &[&str], message: &str) -> Called {
    let failed = project.call(&[&["run", "pipelines/small.ron", "--json"], arguments].concat()).expect(1);
    assert_eq!(failed.results()[2..], ["model=failed", "train=blocked", "evaluate=blocked"]);
    assert!(failed.err.contains(&format!("error: stage `model`: {message}")), "{message}: {failed:?}");
    assert_eq!(failed.json()["stages"][2]["field"], "init");
    let count = |folder: &str| fs::read_dir(project.path(folder)).map_or(0, Iterator::count);
    assert_eq!((count(".mtorec/artifacts"), count(".mtorec/tmp")), (2, 0), "nothing half-written");
    failed
}

#[test]
fn a_trained_checkpoint_gives_the_same_metrics_to_the_bit() {
    let (project, bytes) = trained();
    let metrics = project.run(&[]).json()["metrics"].clone();
    let loaded = starting_from(Some(&bytes));
    loaded.edit("model: \"train\"", "model: \"model\"");
    let run = loaded.run(&["--until", "evaluate"]);
    assert_eq!(run.ran(), ["download", "preprocess", "model", "evaluate"]);
    assert_eq!(run.json()["metrics"], metrics);
    assert!(run.err.contains("shared by the tasks, from `mine/model.safetensors`"), "{run:?}");
    assert_eq!(fs::read(loaded.largest_file("model")).unwrap(), bytes, "what is loaded is written as it was");

    // the file's content is an input, its time is not
    fs::write(loaded.path("mine/model.safetensors"), &bytes).unwrap();
    assert!(loaded.run(&["--until", "evaluate"]).ran().is_empty());
    let other = starting_from(None);
    other.edit(LOADED, "sizes: Tiny, seed: 2),");
    other.run(&["--until", "model"]);
    fs::copy(other.largest_file("model"), loaded.path("mine/model.safetensors")).unwrap();
    let plan = loaded.call(&["plan", "pipelines/small.ron"]).expect(0);
    assert!(plan.out.contains("will run: file init: "), "{plan:?}");
    assert_eq!(loaded.run(&["--until", "evaluate"]).ran(), ["model", "evaluate"]);
}

#[test]
fn a_missing_file_is_told_with_its_place_and_the_remedy() {
    let project = starting_from(None);
    let plan = project.call(&["plan", "pipelines/small.ron"]).expect(0);
    assert!(plan.out.contains("cannot run: there is no checkpoint `mine/model.safetensors`"), "{plan:?}");
    let failed = fails(&project, &[], "there is no checkpoint `mine/model.safetensors`\n");
    for said in [&plan.err, &failed.err] {
        assert!(said.contains("  at: pipelines/small.ron:7:"), "{said}");
        assert!(said.contains("  hint: put it there or name another file"), "{said}");
    }
    fs::create_dir(project.path("mine")).unwrap();
    fs::write(project.path("mine/modell.safetensors"), "").unwrap();
    let near = fails(&project, &[], "there is no checkpoint");
    assert!(near.err.contains("hint: did you mean `mine/modell.safetensors`?"), "{near:?}");
    let set = fails(&project, &["--set", "model.init=Checkpoint(\"x\")"], "there is no checkpoint `x`\n");
    assert!(set.err.contains("  at: --set model.init=Checkpoint(\"x\"):1:12"), "{set:?}");
    fails(&project, &["--set", "model.init=Checkpoint(\"mine\")"], "cannot read the checkpoint `mine`: ");
    let empty = project.call(&["check", "pipelines/small.ron", "--set", "model.init=Checkpoint(\" \")"]).expect(2);
    assert!(empty.err.contains("`init` is empty"), "{empty:?}");
}

#[test]
fn a_file_that_is_not_safetensors_comes_with_the_conversion() {
    let project = starting_from(Some(b"PK\x03\x04 what torch.save writes is an archive"));
    let failed =
        fails(&project, &[], "`mine/model.safetensors` is no safetensors file: it looks like what `torch.save` writes");
    for line in [
        "    import torch, safetensors.torch\n",
        "    state = torch.load(\"mine/model.safetensors\", map_location=\"cpu\", weights_only=True)\n",
        "    safetensors.torch.save_file({k: v.contiguous().clone() for k, v in state.items()}, \"mine/converted.safetensors\")\n",
    ] {
        assert!(failed.err.contains(line), "{line}: {failed:?}");
    }
    for (bytes, looks) in
        [(&b"\x80\x02"[..], "a Python pickle"), (b"", "is empty"), (b"name,value\n", "does not begin")]
    {
        fs::write(project.path("mine/model.safetensors"), bytes).unwrap();
        let failed = fails(&project, &[], "`mine/model.safetensors` is no safetensors file: it ");
        assert!(failed.err.contains(looks) && failed.err.contains("torch.load"), "{failed:?}");
    }
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused_by_name() {
    let (_, bytes) = trained();
    let project = starting_from(Some(&bytes));
    let misfit = "checkpoint `mine/model.safetensors` does not fit the model: ";
    let more = fails(&project, &["--set", "model.arch=Mmoe(experts: 3)"], misfit);
    for part in ["`expert.2.mlp.0.weight` is missing", "and ", " more", "hint: `arch` and its hyper-parameters"] {
        assert!(more.err.contains(part), "{part}: {more:?}");
    }
    let fewer = fails(&project, &["--set", "model.arch=Mmoe(experts: 1)"], misfit);
    assert!(fewer.err.contains("`gate.0.0.weight` is F32 [2, 136], expected F32 [1, 136]"), "{fewer:?}");
    let other = fails(&project, &["--set", "model.arch=SharedBottom()"], misfit);
    assert!(other.err.contains("`bottom.mlp.0.weight` is missing"), "{other:?}");
    let wider = fails(&project, &["--set", "model.sizes=Small"], misfit);
    assert!(wider.err.contains("`embedding.embedding.weight` is F32 ["), "{wider:?}");

    let refused = |change: fn(&mut Vec<Tensor>), difference: &str| {
        fs::write(project.path("mine/model.safetensors"), with_tensors(&bytes, change)).unwrap();
        fails(&project, &[], &format!("{misfit}{difference}\n"));
    };
    refused(
        |tensors| tensor(tensors, "expert.0.mlp.4.weight").1.reverse(),
        "`expert.0.mlp.4.weight` is F32 [16, 8], expected F32 [8, 16]; \
         `shared_module.1.0.mlp.4.weight` is a second name of `expert.0.mlp.4.weight` and holds something else",
    );
    refused(
        |tensors| tensors.push(("expert.2.mlp.0.bias".into(), vec![1], Dtype::F32, vec![0; 4])),
        "`expert.2.mlp.0.bias` is not part of the model",
    );
    refused(
        |tensors| tensors.push(("shared_module.3.weight".into(), vec![1], Dtype::F32, vec![0; 4])),
        "`shared_module.3.weight` is not part of the model",
    );
    refused(
        |tensors| tensor(tensors, "task_specific_module.0.1.mlp.0.bias").3[0] ^= 1,
        "`task_specific_module.0.1.mlp.0.bias` is a second name of `tower.1.mlp.0.bias` and holds something else",
    );
    refused(
        |tensors| {
            let (gate, shared) = ("gate.0.0.bias", "task_specific_module.1.0.0.bias");
            tensors.retain(|(name, ..)| ![gate, shared].contains(&name.as_str()));
        },
        "`gate.0.0.bias` is missing",
    );

    fs::write(project.path("mine/model.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    let cut = fails(&project, &[], "`mine/model.safetensors` is a damaged safetensors file: ");
    assert!(cut.err.contains("hint: copy or write it again"), "{cut:?}");
}
