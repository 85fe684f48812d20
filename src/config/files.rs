//! Reads files that the operator names, as a whole and up to a limit.
//!
//! Must not block or read without end, as a named pipe or a device would cause.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The largest file of settings, keys or certificates, in bytes. The certificate bundles of systems have some 200 KB.
pub const SMALL_BYTES_MAX: u64 = 4 << 20;

/// Reads a file of settings, keys or certificates.
///
/// # Errors
/// As [`read`].
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    read(path, SMALL_BYTES_MAX, "the agent's limit")
}

/// Reads a file of at most `bytes_max` bytes. The error calls this limit `limit`, such as the name of a setting.
///
/// # Errors
/// When the path cannot be read, is larger, or is not a regular file. The error does not name the path.
pub fn read(path: &Path, bytes_max: u64, limit: &str) -> io::Result<Vec<u8>> {
    open(path).and_then(|(mut file, metadata)| read_open(&mut file, &metadata, bytes_max, limit))
}

/// Opens a file and returns its metadata as well.
///
/// # Errors
/// When it cannot be opened, or is not a regular file.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // Also before it is opened, because opening a device may have an effect on it.
    require_file(&fs::metadata(path)?)?;
    // The flag has no effect on a file; without it, opening a named pipe that has replaced the file would block.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    require_file(&metadata)?;
    Ok((file, metadata))
}

/// Reads an open file, as [`read`] does.
///
/// # Errors
/// When it cannot be read, or is larger.
pub fn read_open(file: &mut File, metadata: &Metadata, bytes_max: u64, limit: &str) -> io::Result<Vec<u8>> {
    let too_large = || io::Error::other(format!("it is larger than {limit}, {bytes_max} bytes"));
    if metadata.len() > bytes_max {
        return Err(too_large());
    }
    let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // It may have grown since, and some file systems report no length.
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > bytes_max { Err(too_large()) } else { Ok(content) }
}

/// Whether two paths lead to one file, through links of either kind. Not if one of them leads nowhere.
pub fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((id(one), id(other)), (Ok(one), Ok(other)) if one == other)
}

fn require_file(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() { Ok(()) } else { Err(io::Error::other("it is not a file")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(path: &Path) -> String {
        read(path, 3, "the limit").unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "abc").unwrap();
        assert_eq!(read(&path, 3, "the limit").unwrap(), b"abc");
        fs::write(&path, "abcd").unwrap();
        assert_eq!(problem(&path), "it is larger than the limit, 3 bytes");
        assert_eq!(read_small(&path).unwrap(), b"abcd");
    }

    #[test]
    fn a_file_that_grew_since_it_was_opened_is_read_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        let (mut file, metadata) = open(&path).unwrap();
        fs::write(&path, "abcd").unwrap();
        assert!(read_open(&mut file, &metadata, 3, "the limit").is_err());
    }

    /// What went wrong: a device was read until memory was out, and a named pipe was waited for.
    #[test]
    fn devices_pipes_and_folders_are_refused_without_reading_or_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for path in [Path::new("/dev/zero"), &pipe, folder.path()] {
            assert_eq!(problem(path), "it is not a file", "{}", path.display());
        }
        assert!(read(&folder.path().join("none"), 3, "").is_err());
    }
}
