//! The runs of this node: by them an agent tells its own earlier proposals from those of somebody else who
//! claims to be this node (C6).

use crate::durable;
use regent_core::id::{NodeId, RunId};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// How many runs are kept. A proposal of a run so long ago is in no register and on no wire any more; the bound
/// only keeps the file small for an agent that was restarted again and again.
const RUNS_MAX: usize = 4096;

#[derive(Serialize, Deserialize)]
struct File {
    node: u16,
    runs: Vec<String>,
}

/// Adds this run to the list, synced, and returns the whole list: to be called before the run's first proposal (C6).
pub fn add(path: &Path, node: NodeId, run: RunId) -> io::Result<Vec<RunId>> {
    let mut runs = read(path, node)?;
    runs.push(run);
    if runs.len() > RUNS_MAX {
        runs.drain(..runs.len() - RUNS_MAX);
    }
    let file = File { node: node.0, runs: runs.iter().map(|r| r.to_string()).collect() };
    durable::write(path, &serde_json::to_vec(&file)?)?;
    Ok(runs)
}

fn read(path: &Path, node: NodeId) -> io::Result<Vec<RunId>> {
    let Some(text) = durable::read(path)? else { return Ok(Vec::new()) };
    let file: File = serde_json::from_str(&text)?;
    if file.node != node.0 {
        let text = format!(
            "{} is of node {}, this is {node}: the state directory was copied",
            path.display(),
            file.node
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let run = |text: &String| u64::from_str_radix(text, 16).map(RunId);
    file.runs.iter().map(run).collect::<Result<_, _>>().map_err(|e| {
        let text = format!("{} has a run that is no number: {e}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn every_run_is_remembered_in_order() {
        let dir = Scratch::new("runs");
        let path = dir.path().join("runs.json");
        add(&path, NodeId(1), RunId(u64::MAX)).unwrap();
        assert_eq!(add(&path, NodeId(1), RunId(7)).unwrap(), [RunId(u64::MAX), RunId(7)]);
    }

    #[test]
    fn a_copied_state_directory_is_refused() {
        let dir = Scratch::new("runs-copied");
        let path = dir.path().join("runs.json");
        add(&path, NodeId(1), RunId(1)).unwrap();
        let error = add(&path, NodeId(2), RunId(2)).unwrap_err().to_string();
        assert!(error.contains("was copied"), "{error}");
    }

    #[test]
    fn the_list_is_bounded_and_keeps_the_newest() {
        let dir = Scratch::new("runs-bound");
        let path = dir.path().join("runs.json");
        let text: Vec<String> = (0..RUNS_MAX as u64).map(|n| RunId(n).to_string()).collect();
        let file = File { node: 1, runs: text };
        std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
        let runs = add(&path, NodeId(1), RunId(99_999)).unwrap();
        assert_eq!((runs.len(), runs[0], runs.last()), (RUNS_MAX, RunId(1), Some(&RunId(99_999))));
    }
}
