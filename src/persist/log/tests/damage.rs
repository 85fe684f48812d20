//! Files that were cut or changed: exactly a prefix of whole groups comes back, never anything else.

use proptest::prelude::*;

use super::*;

/// Checks what is read of a file of which everything before `untouched` is as it was written.
fn check(file: &[u8], groups: &[Bodies], ends: &[usize], untouched: usize) -> End {
    let reader = Reader::new(file, Some(&IDENTITY));
    let read = bodies_of(reader.groups());
    assert!(read.len() <= groups.len() && read == groups[..read.len()], "not a prefix");
    let whole = ends.iter().filter(|&&end| end <= untouched).count();
    if untouched >= 64 {
        assert!(read.len() >= whole, "{} of {whole} whole groups", read.len());
    }
    reader.end
}

fn sample() -> Vec<Bodies> {
    (1..=8).map(|seed| group(seed, usize::from(seed % 3) + 1)).collect()
}

#[test]
fn a_cut_at_any_byte_leaves_the_groups_before_it() {
    let (file, ends) = log_of(&sample(), 3);
    for cut in 0..=file.len() {
        let end = check(&file[..cut], &sample(), &ends, cut);
        let expected_clean = cut >= *ends.last().unwrap() || cut == 64 || ends.contains(&cut);
        match end {
            End::Clean => assert!(cut >= 64),
            End::Torn { .. } => assert!(!expected_clean, "{cut}"),
            End::Empty => assert_eq!(cut, 0),
            End::HeaderBroken => assert!((1..64).contains(&cut)),
            other => panic!("{cut}: {other:?}"),
        }
        assert_eq!(end == End::Clean && cut > 64, expected_clean && cut > 64, "{cut}: {end:?}");
    }
}

#[test]
fn a_change_of_any_byte_leaves_the_groups_before_it() {
    let (file, ends) = log_of(&sample(), 3);
    // The third and the sixth group were followed by a sync.
    let synced = ends[5];
    for at in 0..file.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = file.clone();
            changed[at] ^= change;
            let end = check(&changed, &sample(), &ends, at);
            match end {
                End::HeaderBroken => assert!(at < 64),
                End::Damaged { at: from } => assert!(at < synced && from as usize <= at, "{at}"),
                End::Torn { at: from } => assert!(at >= synced && from as usize <= at, "{at}"),
                other => panic!("{at}: {other:?}"),
            }
        }
    }
}

#[test]
fn zeros_in_the_place_of_a_synced_record_are_damage() {
    let (file, ends) = log_of(&sample(), 1);
    let mut changed = file.clone();
    changed[ends[2]..ends[3]].fill(0);
    assert_eq!(Reader::new(&changed, None).end, End::Damaged { at: ends[2] as u64 });
}

/// What went wrong: a byte changed in the only group of a file, the whole state, and what was left of it was cut off as if
/// a crash had interrupted a write.
#[test]
fn damage_in_a_replaced_file_was_taken_for_a_torn_tail() {
    let disk = SimulatedDisk::default();
    let mut log = opened(&disk).log;
    log.replace(&mut write(&group(9, 5))).unwrap();
    let end = log.bytes() as usize;
    drop(log);
    let file = disk.content(&path()).unwrap();
    assert_eq!(Reader::new(&file, None).end, End::Clean);
    for at in 64..end {
        let mut changed = file.clone();
        changed[at] ^= 0x01;
        assert_eq!(Reader::new(&changed, None).end, End::Damaged { at: 64 }, "{at}");
    }
    for cut in 64 + 24 + 64..end {
        assert_eq!(Reader::new(&file[..cut], None).end, End::Damaged { at: 64 }, "{cut}");
    }
}

#[test]
fn what_lies_far_behind_the_end_is_damage() {
    let (mut file, ends) = log_of(&sample(), 100);
    file.truncate(ends[7]);
    file.resize(file.len() + (64 << 20), 0);
    *file.last_mut().unwrap() = 1;
    assert_eq!(Reader::new(&file, None).end, End::Torn { at: ends[7] as u64 });
    file.extend([0, 1]);
    assert_eq!(Reader::new(&file, None).end, End::Damaged { at: ends[7] as u64 });
}

/// What went wrong elsewhere: a record that a body contained, or that an older file had left on the disk, was taken for
/// one of the log.
#[test]
fn a_record_of_another_file_was_taken_for_one_of_this() {
    let (other, ends) = log_of(&[group(1, 1), group(2, 1)], 1);
    let (mut file, own_ends) = log_of(&[group(1, 1)], 1);
    file.truncate(own_ends[0]);
    file.extend(&other[ends[0]..ends[1]]);
    let reader = Reader::new(&file, Some(&IDENTITY));
    assert_eq!(reader.end, End::Torn { at: own_ends[0] as u64 });
    assert_eq!(reader.groups, 1);
}

fn any_group() -> impl Strategy<Value = Bodies> {
    prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..200)), 1..6)
}

proptest! {
    #[test]
    fn random_groups_with_random_damage_come_back_as_a_prefix(
        groups in prop::collection::vec(any_group(), 1..20),
        sync_every in 1usize..5,
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let (mut file, ends) = log_of(&groups, sync_every);
        let mut untouched = file.len();
        for (place, byte) in places {
            let at = place.index(file.len());
            file[at] = byte;
            untouched = untouched.min(at);
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len() + 1));
            untouched = untouched.min(file.len());
        }
        check(&file, &groups, &ends, untouched);
    }

    #[test]
    fn any_bytes_behind_a_header_are_read_without_a_panic(rest in prop::collection::vec(any::<u8>(), 0..500)) {
        let (mut file, _) = log_of(&[], 1);
        file.truncate(64);
        file.extend(rest);
        let reader = Reader::new(&file, None);
        prop_assert_eq!(reader.groups().count() as u64, reader.groups);
    }
}

/// What went wrong: in a damaged record of a segment, some bytes looked like the header of a record that is longer than the
/// file, and nothing behind them was read any more. A fuzzer found it.
#[test]
fn what_looked_like_a_header_in_a_damaged_record_hid_the_records_behind_it() {
    const SALT: u32 = 7;
    let identity = Identity { kind: LogKind::Spool, fingerprint: [3; 32] };
    for length in [1 << 30, 200, 64] {
        let mut file = format::write_file_header(&identity, SALT).to_vec();
        for sequence in 1..=3 {
            let mut record = vec![0; format::RECORD_HEADER + 64];
            if sequence == 2 {
                let mut inner = vec![0; format::RECORD_HEADER];
                format::seal_record(&mut inner, length, 0, format::LAST, 2, SALT);
                record[format::RECORD_HEADER + 8..][..inner.len()].copy_from_slice(&inner);
            }
            format::seal_record(&mut record, 64, 0, format::LAST | format::SYNCED, sequence, SALT);
            // Its own header is damaged.
            record[0] ^= u8::from(sequence == 2);
            file.extend(record);
        }
        let read = ReadSegment::of(Contents::from(file), &identity);
        let found: Vec<u64> = read.records().map(|(_, record)| record.sequence).collect();
        assert_eq!((found, read.end), (vec![1, 3], End::Damaged { at: 152 }), "{length}");
    }
}
