//! Connections by slot. Slots are in pages that never move, so that growth copies nothing. Slots have generations, so that
//! an event for an ended connection never reaches the next connection in its slot.

/// Slots in a page.
const PAGE: usize = 256;

/// Identifies one connection: the slot in the lower half, the generation in the upper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u64);

impl Key {
    /// The key of a number from [`Key::to_u64`].
    pub fn from_u64(bits: u64) -> Self {
        Self(bits)
    }

    /// As a number, for the poller.
    pub fn to_u64(self) -> u64 {
        self.0
    }

    fn new(slot: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(slot))
    }

    fn slot(self) -> u32 {
        self.0 as u32
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A paged slab with generations.
#[derive(Debug)]
pub struct Slab<T> {
    pages: Vec<Box<[Slot<T>]>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// The number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of slots, used or not: the bound of [`Slab::at_mut`].
    pub fn slots(&self) -> usize {
        self.pages.len() * PAGE
    }

    /// Adds the value that `make` returns for its key.
    pub fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let first = (self.pages.len() * PAGE) as u32;
                self.pages.push((0..PAGE).map(|_| Slot { generation: 0, value: None }).collect());
                self.free.extend((first + 1..first + PAGE as u32).rev());
                first
            }
        };
        let place = &mut self.pages[slot as usize / PAGE][slot as usize % PAGE];
        let key = Key::new(slot, place.generation);
        place.value = Some(make(key));
        self.len += 1;
        key
    }

    /// The value, if it is still there.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.pages.get_mut(key.slot() as usize / PAGE)?.get_mut(key.slot() as usize % PAGE)?;
        if place.generation == key.generation() { place.value.as_mut() } else { None }
    }

    /// Removes a value. Its slot may be reused, under another key.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.pages.get_mut(key.slot() as usize / PAGE)?.get_mut(key.slot() as usize % PAGE)?;
        if place.generation != key.generation() {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.slot());
        self.len -= 1;
        Some(value)
    }

    /// The key and value in a slot, if it is used. For sweeps.
    pub fn at_mut(&mut self, slot: usize) -> Option<(Key, &mut T)> {
        let place = self.pages.get_mut(slot / PAGE)?.get_mut(slot % PAGE)?;
        let key = Key::new(slot as u32, place.generation);
        place.value.as_mut().map(|value| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn behaves_like_a_map_whose_keys_never_come_again(steps in prop::collection::vec(any::<(bool, u16)>(), 0..1500)) {
            let mut slab = Slab::default();
            let mut twin: HashMap<Key, u16> = HashMap::new();
            let mut gone = Vec::new();
            for (insert, value) in steps {
                if insert || twin.is_empty() {
                    let key = slab.insert_with(|_| value);
                    prop_assert!(twin.insert(key, value).is_none());
                } else {
                    let mut keys: Vec<_> = twin.keys().copied().collect();
                    keys.sort();
                    let key = keys[value as usize % keys.len()];
                    prop_assert_eq!(slab.remove(key), twin.remove(&key));
                    gone.push(key);
                }
                prop_assert_eq!(slab.len(), twin.len());
            }
            for (key, value) in &twin {
                prop_assert_eq!(slab.get_mut(*key).copied(), Some(*value));
            }
            for key in gone {
                prop_assert!(slab.get_mut(key).is_none());
                prop_assert!(slab.remove(key).is_none());
            }
            let swept = (0..slab.slots()).filter(|slot| slab.at_mut(*slot).is_some()).count();
            prop_assert_eq!(swept, twin.len());
        }
    }
}
