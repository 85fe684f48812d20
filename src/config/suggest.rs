//! "Did you mean …": the known name nearest to an unknown one.
//!
//! Must not decide what is an error; it only compares spellings.

use super::names::normalize;
use super::table::DEFINITIONS;

/// The setting whose name is spelt nearly like `name`, whatever the case and the separators.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let wanted = squeeze(name);
    let allowed = (wanted.chars().count() / 4).clamp(1, 3);
    names()
        .map(|known| (distance(&wanted, &squeeze(known)), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
        .or_else(|| shortened(name))
}

/// The setting of which `name` leaves out letters, in the same section (`Tls__CertFile`, `Streaming:TokenExpiry`): the
/// one that lacks fewest.
fn shortened(name: &str) -> Option<&'static str> {
    let wanted = normalize(name);
    let (section, rest) = wanted.split_once(':')?;
    let rest = squeeze(rest);
    let fits = |known: &&str| {
        let known = normalize(known);
        let Some((own, known)) = known.split_once(':') else { return false };
        // A letter that is found takes all before it away.
        let mut letters = known.chars().filter(|letter| *letter != '_');
        own == section && rest.chars().all(|letter| letters.any(|other| other == letter))
    };
    if rest.chars().count() < 4 { None } else { names().filter(fits).min_by_key(|known| known.len()) }
}

/// The setting that `name` certainly means: the same letters with other separators (`API_KEY`), or one slip of
/// the fingers in a longer name (`DataFlie`).
pub(super) fn misspelt(name: &str) -> Option<&'static str> {
    let wanted = squeeze(name);
    names().find(|known| {
        let known = squeeze(known);
        known == wanted && known.len() > 4 || known.len() >= 6 && distance(&wanted, &known) == 1
    })
}

fn names() -> impl Iterator<Item = &'static str> {
    DEFINITIONS.iter().map(|definition| definition.name)
}

fn squeeze(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ':' | '.' | ' ')).flat_map(char::to_lowercase).collect()
}

/// The number of insertions, deletions, replacements and swaps of neighbours between two words (optimal string
/// alignment).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().take(64).collect();
    let width = right.len() + 1;
    let mut table: Vec<usize> = vec![0; (left.len() + 1) * width];
    for row in 0..=left.len() {
        for column in 0..width {
            table[row * width + column] = if row == 0 || column == 0 {
                row + column
            } else {
                let same = left[row - 1] == right[column - 1];
                let mut best = table[(row - 1) * width + column - 1] + usize::from(!same);
                best = best.min(table[(row - 1) * width + column] + 1);
                best = best.min(table[row * width + column - 1] + 1);
                if row > 1
                    && column > 1
                    && left[row - 1] == right[column - 2]
                    && left[row - 2] == right[column - 1]
                {
                    best = best.min(table[(row - 2) * width + column - 2] + 1);
                }
                best
            };
        }
    }
    table[table.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_slips_of_the_fingers() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("mode", "mode", 0),
            ("mdoe", "mode", 1),
            ("modes", "mode", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn suggests_the_nearest_name_and_nothing_for_strangers() {
        assert_eq!(nearest("Limits__VerdictWiat"), Some("Limits__VerdictWait"));
        assert_eq!(nearest("data-file"), Some("DataFile"));
        assert_eq!(nearest("Mod"), Some("Mode"));
        assert_eq!(nearest("Tls__CertFile"), Some("Tls__CertificateFile"));
        assert_eq!(nearest("Streaming:TokenExpiry"), Some("Streaming__TokenExpirySeconds"));
        assert_eq!(nearest("upstream__resync"), Some("Upstream__ResyncSeconds"));
        assert_eq!(nearest("Limits:Bananas"), None);
        assert_eq!(nearest("Tls__Key"), None);
        assert_eq!(nearest("ConnectionStrings"), None);
        assert_eq!(nearest(""), None);
    }

    #[test]
    fn only_what_is_certainly_ours_counts_as_misspelt() {
        assert_eq!(misspelt("API_KEY"), Some("ApiKey"));
        assert_eq!(misspelt("DataFlie"), Some("DataFile"));
        assert_eq!(misspelt("MODEL"), None);
        assert_eq!(misspelt("PATH"), None);
        assert_eq!(misspelt("HOME"), None);
    }
}
