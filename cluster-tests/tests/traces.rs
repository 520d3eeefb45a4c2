//! Traces: what a collector is told of calls and publications that cross nodes, what clients see of it, and what it costs a node whose
//! collector is gone.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value as Any},
};
use ringfort_cluster_tests::{
    cluster::{Cluster, Setup},
    http,
    ports::free_port,
    process::Signal,
    wamp::{Client, Event, Invocation, PATIENCE},
};
use serde_json::{Value, json};
use tokio::{sync::mpsc::UnboundedReceiver, time::timeout};
use tonic::{
    Request, Response, Status,
    transport::{Identity, Server, ServerTlsConfig},
};

/// A span as a collector sees it.
#[derive(Clone, Debug)]
struct Seen {
    trace: String,
    id: String,
    parent: String,
    remote_parent: bool,
    name: String,
    start: u64,
    end: u64,
    error: Option<String>,
    attributes: BTreeMap<String, String>,
    events: Vec<String>,
    /// `service.name` and `service.instance.id`.
    resource: BTreeMap<String, String>,
    authorization: Option<String>,
}

impl Seen {
    fn node(&self) -> &str {
        &self.attributes["ringfort.node"]
    }
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pairs(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let header = request.metadata().get("authorization");
        let authorization = header.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut seen = self.0.lock().expect("nobody panics with it");
        for group in request.into_inner().resource_spans {
            let resource = pairs(&group.resource.unwrap_or_default().attributes);
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                seen.push(Seen {
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    remote_parent: span.flags & 0x300 == 0x300,
                    name: span.name,
                    start: span.start_time_unix_nano,
                    end: span.end_time_unix_nano,
                    error: span.status.filter(|status| status.code == 2).map(|status| status.message),
                    attributes: pairs(&span.attributes),
                    events: span.events.into_iter().map(|event| event.name).collect(),
                    resource: resource.clone(),
                    authorization: authorization.clone(),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// A collector on this port; with an identity it speaks TLS.
    fn start(port: u16, identity: Option<Identity>) -> Result<Self> {
        let collector = Self::default();
        let mut server = Server::builder();
        if let Some(identity) = identity {
            server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
        }
        let serving = server
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve(SocketAddr::from(([127, 0, 0, 1], port)));
        tokio::spawn(serving);
        Ok(collector)
    }

    fn all(&self) -> Vec<Seen> {
        self.0.lock().expect("nobody panics with it").clone()
    }

    /// The spans of one trace, once there are as many as there should be.
    async fn trace(&self, trace: &str, count: usize) -> Result<Vec<Seen>> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let spans: Vec<Seen> = self.all().into_iter().filter(|span| span.trace == trace).collect();
            ensure!(spans.len() <= count, "more than {count} spans in {spans:#?}");
            if spans.len() == count {
                return Ok(spans);
            }
            ensure!(Instant::now() < until, "{} of {count} spans: {spans:#?}", spans.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn one<'a>(spans: &'a [Seen], name: &str, node: &str) -> Result<&'a Seen> {
    let found = spans.iter().find(|span| span.name == name && span.node() == node);
    found.with_context(|| format!("no {name} on {node} in {spans:#?}"))
}

/// Three nodes that trace to this port.
async fn cluster(port: u16, more: &str) -> Result<Cluster> {
    let end = format!("[observability.traces]\nendpoint = \"http://127.0.0.1:{port}\"\n{more}\n");
    Cluster::start_with(Setup::Disks, "", &end).await
}

async fn invocation(invocations: &mut UnboundedReceiver<Invocation>) -> Result<Invocation> {
    timeout(PATIENCE, invocations.recv()).await?.context("an INVOCATION")
}

async fn event(events: &mut UnboundedReceiver<Event>) -> Result<Event> {
    timeout(PATIENCE, events.recv()).await?.context("an EVENT")
}

/// The trace and the span that a `_traceparent` names, and whether it is recorded.
fn context(details: &Value) -> Result<(String, String, bool)> {
    let text = details["_traceparent"]
        .as_str()
        .with_context(|| format!("no _traceparent in {details}"))?;
    let parts: Vec<&str> = text.split('-').collect();
    ensure!(parts.len() == 4 && parts[0] == "00" && text.len() == 55, "{text}");
    Ok((parts[1].to_owned(), parts[2].to_owned(), parts[3] == "01"))
}

const SECRET: &str = "a-payload-that-no-span-may-hold";

#[tokio::test]
async fn a_call_and_a_publication_are_one_trace_each_over_two_nodes() -> Result<()> {
    let port = free_port();
    let collector = Collector::start(port, None)?;
    let cluster = cluster(
        port,
        "ratio = 1.0\nservice_name = \"home\"\nheaders = [\"Authorization: Bearer abc\"]",
    )
    .await?;
    let (near, far) = (cluster.nodes[0].join().await?, cluster.nodes[1].join().await?);
    let mut registration = far.register("com.add").await??;
    let mut subscription = far.subscribe("com.news").await??;
    let mut here = near.subscribe("com.news").await??;

    let answer = near.start_call("com.add", &[json!(SECRET)]).await?;
    let got = invocation(&mut registration.invocations).await?;
    let (trace, span, recorded) = context(&got.details)?;
    ensure!(recorded, "{:?}", got.details);
    far.yields(got.request, &[json!(3)]).await?;
    ensure!(answer.within(PATIENCE).await?? == [json!(3)]);
    let spans = collector.trace(&trace, 3).await?;
    let (call, link) = (one(&spans, "CALL", "n1")?, one(&spans, "LINK", "n1")?);
    let invoked = one(&spans, "INVOCATION", "n2")?;
    ensure!(call.parent.is_empty() && !call.remote_parent, "{call:?}");
    ensure!(link.parent == call.id && invoked.parent == link.id, "{spans:#?}");
    ensure!(invoked.id == span, "the callee is told the span of its invocation");
    ensure!(
        call.start <= link.start && link.end <= call.end && link.start <= link.end,
        "{spans:#?}"
    );
    ensure!(invoked.end - invoked.start <= call.end - call.start, "{spans:#?}");
    ensure!(call.events == ["routed"], "{call:?}");
    let told = |span: &Seen, key: &str| span.attributes.get(key).cloned().unwrap_or_default();
    ensure!(
        told(call, "wamp.uri") == "com.add" && told(call, "wamp.realm") == "realm1",
        "{call:?}"
    );
    ensure!(told(call, "wamp.session") == near.session().to_string(), "{call:?}");
    ensure!(told(invoked, "wamp.session") == far.session().to_string(), "{invoked:?}");
    ensure!(spans.iter().all(|span| told(span, "wamp.outcome") == "ok"), "{spans:#?}");
    ensure!(
        call.resource["service.name"] == "home" && call.resource["service.instance.id"] == "n1",
        "{call:?}"
    );
    ensure!(call.authorization.as_deref() == Some("Bearer abc"), "{call:?}");

    near.publish_with(
        "com.news",
        json!({"acknowledge": true, "exclude_me": false}),
        &[json!(SECRET)],
    )
    .await??;
    let (trace, told_far, _) = context(&event(&mut subscription.events).await?.details)?;
    let (of_here, told_here, _) = context(&event(&mut here.events).await?.details)?;
    ensure!(trace == of_here, "one trace for both subscribers");
    let spans = collector.trace(&trace, 3).await?;
    let published = one(&spans, "PUBLISH", "n1")?;
    let (event_here, event_far) = (one(&spans, "EVENT", "n1")?, one(&spans, "EVENT", "n2")?);
    ensure!(
        event_here.parent == published.id && event_far.parent == published.id,
        "{spans:#?}"
    );
    ensure!(event_here.id == told_here && event_far.id == told_far, "{spans:#?}");
    ensure!(
        told(event_far, "wamp.receivers") == "1" && told(published, "wamp.uri") == "com.news",
        "{spans:#?}"
    );

    // A call on one node, one that fails, and one that nobody answers before its caller has left.
    let own = near.register("com.own").await??;
    let _echo = near.serve_echo(own);
    near.call("com.own", &[]).await??;
    near.call("com.nobody", &[]).await?.expect_err("nobody is there");
    let leaving = cluster.nodes[0].join().await?;
    let _ = leaving.start_call("com.add", &[]).await?;
    let (unanswered, ..) = context(&invocation(&mut registration.invocations).await?.details)?;
    leaving.leave().await?;
    let spans = collector.trace(&unanswered, 2).await?;
    ensure!(
        one(&spans, "CALL", "n1")?.error.as_deref() == Some("the caller has left"),
        "{spans:#?}"
    );
    ensure!(one(&spans, "LINK", "n1")?.error.as_deref() == Some("given up"), "{spans:#?}");
    let by_uri = |uri: &str| collector.all().into_iter().find(|span| told(span, "wamp.uri") == uri);
    let failed = by_uri("com.nobody").context("the call that failed")?;
    ensure!(failed.error.as_deref() == Some("wamp.error.no_such_procedure"), "{failed:?}");
    let of_one_node = by_uri("com.own").context("the call on one node")?;
    let spans = collector.trace(&of_one_node.trace, 2).await?;
    ensure!(one(&spans, "INVOCATION", "n1")?.parent == of_one_node.id, "{spans:#?}");
    let all = format!("{:?}", collector.all());
    ensure!(!all.contains(SECRET), "a payload is in a span");
    Ok(())
}

const GIVEN_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const GIVEN_SPAN: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn a_context_of_the_client_is_continued_as_far_as_the_bound_allows_and_ratio_0_traces_nothing_else() -> Result<()> {
    let port = free_port();
    let collector = Collector::start(port, None)?;
    let cluster = cluster(port, "ratio = 0.0\nfrom_clients_per_second_max = 2").await?;
    let (near, far) = (cluster.nodes[0].join().await?, cluster.nodes[1].join().await?);
    let mut registration = far.register("com.add").await??;
    let mut subscription = far.subscribe("com.news").await??;
    let given =
        |trace: &str, flags: &str| json!({"_traceparent": format!("00-{trace}-{GIVEN_SPAN}-{flags}"), "acknowledge": true});
    let numbered = |number: usize| format!("{number:032x}");

    for number in 0..20 {
        let answer = near.start_call("com.add", &[json!(number)]).await?;
        let got = invocation(&mut registration.invocations).await?;
        ensure!(got.details.get("_traceparent").is_none(), "{:?}", got.details);
        far.yields(got.request, &[]).await?;
        answer.within(PATIENCE).await??;
        near.publish_acknowledged("com.news", &[]).await??;
        let details = event(&mut subscription.events).await?.details;
        ensure!(details.get("_traceparent").is_none(), "{details}");
    }

    let answer = near.start_call_with("com.add", given(GIVEN_TRACE, "01"), &[]).await?;
    let got = invocation(&mut registration.invocations).await?;
    let (trace, span, recorded) = context(&got.details)?;
    ensure!(trace == GIVEN_TRACE && span != GIVEN_SPAN && recorded, "{:?}", got.details);
    far.yields(got.request, &[]).await?;
    answer.within(PATIENCE).await??;
    let spans = collector.trace(GIVEN_TRACE, 3).await?;
    let call = one(&spans, "CALL", "n1")?;
    ensure!(call.parent == GIVEN_SPAN && call.remote_parent, "{call:?}");
    ensure!(one(&spans, "INVOCATION", "n2")?.id == span, "{spans:#?}");

    // Not recorded by its client: handed on, and told nobody.
    near.publish_with("com.news", given(&numbered(7), "00"), &[]).await??;
    let (trace, span, recorded) = context(&event(&mut subscription.events).await?.details)?;
    ensure!(trace == numbered(7) && span == GIVEN_SPAN && !recorded);
    // Not a context: as if it were not there.
    near.publish_with("com.news", given("no-trace", "01"), &[]).await??;
    let details = event(&mut subscription.events).await?.details;
    ensure!(details.get("_traceparent").is_none(), "{details}");

    // More than the bound: all arrive, few are recorded.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let begun = Instant::now();
    let mut recorded = 0;
    for number in 100..140 {
        near.publish_with("com.news", given(&numbered(number), "01"), &[]).await??;
        let (trace, _, flag) = context(&event(&mut subscription.events).await?.details)?;
        ensure!(trace == numbered(number));
        recorded += usize::from(flag);
    }
    let allowed = 2 + 2 * (begun.elapsed().as_secs_f64().ceil() as usize);
    ensure!((2..=allowed).contains(&recorded), "{recorded} recorded, {allowed} allowed");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let traces: std::collections::BTreeSet<String> = collector.all().into_iter().map(|span| span.trace).collect();
    ensure!(traces.len() == 1 + recorded && !traces.contains(&numbered(7)), "{traces:?}");
    Ok(())
}

/// The value of a series on a page of metrics.
async fn metric(url: &str, series: &str) -> Result<u64> {
    let (_, page) = http::get(url).await?;
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    line.with_context(|| format!("{series} in\n{page}"))
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_spans_and_nothing_else_and_one_that_comes_back_is_used() -> Result<()> {
    let port = free_port();
    let observed = free_port();
    let mut cluster = Cluster::prepare(Setup::Disks, "no-collector")?;
    for node in 0..3 {
        let file = cluster.config_path(node);
        let text = std::fs::read_to_string(&file)?;
        let here = if node == 0 {
            format!("127.0.0.1:{observed}")
        } else {
            "off".to_owned()
        };
        let text = text.replace(
            "[observability]\naddress = \"off\"",
            &format!("[observability]\naddress = \"{here}\""),
        );
        let traces = format!(
            "[observability.traces]\nendpoint = \"http://127.0.0.1:{port}\"\nratio = 1.0\nqueue_max = 32\nper_second_max = 100000\n"
        );
        std::fs::write(&file, format!("{text}{traces}"))?;
        cluster.launch(node)?;
    }
    for node in 0..3 {
        cluster.wait_ready(node).await?;
    }
    let near = cluster.nodes[0].join().await?;
    let registration = near.register("com.add").await??;
    let _echo = near.serve_echo(registration);
    for number in 0..500 {
        let answer = near.call("com.add", &[json!(number)]).await??;
        ensure!(answer == [json!(number)]);
    }
    let url = format!("http://127.0.0.1:{observed}/metrics");
    let until = Instant::now() + Duration::from_secs(10);
    let of = |outcome: &str| format!("ringfort_trace_spans_total{{outcome=\"{outcome}\"}}");
    loop {
        let (overflowed, failed) = (metric(&url, &of("overflowed")).await?, metric(&url, &of("failed")).await?);
        if overflowed > 0 && failed > 0 {
            break;
        }
        ensure!(Instant::now() < until, "{overflowed} overflowed, {failed} failed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(metric(&url, &of("exported")).await? == 0);
    let collector = Collector::start(port, None)?;
    let until = Instant::now() + Duration::from_secs(15);
    while collector.all().is_empty() {
        near.call("com.add", &[]).await??;
        ensure!(Instant::now() < until, "nothing comes");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(metric(&url, &of("exported")).await? > 0);
    // A node that stops does not wait for a collector.
    let begun = Instant::now();
    cluster.process(0)?.signal(Signal::Terminate)?;
    cluster.process(0)?.wait(Duration::from_secs(10))?;
    ensure!(begun.elapsed() < Duration::from_secs(8));
    Ok(())
}

#[tokio::test]
async fn a_collector_with_tls_is_believed_by_its_authority_only() -> Result<()> {
    let port = free_port();
    let dir = tempfile::tempdir()?;
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    std::fs::write(dir.path().join("ca.pem"), made.cert.pem())?;
    std::fs::write(dir.path().join("other.pem"), other.cert.pem())?;
    let identity = Identity::from_pem(made.cert.pem(), made.signing_key.serialize_pem());
    let collector = Collector::start(port, Some(identity))?;
    for (file, believed) in [("other.pem", false), ("ca.pem", true)] {
        let end = format!(
            "[observability.traces]\nendpoint = \"https://localhost:{port}\"\nratio = 1.0\nca = {:?}\n",
            dir.path().join(file)
        );
        let cluster = Cluster::start_with(Setup::Disks, "", &end).await?;
        let near: Client = cluster.nodes[0].join().await?;
        near.call("com.nobody", &[]).await?.expect_err("nobody is there");
        if believed {
            let until = Instant::now() + Duration::from_secs(10);
            while collector.all().is_empty() {
                ensure!(Instant::now() < until, "nothing comes");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        } else {
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            ensure!(collector.all().is_empty(), "{:?}", collector.all());
        }
    }
    Ok(())
}
