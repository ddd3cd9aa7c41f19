//! A later release beside this one (R7): it speaks a newer format, and writes fields that this one does not know.

use regent_core::id::AttemptId;
use regent_core::state::{FORMAT, MemberRole, State, StateError};
use serde_json::{Value, json};

/// Where it writes a field of its own: the records of a State.
const PLACES: [&str; 6] = ["", "/lease", "/sync", "/intent", "/timing", "/members/1"];

/// The name of that field.
const LATER: &str = "later";

/// What the judge reads, of whichever release.
pub fn read(bytes: &[u8]) -> Result<State, StateError> {
    State::decode_as(bytes, u16::MAX)
}

/// What a release of this format proposes.
pub fn write(speaks: u16, attempt: AttemptId, bytes: Vec<u8>) -> Vec<u8> {
    if speaks == FORMAT {
        return bytes;
    }
    let Ok(mut whole) = serde_json::from_slice::<Value>(&bytes) else { return bytes };
    for place in PLACES {
        let fields = whole.pointer_mut(place).and_then(Value::as_object_mut);
        if let Some(fields) = fields {
            fields.insert(LATER.into(), json!(attempt.n));
        }
    }
    serde_json::to_vec(&whole).unwrap_or(bytes)
}

/// Where a field of the later release is gone.
pub fn lost(before: &[u8], after: &[u8]) -> Option<&'static str> {
    if !String::from_utf8_lossy(before).contains(LATER) {
        return None;
    }
    let read = |bytes| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let (before, after) = (read(before), read(after));
    let has = |value: &Value, place| value.pointer(place).is_some_and(|v| v.get(LATER).is_some());
    PLACES.into_iter().find(|place| has(&before, place) && !has(&after, place))
}

/// Who does not speak the format that was raised.
pub fn is_left_behind(before: &State, after: &State) -> bool {
    let speaks_it = |state: &State| {
        let mut nodes = state.members.values().filter(|m| m.role == MemberRole::Node);
        nodes.all(|member| member.speaks >= after.format)
    };
    after.format < before.format || (after.format > before.format && !speaks_it(before))
}
