//! The composition root: builds every part of a node, wires the handles, and owns the order of start and stop.
//!
//! Start: stores → realms → cluster (consensus, links) → listeners bound → admin. Clients wait in the system's queue until the cluster part opens
//! the gate. Stop: drained, if there are others (`draining`) → gate closed → sessions that are left hear GOODBYE → the cluster is left → stores are written → listeners and admin end. Wall clock and seeds enter here.

mod auditing;
mod compat;
mod definitions;
mod draining;
mod keeping;
pub mod policy;
mod realms;
mod reload;
mod seeding;
mod tokens;
mod traces;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use ed25519_dalek::SigningKey;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    admin::{
        self,
        access::{Access, Fixed, FixedRights},
        local::Local,
        observability::{self, Observed},
        reload::{Standing, Trigger},
        settings::seed,
        status::Source,
    },
    audit::{self, Audit},
    auth::{Seed, cryptosign::unhex, throttle},
    cluster::{
        self, Running, Settings,
        drain::{Drain, Wish},
        lease::Timing,
        machine::Machine,
        member::{Gate, Stage, random_u64},
        net,
        shared::Shared,
    },
    config::{self, Config},
    pages,
    router::{CallTimeouts, OnConflict, RealmConfig, SlowConsumer, TopicRule, reflection::Definition},
    session::{
        auth::{Anonymous, Authenticator, Guard, RealmAuth},
        limits::SessionLimits,
        quota::{Quota, Quotas, RealmQuotas},
        realm::Realms,
        sessions::Service,
    },
    transport::{
        listener::{self, BoundListener, ListenerConfig},
        tls::{ClientCertificates, ExpiredLists, Pair, TlsFiles, UnknownName},
        websocket::Origins,
    },
    wamp::{self, Uri, codec, error_uri},
};

pub use definitions::BadDefinition;
use draining::Drainer;
use keeping::Stores;
use seeding::{Plan, Seeding};
pub use tokens::BadIssuer;
use traces::Tracing;
pub use traces::check_traces;

/// A node that could not start; nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A public port.
    #[error("listener {index}: {source}{}", chain(source))]
    Listener { index: usize, source: listener::Error },
    /// The certificates of the admin port.
    #[error(transparent)]
    AdminTls(admin::BindError),
    /// The admin port.
    #[error("admin.address {address}: {source}: end the process that has this port, or configure another one")]
    Admin { address: SocketAddr, source: std::io::Error },
    /// The observability port.
    #[error("observability.address {address}: {source}: end the process that has this port, or configure another one")]
    Observability { address: SocketAddr, source: std::io::Error },
    /// A store of events.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] audit::Error),
    /// A definition of a realm.
    #[error(transparent)]
    Definition(#[from] BadDefinition),
    /// An issuer of tokens.
    #[error(transparent)]
    Issuer(#[from] BadIssuer),
    /// Where traces go.
    #[error(transparent)]
    Traces(#[from] crate::telemetry::traces::Error),
    /// The cluster part.
    #[error("{source}{}", chain(source))]
    Cluster {
        /// Why.
        #[from]
        source: cluster::StartError,
    },
}

/// The causes behind an error, each after a colon.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl StartError {
    /// The exit code of a process that could not start for this reason.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Listener {
                source: listener::Error::Bind { .. },
                ..
            }
            | StartError::Admin { .. }
            | StartError::Observability { .. } => 4,
            StartError::Listener {
                source: listener::Error::Tls { .. },
                ..
            }
            | StartError::AdminTls(_) => 5,
            StartError::Cluster {
                source: cluster::StartError::Net(net::Error::Listen { .. }),
            } => 4,
            StartError::Cluster {
                source: cluster::StartError::Net(_),
            } => 5,
            StartError::Cluster {
                source: cluster::StartError::Identity(cluster::identity::Error::Removed { .. }),
            } => REMOVED,
            StartError::Cluster {
                source: cluster::StartError::Identity(_) | cluster::StartError::Consensus(_),
            }
            | StartError::Store(_)
            | StartError::Audit(_) => 6,
            StartError::Definition(_) | StartError::Issuer(_) | StartError::Traces(_) => 3,
            StartError::Cluster { .. } => 1,
        }
    }
}

