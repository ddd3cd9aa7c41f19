//! The processes of this one binary, by the names that operators look for: `ps`, `pidof`, `pgrep`, `systemctl status`.
//!
//! A process of Regent runs what its parent runs, whatever an upgrade put in the place of the binary: it is started
//! from `/proc/self/exe`. The kernel names a process after the last part of that path, so each one takes its name
//! itself.

use std::ffi::{CStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What a process of this binary is called, comm(5) of /proc and the first word of its command line.
const NAME: &CStr = c"regent";

/// The name of this process, before it starts a thread: threads inherit it.
pub(crate) fn take_name() {
    // A process without its name works as well.
    rustix::thread::set_name(NAME).ok();
}

/// A command that runs the binary of this process.
pub(crate) fn own_binary() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("regent");
    command
}

/// Begins again as `regent agent (NODE)`, unless the command line says so already. Whoever calls it has opened nothing.
pub(crate) fn show(node: &str) -> std::io::Result<()> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match shown(&args, node) {
        Some(args) => Err(own_binary().args(args).exec()),
        None => Ok(()),
    }
}

/// The arguments with the node's name behind the subcommand; none if it stands there.
fn shown(args: &[OsString], node: &str) -> Option<Vec<OsString>> {
    let (subcommand, rest) = args.split_first()?;
    let name = OsString::from(format!("({node})"));
    let rest = match rest.split_first() {
        Some((first, _)) if *first == name => return None,
        // The node was given another name.
        Some((first, rest)) if first.as_encoded_bytes().starts_with(b"(") => rest,
        Some(_) | None => rest,
    };
    Some([&[subcommand.clone(), name], rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_command_line_says_which_node_it_is_once() {
        assert_eq!(shown(&args("agent"), "mn1"), Some(args("agent (mn1)")));
        assert_eq!(shown(&args("agent (mn1)"), "mn1"), None);
        assert_eq!(shown(&args("witness --config x"), "w1"), Some(args("witness (w1) --config x")));
        assert_eq!(shown(&args("witness (w1) --config x"), "w1"), None);
        assert_eq!(shown(&args("agent (mn1) -c x"), "mn2"), Some(args("agent (mn2) -c x")));
        assert_eq!(shown(&[], "mn1"), None);
    }
}
