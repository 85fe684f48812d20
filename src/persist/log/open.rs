//! Opens a log: locks it, reads it, and makes it ready to be appended to.
//!
//! Must not delete a file that may hold data, nor keep the caller from what can still be read because nothing can be
//! written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::Access;

use super::disk::{Contents, Disk, DiskFile};
use super::error::OpenError;
use super::format::{FileHeader, Identity, LogKind, read_file_header};
use super::lock::Lock;
use super::names::{folder_of, set_aside, with_suffix};
use super::read::{End, Groups, Reader};
use super::write::{LogFile, LogLimits, OpenLog};

/// A log to write, and what it held.
#[derive(Debug)]
pub struct Opened {
    /// The log.
    pub log: OpenLog,
    /// What could be read.
    pub recovered: Recovered,
    /// A file that cannot be used was set aside under this name.
    pub set_aside: Option<SetAside>,
}

/// A file that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its new name.
    pub path: PathBuf,
}

/// What a file holds: its whole groups, which stay readable whatever becomes of the file's name.
#[derive(Clone, Debug)]
pub struct Recovered {
    contents: Bytes,
    valid_bytes: u64,
    salt: u32,
    /// How the file ended.
    pub end: End,
    /// How many whole groups there are.
    pub groups: u64,
    /// How many records they have.
    pub records: u64,
    /// The bytes of the header and the whole groups.
    pub bytes: u64,
    /// Whose file it is.
    pub fingerprint: [u8; 32],
    first_group_end: u64,
}

impl Recovered {
    fn read(contents: Contents, expected: &Identity) -> Self {
        let reader = Reader::new(&contents, Some(expected));
        let end = match reader.end {
            // What the disk cannot read is damage.
            End::Clean | End::Torn { .. } if contents.unreadable.is_some() => {
                End::Damaged { at: reader.valid_bytes() }
            }
            End::Empty if contents.unreadable.is_some() => End::HeaderBroken,
            end => end,
        };
        Self {
            valid_bytes: reader.valid_bytes(),
            salt: reader.salt,
            end,
            groups: reader.groups,
            records: reader.records,
            bytes: reader.valid_bytes(),
            fingerprint: reader.fingerprint,
            first_group_end: reader.first_group_end,
            contents: Bytes::from_owner(contents),
        }
    }

    /// The whole groups, in order.
    pub fn groups(&self) -> Groups<'_> {
        // What lies behind may be cut off while this is read.
        let prefix = self.contents.get(..self.valid_bytes as usize).unwrap_or_default();
        Groups::of(prefix, self.salt)
    }

    /// The same bytes of a record, by reference: the file stays mapped as long as they are used.
    pub fn share(&self, body: &[u8]) -> Bytes {
        let start = (body.as_ptr() as usize).wrapping_sub(self.contents.as_ptr() as usize);
        match start.checked_add(body.len()) {
            Some(end) if end <= self.contents.len() => self.contents.slice(start..end),
            _ => Bytes::copy_from_slice(body),
        }
    }
}

/// Reads a log of this kind without locking or changing it, whosever it is: for tools.
///
/// # Errors
/// If it cannot be read. What is wrong with its content is no error: see [`Recovered::end`].
pub fn inspect(disk: &dyn Disk, path: &Path, kind: LogKind) -> Result<Recovered, OpenError> {
    let failed = |error| OpenError::Io { path: path.to_owned(), error };
    let path = &regular_file(path)?;
    let file =
        disk.open(path, true).map_err(failed)?.ok_or(io::ErrorKind::NotFound.into()).map_err(failed)?;
    let contents = file.contents().map_err(failed)?;
    let fingerprint = match read_file_header(&contents) {
        FileHeader::Valid { fingerprint, .. } => fingerprint,
        FileHeader::Future { .. } | FileHeader::Broken => [0; 32],
    };
    Ok(Recovered::read(contents, &Identity { kind, fingerprint }))
}

/// Checks that there can be a log at `path`, without changing anything: for tools.
///
/// # Errors
/// If the setting or the installation must be changed.
pub fn check_place(path: &Path) -> Result<(), OpenError> {
    let path = regular_file(path)?;
    let folder = folder_of(&path);
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| OpenError::Folder { folder: folder.to_owned(), error: error.into() })
}

/// Opens or creates the log at `path` to write it. Only one process at a time can.
///
/// A torn tail is cut off. A file that is damaged or belongs to another ApiKey is set aside under another name, and a new
/// one begins; what is valid of a damaged one is returned all the same. All of this is logged here.
///
/// # Errors
/// If the settings or the installation must be changed. A disk that cannot be written at present is no error: what it
/// holds is returned, and [`OpenLog::trouble`] says why.
pub fn open(
    disk: Arc<dyn Disk>,
    path: &Path,
    identity: Identity,
    limits: LogLimits,
) -> Result<Opened, OpenError> {
    let path = regular_file(path)?;
    let mut lock = Lock::beside(&path);
    let mut trouble = take_lock(&*disk, &path, &mut lock)?;
    let (file, recovered) = read(&*disk, &path, &identity, &mut trouble)?;
    let mut log = OpenLog {
        disk,
        path,
        identity,
        limits,
        lock,
        own: None,
        file: None,
        other: name_aside(recovered.end),
        first_group_end: 0,
        trouble: None,
    };
    let mut set_aside = None;
    if trouble.is_none() {
        trouble = prepare(&mut log, file, &recovered, &mut set_aside).err();
    }
    // Even where nothing can be written, what is valid is in its place, and a new file may replace it.
    if recovered.end.is_usable() {
        log.own = log.disk.id(&log.path).ok().flatten();
        log.other = "other";
    }
    report(&log, &recovered, set_aside.as_ref());
    log.trouble = trouble;
    Ok(Opened { log, recovered, set_aside })
}

