//! Permissions as the admin API writes them.

use ringfort_proto::admin::v1 as pb;

use crate::{
    router::{Disclosure, MatchPolicy, Permission, Right, Rights},
    wamp::Uri,
};

/// Everything, among the names of rights.
const ALL: &str = "all";
const DISCLOSURES: [(&str, Disclosure); 3] = [
    ("allow", Disclosure::Allow),
    ("deny", Disclosure::Deny),
    ("always", Disclosure::Always),
];

pub(super) fn told(permission: &Permission) -> pb::Permission {
    let names = |rights: Rights| match rights {
        Rights::ALL => vec![ALL.to_owned()],
        rights => rights.iter().map(|right| right.name().to_owned()).collect(),
    };
    let disclose = DISCLOSURES.iter().find(|(_, known)| Some(*known) == permission.disclose);
    pb::Permission {
        uri: permission.uri.to_string(),
        r#match: permission.policy.name().to_owned(),
        allow: names(permission.allow),
        deny: names(permission.deny),
        disclose: disclose.map_or(String::new(), |(name, _)| (*name).to_owned()),
    }
}

/// The reverse of [`told`].
pub(super) fn read(permission: &pb::Permission) -> Result<Permission, String> {
    Ok(Permission {
        uri: Uri::from(permission.uri.as_str()),
        policy: match permission.r#match.as_str() {
            "" => MatchPolicy::Exact,
            name => MatchPolicy::from_name(name).ok_or_else(|| format!("match {name} is none of exact, prefix and wildcard"))?,
        },
        allow: rights(&permission.allow)?,
        deny: rights(&permission.deny)?,
        disclose: match permission.disclose.as_str() {
            "" => None,
            name => {
                let known = DISCLOSURES.iter().find(|(known, _)| *known == name);
                let (_, disclosure) = known.ok_or_else(|| format!("disclose {name} is none of allow, deny and always"))?;
                Some(*disclosure)
            }
        },
    })
}

fn rights(names: &[String]) -> Result<Rights, String> {
    let mut rights = Rights::NONE;
    for name in names {
        if name == ALL {
            return Ok(Rights::ALL);
        }
        let right = Right::from_name(name).ok_or_else(|| format!("{name} is no right"))?;
        rights = rights.with(right);
    }
    Ok(rights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_read_as_they_are_told() {
        let some = Permission {
            uri: Uri::from("com."),
            policy: MatchPolicy::Wildcard,
            allow: Rights::NONE.with(Right::Call),
            deny: Rights::NONE.with(Right::SubscribePattern),
            disclose: Some(Disclosure::Always),
        };
        for permission in [some, Permission::all()] {
            assert_eq!(read(&told(&permission)), Ok(permission));
        }
        let with = |allow: &str, r#match: &str| pb::Permission {
            allow: vec![allow.to_owned()],
            r#match: r#match.to_owned(),
            ..pb::Permission::default()
        };
        assert!(read(&with("fly", "")).unwrap_err().contains("fly"));
        assert!(read(&with("call", "regex")).unwrap_err().contains("regex"));
    }
}