/// The exit code of a node that was removed from its cluster for good: whoever starts nodes should not start it again.
pub const REMOVED: u8 = 12;

/// A node that runs until it is stopped.
pub struct RunningNode {
    listeners: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    observability: Option<SocketAddr>,
    stage: watch::Receiver<Stage>,
    cluster: Running,
    stop_accepting: watch::Sender<bool>,
    drainer: Drainer,
    stores: Stores,
    audit: Audit,
    tracing: Tracing,
    /// What it was started with and what takes other settings, until it is said where these come from.
    reloadable: Option<(Config, reload::Parts)>,
    settings: Arc<Standing>,
    tasks: JoinSet<()>,
}

impl RunningNode {
    /// Where clients reach it, in the order of the configuration.
    pub fn listeners(&self) -> &[SocketAddr] {
        &self.listeners
    }

    /// Where operators reach it.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Where probes and metrics are.
    pub fn observability_address(&self) -> Option<SocketAddr> {
        self.observability
    }

    /// Resolves once clients are served.
    pub async fn wait_ready(&self) {
        let mut stage = self.stage.clone();
        if stage.wait_for(|stage| matches!(stage, Stage::Member(_))).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when the node cannot go on by itself, with the reason. Call [`Self::stop`] then.
    pub async fn failed(&self) -> String {
        let panicked = async {
            loop {
                let realms = self.cluster.inspect.shared.realms().map(|realm| {
                    Box::pin(async move {
                        realm.failed().await;
                        format!("the core of realm {} has panicked", realm.name())
                    })
                });
                let mut realms: Vec<_> = realms.collect();
                let any = async {
                    match realms.is_empty() {
                        true => std::future::pending().await,
                        false => futures_util::future::select_all(realms.drain(..)).await.0,
                    }
                };
                // Looked at anew: there may be realms by then that were not before.
                if let Ok(why) = tokio::time::timeout(REALMS_EVERY, any).await {
                    return why;
                }
            }
        };
        tokio::select! {
            ended = self.cluster.ended() => match ended {
                Ok(()) => "the cluster part ended".to_owned(),
                Err(error) => error,
            },
            why = panicked => why,
        }
    }

    /// Says where the settings came from: if from a file, it is read again when it changes, and whenever somebody asks for it.
    pub fn reload_from(&mut self, source: config::Source, environment: Vec<(String, String)>) {
        if let Some((config, parts)) = self.reloadable.take() {
            let reloader = reload::Reloader::new(config, parts, source, environment);
            self.tasks.spawn(reloader.watch());
        }
    }

    /// Reads the settings again, as somebody at the machine has asked. False where they did not come from a file.
    pub async fn reload(&self) -> bool {
        self.settings.reload(Trigger::Signal).await.is_some()
    }

    /// The exit code that goes with [`Self::failed`].
    pub fn failure_code(&self) -> u8 {
        if self.cluster.was_removed() { REMOVED } else { 1 }
    }

    /// Asks the node to go away, in the name of `by`; [`Self::drain`] does it.
    pub fn ask_to_drain(&self, by: &str) {
        self.drainer.drain().start(Wish {
            by: by.to_owned(),
            ..Wish::default()
        });
    }

    /// Resolves once somebody wants the node to go away, by whatever way.
    pub async fn drain_asked(&self) {
        self.drainer.drain().asked().await;
    }

    /// Does everything that a drain does before the node leaves its cluster. False: it was called off.
    pub async fn drain(&self) -> bool {
        self.drainer.run().await
    }

    /// Has a drain wait for nothing any more.
    pub fn hurry(&self) {
        self.drainer.drain().hurry();
    }

    /// Says goodbye to clients and cluster, then ends every part.
    pub async fn stop(mut self) {
        self.stop_accepting.send_replace(true);
        self.cluster.leave().await;
        self.stores.finish(STORES_WITHIN).await;
        self.tracing.finish().await;
        self.tasks.shutdown().await;
        auditing::finish(self.audit).await;
    }
}

/// How often it is looked which realms there are.
const REALMS_EVERY: Duration = Duration::from_secs(1);

/// How long a node that stops waits for its stores.
const STORES_WITHIN: Duration = Duration::from_secs(5);

/// Starts a node.
///
/// # Errors
/// See [`StartError`].
///
/// # Panics
/// Outside a tokio runtime.
pub async fn start(config: Config) -> Result<RunningNode, StartError> {
    let shared = Arc::new(Shared::default());
    let mut handles = BTreeMap::new();
    let mut joinable = Vec::new();
    let mut plans = Vec::new();
    let router_key = router_key(&config);
    let stores = Stores::open(&config)?;
    let audit = auditing::open(&config)?;
    let mut tasks = JoinSet::new();
    for realm in &config.realms {
        let definitions = definitions::of(realm)?;
        let name = Uri::from(realm.name.as_str());
        let handle = realms::shell(&shared, &name, realm_config(&name, Some(realm), definitions, &config));
        let keeping = stores.keeping(realm, &config);
        keeping::tell_time(&handle);
        keeping::restore(&handle, &keeping).await?;
        handle.keep_in(keeping.clone());
        tasks.spawn(keeping::look_after(handle.clone(), keeping));
        handles.insert(handle.name().clone(), handle.clone());
        let seeds: Vec<Seed> = of_realm(&config.principals, realm).map(seed).collect();
        let fixed = match realm.rights {
            config::RightsFrom::Fixed => seeds.clone(),
            config::RightsFrom::Seed => Vec::new(),
        };
        let auth = realm_auth(realm, fixed, router_key.clone());
        plans.extend(Plan::of(realm, seeds, &handle, &auth.principals));
        handle.keep_principals(Arc::clone(&auth.principals));
        let auth = RealmAuth {
            tokens: tokens::of(realm)?,
            authenticator: (!realm.authenticator.is_empty()).then(|| {
                let timeout = Duration::from_millis(u64::from(realm.authenticator_timeout_ms));
                Arc::new(Authenticator::new(
                    handle.clone(),
                    Uri::from(realm.authenticator.as_str()),
                    timeout,
                ))
            }),
            ..auth
        };
        if let Some(tokens) = &auth.tokens {
            handle.judge_tokens_by(Arc::clone(tokens));
            tasks.spawn(Arc::clone(tokens).watch());
        }
        joinable.push((handle, auth));
    }
    let tracing = Tracing::start(&config, &handles)?;
    let realm_handles = handles.clone();
    shared.wire(handles.clone(), realms::maker(&config, &audit, tracing.tracer.clone()));
    let service = Service::new(
        Arc::new(
            Realms::new(joinable)
                .guarded_by(Guard::new(throttle(&config.limits)))
                .limited_by(quotas(&config))
                .audited_by(&audit),
        ),
        session_limits(&config.limits),
    );
    shared.wire_guard(&service.realms.guard);
    shared.answer_by(Arc::new(Local::new(&shared, &audit, config.admin.tap_payload)));

    let mut listeners = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let bound = listener::bind(listener_config(listener, &config.limits), Arc::clone(&service)).await;
        listeners.push(bound.map_err(|source| StartError::Listener { index, source })?);
    }

