//! Limits and markers of the `List*` operations.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::KmsError;
use crate::model::Page;

/// Refuses a number outside its range, as the API words it.
pub(super) fn check_range(value: i32, member: &str, min: i32, max: i32) -> Result<(), KmsError> {
    let (bound, number) = match value {
        value if value < min => ("greater", min),
        value if value > max => ("less", max),
        _ => return Ok(()),
    };
    let constraint = format_args!("have value {bound} than or equal to {number}");
    Err(KmsError::constraint(Some(&value.to_string()), member, constraint))
}

/// The number of entries on a page.
pub(super) fn page_size(page: &Page, default: i32, max: i32) -> Result<usize, KmsError> {
    let limit = page.limit.unwrap_or(default);
    check_range(limit, "limit", 1, max)?;
    Ok(usize::try_from(limit).unwrap_or(1))
}

/// The last entry of the page before, from a marker of the same kind of list.
pub(super) fn after_marker<T: std::str::FromStr>(page: &Page, list: &str) -> Result<Option<T>, KmsError> {
    let Some(marker) = &page.marker else { return Ok(None) };
    let refused = || KmsError::InvalidMarker(String::new());
    let bytes = URL_SAFE_NO_PAD.decode(marker).map_err(|_| refused())?;
    let text = String::from_utf8(bytes).map_err(|_| refused())?;
    let (kind, last) = text.split_once(' ').ok_or_else(refused)?;
    if kind != list {
        return Err(refused());
    }
    last.parse().map(Some).map_err(|_| refused())
}

/// Cuts a list that was read with one entry too many, and makes the marker for the rest.
pub(super) fn cut<T>(
    entries: &mut Vec<T>,
    size: usize,
    list: &str,
    name: impl Fn(&T) -> String,
) -> Option<String> {
    if entries.len() <= size {
        return None;
    }
    entries.truncate(size);
    entries.last().map(|last| URL_SAFE_NO_PAD.encode(format!("{list} {}", name(last))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_messages_are_those_of_aws() {
        let message =
            |value| check_range(value, "limit", 1, 9).expect_err("out of range").message().to_owned();
        assert!(message(0).ends_with("Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1"));
        assert!(message(10).ends_with("Member must have value less than or equal to 9"));
    }

    #[test]
    fn a_marker_belongs_to_its_list() {
        let mut entries = vec![1, 2, 3];
        let marker = cut(&mut entries, 2, "keys", i32::to_string);
        let page = Page { limit: None, marker };
        assert_eq!(after_marker::<i32>(&page, "keys"), Ok(Some(2)));
        assert!(matches!(after_marker::<i32>(&page, "aliases"), Err(KmsError::InvalidMarker(_))));
        assert_eq!(cut(&mut entries, 2, "keys", i32::to_string), None);
    }
}
