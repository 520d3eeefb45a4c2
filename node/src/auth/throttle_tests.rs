use super::*;

fn source(text: &str) -> Source {
    Source::of(text.parse().unwrap())
}

const HERE: &str = "10.0.0.1";
const LAMP: Subject = Subject(1);

/// Failures of `source` until it is refused, and how long each waited.
fn waits(throttle: &mut Throttle, now: Instant, source: Source, subject: Subject) -> Vec<u128> {
    let mut waits = Vec::new();
    while let Verdict::After(delay) = throttle.begin(now, source, subject) {
        waits.push(delay.as_millis());
        assert!(waits.len() < 1000);
    }
    waits
}

#[test]
fn a_source_waits_longer_and_longer_and_is_refused_until_time_has_passed() {
    let (mut throttle, now) = (Throttle::new(Settings::default()), Instant::now());
    let waits = waits(&mut throttle, now, source(HERE), LAMP);
    assert_eq!(waits.len(), 20);
    assert_eq!(waits[..10], [0, 0, 0, 0, 0, 250, 500, 1000, 2000, 4000]);
    assert!(waits[10..].iter().all(|wait| *wait == 4000));
    assert_eq!(
        throttle.look(now, source(HERE), Subject(2)),
        Verdict::Refused,
        "whoever it says it is"
    );
    assert_eq!(
        throttle.look(now, source("10.0.0.2"), Subject(2)),
        Verdict::After(Duration::ZERO)
    );
    let later = now + Duration::from_secs(31);
    assert_ne!(throttle.begin(later, source(HERE), LAMP), Verdict::Refused);
    assert_eq!(
        throttle.begin(later, source(HERE), LAMP),
        Verdict::Refused,
        "one guess in half a minute"
    );
    let much_later = now + Duration::from_secs(3600);
    assert_eq!(throttle.look(much_later, source(HERE), LAMP), Verdict::After(Duration::ZERO));
}

#[test]
fn a_principal_is_guarded_against_many_sources_and_not_locked_out_of_its_own() {
    let (mut throttle, now) = (Throttle::new(Settings::default()), Instant::now());
    let home = source("192.168.0.7");
    assert_eq!(throttle.begin(now, home, LAMP), Verdict::After(Duration::ZERO));
    throttle.succeeded(now, home, LAMP);
    let mut refused = 0;
    for n in 0..100 {
        let verdict = throttle.begin(now, source(&format!("10.0.0.{n}")), LAMP);
        refused += usize::from(verdict == Verdict::Refused);
    }
    assert_eq!(refused, 50);
    assert_eq!(throttle.look(now, home, LAMP), Verdict::After(Duration::ZERO));
    assert_eq!(
        throttle.look(now, source("10.0.1.1"), Subject(2)),
        Verdict::After(Duration::ZERO)
    );
}

#[test]
fn what_other_nodes_report_counts_like_what_happened_here() {
    let (mut throttle, now) = (Throttle::new(Settings::default()), Instant::now());
    for _ in 0..30 {
        throttle.told(now, Report::Failed(source(HERE), LAMP));
    }
    assert_eq!(throttle.look(now, source(HERE), LAMP), Verdict::Refused);
    for n in 0..60 {
        throttle.told(now, Report::Failed(source(&format!("10.1.0.{n}")), LAMP));
    }
    assert_eq!(throttle.look(now, source("10.0.0.9"), LAMP), Verdict::Refused);
    throttle.told(now, Report::Succeeded(source("10.0.0.9"), LAMP));
    assert_eq!(throttle.look(now, source("10.0.0.9"), LAMP), Verdict::After(Duration::ZERO));
}

#[test]
fn success_takes_its_own_attempt_back_and_no_more() {
    let (mut throttle, now) = (Throttle::new(Settings::default()), Instant::now());
    for _ in 0..100 {
        assert_eq!(throttle.begin(now, source(HERE), LAMP), Verdict::After(Duration::ZERO));
        throttle.succeeded(now, source(HERE), LAMP);
    }
    let waits = waits(&mut throttle, now, source(HERE), Subject(2));
    assert_eq!(waits.len(), 20);
    throttle.succeeded(now, source(HERE), LAMP);
    assert_ne!(throttle.begin(now, source(HERE), Subject(2)), Verdict::Refused);
    assert_eq!(throttle.begin(now, source(HERE), Subject(2)), Verdict::Refused);
}

#[test]
fn addresses_of_one_ipv6_network_are_one_source_and_memory_is_bounded() {
    assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
    assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
    assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
    let settings = Settings {
        entries_max: 16,
        ..Settings::default()
    };
    let (mut throttle, now) = (Throttle::new(settings), Instant::now());
    for n in 0..10_000_u32 {
        throttle.begin(now, Source::of(IpAddr::from(n.to_be_bytes())), Subject(n.into()));
        // One that is touched again and again is not pushed out by the many.
        throttle.told(now, Report::Failed(source("172.16.0.1"), LAMP));
    }
    assert!(throttle.sources.current.len() + throttle.sources.previous.len() <= 32);
    assert_eq!(throttle.look(now, source("172.16.0.1"), LAMP), Verdict::Refused);
}
