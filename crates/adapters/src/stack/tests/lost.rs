//! The shared directory hangs or fails: a pipe in the place of a file keeps whoever reads it waiting in the kernel.

use super::*;
use regent_core::stack::DataLost;
use regent_core::time::Span;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{File, OpenOptions};
use std::sync::mpsc::{Receiver, channel};

/// The claim is read in vain until this is dropped.
struct Hang {
    claim: PathBuf,
    pipe: Option<File>,
}

impl Hang {
    fn begin(ground: &Ground) -> Hang {
        let claim = ground.data().join(".regent/claim");
        fs::rename(&claim, claim.with_extension("away")).unwrap();
        mknodat(CWD, &claim, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let pipe = OpenOptions::new().read(true).write(true).open(&claim).unwrap();
        Hang { claim, pipe: Some(pipe) }
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        fs::rename(self.claim.with_extension("away"), &self.claim).unwrap();
        // Whoever waits reads the end of the pipe.
        self.pipe.take();
    }
}

fn hangs(stack: &Stack) -> String {
    let why = format!("the shared directory {} does not answer", stack.settings.data.display());
    stack.answering.set(Some(DataLost { hangs: true, why: why.clone(), age: Span::ZERO }));
    why
}

fn watched(host: &Host) -> (DataWatch, Answering, Receiver<Seen>) {
    let (tell, told) = channel();
    let answering = Answering::default();
    let on = move |seen| tell.send(seen).unwrap();
    (watch_data(&host.stack.settings, answering.clone(), on).unwrap(), answering, told)
}

fn lost(seen: Seen) -> DataLost {
    match seen {
        Seen::Lost(lost) => lost,
        Seen::Foreign(_) | Seen::Answers => panic!("{seen:?}"),
    }
}

#[test]
fn a_directory_that_hangs_is_told_once_and_its_answer_as_well() {
    let ground = Ground::new();
    let mut host = ground.host(1);
    host.does(StackStep::Claim { epoch: Epoch(1), over: None });
    let (watch, answering, told) = watched(&host);
    let hang = Hang::begin(&ground);
    watch.using(Some(Epoch(1)));
    let seen = lost(told.recv_timeout(Duration::from_secs(15)).unwrap());
    assert!(seen.hangs && seen.why.contains(&ground.data().display().to_string()), "{seen:?}");
    assert!(seen.age >= Span::millis(5_000), "{seen:?}");
    assert_eq!(answering.lost(), Some(seen));
    assert!(told.recv_timeout(Duration::from_millis(1_500)).is_err(), "once");
    drop(hang);
    assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap(), Seen::Answers);
    assert_eq!(answering.lost(), None);
}

#[test]
fn a_directory_that_is_not_mounted_any_more_is_lost_for_its_user() {
    let ground = Ground::new();
    let mut host = ground.host(1);
    host.does(StackStep::Claim { epoch: Epoch(1), over: None });
    let (watch, _, told) = watched(&host);
    watch.using(Some(Epoch(1)));
    let (token, away) = (ground.data().join(".regent/token"), ground.root.join("token"));
    fs::rename(&token, &away).unwrap();
    let seen = lost(told.recv_timeout(Duration::from_secs(15)).unwrap());
    assert!(!seen.hangs && seen.why.contains("it is not mounted"), "{seen:?}");
    fs::rename(&away, &token).unwrap();
    assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap(), Seen::Answers);
}

#[test]
fn that_every_access_fails_is_seen_and_its_absence_on_a_passive_node_is_no_loss() {
    let ground = Ground::new();
    let data = ground.data();
    assert_eq!(claim::read_token_anew(&data).unwrap(), read_token(&data).unwrap());
    assert_eq!(watch::fails(&data, true), None);
    let token = data.join(".regent/token");
    fs::remove_file(&token).unwrap();
    assert_eq!(watch::fails(&data, false), None);
    assert!(watch::fails(&data, true).unwrap().contains("has no token"));
    fs::create_dir(&token).unwrap();
    for uses in [false, true] {
        let why = watch::fails(&data, uses).unwrap();
        assert!(why.contains("fails: "), "{why}");
    }
}

#[test]
fn what_hangs_is_not_touched_and_only_local_steps_go_down() {
    let ground = Ground::new();
    let mut host = ground.host(1);
    host.activate(1);
    let _hang = Hang::begin(&ground);
    let began = Instant::now();
    let why = hangs(&host.stack);
    let survey = host.survey();
    assert!(survey.steps.iter().all(|step| *step == StepState::Up), "{survey:?}");
    assert_eq!((survey.problems.clone(), survey.claim), (vec![why.clone()], None), "{survey:?}");
    assert!(survey.permit && survey.drift.is_empty(), "{survey:?}");
    assert!(host.stack.plan(true).iter().all(|step| step.does.is_empty()));
    let refused = StackResult::Failed(why);
    let (carry, resolver) = (StepId(4), StepId(3));
    for step in [
        StackStep::Repair,
        StackStep::Unclaim { epoch: Epoch(1) },
        StackStep::Claim { epoch: Epoch(2), over: None },
        StackStep::Up { step: resolver },
        StackStep::Down { step: carry },
    ] {
        assert_eq!(host.try_do(step), refused, "{step:?}");
    }
    host.does(StackStep::Revoke);
    for step in (0..4).rev() {
        host.does(StackStep::Down { step: StepId(step) });
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(host.read("etc/resolv.conf"), "search x\nnameserver 10.1.0.1\n");
    let left = host.survey().steps;
    assert_eq!(left[..4], [const { StepState::Down }; 4], "{left:?}");
}

#[test]
fn a_look_that_hangs_is_left_behind_and_the_next_one_answers() {
    let ground = Ground::new();
    let mut host = ground.host(1);
    host.activate(1);
    let hang = Hang::begin(&ground);
    let (result, survey) = host.stack.step(StackStep::Revoke);
    assert_eq!((result, survey), (StackResult::Done, None), "its look hangs");
    hangs(&host.stack);
    assert!(host.survey().problems.len() == 1);
    assert_eq!(host.stack.left.len(), 1);
    drop(hang);
    host.stack.answering.set(None);
    host.deactivate(1);
}

#[test]
fn an_agent_that_starts_beside_a_permit_waits_for_what_is_to_be_written() {
    let ground = Ground::new();
    let mut host = ground.host(1);
    let run_dir = host.stack.settings.run_dir.clone();
    assert!(!Answering::of(&run_dir).has_hung(), "nothing of this host uses the data");
    host.activate(1);
    let next = Answering::of(&run_dir);
    assert!(next.has_hung(), "nobody saw what happened while no agent ran");
    next.settle(Some(&ground.data())).unwrap();
    assert!(!next.has_hung());
    host.deactivate(1);
    assert!(!Answering::of(&run_dir).has_hung(), "a use that is over is waited for already");
}
