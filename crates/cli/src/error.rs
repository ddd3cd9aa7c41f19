//! How an error looks: what failed and where, then what to do about it.

use regent_api::call::{Refusal, Result as ApiResult};

/// The text of a refusal for a terminal.
pub fn render(refusal: &Refusal) -> String {
    let mut out = format!("error: {}\n", refusal.reason);
    if !refusal.remedy.is_empty() {
        out.push_str(&format!("  what to do: {}\n", refusal.remedy));
    }
    out
}

/// The same as version 1 of the JSON answer.
pub fn json(refusal: &Refusal) -> ApiResult {
    ApiResult {
        version: regent_api::VERSION,
        result: refusal.kind.as_str().into(),
        text: refusal.reason.clone(),
        remedy: Some(refusal.remedy.clone()).filter(|r| !r.is_empty()),
        exit: refusal.kind.exit().number(),
    }
}
