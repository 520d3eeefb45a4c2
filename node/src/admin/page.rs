//! Pages of a list: how long they are, and where the next one begins.
//!
//! A token names the last entry of its page, not its number, so entries that come and go move no others.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tonic::Status;

use super::refusal::invalid;

/// An entry of a list that is ordered by realm and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) realm: String,
    pub(super) id: u64,
}

const DEFAULT: usize = 100;
const MAX: usize = 1_000;

/// How many entries a page has.
pub(super) fn size(wanted: u32) -> usize {
    match usize::try_from(wanted) {
        Ok(0) => DEFAULT,
        Ok(some) => some.min(MAX),
        Err(_) => MAX,
    }
}

impl Place {
    /// The token of a page that ends there.
    pub(super) fn token(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("1 {} {}", self.id, self.realm))
    }

    /// What a token stands for; `None` for the empty one.
    pub(super) fn read(token: &str) -> Result<Option<Self>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        let read = || {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
            let (id, realm) = text.strip_prefix("1 ")?.split_once(' ')?;
            let (id, realm) = (id.parse().ok()?, realm.to_owned());
            Some(Self { realm, id })
        };
        let place = read().ok_or_else(|| {
            let remedy = "send next_page_token of the page before, or leave it empty to begin anew";
            invalid("page_token is none that this method gave", remedy)
        });
        place.map(Some)
    }

    /// The id after which the list of a realm goes on; `None`: at its first. Realms before this one are over.
    pub(super) fn after(place: Option<&Self>, realm: &str) -> Option<Option<u64>> {
        match place {
            Some(place) if realm < place.realm.as_str() => None,
            Some(place) if realm == place.realm => Some(Some(place.id)),
            _ => Some(None),
        }
    }
}

/// Cuts a list that has one entry more than a page back to a page, and gives the token of the next one; empty after the last.
pub(super) fn cut<T>(entries: &mut Vec<T>, size: usize, place: impl Fn(&T) -> Place) -> String {
    if entries.len() <= size {
        return String::new();
    }
    entries.truncate(size);
    entries.last().map(|last| place(last).token()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_as_it_was_written_and_nothing_else_does() {
        let place = Place {
            realm: "com.a b".to_owned(),
            id: 7,
        };
        assert_eq!(Place::read(&place.token()).unwrap(), Some(place.clone()));
        assert_eq!(Place::read("").unwrap(), None);
        for wrong in [
            "x",
            "MQ",
            &URL_SAFE_NO_PAD.encode("2 7 realm"),
            &URL_SAFE_NO_PAD.encode("1 x realm"),
        ] {
            assert!(Place::read(wrong).unwrap_err().message().contains("page_token"), "{wrong}");
        }
        assert_eq!(Place::after(Some(&place), "com.a"), None);
        assert_eq!(Place::after(Some(&place), "com.a b"), Some(Some(7)));
        assert_eq!(Place::after(Some(&place), "com.b"), Some(None));
        assert_eq!(Place::after(None, "com.a"), Some(None));
    }

    #[test]
    fn a_page_that_is_not_the_last_has_a_token() {
        let place = |id: &u64| Place {
            realm: "r".to_owned(),
            id: *id,
        };
        let mut entries = vec![1, 2, 3];
        assert_eq!(cut(&mut entries, 3, place), "");
        assert_eq!(cut(&mut entries, 2, place), place(&2).token());
        assert_eq!((entries, size(0), size(5), size(5_000)), (vec![1, 2], 100, 5, 1_000));
    }
}