    let host = realms::Host {
        shared: Arc::clone(&shared),
        realms: Arc::clone(&service.realms),
        config: config.clone(),
        router_key,
        make: realms::maker(&config, &audit, tracing.tracer.clone()),
        runtime: Handle::current(),
    };
    let machine = Machine::new(handles, Box::new(host));
    tasks.spawn(realms::tell_later_ones_the_time(
        Arc::clone(&shared),
        Arc::clone(&service.realms),
    ));
    let (gate, gates) = mpsc::channel(4);
    let cluster = cluster::start(
        settings(&config, &audit).map_err(cluster::StartError::Net)?,
        shared,
        machine,
        gate,
        Handle::current(),
    )
    .await?;

    let settings_stand = Arc::<Standing>::default();
    let rights = FixedRights::default();
    rights
        .write()
        .extend(fixed(&config).into_iter().map(|(name, fixed)| (name, Arc::new(fixed))));
    let mut admin = None;
    if let Some(address) = config.admin.address.0 {
        let source = Source {
            name: config.node.name.clone(),
            inspect: cluster.inspect.clone(),
            realms: Arc::clone(&service.realms),
            sessions: Arc::clone(&service.sessions),
            settings: Arc::clone(&settings_stand),
        };
        let access = Access::new(cluster.inspect.clone(), &config.node.name, audit.clone(), Arc::clone(&rights));
        let server = match admin::Server::bind(address, &config.admin, source, access).await {
            Ok(server) => server,
            Err(source) => {
                // Nobody keeps the gate yet; the cluster part must not wait for it.
                drop(gates);
                cluster.leave().await;
                return Err(match source {
                    admin::BindError::Address(source) => StartError::Admin { address, source },
                    certificates => StartError::AdminTls(certificates),
                });
            }
        };
        admin = server.local_addr().ok();
        tasks.spawn(server.run());
    }

