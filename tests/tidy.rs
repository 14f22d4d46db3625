//! The rules of the house, as tests over the source tree.
//!
//! Each rule is a function from text to complaints, so that the last module here can show that each one
//! is able to fail.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 70;

/// The layers of the file system, lowest first: a module uses only those of a lower row.
const LAYERS: &[&[&str]] = &[
    &["format", "crypto", "store", "telemetry"],
    &["config"],
    &["keys"],
    &["journal"],
    &["file"],
    &["names"],
    &["volume"],
    &["maintenance", "fs"],
    &["fuse"],
    &["serve"],
    &["cli"],
    &["main"],
];

/// The layers of kms-core. Modules joined by `+` use each other: an error names what of the model it is about, a caller
/// carries its policies, and a client of a service elsewhere writes what the wire reads.
const KMS_LAYERS: &[&[&str]] = &[
    &["model+error+policy"],
    &["blob", "seal", "client+wire"],
    &["audit"],
    &["store", "custody", "import"],
    &["service"],
    &["keystore"],
    &["lib"],
];

/// Where words of the operating system's interface may stand, and why. A path that ends in `/` is a folder.
struct Allowance {
    word: &'static str,
    places: &'static [(&'static str, &'static str)],
}

const ALLOWANCES: &[Allowance] = &[
    Allowance {
        word: "libc",
        places: &[
            ("src/fuse/errno.rs", "the table from errors to errno"),
            ("src/store/posix/", "errno to the errors of the store, and the flags that it opens with"),
            ("src/store/sys.rs", "the system calls that rustix does not have"),
        ],
    },
    Allowance {
        word: "Errno",
        places: &[
            ("src/cli/", "what mount and umount answer, and what is wrong with a path that a user named"),
            ("src/fuse/errno.rs", "the table from errors to errno"),
            (
                "src/fuse/adapter.rs",
                "replies of the protocol itself: no such request, a caught panic, a short buffer",
            ),
            ("src/fuse/mountinfo.rs", "reads the kernel's list of mounts before any store exists"),
            ("src/fuse/session.rs", "errors of mount and umount, which are not requests"),
            ("src/store/posix/", "errno to the errors of the store"),
            ("src/store/sys.rs", "the system calls that rustix does not have"),
        ],
    },
    Allowance {
        word: "std::fs",
        places: &[
            ("src/store/", "the backing directory"),
            ("src/cli/", "files that the command line names"),
            ("src/main.rs", "as the command line"),
            ("kms-core/src/keystore/", "the keystore's own directory"),
            ("kms-core/src/custody/pkcs11/pin.rs", "the PIN of a token"),
        ],
    },
    Allowance {
        word: "unsafe",
        places: &[
            ("src/crypto/siv/mod.rs", "calls of code for instructions that the machine was asked for before"),
            ("src/store/sys.rs", "system calls that rustix does not have"),
        ],
    },
    Allowance {
        word: "dek",
        places: &[("src/format/slot.rs", "the field names of the key slot in the format page")],
    },
];

/// Words that the house does not use, and the one that it does.
const WORDS: &[(&str, &str)] = &[
    ("rekey", "rewrap or reencrypt"),
    ("re_wrap", "rewrap"),
    ("shred", "erase"),
    ("chunk_index", "block index"),
];

/// Spelled apart, so that this file keeps its own rule.
const OPEN_WORK: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// A text with comments, strings and characters blanked, and line by line as long as before.
fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(bytes, at);
        if end == at {
            out.push(char::from(bytes[at]));
            at += 1;
        } else {
            out.extend(source[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// The end of the comment, string or character that starts at `at`, or `at` itself.
fn token_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let find = |from: usize, what: &[u8]| {
        let place = rest[from..].windows(what.len()).position(|window| window == what);
        place.map_or(bytes.len(), |place| at + from + place + what.len())
    };
    if rest.starts_with(b"//") {
        return find(0, b"\n").saturating_sub(1).max(at + 2);
    }
    if rest.starts_with(b"/*") {
        return find(2, b"*/");
    }
    let fresh = at == 0 || !is_word(bytes[at - 1]);
    if fresh && rest.starts_with(b"r") {
        let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            let mut end = vec![b'"'];
            end.resize(1 + hashes, b'#');
            return find(2 + hashes, &end);
        }
    }
    match rest {
        [b'"', ..] => at + quoted_len(rest, b'"'),
        [b'\'', b'\\', ..] => at + quoted_len(rest, b'\''),
        [b'\'', _, b'\'', ..] => at + 3,
        _ => at,
    }
}

fn quoted_len(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// The places where `word` stands in `code` as a word of its own.
fn word_places(code: &str, word: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    let alone = |at: &usize| {
        let after = at + word.len();
        (*at == 0 || !is_word(bytes[at - 1])) && bytes.get(after).is_none_or(|byte| !is_word(*byte))
    };
    code.match_indices(word).map(|(at, _)| at).filter(alone).collect()
}

fn line_of(code: &str, at: usize) -> usize {
    1 + code[..at].matches('\n').count()
}

/// The end of the item that starts at `at`: behind its block, or behind its semicolon.
fn item_end(code: &str, at: usize) -> usize {
    let (mut braces, mut others) = (0, 0);
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'{' => braces += 1,
            b'}' if braces <= 1 => return offset + 1,
            b'}' => braces -= 1,
            b'(' | b'[' => others += 1,
            b')' | b']' => others -= 1,
            b';' if braces == 0 && others == 0 => return offset + 1,
            _ => {}
        }
    }
    code.len()
}

