//! Logs on disk, whatever was done to them. Half of the inputs are files: what is read is a prefix of whole groups, cutting
//! off what does not count changes nothing, and half of a file has a prefix of the same groups. The other half are scripts
//! of records, written here by the documented format, some of them wrong: exactly the groups before the first wrong one are
//! read.
#![no_main]

use featbit_agent::persist::log::{End, Reader, Record};
use libfuzzer_sys::fuzz_target;

const LAST: u8 = 1;
const SALT: u32 = 0x5eed_5a17;

fn groups<'a>(reader: &Reader<'a>) -> Vec<Vec<Record<'a>>> {
    reader.groups().map(Iterator::collect).collect()
}

fn check_file(data: &[u8]) {
    let reader = Reader::new(data, None);
    let all = groups(&reader);
    assert_eq!(all.len() as u64, reader.groups);
    let sequences = all.iter().flatten().map(|record| record.sequence);
    assert!(sequences.eq(1..=reader.records), "a gap in the records");
    assert!(all.iter().all(|group| !group.is_empty()), "a group without a record");
    let valid = usize::try_from(reader.valid_bytes()).expect("a length");
    match reader.end {
        End::Clean => {}
        End::Torn { at } | End::Damaged { at } => assert_eq!(at, reader.valid_bytes()),
        _ => assert!(all.is_empty() && valid == 0, "records of a file that cannot be read"),
    }
    if valid > 0 {
        let cut = Reader::new(&data[..valid], None);
        assert_eq!((cut.end, groups(&cut)), (End::Clean, all.clone()), "cut at its end");
    }
    let half = Reader::new(&data[..data.len() / 2], None);
    assert!(all.starts_with(&groups(&half)), "half a file has other groups");
}

fn checksum(start: u32, bytes: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new_with_initial(start);
    hasher.update(bytes);
    hasher.finalize().to_le_bytes()
}

fn header() -> Vec<u8> {
    let mut header = b"FBAGLOG\x1a".to_vec();
    header.extend([1, 0, 0, 0, 1, 0, 0, 0]);
    header.extend([9; 32]);
    header.extend([0; 4]);
    header.extend(SALT.to_le_bytes());
    header.extend([0; 4]);
    header.extend(checksum(0, &header));
    header
}

/// Appends a record. `wrong` says what is wrong with it: bits of the body, of the header, the sequence.
fn push_record(file: &mut Vec<u8>, kind: u8, flags: u8, sequence: u64, body: &[u8], wrong: u8) {
    let mut padded = body.to_vec();
    padded.resize(body.len().next_multiple_of(8), 0);
    let mut header = u32::try_from(24 + body.len()).expect("a short body").to_le_bytes().to_vec();
    header.extend([kind, flags, 0, 0]);
    header.extend((sequence + u64::from(wrong == 3)).to_le_bytes());
    header.extend(checksum(SALT, &padded));
    header.extend(checksum(SALT, &header));
    if wrong == 1 {
        header[16] ^= 1;
    }
    if wrong == 2 {
        header[20] ^= 0x80;
    }
    file.extend(header);
    file.extend(padded);
}

fn check_script(script: &[u8]) {
    let mut file = header();
    let (mut expected, mut group, mut is_right, mut sequence) = (Vec::new(), Vec::new(), true, 0);
    let mut rest = script;
    while let Some((&[operation, length, kind], after)) = rest.split_first_chunk() {
        let (body, after) = after.split_at(after.len().min(usize::from(length)));
        rest = after;
        // Most records are right: a wrong one ends all.
        let wrong = if operation >= 0xf0 { operation & 3 } else { 0 };
        sequence += 1;
        is_right &= wrong == 0;
        push_record(&mut file, kind, operation & 3, sequence, body, wrong);
        if is_right {
            group.push((kind, body.to_vec()));
            if operation & LAST != 0 {
                expected.push(std::mem::take(&mut group));
            }
        }
    }
    let reader = Reader::new(&file, None);
    let read: Vec<Vec<(u8, Vec<u8>)>> =
        reader.groups().map(|group| group.map(|record| (record.kind, record.body.to_vec())).collect()).collect();
    assert_eq!(read, expected);
    assert_eq!(reader.end == End::Clean, is_right && group.is_empty());
    check_file(&file);
}

fuzz_target!(|data: &[u8]| match data.split_first() {
    Some((b's', script)) => check_script(script),
    _ => check_file(data),
});
