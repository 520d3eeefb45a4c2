//! Reads every counter and gauge of the node for one scrape.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use super::{
    Observed, catalogue,
    probes::{lag, lease},
};
use crate::{
    cluster::{
        drain::Phase as DrainPhase,
        link::{Counters, LinkState, Phase},
        member::Stage,
    },
    session::realm::RealmHandle,
    telemetry::{
        Page,
        certificates::expires,
        names as m,
        process::{Process, disk},
        traces::{Counts, Tracer},
    },
};

/// See the module.
pub(super) struct Collector(pub(super) Observed);

impl Collector {
    /// All of it as Prometheus text, apart from what the recorder of events has. `ready` is what `/readyz` says.
    pub(super) fn collect(&self, ready: bool) -> String {
        let began = Instant::now();
        let mut page = Page::default();
        self.realms(&mut page);
        self.sessions(&mut page);
        self.outboxes(&mut page);
        self.membership(&mut page, ready);
        self.consensus(&mut page);
        self.links(&mut page);
        self.stores(&mut page);
        self.traces_and_settings(&mut page);
        process(&mut page);
        page.set_f64(&m::SCRAPE_SECONDS, &[], began.elapsed().as_secs_f64());
        page.render()
    }

    fn realms(&self, page: &mut Page) {
        // Those that clients can join: one that was removed is not shown for ever.
        for realm in self.0.source.realms.all() {
            one_realm(page, &realm.handle);
        }
    }

    fn sessions(&self, page: &mut Page) {
        let (failed, refused) = self.0.service.realms.guard.counts();
        page.set(&m::LOGINS_FAILED, &[], failed);
        page.set(&m::LOGINS_REFUSED, &[], refused);
        for (scope, what, count) in self.0.service.realms.quotas.counts.all() {
            page.set(&m::QUOTAS_MET, &[scope, what], count);
        }
        page.set(&m::CERTIFICATE_SESSIONS_REVOKED, &[], self.0.service.sessions.revoked());
        for (of, file) in &self.0.certificates {
            if let Some(at) = expires(file) {
                page.set_f64(&m::CERTIFICATE_EXPIRES, &[of], at);
            }
        }
        page.set(&m::CONNECTIONS_MAX, &[], self.0.connections_max as u64);
    }

    fn outboxes(&self, page: &mut Page) {
        let outboxes = self.0.service.sessions.outboxes();
        let (mut bytes, mut largest, mut messages, mut waiting) = (0, 0, 0, 0);
        for outbox in &outboxes {
            let (queued_bytes, queued_messages) = outbox.queued();
            bytes += queued_bytes;
            messages += queued_messages;
            largest = queued_bytes.max(largest);
            waiting += usize::from(queued_bytes > 0);
        }
        page.set(&m::CONNECTIONS, &[], outboxes.len() as u64);
        page.set(&m::OUTBOX_BYTES, &[], bytes as u64);
        page.set(&m::OUTBOX_BYTES_LARGEST, &[], largest as u64);
        page.set(
            &m::OUTBOX_BYTES_MAX,
            &[],
            self.0.service.current().limits.outbox_bytes_max as u64,
        );
        page.set(&m::OUTBOX_MESSAGES, &[], messages as u64);
        page.set(&m::OUTBOXES_WAITING, &[], waiting as u64);
        let stats = &self.0.service.stats;
        for (reason, count) in [
            ("full", &stats.events_dropped_full),
            ("given_way", &stats.events_given_way),
            ("size", &stats.events_dropped_size),
            ("payload", &stats.events_dropped_payload),
        ] {
            page.set(&m::OUTBOX_EVENTS_DROPPED, &[reason], count.load(Relaxed));
        }
        page.set(&m::OUTBOX_EVENTS_HELD, &[], stats.events_held.load(Relaxed));
        page.set(&m::OUTBOX_REPLACED, &[], stats.replaced_by_error.load(Relaxed));
        page.set(&m::SLOW_CONSUMERS, &[], stats.slow_consumers.load(Relaxed));
    }