/// Without the items that are compiled for tests only.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let (mut out, mut rest) = (String::new(), code);
    while let Some(at) = rest.find(MARK) {
        let end = item_end(rest, at + MARK.len());
        out.push_str(&rest[..at]);
        out.extend(rest[at..end].chars().filter(|c| *c == '\n'));
        rest = &rest[end..];
    }
    out + rest
}

fn check_length(source: &str) -> Vec<String> {
    let lines = source.lines().count();
    if lines > MAX_FILE_LINES { vec![format!("{lines} lines")] } else { Vec::new() }
}

fn check_functions(source: &str) -> Vec<String> {
    let code = code_only(source);
    let mut found = Vec::new();
    for at in word_places(&code, "fn") {
        let name: String = code[at + 2..].trim_start().chars().take_while(|c| is_word(*c as u8)).collect();
        let (first, last) = (line_of(&code, at), line_of(&code, item_end(&code, at)));
        if !name.is_empty() && last - first + 1 > MAX_FUNCTION_LINES {
            found.push(format!("line {first}: fn {name} has {} lines", last - first + 1));
        }
    }
    found
}

fn check_text(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in source.lines().enumerate() {
        if !line.is_ascii() {
            found.push(format!("line {}: not ASCII", number + 1));
        }
        for word in OPEN_WORK.iter().filter(|word| !word_places(line, word).is_empty()) {
            found.push(format!("line {}: {word}", number + 1));
        }
    }
    let code = code_only(source);
    found.extend(
        code.match_indices("#[ignore]")
            .map(|(at, _)| format!("line {}: a test is ignored without a reason", line_of(&code, at))),
    );
    found
}

/// `path` is the file's path in the repository, with `/` between folders.
fn check_words(path: &str, source: &str) -> Vec<String> {
    let code = without_tests(&code_only(source));
    let mut found = Vec::new();
    for Allowance { word, places } in ALLOWANCES {
        let allowed = places
            .iter()
            .any(|(place, _)| if place.ends_with('/') { path.starts_with(place) } else { path == *place });
        if !allowed {
            found.extend(
                word_places(&code, word).iter().map(|at| format!("line {}: {word}", line_of(&code, *at))),
            );
        }
    }
    for (word, instead) in WORDS {
        found.extend(source.match_indices(word).map(|(at, _)| {
            format!("line {}: {word:?} (the word of the house is {instead})", line_of(source, at))
        }));
    }
    found
}

/// The layer of a module, and the modules that are one with it.
fn layer<'a>(layers: &[&[&'a str]], module: &str) -> Option<(usize, &'a str)> {
    let group =
        |row: &&[&'a str]| row.iter().copied().find(|group| group.split('+').any(|name| name == module));
    layers.iter().enumerate().find_map(|(rank, row)| Some((rank, group(row)?)))
}

/// The modules that `code` reaches through `root::`, as `root::a` or `root::{a, b}`.
fn used_modules(code: &str, root: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in word_places(code, root) {
        let Some(rest) = code[at + root.len()..].strip_prefix("::") else { continue };
        let group =
            rest.strip_prefix('{').map_or(rest, |inner| &inner[..inner.find('}').unwrap_or(inner.len())]);
        let names: Vec<&str> =
            if group.len() == rest.len() { vec![rest] } else { group.split(',').collect() };
        for name in names {
            let name: String = name.trim_start().chars().take_while(|c| is_word(*c as u8)).collect();
            found.push((line_of(code, at), name));
        }
    }
    found
}

/// `path` is the file's path below the crate's `src`.
fn check_layers(layers: &[&[&str]], path: &str, source: &str) -> Vec<String> {
    let own = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
    if own == "lib" {
        return Vec::new();
    }
    let Some((own_rank, own_group)) = layer(layers, own) else {
        return vec![format!("module {own} has no layer")];
    };
    let code = without_tests(&code_only(source));
    let mut found = Vec::new();
    let mut used = used_modules(&code, "crate");
    used.extend(used_modules(&code, "kmsfs"));
    for (line, module) in used {
        match layer(layers, &module) {
            Some((rank, group)) if rank < own_rank || group == own_group => {}
            Some(_) => {
                found.push(format!("line {line}: {own} uses {module}, which stands above or beside it"))
            }
            // A name of the crate root, such as a re-export, has no layer of its own.
            None => {}
        }
    }
    found
}

fn check_manifest(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut section, mut previous) = ("", "");
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && line.contains('=') {
            let explained = previous.starts_with('#');
            let inherited = line.contains("workspace = true") || line.contains("path =");
            if !explained && !inherited {
                found.push(format!(
                    "{section} {}: no reason above it",
                    line.split(' ').next().unwrap_or(line)
                ));
            }
        }
        previous = line;
    }
    found
}

