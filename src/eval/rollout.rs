//! Percentage rollouts: finds the share that a user belongs to.
//!
//! Must not allocate: the hashed text is assembled on the stack. No hash is computed if the outcome does not depend on it. Follows FeatBit's `DispatchAlgorithm`: MD5 of the UTF-8 text, first four bytes as a little-endian
//! signed integer, divided by its minimum.

use md5::block_api::compress;
use md5::{Digest, Md5};

use crate::model::flag;

/// The initial state of MD5 (RFC 1321 section 3.3).
const MD5_START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The longest text that fits into one block of MD5 together with its end mark and its length.
const ONE_BLOCK_MAX: usize = 55;

/// The prefix of the dispatch key when the share of an experiment is decided.
const EXPERIMENT: &[u8] = b"expt";

/// The place in [0, 1] of the user whose dispatch key is the concatenation of `parts`.
pub(super) fn fraction(parts: [&[u8]; 3]) -> f64 {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let first = if len <= ONE_BLOCK_MAX {
        let mut block = [0u8; 64];
        let mut at = 0;
        for part in parts {
            block[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        block[at] = 0x80;
        block[56..].copy_from_slice(&(len as u64 * 8).to_le_bytes());
        let mut state = MD5_START;
        compress(&mut state, &[block]);
        state[0]
    } else {
        let mut hash = Md5::new();
        for part in parts {
            hash.update(part);
        }
        let digest = hash.finalize();
        u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])
    };
    f64::from((first as i32).unsigned_abs()) / 2_147_483_648.0
}

/// The fractions that a range of FeatBit contains.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Range {
    /// All of them: from 0 to almost 1.
    All,
    /// None: from 0 to 0.
    Nothing,
    /// Both ends included.
    Between(f64, f64),
}

impl Range {
    fn new(min: f64, max: f64) -> Self {
        if min == 0.0 && 1.0 - max < 1e-5 {
            Range::All
        } else if min == 0.0 && max == 0.0 {
            Range::Nothing
        } else {
            Range::Between(min, max)
        }
    }

    fn holds(self, fraction: impl FnOnce() -> f64) -> bool {
        match self {
            Range::All => true,
            Range::Nothing => false,
            Range::Between(min, max) => {
                let fraction = fraction();
                fraction >= min && fraction <= max
            }
        }
    }
}

/// The shares of a rollout, as far as they can be reached.
#[derive(Debug, Default)]
pub(super) struct Shares(Box<[Share]>);

#[derive(Debug)]
struct Share {
    range: Range,
    experiment: Range,
    variation: Option<u32>,
}

/// What a rollout decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// The variation's number in its flag, or none if the flag lacks it.
    pub(super) variation: Option<u32>,
    /// Whether the evaluation counts in an experiment.
    pub(super) send_to_experiment: bool,
}

impl Shares {
    /// Compiles `rollout`; `variation` finds a variation's number in the flag.
    pub(super) fn new(
        rollout: &flag::Rollout<'_>,
        include_all: bool,
        variation: impl Fn(&str) -> Option<u32>,
    ) -> Self {
        let mut shares = Vec::new();
        for share in &rollout.variations {
            let [min, max] = share.range;
            let range = Range::new(min, max);
            if range == Range::Nothing {
                continue;
            }
            let experiment = experiment(rollout.included_in_expt, include_all, share);
            shares.push(Share { range, experiment, variation: variation(share.id) });
            if range == Range::All {
                break;
            }
        }
        Self(shares.into_boxed_slice())
    }

    /// The first share that contains the user with this dispatch key, given in two parts. `None` if none does.
    pub(super) fn choose(&self, flag_key: &[u8], attribute: &[u8]) -> Option<Chosen> {
        let mut hashed = None;
        for share in &self.0 {
            let fraction = || *hashed.get_or_insert_with(|| fraction([flag_key, attribute, b""]));
            if share.range.holds(fraction) {
                let send_to_experiment =
                    share.experiment.holds(|| self::fraction([EXPERIMENT, flag_key, attribute]));
                return Some(Chosen { variation: share.variation, send_to_experiment });
            }
        }
        None
    }

    /// The outcome for all users if the dispatch key makes no difference ([`Shares::needs_key`]).
    pub(super) fn settled(&self) -> Option<Chosen> {
        let share = self.0.first()?;
        Some(Chosen { variation: share.variation, send_to_experiment: share.experiment == Range::All })
    }

    /// Whether the outcome depends on the dispatch key.
    pub(super) fn needs_key(&self) -> bool {
        self.0.iter().any(|share| {
            matches!(share.range, Range::Between(..)) || matches!(share.experiment, Range::Between(..))
        })
    }