    let mut observability = None;
    if let Some(address) = config.observability.address.0 {
        let observed = Observed {
            source: Source {
                name: config.node.name.clone(),
                inspect: cluster.inspect.clone(),
                realms: Arc::clone(&service.realms),
                sessions: Arc::clone(&service.sessions),
                settings: Arc::clone(&settings_stand),
            },
            service: Arc::clone(&service),
            stores: stores.named(),
            data_dir: config.cluster.data_dir.clone(),
            certificates: certificates(&config),
            connections_max: config.limits.sessions_max.saturating_mul(config.listeners.len()),
            members_expected: config.cluster.peers.len().max(1),
            tracer: tracing.tracer.clone(),
        };
        let server = match observability::Server::bind(address, observed).await {
            Ok(server) => server,
            Err(source) => {
                drop(gates);
                cluster.leave().await;
                return Err(StartError::Observability { address, source });
            }
        };
        observability = server.local_addr().ok();
        tasks.spawn(server.run());
    }

    let (stop_accepting, stopping) = watch::channel(false);
    let addresses = listeners.iter().map(BoundListener::local_addr).collect();
    for bound in listeners {
        let mut stopping = stopping.clone();
        tasks.spawn(bound.serve(async move {
            // The sender lives as long as the node; its end means the same as true.
            let _ = stopping.wait_for(|stop| *stop).await;
        }));
    }
    let goodbye = Duration::from_secs(config.node.drain_secs);
    let parts = reload::Parts {
        service: Arc::clone(&service),
        realms: realm_handles,
        fixed: rights,
        tracer: tracing.tracer.clone(),
        audit: audit.clone(),
        standing: Arc::clone(&settings_stand),
    };
    let seeding = Seeding {
        plans,
        leader: cluster.inspect.leader.clone(),
        audit: audit.clone(),
    };
    let drainer = Drainer::new(&config.drain, cluster.inspect.clone(), Arc::clone(&service));
    tasks.spawn(keep_gate(gates, service, seeding, goodbye, drainer.drain().clone()));
    Ok(RunningNode {
        listeners: addresses,
        admin,
        observability,
        stage: cluster.inspect.stage.clone(),
        cluster,
        stop_accepting,
        drainer,
        stores,
        audit,
        tracing,
        reloadable: Some((config, parts)),
        settings: settings_stand,
        tasks,
    })
}

/// The files whose running out is to be seen, by what they are of.
fn certificates(config: &Config) -> Vec<(String, std::path::PathBuf)> {
    let listeners = config.listeners.iter().enumerate().filter_map(|(index, listener)| {
        let tls = listener.tls.as_ref()?;
        Some((format!("listener[{index}]"), tls.certificate.clone()))
    });
    let cluster = config
        .cluster
        .tls
        .iter()
        .map(|tls| ("cluster".to_owned(), tls.certificate.clone()));
    listeners.chain(cluster).collect()
}

/// Reads the definitions of all realms and compiles their schemas, as [`start`] does.
///
/// # Errors
/// The first one that is none; as [`StartError::Definition`], it is a wrong setting.
pub fn check_definitions(config: &Config) -> Result<(), BadDefinition> {
    config.realms.iter().try_for_each(|realm| definitions::of(realm).map(drop))
}

/// Reads the files of keys of all issuers of tokens, as [`start`] does.
///
/// # Errors
/// The first that cannot be used; as [`StartError::Issuer`], it is a wrong setting.
pub fn check_issuers(config: &Config) -> Result<(), BadIssuer> {
    config.realms.iter().try_for_each(|realm| tokens::of(realm).map(drop))
}

