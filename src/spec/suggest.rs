//! The nearest spelling of a name that does not exist.

/// The candidate that `name` most likely stands for, if any comes close: case and `_`, `-` count for nothing
/// (`nash_mtl` is `NashMtl`), a few letters may be wrong, and the beginning of one name only is enough.
pub fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let wanted = folded(name);
    let ranked = candidates.iter().map(|candidate| {
        let folded = folded(candidate);
        (strsim::damerau_levenshtein(&wanted, &folded), folded.len(), *candidate, folded)
    });
    let ranked: Vec<_> = ranked.collect();
    let close = ranked
        .iter()
        .filter(|(distance, length, ..)| *distance <= wanted.len().max(*length) / 3)
        .min_by_key(|(distance, ..)| *distance)
        .map(|(_, _, candidate, _)| *candidate);
    close.or_else(|| {
        let mut begun = ranked.iter().filter(|(_, _, _, folded)| wanted.len() >= 2 && folded.starts_with(&wanted));
        let first = begun.next().map(|(_, _, candidate, _)| *candidate);
        first.filter(|_| begun.next().is_none())
    })
}

/// ``did you mean `lr`? its fields are `lr`, `betas` ``: the nearest spelling, then all that exists.
pub fn did_you_mean(name: &str, candidates: &[&str], introduction: &str) -> String {
    let all = match candidates {
        [] => format!("{introduction} none here"),
        all => format!("{introduction} {}", listed(all)),
    };
    match nearest(name, candidates) {
        Some(near) => format!("did you mean `{near}`? {all}"),
        None => all,
    }
}

/// `` `a`, `b`, `c` ``; of very many, the first.
pub fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 40;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BALANCERS: [&str; 6] = ["Ls", "Uw", "Famo", "Mgda", "NashMtl", "PcGrad"];

    #[test]
    fn case_and_separators_do_not_count() {
        assert_eq!(nearest("nash_mtl", &BALANCERS), Some("NashMtl"));
        assert_eq!(nearest("NASH-MTL", &BALANCERS), Some("NashMtl"));
        assert_eq!(nearest("pcgrad", &BALANCERS), Some("PcGrad"));
        assert_eq!(nearest("mmoe", &["SharedBottom", "Mmoe"]), Some("Mmoe"));
        assert_eq!(nearest("weightDecay", &["lr", "weight_decay"]), Some("weight_decay"));
    }

    #[test]
    fn slips_are_forgiven() {
        assert_eq!(nearest("Fano", &BALANCERS), Some("Famo"));
        assert_eq!(nearest("Tarin", &["Train", "Evaluate"]), Some("Train"));
        assert_eq!(nearest("epocs", &["epochs", "batch", "patience"]), Some("epochs"));
        assert_eq!(nearest("lrr", &["lr", "betas", "eps"]), Some("lr"));
    }

    #[test]
    fn a_beginning_is_enough_when_it_fits_one() {
        assert_eq!(nearest("shared", &["SharedBottom", "Mmoe"]), Some("SharedBottom"));
        assert_eq!(nearest("tra", &["train_a", "train_b_long"]), None);
    }

    #[test]
    fn nothing_is_suggested_out_of_the_blue() {
        assert_eq!(nearest("Transformer", &BALANCERS), None);
        assert_eq!(nearest("", &BALANCERS), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn the_hint_names_all_there_is() {
        assert_eq!(
            did_you_mean("Fano", &["Ls", "Famo"], "the balancers are"),
            "did you mean `Famo`? the balancers are `Ls`, `Famo`"
        );
        assert_eq!(did_you_mean("zzz", &["Ls", "Famo"], "the balancers are"), "the balancers are `Ls`, `Famo`");
    }
}
