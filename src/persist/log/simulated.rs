//! A simulated disk for tests: it fails where a test wants, and forgets what was not synced when the machine fails.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Contents, Disk, DiskFile, FileId};

/// The unit in which a failing machine keeps or loses bytes.
const SECTOR: usize = 512;

/// What is done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Open,
    Create,
    Rename,
    Remove,
    List,
    CreateFolder,
    SyncFolder,
    Write,
    Allocate,
    Truncate,
    Sync,
    Read,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// With this error, and without an effect; a sync loses what it should have made durable, and only the first half of a
    /// file can be read.
    Error(io::ErrorKind),
    /// A write writes this many bytes only.
    Short(usize),
    /// The machine fails: nothing works from here on.
    Crash,
}

/// Decides, by its number and kind, whether and how an operation fails. May block, as a disk that hangs.
pub(crate) type Plan = Arc<dyn Fn(u64, Op) -> Option<Fault> + Send + Sync>;

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    cached: Vec<u8>,
    unsynced: Vec<Change>,
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write(at, bytes) => {
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Change::Length(length) => content.resize(*length, 0),
        }
    }
}

type Names = BTreeMap<PathBuf, usize>;

#[derive(Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    names: Names,
    durable_names: Names,
    /// The names after each operation since the folder was last synced.
    unsynced_names: Vec<Names>,
    locked: Vec<usize>,
    operations: u64,
    crashed: bool,
    plan: Option<Plan>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} operations, {:?}", self.operations, self.names)
    }
}

/// The disk. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

impl SimulatedDisk {
    pub(crate) fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// How operations fail from now on; they are counted from 0 again.
    pub(crate) fn plan(&self, plan: impl Fn(u64, Op) -> Option<Fault> + Send + Sync + 'static) {
        let mut state = self.0.lock();
        state.plan = Some(Arc::new(plan));
        state.operations = 0;
    }

    pub(crate) fn heal(&self) {
        self.0.lock().plan = None;
    }

    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().names.keys().map(|name| name.display().to_string()).collect()
    }

    pub(crate) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.lock();
        state.names.get(path).map(|&inode| state.inodes[inode].cached.clone())
    }

    /// Puts a file there, durably.
    pub(crate) fn put(&self, path: &Path, content: Vec<u8>) {
        let mut state = self.0.lock();
        let inode = state.inodes.len();
        state.inodes.push(Inode { durable: content.clone(), cached: content, unsynced: Vec::new() });
        state.names.insert(path.to_owned(), inode);
        state.durable_names = state.names.clone();
        state.unsynced_names.clear();
    }

    /// What the machine finds when it comes up again: of what was not synced, `random` decides.
    pub(crate) fn after_crash(&self, random: &mut dyn FnMut(usize) -> usize) -> SimulatedDisk {
        let state = self.0.lock();
        let kept_names = random(state.unsynced_names.len() + 1);
        let names = match kept_names {
            0 => state.durable_names.clone(),
            kept => state.unsynced_names[kept - 1].clone(),
        };
        let inodes = state.inodes.iter().map(|inode| inode.after_crash(random)).collect();
        SimulatedDisk(Arc::new(Mutex::new(State {
            inodes,
            durable_names: names.clone(),
            names,
            ..State::default()
        })))
    }

    /// Counts an operation, and asks the plan. A plan may block, so no lock is held then.
    fn begin(&self, op: Op) -> io::Result<Option<usize>> {
        let (plan, number) = {
            let mut state = self.0.lock();
            if state.crashed {
                return Err(io::Error::other("the machine has failed"));
            }
            state.operations += 1;
            (state.plan.clone(), state.operations - 1)
        };
        match plan.and_then(|plan| plan(number, op)) {
            None => Ok(None),
            Some(Fault::Short(bytes)) => Ok(Some(bytes)),
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(Fault::Crash) => {
                self.0.lock().crashed = true;
                Ok(None)
            }
        }
    }

    /// An operation that fails if the machine failed in it, after it may have had its effect.
    fn end<T>(&self, value: T) -> io::Result<T> {
        match self.0.lock().crashed {
            true => Err(io::Error::other("the machine has failed")),
            false => Ok(value),
        }
    }

    fn change_names<T>(&self, op: Op, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.begin(op)?;
        let result = {
            let mut state = self.0.lock();
            let before = state.names.clone();
            let result = change(&mut state);
            if state.names != before {
                let names = state.names.clone();
                state.unsynced_names.push(names);
            }
            result?
        };
        self.end(result)
    }

    fn file(&self, inode: usize, locks: bool) -> Box<dyn DiskFile> {
        Box::new(SimulatedFile { disk: self.clone(), inode, locks })
    }
}