/// Lets clients in and ends all sessions, as the cluster part says.
async fn keep_gate(mut gates: mpsc::Receiver<Gate>, service: Arc<Service>, seeding: Seeding, goodbye: Duration, drain: Drain) {
    while let Some(gate) = gates.recv().await {
        let done = match gate {
            Gate::Open(done) => {
                let realms = Arc::clone(&service.realms);
                // It ends only with the process, or by a panic in the arithmetic; then nobody has a credential.
                if tokio::task::spawn_blocking(move || realms.unlock()).await.is_err() {
                    tracing::error!("the credentials of the configuration could not be prepared");
                }
                seeding.run().await;
                // A life that begins while the node goes away is for its farewell only.
                service.sessions.set_ready(!drain.is_closed());
                done
            }
            Gate::Close(done) => {
                service.sessions.set_ready(false);
                let cut = service
                    .sessions
                    .close_all(&Uri::from(error_uri::SYSTEM_SHUTDOWN), goodbye)
                    .await;
                if cut > 0 {
                    tracing::warn!(cut, "sessions did not take their GOODBYE in time and were cut");
                }
                done
            }
        };
        // Nobody waits any more if the control thread is gone.
        let _ = done.send(());
    }
}

/// What a realm is built from. Without a configuration it is one of the log, or kept for its sake only.
fn realm_config(name: &Uri, realm: Option<&config::Realm>, definitions: Vec<Definition>, config: &Config) -> RealmConfig {
    let limits = &config.limits;
    let mut core = RealmConfig::new(name.clone(), random_u64(), [0; 16]);
    core.uri_check = match realm.map(|realm| realm.uri_check) {
        Some(config::UriCheck::Strict) => wamp::UriCheck::Strict,
        _ => wamp::UriCheck::Loose,
    };
    if let Some(realm) = realm {
        core.policy = policy::fixed(realm);
        core.authorizer_timeout = Duration::from_millis(u64::from(realm.authorizer_timeout_ms));
        core.authorizer_cache = Duration::from_secs(u64::from(realm.authorizer_cache_secs));
        core.disclosure = policy::disclosure(realm.disclose);
        core.trustlevels = realm
            .trustlevels
            .iter()
            .map(|(role, level)| (role.clone(), u64::from(*level)))
            .collect();
        core.call_timeouts = call_timeouts(realm);
        keeping::configure(&mut core, realm, &config.store);
        core.topics = realm.topics.iter().map(topic_rule).collect();
        core.prefer_local_callees = realm.prefer_local_callees;
        core.allow_force_reregister = realm.allow_force_reregister;
        core.allow_define = realm.allow_define;
        core.definitions = definitions;
        core.on_conflict = match realm.on_conflict {
            config::OnConflict::Refuse => OnConflict::Refuse,
            config::OnConflict::SamePrincipalReplaces => OnConflict::SamePrincipalReplaces,
        };
    }
    core.noted = config.audit.path.is_some();
    core.limits.open_calls_max = limits.calls_per_session_max;
    core.limits.registrations_max = limits.registrations_per_session_max;
    core.limits.subscriptions_max = limits.subscriptions_per_session_max;
    core.limits.meta_calls_max = limits.meta_calls_max;
    core.limits.meta_call_bytes_max = limits.meta_call_bytes_max;
    core.limits.testaments_max = limits.testaments_per_session_max;
    core.limits.definitions_max = limits.definitions_max;
    core.limits.definitions_bytes_max = limits.definitions_bytes_max;
    core.limits.schema_payload_bytes_max = limits.schema_payload_bytes_max;
    core.limits.overlap_wait = Duration::from_millis(limits.overlap_wait_ms);
    core.limits.meta_wait = Duration::from_millis(limits.meta_wait_ms);
    core
}

