//! A lane: messages to one peer for one purpose, over every connection that is open for it.
//!
//! A connection stands still for a fifth of a second and longer when it loses a segment (TCP's least time to repeat
//! one). So both ends dial several, a message goes out on each of them, and the first copy that arrives is taken:
//! one that stands still delays nothing while another carries. Copies are told by a number that counts the lane's
//! messages ([`Numbered`]); a peer that does not know numbers gets one copy, over the newest connection.
//!
//! ```text
//!   send ─► number ─┬─► waiting (few, the newest) ─► connection ─┐
//!                   ├─► waiting                  ─► connection ─┼─► first copy of each number ─► inbox
//!                   └─► waiting                  ─► connection ─┘
//! ```
//! What waits for a connection is bounded by what is still worth sending: an older message makes room for a newer
//! one, so that a connection that recovers goes on with the newest and not with a backlog.

use super::hello::{Hello, Purpose};
use super::here::Stream;
use super::{frame, pack};
use regent_core::id::NodeId;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

/// How many connections each end dials per lane: six to a peer, twelve to both other voters. At 30 % loss both ways a
/// quarter of them is being dialled anew at any time and half of the rest stands still.
pub(crate) const DIALLED: usize = 3;

/// How many connections of one peer and purpose are kept: both ends dial, and each may have dialled anew.
const CONNECTIONS_MAX: usize = 4 * DIALLED;

/// Which lane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lane {
    /// Messages of the register.
    Register,
    /// Reports.
    Report,
}

impl Lane {
    /// Both.
    pub const ALL: [Lane; 2] = [Lane::Register, Lane::Report];

    /// What its connections are for.
    pub fn purpose(self) -> Purpose {
        match self {
            Lane::Register => Purpose::Register,
            Lane::Report => Purpose::Report,
        }
    }

    /// How many messages wait for a connection. Of reports only the newest is worth anything; the register has at
    /// most a proposal, an answer, a decided value and a question under way to one peer.
    fn waiting_max(self) -> usize {
        match self {
            Lane::Register => 4,
            Lane::Report => 1,
        }
    }
}

/// Takes every message of a lane: from whom, and its bytes. Must not block.
pub type Inbox = Arc<dyn Fn(NodeId, Lane, Vec<u8>) + Send + Sync>;

/// What became of a lane's messages so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Messages sent, whatever the number of copies.
    pub sent: u64,
    /// Copies that made room for newer messages, on connections that stood still.
    pub overtaken: u64,
    /// Messages taken from the peer.
    pub taken: u64,
    /// Further copies of those, and what came too late to be of use.
    pub doubled: u64,
}

/// All lanes of this process.
pub(crate) struct Lanes {
    inbox: Inbox,
    lanes: Mutex<HashMap<(NodeId, Lane), State>>,
    next: AtomicU64,
}

/// One lane to one peer.
#[derive(Default)]
struct State {
    counts: Counts,
    open: Vec<Connection>,
    /// What came of each series of the peer's numbers that an open connection carries.
    windows: HashMap<u64, Window>,
}

struct Connection {
    id: u64,
    numbered: Option<Numbered>,
    waiting: Arc<Waiting>,
}

/// What was agreed on about the numbers of a connection's messages; nothing with a peer that does not know numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Numbered {
    /// The series that the peer's messages belong to, from its greeting.
    pub(crate) series: u64,
    /// What follows a number is packed, both ways.
    pub(crate) packed: bool,
}

impl Numbered {
    /// What this greeting offers, and its answer therefore agrees to.
    pub(crate) fn of(hello: &Hello) -> Option<Numbered> {
        hello.series.map(|series| Numbered { series, packed: hello.packed })
    }
}

impl Lanes {
    pub(crate) fn new(inbox: Inbox) -> Lanes {
        Lanes { inbox, lanes: Mutex::default(), next: AtomicU64::new(0) }
    }

    pub(crate) fn send(&self, to: NodeId, lane: Lane, body: Vec<u8>) {
        let mut lanes = self.lock();
        let State { counts, open, .. } = lanes.entry((to, lane)).or_default();
        counts.sent += 1;
        let packs = |c: &Connection| c.numbered.is_some_and(|n| n.packed);
        let packed = open.iter().any(packs).then(|| pack::pack(&body).into());
        let message = Message { number: counts.sent, body: body.into(), packed };
        let newest = open.last().map(|connection| connection.id);
        for connection in open {
            if connection.numbered.is_some() || Some(connection.id) == newest {
                let is_overtaken = connection.waiting.put(message.clone(), lane.waiting_max());
                counts.overtaken += u64::from(is_overtaken);
            }
        }
    }

