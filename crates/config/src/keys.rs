//! The one description of every key: the reader reads by it, the schema and the reference are generated from it.
//! A key that is not here is unknown; a key that is here and that nobody reads fails a test.

mod stack;

use Effect::{Identity, Life, Register};
use Fallback::{Derived, None as Nothing, Preset, Required, Value};
use Shape::{
    Commands, Duration, List, Named, Options, Table as Inner, Text, TextOrTexts, Texts, Truth,
    Whole, Word,
};

/// A table of the file.
#[derive(Debug)]
pub(super) struct Table {
    /// As it is written: `[vip]`.
    pub(super) title: &'static str,
    /// What it is about.
    pub(super) means: &'static str,
    /// Its keys, in the order in which people read them.
    pub(super) keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name.
    pub(super) name: &'static str,
    /// What may be written.
    pub(super) shape: Shape,
    /// What holds if nothing is written.
    pub(super) fallback: Fallback,
    /// When a change of it takes effect.
    pub(super) effect: Effect,
    /// What it means, in a sentence.
    pub(super) means: &'static str,
}

/// What may be written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A string.
    Text,
    /// A string with a number and its unit.
    Duration,
    /// A whole number within these bounds.
    Whole(i64, i64),
    /// true or false.
    Truth,
    /// One of these strings.
    Word(&'static [&'static str]),
    /// A list of strings.
    Texts,
    /// A list of commands, each a list of strings.
    Commands,
    /// A string, or a list of them.
    TextOrTexts,
    /// A table of strings.
    Options,
    /// `[key]`.
    Table(&'static Table),
    /// `[key.NAME]`.
    Named(&'static Table),
    /// `[[key]]`.
    List(&'static Table),
}

/// What holds if nothing is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fallback {
    /// Something must be written.
    Required,
    /// Nothing; the words say what that means.
    None(&'static str),
    /// This value.
    Value(&'static str),
    /// The value of the timing preset.
    Preset,
    /// It follows from other keys; the words say how.
    Derived(&'static str),
}

/// When a change takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The cluster is who it is by this: only while it is stopped.
    Identity,
    /// The register holds it once the cluster is founded: the active node changes it there.
    Register,
    /// The agent begins a new life and keeps its right meanwhile: nothing moves.
    Life,
}

const fn key(
    name: &'static str,
    shape: Shape,
    fallback: Fallback,
    effect: Effect,
    means: &'static str,
) -> Key {
    Key { name, shape, fallback, effect, means }
}

/// The profiles.
pub(super) const PROFILES: &[&str] = &["generic", "zstack", "xcat"];
/// The timing presets.
pub(super) const PRESETS: &[&str] = &["default", "cautious", "fast"];
const WEIGHTS: &[&str] = &["vital", "degraded"];
/// The topologies.
pub(super) const TOPOLOGIES: &[&str] = &["replicated", "shared-data"];

/// Keys of `[[service]]` that mean something on shared data only.
pub(super) const OF_STACK: [&str; 9] = [
    "also",
    "before",
    "after",
    "listeners",
    "processes",
    "kill",
    "stop-within",
    "instead",
    "in-use",
];

/// The keys of which each probe has exactly one: what it looks at.
pub(super) const KINDS: [&str; 12] = [
    "tcp", "greeting", "dns", "http", "sql", "file", "exec", "disk", "memory", "clock", "link",
    "gateway",
];

/// Keys that belong to one kind of probe.
pub(super) const COMPANIONS: [(&str, &str); 5] = [
    ("status", "http"),
    ("body", "http"),
    ("ca", "http"),
    ("newer-than", "file"),
    ("least", "disk"),
];

/// The whole file.
pub(super) static FILE: Table = Table {
    title: "the file",
    means: "What the cluster is called, and what is common to all its nodes. The file is the same on every node.",
    keys: &[
        key(
            "cluster",
            Text,
            Required,
            Identity,
            "The cluster's name: lower-case letters, digits and inner hyphens. An agent refuses a peer of another cluster.",
        ),
        key(
            "profile",
            Word(PROFILES),
            Value("generic"),
            Life,
            "What is managed here: supplies services, units and probes as defaults. Whatever it supplies can be overridden by name.",
        ),
        key(
            "port",
            Whole(1, 65535),
            Value("4817"),
            Identity,
            "The port of agents and witness, unless a node's address names another.",
        ),
        key(
            "gateway",
            Text,
            Nothing("no router is watched"),
            Life,
            "The router that every node must reach: gives each a degraded probe called gateway.",
        ),
        key(
            "topology",
            Word(TOPOLOGIES),
            Value("replicated"),
            Identity,
            "What moves with the virtual IP: replicated has a copy of the database on each node; shared-data has one set of data that the active node alone uses.",
        ),
        key("vip", Inner(&VIP), Required, Life, "The virtual IP."),
        key(
            "node",
            Named(&NODE),
            Required,
            Identity,
            "The members: two nodes and one witness; on shared data two nodes alone are allowed as well.",
        ),
        key(
            "database",
            Inner(&DATABASE),
            Derived("required with topology = \"replicated\", not allowed with \"shared-data\""),
            Life,
            "The database of every node.",
        ),
        key(
            "stack",
            Inner(&stack::STACK),
            Derived("required with topology = \"shared-data\", not allowed with \"replicated\""),
            Life,
            "What the active node alone has.",
        ),
        key(
            "service",
            List(&SERVICE),
            Nothing("no service beside the database"),
            Life,
            "A managed unit. Services are started in this order and stopped in reverse.",
        ),
        key(
            "probe",
            List(&PROBE),
            Derived("disk-data, disk-regent, memory, link, clock, and gateway if there is one"),
            Life,
            "A probe of the host.",
        ),
        key("policy", Inner(&POLICY), Nothing("its defaults"), Life, "How failures are answered."),
        key(
            "watchdog",
            Inner(&WATCHDOG),
            Nothing("no device is armed"),
            Life,
            "The watchdog device that resets a host whose agent no longer turns.",
        ),
        key(
            "timing",
            Inner(&TIMING),
            Nothing("its preset"),
            Life,
            "How long a right lasts, and how patient everybody is. The sums are in docs/design/timing.md.",
        ),
    ],
};

static VIP: Table = Table {
    title: "[vip]",
    means: "The address that clients use. Exactly one node answers for it.",
    keys: &[
        key(
            "address",
            TextOrTexts,
            Required,
            Identity,
            "The virtual IP with the length of its prefix, or a list of them; the first is the principal one.",
        ),
        key(
            "interface",
            Text,
            Derived("each node names its own"),
            Identity,
            "The interface that carries it on every node that names no other.",
        ),
        key(
            "subnet",
            Truth,
            Value("false"),
            Identity,
            "It is put on with its prefix, and the node reaches the subnet through it: where a node has no address of its own there. Otherwise alone, as /32 or /128.",
        ),
        key(
            "found-first",
            Truth,
            Value("false"),
            Identity,
            "IPv4, native driver: it stands before the node's own addresses and faces its subnet by its mask, for products that ask which of a host's addresses faces a client (xCAT, ISC dhcpd). With a prefix one bit shorter, scope link and no route, so that nothing else changes.",
        ),
        key(
            "driver",
            Word(&["native", "keepalived"]),
            Value("native"),
            Identity,
            "Who puts the address on: Regent itself, or a keepalived that Regent renders and steers.",
        ),
        key(
            "keepalived",
            Inner(&KEEPALIVED),
            Nothing("its defaults"),
            Life,
            "Only with driver = \"keepalived\".",
        ),
    ],
};

static KEEPALIVED: Table = Table {
    title: "[vip.keepalived]",
    means: "What keepalived needs to know. It announces, and never elects against the lease.",
    keys: &[
        key(
            "router-id",
            Whole(1, 255),
            Derived("the last byte of the principal address"),
            Life,
            "The VRRP id; unique on the segment.",
        ),
        key(
            "advert-interval",
            Duration,
            Value("10ms"),
            Life,
            "Between two advertisements: 10ms to 30ms, as keepalived puts the address on only after four of them.",
        ),
    ],
};

static NODE: Table = Table {
    title: "[node.NAME]",
    means: "A member. Its name also stands in its certificate.",
    keys: &[
        key(
            "id",
            Whole(1, 65535),
            Required,
            Identity,
            "Its number; no node ever gets the number of another.",
        ),
        key(
            "address",
            Text,
            Required,
            Identity,
            "Its own fixed IP address, with a port only if it is not the common one.",
        ),
        key("witness", Truth, Value("false"), Identity, "It votes and runs no resources."),
        key(
            "interface",
            Text,
            Derived("that of [vip]"),
            Identity,
            "The interface that carries the virtual IP here.",
        ),
        key(
            "fence",
            Inner(&FENCE),
            Nothing("the node cannot be fenced"),
            Life,
            "What switches this node off.",
        ),
    ],
};

static FENCE: Table = Table {
    title: "[node.NAME.fence]",
    means: "How this node is fenced: an agent of the package fence-agents, or a command of the site's own.",
    keys: &[
        key(
            "agent",
            Text,
            Nothing("command must be written"),
            Life,
            "The fence agent, such as \"fence_redfish\".",
        ),
        key(
            "options",
            Options,
            Nothing("none"),
            Life,
            "Its options, each a string, as the agent's manual names them. Never a password.",
        ),
        key(
            "password-file",
            Text,
            Nothing("no password"),
            Life,
            "A file with the password that only its owner may read.",
        ),
        key(
            "command",
            Texts,
            Nothing("agent must be written"),
            Life,
            "A program and its first arguments; the node's name and the action (off or status) follow. It exits 0 for confirmed, 1 for failed, anything else for unknown.",
        ),
        key(
            "timeout",
            Duration,
            Value("20s"),
            Life,
            "The longest a fencing may take, its confirmation included.",
        ),
    ],
};

static DATABASE: Table = Table {
    title: "[database]",
    means: "The database that every node runs; one writes, the other follows.",
    keys: &[
        key("engine", Word(&["mariadb"]), Required, Identity, "Its engine: MariaDB from 10.11."),
        key("unit", Text, Value("mariadb.service"), Life, "Its systemd unit."),
        key("socket", Text, Value("/run/mysqld/mysqld.sock"), Life, "Its Unix socket."),
        key(
            "port",
            Whole(1, 65535),
            Value("3306"),
            Life,
            "The port of its clients and of its replica.",
        ),
        key(
            "start-within",
            Duration,
            Value("6h"),
            Life,
            "The longest a start may take, with the recovery after a crash; one that takes longer is killed and tried again.",
        ),
        key(
            "events",
            Truth,
            Value("true"),
            Life,
            "Scheduled events that are enabled run on the active node, and nowhere else; false: nowhere.",
        ),
        key(
            "lock-patience",
            Duration,
            Value("1min"),
            Life,
            "A session that keeps every writer out, as FLUSH TABLES WITH READ LOCK does, is named at once and ended after this; 0s: never. The server is not killed for it.",
        ),
        key(
            "copy-in-place",
            Truth,
            Value("false"),
            Life,
            "Where there is no room for the old data and a copy of the active node's, the old ones are removed before the copy comes; false: it needs an operator's word, regent resync --in-place.",
        ),
        key(
            "copy-rate",
            Whole(0, 100_000),
            Value("0"),
            Life,
            "The most that the active node sends of a copy, in MiB a second; 0: as fast as it can.",
        ),
        key(
            "keep-copies",
            Whole(0, 100),
            Value("2"),
            Life,
            "So many replaced data directories are kept on a node; fewer if there is no room for a copy.",
        ),
        key(
            "keep-copies-for",
            Duration,
            Value("7d"),
            Life,
            "None of them is kept for longer than this.",
        ),
        key(
            "start-stuck-after",
            Duration,
            Value("2min"),
            Life,
            "A start that neither reads nor writes nor tells systemd how far it is for this long is killed and tried again.",
        ),
        key(
            "verify-every",
            Duration,
            Value("7d"),
            Life,
            "Both copies are compared this often, while they serve, and soon after a copy or a rewind; 0s: only by regent verify-db.",
        ),
        key(
            "verify-duty",
            Whole(1, 100),
            Value("20"),
            Life,
            "Per cent of the time during which such a comparison reads, on both nodes.",
        ),
        key(
            "probe",
            List(&PROBE),
            Derived("database-read, database-write and database-client"),
            Life,
            "A probe of the database.",
        ),
    ],
};

static SERVICE: Table = Table {
    title: "[[service]]",
    means: "A managed unit. With topology = \"replicated\" it runs on every node, beside the database, and a vital one that fails on the active node moves the virtual IP; with \"shared-data\" it is a step of the stack, runs on the active node alone, and the database is a service like any other.",
    keys: &[
        key("name", Text, Required, Life, "Its name for people, unique."),
        key("unit", Text, Required, Life, "Its systemd unit; a profile's service has one already."),
        key(
            "weight",
            Word(WEIGHTS),
            Value("vital"),
            Life,
            "What its failure means: vital moves the virtual IP and restores, degraded tells and restores.",
        ),
        key(
            "start-within",
            Duration,
            Value("30s"),
            Life,
            "After a start its probes may fail for this long before that counts; on shared data it is up within this time, its commands included, or has failed.",
        ),
        key(
            "stop-grace",
            Duration,
            Derived("1min with topology = \"shared-data\", 5s with \"replicated\""),
            Life,
            "When somebody stopped it through systemd (systemctl, a package, a command of the product), it has this long to be started again before that is a failure. 0s: a stop is one at once.",
        ),
        key(
            "stop-within",
            Duration,
            Derived("30s"),
            Life,
            "Shared data: it is down within this time, every process and listener of it, or has failed.",
        ),
        key(
            "also",
            Texts,
            Nothing("none"),
            Life,
            "Shared data: other units that could start it or run beside it (sockets, paths, timers, instances). Stopped and disabled too.",
        ),
        key(
            "before",
            Commands,
            Nothing("none"),
            Life,
            "Shared data: commands before its start, in this order. The failure of one that begins with - is told and goes by.",
        ),
        key(
            "after",
            Commands,
            Nothing("none"),
            Life,
            "Shared data: commands once it runs, in this order; - as in before. Until they are done the ports in listeners \
             take nothing on the VIP from the network.",
        ),
        key(
            "listeners",
            Texts,
            Nothing("none"),
            Life,
            "Shared data: nobody listens there when it is down, as \"tcp/3001\" or \"udp/67\".",
        ),
        key(
            "processes",
            Texts,
            Nothing("those of its unit"),
            Life,
            "Shared data: processes of these names are its own, wherever they run (proc_pid_comm(5): the first 15 letters count).",
        ),
        key(
            "kill",
            Truth,
            Derived("false"),
            Life,
            "Shared data: what does not stop within stop-within is killed; otherwise the step fails and names what is left.",
        ),
        key(
            "instead",
            List(&INSTEAD),
            Nothing("its unit alone does its work"),
            Life,
            "Shared data: another unit that does the same work. One of all runs, chosen when the service starts.",
        ),
        key(
            "in-use",
            Text,
            Nothing("no such file is read"),
            Life,
            "Shared data: a file in which the product's own tool names a process of the one that ran; its first line counts, if it \
             is newer than the choice that Regent recorded.",
        ),
        key(
            "enabled",
            Truth,
            Value("true"),
            Life,
            "false leaves out a service that the profile supplies.",
        ),
        key(
            "probe",
            List(&PROBE),
            Nothing("its unit alone is watched"),
            Life,
            "A probe of this service.",
        ),
    ],
};

/// Another unit for the same work.
static INSTEAD: Table = Table {
    title: "[[service.instead]]",
    means: "Shared data: another unit that does the work of the service, with what belongs to it. While the service is active, an administrator changes between them as the product says: whichever runs alone is the one in use. The next host starts the same one if it has it.",
    keys: &[
        key("unit", Text, Required, Life, "Its systemd unit."),
        key("also", Texts, Nothing("none"), Life, "As of the service."),
        key("before", Commands, Nothing("none"), Life, "As of the service."),
        key("after", Commands, Nothing("none"), Life, "As of the service."),
        key("listeners", Texts, Nothing("none"), Life, "As of the service."),
        key("processes", Texts, Nothing("those of its unit"), Life, "As of the service."),
    ],
};

/// Wherever probes stand.
pub(super) static PROBE: Table = Table {
    title: "[[service.probe]], [[database.probe]], [[probe]]",
    means: "One thing that is looked at again and again. Exactly one key says what: tcp, greeting, dns, http, sql, file, exec, disk, memory, clock, link or gateway. A written probe overrides, key by key, the one of the same name that a profile or a default supplies.",
    keys: &[
        key(
            "name",
            Text,
            Derived("SERVICE-KIND, database-READ, or KIND"),
            Life,
            "Its name, unique in the file.",
        ),
        key(
            "tcp",
            Text,
            Nothing("–"),
            Life,
            "HOST:PORT accepts connections. For a process that hangs the kernel does so, too.",
        ),
        key(
            "greeting",
            Text,
            Nothing("–"),
            Life,
            "HOST:PORT accepts connections, and speaks first, as SSH, SMTP, MariaDB, conserver and dhcpd's OMAPI do.",
        ),
        key(
            "dns",
            Text,
            Nothing("–"),
            Life,
            "A name server answers a question by UDP at HOST:PORT, whatever it says.",
        ),
        key(
            "http",
            Text,
            Nothing("–"),
            Life,
            "A request to this http:// or https:// address is answered as expected.",
        ),
        key(
            "status",
            Whole(100, 599),
            Derived("any from 200 to 399"),
            Life,
            "http: the status that passes.",
        ),
        key("body", Text, Nothing("any"), Life, "http: a text that the answer contains."),
        key(
            "ca",
            Text,
            Nothing("the certificate is not verified, only its end is watched"),
            Life,
            "https: a file with the certificates to trust.",
        ),
        key(
            "sql",
            Word(&["read", "write", "client"]),
            Nothing("–"),
            Life,
            "The database: sign in here and read; write this node's row; or do both through the virtual IP, as a client does.",
        ),
        key("file", Text, Nothing("–"), Life, "This file is there and readable."),
        key(
            "newer-than",
            Duration,
            Nothing("any age"),
            Life,
            "file: it was changed within this time.",
        ),
        key("exec", Texts, Nothing("–"), Life, "A program and its arguments; exit 0 passes."),
        key(
            "disk",
            Text,
            Nothing("–"),
            Life,
            "The file system of this path has room and can be written.",
        ),
        key("least", Text, Derived("5%"), Life, "disk: what must be free, as \"5%\" or \"2GiB\"."),
        key(
            "memory",
            Text,
            Nothing("–"),
            Life,
            "The largest share of the last ten seconds in which processes waited for memory, as \"10%\".",
        ),
        key("clock", Duration, Nothing("–"), Life, "The largest offset to the clock of any peer."),
        key(
            "link",
            Text,
            Nothing("–"),
            Life,
            "This interface is up and has a carrier; \"@vip\" is the one that carries the virtual IP.",
        ),
        key("gateway", Text, Nothing("–"), Life, "This router answers."),
        key(
            "unit",
            Text,
            Nothing("always"),
            Life,
            "It is asked only while this unit runs; otherwise it passes. For a service with [[service.instead]].",
        ),
        key(
            "weight",
            Word(WEIGHTS),
            Derived(
                "its service's; of the database vital, sql = \"client\" degraded; of the host degraded, \
                 link = \"@vip\" vital",
            ),
            Life,
            "What its failure means.",
        ),
        key(
            "role",
            Word(&["always", "active", "standby"]),
            Derived(
                "always; sql = \"write\" active, sql = \"client\" standby; of a service on shared data active",
            ),
            Life,
            "In which role of the node it runs and counts.",
        ),
        key(
            "interval",
            Duration,
            Derived("200ms if vital, 5s if degraded; sql = \"write\" and \"client\" 1s"),
            Life,
            "From one start to the next.",
        ),
        key(
            "timeout",
            Duration,
            Derived("250ms if vital, 2s if degraded; sql = \"write\" 2s, \"client\" 1s"),
            Life,
            "A run without an answer for this long has failed; at most three intervals.",
        ),
        key(
            "rise",
            Whole(1, 100),
            Derived("2 if vital, 1 if degraded; link = \"@vip\" 1"),
            Life,
            "Passes in a row until it passes again.",
        ),
        key("fall", Whole(1, 100), Value("3"), Life, "Failures in a row until it fails."),
        key(
            "enabled",
            Truth,
            Value("true"),
            Life,
            "false leaves out a probe that a profile or a default supplies.",
        ),
    ],
};

static POLICY: Table = Table {
    title: "[policy]",
    means: "How failures are answered.",
    keys: &[
        key(
            "hold-down",
            Duration,
            Value("60s"),
            Life,
            "After a move because of a service, no other service causes one for this long.",
        ),
        key(
            "tries",
            Whole(1, 1000),
            Value("8"),
            Life,
            "A service is given up after this many starts in a row that failed.",
        ),
        key(
            "pause-first",
            Duration,
            Value("500ms"),
            Life,
            "The pause before the second start; doubled each time.",
        ),
        key("pause-most", Duration, Value("30s"), Life, "The longest pause between two starts."),
        key(
            "settled",
            Duration,
            Value("60s"),
            Life,
            "A service that stayed well this long has its tries back.",
        ),
        key(
            "fence-silent",
            Truth,
            Value("false"),
            Life,
            "The holder fences a node that it succeeded and that stays silent, if it has a fence.",
        ),
    ],
};

static WATCHDOG: Table = Table {
    title: "[watchdog]",
    means: "A device that resets the host when the agent no longer feeds it.",
    keys: &[
        key("device", Text, Required, Life, "The device, such as \"/dev/watchdog\"."),
        key("timeout", Duration, Value("10s"), Life, "How long it waits for a sign of life."),
        key(
            "proof-in-a-guest-that-is-never-frozen",
            Truth,
            Value("false"),
            Life,
            "You vouch for it that no management node is a guest that is ever paused, migrated or put back to a snapshot. Only then the watchdog of a guest is a proof to others; its clock stands still with the guest.",
        ),
    ],
};

/// `[timing]`.
pub(super) static TIMING: Table = Table {
    title: "[timing]",
    means: "How long a right lasts, and how patient everybody is. A preset supplies all; single values override it. A timing whose sums do not hold is refused with both sides in figures.",
    keys: &[
        key(
            "preset",
            Word(PRESETS),
            Value("default"),
            Life,
            "The values to begin with; fast is for quiet hosts with fast disks.",
        ),
        key("ttl", Duration, Preset, Register, "How long a record lasts."),
        key("margin", Duration, Preset, Register, "By how much the holder's own right is shorter."),
        key("renewal", Duration, Preset, Life, "Between two renewals."),
        key("report", Duration, Preset, Life, "Between two reports to peers."),
        key("suspicion", Duration, Preset, Life, "After this silence a peer is suspected."),
        key(
            "swap",
            Duration,
            Preset,
            Life,
            "What a swap may take in quiet times; the sums assume it.",
        ),
        key(
            "swap-refused",
            Duration,
            Preset,
            Life,
            "What a swap may take after one was refused; the sums assume it.",
        ),
        key(
            "drain",
            Duration,
            Value("50ms"),
            Life,
            "What applying the rest may take; the sums assume it.",
        ),
        key(
            "observe",
            Duration,
            Value("100ms"),
            Life,
            "Between two readings of the database's facts, at rest.",
        ),
        key(
            "switchover-max",
            Duration,
            Value("10s"),
            Life,
            "How long a planned move may take in all.",
        ),
    ],
};

impl Table {
    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key>
    where
        Self: 'static,
    {
        self.keys.iter().find(|k| k.name == name)
    }

    /// The names of all its keys.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|k| k.name).collect()
    }
}

impl Shape {
    /// Said to somebody who wrote something else.
    pub(super) fn wanted(self, key: &str) -> String {
        match self {
            Text => "a string in quotes".into(),
            Duration => "a length of time in quotes, as \"700ms\"".into(),
            Whole(least, most) => format!("a whole number from {least} to {most}"),
            Truth => "true or false".into(),
            Word(words) => {
                let words: Vec<String> = words.iter().map(|w| format!("\"{w}\"")).collect();
                words.join(" or ")
            }
            Texts => "a list of strings, as [\"a\", \"b\"]".into(),
            Commands => "a list of commands, as [[\"/usr/bin/a\", \"-b\"]]".into(),
            TextOrTexts => "a string in quotes, or a list of them".into(),
            Options => "a table of strings, as { name = \"value\" }".into(),
            Inner(table) => format!("a table: {}", table.title),
            Named(_) => format!("tables: [{key}.NAME]"),
            List(_) => format!("a list of tables: [[{key}]]"),
        }
    }
}
