//! Ends the processes of a test program that is killed before it can end them itself: they would keep their ports, and
//! disturb the next run.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Reads `+ PID` and `- PID` until the end of its input, which is the end of the test program; then ends those that are left.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=
while read -r how pid; do
    kept=
    for one in $pids; do [ "$one" = "$pid" ] || kept="$kept $one"; done
    pids=$kept
    [ "$how" = - ] || pids="$pids $pid"
done
[ -z "$pids" ] || kill -9 $pids
"#;

static REAPER: OnceLock<Mutex<ChildStdin>> = OnceLock::new();

/// The child is ended if the test program is killed.
pub fn watch(child: &Child) {
    tell('+', child);
}

/// The child has ended.
pub fn forget(child: &Child) {
    tell('-', child);
}

#[allow(clippy::zombie_processes, reason = "it ends after this program")]
fn tell(how: char, child: &Child) {
    let reaper = REAPER.get_or_init(|| {
        let mut reaper = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        Mutex::new(reaper.stdin.take().expect("its input is piped"))
    });
    let mut reaper = reaper.lock().expect("no test panics while it tells");
    writeln!(reaper, "{how} {}", child.id()).expect("the shell reads until the end of this program");
}