/// Relative links of a page that lead nowhere.
fn check_links(page: &Path, text: &str) -> Vec<String> {
    let folder = page.parent().expect("a page lies in a folder");
    let mut found = Vec::new();
    for (at, _) in text.match_indices("](") {
        let link = text[at + 2..].split(')').next().unwrap_or("");
        let target = link.split('#').next().unwrap_or("");
        if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
            found.push(format!("line {}: {link} leads nowhere", line_of(text, at)));
        }
    }
    found
}

/// Sections and rules of the format page that the code cites and the page does not have.
fn check_citations(source: &str, page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, start) in source.match_indices("format.md, \"") {
        let section = source[at + start.len()..].split('"').next().unwrap_or("");
        if !page.lines().any(|line| line.trim_start_matches('#').trim() == section && line.starts_with('#')) {
            found.push(format!("line {}: docs/format.md has no section {section:?}", line_of(source, at)));
        }
    }
    for (at, _) in source.match_indices('[') {
        let rule = source[at + 1..].split(']').next().unwrap_or("");
        let shaped = rule.split_once('-').is_some_and(|(name, number)| {
            (2..=3).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_uppercase())
                && !number.is_empty()
                && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        if shaped && !page.contains(&format!("[{rule}]")) {
            found.push(format!("line {}: docs/format.md has no rule [{rule}]", line_of(source, at)));
        }
    }
    found
}

mod tree {
    //! The rules on the tree as it stands.

    use super::*;

    fn root() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
    }

    /// Every file of the repository but what is built or hidden, with its path from the root.
    fn files() -> Vec<(String, PathBuf)> {
        let (mut found, mut folders) = (Vec::new(), vec![root()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
                let kind = entry.file_type().unwrap();
                if kind.is_dir() && name != "target" && !name.starts_with('.') {
                    folders.push(path);
                } else if kind.is_file() {
                    let short = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                    found.push((short, path));
                }
            }
        }
        found.sort();
        found
    }

    fn texts(extension: &str) -> Vec<(String, String)> {
        let of_kind = |(short, _): &(String, PathBuf)| short.ends_with(extension);
        let read = |(short, path)| (short, std::fs::read_to_string(path).unwrap());
        files().into_iter().filter(of_kind).map(read).collect()
    }

    fn expect_none(check: impl Fn(&str, &str) -> Vec<String>, texts: Vec<(String, String)>) {
        assert!(!texts.is_empty(), "the rule looks at something");
        let complaints: Vec<String> = texts
            .iter()
            .flat_map(|(path, text)| check(path, text).into_iter().map(move |what| format!("{path}: {what}")))
            .collect();
        assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
    }

    fn below(prefix: &'static str) -> Vec<(String, String)> {
        let strip = |(path, text): (String, String)| Some((path.strip_prefix(prefix)?.to_owned(), text));
        texts(".rs").into_iter().filter_map(strip).collect()
    }

    #[test]
    fn files_are_short() {
        expect_none(|_, text| check_length(text), texts(".rs"));
    }

    #[test]
    fn functions_are_short() {
        expect_none(|_, text| check_functions(text), texts(".rs"));
    }

    #[test]
    fn sources_are_ascii_and_finished() {
        let mut sources = texts(".rs");
        for (path, file) in files().into_iter().filter(|(path, _)| path.starts_with("scripts/")) {
            sources.push((path, std::fs::read_to_string(file).unwrap()));
        }
        expect_none(|_, text| check_text(text), sources);
    }

    #[test]
    fn words_stand_only_where_they_may() {
        let product = |(path, _): &(String, String)| {
            path.contains("src/") && !path.contains("/tests/") && !path.ends_with("/tests.rs")
        };
        expect_none(check_words, texts(".rs").into_iter().filter(product).collect());
    }

    #[test]
    fn layers_go_one_way() {
        expect_none(|path, text| check_layers(LAYERS, path, text), below("src/"));
        expect_none(|path, text| check_layers(KMS_LAYERS, path, text), below("kms-core/src/"));
    }

    #[test]
    fn dependencies_have_reasons() {
        expect_none(|_, text| check_manifest(text), texts("Cargo.toml"));
    }

    #[test]
    fn links_lead_somewhere() {
        expect_none(|path, text| check_links(&root().join(path), text), texts(".md"));
    }

    #[test]
    fn citations_of_the_format_page_hold() {
        let page = std::fs::read_to_string(root().join("docs/format.md")).unwrap();
        let own = |(path, _): &(String, String)| path != "tests/tidy.rs";
        expect_none(|_, text| check_citations(text, &page), texts(".rs").into_iter().filter(own).collect());
    }
}

