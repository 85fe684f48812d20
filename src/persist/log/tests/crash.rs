//! The machine fails at any operation: everything that was synced is there afterwards. Errors of the disk: nothing that
//! was reported as durable is lost.

use std::io;

use proptest::prelude::*;

use super::super::simulated::{Fault, Op};
use super::*;

/// What is done to a log.
#[derive(Clone, Debug)]
enum Step {
    Append(Bodies),
    Sync,
    Replace(Bodies),
}

/// The states that a log goes through, and the last one that is certainly durable.
#[derive(Debug, Default)]
struct Model {
    states: Vec<Vec<Bodies>>,
    durable: usize,
}

impl Model {
    fn new() -> Self {
        Self { states: vec![Vec::new()], durable: 0 }
    }

    fn last(&self) -> Vec<Bodies> {
        self.states.last().unwrap().clone()
    }
}

/// Runs steps until one fails. A step that fails may have had its effect.
fn run(log: &mut OpenLog, steps: &[Step], model: &mut Model) -> io::Result<()> {
    for step in steps {
        match step {
            Step::Append(bodies) => {
                let state = [model.last(), vec![bodies.clone()]].concat();
                model.states.push(state);
                log.append(&mut write(bodies))?;
            }
            Step::Sync => {
                log.sync()?;
                model.durable = model.states.len() - 1;
            }
            Step::Replace(bodies) => {
                model.states.push(vec![bodies.clone()]);
                log.replace(&mut write(bodies))?;
                model.durable = model.states.len() - 1;
            }
        }
    }
    Ok(())
}

fn scenario() -> Vec<Step> {
    use Step::{Append, Replace, Sync};
    let large = || -> Bodies { (0..4).map(|at| (at, vec![at + 1; 900])).collect() };
    vec![
        Append(group(1, 2)),
        Append(large()),
        Sync,
        Append(group(2, 3)),
        Sync,
        Replace(large()),
        Append(group(3, 1)),
        Append(large()),
        Append(group(4, 2)),
        Sync,
        Replace(group(5, 4)),
        Append(group(6, 2)),
        Sync,
    ]
}

/// Random numbers below a bound, from a seed.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |bound| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % bound.max(1)
    }
}

/// Lets the machine fail at operation `at`, starts it again, and checks what is there and that it can be written to.
/// Returns whether the operation was reached.
fn crash_at(steps: &[Step], at: u64, seed: u64) -> bool {
    let disk = SimulatedDisk::default();
    disk.plan(move |number, _| (number == at).then_some(Fault::Crash));
    let mut model = Model::new();
    let ran = match open_at(disk.shared(), &path()) {
        Ok(Opened { mut log, .. }) if log.is_trusted() => run(&mut log, steps, &mut model),
        Ok(_) | Err(OpenError::Io { .. }) => Err(io::ErrorKind::Other.into()),
        Err(error) => panic!("{error}"),
    };
    let disk = disk.after_crash(&mut random(seed));
    let mut again = opened(&disk);
    assert!(again.set_aside.is_none(), "operation {at}, seed {seed}: {:?}", again.recovered.end);
    let read = bodies_of(again.recovered.groups());
    let possible = &model.states[model.durable..];
    assert!(possible.contains(&read), "operation {at}, seed {seed}: {} groups", read.len());
    assert!(!disk.names().iter().any(|name| name.ends_with(".new")));
    again.log.append(&mut write(&group(9, 1))).unwrap();
    again.log.sync().unwrap();
    drop(again);
    let last = opened(&disk).recovered;
    assert_eq!(last.end, End::Clean, "operation {at}, seed {seed}");
    let read_again = bodies_of(last.groups());
    assert_eq!(read_again, [read, vec![group(9, 1)]].concat());
    ran.is_err()
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_synced() {
    let mut operations = 0;
    while (0..12).all(|seed| crash_at(&scenario(), operations, seed + 100 * operations)) {
        operations += 1;
    }
    assert!(operations > 30, "{operations}");
}

#[test]
fn an_error_at_any_operation_loses_nothing_and_a_new_file_is_the_way_on() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::TimedOut] {
        for at in 0.. {
            let disk = SimulatedDisk::default();
            let mut log = opened(&disk).log;
            disk.plan(move |number, _| (number == at).then_some(Fault::Error(kind)));
            let mut model = Model::new();
            if run(&mut log, &scenario(), &mut model).is_ok() {
                if disk.operations() <= at {
                    break;
                }
                // An allocation that succeeded with less.
                continue;
            }
            assert!(!log.is_trusted());
            assert!(log.append(&mut write(&group(1, 1))).is_err() && log.sync().is_err());
            let crashed = disk.after_crash(&mut random(at));
            let read = bodies_of(opened(&crashed).recovered.groups());
            assert!(model.states[model.durable..].contains(&read), "{kind}, operation {at}");
            log.replace(&mut write(&group(8, 2))).unwrap();
            log.append(&mut write(&group(9, 2))).unwrap();
            log.sync().unwrap();
            drop(log);
            assert_eq!(bodies_of(opened(&disk).recovered.groups()), [group(8, 2), group(9, 2)]);
        }
    }
}