    pub(crate) fn is_linked(&self, to: NodeId, lane: Lane) -> bool {
        self.lock().get(&(to, lane)).is_some_and(|state| !state.open.is_empty())
    }

    /// Is there a connection to this peer on which copies are told apart?
    pub(crate) fn takes_copies(&self, to: NodeId, lane: Lane) -> bool {
        let numbered = |state: &State| state.open.iter().any(|c| c.numbered.is_some());
        self.lock().get(&(to, lane)).is_some_and(numbered)
    }

    pub(crate) fn counts(&self, to: NodeId, lane: Lane) -> Counts {
        self.lock().get(&(to, lane)).map(|state| state.counts).unwrap_or_default()
    }

    /// Carries the lane over this connection until it ends.
    pub(crate) async fn carry(
        &self,
        peer: NodeId,
        lane: Lane,
        stream: Stream,
        numbered: Option<Numbered>,
    ) {
        let waiting = Arc::new(Waiting::default());
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.open(peer, lane, Connection { id, numbered, waiting: Arc::clone(&waiting) });
        let (reader, writer) = tokio::io::split(stream);
        tokio::select! {
            () = self.read(peer, lane, reader, numbered) => {}
            () = write(writer, &waiting, numbered) => {}
        }
        self.close(peer, lane, id);
    }

    fn open(&self, peer: NodeId, lane: Lane, connection: Connection) {
        let mut lanes = self.lock();
        let State { open, windows, .. } = lanes.entry((peer, lane)).or_default();
        if let Some(Numbered { series, .. }) = connection.numbered {
            windows.entry(series).or_default();
        }
        open.push(connection);
        if open.len() > CONNECTIONS_MAX {
            open.remove(0).waiting.end();
        }
    }

    fn close(&self, peer: NodeId, lane: Lane, id: u64) {
        let mut lanes = self.lock();
        let State { open, windows, .. } = lanes.entry((peer, lane)).or_default();
        open.retain(|connection| connection.id != id);
        windows.retain(|series, _| {
            open.iter().any(|c| c.numbered.is_some_and(|n| n.series == *series))
        });
    }

    async fn read(
        &self,
        peer: NodeId,
        lane: Lane,
        reader: tokio::io::ReadHalf<Stream>,
        numbered: Option<Numbered>,
    ) {
        let mut reader = tokio::io::BufReader::new(reader);
        while let Ok(mut body) = frame::read(&mut reader).await {
            if let Some(Numbered { series, packed }) = numbered {
                let Some((number, rest)) = body.split_first_chunk() else { return };
                if !self.is_first(peer, lane, series, u64::from_be_bytes(*number)) {
                    continue;
                }
                body = if packed {
                    let Some(unpacked) = pack::unpack(rest) else { return };
                    unpacked
                } else {
                    rest.to_vec()
                };
            }
            (self.inbox)(peer, lane, body);
        }
    }

    fn is_first(&self, peer: NodeId, lane: Lane, series: u64, number: u64) -> bool {
        let mut lanes = self.lock();
        let State { counts, windows, .. } = lanes.entry((peer, lane)).or_default();
        let window = windows.entry(series).or_default();
        let is_first = match lane {
            Lane::Register => window.is_first(number),
            Lane::Report => window.is_newest(number),
        };
        let count = if is_first { &mut counts.taken } else { &mut counts.doubled };
        *count += 1;
        is_first
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(NodeId, Lane), State>> {
        self.lanes.lock().expect("nothing panics while it holds this")
    }
}

/// A message and its place in the lane.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Message {
    number: u64,
    body: Arc<[u8]>,
    /// The same, if a connection was open on which messages are packed.
    packed: Option<Arc<[u8]>>,
}

impl Message {
    fn frame(&self, numbered: Option<Numbered>) -> Option<Vec<u8>> {
        let Some(Numbered { packed, .. }) = numbered else {
            return regent_api::frame::wrap(&self.body);
        };
        let body = if packed { self.packed.as_ref()? } else { &self.body };
        regent_api::frame::wrap(&[&self.number.to_be_bytes()[..], &body[..]].concat())
    }
}

