//! Every metric by name, kind, labels and meaning. `docs/metrics.md` is made from this list; a test keeps both equal, and another
//! holds what a node shows against it.
//!
//! A label has a bound: stated values, or something that the configuration counts. No session, URI or address is one. Renaming a
//! metric breaks what others have built on it and is announced as a breaking change.

use super::metric::{Group, Kind, Label, Metric, metric, one_of, per_each};

/// A realm of the configuration.
pub const REALM: Label = per_each("realm", "realm of the configuration");
/// Another node.
pub const PEER: Label = per_each("peer", "other node in the node table");
const STORE: Label = one_of("store", &["embedded", "redis"]);

/// From a tenth of a millisecond, a fast disk, to two and a half seconds, where elections begin.
const SYNC_BOUNDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

// Sessions and connections.
/// `ringfort_sessions`
pub static SESSIONS: Metric = metric(
    Kind::Gauge,
    "ringfort_sessions",
    &[
        REALM,
        one_of("transport", &["websocket", "rawsocket"]),
        one_of("tls", &["no", "yes"]),
        one_of("serializer", &["json", "msgpack", "cbor"]),
    ],
    "Sessions of this node.",
);
/// `ringfort_sessions_joined_total`
pub static SESSIONS_JOINED: Metric = metric(
    Kind::Counter,
    "ringfort_sessions_joined_total",
    &[REALM],
    "Sessions that this node has welcomed.",
);
/// `ringfort_sessions_ended_total`
pub static SESSIONS_ENDED: Metric = metric(
    Kind::Counter,
    "ringfort_sessions_ended_total",
    &[one_of(
        "reason",
        &[
            "goodbye",
            "closed",
            "lost",
            "silent",
            "slow_consumer",
            "killed",
            "protocol_violation",
        ],
    )],
    "Sessions that ended: the client said GOODBYE, closed its connection, lost it, was silent, did not read what it was sent, was ended by this router (shutdown, operator, lost rights), or broke the protocol.",
);
/// `ringfort_handshakes_refused_total`
pub static HANDSHAKES_REFUSED: Metric = metric(
    Kind::Counter,
    "ringfort_handshakes_refused_total",
    &[one_of(
        "reason",
        &[
            "authentication_denied",
            "authentication_failed",
            "authentication_required",
            "authorization_denied",
            "invalid_uri",
            "no_matching_auth_method",
            "no_such_principal",
            "no_such_realm",
            "no_such_role",
            "protocol_violation",
            "timeout",
            "unavailable",
            "other",
        ],
    )],
    "Connections that were told ABORT before a session was established, by the last part of its reason.",
);
/// `ringfort_logins_failed_total`
pub static LOGINS_FAILED: Metric = metric(
    Kind::Counter,
    "ringfort_logins_failed_total",
    &[],
    "Attempts to authenticate that failed on this node.",
);
/// `ringfort_logins_refused_total`
pub static LOGINS_REFUSED: Metric = metric(
    Kind::Counter,
    "ringfort_logins_refused_total",
    &[],
    "Attempts to authenticate that were refused unseen, since too many of their source or principal had failed.",
);
/// `ringfort_turned_away_total`
pub static TURNED_AWAY: Metric = metric(
    Kind::Counter,
    "ringfort_turned_away_total",
    &[one_of("wall", &["limit", "tls", "origin"])],
    "Connections that were turned away before they spoke WAMP: by a limit, by TLS (certificate, version, no TLS at all), or as web pages of a foreign origin.",
);
/// `ringfort_quotas_met_total`
pub static QUOTAS_MET: Metric = metric(
    Kind::Counter,
    "ringfort_quotas_met_total",
    &[
        one_of("scope", &["listener", "source", "realm", "role", "principal"]),
        one_of(
            "what",
            &[
                "sessions_refused",
                "handshakes_refused",
                "messages_slowed",
                "bytes_slowed",
                "subscriptions_refused",
                "registrations_refused",
                "calls_refused",
            ],
        ),
    ],
    "How often the quota of a scope was met: what was refused, or that reading paused.",
);
/// `ringfort_certificate_sessions_revoked_total`
pub static CERTIFICATE_SESSIONS_REVOKED: Metric = metric(
    Kind::Counter,
    "ringfort_certificate_sessions_revoked_total",
    &[],
    "Connections that were ended since the certificate they came in by was revoked.",
);
/// `ringfort_connections`
pub static CONNECTIONS: Metric = metric(
    Kind::Gauge,
    "ringfort_connections",
    &[],
    "Connections that speak WAMP, with or without an established session.",
);
/// `ringfort_connections_max`
pub static CONNECTIONS_MAX: Metric = metric(
    Kind::Gauge,
    "ringfort_connections_max",
    &[],
    "How many connections all listeners take together (limits.sessions_max each).",
);
/// `ringfort_connections_accepted_total`
pub static CONNECTIONS_ACCEPTED: Metric = metric(
    Kind::Counter,
    "ringfort_connections_accepted_total",
    &[one_of("outcome", &["taken", "full"])],
    "Connections that listeners accepted; those beyond limits.sessions_max find it full and are closed.",
);
/// `ringfort_certificate_expires_seconds`
pub static CERTIFICATE_EXPIRES: Metric = metric(
    Kind::Gauge,
    "ringfort_certificate_expires_seconds",
    &[per_each("of", "listener with TLS, by its number, and the cluster")],
    "When the first certificate of the file runs out, in seconds since 1970; absent without TLS.",
);
/// `ringfort_tls_handshakes_total`
pub static TLS_HANDSHAKES: Metric = metric(
    Kind::Counter,
    "ringfort_tls_handshakes_total",
    &[one_of("outcome", &["done", "failed"])],
    "TLS handshakes of clients.",
);

