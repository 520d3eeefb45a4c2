//! The replicated registry: what applying an entry of the log costs every node.

use divan::Bencher;
use ringfort::{
    router::{InvokePolicy, MatchPolicy, OnConflict, Op, OpOutcome, RegisterWishes, Registry},
    wamp::Uri,
};

use crate::{ME, request, session, sizes};

pub(crate) fn procedure(number: usize) -> Uri {
    Uri::from(format!("com.example.device.{number}.switch").as_str())
}

/// Procedures among `count`, over and over, far enough from each other that no cache holds what is looked for.
pub(crate) fn some(count: usize) -> impl Iterator<Item = Uri> {
    let wanted: Vec<Uri> = (0..1000).map(|step| procedure(step * 7919 % count)).collect();
    wanted.into_iter().cycle()
}

fn register(callee: u64, procedure: Uri) -> Op {
    Op::Register {
        session: session(callee),
        request: request(1),
        procedure,
        policy: MatchPolicy::Exact,
        wishes: RegisterWishes::NONE,
        invoke: InvokePolicy::Single,
        conflict: OnConflict::Refuse,
    }
}

/// A registry of `count` procedures of a thousand sessions.
fn filled(count: usize) -> Registry {
    let mut registry = Registry::default();
    for number in 0..count {
        registry.apply(number as u64 + 1, ME, &register(1 + number as u64 % 1000, procedure(number)));
    }
    registry
}

/// REGISTER and UNREGISTER of one more procedure.
#[divan::bench(args = sizes())]
fn apply_register_and_unregister(bencher: Bencher<'_, '_>, count: usize) {
    let mut registry = filled(count);
    let mut index = count as u64;
    let op = register(1, "com.example.another".into());
    bencher.bench_local(|| {
        let OpOutcome::Registered(registration) = registry.apply(index + 1, ME, &op) else {
            panic!("it is registered already");
        };
        let gone = Op::Unregister {
            session: session(1),
            request: None,
            registration,
        };
        index += 2;
        registry.apply(index, ME, &gone)
    });
}

/// A session that joins and leaves.
#[divan::bench(args = sizes())]
fn apply_join_and_leave(bencher: Bencher<'_, '_>, count: usize) {
    let mut registry = filled(count);
    let mut index = count as u64;
    let joined = Op::SessionJoined {
        session: session(5000),
        authid: "someone".to_owned(),
        authrole: "user".to_owned(),
        authmethod: "anonymous".into(),
        authprovider: "static".into(),
    };
    let gone = Op::SessionGone { session: session(5000) };
    bencher.bench_local(|| {
        registry.apply(index + 1, ME, &joined);
        index += 2;
        registry.apply(index, ME, &gone)
    });
}

/// The registration of a procedure that is there, each time another.
#[divan::bench(args = sizes())]
fn lookup_hit(bencher: Bencher<'_, '_>, count: usize) {
    let registry = filled(count);
    let mut wanted = some(count);
    bencher.bench_local(|| registry.lookup(&wanted.next().unwrap()).unwrap().id);
}

/// A procedure that nobody has registered.
#[divan::bench(args = sizes())]
fn lookup_miss(bencher: Bencher<'_, '_>, count: usize) {
    let registry = filled(count);
    let wanted = Uri::from("com.example.device.none.switch");
    bencher.bench_local(|| registry.lookup(divan::black_box(&wanted)).is_none());
}

/// A procedure that misses the exact ones and matches one of as many wildcard patterns, beside as many prefixes that it does not.
#[divan::bench(args = sizes())]
fn lookup_pattern(bencher: Bencher<'_, '_>, count: usize) {
    let mut registry = filled(count);
    for number in 0..count / 10 {
        for (policy, procedure) in [
            (MatchPolicy::Wildcard, format!("com.example..{number}.off")),
            (MatchPolicy::Prefix, format!("com.example.device.{number}.switches")),
        ] {
            let mut op = register(1, Uri::from(procedure.as_str()));
            if let Op::Register { policy: by, .. } = &mut op {
                *by = policy;
            }
            registry.apply(number as u64 + 1, ME, &op);
        }
    }
    let wanted: Vec<Uri> = (0..1000)
        .map(|step| Uri::from(format!("com.example.device.{}.off", step * 7919 % (count / 10)).as_str()))
        .collect();
    let mut wanted = wanted.into_iter().cycle();
    bencher.bench_local(|| registry.best_match(&wanted.next().unwrap()).unwrap().id);
}
