//! The lab: real daemons on hosts of their own, seen from outside only.
//!
//! A host is a systemd-nspawn machine with its own network namespace and its own disk (an overlay
//! over one Debian image); hosts meet on a bridge in a namespace of the lab's, so nothing here
//! touches the network of the machine it runs on. The lab knows built binaries and the command
//! line, never the product's crates.
//!
//! ```text
//!   client ns ──┐                 ┌── mn1  systemd, MariaDB, nginx, regent agent
//!               ├── bridge ns ────┼── mn2  the same
//!   capture ────┘  (every frame)  └── w1   systemd, regent witness
//! ```
//!
//! How to read it: `image` makes the disk, `lab` and `host` make and break machines, `cluster`
//! installs and configures the product, `client`, `direct` and `capture` measure in processes of
//! their own, `record` gathers what they say, `gap` and `dual` turn it into figures, `impair` makes
//! the network bad, `fault` and `demo` tell the story, `cases` holds the tests.

pub mod against;
pub mod bench;
pub mod bmc;
pub mod capture;
pub mod cases;
pub mod client;
pub mod cluster;
pub mod demo;
pub mod diagnose;
pub mod direct;
pub mod dirs;
pub mod dual;
pub mod fault;
pub mod gap;
pub mod history;
pub mod host;
pub mod image;
pub mod impair;
pub mod lab;
pub mod matrix;
pub mod names;
pub mod passage;
pub mod record;
pub mod run;
pub mod say;
pub mod seen;
pub mod service;
pub mod shared;
pub mod soak;
pub mod standstill;
pub mod status;
pub mod sweep;
pub mod watch;
pub mod wire;
pub mod xcat;
