//! "Did you mean …": finds the setting whose name is most similar to an unknown name.
//!
//! Must not decide what is an error: it only compares names.

use super::names::normalize;
use super::table::DEFINITIONS;

/// Characters of a name that are compared.
const NAME_CHARS_MAX: usize = 64;

/// The setting whose name is most similar to `name`, regardless of case and separators.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    nearest_of(name, names()).or_else(|| shortened(name))
}

/// The one of these names that is most similar to `name`, regardless of case and separators.
pub(super) fn nearest_of(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let wanted = squeeze(name);
    let allowed = (wanted.chars().count() / 4).clamp(1, 3);
    known
        .map(|known| (distance(&wanted, &squeeze(known)), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The shortest setting of the same section whose name becomes `name` if letters are left out (`Tls__CertFile`,
/// `Streaming:TokenExpiry`).
fn shortened(name: &str) -> Option<&'static str> {
    let wanted = normalize(name);
    let (section, rest) = wanted.split_once(':')?;
    let rest = squeeze(rest);
    let fits = |known: &&str| {
        let known = normalize(known);
        let Some((own, known)) = known.split_once(':') else { return false };
        // Each letter is searched for after the one before it.
        let mut letters = known.chars().filter(|letter| *letter != '_');
        own == section && rest.chars().all(|letter| letters.any(|other| other == letter))
    };
    if rest.chars().count() < 4 { None } else { names().filter(fits).min_by_key(|known| known.len()) }
}

/// The setting that `name` certainly means: the same letters with other separators (`API_KEY`), or one typing error
/// in a longer name (`DataFlie`).
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

/// The letters of a name in lower case. Long names, which no setting has, are cut: the distance takes quadratic time.
fn squeeze(name: &str) -> String {
    let name = name.chars().take(NAME_CHARS_MAX);
    name.filter(|c| !matches!(c, '_' | '-' | ':' | '.' | ' ')).flat_map(char::to_lowercase).collect()
}

/// The number of insertions, deletions, replacements and swaps of neighbours between two names (optimal string
/// alignment).
fn distance(left: &str, right: &str) -> usize {
    strsim::osa_distance(left, right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_most_similar_name_or_none() {
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
