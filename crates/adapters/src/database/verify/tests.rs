//! The copies of a real pair: equal while they are written, and different in one thing each.

mod lab;

use super::look::{Look, Page, Seen, Span};
use super::read::Fault;
use super::{Finding, Verdict, last, read, shape, text};
use crate::database::peer::PeerRequest;
use crate::database::sql::Client;
use crate::testing::until;
use lab::{Direct, OURS, PATIENCE, Pair, THEIRS, Writer, block, pair, root, told};
use regent_core::id::Incarnation;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// A table of so many rows.
fn fill(pair: &Pair, table: &str, rows: u32) {
    pair.active.sql(&format!(
        "CREATE TABLE app.{table} (a INT PRIMARY KEY, b VARCHAR(200), c INT NOT NULL DEFAULT 0); \
         INSERT INTO app.{table} (a, b) SELECT seq, REPEAT(seq, 20) FROM app.seq_1_to_{rows}"
    ));
}

/// Equal, and everything was compared.
fn assert_equal(verdict: &Verdict) {
    assert_eq!(told(verdict), Vec::<String>::new());
    assert_eq!(verdict.finding, Finding::Equal);
    assert_eq!(verdict.not_compared, []);
}

#[test]
fn a_pair_is_equal_while_it_is_written() {
    let Some(pair) = pair() else { return };
    fill(&pair, "wide", 30_000);
    pair.active.sql(
        "USE app; CREATE TABLE hot (a INT PRIMARY KEY, n BIGINT, flag BIT); INSERT INTO hot VALUES (1,0,0),(2,0,0); \
         CREATE TABLE log (a BIGINT AUTO_INCREMENT PRIMARY KEY, b TEXT); \
         CREATE TABLE counters (a INT PRIMARY KEY, n INT); \
         INSERT INTO counters SELECT seq, 0 FROM seq_1_to_20",
    );
    let writers = [
        Writer::start(&pair, |n| {
            format!(
                "UPDATE app.hot SET n=n+1 WHERE a=1; UPDATE app.hot SET flag={} WHERE a=2",
                n % 2
            )
        }),
        Writer::start(&pair, |n| {
            format!("INSERT INTO app.log (b) VALUES (REPEAT('x', {}))", n % 50)
        }),
        Writer::start(&pair, |n| {
            format!("UPDATE app.wide SET c=c+1 WHERE a={}", 1 + n.wrapping_mul(7919) % 30_000)
        }),
        Writer::start(&pair, |n| format!("UPDATE app.counters SET n=n+1 WHERE a={}", 1 + n % 20)),
    ];
    for _ in 0..3 {
        let before = writers.each_ref().map(Writer::written);
        let verdict = pair.verify().expect("compared");
        assert_equal(&verdict);
        assert!(verdict.progress.rows >= 30_022, "{verdict:?}");
        let after = writers.each_ref().map(Writer::written);
        assert!(before.iter().zip(&after).all(|(b, a)| a > b), "{before:?} {after:?}");
    }
    let kept = last(&pair.active.settings.state_dir).expect("kept");
    assert!(kept.current.is_none() && kept.last.is_some_and(|run| run.ended.is_some()));
    drop(writers);
    let unconfirmed = "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_no_tx'";
    assert!(pair.active.sql(unconfirmed).ends_with("\t0"), "no wait for the standby was ended");
}

#[test]
fn a_comparison_leaves_no_trace() {
    let Some(pair) = pair() else { return };
    fill(&pair, "t", 3_000);
    pair.active.sql("CREATE TABLE app.bare (a INT); INSERT INTO app.bare VALUES (1),(1),(NULL)");
    pair.catch_up();
    let ends = || {
        let state = "SELECT @@gtid_binlog_state, @@gtid_slave_pos";
        [pair.active.sql(state), pair.standby.sql(state)]
    };
    let before = ends();
    assert_equal(&pair.verify().expect("compared"));
    assert_eq!(ends(), before);
}

