//! What a filter of grants picks.

use super::{GrantFilter, GrantRecord};

impl GrantFilter<'_> {
    /// Whether the filter picks a grant: the definition of what an index finds.
    pub(super) fn picks(&self, record: &GrantRecord) -> bool {
        match self {
            Self::Key(key_id) => record.key_id == **key_id,
            Self::Grantee(key_id, grantee) => {
                record.key_id == **key_id && record.grantee.lookup_name() == grantee.lookup_name()
            }
            Self::Named(key_id, grantee, name) => {
                Self::Grantee(key_id, grantee).picks(record) && record.name.as_deref() == Some(name)
            }
            Self::Retiring(principal) => {
                record.retiring.as_ref().is_some_and(|one| one.lookup_name() == principal.lookup_name())
            }
        }
    }
}
