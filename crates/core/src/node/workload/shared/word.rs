//! The operator's word on a node that is silent (protocol section 6, proof (d)). It is believed only after its host was
//! looked at anew, and it is void as soon as anything shows that it is not true.
//!
//! ```text
//!            given ── looks, all of them asked for after it ──► believed ──► clear is won
//!              │                                                   │
//!              └── its host answers, its agent answers ──► refused └── anything of it is seen or read ──► void
//! ```
//!
//! Everybody who acts on a word asks here: an activation, the question whether one would be allowed, and the new
//! register of a pair ([`Node::judge`]); the clear and the succession ([`Node::word_of`]). Silence is never inferred
//! from missing reports, nor from what could not be asked.

use crate::command::{LifeSigns, Obstacle, PortAnswer, Word};
use crate::event::Severity;
use crate::id::NodeId;
use crate::node::Node;
use crate::node::engine::peers::Peer;
use crate::node::engine::view::View;
use crate::node::workload::shared::asked::Asked;
use crate::reason::mac_text;
use crate::state::{Data, State};
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// So many looks, one every tenth of a second, of which each asks the segment three times: longer than a frame is lost
/// or a host is busy, and short beside the walk to its switch.
const LOOKS: u32 = 15;
/// What was not looked at so often by then cannot be looked at.
const LOOKS_MAX: Span = Span::millis(10_000);
/// A believed word counts for so long.
const WORD_MAX: Span = Span::millis(120_000);
/// It counts only while the host is looked at: ten looks may be lost in a row.
const LOOK_FRESH: Span = Span::millis(1_000);

/// A word that was believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::node) struct Given {
    pub word: Word,
    pub at: Time,
}

/// What the looks at a host saw since the word on it was given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::node) struct Looks {
    count: u32,
    answered: u32,
    /// What its host answered last.
    host: Option<String>,
    /// Its agent takes connections.
    agent: bool,
    /// Another link address answers for its address.
    stranger: Option<[u8; 6]>,
    /// What made the word untrue.
    void: Option<String>,
}

/// What becomes of a word.
pub(in crate::node) enum Verdict {
    /// There are not enough looks yet.
    Looking,
    /// It may be acted on; what was seen, in words.
    Believed(String),
    /// It may not: of which kind it is, and why, with the remedy.
    Refused(Obstacle, String),
}

/// What one look says about the host and about others.
struct Signs {
    host: Option<String>,
    agent: bool,
    stranger: Option<[u8; 6]>,
}

impl Signs {
    /// `link`: the member's own link address, if it is known. Where others answer for its address and it does not, its
    /// port and its echo are theirs as well.
    fn of(life: &LifeSigns, link: Option<[u8; 6]>) -> Signs {
        let is_own = |mac: &&[u8; 6]| link.is_none_or(|link| link == **mac);
        let own = life.links.iter().find(is_own);
        let stranger = life.links.iter().find(|mac| !is_own(mac)).copied();
        let mut signs = Vec::new();
        if let Some(mac) = own {
            signs.push(format!("{} answers for its address by ARP", mac_text(*mac)));
        }
        let reached = own.is_some() || stranger.is_none();
        let agent = reached && life.port == PortAnswer::Open;
        if reached {
            match life.port {
                PortAnswer::Open => signs.push("its agent's port takes connections".into()),
                PortAnswer::Reset => {
                    signs.push("its host refuses connections (TCP reset)".to_string());
                }
                PortAnswer::Silent => {}
            }
            if life.echo {
                signs.push("it answers an echo (ping)".into());
            }
        }
        Signs { host: (!signs.is_empty()).then(|| signs.join(", ")), agent, stranger }
    }
}

impl Looks {
    fn take(&mut self, signs: &Signs) {
        self.count += 1;
        self.answered += u32::from(signs.host.is_some());
        self.agent |= signs.agent;
        if signs.host.is_some() {
            self.host.clone_from(&signs.host);
        }
        self.stranger = signs.stranger.or(self.stranger);
    }

    /// Why the word is not true any more, if so.
    pub(in crate::node) fn void(&self) -> Option<&str> {
        self.void.as_deref()
    }
}

