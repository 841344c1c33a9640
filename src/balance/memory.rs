//! From what a balancer remembers to JSON and back.

use serde::Serialize;
use serde::de::{DeserializeOwned, Error};
use serde_json::Value;

/// Everything remembered, as JSON.
pub(super) fn save(remembered: &impl Serialize) -> Value {
    serde_json::to_value(remembered).expect("plain structs of numbers always serialise")
}

/// Takes it up again, if it fits this balancer (has one entry a task where it should).
pub(super) fn restore<T: DeserializeOwned>(
    remembered: &mut T,
    saved: &Value,
    fits: impl Fn(&T) -> bool,
) -> Result<(), serde_json::Error> {
    let restored = serde::Deserialize::deserialize(saved)?;
    if !fits(&restored) {
        return Err(serde_json::Error::custom("saved by a balancer of another number of tasks"));
    }
    *remembered = restored;
    Ok(())
}
