//! The second evaluator. It knows no types: only JSON, texts, and the sentences of the documentation.

use super::*;

pub(super) fn allows(case: &Case, arn: &str) -> bool {
    let key_statements = case.key_policy["Statement"].as_array().expect("a list");
    let own = case.who.policies.iter().flatten();
    let own: Vec<(&Value, &Value)> = own
        .flat_map(|policy| {
            policy["Statement"].as_array().expect("a list").iter().map(move |one| (policy, one))
        })
        .collect();
    let on_key = |effect: &'static str| {
        key_statements
            .iter()
            .filter(move |one| one["Effect"] == effect && applies(one, &case.key_policy, case, arn))
    };
    let own_says = |effect: &str| {
        own.iter().any(|(policy, one)| one["Effect"] == effect && applies(one, policy, case, arn))
    };
    if on_key("Deny").any(|one| denies_caller(one, &case.who)) || own_says("Deny") {
        return false;
    }
    let direct = on_key("Allow").any(|one| allows_caller(one, &case.who));
    let account = on_key("Allow").any(|one| allows_account(one, &case.who));
    let own_allows = case.who.policies.is_none() || own_says("Allow");
    let no_second_side = case.who.account == OWN || case.who.service;
    direct && no_second_side || (direct || account) && own_allows || granted(case)
}

fn applies(statement: &Value, policy: &Value, case: &Case, arn: &str) -> bool {
    let action = case.action.as_str().to_lowercase();
    let names_action = |list: &Value| texts(list).iter().any(|one| like(&one.to_lowercase(), &action));
    let names_key = |list: &Value| {
        texts(list).iter().any(|one| {
            let six = |text: &str| text.splitn(6, ':').map(str::to_owned).collect::<Vec<_>>();
            one == "*" || six(one).iter().zip(six(arn)).all(|(pattern, part)| like(pattern, &part))
        })
    };
    let by_action = match &statement["Action"] {
        Value::Null => !names_action(&statement["NotAction"]),
        list => names_action(list),
    };
    let by_resource = match (&statement["Resource"], &statement["NotResource"]) {
        (Value::Null, Value::Null) => false,
        (Value::Null, list) => !names_key(list),
        (list, _) => names_key(list),
    };
    by_action && by_resource && conditions_hold(statement, policy, case)
}

fn texts(json: &Value) -> Vec<String> {
    match json {
        Value::Array(list) => list.iter().map(|one| one.as_str().expect("a text").to_owned()).collect(),
        one => vec![one.as_str().expect("a text").to_owned()],
    }
}

/// `*` and `?`, by recursion.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            like(&pattern[1..], text)
                || text.chars().next().is_some_and(|first| like(pattern, &text[first.len_utf8()..]))
        }
        Some('?') => text.chars().next().is_some_and(|first| like(&pattern[1..], &text[first.len_utf8()..])),
        Some(one) => text.strip_prefix(one).is_some_and(|rest| like(&pattern[one.len_utf8()..], rest)),
    }
}

fn listed(principals: &Value) -> Vec<String> {
    match principals {
        Value::Null => Vec::new(),
        Value::String(star) => vec![star.clone()],
        kinds => kinds.as_object().expect("an object").values().flat_map(texts).collect(),
    }
}

/// The names of the caller itself, and those of its account.
fn names(who: &Who) -> (Vec<String>, Vec<String>) {
    let account = if who.service {
        Vec::new()
    } else {
        vec![who.account.to_owned(), format!("arn:aws:iam::{}:root", who.account)]
    };
    let mut own: Vec<_> = std::iter::once(who.arn).chain(who.role).map(str::to_owned).collect();
    if who.arn.ends_with(":root") {
        own.extend(account.clone());
    }
    (own, account)
}

fn meets(list: &[String], names: &[String]) -> bool {
    list.iter().any(|one| names.contains(one))
}

fn denies_caller(statement: &Value, who: &Who) -> bool {
    let (own, account) = names(who);
    let (list, except) = (listed(&statement["Principal"]), listed(&statement["NotPrincipal"]));
    if except.is_empty() {
        return list.contains(&"*".to_owned()) || meets(&list, &own) || meets(&list, &account);
    }
    // "NotPrincipal" with "Deny": the account, the role and the session all have to be excepted.
    let root = who.arn.ends_with(":root");
    let account_out = who.service || meets(&except, &account);
    let role_out = who.role.is_none_or(|role| except.contains(&role.to_owned()));
    let itself_out = root || except.contains(&who.arn.to_owned());
    !(except.contains(&"*".to_owned()) || account_out && role_out && itself_out)
}

fn allows_caller(statement: &Value, who: &Who) -> bool {
    let (own, account) = names(who);
    let (list, except) = (listed(&statement["Principal"]), listed(&statement["NotPrincipal"]));
    if except.is_empty() {
        return list.contains(&"*".to_owned()) || meets(&list, &own);
    }
    !(except.contains(&"*".to_owned()) || meets(&except, &own) || meets(&except, &account))
}

fn allows_account(statement: &Value, who: &Who) -> bool {
    meets(&listed(&statement["Principal"]), &names(who).1)
}

