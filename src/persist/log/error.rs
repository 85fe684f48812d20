//! Why a log cannot be opened at all.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a log cannot be opened. Nothing was changed on the disk.
#[derive(Debug)]
pub enum OpenError {
    /// Another process writes it.
    Locked {
        /// The log.
        path: PathBuf,
        /// The file that the other process has locked.
        lock: PathBuf,
    },
    /// A newer version of this program wrote it.
    FutureVersion {
        /// The log.
        path: PathBuf,
        /// The version of its format.
        version: u32,
    },
    /// It is a log for another purpose.
    OtherKind {
        /// The log.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// There is something other than a file.
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// The folder does not exist, or files cannot be created there.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file cannot be read.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Locked { path, lock } => write!(
                f,
                "{} is in use by another process, which has locked {}. Stop that agent, or give each agent a file of \
                 its own",
                path.display(),
                lock.display()
            ),
            OpenError::FutureVersion { path, version } => write!(
                f,
                "{} was written by a newer version of featbit-agent (format {version}); it was not changed. Start \
                 that version again, or choose another file",
                path.display()
            ),
            OpenError::OtherKind { path, wanted } => write!(
                f,
                "{} is not a {wanted} but another file of featbit-agent; it was not changed. Choose another file",
                path.display()
            ),
            OpenError::NotAFile { path, what } => {
                write!(f, "{} is {what}. Choose the path of a regular file", path.display())
            }
            OpenError::Folder { folder, error } => write!(
                f,
                "files cannot be created in the folder {} ({error}). Create it, and let the agent's user write there",
                folder.display()
            ),
            OpenError::Io { path, error } if error.kind() == io::ErrorKind::NotFound => {
                write!(f, "{} cannot be read: there is no such file. Check the path", path.display())
            }
            OpenError::Io { path, error } => write!(
                f,
                "{} cannot be read ({error}). Let the agent's user read and write it, and check the disk",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {}
