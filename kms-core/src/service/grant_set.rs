//! The grants of one key to one principal, arranged so that one of many thousand is found at once.

use std::collections::HashMap;

use crate::model::{Caller, EncryptionContext, GrantConstraints, GrantId, GrantOperation};
use crate::store::GrantRecord;

/// What a caller wants to do, as far as grants are concerned.
pub(super) struct Asked<'a> {
    pub(super) caller: &'a Caller,
    pub(super) operation: GrantOperation,
    pub(super) encryption_context: Option<&'a EncryptionContext>,
    /// The grant that is about to be created, if that is the operation.
    pub(super) new_grant: Option<&'a GrantRecord>,
}

/// Grants by their operation, and those by what their constraint asks of the encryption context.
#[derive(Debug, Default)]
pub(super) struct GrantSet {
    grants: Vec<GrantRecord>,
    by_operation: HashMap<GrantOperation, Index>,
}

/// Positions of grants.
#[derive(Debug, Default)]
struct Index {
    /// All of them.
    all: Vec<usize>,
    /// Those whose constraint holds in any context.
    anywhere: Vec<usize>,
    /// Those that name a whole context.
    by_context: HashMap<EncryptionContext, Vec<usize>>,
    /// Those that name a part of a context, under the one of its pairs that the fewest others have.
    by_pair: HashMap<(String, String), Vec<usize>>,
}

impl GrantSet {
    /// Arranges the grants of a key to a principal.
    pub(super) fn new(grants: Vec<GrantRecord>) -> Self {
        let mut frequency: HashMap<(&str, &str), usize> = HashMap::new();
        let subsets = grants.iter().filter_map(|grant| grant.constraints.encryption_context_subset.as_ref());
        for pair in subsets.flat_map(EncryptionContext::iter) {
            *frequency.entry(pair).or_default() += 1;
        }
        let mut by_operation: HashMap<GrantOperation, Index> = HashMap::new();
        for (position, grant) in grants.iter().enumerate() {
            let GrantConstraints {
                encryption_context_equals: equals, encryption_context_subset: subset, ..
            } = &grant.constraints;
            let pairs = subset.iter().flat_map(EncryptionContext::iter);
            let rarest = pairs.min_by_key(|pair| frequency.get(pair).copied().unwrap_or_default());
            for operation in &grant.operations {
                let index = by_operation.entry(*operation).or_default();
                index.all.push(position);
                let place = match (equals, rarest) {
                    (Some(context), _) => index.by_context.entry(context.clone()).or_default(),
                    (None, Some((name, value))) => {
                        index.by_pair.entry((name.to_owned(), value.to_owned())).or_default()
                    }
                    (None, None) => &mut index.anywhere,
                };
                place.push(position);
            }
        }
        Self { grants, by_operation }
    }

    /// A grant that permits what is asked.
    pub(super) fn permitting(&self, asked: &Asked<'_>) -> Option<GrantId> {
        let index = self.by_operation.get(&asked.operation)?;
        let permits =
            |position: &&usize| self.grants.get(**position).is_some_and(|grant| permits(grant, asked));
        let empty = EncryptionContext::new();
        let context = asked.encryption_context.unwrap_or(&empty);
        let found = if ignores_context(asked.operation) {
            index.all.iter().find(permits)
        } else {
            let whole = index.by_context.get(context).into_iter().flatten();
            let pairs = context.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            let parts = pairs.filter_map(|pair| index.by_pair.get(&pair)).flatten();
            index.anywhere.iter().chain(whole).chain(parts).find(permits)
        };
        found.and_then(|position| self.grants.get(*position)).map(|grant| grant.grant_id)
    }
}

/// Operations that have no encryption context, and `CreateGrant`, whose own rule is [`may_delegate`].
const fn ignores_context(operation: GrantOperation) -> bool {
    matches!(
        operation,
        GrantOperation::DescribeKey | GrantOperation::RetireGrant | GrantOperation::CreateGrant
    )
}

/// Whether a grant permits what is asked: the definition of what [`GrantSet::permitting`] finds.
fn permits(grant: &GrantRecord, asked: &Asked<'_>) -> bool {
    let constraints = &grant.constraints;
    let given =
        grant.operations.contains(&asked.operation) && grant.grantee.stands_for(&asked.caller.principal);
    let source = constraints.source_arn.is_none() || constraints.source_arn == asked.caller.source_arn;
    let empty = EncryptionContext::new();
    let context = asked.encryption_context.unwrap_or(&empty);
    let fits = ignores_context(asked.operation)
        || constraints.encryption_context_equals.as_ref().is_none_or(|wanted| wanted == context)
            && constraints
                .encryption_context_subset
                .as_ref()
                .is_none_or(|wanted| wanted.is_subset_of(context));
    let delegates = match (asked.operation, asked.new_grant) {
        (GrantOperation::CreateGrant, Some(new)) => may_delegate(grant, new),
        (GrantOperation::CreateGrant, None) => false,
        (_, _) => true,
    };
    given && source && fits && delegates
}

