//! What hyper-parameters may be, in words for a pipeline's author.

/// A finite number above zero.
pub(super) fn positive(name: &str, value: f64) -> Result<(), String> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { Err(format!("`{name}` must be above 0, found {value}")) }
}

/// A finite number, zero or above.
pub(super) fn not_negative(name: &str, value: f64) -> Result<(), String> {
    if value.is_finite() && value >= 0.0 { Ok(()) } else { Err(format!("`{name}` must be 0 or above, found {value}")) }
}

/// A finite number.
pub(super) fn finite(name: &str, value: f64) -> Result<(), String> {
    if value.is_finite() { Ok(()) } else { Err(format!("`{name}` must be a finite number, found {value}")) }
}

/// A number from 0 to 1.
pub(super) fn share(name: &str, value: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(format!("`{name}` must lie between 0 and 1, found {value}")) }
}

/// The largest norm of a clipped gradient, if there is one.
pub(super) fn max_norm(value: Option<f64>) -> Result<(), String> {
    value.map_or(Ok(()), |value| positive("max_norm", value))
}

/// One finite number a task; none written means `default` for each.
pub(super) fn per_task(name: &str, values: &[f64], tasks: usize, default: f64) -> Result<Vec<f64>, String> {
    if values.is_empty() {
        return Ok(vec![default; tasks]);
    }
    if values.len() != tasks {
        return Err(format!("`{name}` has {} entries, expected one for each of the {tasks} tasks", values.len()));
    }
    values.iter().try_for_each(|&value| finite(name, value))?;
    Ok(values.to_vec())
}

/// One number a task, each zero or above and not all of them zero.
pub(super) fn weight_per_task(name: &str, values: &[f64], tasks: usize, default: f64) -> Result<Vec<f64>, String> {
    let values = per_task(name, values, tasks, default)?;
    values.iter().try_for_each(|&value| not_negative(name, value))?;
    if values.iter().any(|&value| value > 0.0) { Ok(values) } else { Err(format!("`{name}` must not be all zero")) }
}
