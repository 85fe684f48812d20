//! The merge in Redis against the plain model: any order, any duplication, any split into agents gives one result.

use std::sync::atomic::{AtomicU32, Ordering};

use featbit_agent::persist::redis::{Options, Record, Register};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::agent::{Agent, Content, options, wait_converged};

/// Bodies that differ in any byte, some of them behind a long common part.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 1..4),
        "[a-zA-Z\u{e4}\u{df}\u{20ac}]{1,3}".prop_map(String::into_bytes),
    ];
    (bytes, prop_oneof![4 => Just(0_usize), 1 => 4090_usize..4100, 1 => 8190_usize..8194])
        .prop_map(|(bytes, common)| [vec![b'x'; common], bytes].concat())
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![-2_i64..3, Just(i64::MIN), Just(i64::MAX), Just((1 << 53) + 1), Just(1 << 53), any::<i64>()]
}

fn record() -> impl Strategy<Value = Record> {
    let numbers = (number(), any::<bool>(), prop_oneof![0_u32..3, any::<u32>()], number(), number());
    (0..4, numbers, body()).prop_map(|(field, numbers, body)| Record {
        field: format!("e:f:{field}\u{e9}").into(),
        stamp_ms: numbers.0,
        removed: numbers.1,
        place: numbers.2,
        version_ms: numbers.3,
        client_version_ms: numbers.4,
        body: body.into(),
    })
}

fn register() -> impl Strategy<Value = Register> {
    (number(), "[ab]", proptest::collection::vec(any::<u8>(), 0..3)).prop_map(|(ms, instance, body)| {
        Register { stamp: (ms, instance), body, environments: vec!["e".to_owned()] }
    })
}

/// What happens: who, what, and what of it is repeated by whom.
#[derive(Clone, Debug)]
enum Step {
    Records(usize, Vec<Record>),
    Register(usize, Register),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, proptest::collection::vec(record(), 1..6)).prop_map(|(who, records)| Step::Records(who, records)),
        1 => (0..3_usize, register()).prop_map(|(who, register)| Step::Register(who, register)),
    ]
}

#[test]
fn any_order_and_any_split_into_agents_gives_what_the_plain_model_has() {
    let Some(redis) = crate::redis("any_order_and_any_split_into_agents_gives_what_the_plain_model_has")
    else {
        return;
    };
    let url = redis.url();
    let case = AtomicU32::new(0);
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() });
    let steps = proptest::collection::vec(step(), 1..30);
    let result = runner.run(&(steps, any::<bool>()), |(steps, waits)| {
        let prefix = format!("case{}:{{tag}}:", case.fetch_add(1, Ordering::Relaxed));
        let agents = ["a", "b", "c"].map(|name| {
            let options = Options { key_prefix: prefix.clone(), ..options(name) };
            Agent::start_with(&url, options, Content::default())
        });
        if waits {
            agents.iter().for_each(Agent::wait_ready);
        }
        let mut expected = Content::default();
        for step in steps {
            match step {
                Step::Records(who, records) => {
                    records.iter().cloned().for_each(|record| expected.merge(record));
                    agents[who].write(records.clone());
                    agents[(who + 1) % 3].write(records.into_iter().rev().collect());
                }
                Step::Register(who, register) => {
                    expected.merge_register(register.clone());
                    agents[who].write_register(register);
                }
            }
        }
        let content = wait_converged(&url, &prefix, &agents.each_ref());
        prop_assert_eq!(content, expected);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
