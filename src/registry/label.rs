//! Registered things in a few words: the name, and the settings that tell them from the defaults and from each other.

use serde_json::{Map, Value, json};

use super::Registered;

/// The name of each, and those of its settings that are not the defaults or that another of the same name has
/// otherwise, as a pipeline would write them: `Famo` and `gamma: 0.0, lower_bounds: [-21.0, -21.0]`.
pub fn labels<T: Registered>(things: &[T]) -> Vec<(&'static str, String)> {
    let all: Vec<(&'static str, Map<String, Value>)> =
        things.iter().map(|one| (one.registered_name(), fields(one))).collect();
    let settings = |(name, own): &(&'static str, Map<String, Value>)| {
        let plain =
            serde_json::from_value::<T>(json!({ *name: {} })).map_or_else(|_| Map::new(), |plain| fields(&plain));
        let others = all.iter().filter(|(other, _)| other == name).map(|(_, fields)| fields);
        let others: Vec<_> = others.chain([&plain]).collect();
        let differs = |field: &String, value: &Value| others.iter().any(|other| other.get(field) != Some(value));
        let written = own.iter().filter(|(field, value)| differs(field, value));
        written.map(|(field, value)| format!("{field}: {}", words(value))).collect::<Vec<_>>().join(", ")
    };
    all.iter().map(|one| (one.0, settings(one))).collect()
}

/// The hyper-parameters.
fn fields<T: Registered>(thing: &T) -> Map<String, Value> {
    match serde_json::to_value(thing).map(|mut value| value[thing.registered_name()].take()) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// The two in one: `Famo(gamma: 0.0)`, `Ls`.
pub fn in_full(name: &str, settings: &str) -> String {
    if settings.is_empty() { name.to_owned() } else { format!("{name}({settings})") }
}

/// A JSON value as RON: serde writes variants as strings, or as maps with the variant as their only key.
fn words(value: &Value) -> String {
    let fields = |of: &Map<String, Value>| {
        of.iter().map(|(field, value)| format!("{field}: {}", words(value))).collect::<Vec<_>>().join(", ")
    };
    match value {
        Value::Null => "None".to_owned(),
        Value::String(variant) => variant.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(words).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => match map.iter().next() {
            Some((variant, Value::Object(inner))) if map.len() == 1 => format!("{variant}({})", fields(inner)),
            _ => format!("({})", fields(map)),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Balancer;

    fn of_all(ron: &str) -> Vec<String> {
        let options =
            ron::Options::default().with_default_extension(ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES);
        let balancers: Vec<Balancer> = options.from_str(ron).unwrap();
        labels(&balancers).iter().map(|(name, settings)| in_full(name, settings)).collect()
    }

    fn of(ron: &str) -> String {
        of_all(&format!("[{ron}]")).remove(0)
    }

    #[test]
    fn only_what_differs_is_said() {
        for same in [
            "Ls",
            "Famo(gamma: 0.0, lower_bounds: [-21.0, -21.0])",
            "CaGrad(c: 0.5, max_norm: 1.0)",
            "NashMtl(max_norm: None)",
            "Pub(scale: SumToK, update_weights_every: 1)",
        ] {
            let written = same.replace("max_norm: 1.0", "max_norm: Some(1.0)");
            assert_eq!(of(&if written == "Ls" { "Ls()".to_owned() } else { written }), same);
        }
        assert_eq!(of("CaGrad(c: 0.4, rescale: 1)"), "CaGrad");
        assert_eq!(of("ClippyAdam(of: Ls(task_weights: [1.0, 2.0]))"), "ClippyAdam(of: Ls(task_weights: [1.0, 2.0]))");
    }

    #[test]
    fn balancers_of_one_name_are_told_apart() {
        let two = of_all("[Pub(scale: Paper, update_weights_every: 1), Pub(update_weights_every: 1), Ls()]");
        let second = "Pub(scale: Frobenius, update_weights_every: 1)";
        assert_eq!(two, ["Pub(scale: Paper, update_weights_every: 1)", second, "Ls"]);
    }

    #[test]
    fn every_balancer_has_a_label_that_is_its_name() {
        for entry in Balancer::entries() {
            assert_eq!(of(&entry.defaults), entry.name);
        }
    }
}