// Outboxes.
/// `ringfort_outbox_queued_bytes`
pub static OUTBOX_BYTES: Metric = metric(
    Kind::Gauge,
    "ringfort_outbox_queued_bytes",
    &[],
    "Bytes that wait in the outboxes of all connections.",
);
/// `ringfort_outbox_queued_bytes_largest`
pub static OUTBOX_BYTES_LARGEST: Metric = metric(
    Kind::Gauge,
    "ringfort_outbox_queued_bytes_largest",
    &[],
    "Bytes that wait in the fullest outbox.",
);
/// `ringfort_outbox_bytes_max`
pub static OUTBOX_BYTES_MAX: Metric = metric(
    Kind::Gauge,
    "ringfort_outbox_bytes_max",
    &[],
    "What an outbox holds at most (limits.outbox_bytes_max).",
);
/// `ringfort_outbox_queued_messages`
pub static OUTBOX_MESSAGES: Metric = metric(
    Kind::Gauge,
    "ringfort_outbox_queued_messages",
    &[],
    "Messages that wait in the outboxes of all connections.",
);
/// `ringfort_outboxes_waiting`
pub static OUTBOXES_WAITING: Metric = metric(
    Kind::Gauge,
    "ringfort_outboxes_waiting",
    &[],
    "Outboxes with anything in them.",
);
/// `ringfort_outbox_events_dropped_total`
pub static OUTBOX_EVENTS_DROPPED: Metric = metric(
    Kind::Counter,
    "ringfort_outbox_events_dropped_total",
    &[one_of("reason", &["full", "given_way", "size", "payload"])],
    "Events that did not reach a subscriber: its outbox was full, they gave way to newer ones, they were longer than its transport takes, or its serializer cannot carry them.",
);
/// `ringfort_outbox_events_held_total`
pub static OUTBOX_EVENTS_HELD: Metric = metric(
    Kind::Counter,
    "ringfort_outbox_events_held_total",
    &[],
    "Events that waited apart from a full outbox, by the policy of their topic.",
);
/// `ringfort_outbox_replaced_by_error_total`
pub static OUTBOX_REPLACED: Metric = metric(
    Kind::Counter,
    "ringfort_outbox_replaced_by_error_total",
    &[],
    "Answers and invocations replaced by an ERROR, since they were too long or could not be carried.",
);
/// `ringfort_slow_consumers_ended_total`
pub static SLOW_CONSUMERS: Metric = metric(
    Kind::Counter,
    "ringfort_slow_consumers_ended_total",
    &[],
    "Sessions ended because they did not read what they were owed.",
);

