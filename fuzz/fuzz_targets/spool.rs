//! Segments of the spool of usage events, whatever was done to them. Half of the inputs are files: what is read is records in
//! order at rising places, and each batch is written again the same. The other half are scripts of records, written here by the
//! documented format, some of them wrong: in a damaged file the others are read all the same, and in none anything else.
#![no_main]

use featbit_agent::insights::spool::{IDENTITY, Item, read_batch, write_batch};
use featbit_agent::persist::log::{Contents, End, ReadSegment, Record, record_at};
use libfuzzer_sys::fuzz_target;

/// Another one than in the seeds: a body that has a record of theirs in it has none of this file.
const SALT: u32 = 0x0f5c_a11e;

fn read(file: &[u8]) -> ReadSegment {
    ReadSegment::of(Contents::from(file.to_vec()), &IDENTITY)
}

fn check_record(record: &Record<'_>) {
    let item = Item::read(record);
    if let Some((head, batch)) = read_batch(record.body) {
        if record.kind == 1 {
            assert_eq!(item, Some(Item::Batch(head)));
        }
        assert_eq!(head.events as usize, batch.events.len());
        assert_eq!(head.bytes, batch.events.text().len() as u64);
        let mut again = Vec::new();
        write_batch(&batch, head.first, &mut again);
        assert_eq!(again, record.body);
    }
}

/// Returns the places of all records.
fn check_file(file: &[u8]) -> Vec<u64> {
    let segment = read(file);
    let mut places = Vec::new();
    let mut sequence = 0;
    for (at, record) in segment.records() {
        assert!(record.sequence > sequence && places.last().is_none_or(|&last| at > last));
        assert!(at < segment.records_end());
        assert_eq!(record_at(&file[at as usize..], segment.salt()), Some(record));
        check_record(&record);
        sequence = record.sequence;
        places.push(at);
    }
    match segment.end {
        End::Clean | End::Torn { .. } => assert_eq!(sequence, places.len() as u64, "a gap in the records"),
        End::Damaged { .. } => assert_eq!(segment.records_end(), file.len() as u64),
        _ => assert!(places.is_empty() && segment.records_end() == 0),
    }
    if let End::Clean | End::Torn { .. } = segment.end {
        let cut = read(&file[..segment.records_end() as usize]);
        assert_eq!(cut.records().map(|(at, _)| at).collect::<Vec<_>>(), places, "cut at its end");
    }
    places
}

fn checksum(start: u32, bytes: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new_with_initial(start);
    hasher.update(bytes);
    hasher.finalize().to_le_bytes()
}

fn header() -> Vec<u8> {
    let mut header = b"FBAGLOG\x1a".to_vec();
    header.extend([1, 0, 0, 0, 2, 0, 0, 0]);
    header.extend(IDENTITY.fingerprint);
    header.extend([0; 4]);
    header.extend(SALT.to_le_bytes());
    header.extend([0; 4]);
    header.extend(checksum(0, &header));
    header
}

/// Appends a record. `wrong` says what is wrong with it: bits of the body, of the header.
fn push_record(file: &mut Vec<u8>, kind: u8, flags: u8, sequence: u64, body: &[u8], wrong: u8) {
    let mut padded = body.to_vec();
    padded.resize(body.len().next_multiple_of(8), 0);
    let mut header = u32::try_from(24 + body.len()).expect("a short body").to_le_bytes().to_vec();
    header.extend([kind, flags, 0, 0]);
    header.extend(sequence.to_le_bytes());
    header.extend(checksum(SALT, &padded));
    header.extend(checksum(SALT, &header));
    match wrong {
        1 => header[16] ^= 1,
        2 => header[21] ^= 0x80,
        3 => header[0] ^= 8,
        _ => {}
    }
    file.extend(header);
    file.extend(padded);
}

/// A body of a batch by the documented layout, with as many events as there are bytes in `lengths`.
fn batch_body(first: u8, lengths: &[u8]) -> Vec<u8> {
    let mut body = vec![7; 16];
    body.extend([1 + first % 2, 1 + first % 2, 0, 0]);
    body.extend(u32::from(first).to_le_bytes());
    body.extend(1_700_000_000_000i64.to_le_bytes());
    body.extend(b"FF6HjRDP50eAc1OTtJ8G4wBwcHBwcHBwcHBwcHBwcHBw");
    body.extend((lengths.len() as u32).to_le_bytes());
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    for &length in lengths {
        if !text.is_empty() {
            text.push(b',');
        }
        text.extend(vec![b'e'; 1 + usize::from(length % 40)]);
        ends.push(text.len() as u32);
    }
    ends.iter().for_each(|end| body.extend(end.to_le_bytes()));
    body.extend(text);
    body
}

fn check_script(script: &[u8]) {
    let mut file = header();
    let (mut right, mut first_wrong, mut sequence) = (Vec::new(), None, 0);
    let mut rest = script;
    while let Some((&[operation, length, kind], after)) = rest.split_first_chunk() {
        let (content, after) = after.split_at(after.len().min(usize::from(length)));
        rest = after;
        let is_batch = kind % 4 == 1 && !content.is_empty();
        let body = if is_batch { batch_body(operation, content) } else { content.to_vec() };
        if is_batch {
            let (_, batch) = read_batch(&body).expect("a batch by the documented layout");
            assert_eq!(batch.events.len(), content.len());
            assert!(!batch.events.text().is_empty());
        }
        let wrong = if operation >= 0xe0 { operation & 3 } else { 0 };
        sequence += 1;
        if wrong == 0 {
            right.push((file.len() as u64, sequence));
        } else {
            first_wrong.get_or_insert(file.len() as u64);
        }
        push_record(&mut file, kind % 4, operation & 3, sequence, &body, wrong);
    }
    let places = check_file(&file);
    let first_wrong = first_wrong.unwrap_or(u64::MAX);
    let expected: Vec<u64> = match read(&file).end {
        End::Damaged { .. } => right.iter().map(|&(at, _)| at).collect(),
        _ => right.iter().map(|&(at, _)| at).filter(|&at| at < first_wrong).collect(),
    };
    assert_eq!(places, expected);
}

fuzz_target!(|data: &[u8]| match data.split_first() {
    Some((b's', script)) => check_script(script),
    _ => drop(check_file(data)),
});
