//! Names of tensors: lists that files count from 1 (`denseblock1.denselayer2`) are lists from 0 here
//! (`denseblock.0.denselayer.1`).

/// Parts of a DenseNet that there are several of.
const LISTS: [&str; 3] = ["denseblock", "denselayer", "transition"];

/// The name of a field from that in a DenseNet's file; the oldest files write `norm.1` for `norm1`.
pub(super) fn to_dense_field(name: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = name.split('.').peekable();
    while let Some(part) = rest.next() {
        let numbered = LISTS.iter().find_map(|list| {
            let number = part.strip_prefix(list)?.parse::<usize>().ok()?.checked_sub(1)?;
            Some([(*list).to_owned(), number.to_string()])
        });
        match numbered {
            Some(both) => parts.extend(both),
            None if ["norm", "conv"].contains(&part) && rest.peek().is_some_and(|next| ["1", "2"].contains(next)) => {
                parts.push(format!("{part}{}", rest.next().unwrap_or_default()));
            }
            None => parts.push(part.to_owned()),
        }
    }
    parts.join(".")
}

/// The inverse of [`to_dense_field`].
pub(super) fn from_dense_field(name: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = name.split('.').peekable();
    while let Some(part) = rest.next() {
        match rest.peek().and_then(|next| next.parse::<usize>().ok()).filter(|_| LISTS.contains(&part)) {
            Some(place) => {
                parts.push(format!("{part}{}", place + 1));
                rest.next();
            }
            None => parts.push(part.to_owned()),
        }
    }
    parts.join(".")
}

/// The name with its first letter in the other case: Inception's files write `Mixed_5b` for the field `mixed_5b`, and no
/// other name of theirs but `fc` begins so.
pub(super) fn with_first_letter(name: &str, change: fn(&char) -> char) -> String {
    if name.starts_with("fc.") {
        return name.to_owned();
    }
    let mut letters = name.chars();
    letters.next().map(|first| change(&first)).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (file, field) in [
            ("features.conv0.weight", "features.conv0.weight"),
            ("features.denseblock2.denselayer12.norm1.bias", "features.denseblock.1.denselayer.11.norm1.bias"),
            ("features.transition3.conv.weight", "features.transition.2.conv.weight"),
            ("features.norm5.running_var", "features.norm5.running_var"),
        ] {
            assert_eq!(to_dense_field(file), field);
            assert_eq!(from_dense_field(field), file);
        }
        assert_eq!(
            to_dense_field("features.denseblock1.denselayer1.norm.2.weight"),
            "features.denseblock.0.denselayer.0.norm2.weight"
        );
        assert_eq!(to_dense_field("features.denseblock0.conv"), "features.denseblock0.conv", "files count from 1");
        assert_eq!(
            with_first_letter("Mixed_5b.branch1x1.conv.bias", char::to_ascii_lowercase),
            "mixed_5b.branch1x1.conv.bias"
        );
        assert_eq!(with_first_letter("fc.bias", char::to_ascii_uppercase), "fc.bias");
    }
}