// Realms.
/// `ringfort_realm_inputs_total`
pub static REALM_INPUTS: Metric = metric(
    Kind::Counter,
    "ringfort_realm_inputs_total",
    &[REALM],
    "Messages, ends of sessions, log entries and frames of other nodes that the core has judged.",
);
/// `ringfort_realm_messages_sent_total`
pub static REALM_SENT: Metric = metric(
    Kind::Counter,
    "ringfort_realm_messages_sent_total",
    &[REALM],
    "Messages put into outboxes, each receiver of an event counted.",
);
/// `ringfort_realm_messages_unsent_total`
pub static REALM_UNSENT: Metric = metric(
    Kind::Counter,
    "ringfort_realm_messages_unsent_total",
    &[REALM, one_of("reason", &["nobody", "undeliverable"])],
    "Messages whose session had left, and those that the transport or serializer of their receiver cannot carry.",
);
/// `ringfort_realm_topics`
pub static REALM_TOPICS: Metric = metric(
    Kind::Gauge,
    "ringfort_realm_topics",
    &[REALM],
    "Topics and patterns with subscribers on this node.",
);
/// `ringfort_realm_registrations`
pub static REALM_REGISTRATIONS: Metric = metric(
    Kind::Gauge,
    "ringfort_realm_registrations",
    &[REALM],
    "Registrations of the whole cluster.",
);
/// `ringfort_realm_sessions`
pub static REALM_SESSIONS: Metric = metric(
    Kind::Gauge,
    "ringfort_realm_sessions",
    &[REALM],
    "Sessions of the whole cluster, as the log has them.",
);

// This node in its cluster.
/// `ringfort_ready`
pub static READY: Metric = metric(Kind::Gauge, "ringfort_ready", &[], "1 while /readyz says so.");
/// `ringfort_member`
pub static MEMBER: Metric = metric(
    Kind::Gauge,
    "ringfort_member",
    &[],
    "1 while this node has a life in the cluster that serves clients.",
);
/// `ringfort_draining`
pub static DRAINING: Metric = metric(
    Kind::Gauge,
    "ringfort_draining",
    &[],
    "1 from the moment somebody wants this node to go away.",
);
/// `ringfort_drain_phase`
pub static DRAIN_PHASE: Metric = metric(
    Kind::Gauge,
    "ringfort_drain_phase",
    &[one_of(
        "phase",
        &[
            "serving",
            "announced",
            "moving_leadership",
            "dismissing",
            "saying_goodbye",
            "leaving",
        ],
    )],
    "1 for what this node does just now on its way out: it serves; it says that it is not ready and still takes clients; it takes none and hands the leadership over; it gives up registrations that others share; its sessions are sent away; it leaves.",
);
/// `ringfort_drain_sessions_left`
pub static DRAIN_SESSIONS_LEFT: Metric = metric(
    Kind::Gauge,
    "ringfort_drain_sessions_left",
    &[],
    "Connections of clients that a node on its way out still has; 0 on one that serves.",
);
/// `ringfort_members`
pub static MEMBERS: Metric = metric(Kind::Gauge, "ringfort_members", &[], "Lives in the node table of the log.");
/// `ringfort_members_expected`
pub static MEMBERS_EXPECTED: Metric = metric(
    Kind::Gauge,
    "ringfort_members_expected",
    &[],
    "Nodes that the configuration names (cluster.peers), at least 1.",
);
/// `ringfort_lease_seconds`
pub static LEASE: Metric = metric(
    Kind::Gauge,
    "ringfort_lease_seconds",
    &[],
    "For how long this node may still start invocations of single registrations; 0 without a lease.",
);
/// `ringfort_lives_fenced_total`
pub static LIVES_FENCED: Metric = metric(
    Kind::Counter,
    "ringfort_lives_fenced_total",
    &[],
    "Times that the cluster gave this node up, or it lost its lease: all its sessions were ended and it joined anew.",
);
/// `ringfort_log_queue_ops`
pub static LOG_QUEUE: Metric = metric(
    Kind::Gauge,
    "ringfort_log_queue_ops",
    &[],
    "Registrations, joins and ends of sessions of this node that wait for the log.",
);
/// `ringfort_gossip_nodes`
pub static GOSSIP_NODES: Metric = metric(
    Kind::Gauge,
    "ringfort_gossip_nodes",
    &[one_of("state", &["live", "suspected"])],
    "Nodes that the gossip has heard of, by what the failure detector thinks of them. A hint.",
);

