//! The cases of the Autobahn testsuite by number, sections 1 to 10, against the agent's `EchoPath` over real sockets:
//! written anew from what each case is documented to do. What the suite lacks is in `tests/framing.rs`.
//!
//! The outcome of every case is compared with the table in `expected.txt`; `UPDATE_TABLE=1` writes it anew. There are no
//! sections 8 and 11, and 12 and 13 are about compression, which the agent does not offer.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "../common/mod.rs"]
mod common;

mod basics;
mod case;
mod closing;
mod fragments;
mod sizes;
mod utf8;

use case::{Case, Row};
use common::agent::Builder;
use common::dataset::{Dataset, Environment, boolean_flag};

/// Runs the cases of one section one after another, each on a connection of its own.
fn run(cases: Vec<Case>) -> Vec<Row> {
    let data = Dataset::of([Environment::new(1).flag(boolean_flag("flag"))]);
    // With one reactor, an answer shows that everything before it has been read.
    let agent = Builder::offline().data_file(&data).env("EchoPath", "/echo").env("Reactors", "1").start();
    cases.iter().map(|case| case.run(&agent)).collect()
}

#[test]
fn every_case_ends_as_the_table_says() {
    let sections: Vec<fn() -> Vec<Case>> =
        vec![basics::cases, fragments::cases, utf8::cases, closing::cases, sizes::cases];
    let rows: Vec<Row> = std::thread::scope(|scope| {
        let running: Vec<_> = sections.into_iter().map(|cases| scope.spawn(move || run(cases()))).collect();
        running.into_iter().flat_map(|section| section.join().expect("no case panics")).collect()
    });
    let table = case::table(&rows);
    println!("{table}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/autobahn/expected.txt");
    if std::env::var_os("UPDATE_TABLE").is_some() {
        std::fs::write(path, &table).expect("the table can be written");
    }
    let expected = std::fs::read_to_string(path).expect("there is a table");
    let differing: Vec<_> = table
        .lines()
        .filter(|line| !expected.lines().any(|known| known == *line))
        .chain(expected.lines().filter(|line| !table.lines().any(|known| known == *line)))
        .collect();
    assert_eq!(table, expected, "not as the table says:\n{}", differing.join("\n"));
    let failed: Vec<_> = rows.iter().filter(|row| row.has_failed()).map(Row::to_string).collect();
    assert!(failed.is_empty(), "failed:\n{}", failed.join("\n"));
}