fn topic_rule(topic: &config::Topic) -> TopicRule {
    TopicRule {
        policy: policy::matching(topic.r#match),
        uri: Uri::from(topic.uri.as_str()),
        slow: match topic.slow_consumer {
            config::SlowConsumer::DropNewest => SlowConsumer::DropNewest,
            config::SlowConsumer::DropOldest => SlowConsumer::DropOldest,
            config::SlowConsumer::KeepLast => SlowConsumer::KeepLast,
            config::SlowConsumer::EndSession => SlowConsumer::EndSession,
        },
    }
}

fn call_timeouts(realm: &config::Realm) -> CallTimeouts {
    let some = |millis| (millis != 0).then(|| Duration::from_millis(millis));
    CallTimeouts {
        min: Duration::from_millis(realm.call_timeout_min),
        default: some(realm.call_timeout_default),
        max: some(realm.call_timeout_max),
        unit: compat::timeout_unit(realm.timeout_unit),
    }
}

/// The principals that the configuration gives a realm.
fn of_realm<'a>(principals: &'a [config::Principal], realm: &'a config::Realm) -> impl Iterator<Item = &'a config::Principal> {
    principals.iter().filter(|principal| principal.realm == realm.name)
}

fn realm_auth(realm: &config::Realm, seeds: Vec<Seed>, router_key: Option<Arc<SigningKey>>) -> RealmAuth {
    let anonymous = match realm.anonymous {
        config::Anonymous::Off => Anonymous::Off,
        config::Anonymous::Loopback => Anonymous::Loopback,
        config::Anonymous::On => Anonymous::On,
    };
    RealmAuth {
        anonymous,
        anonymous_role: realm.anonymous_role.clone(),
        router_key,
        ..RealmAuth::new(&realm.name, seeds)
    }
}

/// The key of `node.cryptosign_key`. The configuration was checked; a file that changed since is as good as none.
fn router_key(config: &Config) -> Option<Arc<SigningKey>> {
    let file = config.node.cryptosign_key.as_ref()?;
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(file).ok()?);
    unhex(text.trim()).map(|seed| Arc::new(SigningKey::from_bytes(&seed)))
}

fn throttle(limits: &config::Limits) -> throttle::Settings {
    throttle::Settings {
        free: limits.failed_logins_free,
        delay: Duration::from_millis(limits.failed_logins_delay_ms),
        delay_max: Duration::from_millis(limits.failed_logins_delay_max_ms),
        source_max: limits.failed_logins_per_source_max,
        principal_max: limits.failed_logins_per_principal_max,
        forget_one: Duration::from_secs(limits.failed_logins_forget_secs),
        ..throttle::Settings::default()
    }
}

fn quotas(config: &Config) -> Quotas {
    Quotas::new(quota(config.limits.per_source), config.realms.iter().map(realm_quotas))
}

fn realm_quotas(realm: &config::Realm) -> (Uri, RealmQuotas) {
    let roles = realm.roles.iter();
    let quotas = RealmQuotas {
        realm: quota(realm.quota),
        roles: roles
            .map(|role| (role.name.clone(), (quota(role.quota), quota(role.per_principal))))
            .collect(),
    };
    (Uri::from(realm.name.as_str()), quotas)
}

fn quota(quota: config::Quota) -> Quota {
    Quota {
        sessions_max: quota.sessions_max,
        handshakes_per_sec: quota.handshakes_per_sec,
        messages_per_sec: quota.messages_per_sec,
        bytes_per_sec: quota.bytes_per_sec,
        message_bytes_max: quota.message_bytes_max,
        subscriptions_max: quota.subscriptions_max,
        registrations_max: quota.registrations_max,
        calls_max: quota.calls_max,
    }
}

/// What the configuration says of each realm's roles and principals.
fn fixed(config: &Config) -> BTreeMap<Uri, Fixed> {
    let of = |realm: &config::Realm| {
        let stands = |_: &&config::Principal| realm.rights == config::RightsFrom::Fixed;
        let principals = of_realm(&config.principals, realm).filter(stands);
        let principals = principals.map(|principal| (principal.authid.clone(), principal.role.clone()));
        let fixed = Fixed {
            policy: policy::fixed(realm),
            principals: principals.collect(),
            seeds: realm.rights == config::RightsFrom::Seed
                && (!realm.roles.is_empty() || of_realm(&config.principals, realm).next().is_some()),
        };
        (Uri::from(realm.name.as_str()), fixed)
    };
    config.realms.iter().map(of).collect()
}