// Consensus.
/// `ringfort_raft_is_leader`
pub static RAFT_LEADER: Metric = metric(Kind::Gauge, "ringfort_raft_is_leader", &[], "1 while this node leads.");
/// `ringfort_raft_leader_known`
pub static RAFT_LEADER_KNOWN: Metric = metric(
    Kind::Gauge,
    "ringfort_raft_leader_known",
    &[],
    "1 while this node knows a leader.",
);
/// `ringfort_raft_term`
pub static RAFT_TERM: Metric = metric(
    Kind::Gauge,
    "ringfort_raft_term",
    &[],
    "The greatest term seen; it grows with each election.",
);
/// `ringfort_raft_quorum_contact_seconds`
pub static RAFT_QUORUM_AGE: Metric = metric(
    Kind::Gauge,
    "ringfort_raft_quorum_contact_seconds",
    &[],
    "Age of the leader's last contact with a quorum; 0 on followers.",
);
/// `ringfort_raft_voters`
pub static RAFT_VOTERS: Metric = metric(Kind::Gauge, "ringfort_raft_voters", &[], "Members that vote.");
/// `ringfort_raft_last_index`
pub static RAFT_LAST: Metric = metric(
    Kind::Gauge,
    "ringfort_raft_last_index",
    &[],
    "Index of the last entry of this node's log.",
);
/// `ringfort_raft_committed_index`
pub static RAFT_COMMITTED: Metric = metric(
    Kind::Gauge,
    "ringfort_raft_committed_index",
    &[],
    "Index of the last entry that this node knows to be committed.",
);
/// `ringfort_raft_applied_index`
pub static RAFT_APPLIED: Metric = metric(
    Kind::Gauge,
    "ringfort_raft_applied_index",
    &[],
    "Index of the last entry that this node has applied.",
);
/// `ringfort_raft_applied_lag`
pub static RAFT_LAG: Metric = metric(
    Kind::Gauge,
    "ringfort_raft_applied_lag",
    &[],
    "Entries that this node has not applied and some other node has, as far as the gossip says.",
);
/// `ringfort_raft_snapshot_index`
pub static RAFT_SNAPSHOT: Metric = metric(
    Kind::Gauge,
    "ringfort_raft_snapshot_index",
    &[],
    "Index that the newest snapshot covers; 0 without one.",
);
/// `ringfort_raft_snapshots_total`
pub static RAFT_SNAPSHOTS: Metric = metric(
    Kind::Counter,
    "ringfort_raft_snapshots_total",
    &[one_of("kind", &["taken", "installed"])],
    "Snapshots that this node took, and that it got from the leader.",
);
/// `ringfort_raft_durable`
pub static RAFT_DURABLE: Metric = metric(
    Kind::Gauge,
    "ringfort_raft_durable",
    &[],
    "1 where the log outlives the process (cluster.data_dir).",
);
/// `ringfort_raft_syncs_total`
pub static RAFT_SYNCS: Metric = metric(
    Kind::Counter,
    "ringfort_raft_syncs_total",
    &[],
    "Times that the log was synced to disk.",
);
/// `ringfort_raft_synced_writes_total`
pub static RAFT_SYNCED: Metric = metric(
    Kind::Counter,
    "ringfort_raft_synced_writes_total",
    &[],
    "Appends and votes that those syncs made durable.",
);
/// `ringfort_raft_sync_seconds`
pub static RAFT_SYNC_SECONDS: Metric = metric(
    Kind::Histogram(SYNC_BOUNDS),
    "ringfort_raft_sync_seconds",
    &[],
    "How long a sync of the log took.",
);