#[test]
fn every_difference_is_named_while_others_write() {
    let Some(pair) = pair() else { return };
    fill(&pair, "hot", 3_000);
    pair.active.sql(
        "USE app; \
         CREATE TABLE changed (a INT, b VARCHAR(10) COLLATE utf8mb4_general_ci, c DECIMAL(8,2), v TEXT, \
           PRIMARY KEY (a, b, c)); \
         INSERT INTO changed SELECT seq DIV 10, CONCAT('K', seq MOD 10), -seq/4, 'v' FROM seq_1_to_5000; \
         CREATE TABLE missing (d DATETIME(3) PRIMARY KEY, v INT); \
         INSERT INTO missing SELECT '2020-01-01' + INTERVAL seq SECOND, 1 FROM seq_1_to_2500; \
         CREATE TABLE extra (u BINARY(2) PRIMARY KEY); INSERT INTO extra VALUES (x'0000'), (x'00FF'); \
         CREATE TABLE nulls (a INT PRIMARY KEY, b VARCHAR(5), c VARCHAR(5)); \
         INSERT INTO nulls VALUES (1, NULL, 'x'), (2, '12', '3'), (3, 'a', 'b'); \
         CREATE TABLE spaces (k VARCHAR(10) CHARSET utf8mb4 PRIMARY KEY); INSERT INTO spaces VALUES ('b'), ('Ab'); \
         CREATE TABLE bare (a INT, b TEXT); INSERT INTO bare VALUES (1,'x'),(1,'x'),(2,NULL); \
         CREATE TABLE twice (a INT); INSERT INTO twice VALUES (1),(1),(2),(2); \
         CREATE TABLE kept (a INT PRIMARY KEY, b INT DEFAULT 1); CREATE TABLE lost (a INT PRIMARY KEY); \
         CREATE VIEW look AS SELECT a FROM kept; \
         CREATE TRIGGER stamp BEFORE INSERT ON kept FOR EACH ROW SET NEW.b=2; \
         CREATE FUNCTION two() RETURNS INT DETERMINISTIC RETURN 2; \
         CREATE USER site@'%' IDENTIFIED BY 'x'; GRANT SELECT ON app.* TO site@'%'; CREATE DATABASE gone",
    );
    pair.catch_up();
    assert_equal(&pair.verify().expect("compared"));
    pair.standby.alone(
        "USE app; \
         UPDATE changed SET v='w' WHERE a=123 AND b='K4'; \
         DELETE FROM missing WHERE d='2020-01-01 00:20:00'; \
         INSERT INTO extra VALUES (x'00FE'); \
         UPDATE nulls SET b='' WHERE a=1; UPDATE nulls SET b='1', c='23' WHERE a=2; \
         UPDATE spaces SET k='b ' WHERE k='b'; UPDATE spaces SET k='aB' WHERE k='Ab'; \
         DELETE FROM bare WHERE a=2; INSERT INTO bare VALUES (2, ''); \
         DELETE FROM twice; INSERT INTO twice VALUES (1),(1),(1),(1); \
         ALTER TABLE kept ALTER b SET DEFAULT 3; DROP TABLE lost; CREATE TABLE more (a INT); \
         CREATE OR REPLACE VIEW look AS SELECT b FROM kept; DROP TRIGGER stamp; \
         DROP FUNCTION two; CREATE FUNCTION two() RETURNS INT DETERMINISTIC RETURN 3; \
         ALTER USER site@'%' IDENTIFIED BY 'y'; REVOKE SELECT ON app.* FROM site@'%'; \
         DROP DATABASE gone; CREATE DATABASE new; CREATE USER regent_other@'%'",
    );
    let _writer =
        Writer::start(&pair, |n| format!("UPDATE app.hot SET c=c+1 WHERE a={}", 1 + n % 3_000));
    let verdict = pair.verify().expect("compared");
    let mut told = told(&verdict);
    told.sort();
    let mut wanted = [
        "the database gone is on the active only",
        "the database new is on the standby only",
        "app.stamp is on the active only",
        "app.lost is on the active only",
        "app.more is on the standby only",
        "app.kept is defined otherwise on the standby",
        "app.look is defined otherwise on the standby",
        "app.changed: differing (a=123, b='K4', c=-308.50)",
        "app.missing: on the active only (d='2020-01-01 00:20:00.000')",
        "app.extra: on the standby only (u=x'00FE')",
        "app.nulls: differing (a=1), (a=2)",
        "app.spaces: on the active only (k='Ab'), (k='b'); on the standby only (k='aB'), (k='b ')",
        "app.bare has other rows on the standby",
        "app.twice has other rows on the standby",
        "mysql.proc: differing (db='app', name='two', type=1)",
        "mysql.global_priv: differing (Host='%', User='site')",
        "mysql.db: on the active only (Host='%', Db='app', User='site')",
    ];
    wanted.sort_unstable();
    assert_eq!(told, wanted);
    assert_eq!((verdict.not_compared, verdict.cut), (Vec::new(), false));
}

