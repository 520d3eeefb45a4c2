//! What a policy permits, worked out a second time from the text of the rule and nothing else.

/// A permission as the oracle reads it.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// `exact`, `prefix` or `wildcard`.
    pub(super) how: &'static str,
    pub(super) uri: String,
    pub(super) allow: Vec<&'static str>,
    pub(super) deny: Vec<&'static str>,
}

/// Somebody of whom the oracle is asked.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) authid: String,
    pub(super) role: usize,
}

fn filled(rule: &Rule, person: &Person) -> String {
    rule.uri.replace("{authid}", &person.authid)
}

fn matches(how: &str, pattern: &str, uri: &str) -> bool {
    match how {
        "exact" => pattern == uri,
        "prefix" => uri.len() >= pattern.len() && &uri[..pattern.len()] == pattern,
        _ => {
            let (pattern, uri): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), uri.split('.').collect());
            pattern.len() == uri.len() && (0..uri.len()).all(|n| pattern[n].is_empty() || pattern[n] == uri[n])
        }
    }
}

/// How many components a pattern names.
fn named(how: &str, pattern: &str) -> usize {
    match how {
        "prefix" => pattern.matches('.').count(),
        _ => pattern.split('.').filter(|part| !part.is_empty()).count(),
    }
}

/// True if the person may do `verb` with `uri`.
pub(super) fn may(roles: &[Vec<Rule>], person: &Person, verb: &str, uri: &str) -> bool {
    let mut hits: Vec<(&str, String, bool)> = Vec::new();
    for rule in &roles[person.role] {
        let (pattern, denies) = (filled(rule, person), rule.deny.contains(&verb));
        let one_component = !rule.uri.contains('{') || !person.authid.is_empty() && !person.authid.contains('.');
        let allows = rule.allow.contains(&verb) && one_component;
        if (denies || allows) && matches(rule.how, &pattern, uri) {
            hits.push((rule.how, pattern, denies));
        }
    }
    if hits.iter().any(|(how, ..)| *how == "exact") {
        return !hits.iter().any(|(how, _, denies)| *how == "exact" && *denies);
    }
    let longest = hits.iter().filter(|(how, ..)| *how == "prefix").map(|hit| hit.1.len()).max();
    hits.retain(|(how, pattern, _)| *how != "prefix" || Some(pattern.len()) == longest);
    let strongest = hits.iter().map(|(how, pattern, _)| named(how, pattern)).max();
    hits.retain(|(how, pattern, _)| Some(named(how, pattern)) == strongest);
    !hits.is_empty() && !hits.iter().any(|(.., denies)| *denies)
}

/// True if the person may do `verb` with every URI of the world that the pattern matches.
pub(super) fn may_all(roles: &[Vec<Rule>], person: &Person, verb: &str, how: &str, pattern: &str, world: &[String]) -> bool {
    let mut meant = world.iter().filter(|uri| matches(how, pattern, uri));
    meant.all(|uri| may(roles, person, verb, uri))
}