// Links to other nodes.
/// `ringfort_link_up`
pub static LINK_UP: Metric = metric(
    Kind::Gauge,
    "ringfort_link_up",
    &[PEER],
    "1 while the link is up and both ends know what the other wants.",
);
/// `ringfort_link_queued_bytes`
pub static LINK_QUEUED: Metric = metric(
    Kind::Gauge,
    "ringfort_link_queued_bytes",
    &[PEER],
    "Bytes that wait on the lanes of the link.",
);
/// `ringfort_link_rtt_seconds`
pub static LINK_RTT: Metric = metric(
    Kind::Gauge,
    "ringfort_link_rtt_seconds",
    &[PEER],
    "Round trip of the last ping on the control stream; 0 before the first.",
);
/// `ringfort_link_frames_total`
pub static LINK_FRAMES: Metric = metric(
    Kind::Counter,
    "ringfort_link_frames_total",
    &[PEER, one_of("direction", &["out", "in"])],
    "Frames of calls and events since the link came up.",
);
/// `ringfort_link_bytes_total`
pub static LINK_BYTES: Metric = metric(
    Kind::Counter,
    "ringfort_link_bytes_total",
    &[PEER, one_of("direction", &["out", "in"])],
    "Bytes of those frames.",
);
/// `ringfort_link_batches_total`
pub static LINK_BATCHES: Metric = metric(
    Kind::Counter,
    "ringfort_link_batches_total",
    &[PEER],
    "Batches that carried them out.",
);
/// `ringfort_link_dropped_total`
pub static LINK_DROPPED: Metric = metric(
    Kind::Counter,
    "ringfort_link_dropped_total",
    &[PEER, one_of("reason", &["events", "refused", "unknown"])],
    "Events not sent because a lane was full, other frames not taken for the same reason (their callers were told), and frames of a kind that this version does not know.",
);
/// `ringfort_link_unroutable_frames_total`
pub static LINK_UNROUTABLE: Metric = metric(
    Kind::Counter,
    "ringfort_link_unroutable_frames_total",
    &[],
    "Frames for nodes without a link.",
);

// Stores and disk.
/// `ringfort_store_queued_bytes`
pub static STORE_QUEUED: Metric = metric(
    Kind::Gauge,
    "ringfort_store_queued_bytes",
    &[STORE],
    "Bytes that wait to be written to the store of retained events and histories.",
);
/// `ringfort_store_written_total`
pub static STORE_WRITTEN: Metric = metric(Kind::Counter, "ringfort_store_written_total", &[STORE], "Changes written.");
/// `ringfort_store_batches_total`
pub static STORE_BATCHES: Metric = metric(Kind::Counter, "ringfort_store_batches_total", &[STORE], "Batches written.");
/// `ringfort_store_failed_batches_total`
pub static STORE_FAILED: Metric = metric(
    Kind::Counter,
    "ringfort_store_failed_batches_total",
    &[STORE],
    "Batches that failed and were tried again.",
);
/// `ringfort_store_dropped_total`
pub static STORE_DROPPED: Metric = metric(
    Kind::Counter,
    "ringfort_store_dropped_total",
    &[STORE],
    "Changes dropped because the queue was full.",
);
/// `ringfort_disk_free_bytes`
pub static DISK_FREE: Metric = metric(
    Kind::Gauge,
    "ringfort_disk_free_bytes",
    &[],
    "Free bytes of the file system of cluster.data_dir; absent without one.",
);
/// `ringfort_disk_size_bytes`
pub static DISK_SIZE: Metric = metric(Kind::Gauge, "ringfort_disk_size_bytes", &[], "All bytes of that file system.");

