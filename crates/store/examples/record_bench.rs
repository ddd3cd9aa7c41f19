//! The durable record measured: the two-slot file against redb, one after the other in turns, in
//! one directory and one run, so that both see the same disk and the same load.
//!
//! `cargo run -p regent-store --example record_bench -- DIRECTORY [WRITES]`

use redb::{Database, ReadableDatabase, TableDefinition};
use regent_store::cell::{ClusterId, NodeId, Record, Seat, Standing, VoterId, initial_records};
use regent_store::embedded::{Disk, Kept, RecordFile};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("record");

/// A State of a usual size.
const BYTES: usize = 3 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("which directory?")?);
    let writes: u64 = arguments.next().map_or(Ok(500), |count| count.parse())?;
    let (slots, tree) = (directory.join("bench-slots"), directory.join("bench-redb"));
    let measured = measure(&slots, &tree, writes);
    for path in [&slots, &tree] {
        std::fs::remove_file(path)?;
    }
    let (mut first, mut second, opened) = measured?;
    let (a, b) = (report("two slots", &mut first), report("redb", &mut second));
    println!("redb / two slots: median {:.2}, p99 {:.2}", ratio(b.0, a.0), ratio(b.1, a.1));
    println!("opened again: two slots {:?}, redb {:?}", opened.0, opened.1);
    Ok(())
}

type Measured = (Vec<Duration>, Vec<Duration>, (Duration, Duration));

fn measure(slots: &Path, tree: &Path, writes: u64) -> Result<Measured, Box<dyn Error>> {
    let (mut file, _) = RecordFile::open(slots)?;
    let database = Database::create(tree)?;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for version in 1..=writes {
        let kept = kept(version);
        let start = Instant::now();
        file.store(&kept)?;
        first.push(start.elapsed());

        // What a voter would put there: the same number of bytes, under one key.
        let bytes = bytes(&kept);
        let start = Instant::now();
        let transaction = database.begin_write()?;
        transaction.open_table(TABLE)?.insert(0, bytes)?;
        transaction.commit()?;
        second.push(start.elapsed());
    }
    drop(file);
    drop(database);

    let start = Instant::now();
    let (_, found) = RecordFile::open(slots)?;
    let slots_opened = start.elapsed();
    assert_eq!(found, kept(writes));
    let start = Instant::now();
    let database = Database::open(tree)?;
    let table = database.begin_read()?.open_table(TABLE)?;
    assert_eq!(table.get(0)?.map(|guard| guard.value().len()), Some(BYTES));
    Ok((first, second, (slots_opened, start.elapsed())))
}

fn kept(version: u64) -> Kept {
    let seat = |n: u16| Seat { voter: VoterId(u64::from(n)), node: NodeId(n) };
    let seats = [seat(1), seat(2), seat(3)];
    let (_, first) = initial_records(ClusterId(1), &seats, &[version as u8; BYTES]).remove(0);
    let value = regent_store::cell::Value { version, ..first.value.clone() };
    Kept { standing: Standing::Seated(Record { value, ..first }), high: version - 1 }
}

fn bytes(kept: &Kept) -> &[u8] {
    match &kept.standing {
        Standing::Seated(record) => &record.value.bytes,
        Standing::Vacant | Standing::Newcomer { .. } => &[],
    }
}

fn report(name: &str, durations: &mut [Duration]) -> (Duration, Duration) {
    durations.sort_unstable();
    let at = |share: usize| durations[(durations.len() - 1) * share / 100];
    println!("{name:10} median {:8.2?}  p99 {:8.2?}  most {:8.2?}", at(50), at(99), at(100));
    (at(50), at(99))
}

fn ratio(of: Duration, to: Duration) -> f64 {
    of.as_secs_f64() / to.as_secs_f64()
}
