//! Keeps flags, segments and secrets in service that a full sync contains in a form the agent cannot parse: the server has
//! not removed them.
//!
//! Must not keep what the server has removed. But if an unreadable one has no readable name, all of its kind in that
//! environment stay in service.

use std::collections::{HashMap, HashSet};

use crate::model::dataset::{Dataset, Lost};

/// Adds to `full` the present versions (`in_service`) of what could not be parsed in it.
pub(super) fn keep_unreadable<'a>(in_service: Dataset<'a>, full: &mut Dataset<'a>) {
    // A secret opens only one environment: one that the server has moved to another must not stay in the old one.
    let secrets = full.environments.iter().flat_map(|one| &one.secrets);
    let listed: HashSet<&str> = secrets.map(|secret| secret.value).collect();
    for environment in in_service.environments {
        let Some(now) = full.environments.iter_mut().find(|one| one.id == environment.id) else { continue };
        let of = |lost: &[Lost<'a>]| -> Vec<Lost<'a>> {
            lost.iter().filter(|lost| lost.env_id == Some(environment.id)).cloned().collect()
        };
        let unlisted =
            environment.secrets.into_iter().filter(|secret| !listed.contains(secret.value)).collect();
        keep_lost(&mut now.secrets, unlisted, &of(&full.left_out.secrets), |secret| secret.value);
        keep_lost(&mut now.flags, environment.flags, &of(&full.left_out.flags), |flag| flag.id);
        keep_lost(&mut now.segments, environment.segments, &of(&full.left_out.segments), |segment| {
            segment.id
        });
    }
}

/// Inserts into `now` those of `in_service` that are `lost`, at their positions. If a lost one has no name, also appends all
/// others that `now` lacks.
fn keep_lost<'a, T>(now: &mut Vec<T>, in_service: Vec<T>, lost: &[Lost<'a>], name: impl Fn(&T) -> &'a str) {
    if lost.is_empty() {
        return;
    }
    let there: HashSet<&str> = now.iter().map(&name).collect();
    let in_service = in_service.into_iter().filter(|one| !there.contains(name(one)));
    let mut missing: HashMap<&str, (usize, T)> =
        in_service.enumerate().map(|(place, one)| (name(&one), (place, one))).collect();
    let mut before = std::mem::take(now).into_iter();
    let mut taken = 0;
    for lost in lost {
        let Some((_, one)) = lost.name.and_then(|name| missing.remove(name)) else { continue };
        let count = lost.at.saturating_sub(taken);
        now.extend(before.by_ref().take(count));
        taken += count;
        now.push(one);
    }
    now.extend(before);
    if lost.iter().any(|lost| lost.name.is_none()) {
        let mut rest: Vec<_> = missing.into_values().collect();
        rest.sort_unstable_by_key(|(place, _)| *place);
        now.extend(rest.into_iter().map(|(_, one)| one));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(name: Option<&'static str>, at: usize) -> Lost<'static> {
        Lost { env_id: None, name, at }
    }

    fn stays(now: &[&'static str], in_service: &[&'static str], lost: &[Lost<'static>]) -> Vec<&'static str> {
        let mut now = now.to_vec();
        keep_lost(&mut now, in_service.to_vec(), lost, |one| one);
        now
    }

    #[test]
    fn unreadable_items_stay_in_their_place_and_removed_ones_go() {
        let in_service = ["a", "b", "c", "d", "e"];
        assert_eq!(stays(&["a", "e"], &in_service, &[]), ["a", "e"]);
        assert_eq!(stays(&["a", "e"], &in_service, &[lost(Some("c"), 1)]), ["a", "c", "e"]);
        let two = [lost(Some("a"), 0), lost(Some("e"), 2)];
        assert_eq!(stays(&["b", "c"], &in_service, &two), ["a", "b", "c", "e"]);
        // Not in service before, or contained a second time in a readable form.
        assert_eq!(stays(&["a", "b"], &in_service, &[lost(Some("x"), 1), lost(Some("a"), 2)]), ["a", "b"]);
        // Unreadable twice.
        assert_eq!(stays(&["a"], &in_service, &[lost(Some("b"), 1), lost(Some("b"), 1)]), ["a", "b"]);
    }

    #[test]
    fn if_an_unreadable_item_has_no_name_all_stay() {
        let lost = [lost(None, 0), lost(Some("d"), 1)];
        assert_eq!(stays(&["c", "new"], &["a", "b", "c", "d"], &lost), ["c", "d", "new", "a", "b"]);
    }
}
