//! How much disk the files of the mode `local` take, as they are written and once they are compressed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flood::{Calls, Flood};
use super::server::EventServer;
use super::{Plan, events, way};
use crate::sides::Setup;

/// Evaluations that are kept; some more come.
const EVALUATIONS: u64 = 500_000;
/// Evaluations of a call.
const EVENTS: usize = 50;
/// How long compressing may take.
const COMPRESSED: Duration = Duration::from_secs(60);

/// Measures it once and prints it.
pub fn run(setup: &Setup, plan: &Plan) -> io::Result<()> {
    let server = EventServer::away()?;
    let way = way("local", "local", true, &["--events-local-file-bytes", "16777216"]);
    let agent = way.start(setup, &server, &[], &[])?;
    let cpu = agent.server.cpu_ns()?;
    let calls = Arc::new(Calls::new(EVENTS));
    let flood = Flood::start(agent.address, &calls, plan.clients, None)?;
    while flood.accepted() * (EVENTS as u64) < EVALUATIONS {
        std::thread::sleep(Duration::from_millis(10));
    }
    flood.end()?;
    let folder = setup.folder.join("events").join("local");
    let begun = Instant::now();
    let (plain, compressed) = loop {
        let files = files(&folder)?;
        let (compressed, plain): (Vec<PathBuf>, Vec<PathBuf>) =
            files.into_iter().partition(|file| file.extension().is_some_and(|end| end == "gz"));
        match &plain[..] {
            [file] if file.extension().is_some_and(|end| end == "ndjson") => {
                break (file.clone(), compressed);
            }
            _ if begun.elapsed() > COMPRESSED => return Err(io::Error::other("files were not compressed")),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let text = fs::read(plain)?;
    let lines = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
    let accepted = events(&agent, "accepted")?;
    let bytes = compressed.iter().map(|file| Ok(fs::metadata(file)?.len())).sum::<io::Result<u64>>()?;
    let cpu_us = (agent.server.cpu_ns()? - cpu) as f64 / 1000.0;
    println!(
        "\n{accepted} evaluations in the mode local, each an event of {:.0} bytes",
        calls.body_bytes / EVENTS as f64
    );
    println!("bytes an evaluation, plain                  {:.1}", text.len() as f64 / lines as f64);
    println!("bytes an evaluation, compressed             {:.1}", bytes as f64 / (accepted - lines) as f64);
    println!("CPU ms for 1,000 evaluations, compressed    {:.2}", cpu_us / accepted as f64);
    Ok(())
}

/// All files of events below a folder.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(files(&path)?);
        } else if path.file_name().is_some_and(|name| name.to_string_lossy().contains(".ndjson")) {
            all.push(path);
        }
    }
    Ok(all)
}