#[test]
fn short_writes_are_continued() {
    let disk = SimulatedDisk::default();
    let mut log = opened(&disk).log;
    disk.plan(|number, op| (op == Op::Write).then_some(Fault::Short(1 + number as usize % 7)));
    let mut model = Model::new();
    run(&mut log, &scenario(), &mut model).unwrap();
    drop(log);
    disk.heal();
    assert_eq!(bodies_of(opened(&disk).recovered.groups()), model.last());
}

/// What went wrong elsewhere: the folder was removed, every write and sync to the file without a name succeeded, and
/// all of it was lost at the restart.
#[test]
fn a_file_without_a_name_was_written_to_as_if_it_were_there() {
    let disk = SimulatedDisk::default();
    let mut log = opened(&disk).log;
    disk.remove(&path()).unwrap();
    log.append(&mut write(&group(1, 1))).unwrap();
    assert_eq!(log.sync().unwrap_err().kind(), io::ErrorKind::NotFound);
    log.replace(&mut write(&group(2, 1))).unwrap();
    drop(log);
    assert_eq!(bodies_of(opened(&disk).recovered.groups()), [group(2, 1)]);
}

#[test]
fn a_file_that_someone_else_put_there_is_set_aside() {
    let disk = SimulatedDisk::default();
    let mut log = opened(&disk).log;
    disk.put(&path(), b"not ours".to_vec());
    log.append(&mut write(&group(1, 1))).unwrap();
    assert!(log.sync().is_err());
    log.replace(&mut write(&group(2, 1))).unwrap();
    let aside = disk.names().into_iter().find(|name| name.contains(".other-")).unwrap();
    assert_eq!(disk.content(Path::new(&aside)).unwrap(), b"not ours");
}

/// What could go wrong: a bad sector of the disk under the map ends the process at every start, or looks like a torn tail,
/// and the file is cut there.
#[test]
fn what_the_disk_cannot_read_is_damage() {
    let disk = SimulatedDisk::default();
    let mut log = opened(&disk).log;
    for seed in 0..10 {
        log.append(&mut write(&group(seed, 10))).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    let before = disk.content(&path()).unwrap();
    disk.plan(|_, op| (op == Op::Read).then_some(Fault::Error(io::ErrorKind::InvalidData)));
    let opened = opened(&disk);
    assert!(matches!(opened.recovered.end, End::Damaged { .. }));
    let read = bodies_of(opened.recovered.groups());
    assert!(!read.is_empty() && (0..read.len()).all(|seed| read[seed] == group(seed as u8, 10)));
    assert_eq!(disk.content(&opened.set_aside.unwrap().path).unwrap(), before);
}

#[test]
fn a_record_that_is_too_long_is_refused() {
    let disk = SimulatedDisk::default();
    let mut log = opened(&disk).log;
    let long = vec![(1, vec![0; LIMITS.record_bytes_max + 1])];
    assert_eq!(log.append(&mut write(&long)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert!(!log.is_trusted());
}

fn any_step() -> impl Strategy<Value = Step> {
    let bodies = || (any::<u8>(), 1usize..40).prop_map(|(seed, records)| group(seed, records));
    prop_oneof![
        3 => bodies().prop_map(Step::Append),
        2 => Just(Step::Sync),
        1 => bodies().prop_map(Step::Replace),
    ]
}

proptest! {
    #[test]
    fn random_steps_with_a_crash_anywhere_lose_nothing_that_was_synced(
        steps in prop::collection::vec(any_step(), 1..40),
        at in 0u64..200,
        seed in any::<u64>(),
    ) {
        crash_at(&steps, at, seed);
    }
}
