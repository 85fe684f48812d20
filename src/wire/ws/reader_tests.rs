use super::*;

#[test]
fn an_idle_reader_is_one_pointer() {
    assert_eq!(size_of::<Reader>(), 8);
    assert_eq!(Reader::new().memory_bytes(), 0);
}