/// The path of the file itself, behind symbolic links: a new file must replace the file and not the link.
fn regular_file(path: &Path) -> Result<PathBuf, OpenError> {
    let not_a_file = |what| Err(OpenError::NotAFile { path: path.to_owned(), what });
    let Ok(link) = fs::symlink_metadata(path) else { return Ok(path.to_owned()) };
    if !link.is_symlink() {
        return match link.is_file() {
            true => Ok(path.to_owned()),
            false if link.is_dir() => not_a_file("a folder"),
            false => not_a_file("not a regular file"),
        };
    }
    match path.canonicalize() {
        Ok(target) if target.is_file() => Ok(target),
        Ok(_) => not_a_file("a link to something that is not a regular file"),
        Err(_) => not_a_file("a symbolic link that leads nowhere"),
    }
}

/// Takes the lock. Returns why it could not, if the disk is at fault and not the settings.
fn take_lock(disk: &dyn Disk, path: &Path, lock: &mut Lock) -> Result<Option<io::Error>, OpenError> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, Unsupported, WouldBlock};
    let Err(error) = lock.ensure(disk) else { return Ok(None) };
    match error.kind() {
        WouldBlock => Err(OpenError::Locked { path: path.to_owned(), lock: lock.path().to_owned() }),
        // As after a start by another user: the folder is not to blame.
        NotFound | PermissionDenied if fs::symlink_metadata(lock.path()).is_ok() => {
            Err(OpenError::Io { path: lock.path().to_owned(), error })
        }
        NotFound | PermissionDenied | NotADirectory | Unsupported => {
            Err(OpenError::Folder { folder: folder_of(path).to_owned(), error })
        }
        _ => Ok(Some(error)),
    }
}

type OpenFile = Option<Box<dyn DiskFile>>;

/// Opens and reads the file; only to read if it cannot be written.
fn read(
    disk: &dyn Disk,
    path: &Path,
    identity: &Identity,
    trouble: &mut Option<io::Error>,
) -> Result<(OpenFile, Recovered), OpenError> {
    let failed = |error| OpenError::Io { path: path.to_owned(), error };
    let file = match disk.open(path, trouble.is_some()) {
        Err(error) if trouble.is_none() => {
            let file = disk.open(path, true).map_err(failed)?;
            *trouble = Some(error);
            file
        }
        file => file.map_err(failed)?,
    };
    let contents = match &file {
        Some(file) => file.contents().map_err(failed)?,
        None => Contents::from(Vec::new()),
    };
    let recovered = Recovered::read(contents, identity);
    match recovered.end {
        End::FutureVersion { version } => Err(OpenError::FutureVersion { path: path.to_owned(), version }),
        End::OtherKind => Err(OpenError::OtherKind { path: path.to_owned(), wanted: identity.kind.as_str() }),
        _ => Ok((file, recovered)),
    }
}

/// Makes the log ready to be appended to.
fn prepare(
    log: &mut OpenLog,
    file: OpenFile,
    recovered: &Recovered,
    set_aside_as: &mut Option<SetAside>,
) -> io::Result<()> {
    log.disk.remove(&with_suffix(&log.path, ".new"))?;
    let Some(file) = file.filter(|_| recovered.end != End::Empty) else {
        log.own = log.disk.id(&log.path)?;
        return log.replace(&mut |_| {}).map(drop);
    };
    if !recovered.end.is_usable() {
        let path = set_aside(&*log.disk, &log.path, log.other)?;
        *set_aside_as = Some(SetAside { path });
        return log.replace(&mut |_| {}).map(drop);
    }
    // Also behind a clean end: what was allocated in advance goes, and what was read is made durable before more follows.
    file.truncate(recovered.valid_bytes)?;
    file.sync()?;
    log.file = Some(LogFile::resume(file, recovered.salt, recovered.valid_bytes, recovered.records)?);
    log.first_group_end = recovered.first_group_end;
    Ok(())
}

/// What the name of a file says that is set aside.
fn name_aside(end: End) -> &'static str {
    match end {
        End::OtherFingerprint => "other-key",
        End::Clean | End::Torn { .. } | End::Empty => "other",
        _ => "damaged",
    }
}

fn report(log: &OpenLog, recovered: &Recovered, set_aside: Option<&SetAside>) {
    let (file, what) = (log.path.display().to_string(), log.identity.kind.as_str());
    let aside = match set_aside {
        Some(set_aside) => format!("was set aside as {}", set_aside.path.display()),
        None => "could not be set aside yet".to_owned(),
    };
    let (groups, bytes) = (recovered.groups, recovered.bytes);
    match recovered.end {
        End::Torn { at } => tracing::warn!(
            file,
            groups,
            "the last write to the {what} was not complete, as after a crash: what lies behind byte {at} was cut off"
        ),
        End::Damaged { at } if groups == 0 => tracing::error!(
            file,
            "the {what} is damaged behind byte {at}, in its first change, so nothing of it can be used. The file {aside}. \
             Check the disk"
        ),
        End::Damaged { at } => tracing::error!(
            file,
            groups,
            "the {what} is damaged behind byte {at}; what comes before is used, and the file {aside}. Check the disk"
        ),
        End::HeaderBroken => tracing::error!(
            file,
            "the {what} cannot be read: it does not begin as one does. The file {aside}. Check the path and the disk"
        ),
        End::OtherFingerprint => tracing::error!(
            file,
            "the {what} belongs to another ApiKey, so it is not used. The file {aside}. To use it again, start with \
             that key and give it its old name"
        ),
        _ => tracing::debug!(file, groups, bytes, "the {what} was read"),
    }
}
