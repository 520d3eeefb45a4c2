use super::*;
use crate::auth::Credential;

fn principals() -> Principals {
    let principals = Principals::new("realm1", Vec::new());
    principals.put(lamp(7));
    principals
}

fn lamp(key: u8) -> Principal {
    Principal {
        authid: "lamp".into(),
        role: "device".into(),
        credentials: vec![Credential::CryptoSign([key; 32])],
    }
}

/// Two nodes; what the first says is taken down.
fn nodes() -> (Cookies, Arc<Mutex<Vec<CookieNews>>>, Cookies) {
    let day = Duration::from_secs(86_400);
    let (first, second) = (Cookies::new(100, day), Cookies::new(100, day));
    let said: Arc<Mutex<Vec<CookieNews>>> = Arc::default();
    let taken = Arc::clone(&said);
    first.tell_others(move |news| taken.lock().push(news));
    (first, said, second)
}

fn drawn(value: &str) -> Cookie {
    let (value, drawn) = (value.into(), true);
    Cookie { value, drawn }
}

fn shown(value: &str) -> Cookie {
    let (value, drawn) = (value.into(), false);
    Cookie { value, drawn }
}

fn is_known(cookies: &Cookies, principals: &Principals) -> bool {
    let peer = PeerFacts {
        cookie: Some(shown("crumb")),
        ..PeerFacts::from_address([10, 0, 0, 1].into())
    };
    cookies.identity("realm1", None, &peer, principals).is_some()
}

#[test]
fn a_login_is_known_on_other_nodes_and_over_on_all_at_once() {
    let (first, said, second) = nodes();
    let principals = principals();
    let principal = principals.by_authid("lamp").unwrap();
    first.bind(&drawn("crumb"), "realm1", &principal);
    let bound = said.lock().remove(0);
    assert!(!format!("{bound:?}").contains("crumb"), "the cookie itself is told to nobody");
    second.told(bound.clone());
    assert!(is_known(&first, &principals) && is_known(&second, &principals));
    first.forget("crumb");
    let over = said.lock().remove(0);
    second.told(over);
    assert!(!is_known(&first, &principals) && !is_known(&second, &principals));
    second.told(bound);
    assert!(!is_known(&second, &principals), "what was under way brings it not back");
}

#[test]
fn a_cookie_that_somebody_has_planted_is_not_bound_to_whom_it_was_planted_on() {
    let (first, _, _) = nodes();
    let principals = principals();
    principals.put(Principal {
        authid: "mallory".into(),
        ..lamp(9)
    });
    let [lamp, mallory] = ["lamp", "mallory"].map(|authid| principals.by_authid(authid).unwrap());
    first.bind(&shown("crumb"), "realm1", &lamp);
    assert!(!is_known(&first, &principals), "one that stood for nobody");
    first.bind(&drawn("crumb"), "realm1", &mallory);
    assert!(first.is_bound("crumb"));
    first.bind(&shown("crumb"), "realm1", &lamp);
    assert!(!is_known(&first, &principals), "one that stood for who had planted it");
    first.bind(&drawn("crumb"), "realm1", &lamp);
    first.bind(&shown("crumb"), "realm1", &lamp);
    assert!(is_known(&first, &principals), "one's own is renewed");
}

#[test]
fn a_login_is_over_when_its_principal_is_another_one() {
    let (first, said, second) = nodes();
    let principals = principals();
    first.bind(&drawn("crumb"), "realm1", &principals.by_authid("lamp").unwrap());
    second.told(said.lock().remove(0));
    principals.put(lamp(8));
    assert!(!is_known(&first, &principals) && !is_known(&second, &principals));
}

#[test]
fn a_node_that_may_miss_the_end_of_logins_relies_on_its_own_only() {
    let (first, said, second) = nodes();
    let principals = principals();
    first.bind(&drawn("crumb"), "realm1", &principals.by_authid("lamp").unwrap());
    second.told(said.lock().remove(0));
    for lost in [true, false] {
        if lost {
            second.told(CookieNews::Lost);
            first.told(CookieNews::Lost);
        } else {
            second.rely_on_nobody();
        }
        assert!(is_known(&first, &principals) && !is_known(&second, &principals));
        first.tell_again();
        second.told(said.lock().remove(0));
        assert!(is_known(&second, &principals), "a node that has come back is told anew");
    }
}