#[test]
fn a_row_that_never_stands_still_is_locked_for_a_moment() {
    let Some(pair) = pair() else { return };
    pair.active.sql(
        "CREATE TABLE app.t (a INT PRIMARY KEY, n BIGINT); INSERT INTO app.t VALUES (1,0),(2,0)",
    );
    pair.catch_up();
    let writer = Writer::start(&pair, |_| "UPDATE app.t SET n=n+1 WHERE a=1".into());
    let stirred = |dumb| {
        let peer = Direct::to(&pair);
        peer.stir.replace(Some("UPDATE app.t SET n=n+1 WHERE a=1".into()));
        peer.dumb.set(dumb);
        let verdict = block(pair.run(&peer, |_| ())).expect("compared");
        assert!(peer.locked.get() > 0);
        verdict
    };
    assert_equal(&stirred(false));
    // What stands still beside it differs.
    pair.standby.alone("UPDATE app.t SET n=7 WHERE a=2");
    assert_eq!(told(&stirred(false)), ["app.t: differing (a=2)"]);
    pair.standby.alone("UPDATE app.t SET n=0 WHERE a=2");
    // Nobody answers under a lock: it is given up, and what is not known is told.
    let verdict = stirred(true);
    assert_eq!(told(&verdict), Vec::<String>::new());
    let untold: Vec<_> =
        verdict.not_compared.iter().map(|n| (n.table.as_str(), n.rows.as_deref())).collect();
    assert_eq!(untold, [("t", Some("a=1"))]);
    assert!(writer.longest() < 2_000, "a write took {} ms", writer.longest());
}

#[test]
fn many_differences_end_the_run_early() {
    let Some(pair) = pair() else { return };
    for n in 0..6 {
        fill(&pair, &format!("t{n}"), 2_000);
    }
    pair.catch_up();
    for n in 0..6 {
        pair.standby.alone(&format!(
            "DELETE FROM app.t{n} WHERE a MOD 2=0; \
             INSERT INTO app.t{n} (a) SELECT seq FROM app.seq_3001_to_4000"
        ));
    }
    let verdict = pair.verify().expect("compared");
    let told = told(&verdict);
    assert!(verdict.cut && told.len() == 20, "{told:#?}");
    let of = |n: usize| told.iter().filter(|told| told.starts_with(&format!("app.t{n}:"))).count();
    assert_eq!([0, 1, 2, 3, 4].map(of), [5, 5, 5, 5, 0]);
    assert_eq!(told[0], "app.t0: on the active only (a=2), (a=4), (a=6)");
}

#[test]
fn a_run_that_was_dropped_goes_on_from_its_place() {
    let Some(pair) = pair() else { return };
    fill(&pair, "t", 60_000);
    pair.catch_up();
    let state_dir = &pair.active.settings.state_dir;
    assert_equal(&pair.verify().expect("compared"));
    let before = last(state_dir).and_then(|kept| kept.last).expect("kept");

    let place = || last(state_dir).and_then(|kept| kept.current).and_then(|run| run.place.after);
    let cut = async {
        let peer = Direct::to(&pair);
        peer.before_each(|_| {
            std::thread::sleep(Duration::from_millis(300));
            None
        });
        let run = pair.run(&peer, |_| ());
        let cut = async {
            while place().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            ended = run => panic!("it ended: {ended:?}"),
            () = cut => (),
        }
    };
    block(async { tokio::time::timeout(PATIENCE, cut).await }).expect("a place in time");
    let from = place().expect("a place");
    let kept = last(state_dir).expect("kept");
    assert_eq!(kept.last.as_ref(), Some(&before), "the last result is still there");
    let of_ours = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER='root' AND COMMAND<>'Daemon'";
    until("its connection gone", PATIENCE, || pair.active.sql(of_ours) == "1");

    let seen = Rc::new(Cell::new(None));
    let peer = Direct::to(&pair);
    let first = Rc::clone(&seen);
    peer.before_each(move |request| {
        if let PeerRequest::Checksum { chunk: Look::Sum(part), .. } = request
            && part.table == "t"
            && let Span::Between { after, .. } = &part.span
        {
            let known = first.take();
            first.set(known.or(Some(after.clone())));
        }
        None
    });
    let verdict = block(pair.run(&peer, |_| ())).expect("compared");
    assert_eq!(seen.take(), Some(Some(from)));
    assert_equal(&verdict);
    assert!(verdict.progress.rows >= 60_000, "{verdict:?}");
    assert!(last(state_dir).is_some_and(|kept| kept.current.is_none()));
}