fn session_limits(limits: &config::Limits) -> SessionLimits {
    SessionLimits {
        message_bytes_max: limits.message_bytes_max,
        handshake_timeout: limits.handshake(),
        handshake_bytes_max: limits.handshake_bytes_max,
        handshake_message_bytes_max: limits.handshake_message_bytes_max,
        outbox_bytes_max: limits.outbox_bytes_max,
        outbox_messages_max: limits.outbox_messages_max,
        ping_after: limits.keepalive(),
        dead_after: limits.dead_peer(),
        codec: codec::Limits {
            depth_max: limits.depth_max,
            payload_transparency: true,
            ..codec::Limits::default()
        },
        ..SessionLimits::default()
    }
}

fn listener_config(listener: &config::Listener, limits: &config::Limits) -> ListenerConfig {
    ListenerConfig {
        address: listener.address,
        path: listener.path.clone(),
        origins: Origins::from_list(&listener.origins),
        rawsocket: listener.rawsocket,
        trustlevel: listener.trustlevel,
        subprotocol: compat::subprotocol(listener),
        compat: compat::of(listener),
        tls: listener.tls.as_ref().map(|tls| TlsFiles {
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
            others: tls.also.iter().map(pair).collect(),
            unknown_name: match tls.unknown_name {
                config::UnknownName::Default => UnknownName::Default,
                config::UnknownName::Refuse => UnknownName::Refuse,
            },
            clients: match tls.client_certificates {
                config::ClientCertificates::Off => ClientCertificates::Off,
                config::ClientCertificates::Optional => ClientCertificates::Optional(tls.client_ca.clone()),
                config::ClientCertificates::Required => ClientCertificates::Required(tls.client_ca.clone()),
            },
            revoked: tls.client_crl.clone(),
            expired: match tls.crl_expired {
                config::CrlExpired::Accept => ExpiredLists::Accept,
                config::CrlExpired::Refuse => ExpiredLists::Refuse,
            },
        }),
        tickets_in_clear: listener.tickets_in_clear,
        cookies: listener.cookies,
        longpoll: compat::longpoll(listener),
        pages: pages::from_config(&listener.pages),
        quota: quota(listener.quota),
        connections_max: limits.sessions_max,
        ..ListenerConfig::default()
    }
}

fn pair(pair: &config::CertificateAndKey) -> Pair {
    Pair {
        certificate: pair.certificate.clone(),
        key: pair.key.clone(),
    }
}

fn settings(config: &Config, audit: &Audit) -> Result<Settings, net::Error> {
    let cluster = &config.cluster;
    let identity = net::Identity::new(cluster.id.clone(), config.node.name.clone())?;
    let mut peers: Vec<(String, String)> = cluster
        .peers
        .iter()
        .map(|peer| (peer.name.clone(), peer.address.to_string()))
        .collect();
    let listen = (!cluster.is_single()).then(|| cluster.address.to_string());
    let advertised = cluster.advertised(&config.node.name).to_string();
    if peers.is_empty() {
        peers.push((config.node.name.clone(), advertised.clone()));
    }
    let security = match &cluster.tls {
        Some(tls) => {
            let files = net::TlsFiles {
                ca: tls.ca.clone(),
                certificate: tls.certificate.clone(),
                key: tls.key.clone(),
            };
            let loaded = net::ClusterTls::load(&identity, &files)?;
            net::Security::Tls(loaded)
        }
        None => {
            let others = peers.iter().map(|(_, address)| address.as_str());
            let addresses = others
                .chain(listen.as_deref())
                .chain(listen.is_some().then_some(advertised.as_str()));
            net::Security::plain(addresses)?
        }
    };
    let timing = Timing {
        heartbeat: cluster.timing.heartbeat(),
        election_min: cluster.timing.election_min(),
        election_max: cluster.timing.election_max(),
        leader_lease: config::Timing::LEADER_LEASE,
        renew: cluster.timing.renew(),
        ttl: cluster.timing.lease_ttl(),
        ..Timing::default()
    };
    Ok(Settings {
        identity,
        peers,
        joins: !cluster.founds(),
        edge: cluster.kind == config::NodeKind::Edge,
        advertised: if listen.is_some() { advertised } else { String::new() },
        listen,
        security,
        data_dir: cluster.data_dir.clone(),
        audit: audit.clone(),
        timing,
        stops_within: config.stops_within(),
    })
}

#[cfg(test)]
mod tests;
