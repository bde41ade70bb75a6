//! Words that are nearly the ones that are meant: another spelling, a slip of the finger.

/// Endings and words that British and American English write differently.
const SPELLINGS: [(&str, &str); 12] = [
    ("optimis", "optimiz"),
    ("normalis", "normaliz"),
    ("standardis", "standardiz"),
    ("initialis", "initializ"),
    ("regularis", "regulariz"),
    ("quantis", "quantiz"),
    ("randomis", "randomiz"),
    ("colour", "color"),
    ("centre", "center"),
    ("neighbour", "neighbor"),
    ("licence", "license"),
    ("grey", "gray"),
];

/// What both spellings of a name have in common; `-` and `_` are one.
fn plain(name: &str) -> String {
    let name = name.to_lowercase().replace('-', "_");
    SPELLINGS.iter().fold(name, |name, (british, american)| name.replace(british, american))
}

/// Sections that had another name in earlier releases: the earlier name, the present one, and what kind of thing the
/// earlier section always was.
pub(super) const EARLIER: [(&str, &str, &str); 1] = [("unet", "network", "unet")];

/// The known name that `typed` is in another spelling, or was in an earlier release.
pub fn same_word<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let same = |name: &&&str| **name == typed || plain(name) == plain(typed);
    let renamed = || EARLIER.iter().find(|(earlier, now, _)| *earlier == typed && known.contains(now));
    known
        .iter()
        .find(same)
        .copied()
        .or_else(|| known.iter().find(|name| Some(**name) == renamed().map(|r| r.1)).copied())
}

/// The words among `known` that `typed` was probably meant to be, all at one distance: at most a third of its letters are
/// other ones, missing, too many or swapped.
pub(super) fn nearest_all<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let plain_typed = plain(typed);
    let scored = known.into_iter().map(|name| (strsim::damerau_levenshtein(&plain_typed, &plain(name)), name));
    let most = (typed.chars().count() / 3).max(1);
    let near: Vec<(usize, &str)> = scored.filter(|(distance, _)| *distance <= most).collect();
    let least = near.iter().map(|(distance, _)| *distance).min();
    near.into_iter().filter(|(distance, _)| Some(*distance) == least).map(|(_, name)| name).collect()
}

/// The one of these whose beginning is most alike.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alike = |name: &&str| strsim::jaro_winkler(typed, name);
    nearest_all(typed, known).into_iter().max_by(|a, b| alike(a).total_cmp(&alike(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_suggested() {
        let known = ["demo-64", "small-128", "paper-256"];
        assert_eq!(nearest("smal-128", known), Some("small-128"));
        assert_eq!(nearest("samll-128", known), Some("small-128"));
        assert_eq!(nearest("xyz", known), None);
    }

    #[test]
    fn spellings_of_one_word_are_the_same() {
        let known = ["optimiser", "standardise_latents", "centre_momentum", "center_input_sample", "noise"];
        for (typed, meant) in [
            ("optimizer", "optimiser"),
            ("standardize-latents", "standardise_latents"),
            ("center_momentum", "centre_momentum"),
            ("centre_input_sample", "center_input_sample"),
        ] {
            assert_eq!(same_word(typed, &known), Some(meant), "{typed}");
        }
        assert_eq!(same_word("noize", &known), None);
    }
}
