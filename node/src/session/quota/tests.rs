use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 8));

fn sessions(sessions_max: u32) -> Quota {
    Quota {
        sessions_max,
        ..Quota::default()
    }
}

fn counted(quotas: &Quotas, scope: &str, reason: &str) -> u64 {
    let mut all = quotas.counts.all();
    all.find_map(|(s, r, count)| ((s, r) == (scope, reason)).then_some(count))
        .unwrap()
}

#[test]
fn without_limits_nobody_holds_anything() {
    let quotas = Arc::new(Quotas::default());
    let now = Instant::now();
    let mut pass = quotas.connection(now, &ListenerQuota::default(), HERE).unwrap();
    quotas.session(now, &mut pass, (&"realm1".into(), "device", "lamp")).unwrap();
    assert!(pass.is_none());
}

#[test]
fn a_source_has_as_many_connections_as_it_may_and_no_more() {
    let quotas = Arc::new(Quotas::new(sessions(2), []));
    let now = Instant::now();
    let open = |from| quotas.connection(now, &ListenerQuota::default(), from);
    let (first, _second) = (open(HERE).unwrap(), open(HERE).unwrap());
    assert_eq!(open(HERE).err(), Some((Scope::Source, Reason::Sessions)));
    assert!(open(THERE).is_ok(), "somebody else");
    drop(first);
    assert!(open(HERE).is_ok());
    assert_eq!(counted(&quotas, "source", "sessions_refused"), 1);
    let v6 = |text: &str| open(text.parse().unwrap());
    let (_a, _b) = (v6("2001:db8::1").unwrap(), v6("2001:db8::2").unwrap());
    assert!(v6("2001:db8::3").is_err(), "a /64 is one source");
    assert!(v6("2001:db8:0:1::3").is_ok());
}

#[test]
fn a_listener_is_limited_as_a_whole_and_who_comes_too_often_waits() {
    let often = Quota {
        handshakes_per_sec: 2,
        ..Quota::default()
    };
    let quotas = Arc::new(Quotas::default());
    let listener = quotas.listener(often);
    let now = Instant::now();
    let open = |at| quotas.connection(at, &listener, HERE).map(drop);
    assert_eq!(
        [open(now), open(now), open(now)],
        [Ok(()), Ok(()), Err((Scope::Listener, Reason::Handshakes))]
    );
    assert!(open(now + Duration::from_millis(600)).is_ok());
    assert_eq!(counted(&quotas, "listener", "handshakes_refused"), 1);
}

fn with_roles() -> Arc<Quotas> {
    let each = Quota {
        sessions_max: 1,
        subscriptions_max: 5,
        message_bytes_max: 1000,
        ..Quota::default()
    };
    let all = Quota {
        sessions_max: 2,
        subscriptions_max: 9,
        calls_max: 3,
        ..Quota::default()
    };
    let realm = RealmQuotas {
        realm: sessions(3),
        roles: BTreeMap::from([("device".to_owned(), (all, each))]),
    };
    Arc::new(Quotas::new(Quota::default(), [(Uri::from("realm1"), realm)]))
}

#[test]
fn principal_role_and_realm_count_each_by_itself() {
    let quotas = with_roles();
    let now = Instant::now();
    let join = |role: &str, authid: &str| {
        let mut pass = None;
        let joined = quotas.session(now, &mut pass, (&"realm1".into(), role, authid));
        joined.map(|()| pass.unwrap())
    };
    let mut lamp = join("device", "lamp").unwrap();
    assert_eq!(join("device", "lamp").err(), Some((Scope::Principal, Reason::Sessions)));
    let _fan = join("device", "fan").unwrap();
    assert_eq!(join("device", "door").err(), Some((Scope::Role, Reason::Sessions)));
    let _admin = join("admin", "admin").unwrap();
    assert_eq!(join("admin", "admin").err(), Some((Scope::Realm, Reason::Sessions)));
    lamp.end_session();
    assert!(
        join("device", "lamp").is_ok(),
        "whoever leaves makes room, also where the refused had taken a part"
    );
}

#[test]
fn the_shortest_message_counts_and_what_is_held_is_drawn_from_every_scope() {
    let quotas = with_roles();
    let join = |authid| {
        let mut pass = None;
        let who = (&"realm1".into(), "device", authid);
        quotas.session(Instant::now(), &mut pass, who).unwrap();
        pass.unwrap()
    };
    let (lamp, fan) = (join("lamp"), join("fan"));
    assert_eq!(lamp.message_bytes_max(1 << 24), 1000);
    let pools = |pass: &Pass| -> Vec<_> {
        let places = pass.connection.iter().chain(&pass.session);
        places.filter_map(|Place(meter)| meter.pool.clone()).collect()
    };
    assert_eq!(lamp.pools(), pools(&lamp).into_iter().collect());
    assert_eq!(
        pools(&lamp).len(),
        2,
        "its principal's and its role's; the realm limits only sessions"
    );
    assert!(!Arc::ptr_eq(&pools(&lamp)[0], &pools(&fan)[0]), "each principal has its own");
    assert!(
        Arc::ptr_eq(&pools(&lamp)[1], &pools(&fan)[1]),
        "they share that of their role"
    );
    let none = Quotas::default();
    assert_eq!(
        Pools::default(),
        none.listener(sessions(1))
            .0
            .into_iter()
            .filter_map(|m| m.pool.clone())
            .collect()
    );
}

#[test]
fn two_sessions_of_a_principal_share_its_rate() {
    let each = Quota {
        messages_per_sec: 10,
        bytes_per_sec: 1_000,
        ..Quota::default()
    };
    let realm = RealmQuotas {
        realm: Quota::default(),
        roles: BTreeMap::from([("device".to_owned(), (Quota::default(), each))]),
    };
    let quotas = Arc::new(Quotas::new(Quota::default(), [(Uri::from("realm1"), realm)]));
    let now = quotas.epoch + Duration::from_secs(5);
    let join = || {
        let mut pass = None;
        quotas.session(now, &mut pass, (&"realm1".into(), "device", "lamp")).unwrap();
        pass.unwrap()
    };
    let (mut one, mut two) = (join(), join());
    one.messages = 10;
    one.charge(now, 100);
    assert_eq!(one.until(), None, "a second's worth at once");
    two.messages = 5;
    two.charge(now, 100);
    assert_eq!(two.until(), Some(now + Duration::from_millis(500)));
    two.look(now + Duration::from_millis(499));
    assert!(two.until().is_some());
    two.look(now + Duration::from_millis(500));
    assert!(two.until().is_none());
    one.charge(now + Duration::from_secs(1), 10_000);
    assert_eq!(one.until(), Some(now + Duration::from_secs(10)), "bytes by themselves");
    assert_eq!(counted(&quotas, "principal", "messages_slowed"), 1);
    assert_eq!(counted(&quotas, "principal", "bytes_slowed"), 1);
}

#[test]
fn sources_that_have_nothing_are_forgotten() {
    let quotas = Arc::new(Quotas::new(sessions(2), []));
    let now = quotas.epoch + Duration::from_secs(5);
    let from = |number: u32| IpAddr::V4(number.into());
    let kept = quotas.connection(now, &ListenerQuota::default(), HERE).unwrap();
    for number in 0..5_000 {
        let at = now + Duration::from_millis(u64::from(number));
        drop(quotas.connection(at, &ListenerQuota::default(), from(number)));
    }
    assert!(quotas.sources.lock().meters.len() < 3_000);
    assert!(quotas.sources.lock().meters.contains_key(&Source::of(HERE)));
    drop(kept);
}