#[test]
fn a_standby_that_does_not_answer_stops_it_and_says_so() {
    let Some(pair) = pair() else { return };
    fill(&pair, "t", 10);
    pair.catch_up();
    let current = || last(&pair.active.settings.state_dir).and_then(|kept| kept.current);
    let peer = Direct::to(&pair);
    peer.before_each(|_| Some("no link to that node".into()));
    let fault = block(pair.run(&peer, |_| ())).expect_err("not reached");
    assert_eq!(fault, "the standby is not reached: no link to that node");
    assert_eq!(current().and_then(|run| run.stopped), Some(fault));

    let settings = &pair.active.settings;
    let verify = |ours, theirs| {
        let peer = Direct::to(&pair);
        let pace = super::Pace { duty: 100, patience: Duration::from_secs(1) };
        block(super::verify(
            settings,
            &peer,
            regent_core::id::NodeId(2),
            ours,
            theirs,
            pace,
            |_| (),
        ))
    };
    let fault = verify(OURS, Incarnation(5)).expect_err("refused");
    assert!(fault.contains("the standby does not answer: the data here are"), "{fault}");
    let fault = verify(Incarnation(5), THEIRS).expect_err("refused");
    assert!(fault.starts_with("the data here are"), "{fault}");

    pair.standby.sql("STOP SLAVE SQL_THREAD");
    pair.active.sql("INSERT INTO app.t (a) VALUES (100)");
    let fault = verify(OURS, THEIRS).expect_err("late");
    assert!(fault.starts_with("the standby has not applied what was logged here"), "{fault}");
    pair.standby.sql("START SLAVE SQL_THREAD");
    assert_equal(&verify(OURS, THEIRS).expect("compared"));
}

#[test]
fn a_commit_that_waits_for_a_lost_word_is_no_difference() {
    let Some(pair) = pair() else { return };
    fill(&pair, "t", 10);
    pair.catch_up();
    // Received and applied there, and never confirmed.
    let receiver = |confirms: &str| {
        pair.standby.sql(&format!(
            "STOP SLAVE IO_THREAD; SET GLOBAL rpl_semi_sync_slave_enabled={confirms}; START SLAVE IO_THREAD"
        ));
    };
    receiver("OFF");
    let socket = pair.active.settings.socket.clone();
    let waits = std::thread::spawn(move || {
        block(async {
            let mut client = root(&socket).await;
            client.query("UPDATE app.t SET c=7 WHERE a=3", PATIENCE).await.expect("written");
        });
    });
    until("it is there", PATIENCE, || pair.standby.sql("SELECT c FROM app.t WHERE a=3") == "7");
    assert_eq!(pair.active.sql("SELECT c FROM app.t WHERE a=3"), "0");
    let fault = pair.verify().expect_err("not known");
    assert!(fault.contains("a commit on the active waits for the standby"), "{fault}");
    receiver("ON");
    pair.active.sql("INSERT INTO app.t (a) VALUES (100)");
    waits.join().expect("acknowledged");
    assert_equal(&pair.verify().expect("compared"));
}