/// Whether a grant gives the right to create another one: no operation more, and constraints as strict or stricter.
fn may_delegate(grant: &GrantRecord, new: &GrantRecord) -> bool {
    let fewer = new.operations.iter().all(|operation| grant.operations.contains(operation));
    let (own, other) = (&grant.constraints, &new.constraints);
    let whole = match &own.encryption_context_equals {
        Some(wanted) => other.encryption_context_equals.as_ref() == Some(wanted),
        None => true,
    };
    let part = match &own.encryption_context_subset {
        Some(wanted) => {
            let mut given =
                [&other.encryption_context_equals, &other.encryption_context_subset].into_iter().flatten();
            given.any(|given| wanted.is_subset_of(given))
        }
        None => true,
    };
    let source = own.source_arn.is_none() || own.source_arn == other.source_arn;
    fewer && whole && part && source
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{AccountId, KeyId, Principal, Timestamp};

    fn context() -> impl Strategy<Value = EncryptionContext> {
        proptest::collection::vec(("[ab]", "[12]"), 0..3).prop_map(|pairs| pairs.into_iter().collect())
    }

    fn operations() -> impl Strategy<Value = Vec<GrantOperation>> {
        let one = prop_oneof![
            Just(GrantOperation::Encrypt),
            Just(GrantOperation::DescribeKey),
            Just(GrantOperation::CreateGrant)
        ];
        proptest::collection::vec(one, 1..3)
    }

    prop_compose! {
        fn grant()(
            number in any::<u8>(),
            operations in operations(),
            equals in proptest::option::of(context()),
            subset in proptest::option::of(context()),
            source in proptest::option::weighted(0.1, "[xy]"),
            own in proptest::bool::weighted(0.9),
        ) -> GrantRecord {
            let account = AccountId::local();
            GrantRecord {
                grant_id: GrantId::from_bytes([number; 32]),
                key_id: KeyId::from_bytes(&[0; KeyId::BYTES]).expect("an id"),
                grantee: Principal::user(&account, if own { "x" } else { "y" }),
                retiring: None,
                issuing_account: account,
                operations,
                constraints: GrantConstraints {
                    encryption_context_equals: equals,
                    encryption_context_subset: subset,
                    source_arn: source,
                },
                name: None,
                creation_date: Timestamp::from_millis(0),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// The arrangement finds a grant exactly if one permits.
        #[test]
        fn what_is_found_permits_and_what_permits_is_found(
            grants in proptest::collection::vec(grant(), 0..8),
            operation in operations(),
            context in proptest::option::of(context()),
            new_grant in grant(),
        ) {
            let caller = Caller::local(AccountId::local(), "x");
            let asked = Asked {
                caller: &caller,
                operation: operation[0],
                encryption_context: context.as_ref(),
                new_grant: Some(&new_grant),
            };
            let expected = grants.iter().any(|grant| permits(grant, &asked));
            let found = GrantSet::new(grants.clone()).permitting(&asked);
            prop_assert_eq!(found.is_some(), expected);
            if let Some(found) = found {
                prop_assert!(grants.iter().any(|grant| grant.grant_id == found && permits(grant, &asked)));
            }
        }

        /// Delegation never widens: whatever the new grant permits in a context, the old one does too.
        #[test]
        fn what_is_delegated_was_permitted_before(
            old in grant(), new in grant(), context in context(), operation in operations(),
        ) {
            let account = AccountId::local();
            let caller = |grant: &GrantRecord| Caller {
                principal: grant.grantee.clone(),
                source_arn: grant.constraints.source_arn.clone(),
                ..Caller::local(account.clone(), "x")
            };
            if may_delegate(&old, &new) && operation[0] != GrantOperation::CreateGrant {
                let (by_new, mut by_old) = (caller(&new), caller(&old));
                by_old.source_arn.clone_from(&by_new.source_arn);
                let asked = |caller| Asked {
                    caller, operation: operation[0], encryption_context: Some(&context), new_grant: None,
                };
                prop_assert!(!permits(&new, &asked(&by_new)) || permits(&old, &asked(&by_old)));
            }
        }
    }
}
