//! The names of the files beside a log.
//!
//! Must not look into a file.

use std::io;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use time::macros::format_description;

use super::disk::Disk;

/// Files that were set aside within one second.
const NAMES_A_SECOND: u32 = 100;

/// `path` with `suffix` behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Gives the file at `path` another name, which is free: `<name>.<why>-<UTC time>`.
///
/// # Errors
/// What the system says.
pub fn set_aside(disk: &dyn Disk, path: &Path, why: &str) -> io::Result<PathBuf> {
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    let now = OffsetDateTime::now_utc().format(form).map_err(io::Error::other)?;
    for number in 1..=NAMES_A_SECOND {
        let more = if number == 1 { String::new() } else { format!("-{number}") };
        let aside = with_suffix(path, &format!(".{why}-{now}{more}"));
        match disk.rename_to_free(path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| aside),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