// Administration and process.
/// `ringfort_admin_requests_total`
pub static ADMIN_REQUESTS: Metric = metric(
    Kind::Counter,
    "ringfort_admin_requests_total",
    &[one_of("protocol", &["http", "grpc"])],
    "Requests on the admin port.",
);
/// `ringfort_trace_spans_total`
pub static TRACE_SPANS: Metric = metric(
    Kind::Counter,
    "ringfort_trace_spans_total",
    &[one_of("outcome", &["exported", "overflowed", "failed"])],
    "Spans of traces: taken by the collector, dropped since the queue to it was full (observability.traces.queue_max), or not taken by it.",
);
/// `ringfort_traces_bounded_total`
pub static TRACES_BOUNDED: Metric = metric(
    Kind::Counter,
    "ringfort_traces_bounded_total",
    &[one_of("whose", &["own", "client"])],
    "Traces that were not begun since there were as many in that second as observability.traces allows: picked by the router, or asked for by clients.",
);
/// `ringfort_settings_reloads_total`
pub static SETTINGS_RELOADS: Metric = metric(
    Kind::Counter,
    "ringfort_settings_reloads_total",
    &[one_of("outcome", &["applied", "unchanged", "refused"])],
    "How often the configuration file was read again, and what came of it.",
);
/// `ringfort_settings_refused`
pub static SETTINGS_REFUSED: Metric = metric(
    Kind::Gauge,
    "ringfort_settings_refused",
    &[],
    "1 while the configuration file, as it was last read, is wrong: the former settings are in force, and the node would not start with it.",
);
/// `ringfort_settings_waiting`
pub static SETTINGS_WAITING: Metric = metric(
    Kind::Gauge,
    "ringfort_settings_waiting",
    &[],
    "Settings of the configuration file that wait for a restart of the node.",
);
/// `ringfort_scrape_seconds`
pub static SCRAPE_SECONDS: Metric = metric(
    Kind::Gauge,
    "ringfort_scrape_seconds",
    &[],
    "How long reading all of this took.",
);
/// `ringfort_build_info`
pub static BUILD: Metric = metric(
    Kind::Gauge,
    "ringfort_build_info",
    &[per_each("version", "the version of this program")],
    "Always 1.",
);
/// `process_cpu_seconds_total`
pub static CPU: Metric = metric(
    Kind::Counter,
    "process_cpu_seconds_total",
    &[],
    "Processor time used, user and system.",
);
/// `process_resident_memory_bytes`
pub static RESIDENT: Metric = metric(Kind::Gauge, "process_resident_memory_bytes", &[], "Resident memory.");
/// `process_open_fds`
pub static OPEN_FILES: Metric = metric(Kind::Gauge, "process_open_fds", &[], "Open files, sockets among them.");
/// `process_max_fds`
pub static OPEN_FILES_MAX: Metric = metric(Kind::Gauge, "process_max_fds", &[], "How many files this process may open.");
/// `process_threads`
pub static THREADS: Metric = metric(Kind::Gauge, "process_threads", &[], "Threads of this process.");
/// `process_start_time_seconds`
pub static STARTED: Metric = metric(
    Kind::Gauge,
    "process_start_time_seconds",
    &[],
    "When this process started, in seconds since 1970.",
);

/// Those that no part counts for itself: they are told to [`super::events`] as they happen.
pub static EVENTS: &[&Metric] = &[
    &SESSIONS_ENDED,
    &HANDSHAKES_REFUSED,
    &CONNECTIONS_ACCEPTED,
    &TURNED_AWAY,
    &TLS_HANDSHAKES,
    &LIVES_FENCED,
    &RAFT_SNAPSHOTS,
    &RAFT_SYNC_SECONDS,
    &ADMIN_REQUESTS,
    &SETTINGS_RELOADS,
];