#[test]
fn a_definition_that_changes_meanwhile_begins_the_table_anew() {
    let Some(pair) = pair() else { return };
    for table in ["altered", "dropped", "last"] {
        fill(&pair, table, 3_000);
    }
    pair.catch_up();
    let peer = Direct::to(&pair);
    let mut todo = vec![
        ("dropped", "DROP TABLE app.dropped"),
        ("altered", "ALTER TABLE app.altered ADD COLUMN d INT DEFAULT 4, DROP COLUMN b"),
    ];
    let socket = pair.active.settings.socket.clone();
    peer.before_each(move |request| {
        if let PeerRequest::Checksum { chunk: Look::Sum(part), .. } = request
            && todo.last().is_some_and(|(table, _)| *table == part.table)
            && let Some((_, statement)) = todo.pop()
        {
            let socket = socket.clone();
            let change = async move {
                let mut client = root(&socket).await;
                client.query(statement, PATIENCE).await.expect("changed");
            };
            std::thread::spawn(|| block(change)).join().expect("changed");
        }
        None
    });
    let verdict = block(pair.run(&peer, |_| ())).expect("compared");
    assert_equal(&verdict);
    assert_eq!(pair.active.sql("SHOW TABLES FROM app"), "altered\nlast");
}

/// Keys of every kind, and what is like them and not the same.
const KEYED: [(&str, &str, &str); 14] = [
    (
        "numbers",
        "a BIGINT UNSIGNED, PRIMARY KEY (a)",
        "SELECT seq * 184467440737095516 FROM app.seq_0_to_99",
    ),
    (
        "decimals",
        "a DECIMAL(12,4), PRIMARY KEY (a)",
        "SELECT (CAST(seq AS SIGNED) - 50) / 7 FROM app.seq_1_to_100",
    ),
    (
        "reals",
        "a DOUBLE, b FLOAT, PRIMARY KEY (a, b)",
        "SELECT (seq DIV 10) / 3e5, (CAST(seq AS SIGNED) - 50) / 7e0 FROM app.seq_1_to_100",
    ),
    ("bits", "a BIT(9), PRIMARY KEY (a)", "SELECT seq * 5 FROM app.seq_1_to_100"),
    (
        "moments",
        "a DATE, b TIME(2), c TIMESTAMP(6), d YEAR, PRIMARY KEY (a, b, c, d)",
        "SELECT '2020-02-28' + INTERVAL seq DIV 30 DAY, SEC_TO_TIME((CAST(seq AS SIGNED) - 50) DIV 10 * 1000.5), \
         '2024-10-27 00:30:00' + INTERVAL seq * 1000001 MICROSECOND, 2000 + seq MOD 3 FROM app.seq_1_to_100",
    ),
    (
        "zeroes",
        "a DATETIME, b INT ZEROFILL, PRIMARY KEY (a, b)",
        "SELECT IF(seq MOD 2, '0000-00-00', '2020-01-01'), seq FROM app.seq_1_to_100",
    ),
    (
        "folded",
        "a VARCHAR(20) CHARSET utf8mb4 COLLATE utf8mb4_unicode_ci, PRIMARY KEY (a)",
        "SELECT CONCAT(ELT(1 + seq MOD 4, 'a', 'B', 'é', '😀'), seq, REPEAT(' ', seq MOD 3)) FROM app.seq_1_to_100",
    ),
    (
        "latin",
        "a CHAR(20) CHARSET latin1 COLLATE latin1_german1_ci, PRIMARY KEY (a)",
        "SELECT CONCAT(ELT(1 + seq MOD 4, 'ß', 'B', 'é', 'Z'), seq) FROM app.seq_1_to_100",
    ),
    (
        "wide",
        "a VARCHAR(20) CHARSET ucs2 COLLATE ucs2_nopad_bin, PRIMARY KEY (a)",
        "SELECT CONCAT('x', REPEAT(' ', seq)) FROM app.seq_1_to_19",
    ),
    (
        "bytes",
        "a VARBINARY(9), b BINARY(3), PRIMARY KEY (a, b)",
        "SELECT REPEAT(CHAR(seq MOD 3 USING binary), seq DIV 30), CHAR(seq USING binary) FROM app.seq_1_to_200",
    ),
    (
        "labels",
        "a INT, b ENUM('z','y','x'), c SET('q','p'), PRIMARY KEY (a, b, c)",
        "SELECT seq DIV 12, 1 + seq DIV 4 MOD 3, seq MOD 4 FROM app.seq_1_to_100",
    ),
    (
        "plain",
        "a INET6, b UUID, PRIMARY KEY (a, b)",
        "SELECT CONCAT('fe80::', HEX(seq DIV 10)), UUID() FROM app.seq_1_to_100",
    ),
    (
        "unique",
        "x VARCHAR(9), a INT NOT NULL, b VARCHAR(9) NOT NULL, UNIQUE KEY u (x), UNIQUE KEY v (a, b)",
        "SELECT NULL, seq DIV 10, CHAR(65 + seq MOD 10) FROM app.seq_1_to_100",
    ),
    (
        "parted",
        "a INT, b INT, PRIMARY KEY (a, b)",
        "SELECT seq DIV 40, seq MOD 40 FROM app.seq_1_to_300",
    ),
];

