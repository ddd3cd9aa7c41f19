//! Requests of operators that wait for the answer of core.

use regent_core::command::Answer;
use regent_core::id::RequestId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// All of them, each with its number; requests of operators that wait for core's answer.
#[derive(Clone, Default)]
pub struct PendingRequests {
    inner: Arc<Mutex<Entered>>,
}

#[derive(Default)]
struct Entered {
    last: u64,
    open: HashMap<u64, oneshot::Sender<Answer>>,
}

impl PendingRequests {
    /// A number for a request, and where its answer comes.
    pub fn enter(&self) -> (RequestId, oneshot::Receiver<Answer>) {
        let (answer, waiting) = oneshot::channel();
        let mut inner = self.inner.lock().expect("nothing panics while it holds this");
        inner.last += 1;
        let id = inner.last;
        inner.open.retain(|_, waiting| !waiting.is_closed());
        inner.open.insert(id, answer);
        (RequestId(id), waiting)
    }

    /// Core answers; called where nobody's right waits for it.
    pub(crate) fn answer(&self, request: RequestId, answer: Answer) {
        let mut inner = self.inner.lock().expect("nothing panics while it holds this");
        if let Some(waiting) = inner.open.remove(&request.0) {
            // Who asked may have gone.
            waiting.send(answer).ok();
        }
    }
}