/// All that is measured of a node, apart from what the core of each realm counts.
pub static GROUPS: &[Group] = &[
    Group {
        title: "Sessions and connections",
        metrics: &[
            &SESSIONS,
            &SESSIONS_JOINED,
            &SESSIONS_ENDED,
            &HANDSHAKES_REFUSED,
            &LOGINS_FAILED,
            &LOGINS_REFUSED,
            &TURNED_AWAY,
            &QUOTAS_MET,
            &CERTIFICATE_SESSIONS_REVOKED,
            &CONNECTIONS,
            &CONNECTIONS_MAX,
            &CONNECTIONS_ACCEPTED,
            &TLS_HANDSHAKES,
            &CERTIFICATE_EXPIRES,
        ],
    },
    Group {
        title: "Outboxes",
        metrics: &[
            &OUTBOX_BYTES,
            &OUTBOX_BYTES_LARGEST,
            &OUTBOX_BYTES_MAX,
            &OUTBOX_MESSAGES,
            &OUTBOXES_WAITING,
            &OUTBOX_EVENTS_DROPPED,
            &OUTBOX_EVENTS_HELD,
            &OUTBOX_REPLACED,
            &SLOW_CONSUMERS,
        ],
    },
    Group {
        title: "Realms",
        metrics: &[
            &REALM_INPUTS,
            &REALM_SENT,
            &REALM_UNSENT,
            &REALM_TOPICS,
            &REALM_REGISTRATIONS,
            &REALM_SESSIONS,
        ],
    },
    Group {
        title: "This node in its cluster",
        metrics: &[
            &READY,
            &MEMBER,
            &DRAINING,
            &DRAIN_PHASE,
            &DRAIN_SESSIONS_LEFT,
            &MEMBERS,
            &MEMBERS_EXPECTED,
            &LEASE,
            &LIVES_FENCED,
            &LOG_QUEUE,
            &GOSSIP_NODES,
        ],
    },
    Group {
        title: "Consensus",
        metrics: &[
            &RAFT_LEADER,
            &RAFT_LEADER_KNOWN,
            &RAFT_TERM,
            &RAFT_QUORUM_AGE,
            &RAFT_VOTERS,
            &RAFT_LAST,
            &RAFT_COMMITTED,
            &RAFT_APPLIED,
            &RAFT_LAG,
            &RAFT_SNAPSHOT,
            &RAFT_SNAPSHOTS,
            &RAFT_DURABLE,
            &RAFT_SYNCS,
            &RAFT_SYNCED,
            &RAFT_SYNC_SECONDS,
        ],
    },
    Group {
        title: "Links to other nodes",
        metrics: &[
            &LINK_UP,
            &LINK_QUEUED,
            &LINK_RTT,
            &LINK_FRAMES,
            &LINK_BYTES,
            &LINK_BATCHES,
            &LINK_DROPPED,
            &LINK_UNROUTABLE,
        ],
    },
    Group {
        title: "Stores and disk",
        metrics: &[
            &STORE_QUEUED,
            &STORE_WRITTEN,
            &STORE_BATCHES,
            &STORE_FAILED,
            &STORE_DROPPED,
            &DISK_FREE,
            &DISK_SIZE,
        ],
    },
    Group {
        title: "Administration and process",
        metrics: &[
            &ADMIN_REQUESTS,
            &SCRAPE_SECONDS,
            &TRACE_SPANS,
            &TRACES_BOUNDED,
            &SETTINGS_RELOADS,
            &SETTINGS_REFUSED,
            &SETTINGS_WAITING,
            &BUILD,
            &CPU,
            &RESIDENT,
            &OPEN_FILES,
            &OPEN_FILES_MAX,
            &THREADS,
            &STARTED,
        ],
    },
];