#[test]
fn a_row_is_in_one_part_whatever_its_key() {
    let Some(pair) = pair() else { return };
    for (table, columns, rows) in KEYED {
        let parts = if table == "parted" { "PARTITION BY HASH (a) PARTITIONS 3" } else { "" };
        pair.active.sql(&format!(
            "SET sql_mode='', time_zone='+01:00'; \
             CREATE TABLE app.{table} ({columns}) {parts}; INSERT INTO app.{table} {rows}"
        ));
    }
    let walked = async {
        let mut client = read::connect(&pair.active.settings).await.expect("connected");
        for (table, ..) in KEYED {
            let found = shape::read(&mut client, "app", table).await.expect("read");
            let part = found.expect("a table").part;
            let index = part.index.as_ref().unwrap_or_else(|| panic!("{table} has a key"));
            let (mut keys, mut rows, mut after) = (BTreeSet::new(), 0, None);
            loop {
                let rest = part.of(Span::Between { after: after.clone(), upto: None });
                let boundary = text::boundary(&rest, 7).expect("text");
                let explained =
                    client.one(&format!("EXPLAIN {boundary}"), PATIENCE).await.expect("plan");
                let plan = explained.columns(["type", "Extra"]).next().expect("a plan");
                let wanted = if after.is_some() { "range" } else { "index" };
                assert!(plan[0] == wanted && !plan[1].contains("filesort"), "{table}: {plan:?}");
                let found = client.one(&boundary, PATIENCE).await.expect("a boundary");
                let upto = found
                    .each()
                    .next()
                    .map(|row| row.iter().cloned().map(|v| v.expect("a value")).collect());
                let some = part.of(Span::Between { after, upto: upto.clone() });
                let listed = read::look(&mut client, &Look::Rows(some.clone()))
                    .await
                    .expect("listed")
                    .list();
                let Seen::Sum(sum) =
                    read::look(&mut client, &Look::Sum(some)).await.expect("added up")
                else {
                    panic!("no sum")
                };
                assert_eq!((sum.rows, listed.more), (listed.things.len() as u64, false), "{table}");
                for (key, digest) in listed.things {
                    let one = Look::Rows(part.of(Span::Row(key.clone())));
                    let one = read::look(&mut client, &one).await.expect("listed").list();
                    assert_eq!(one.things, [(key.clone(), digest)], "{table}");
                    assert!(keys.insert(index.show(&key)), "{table}: {key:?} twice");
                }
                rows += sum.rows;
                after = upto;
                if after.is_none() {
                    break;
                }
            }
            let count = client
                .one(&format!("SELECT COUNT(*) FROM app.{table}"), PATIENCE)
                .await
                .expect("counted");
            assert_eq!(count.scalar(), Some(rows.to_string().as_str()), "{table}");
            assert_eq!(keys.len() as u64, rows, "{table}");
        }
    };
    block(walked);
    pair.catch_up();
    let verdict = pair.verify().expect("compared");
    assert_equal(&verdict);
}