    fn membership(&self, page: &mut Page, ready: bool) {
        let inspect = &self.0.source.inspect;
        let member = matches!(*inspect.stage.borrow(), Stage::Member(_));
        page.set(&m::READY, &[], ready.into());
        page.set(&m::MEMBER, &[], member.into());
        let drain = inspect.drain.now();
        page.set(&m::DRAINING, &[], (drain.phase != DrainPhase::Serving).into());
        for phase in DrainPhase::ALL {
            page.set(&m::DRAIN_PHASE, &[phase.name()], (drain.phase == phase).into());
        }
        page.set(&m::DRAIN_SESSIONS_LEFT, &[], drain.sessions_left as u64);
        page.set(&m::MEMBERS, &[], inspect.view.borrow().table.live().count() as u64);
        page.set(&m::MEMBERS_EXPECTED, &[], self.0.members_expected as u64);
        page.set_f64(&m::LEASE, &[], lease(inspect, Instant::now()).as_secs_f64());
        page.set(&m::LOG_QUEUE, &[], inspect.shared.ops.len() as u64);
        let (mut live, mut suspected) = (0, 0);
        if let Some(heard) = &inspect.heard {
            let heard = heard.borrow();
            live = heard.values().filter(|seen| seen.live).count();
            suspected = heard.len() - live;
        }
        page.set(&m::GOSSIP_NODES, &["live"], live as u64);
        page.set(&m::GOSSIP_NODES, &["suspected"], suspected as u64);
    }

    fn consensus(&self, page: &mut Page) {
        let inspect = &self.0.source.inspect;
        let leadership = inspect.consensus.leadership().borrow().clone();
        let log = inspect.consensus.log_state();
        page.set(&m::RAFT_LEADER, &[], leadership.is_me.into());
        page.set(&m::RAFT_LEADER_KNOWN, &[], leadership.leader.is_some().into());
        page.set(&m::RAFT_TERM, &[], leadership.term);
        let age = inspect.consensus.quorum_contact_age().unwrap_or_default();
        page.set_f64(&m::RAFT_QUORUM_AGE, &[], age.as_secs_f64());
        let voters = inspect.consensus.members().iter().filter(|member| member.voter).count();
        page.set(&m::RAFT_VOTERS, &[], voters as u64);
        page.set(&m::RAFT_LAST, &[], log.last.unwrap_or(0));
        page.set(&m::RAFT_COMMITTED, &[], log.committed.unwrap_or(0));
        page.set(&m::RAFT_APPLIED, &[], log.applied);
        page.set(&m::RAFT_LAG, &[], lag(inspect));
        page.set(&m::RAFT_SNAPSHOT, &[], log.snapshot.unwrap_or(0));
        page.set(&m::RAFT_DURABLE, &[], log.durable.into());
        page.set(&m::RAFT_SYNCS, &[], log.syncs);
        page.set(&m::RAFT_SYNCED, &[], log.synced_writes);
    }

    fn links(&self, page: &mut Page) {
        let links = self.0.source.inspect.shared.links();
        page.set(&m::LINK_UNROUTABLE, &[], links.map_or(0, |links| links.unroutable()));
        // Two lives of one node may be in the table for a moment; the later one, which is last, is shown.
        for link in links.map(|links| links.link_states()).unwrap_or_default() {
            one_link(page, &link);
        }
    }

    fn stores(&self, page: &mut Page) {
        for (name, store) in &self.0.stores {
            let stats = store.stats();
            page.set(&m::STORE_QUEUED, &[name], store.queued_bytes() as u64);
            page.set(&m::STORE_WRITTEN, &[name], stats.written);
            page.set(&m::STORE_BATCHES, &[name], stats.batches);
            page.set(&m::STORE_FAILED, &[name], stats.failed);
            page.set(&m::STORE_DROPPED, &[name], stats.dropped);
        }
        if let Some((free, all)) = self.0.data_dir.as_deref().and_then(disk) {
            page.set(&m::DISK_FREE, &[], free);
            page.set(&m::DISK_SIZE, &[], all);
        }
    }
}