fn conditions_hold(statement: &Value, policy: &Value, case: &Case) -> bool {
    let Some(block) = statement["Condition"].as_object() else { return true };
    block.iter().all(|(operator, keys)| {
        keys.as_object().expect("an object").iter().all(|(key, values)| {
            one_holds(operator, &key.to_lowercase(), &texts(values), policy["Version"] == "2012-10-17", case)
        })
    })
}

fn one_holds(operator: &str, key: &str, written: &[String], variables: bool, case: &Case) -> bool {
    let found = request_values(key, case);
    if operator == "Null" {
        return written.contains(&found.is_empty().to_string());
    }
    let if_exists = operator.ends_with("IfExists");
    let bare = operator.trim_end_matches("IfExists");
    let (set, bare) = bare.split_once(':').unwrap_or(("", bare));
    if found.is_empty() && if_exists {
        return true;
    }
    let negated = bare.contains("Not");
    let plain = bare.replace("Not", "");
    let matches = |value: &String| {
        written.iter().any(|text| {
            let text = if variables { fill_in(text, case) } else { Some(text.clone()) };
            text.is_some_and(|text| compare(&plain, &text, value))
        }) != negated
    };
    match (set, found.is_empty()) {
        ("ForAllValues", _) => found.iter().all(matches),
        ("ForAnyValue", _) => found.iter().any(matches),
        (_, true) => negated,
        (_, false) if negated => found.iter().all(matches),
        (_, false) => found.iter().any(matches),
    }
}

/// The one variable that is generated.
fn fill_in(text: &str, case: &Case) -> Option<String> {
    match request_values("aws:username", case).first() {
        _ if !text.contains("${aws:username}") => Some(text.to_owned()),
        Some(name) => Some(text.replace("${aws:username}", name)),
        None => None,
    }
}

fn compare(operator: &str, written: &str, found: &str) -> bool {
    match operator {
        "StringEquals" | "Bool" => written == found,
        "StringEqualsIgnoreCase" => written.to_lowercase() == found.to_lowercase(),
        "StringLike" => like(written, found),
        "ArnLike" | "ArnEquals" => {
            let parts = |text: &str| text.splitn(6, ':').map(str::to_owned).collect::<Vec<_>>();
            let (pattern, arn) = (parts(written), parts(found));
            pattern.len() == arn.len() && pattern.iter().zip(arn).all(|(one, other)| like(one, &other))
        }
        // Times of one form compare as texts.
        "DateLessThan" => found < written,
        "DateGreaterThan" => found > written,
        "DateEquals" => found == written,
        "DateLessThanEquals" => found <= written,
        // Of the two ranges that are generated, one is a leading number and one a single address.
        "IpAddress" => match written {
            "10.0.0.0/8" => found.starts_with("10."),
            single => single == format!("{found}/32"),
        },
        other => panic!("{other} is not generated"),
    }
}

fn request_values(key: &str, case: &Case) -> Vec<String> {
    let who = &case.who;
    let named = |pairs: &[(&str, &str)], name: &str| {
        let same = pairs.iter().filter(|(found, _)| found.to_lowercase() == name);
        same.map(|(_, value)| (*value).to_owned()).collect::<Vec<_>>()
    };
    if let Some(name) = key.strip_prefix("kms:encryptioncontext:") {
        return named(&case.context, name);
    }
    if let Some(name) = key.strip_prefix("aws:resourcetag/") {
        return named(&case.tags, name);
    }
    let list: Vec<String> = match key {
        "kms:encryptioncontextkeys" => case.context.iter().map(|(name, _)| (*name).to_owned()).collect(),
        "kms:viaservice" => who.via.iter().map(|via| format!("{via}.local-1.amazonaws.com")).collect(),
        "kms:calleraccount" => vec![who.account.to_owned()],
        "aws:principalarn" if who.role.is_some() => vec!["arn:aws:iam::000000000000:role/ops".to_owned()],
        "aws:principalarn" => vec![who.arn.to_owned()],
        "aws:username" => who.arn.split_once(":user/").into_iter().map(|(_, name)| name.to_owned()).collect(),
        "aws:currenttime" => vec![NOW.to_owned()],
        "aws:sourceip" => who.ip.iter().map(|ip| (*ip).to_owned()).collect(),
        "kms:multiregion" => vec!["true".to_owned()],
        "kms:multiregionkeytype" => vec!["PRIMARY".to_owned()],
        "kms:keyspec" => vec!["SYMMETRIC_DEFAULT".to_owned()],
        "kms:keyorigin" => vec!["AWS_KMS".to_owned()],
        "kms:resourcealiases" => vec!["alias/data".to_owned()],
        "kms:requestalias" if case.by_alias => vec!["alias/data".to_owned()],
        _ => Vec::new(),
    };
    list
}

fn granted(case: &Case) -> bool {
    case.grants.iter().any(|(grantee, operation, constraint)| {
        let to_caller = *grantee == case.who.arn || Some(*grantee) == case.who.role;
        let fits = match constraint {
            _ if *operation == GrantOperation::DescribeKey => true,
            None => true,
            Some((true, whole)) => *whole == case.context,
            Some((false, part)) => part.iter().all(|pair| case.context.contains(pair)),
        };
        to_caller && fits && format!("kms:{operation}") == case.action.as_str()
    })
}
