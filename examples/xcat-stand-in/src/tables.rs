//! The tables, as far as a move touches them, under the names that xCAT has for them. The first column is the key.

/// Every table with its columns.
pub const ALL: [(&str, &[&str]); 8] = [
    ("site", &["key", "value", "comments", "disable"]),
    ("nodelist", &["node", "groups", "status", "comments", "disable"]),
    ("hosts", &["node", "ip", "hostnames", "comments", "disable"]),
    ("mac", &["node", "interface", "mac", "comments", "disable"]),
    ("nodehm", &["node", "mgt", "cons", "comments", "disable"]),
    (
        "networks",
        &[
            "netname",
            "net",
            "mask",
            "gateway",
            "dhcpserver",
            "tftpserver",
            "dynamicrange",
            "comments",
            "disable",
        ],
    ),
    ("passwd", &["key", "username", "password", "comments", "disable"]),
    ("eventlog", &["recid", "eventtime", "node", "message", "comments", "disable"]),
];

/// The columns of a table.
pub fn columns(table: &str) -> Result<&'static [&'static str], String> {
    let found = ALL.iter().find(|(name, _)| *name == table);
    found.map(|(_, columns)| *columns).ok_or_else(|| format!("no table {table}"))
}
