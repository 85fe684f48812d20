//! Writes a dump to a file or to standard output.
//!
//! Must not leave half a dump, nor let anybody but its owner read it, because it contains secrets.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::exit;
use super::output::complain;
use crate::client::random;

/// Writes a dump; `-` is standard output. Returns the exit code.
pub(super) fn write(dump: &[u8], out: &Path) -> u8 {
    let written = if out == Path::new("-") { to_stdout(dump) } else { to_file(dump, out) };
    match written {
        Ok(()) => exit::OK,
        Err(error) => {
            complain(&format!("featbit-agent: the dump cannot be written to {}: {error}", out.display()));
            exit::CANNOT_WRITE
        }
    }
}

fn to_stdout(dump: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(dump)?;
    out.flush()
}

/// Puts the dump into the place of the file in one step, so that whoever reads it sees the old one or the new one.
fn to_file(dump: &[u8], path: &Path) -> io::Result<()> {
    // Of a link, what it points to is replaced.
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::other(
            "it exists and is not a regular file; --out - writes to standard output",
        ));
    }
    let beside = beside(&path)?;
    let written = write_new(dump, &beside).and_then(|()| fs::rename(&beside, &path));
    if written.is_err() {
        // What is left of it is of no use, and holds secrets.
        let _ = fs::remove_file(&beside);
    }
    written?;
    // The new name is on disk, too.
    File::open(folder(&path))?.sync_all()
}

fn write_new(dump: &[u8], path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(dump)?;
    file.sync_all()
}

/// A name in the same folder that nobody else uses.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it is no name of a file"))?;
    Ok(folder(path).join(format!(".{}.{:016x}", name.to_string_lossy(), random::seed())))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_file_is_replaced_whole_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump.json");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let reader = fs::read_to_string(&path).map(|old| (old, File::open(&path).unwrap())).unwrap();
        to_file(b"new", &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // Who had the old one open still has it.
        assert_eq!(io::read_to_string(&reader.1).unwrap(), reader.0);
        assert_eq!(names(folder.path()), ["dump.json"]);
    }

    #[test]
    fn a_link_goes_on_pointing_where_it_did() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("dump.json"), folder.path().join("link.json"));
        fs::write(&path, "old").unwrap();
        symlink(&path, &link).unwrap();
        to_file(b"new", &link).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        assert!(to_file(b"new", &folder.path().join("no/such/dump.json")).is_err());
        assert!(to_file(b"new", folder.path()).is_err());
        assert!(to_file(b"new", Path::new("/dev/null")).is_err());
        assert!(names(folder.path()).is_empty());
    }
}