impl Node {
    /// May this word, given at `since`, be acted on?
    pub(in crate::node) fn judge(
        &self,
        word: Word,
        looks: &Looks,
        since: Time,
        now: Time,
    ) -> Verdict {
        let (node, claim) = (word.node(), word.claim());
        let name = self.name(node);
        if let Some(why) = self.word_is_wrong(node, since) {
            return Verdict::Refused(Obstacle::ActiveElsewhere, why);
        }
        if looks.agent {
            let why = format!(
                "{name} is not off: its agent answers on its own address; run regent deactivate there instead"
            );
            return Verdict::Refused(Obstacle::ActiveElsewhere, why);
        }
        if let (Word::IsOff(_), Some(host)) = (word, &looks.host) {
            let why = format!(
                "{name} is not off: {host}; switch it off, then again; if its storage is surely gone and only its network lives: regent activate --confirm-peer-cannot-write {name}"
            );
            return Verdict::Refused(Obstacle::NotProvenClear, why);
        }
        if let Some(void) = &looks.void {
            let why = format!("the word that {name} {claim} is void: {void}");
            return Verdict::Refused(Obstacle::NotProvenClear, why);
        }
        // What was last heard may have been said just before it died: the word waits until that is old.
        if looks.count >= LOOKS && !self.is_heard(node, now) {
            return Verdict::Believed(self.seen_by(looks, node));
        }
        if now.elapsed_most(since) < LOOKS_MAX {
            return Verdict::Looking;
        }
        let why = format!(
            "whether the host of {name} answers could not be asked: {} of {LOOKS} looks went out; mend this host's own link, then again",
            looks.count
        );
        Verdict::Refused(Obstacle::NotProvenClear, why)
    }

    /// It is seen without a look at its host; `since`: when the word was given.
    fn word_is_wrong(&self, node: NodeId, since: Time) -> Option<String> {
        let name = self.name(node);
        if node == self.me() {
            return Some(format!("{name} is this node, and it is on"));
        }
        if !self.spec.nodes.iter().any(|(known, _)| *known == node) {
            return Some(format!("{name} is no management node of this cluster"));
        }
        let reported = |peer: &Peer| peer.report.is_some() && peer.heard.raw > since.raw;
        self.peers.get(&node).is_some_and(reported).then(|| {
            format!("{name} is not off: its agent answers; run regent deactivate there instead")
        })
    }

    /// What the looks came to.
    fn seen_by(&self, looks: &Looks, node: NodeId) -> String {
        let (count, answered) = (looks.count, looks.answered);
        let seen = match &looks.host {
            Some(host) => format!("{answered} of {count} looks at its host were answered: {host}"),
            None => format!("{count} looks at its host found nothing"),
        };
        match (looks.stranger, self.link_of(node)) {
            (Some(stranger), Some(own)) => format!(
                "{seen}; {} answers for its address, a stranger: its own is {}",
                mac_text(stranger),
                mac_text(own)
            ),
            (Some(_) | None, _) => seen,
        }
    }

    fn link_of(&self, node: NodeId) -> Option<[u8; 6]> {
        self.peers.get(&node)?.report.as_ref()?.link
    }

    /// The word passed every guard: from here on it is a proof.
    pub(in crate::node) fn believe(&mut self, word: Word, seen: &str, since: Time, now: Time) {
        if self.stack.word.is_some_and(|given| given.word == word && given.at.raw > since.raw) {
            return;
        }
        let said = format!("an operator says that {} {}", self.name(word.node()), word.claim());
        match word {
            Word::IsOff(_) => {
                self.tell("data.word", Severity::Warning, format!("{said}; {seen}"));
            }
            Word::CannotWrite(_) => {
                let text = format!("{said}, though its network may live; {seen}");
                self.tell("data.word-cannot-write", Severity::Alarm, text);
            }
        }
        self.stack.word = Some(Given { word, at: now });
    }

