//! The file of the pseudonym key, which is made at the first start.
//!
//! Must not replace a key that exists: all pseudonyms would change. Must not show a key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::key::PseudonymKey;

/// The longest file that is read.
const BYTES_MAX: u64 = 4096;

/// A key from a file.
#[derive(Debug)]
pub struct LoadedKey {
    /// The key.
    pub key: PseudonymKey,
    /// Whether the file has just been made.
    pub is_new: bool,
    /// What the operator should change about the file.
    pub warning: Option<String>,
}

/// The key in the file at `path`. If there is no file, it is made with 256 random bits, for its owner only. Of several agents
/// that start at once on one file system, all get the same key.
///
/// # Errors
/// What is wrong and what to do, without the key.
pub fn load_or_create(path: &Path) -> Result<LoadedKey, String> {
    if let Some(loaded) = load_existing(path)? {
        return Ok(loaded);
    }
    let is_new = create(path).map_err(|error| {
        format!(
            "the file of the pseudonym key, {}, cannot be made: {error}. Its directory must exist and be writable; or make the \
             file with `openssl rand -base64 32`",
            path.display()
        )
    })?;
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    load(path, file).map(|loaded| LoadedKey { is_new, ..loaded })
}

/// The key in the file at `path`; `None` if there is no file.
///
/// # Errors
/// As [`load_or_create`].
pub fn load_existing(path: &Path) -> Result<Option<LoadedKey>, String> {
    match File::open(path) {
        Ok(file) => load(path, file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("the file of the pseudonym key, {}, cannot be read: {error}", path.display())
}

fn load(path: &Path, file: File) -> Result<LoadedKey, String> {
    let wrong = |problem: String| format!("the file of the pseudonym key, {}, {problem}", path.display());
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(wrong("is no regular file".to_owned()));
    }
    let mut content = String::new();
    let read = file.take(BYTES_MAX + 1).read_to_string(&mut content);
    if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidData) {
        return Err(wrong("is not UTF-8. Keep only the key in it".to_owned()));
    }
    read.map_err(|error| unreadable(path, &error))?;
    let text = content.strip_prefix('\u{feff}').unwrap_or(&content).trim();
    if text.is_empty() {
        // Never made anew: it may be a volume that is not mounted yet, or a copy that failed.
        return Err(wrong(
            "is empty. Restore the key that was in it, or delete the file: the agent then makes a new key, and all \
             pseudonyms change"
                .to_owned(),
        ));
    }
    if text.len() as u64 > BYTES_MAX || text.lines().count() > 1 {
        return Err(wrong("has more in it than one key. Keep only the key, in one line".to_owned()));
    }
    let key = PseudonymKey::from_text(text).map_err(|weak| wrong(format!("cannot be used: {weak}")))?;
    let mode = metadata.permissions().mode() & 0o777;
    let warning = (mode & 0o077 != 0).then(|| {
        wrong(format!(
            "can be used by others than its owner (mode {mode:o}); whoever reads it can find out which user a pseudonym stands \
             for. Set its mode to 600"
        ))
    });
    Ok(LoadedKey { key, is_new: false, warning })
}

/// Makes the file. Returns false if another agent was faster.
fn create(path: &Path) -> io::Result<bool> {
    let random = random()?;
    let temporary = temporary(path, &random[32..]);
    let made = write(&temporary, &format!("{}\n", STANDARD.encode(&random[..32])))
        // A link, unlike a renaming, replaces no file.
        .and_then(|()| fs::hard_link(&temporary, path));
    let removed = fs::remove_file(&temporary);
    match made {
        Ok(()) => {
            removed?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A name beside `path` that no other agent uses.
fn temporary(path: &Path, random: &[u8]) -> PathBuf {
    let suffix: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{suffix}"));
    path.with_file_name(name)
}

/// Random bytes of the system: 32 for the key, the rest for a name.
fn random() -> io::Result<[u8; 40]> {
    let mut bytes = [0; 40];
    let filled = crate::tls::provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(bytes)
}

/// A key that is used once, as for a preview.
///
/// # Errors
/// The system gives no random numbers.
pub fn random_key() -> io::Result<PseudonymKey> {
    PseudonymKey::from_text(&STANDARD.encode(random()?)).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_first_start_makes_a_key_and_the_next_one_finds_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let first = load_or_create(&path).unwrap();
        assert!(first.is_new && first.warning.is_none());
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap().len(), 45);
        let second = load_or_create(&path).unwrap();
        assert!(!second.is_new && second.warning.is_none());
        assert_eq!(first.key.id(), second.key.id());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
        assert_eq!(load_existing(&path).unwrap().unwrap().key.id(), first.key.id());
        assert!(load_existing(&directory.path().join("none")).unwrap().is_none());
        let other = load_or_create(&directory.path().join("other")).unwrap();
        assert_ne!(first.key.id(), other.key.id());
        assert_ne!(random_key().unwrap().id(), random_key().unwrap().id());
    }

    #[test]
    fn agents_that_start_at_once_get_the_same_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let barrier = std::sync::Barrier::new(8);
        let loaded: Vec<_> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                let loaded = load_or_create(&path).unwrap();
                (loaded.key.id(), loaded.is_new)
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(loaded.iter().all(|(id, _)| *id == loaded[0].0), "{loaded:?}");
        assert_eq!(loaded.iter().filter(|(_, is_new)| *is_new).count(), 1, "{loaded:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_told_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let key = "0123456789abcdefghijklmnopqrstuv";
        for (content, says) in [
            (&b""[..], "is empty"),
            (b" \n", "is empty"),
            (b"0123456789abcdef", "fewer than 32 characters"),
            (b"\xff\xfe0", "not UTF-8"),
            (format!("{key}\n{key}").as_bytes(), "more in it than one key"),
            ("0123456789".repeat(500).as_bytes(), "more in it than one key"),
        ] {
            fs::write(&path, content).unwrap();
            let error = load_or_create(&path).unwrap_err();
            assert!(error.contains(says) && !error.contains("0123"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        assert!(load_or_create(directory.path()).unwrap_err().contains("no regular file"));
        let lost = directory.path().join("none/key");
        assert!(load_or_create(&lost).unwrap_err().contains("directory must exist"));
    }

    #[test]
    fn a_file_that_others_can_read_is_used_with_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, "0123456789abcdefghijklmnopqrstuv\r\n").unwrap();
        for (bits, warns) in [(0o600, false), (0o400, false), (0o640, true), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
            let loaded = load_or_create(&path).unwrap();
            assert_eq!(
                loaded.warning.is_some_and(|text| text.contains("Set its mode to 600")),
                warns,
                "{bits:o}"
            );
        }
    }
}