impl Collector {
    fn traces_and_settings(&self, page: &mut Page) {
        let (refused, waiting) = self.0.source.settings.look();
        page.set(&m::SETTINGS_REFUSED, &[], refused.into());
        page.set(&m::SETTINGS_WAITING, &[], waiting as u64);
        let none = Counts::default();
        let counts = self.0.tracer.as_deref().map_or(&none, Tracer::counts);
        for (outcome, count) in [
            ("exported", &counts.exported),
            ("overflowed", &counts.overflowed),
            ("failed", &counts.failed),
        ] {
            page.set(&m::TRACE_SPANS, &[outcome], count.load(Relaxed));
        }
        page.set(&m::TRACES_BOUNDED, &["own"], counts.own_bounded.load(Relaxed));
        page.set(&m::TRACES_BOUNDED, &["client"], counts.clients_bounded.load(Relaxed));
    }
}

fn one_realm(page: &mut Page, realm: &RealmHandle) {
    let name = realm.name();
    let shell = realm.stats();
    for ([transport, tls, serializer], count) in shell.by_wire.iter() {
        page.set(&m::SESSIONS, &[name, transport, tls, serializer], count as u64);
    }
    page.set(&m::SESSIONS_JOINED, &[name], shell.joined);
    page.set(&m::REALM_INPUTS, &[name], shell.inputs);
    page.set(&m::REALM_SENT, &[name], shell.sent);
    page.set(&m::REALM_UNSENT, &[name, "nobody"], shell.sent_to_nobody);
    page.set(&m::REALM_UNSENT, &[name, "undeliverable"], shell.undeliverable);
    // The lock is held for a copy of counters that lie together and a few lengths.
    let (stats, topics, registrations, sessions) = realm.with_core(|core| {
        let registry = core.registry();
        (
            *core.stats(),
            core.topic_count(),
            registry.registration_count(),
            registry.sessions().len(),
        )
    });
    page.set(&m::REALM_TOPICS, &[name], topics as u64);
    page.set(&m::REALM_REGISTRATIONS, &[name], registrations as u64);
    page.set(&m::REALM_SESSIONS, &[name], sessions as u64);
    let core = catalogue::core();
    for (counter, value) in core.counters.iter().zip(stats.values()) {
        match counter {
            catalogue::Counter::Own(metric) => page.set(metric, &[name], value),
            catalogue::Counter::Dropped(reason) => page.set(&core.dropped, &[name, reason], value),
        }
    }
}

fn one_link(page: &mut Page, link: &LinkState) {
    let peer = link.member.name.as_str();
    page.set(&m::LINK_UP, &[peer], (link.phase == Phase::Up).into());
    page.set(&m::LINK_QUEUED, &[peer], link.queued_bytes as u64);
    let none = || Arc::<Counters>::default();
    let counters = link.counters.clone().unwrap_or_else(none);
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
    page.set_f64(&m::LINK_RTT, &[peer], read(&counters.rtt_micros) as f64 / 1e6);
    for (direction, frames, bytes) in [
        ("out", &counters.frames_out, &counters.bytes_out),
        ("in", &counters.frames_in, &counters.bytes_in),
    ] {
        page.set(&m::LINK_FRAMES, &[peer, direction], read(frames));
        page.set(&m::LINK_BYTES, &[peer, direction], read(bytes));
    }
    page.set(&m::LINK_BATCHES, &[peer], read(&counters.batches_out));
    page.set(&m::LINK_DROPPED, &[peer, "events"], read(&counters.events_dropped));
    page.set(&m::LINK_DROPPED, &[peer, "refused"], read(&counters.frames_refused));
    page.set(&m::LINK_DROPPED, &[peer, "unknown"], read(&counters.unknown_frames));
}

fn process(page: &mut Page) {
    page.set(&m::BUILD, &[env!("CARGO_PKG_VERSION")], 1);
    let process = Process::read();
    for (metric, value) in [(&m::CPU, process.cpu_seconds), (&m::STARTED, process.started)] {
        if let Some(value) = value {
            page.set_f64(metric, &[], value);
        }
    }
    for (metric, value) in [
        (&m::RESIDENT, process.resident_bytes),
        (&m::OPEN_FILES, process.open_files),
        (&m::OPEN_FILES_MAX, process.open_files_max),
        (&m::THREADS, process.threads),
    ] {
        if let Some(value) = value {
            page.set(metric, &[], value);
        }
    }
}