#[test]
fn sums_tell_what_is_alike_apart() {
    let Some(pair) = pair() else { return };
    let rows = [
        "(NULL, '', 1.5, NULL)",
        "('', NULL, 1.5, NULL)",
        "('', '', 1.5, NULL)",
        "('N', '', 1.5, NULL)",
        "('1', '23', 1.5, NULL)",
        "('12', '3', 1.5, NULL)",
        "('a ', 'b', 1.5, NULL)",
        "('a', ' b', 1.5, NULL)",
        "('a', 'b', 1.5, NULL)",
        "('A', 'b', 1.5, NULL)",
        "('a', 'b', 1.5, '')",
        "('a', 'b', NULL, 'N')",
        "('a', 'b', 1.5000001, NULL)",
        "('a', 'b', 1.5, POINT(1,2))",
        "('a', 'b', 1.5, POINT(2,1))",
        "('a', 'b', 1.5, NULL), ('a', 'b', 1.5, NULL)",
        "('a', 'b', 1.5, NULL), ('a', 'b', 1.5, NULL), ('a', 'b', 1.5, NULL)",
        "('x', 'b', 1.5, NULL), ('x', 'b', 1.5, NULL)",
    ];
    let looked = async {
        let mut client = read::connect(&pair.active.settings).await.expect("connected");
        client.query("CREATE TABLE app.t (a VARCHAR(9), b TEXT, c FLOAT, d LONGBLOB, e INT AS (1) VIRTUAL)", PATIENCE)
            .await
            .expect("made");
        let part = shape::read(&mut client, "app", "t").await.expect("read").expect("a table").part;
        assert!(part.index.is_none() && part.columns.len() == 4);
        let mut sums = BTreeSet::new();
        for row in rows {
            let fill = format!("DELETE FROM app.t; INSERT INTO app.t (a,b,c,d) VALUES {row}");
            client.query(&fill, PATIENCE).await.expect("filled");
            let sum = read::look(&mut client, &Look::Sum(part.clone())).await.expect("added up");
            assert!(sums.insert(sum.list().things), "{row}");
        }
    };
    block(looked);
}

#[test]
fn what_cannot_be_compared_is_told() {
    let Some(pair) = pair() else { return };
    pair.active.sql(
        "USE app; CREATE TABLE big (a INT, b INT); INSERT INTO big SELECT seq, seq FROM seq_1_to_40000; \
         CREATE TABLE small (a INT) ENGINE=MyISAM; INSERT INTO small VALUES (1),(2); \
         CREATE TABLE united (a INT) ENGINE=MERGE UNION=(small); \
         CREATE TABLE other (a INT PRIMARY KEY) ENGINE=Aria; INSERT INTO other VALUES (1),(2); \
         CREATE SEQUENCE numbers; SELECT NEXTVAL(numbers); ANALYZE TABLE big",
    );
    pair.catch_up();
    let verdict = pair.verify().expect("compared");
    assert_eq!(told(&verdict), Vec::<String>::new());
    let untold: Vec<_> = verdict
        .not_compared
        .iter()
        .map(|n| format!("{}.{}: {}", n.schema, n.table, n.why))
        .collect();
    assert!(
        untold.len() == 2 && untold[0].starts_with("app.big: it has no key of its rows, and about"),
        "{untold:?}"
    );
    assert!(untold[1].contains("app.united") && untold[1].contains("MRG_MyISAM"), "{untold:?}");
}

#[test]
fn an_account_that_does_not_see_all_is_refused() {
    let Some(pair) = pair() else { return };
    pair.active.alone(
        "CREATE TABLE app.t (a INT); CREATE VIEW app.v AS SELECT a FROM app.t; \
         CREATE TRIGGER app.g BEFORE INSERT ON app.t FOR EACH ROW SET NEW.a=1; \
         CREATE USER some@localhost IDENTIFIED BY 'x'; GRANT SELECT, SHOW VIEW ON *.* TO some@localhost",
    );
    let page = || Page { schema: "app".into(), after: None, upto: None };
    let view = || Look::Definition { schema: "app".into(), name: "v".into() };
    let look = |what: Look| {
        block(async {
            let stream = tokio::net::UnixStream::connect(&pair.active.settings.socket).await;
            let login = Client::login(stream.expect("connected"), "some", "x").await;
            read::look(&mut login.expect("signed in"), &what).await
        })
    };
    assert!(
        matches!(look(Look::Triggers(page())), Err(Fault::Stop(why)) if why.contains("TRIGGER"))
    );
    assert!(look(view()).is_ok_and(|seen| seen.rows() == 1));
    pair.active.alone("REVOKE SHOW VIEW ON *.* FROM some@localhost");
    assert!(matches!(look(view()), Err(Fault::Stop(why)) if why.contains("1142")));
    pair.active.alone("GRANT TRIGGER, SHOW VIEW ON *.* TO some@localhost");
    assert!(look(Look::Triggers(page())).is_ok_and(|seen| seen.rows() == 1));
}