    /// The word on this node, as long as it counts.
    pub(in crate::node) fn word_of(&self, node: NodeId, now: Time) -> Option<Word> {
        let given = self.stack.word.filter(|given| given.word.node() == node)?;
        let looked = self.is_looked_at(node, now);
        let young = now.elapsed_most(given.at) < WORD_MAX;
        (young && looked && !self.is_heard(node, now)).then_some(given.word)
    }

    /// Its host can be asked from here, and was just now.
    fn is_looked_at(&self, node: NodeId, now: Time) -> bool {
        self.looked_at(node).is_some_and(|(at, _)| now.elapsed_most(at) < LOOK_FRESH)
    }

    /// What helps against the silence of the other one of two: the word on it only where it can be true.
    pub(in crate::node) fn remedy_of_silence(&self, node: NodeId, now: Time) -> String {
        let name = self.name(node);
        if self.is_heard(node, now) {
            return format!(
                "the agent of {name} answers, and its voter does not: look at it there"
            );
        }
        match self.looked_at(node).filter(|_| self.is_looked_at(node, now)) {
            None => format!(
                "whether the host of {name} is on cannot be asked from here: mend this host's own link first"
            ),
            Some((_, true)) => format!("the host of {name} answers: start its agent"),
            Some((_, false)) => format!(
                "start the agent of {name}; if its host is off: regent activate --confirm-peer-is-off {name}"
            ),
        }
    }

    // ---- what speaks against it ----

    /// A look at a host was answered; it was asked for at `asked`.
    pub(in crate::node) fn take_look(&mut self, node: NodeId, life: &LifeSigns, asked: Time) {
        if !life.asked {
            return;
        }
        #[cfg(feature = "planted")]
        let life = match self.planted(crate::planted::Planted::WordUnproven) {
            true => &LifeSigns::SILENT,
            false => life,
        };
        let signs = Signs::of(life, self.link_of(node));
        for (since, one) in self.requests.stack_mut().filter(|(_, one)| one.is_about(node)) {
            if asked.raw > since.raw {
                one.looks.take(&signs);
            }
        }
        let Some(host) = signs.host else { return };
        // Whoever cannot write may well answer.
        self.doubt(|word| word == Word::IsOff(node), &host);
    }

    /// A report of this node came: it is on, whatever was said.
    pub(in crate::node) fn doubt_by_report(&mut self, node: NodeId) {
        self.doubt(|word| word.node() == node, "its agent reports");
    }

    /// The word that a node writes no more is void once the register shows anything that this node wrote since.
    pub(in crate::node) fn doubt_word(&mut self, old: Option<&View>, new: &State) {
        let wrote = |node: NodeId, state: &State| {
            let lease = Some(state.lease.by).filter(|by| by.node == node);
            (lease, state.members.get(&node).and_then(|member| member.by))
        };
        let is_new = |word: Word| {
            let (lease, member) = wrote(word.node(), new);
            old.is_none_or(|old| {
                let (was, other) = wrote(word.node(), &old.state);
                member != other || (lease.is_some() && lease != was)
            })
        };
        self.doubt(is_new, "it wrote to the register");
    }

    /// Every word of which `is_untrue` ends.
    fn doubt(&mut self, is_untrue: impl Fn(Word) -> bool, why: &str) {
        let given = self.stack.word.filter(|given| is_untrue(given.word));
        for (_, asked) in self.requests.stack_mut() {
            if asked.word.is_some_and(&is_untrue) && asked.looks.count > 0 {
                asked.looks.void = Some(why.to_string());
            }
        }
        let Some(Given { word, .. }) = given else { return };
        self.stack.word = None;
        let name = self.name(word.node());
        let text = format!("the word that {name} {} is void: {why}", word.claim());
        self.tell("data.word-void", Severity::Alarm, text);
    }

    /// Why a word that was acted on is a proof no more, while the data are still recorded as used by whom it is about.
    pub(in crate::node) fn voided(&self, asked: &Asked) -> Option<String> {
        let (word, void) = (asked.word?, asked.looks.void()?);
        let used = matches!(self.data(), Data::InUse { node, .. } if node == word.node());
        let name = self.name(word.node());
        used.then(|| format!("the word that {name} {} is void: {void}", word.claim()))
    }
}
