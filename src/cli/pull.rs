//! `featbit-agent pull`: a dump of all that a FeatBit server holds for a relay proxy, for sites without a way to it.
//!
//! Standard output carries the dump alone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::dataset::{self, Report};
use super::exit;
use super::output::{complain, refuse};
use super::write_dump;
use crate::app::wall_ms;
use crate::client::{Dialer, ProxyEnvironment};
use crate::config::{self, Inputs, RejectedSettings};
use crate::eval::RegexLimits;
use crate::sync::upstream::{Opener, PullError, pull as ask};

/// Asks, and writes.
pub(super) fn pull(inputs: &Inputs<'_>, out: &Path) -> u8 {
    let (access, warnings) = match config::access(inputs) {
        Ok(loaded) => loaded,
        Err(rejected) => return refuse(&rejected),
    };
    for warning in &warnings {
        complain(&format!("featbit-agent: warning: {warning}"));
    }
    let proxies = ProxyEnvironment::from_variables(inputs.environment.iter().cloned());
    let dialer = match Dialer::new(access.dial.clone(), &proxies) {
        Ok(dialer) => dialer,
        Err(errors) => return refuse(&RejectedSettings { errors, warnings: Vec::new() }),
    };
    let patience = access.sync;
    // It registers nothing, so that the name is never said.
    let dump = match ask(&Opener::new(access, String::new(), dialer), patience) {
        Ok(dump) => dump,
        Err(error) => {
            complain(&format!("featbit-agent: {error}"));
            return match error {
                PullError::Refused(_) => exit::REFUSED,
                PullError::Unavailable(_) => exit::UNAVAILABLE,
                PullError::Unusable(_) | PullError::Empty => exit::DATA,
            };
        }
    };
    let written = write_dump::write(&dump, out);
    if written != exit::OK {
        return written;
    }
    complain(&format!("{} ({} bytes):", out.display(), dump.len()));
    if out != Path::new("-") && fs::metadata(out).is_ok_and(|metadata| metadata.uid() == 0) {
        complain(
            "  only root can read it, because it contains secrets. If the agent runs as another user, as in the example \
             unit for systemd, let a group read it: chgrp GROUP FILE, chmod 640 FILE, SupplementaryGroups=GROUP",
        );
    }
    let (lines, code) = match dataset::report(dump, wall_ms(), RegexLimits::default()) {
        Report::Usable(lines) => (lines, exit::OK),
        Report::Faulty(lines) => (lines, exit::DATA),
    };
    lines.iter().for_each(|line| complain(&format!("  {line}")));
    code
}
