//! The keys of `[stack]`: the shared-data topology.

use super::Effect::{Identity, Life};
use super::Fallback::{Derived, None as Nothing, Required, Value};
use super::Shape::{Duration, List, Table as Inner, Text, Texts, Truth, Word};
use super::{Table, key};

/// Who decides on a failover.
const FAILOVERS: &[&str] = &["by-hand", "automatic"];
/// The databases.
const ENGINES: &[&str] = &["mariadb", "mysql", "postgresql", "sqlite"];

/// `[stack]`.
pub(super) static STACK: Table = Table {
    title: "[stack]",
    means: "Only with topology = \"shared-data\". What the active node alone has: brought up in the order of docs/operating/shared-data.md, taken down in reverse.",
    keys: &[
        key(
            "failover",
            Word(FAILOVERS),
            Value("by-hand"),
            Life,
            "Who decides that the other node takes over: operators by `regent activate`, or the nodes themselves, which needs a witness.",
        ),
        key(
            "hostname",
            Text,
            Required,
            Life,
            "The host name of the active node: the one that the virtual IP has in DNS or /etc/hosts.",
        ),
        key(
            "data",
            Text,
            Required,
            Identity,
            "The shared directory: the same file system at the same path on each node.",
        ),
        key(
            "directories",
            Texts,
            Nothing("none"),
            Life,
            "Paths that are on the shared data: each becomes a symbolic link to DATA/PATH on the active node. Written ones take the place of a profile's.",
        ),
        key(
            "resolver",
            Truth,
            Value("false"),
            Life,
            "The active node asks the virtual IP first for names.",
        ),
        key(
            "isolation",
            Duration,
            Value("3s"),
            Life,
            "An active node whose right ended takes its stack down after this long.",
        ),
        key(
            "data-patience",
            Duration,
            Value("15s"),
            Life,
            "With failover = \"automatic\" the stack leaves a node for which the shared directory hangs or fails for this long, if another node sees it.",
        ),
        key(
            "settle",
            Duration,
            Value("5s"),
            Life,
            "How long beyond the watchdog's time a host may need to stop, before its expiry is taken as proof.",
        ),
        key(
            "mount",
            List(&MOUNT),
            Nothing("none: the shared data are mounted on both nodes"),
            Life,
            "A file system that is mounted on the active node only.",
        ),
        key("carry", Inner(&CARRY), Nothing("nothing is carried"), Life, "Files to carry along."),
        key(
            "install",
            Inner(&INSTALL),
            Nothing("the product is installed already"),
            Life,
            "The product's own installer.",
        ),
        key(
            "database",
            Inner(&ENGINE),
            Nothing("the database is not checked"),
            Life,
            "The database on the shared data; with profile xcat it must be said.",
        ),
    ],
};

static MOUNT: Table = Table {
    title: "[[stack.mount]]",
    means: "A file system that is mounted on the active node only, before everything else.",
    keys: &[
        key("source", Text, Required, Life, "What is mounted, as in mount(8)."),
        key("on", Text, Required, Life, "Where."),
        key("fstype", Text, Nothing("mount(8) finds out"), Life, "Its type."),
        key("options", Text, Nothing("none"), Life, "Its options, with commas between them."),
    ],
};

static CARRY: Table = Table {
    title: "[stack.carry]",
    means: "Files that must be the same on whichever node is active, and that cannot be links: copied from DATA/.regent/carry when a node becomes active, and back when it ceases to be.",
    keys: &[key(
        "files",
        Texts,
        Nothing("none"),
        Life,
        "Whole paths; the last component may be a pattern as in glob(7). Written ones take the place of a profile's.",
    )],
};

static INSTALL: Table = Table {
    title: "[stack.install]",
    means: "The product's installer: run once on each node, with host name, links and carried files in place.",
    keys: &[
        key("command", Texts, Required, Life, "The program and its arguments."),
        key("creates", Text, Required, Life, "It is installed on a node where this path exists."),
        key("within", Duration, Value("30min"), Life, "The longest it may take."),
    ],
};

static ENGINE: Table = Table {
    title: "[stack.database]",
    means: "The database on the shared data: an activation is refused if what is there is another one.",
    keys: &[
        key("kind", Word(ENGINES), Required, Identity, "Which database."),
        key(
            "version",
            Text,
            Derived(
                "15 for PostgreSQL on Debian, whose unit is called after it; else that of the installed server",
            ),
            Life,
            "The major version of its server, as \"15\".",
        ),
        key(
            "data",
            Text,
            Derived(
                "what the distribution has: /var/lib/mysql, /var/lib/postgresql/VERSION/main, /var/lib/pgsql/data",
            ),
            Life,
            "Its data directory as programs name it; it is in one of the directories.",
        ),
        key(
            "cfgloc",
            Text,
            Nothing("no file names the database"),
            Life,
            "xCAT's file that names the database, as programs name it; profile xcat has /etc/xcat/cfgloc.",
        ),
    ],
};