mod checkers {
    //! Every rule is able to fail.

    use super::*;

    #[test]
    fn code_is_told_from_text() {
        let source = "a /* b\n */ \"c \\\" //\" 'd' '\\'' 'life r#\"e \" f\"# g // h\ni r";
        let code = code_only(source);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "'life", "g", "i", "r"]);
        assert_eq!(code.lines().count(), source.lines().count());
    }

    #[test]
    fn long_files_and_functions() {
        assert!(check_length(&"\n".repeat(601)).len() == 1 && check_length(&"\n".repeat(600)).is_empty());
        let long =
            |lines: usize| format!("fn f<T>(a: [u8; 4])\nwhere T: Fn() {{\n{}}}", "x;\n".repeat(lines - 3));
        assert!(check_functions(&long(70)).is_empty());
        assert_eq!(check_functions(&long(71)), ["line 1: fn f has 71 lines"]);
        assert!(check_functions("trait T { fn f(); }\nfn g() {}").is_empty());
        let hidden = format!("fn f() {{ let s = \"}}\"; // }}\n{}}}", "x;\n".repeat(80));
        assert_eq!(check_functions(&hidden).len(), 1, "braces in text end no function");
    }

    #[test]
    fn unfinished_and_foreign_text() {
        assert_eq!(check_text("a \u{2264} b").len(), 1);
        assert_eq!(check_text(&format!("// {} later", OPEN_WORK[0])).len(), 1);
        assert_eq!(check_text("#[ignore]\nfn f() {}").len(), 1);
        assert!(check_text("#[ignore = \"needs a device\"]\nlet mastodon;").is_empty());
    }

    #[test]
    fn words_out_of_place() {
        assert_eq!(check_words("src/fs/dir.rs", "use libc::c_int;").len(), 1);
        assert_eq!(check_words("src/fs/dir.rs", "std::fs::read(p)").len(), 1);
        assert_eq!(check_words("src/fs/dir.rs", "unsafe { f() }").len(), 1);
        assert_eq!(check_words("src/crypto/siv/wide.rs", "unsafe { f() }").len(), 1);
        assert_eq!(check_words("src/keys/pool.rs", "let dek = 1; // rekey").len(), 2);
        assert!(check_words("src/store/sys.rs", "unsafe { libc::fcntl() }").is_empty());
        assert!(check_words("src/fs/dir.rs", "// libc\n#[cfg(test)]\nmod tests { use std::fs; }").is_empty());
        assert_eq!(check_words("src/fs/dir.rs", "#[cfg(test)]\nmod tests;\nuse std::fs;").len(), 1);
    }

    #[test]
    fn imports_that_go_up() {
        let check = |path, text| check_layers(LAYERS, path, text);
        assert_eq!(check("file/read.rs", "use crate::fs::Volume;").len(), 1);
        assert_eq!(check("crypto/mac.rs", "use crate::{format::Entry, store};").len(), 2);
        assert_eq!(check("keys/ring.rs", "fn f() { crate::volume::open() }").len(), 1);
        assert_eq!(check("brandnew/mod.rs", "").len(), 1);
        assert!(check("fs/dir.rs", "use crate::file::EncryptedFile; use crate::fs::x;").is_empty());
        assert!(check_layers(KMS_LAYERS, "error.rs", "use crate::model::KeyId;").is_empty());
        assert!(check("file/read.rs", "#[cfg(test)]\nmod tests { use crate::fs::Volume; }").is_empty());
    }

    #[test]
    fn dependencies_without_reasons() {
        let manifest = "[dependencies]\n# Why.\na = \"1\"\nb = \"1\"\nc.workspace = true\n[features]\nx = []";
        assert_eq!(check_manifest(manifest), ["[dependencies] b: no reason above it"]);
    }

    #[test]
    fn links_and_citations_that_lead_nowhere() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert_eq!(check_links(&page, "[a](no/such/file.md#x) [b](Cargo.toml) [c](https://x/y)").len(), 1);
        let page = "# Format\n## Seal\n- [SL-1] A reader MUST";
        assert_eq!(check_citations("format.md, \"Sael\"; format.md, \"Seal\"", page).len(), 1);
        assert_eq!(check_citations("// [SL-1] and [SL-2]; a[X - 1]; [u8; 4]", page).len(), 1);
    }
}
