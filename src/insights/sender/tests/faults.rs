//! All parts together against a server that fails at random: every event arrives, in order, and as rarely twice as the
//! server loses answers.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::harness::{Harness, OPTIONS, SOON};
use super::stand_in::Wire;
use super::{batch, secret, stream};
use crate::client::random::Random;
use crate::insights::events::Batch;
use crate::insights::memory_queue::{MemoryQueue, MemoryQueueOptions};
use crate::insights::queue::{PeekLimits, Queue, StreamKey};
use crate::insights::sender::{Deliveries, Job, Options, Verdict};

const STREAMS: u8 = 3;
const EVENTS: usize = 400;
/// So short a wait that the test need not wait for it.
const RETRY_CAP_MS: u64 = 3;

fn is_bad(event: usize) -> bool {
    event % 97 == 5
}

/// Serves a connection: fails in every way there is, takes the rest, but no portion with a bad event or of many events.
fn serve(mut wire: Wire, random: &Mutex<Random>) {
    while let Some(request) = wire.request() {
        let draw = random.lock().unwrap().draw();
        let numbers: Vec<usize> = numbers(&request.text());
        match draw % 12 {
            0 => return wire.reset(),
            1 => return,
            2 => wire.answer(500, "", "sorry"),
            3 => wire.answer(429, "Retry-After: 0\r\n", ""),
            4 => wire.answer(404, "", ""),
            5 => {
                let _ = wire.say("HTTP/1.1 200");
                return;
            }
            _ if numbers.len() > 30 => wire.answer(413, "", ""),
            _ if numbers.iter().any(|event| is_bad(*event)) => wire.answer(400, "Connection: close\r\n", ""),
            6 => wire.answer(202, "Connection: close\r\n", "{}"),
            _ => wire.answer(200, "Taken: yes\r\n", ""),
        }
    }
}

fn numbers(body: &str) -> Vec<usize> {
    body.trim_matches(['[', ']']).split(',').map(|number| number.parse().unwrap()).collect()
}

fn events_of(number: u8) -> Vec<Batch> {
    let batch_of = |chunk: &[usize]| {
        let texts: Vec<String> = chunk.iter().map(usize::to_string).collect();
        let StreamKey { environment, kind } = stream(number);
        Batch { environment, kind, secret: secret(number), ..batch(&texts) }
    };
    (0..EVENTS).collect::<Vec<_>>().chunks(7).map(batch_of).collect()
}

#[test]
fn every_event_arrives_in_order_or_is_dead_whatever_the_server_does() {
    let mut random = Random::new(7);
    let of_server = Mutex::new(Random::new(8));
    let options = Options { threads: 2, ..OPTIONS };
    let harness = Harness::with(options, false, move |_, wire| serve(wire, &of_server));
    let mut queue = MemoryQueue::new(MemoryQueueOptions { bytes_max: u64::MAX, age_max_ms: i64::MAX });
    for number in 1..=STREAMS {
        events_of(number).iter().for_each(|batch| queue.append(batch).unwrap());
    }
    queue.sync().unwrap();
    let mut deliveries = Deliveries::new(PeekLimits { events: 100, bytes: 10_000 }, RETRY_CAP_MS);
    let (mut sent, mut dead) = (BTreeMap::<StreamKey, Vec<usize>>::new(), BTreeMap::new());
    let begun = Instant::now();
    let now_ms = || begun.elapsed().as_millis() as u64;
    loop {
        let streams: Vec<StreamKey> = queue.streams().iter().map(|stream| stream.key).collect();
        if streams.is_empty() {
            break;
        }
        assert!(begun.elapsed() < SOON, "{streams:?} are not sent");
        while harness.sender.free() > 0
            && let Some((stream, limits)) = deliveries.next(streams.iter().copied(), now_ms())
        {
            let portion = queue.peek(stream, limits).unwrap().unwrap();
            assert!(portion.events <= limits.events);
            let secret = portion.batches[0].secret;
            deliveries.begun(stream);
            harness.sender.submit(Job { stream, secret, portion });
        }
        let Ok(done) = harness.done.recv_timeout(Duration::from_millis(RETRY_CAP_MS)) else { continue };
        let amount = (done.events, done.bytes);
        let verdict = deliveries.ended(done.stream, &done.outcome, amount, now_ms(), random.draw());
        let (list, events) = match verdict {
            Verdict::Keep => continue,
            Verdict::Confirm { events } => (sent.entry(done.stream).or_default(), events),
            Verdict::DeadLetter { events, .. } => (dead.entry(done.stream).or_insert_with(Vec::new), events),
        };
        // The queue still gives out the same ones.
        let limits = PeekLimits { events, bytes: usize::MAX };
        let portion = queue.peek(done.stream, limits).unwrap().unwrap();
        assert_eq!(portion.events, events);
        list.extend(
            portion
                .batches
                .iter()
                .flat_map(|batch| numbers(std::str::from_utf8(batch.events.text()).unwrap())),
        );
        queue.confirm(done.stream, events);
    }
    let (bad, good): (Vec<usize>, Vec<usize>) = (0..EVENTS).partition(|event| is_bad(*event));
    for number in 1..=STREAMS {
        assert_eq!((&sent[&stream(number)], &dead[&stream(number)]), (&good, &bad));
    }
    assert_eq!(harness.sender.stop(Instant::now() + SOON), 0);
}
