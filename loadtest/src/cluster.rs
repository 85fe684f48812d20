//! A cluster on one Redis: how long a change takes from one agent to the last of many SDKs of another one, and how many
//! bytes that moves.

use std::io;
use std::time::{Duration, Instant};

use crate::compare::ms;
use crate::crowd::Crowd;
use crate::data::{self, Sdk};
use crate::redis::Redis;
use crate::sides::{Keeping, Setup, Side};
use crate::source::Source;

/// A pause between changes, so that each travels alone and not with the ones before it.
const PAUSE: Duration = Duration::from_millis(10);

/// How the last SDK got each change, and what each moved.
struct Figures {
    last_ms: Vec<f64>,
    backup_bytes: f64,
    to_redis_bytes: f64,
    from_redis_bytes: f64,
}

/// Measures and prints both kinds of change.
pub fn run(setup: &Setup, redis: &Redis, connections: usize, changes: u64, agents: usize) -> io::Result<()> {
    let source = Source::start(data::relay_full(data::FLAGS))?;
    let prefix = redis.prefix();
    let keeping = |number: usize| Keeping {
        backup: Some(setup.folder.join(format!("cluster-{number}.backup"))),
        redis: Some((redis.url.clone(), prefix.clone())),
    };
    let first = setup.following(&source.url(), &keeping(0))?;
    source.wait_for_request()?;
    first.wait_until_ready()?;
    // The others never reach a server: what they have comes through Redis.
    let others: io::Result<Vec<Side>> =
        (1..agents).map(|number| setup.following("ws://127.0.0.1:9", &keeping(number))).collect();
    let others = others?;
    others.iter().try_for_each(Side::wait_until_ready)?;
    let last = others.last().ok_or_else(|| io::Error::other("a cluster has at least two agents"))?;
    let mut crowd = Crowd::new()?;
    crowd.connect(last.address, connections, Sdk::Server)?;

    println!("{agents} agents, {connections} SDKs at the last of them, {changes} changes of each kind");
    let patches = |number| source.push(&data::relay_patch(number));
    let figures = measure(redis, &first, &mut crowd, changes, patches)?;
    print("a patch of one flag from upstream", figures, changes);
    let calls = |number| first.bootstrap(&data::dump(10_000_000 + number));
    let figures = measure(redis, &first, &mut crowd, changes, calls)?;
    print(&format!("a bootstrap call with {} flags", data::FLAGS), figures, changes);
    Ok(())
}

fn measure(
    redis: &Redis,
    first: &Side,
    crowd: &mut Crowd,
    changes: u64,
    change: impl Fn(u64) -> io::Result<()> + Sync,
) -> io::Result<Figures> {
    // The first one may also bring what the agents have not compared yet.
    timed(crowd, &change, 0)?;
    std::thread::sleep(Duration::from_millis(200));
    let written = first.metric("featbit_agent_backup_written_bytes_total")?;
    let (received, sent) = redis.net_bytes()?;
    let mut last_ms = Vec::new();
    for number in 1..=changes {
        last_ms.push(ms(timed(crowd, &change, number)?));
        std::thread::sleep(PAUSE);
    }
    let (received_then, sent_then) = redis.net_bytes()?;
    // Until everything is on the disk.
    std::thread::sleep(Duration::from_millis(500));
    let count = changes as f64;
    last_ms.sort_by(f64::total_cmp);
    Ok(Figures {
        last_ms,
        backup_bytes: (first.metric("featbit_agent_backup_written_bytes_total")? - written) / count,
        to_redis_bytes: (received_then - received) as f64 / count,
        from_redis_bytes: (sent_then - sent) as f64 / count,
    })
}

/// From the change to the last SDK that has it.
fn timed(
    crowd: &mut Crowd,
    change: &(impl Fn(u64) -> io::Result<()> + Sync),
    number: u64,
) -> io::Result<Duration> {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let changer = scope.spawn(|| change(number));
        let times = crowd.wait_for_one_more(begun);
        changer.join().map_err(|_| io::Error::other("the change panicked"))??;
        times?.last().copied().ok_or_else(|| io::Error::other("there are no SDKs"))
    })
}

fn print(name: &str, figures: Figures, changes: u64) {
    let at = |share: f64| figures.last_ms[((changes - 1) as f64 * share).round() as usize];
    println!("{name}:");
    println!("    ms to the last SDK: p50 {:.2}, p99 {:.2}, most {:.2}", at(0.5), at(0.99), at(1.0));
    println!("    bytes written to the backup file of the first agent: {:.0}", figures.backup_bytes);
    println!(
        "    bytes to Redis: {:.0}, from Redis: {:.0}",
        figures.to_redis_bytes, figures.from_redis_bytes
    );
}