/// What waits for a connection.
#[derive(Default)]
struct Waiting {
    inner: Mutex<Queue>,
    news: Notify,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    ended: bool,
}

impl Waiting {
    /// Waits in place of the same message sent before, or else of the oldest if there are too many: then true.
    fn put(&self, message: Message, most: usize) -> bool {
        let mut queue = self.lock();
        match queue.messages.iter_mut().find(|waiting| waiting.body == message.body) {
            Some(same) => *same = message,
            None => queue.messages.push_back(message),
        }
        let is_full = queue.messages.len() > most;
        if is_full {
            queue.messages.pop_front();
        }
        drop(queue);
        self.news.notify_one();
        is_full
    }

    fn end(&self) {
        self.lock().ended = true;
        self.news.notify_one();
    }

    /// The next messages; none once it was ended.
    async fn next(&self) -> Option<VecDeque<Message>> {
        loop {
            {
                let mut queue = self.lock();
                if queue.ended {
                    return None;
                }
                if !queue.messages.is_empty() {
                    return Some(std::mem::take(&mut queue.messages));
                }
            }
            self.news.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.inner.lock().expect("nothing panics while it holds this")
    }
}

/// Which numbers came: the newest, and which of those just before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Window {
    newest: u64,
    /// Bit `i` is number `newest - i`: two seconds of a proposer that sends again and again.
    seen: u128,
}

impl Window {
    /// This number did not come before. One from before the window may have, and is worth nothing any more.
    fn is_first(&mut self, number: u64) -> bool {
        if number > self.newest {
            let by = u32::try_from(number - self.newest).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(by).unwrap_or(0) | 1;
            self.newest = number;
            return true;
        }
        let bit = u32::try_from(self.newest - number).ok().and_then(|by| 1_u128.checked_shl(by));
        let is_first = bit.is_some_and(|bit| self.seen & bit == 0);
        self.seen |= bit.unwrap_or(0);
        is_first
    }

    /// This number is above all that came before.
    fn is_newest(&mut self, number: u64) -> bool {
        number > self.newest && self.is_first(number)
    }
}

async fn write(
    mut writer: tokio::io::WriteHalf<Stream>,
    waiting: &Waiting,
    numbered: Option<Numbered>,
) {
    while let Some(messages) = waiting.next().await {
        // What waits already goes into the same record.
        let bytes: Vec<u8> =
            messages.iter().filter_map(|message| message.frame(numbered)).flatten().collect();
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u64, body: &str) -> Message {
        Message { number, body: body.as_bytes().into(), packed: None }
    }

    #[test]
    fn of_each_number_the_first_copy_is_taken_in_any_order() {
        let mut window = Window::default();
        let first: Vec<bool> =
            [1, 1, 3, 2, 3, 2, 4, 1].map(|number| window.is_first(number)).into_iter().collect();
        assert_eq!(first, [true, false, true, true, false, false, true, false]);
    }

    #[test]
    fn what_is_older_than_the_window_is_not_taken_and_a_leap_forgets_it() {
        let mut window = Window::default();
        assert!(window.is_first(1));
        assert!(window.is_first(129), "1 just left the window");
        assert!(!window.is_first(1));
        assert!(window.is_first(2));
        assert!(window.is_first(u64::MAX) && !window.is_first(u64::MAX));
        assert!(!window.is_first(129));
        assert!(window.is_first(u64::MAX - 127));
    }

    #[test]
    fn of_reports_only_a_newer_one_is_taken() {
        let mut window = Window::default();
        assert!(window.is_newest(2) && !window.is_newest(1) && !window.is_newest(2));
        assert!(window.is_newest(3));
    }

    #[test]
    fn the_oldest_makes_room_and_the_same_message_waits_once_under_its_newest_number() {
        let waiting = Waiting::default();
        assert!(!waiting.put(message(1, "a"), 2));
        assert!(!waiting.put(message(2, "b"), 2));
        assert!(!waiting.put(message(3, "b"), 2));
        assert!(waiting.put(message(4, "c"), 2));
        assert_eq!(waiting.lock().messages, [message(3, "b"), message(4, "c")]);
    }
}
