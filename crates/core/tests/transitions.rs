//! The table of legal edges, dumped: a change of it shows in review. `BLESS=1` accepts a new dump.

use regent_core::role::Role;
use regent_core::transition::{TRANSITIONS, find, promise};
use std::fmt::Write as _;

const ROLES: [Role; 8] = [
    Role::Standby,
    Role::Activating,
    Role::Active,
    Role::Deactivating,
    Role::Isolated,
    Role::Failed,
    Role::Maintenance,
    Role::Stopped,
];

#[test]
fn the_table_is_what_was_reviewed() {
    let mut dump = String::new();
    for role in ROLES {
        writeln!(dump, "{role}: {}", promise(role)).expect("a string takes all");
        for edge in TRANSITIONS.iter().filter(|edge| edge.from == role) {
            writeln!(dump, "  {} -> {}", edge.id, edge.to).expect("a string takes all");
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fsm_dump.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &dump).expect("the dump can be written");
    }
    let golden = std::fs::read_to_string(path).expect("tests/fsm_dump.txt exists");
    assert_eq!(dump, golden, "the table changed: read it, then bless it");
}

#[test]
fn edges_are_named_once_and_lead_somewhere_else() {
    for edge in TRANSITIONS {
        assert_ne!(edge.from, edge.to, "{}", edge.id);
        assert_eq!(find(edge.from, edge.to).map(|found| found.id), Some(edge.id));
    }
    assert!(TRANSITIONS.is_sorted_by(|one, next| one.id < next.id), "numbers are not used again");
    assert!(
        find(Role::Maintenance, Role::Active).is_none(),
        "what an operator took out serves nobody"
    );
}