    /// Memory in addition to the struct itself, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// Which users of a share count in an experiment, by their experiment key.
fn experiment(included: bool, include_all: bool, share: &flag::RolloutVariation<'_>) -> Range {
    let [min, max] = share.range;
    let width = max - min;
    if include_all {
        Range::All
    } else if !included || share.expt_rollout == 0.0 || width == 0.0 {
        Range::Nothing
    } else {
        Range::new(0.0, (share.expt_rollout / width).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The hash as one reads it in FeatBit.
    fn twin_fraction(text: &str) -> f64 {
        let digest = Md5::digest(text);
        let number = i32::from_le_bytes(digest[..4].try_into().unwrap());
        (f64::from(number) / f64::from(i32::MIN)).abs()
    }

    fn twin_in_range(key: &str, range: [f64; 2]) -> bool {
        if range[0] == 0.0 && 1.0 - range[1] < 1e-5 {
            return true;
        }
        if range == [0.0, 0.0] {
            return false;
        }
        let fraction = twin_fraction(key);
        fraction >= range[0] && fraction <= range[1]
    }

    fn twin(rollout: &flag::Rollout<'_>, include_all: bool, key: &str) -> Option<(String, bool)> {
        let share = rollout.variations.iter().find(|share| twin_in_range(key, share.range))?;
        let width = share.range[1] - share.range[0];
        let send = if include_all {
            true
        } else if !rollout.included_in_expt || share.expt_rollout == 0.0 || width == 0.0 {
            false
        } else {
            let upper = share.expt_rollout / width;
            twin_in_range(&format!("expt{key}"), [0.0, if upper > 1.0 { 1.0 } else { upper }])
        };
        Some((share.id.to_owned(), send))
    }

    #[test]
    fn fractions_are_those_of_featbit() {
        for (key, expected) in [
            ("test-value", 0.14653629204258323),
            ("qKPKh1S3FolC", 0.9105919692665339),
            ("3eacb184-2d79-49df-9ea7-edd4f10e4c6f", 0.08994403155520558),
        ] {
            assert_eq!(fraction([key.as_bytes(), b"", b""]), expected);
        }
    }

    fn share(id: usize, range: [f64; 2], expt_rollout: f64) -> flag::RolloutVariation<'static> {
        const IDS: [&str; 5] = ["a", "b", "c", "d", "e"];
        flag::RolloutVariation { id: IDS[id], range, expt_rollout }
    }

    #[test]
    fn a_share_that_holds_everybody_needs_no_hash() {
        let all = flag::Rollout {
            variations: vec![
                share(0, [0.0, 0.0], 1.0),
                share(1, [0.0, 0.999995], 1.0),
                share(2, [0.5, 1.0], 0.0),
            ],
            ..Default::default()
        };
        let shares = Shares::new(&all, false, |_| Some(0));
        assert_eq!(shares.0.len(), 1);
        assert!(!shares.needs_key());
    }

    prop_compose! {
        fn any_rollout()(
            cuts in prop::collection::vec(prop_oneof![
                Just(0.0), Just(1.0), Just(0.99999), Just(0.999991), 0.0f64..=1.0,
            ], 0..5),
            expts in prop::collection::vec(prop_oneof![Just(0.0), Just(1.0), 0.0f64..=1.0], 5),
            mins in prop::collection::vec(prop_oneof![Just(None), (0.0f64..=1.0).prop_map(Some)], 5),
            included_in_expt: bool,
        ) -> flag::Rollout<'static> {
            let mut start = 0.0;
            let variations = cuts.iter().enumerate().map(|(id, &end)| {
                let min = mins[id].unwrap_or(start);
                start = end;
                share(id, [min, end], expts[id])
            }).collect();
            flag::Rollout { dispatch_key: None, included_in_expt, variations }
        }
    }

    proptest! {
        #[test]
        fn hashes_in_one_block_or_many_alike(parts in prop::array::uniform3("\\PC{0,40}")) {
            let bytes = [parts[0].as_bytes(), parts[1].as_bytes(), parts[2].as_bytes()];
            prop_assert_eq!(fraction(bytes), twin_fraction(&parts.concat()));
        }

        #[test]
        fn hashes_every_length(len in 0usize..140) {
            let text = "x".repeat(len);
            prop_assert_eq!(fraction([b"", text.as_bytes(), b""]), twin_fraction(&text));
        }

        #[test]
        fn chooses_what_featbit_chooses(
            rollout in any_rollout(),
            include_all: bool,
            flag_key in "[a-z]{0,6}",
            user in "[a-z0-9]{1,6}",
        ) {
            let shares = Shares::new(&rollout, include_all, |id| Some(u32::from(id.as_bytes()[0])));
            let chosen = shares.choose(flag_key.as_bytes(), user.as_bytes());
            let twin = twin(&rollout, include_all, &format!("{flag_key}{user}"));
            if !shares.needs_key() {
                prop_assert_eq!(shares.settled(), chosen);
            }
            prop_assert_eq!(
                chosen.map(|chosen| (chosen.variation.unwrap(), chosen.send_to_experiment)),
                twin.map(|(id, send)| (u32::from(id.as_bytes()[0]), send))
            );
        }
    }
}
