//! Finds local files and reads their lines, also while an agent writes, compresses and removes them.
//!
//! Must not change a file, nor take the lock.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::insights::local::names::{FileForm, Part, environment_of};
use crate::model::environment_id::EnvironmentId;

/// A longer line is none of the agent's: a call's body is shorter by far.
const LINE_BYTES_MAX: usize = 64 << 20;

/// The folder of an environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Folder {
    /// Its name.
    pub name: String,
    /// The environment that it is for.
    pub environment: EnvironmentId,
}

/// The folders below `local`, by name.
pub fn folders(local: &Path) -> io::Result<Vec<Folder>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(local)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        folders.extend(environment_of(&name).map(|environment| Folder { name, environment }));
    }
    folders.sort();
    Ok(folders)
}

/// The parts in a folder, by when they were written.
pub fn parts(folder: &Path) -> io::Result<Vec<Part>> {
    let mut parts = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        match entry?.file_name().to_str().and_then(Part::parse) {
            Some((_, FileForm::Temporary)) | None => {}
            Some((part, _)) => drop(parts.insert(part, ())),
        }
    }
    Ok(parts.into_keys().collect())
}

/// How reading a file went.
#[derive(Debug, Default)]
pub struct FileRead {
    /// Whether there was one: an agent may have removed it in the meantime.
    pub was_there: bool,
    /// Lines that are too long to be one of the agent's.
    pub oversized: u64,
    /// Why not all of it could be read.
    pub error: Option<(PathBuf, io::Error)>,
}

/// Reads the whole lines of a part. The last one may be torn, and is then left out. Of two forms the compressed one is read: it
/// got its name when it was complete.
pub fn read(folder: &Path, part: Part, each: &mut dyn FnMut(&[u8])) -> FileRead {
    // The plain file becomes the compressed one at any moment, but never the other way round.
    for form in [FileForm::Compressed, FileForm::Plain, FileForm::Compressed] {
        let path = folder.join(part.file(form));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                return FileRead { was_there: true, oversized: 0, error: Some((path, error)) };
            }
        };
        let (oversized, read) = match form {
            FileForm::Compressed => {
                lines(BufReader::with_capacity(256 * 1024, MultiGzDecoder::new(BufReader::new(file))), each)
            }
            _ => lines(BufReader::with_capacity(256 * 1024, file), each),
        };
        return FileRead { was_there: true, oversized, error: read.err().map(|error| (path, error)) };
    }
    FileRead::default()
}

/// Hands out each line that ends with a line break. Returns how many were too long.
fn lines(mut reader: impl BufRead, each: &mut dyn FnMut(&[u8])) -> (u64, io::Result<()>) {
    let mut begun = Vec::new();
    let (mut is_oversized, mut oversized) = (false, 0);
    loop {
        let available = match reader.fill_buf() {
            Ok([]) => return (oversized, Ok(())),
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return (oversized, Err(error)),
        };
        let end = memchr::memchr(b'\n', available);
        let piece = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
        is_oversized |= begun.len() + piece.len() > LINE_BYTES_MAX;
        match end {
            Some(_) if is_oversized => oversized += 1,
            Some(_) if begun.is_empty() => each(piece),
            Some(_) => {
                begun.extend_from_slice(piece);
                each(&begun);
            }
            None if is_oversized => {}
            None => begun.extend_from_slice(piece),
        }
        let used = piece.len() + usize::from(end.is_some());
        if end.is_some() || is_oversized {
            begun.clear();
            is_oversized &= end.is_none();
        }
        reader.consume(used);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_lines(content: &[u8], buffer: usize) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let (oversized, read) =
            lines(BufReader::with_capacity(buffer, content), &mut |line| found.push(line.to_vec()));
        read.unwrap();
        assert_eq!(oversized, 0);
        found
    }

    proptest! {
        #[test]
        fn whole_lines_are_read_whatever_the_size_of_the_buffer(content in "[a\n]{0,30}", buffer in 1usize..9) {
            let mut expected: Vec<&[u8]> = content.as_bytes().split(|byte| *byte == b'\n').collect();
            expected.pop();
            prop_assert_eq!(read_lines(content.as_bytes(), buffer), expected);
        }
    }

    #[test]
    fn a_line_without_an_end_takes_no_memory_without_an_end() {
        let endless =
            io::Read::chain(io::Read::take(io::repeat(b'x'), LINE_BYTES_MAX as u64 + 7), &b"\nok\n"[..]);
        let mut found = Vec::new();
        let (oversized, read) =
            lines(BufReader::with_capacity(1 << 20, endless), &mut |line| found.push(line.to_vec()));
        read.unwrap();
        assert_eq!((oversized, found), (1, vec![b"ok".to_vec()]));
    }
}