impl Inode {
    fn after_crash(&self, random: &mut dyn FnMut(usize) -> usize) -> Inode {
        let mut content = self.durable.clone();
        // Each crash has a character of its own: most is lost, or most is kept.
        let odds = random(4);
        for change in &self.unsynced {
            match change {
                Change::Length(_) if random(4) >= odds => change.apply(&mut content),
                Change::Length(_) => {}
                Change::Write(at, bytes) => {
                    let mut start = 0;
                    while start < bytes.len() {
                        let end = ((at + start) / SECTOR * SECTOR + SECTOR - at).min(bytes.len());
                        if random(4) >= odds {
                            Change::Write(at + start, bytes[start..end].to_vec()).apply(&mut content);
                        }
                        start = end;
                    }
                }
            }
        }
        Inode { durable: content.clone(), cached: content, unsynced: Vec::new() }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.unsynced.push(change);
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, _read_only: bool) -> io::Result<Option<Box<dyn DiskFile>>> {
        self.begin(Op::Open)?;
        let inode = self.0.lock().names.get(path).copied();
        self.end(inode.map(|inode| self.file(inode, false)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.change_names(Op::Create, |state| {
            if state.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let inode = state.inodes.len();
            state.inodes.push(Inode::default());
            state.names.insert(path.to_owned(), inode);
            Ok(inode)
        })?;
        Ok(self.file(inode, false))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change_names(Op::Rename, |state| {
            let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            state.names.insert(to.to_owned(), inode);
            Ok(())
        })
    }

    fn rename_to_free(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.0.lock().names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change_names(Op::Remove, |state| {
            state.names.remove(path);
            Ok(())
        })
    }

    /// Folders are where files are: an empty one is not listed.
    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.begin(Op::List)?;
        let mut names: Vec<OsString> = {
            let state = self.0.lock();
            let below = state.names.keys().filter_map(|path| path.strip_prefix(folder).ok());
            below.filter_map(|path| Some(path.iter().next()?.to_owned())).collect()
        };
        names.dedup();
        self.end(names)
    }

    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        self.begin(Op::CreateFolder)?;
        self.end(())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        self.begin(Op::SyncFolder)?;
        self.end(())?;
        let mut state = self.0.lock();
        state.durable_names = state.names.clone();
        state.unsynced_names.clear();
        Ok(())
    }

    fn id(&self, path: &Path) -> io::Result<Option<FileId>> {
        Ok(self.0.lock().names.get(path).map(|&inode| (0, inode as u64)))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
        let mut state = self.0.lock();
        let inode = match state.names.get(path) {
            Some(&inode) => inode,
            None => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.names.insert(path.to_owned(), inode);
                inode
            }
        };
        if state.locked.contains(&inode) {
            return Ok(None);
        }
        state.locked.push(inode);
        drop(state);
        Ok(Some(self.file(inode, true)))
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
    locks: bool,
}

impl SimulatedFile {
    fn change(&self, op: Op, change: impl FnOnce(Option<usize>, &mut Inode)) -> io::Result<()> {
        let short = self.disk.begin(op)?;
        change(short, &mut self.disk.0.lock().inodes[self.inode]);
        self.disk.end(())
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        if self.locks {
            self.disk.0.lock().locked.retain(|&inode| inode != self.inode);
        }
    }
}

impl DiskFile for SimulatedFile {
    fn id(&self) -> io::Result<FileId> {
        Ok((0, self.inode as u64))
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().inodes[self.inode].cached.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.begin(Op::Read)?;
        let read = {
            let state = self.disk.0.lock();
            let content = state.inodes[self.inode].cached.get(offset as usize..).unwrap_or_default();
            let read = content.len().min(buffer.len());
            buffer[..read].copy_from_slice(&content[..read]);
            read
        };
        self.disk.end(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut written = bytes.len();
        self.change(Op::Write, |short, inode| {
            written = short.unwrap_or(written).min(written);
            inode.change(Change::Write(offset as usize, bytes[..written].to_vec()));
        })?;
        Ok(written)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.change(Op::Allocate, |_, inode| inode.change(Change::Length(bytes as usize)))
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.change(Op::Truncate, |_, inode| inode.change(Change::Length(bytes as usize)))
    }

    fn sync(&self) -> io::Result<()> {
        let result = self.disk.begin(Op::Sync).and_then(|_| self.disk.end(()));
        let inode = &mut self.disk.0.lock().inodes[self.inode];
        match result {
            Ok(()) => {
                let unsynced = std::mem::take(&mut inode.unsynced);
                unsynced.iter().for_each(|change| change.apply(&mut inode.durable));
            }
            // As Linux does: what could not be written counts as clean, and a later sync succeeds without it.
            Err(ref error) if error.kind() != io::ErrorKind::Other => inode.unsynced.clear(),
            Err(_) => {}
        }
        result
    }

    fn contents(&self) -> io::Result<Contents> {
        let failed = self.disk.begin(Op::Read).err();
        let cached = self.disk.0.lock().inodes[self.inode].cached.clone();
        let mut bytes = self.disk.end(cached)?;
        if failed.is_some() {
            bytes.truncate(bytes.len() / 2);
        }
        let mut contents = Contents::from(bytes);
        contents.unreadable = failed.map(Arc::new);
        Ok(contents)
    }
}
