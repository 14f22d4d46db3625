//! What every backing store does, as tests that run on each of them.

pub(super) mod attrs;
pub(super) mod content;
pub(super) mod names;
pub(super) mod random;

use std::ffi::OsStr;

use super::{BackingNode, BackingStore, NodeRef, StoreErrorKind, StoreResult};

/// The kind of the failure of `outcome`.
pub(super) fn kind_of<T>(outcome: StoreResult<T>) -> StoreErrorKind {
    match outcome {
        Ok(_) => panic!("the call succeeded"),
        Err(failure) => failure.kind,
    }
}

/// A name.
pub(super) fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

/// All names of a directory, read a few at a time, sorted.
pub(super) fn list(dir: &dyn BackingNode, limit: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut cookie = 0;
    loop {
        let entries = dir.read_dir(cookie, limit).unwrap();
        assert!(entries.len() <= limit);
        let Some(last) = entries.last() else { break };
        cookie = last.cookie;
        names.extend(entries.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()));
    }
    names.sort();
    names
}

/// A fresh directory for one test.
fn scratch(store: &dyn BackingStore) -> NodeRef {
    store.root().make_dir(name("scratch"), 0o755).unwrap()
}

/// The whole suite as one test per rule; `$make` gives a fresh store (and whatever keeps it alive).
macro_rules! contract_suite {
    ($make:expr) => {
        crate::store::contract::contract_suite! { @run $make;
            names: a_created_file_is_found,
            names: names_that_lead_elsewhere_are_refused,
            names: creation_refuses_an_existing_name,
            names: a_missing_name_is_not_found,
            names: calls_on_names_need_a_directory,
            names: special_nodes_keep_kind_and_device,
            names: symlinks_are_returned_and_not_followed,
            names: links_count_names,
            names: links_refuse_directories_and_dead_nodes,
            names: an_unnamed_file_gets_its_name_later,
            names: unlink_and_rmdir_tell_kinds_apart,
            names: rename_replaces,
            names: rename_refuses_what_does_not_fit,
            names: rename_without_replacement,
            names: rename_exchanges,
            names: rename_of_one_file_to_its_other_name_does_nothing,
            names: a_directory_cannot_move_into_itself,
            names: listing_in_pieces_is_complete,
            names: cookies_survive_removal_and_insertion,
            names: a_removed_directory_takes_and_lists_nothing,
            names: long_names,
            names: handles_follow_the_node_and_go_stale,
            attrs: modes_are_exact,
            attrs: the_group_bit_of_a_directory_is_inherited,
            attrs: owner_and_group_change_apart,
            attrs: times_to_the_nanosecond,
            attrs: changes_of_content_move_mtime,
            attrs: xattrs_have_their_modes,
            attrs: xattrs_have_their_limits,
            attrs: special_nodes_have_no_user_xattrs,
            attrs: an_unlinked_node_stays_usable,
            content: reads_stop_at_the_end,
            content: writes_extend_and_leave_zeros,
            content: vectored_writes_are_contiguous,
            content: empty_writes_change_nothing,
            content: a_cut_reads_zero_after_growth,
            content: holes_are_found,
            content: sizes_beyond_a_tebibyte,
            content: allocation_keeps_the_size,
            content: a_reading_file_cannot_write,
            content: only_regular_files_open,
            content: permission_bits_do_not_stop_the_owner,
            content: an_unlinked_file_keeps_its_content,
            content: locks_exclude_and_end_with_the_file,
            content: syncs_succeed,
        }
    };
    (@run $make:expr; $($module:ident: $rule:ident,)*) => {
        $(
            #[test]
            fn $rule() {
                let store = $make;
                crate::store::contract::$module::$rule(&*store);
            }
        )*
    };
}
pub(super) use contract_suite;
