"""Checks of the Helm chart. Needs `HELM` (the binary) and `RINGFORT_BIN`; see `cargo xtask test --only charts`.

Every file of `values/` is rendered for each Kubernetes version, held to the schemas of that version, and looked at as a whole; its
ConfigMap is given to `ringfort check` as each node would get it, with certificates as the chart or `ringfort ca` makes them.
"""

import base64
import json
import os
import pathlib
import re
import shutil
import tempfile
import tomllib

import jsonschema
import kubernetes_validate
import yaml

import schema
from cluster_api import ClusterApi
from tally import ROOT, TARGET, Tally, must, output

CHART = ROOT / "helm/ringfort"
VALUES = sorted((pathlib.Path(__file__).parent / "values").glob("*.yaml"))
VERSIONS = ["1.34", "1.35", "1.36", "1.37"]
HELM = os.environ.get("HELM", "helm")
RINGFORT = os.environ.get("RINGFORT_BIN", str(TARGET / "release/ringfort"))
WORK = TARGET / "charts"
# What editors hold a configuration against.
SETTINGS = json.loads((ROOT / "docs/config.schema.json").read_text())
# Findings of checkov that stand, each with the reason. One that is found no longer must go from here.
SUPPRESSED = {
    "CKV_K8S_15": "tags are versions and never moved, so that pulling at each start only makes a registry a part of every restart",
    "CKV_K8S_43": "the digest of an image is known to who has pushed it: the value image.digest",
    "CKV_K8S_35": "ringfort and ringfort-bench read secret settings from the environment, which no log and no process list shows",
    "CKV_K8S_8": "the pod of helm test ends by itself; activeDeadlineSeconds bounds it",
    "CKV_K8S_9": "nobody sends anything to the pod of helm test",
}
# The kinds of cert-manager and of the Prometheus operator that the chart makes: what must be there.
CUSTOM = {
    "Certificate": ["secretName", "issuerRef"],
    "Issuer": [],
    "ServiceMonitor": ["selector", "endpoints"],
    "PrometheusRule": ["groups"],
}


def helm(*arguments):
    environment = {**os.environ, "HELM_CACHE_HOME": str(WORK / "cache"), "HELM_CONFIG_HOME": str(WORK / "config"), "HELM_DATA_HOME": str(WORK / "data"), "KUBECONFIG": "/dev/null"}
    return output([HELM, *map(str, arguments)], env=environment)


def render(values, version=VERSIONS[-1], sets=(), extra=()):
    """The objects of a rendering, in order."""
    options = [option for pair in sets for option in ("--set-json", pair)]
    good, text = helm("template", "r", CHART, "-n", "ns", "-f", values, "--kube-version", version, *options, *extra)
    if not good:
        raise RuntimeError(text)
    return [thing for thing in yaml.safe_load_all(text) if thing]


def of(things, kind, name=None):
    """The one object of a kind, or of that name."""
    found = [thing for thing in things if thing["kind"] == kind and name in (None, thing["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of kind {kind} {name or ''}"
    return found[0]


def pods(things):
    """Every pod that the objects make: what it is, labels and spec."""
    for thing in things:
        spec = thing.get("spec", {})
        if thing["kind"] == "Pod":
            yield thing["metadata"]["name"], thing["metadata"]["labels"], spec
        elif "template" in spec:
            yield thing["metadata"]["name"], spec["template"]["metadata"]["labels"], spec["template"]["spec"]


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


# What every rendering must be


def valid(things, version):
    """Strictly what this version of Kubernetes takes."""
    for thing in things:
        where = f"{thing['kind']} {thing['metadata']['name']}"
        assert thing["metadata"]["namespace"] == "ns", f"{where}: no namespace"
        if thing["kind"] in CUSTOM:
            missing = [key for key in CUSTOM[thing["kind"]] if key not in thing["spec"]]
            assert not missing, f"{where}: {missing} missing"
            continue
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise AssertionError(f"{where}: {error.path}: {error.message}") from error
    names = [(thing["kind"], thing["metadata"]["name"]) for thing in things]
    assert len(set(names)) == len(names), f"twice: {[name for name in names if names.count(name) > 1]}"


def restricted(things):
    """Pod Security `restricted`, and more: read-only root, no token, a numbered user, bounds on everything."""
    for name, _, spec in pods(things):
        assert spec["automountServiceAccountToken"] is False, f"{name}: a token"
        assert spec["enableServiceLinks"] is False, f"{name}: service links are variables that could be settings"
        inside = spec["securityContext"]
        assert inside["runAsNonRoot"] and inside["runAsUser"] >= 1000 and inside["fsGroup"] >= 1000, name
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), name
        for container in containers(spec):
            at, its = f"{name}/{container['name']}", container["securityContext"]
            assert its["allowPrivilegeEscalation"] is False and its["readOnlyRootFilesystem"] and its["runAsNonRoot"], at
            assert its["capabilities"] == {"drop": ["ALL"]} and its["seccompProfile"] == {"type": "RuntimeDefault"}, at
            assert {"requests", "limits"} <= set(container["resources"]), f"{at}: no resources"
            assert "command" not in container, f"{at}: the entry point of the image is the program"
            assert not any("sh" == word.rsplit("/", 1)[-1] for word in container.get("args", [])), f"{at}: there is no shell"
        for volume in spec.get("volumes", []):
            kinds = set(volume) - {"name"}
            assert kinds <= {"configMap", "secret", "projected", "emptyDir"}, f"{name}: volume {volume['name']} is {kinds}"


def core_is_sound(things, values):
    """What keeps the nodes a cluster while Kubernetes moves them."""
    nodes = of(things, "StatefulSet")
    spec, pod = nodes["spec"], nodes["spec"]["template"]["spec"]
    config = of(things, "ConfigMap", nodes["metadata"]["name"])["data"]["ringfort.toml"]
    container = next(its for its in pod["containers"] if its["name"] == "ringfort")
    assert spec["podManagementPolicy"] == "Parallel", "none is ready before more than half are there"
    headless = of(things, "Service", spec["serviceName"])
    assert headless["spec"]["clusterIP"] == "None" and headless["spec"]["publishNotReadyAddresses"] is True
    labels = spec["template"]["metadata"]["labels"]
    client = [thing for thing in things if thing["kind"] == "Service" and thing["metadata"]["name"].endswith(nodes["metadata"]["name"].removesuffix("-core"))]
    budget = of(things, "PodDisruptionBudget")["spec"]
    for where, selector in (("headless", headless["spec"]["selector"]), ("client", client[0]["spec"]["selector"]), ("budget", budget["selector"]["matchLabels"]), ("set", spec["selector"]["matchLabels"])):
        assert selector.items() <= labels.items(), f"{where} selects {selector}, pods are {labels}"
    assert budget["maxUnavailable"] == 1
    rules = pod["affinity"]["podAntiAffinity"]
    terms = rules.get("requiredDuringSchedulingIgnoredDuringExecution") or [rules["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]]
    assert terms[0]["topologyKey"] == "kubernetes.io/hostname" and terms[0]["labelSelector"]["matchLabels"].items() <= labels.items()
    # No shell, and the process ends by itself; that the grace period exceeds the drain is asked of `ringfort check` (settings_are_taken).
    assert container["lifecycle"]["preStop"] == {"exec": {"command": ["/ringfort", "admin", "drain", "--watch"]}}
    delay = re.search(r"\[drain\][^\[]*load_balancer_delay_ms = (\d+)", config)
    assert delay and int(delay[1]) >= 1000, "load balancers hear of a pod that goes after its clients do"
    observed = values.get("observability", {}).get("enabled", True)
    # Liveness and start ask the process alone: a node that waits for a quorum must not be killed.
    for probe, path, inside in (("startupProbe", "/livez", "/healthz"), ("livenessProbe", "/livez", "/healthz"), ("readinessProbe", "/readyz", "/readyz")):
        asked = container[probe]
        assert asked["timeoutSeconds"] > 3, probe
        if observed:
            assert asked["httpGet"] == {"path": path, "port": "observability"}, asked
        else:
            assert asked["exec"]["command"] == ["/ringfort", "healthcheck", f"--url=http://127.0.0.1:7500{inside}"], asked
    assert ("[observability]" in config) == observed
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for service in (headless, client[0]):
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in ports, f"{service['metadata']['name']}: no port {port['targetPort']} in the pods"
    assert spec["volumeClaimTemplates"][0]["metadata"]["name"] == "data"
    assert {"name": "data", "mountPath": "/var/lib/ringfort"} in container["volumeMounts"]
    mounts = {mount["name"] for its in containers(pod) for mount in its["volumeMounts"]}
    volumes = {volume["name"] for volume in pod["volumes"]} | {"data"}
    assert mounts == volumes, f"mounted {sorted(mounts)}, there are {sorted(volumes)}"
    # The keys of the authority and of other nodes stay out of the container that strangers speak to.
    assert "cluster-authority" not in {mount["name"] for mount in container["volumeMounts"]}
    for mount in container["volumeMounts"]:
        volume = next((volume for volume in pod["volumes"] if volume["name"] == mount["name"]), {})
        if len(volume.get("projected", {}).get("sources", [])) > 1:
            assert mount.get("subPathExpr") == "$(POD_NAME)", "a node sees the keys of the others"


def policies_fit(things, values):
    """Who reaches whom: exactly what is needed, in both directions."""
    policies = [thing for thing in things if thing["kind"] == "NetworkPolicy"]
    if values.get("networkPolicy", {}).get("enabled") is False:
        assert not policies
        return
    every = list(pods(things))

    def chosen(selector):
        return {name for name, labels, _ in every if selector.get("matchLabels", {}).items() <= labels.items()}

    allowed = {"Ingress": {}, "Egress": {}}
    for policy in policies:
        spec = policy["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"], policy["metadata"]["name"]
        assert chosen(spec["podSelector"]), f"{policy['metadata']['name']} selects nobody"
        for way, key, peers in (("Ingress", "ingress", "from"), ("Egress", "egress", "to")):
            for name in chosen(spec["podSelector"]):
                ports = allowed[way].setdefault(name, {})
                for rule in spec.get(key, []):
                    who = set()
                    for peer in rule.get(peers, [{"everybody": True}]):
                        inside = "podSelector" in peer and "namespaceSelector" not in peer
                        who |= chosen(peer["podSelector"]) if inside else {json.dumps(peer, sort_keys=True)}
                    for port in rule["ports"]:
                        ports.setdefault(port["port"], set()).update(who)
    names = {name for name, _, _ in every}
    assert set(allowed["Ingress"]) == names, f"without a policy: {names - set(allowed['Ingress'])}"
    core = of(things, "StatefulSet")["metadata"]["name"]
    ports = of(things, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["ports"]
    clients = {port["containerPort"] for port in ports if port["name"] not in ("cluster", "observability")}
    watched = {7600} if values.get("observability", {}).get("scrapers") else set()
    cluster = {7400} if of(things, "StatefulSet")["spec"]["replicas"] > 1 else set()
    redis = {values["redis"].get("port", 6379)} if values.get("redis", {}).get("enabled") else set()
    traces = {values["traces"].get("port", 4317)} if values.get("traces", {}).get("enabled") else set()
    extra = {port["port"] for rule in values.get("networkPolicy", {}).get("extraEgress", []) for port in rule["ports"]}
    assert set(allowed["Ingress"][core]) == clients | cluster | watched, f"into the nodes: {allowed['Ingress'][core]}"
    assert set(allowed["Egress"][core]) == {53} | cluster | redis | traces | extra, f"out of the nodes: {allowed['Egress'][core]}"
    for port in watched:
        assert core not in allowed["Ingress"][core][port] and '{"everybody": true}' not in allowed["Ingress"][core][port]
    for port in cluster:
        assert allowed["Ingress"][core][port] == {core} == allowed["Egress"][core][port], "links are for nodes"
    own = {name for name in names if name != core}
    for name in own:
        worker = "-load-" in name
        assert set(allowed["Ingress"][name]) == ({7070} if worker else set()), f"into {name}: {allowed['Ingress'][name]}"
        assert set(allowed["Egress"][name]) == {53} | clients | ({7070} if worker else set()), f"out of {name}"
        for port in clients:
            assert allowed["Egress"][name][port] == {core}
            reach = allowed["Ingress"][core][port]
            assert name in reach or '{"everybody": true}' in reach, f"{name} does not get to port {port} of the nodes"


def as_said(things, values):
    """Values arrive where they should."""
    nodes = of(things, "StatefulSet")
    core = values.get("core", {})
    assert nodes["spec"]["replicas"] == core.get("replicas", 3)
    pod = nodes["spec"]["template"]["spec"]
    for key in ("nodeSelector", "tolerations", "priorityClassName"):
        assert pod.get(key) == core.get(key), key
    if "resources" in core:
        assert pod["containers"][0]["resources"] == core["resources"]
    service = values.get("service", {})
    watch = values.get("observability", {})
    for part, kind in (("serviceMonitor", "ServiceMonitor"), ("prometheusRule", "PrometheusRule")):
        assert (kind in {thing["kind"] for thing in things}) == watch.get(part, {}).get("enabled", False), kind
    if watch.get("prometheusRule", {}).get("enabled"):
        assert of(things, "PrometheusRule")["spec"] == yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())
        assert of(things, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= of(things, "Service", "r-ringfort-observability")["metadata"]["labels"].items()
    if watch.get("dashboard", {}).get("enabled"):
        board = of(things, "ConfigMap", "r-ringfort-dashboard")
        assert json.loads(board["data"]["ringfort.json"]) == json.loads((ROOT / "deploy/grafana/ringfort.json").read_text())
        assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    client = next(thing for thing in things if thing["kind"] == "Service" and thing["spec"].get("clusterIP") != "None")
    assert client["spec"]["type"] == service.get("type", "ClusterIP")
    assert client["spec"].get("loadBalancerSourceRanges", []) == service.get("loadBalancerSourceRanges", [])
    given = [listener.get("nodePort") for listener in values.get("listeners", [])]
    if given and service.get("type", "ClusterIP") != "ClusterIP":
        assert [port.get("nodePort") for port in client["spec"]["ports"]] == given
    image = values.get("image", {})
    if "digest" in image:
        assert pod["containers"][0]["image"] == f"{image['repository']}@{image['digest']}"
    claim = nodes["spec"]["volumeClaimTemplates"][0]["spec"]
    assert claim["resources"]["requests"]["storage"] == values.get("persistence", {}).get("size", "8Gi")
    tests = [thing for thing in things if thing["metadata"].get("annotations", {}).get("helm.sh/hook") == "test"]
    assert len(tests) == (values.get("helmTest", {}).get("enabled", True) is True)
    for test in tests:
        urls = [next(word for word in its["args"] if word.startswith("--url")) for its in containers(test["spec"])]
        assert core.get("replicas", 3) == 1 or urls[0] != urls[1], "registers and calls at the same node"
    jobs = [thing for thing in things if thing["kind"] == "Job"]
    assert len(jobs) == (2 if values.get("loadTest", {}).get("enabled") else 0)


# Settings


class Disk:
    """The files that a pod would see, in a folder."""

    def __init__(self, things, folder):
        self.folder = pathlib.Path(folder)
        self.secrets = {}
        for thing in things:
            if thing["kind"] == "Secret":
                self.secrets[thing["metadata"]["name"]] = {key: base64.b64decode(data) for key, data in thing["data"].items()}
        self.things = things

    def others(self, cluster_id, nodes, domain):
        """Secrets that the chart does not make: what cert-manager would, or the operator with `ringfort ca`."""
        pki = self.folder / "pki"
        must([RINGFORT, "ca", "init", "--cluster-id", cluster_id, "--out", pki])
        must([RINGFORT, "keygen", "--out", self.folder / "keygen", "--host", "wamp.example.org"])
        server = {name: (self.folder / "keygen" / file).read_bytes() for name, file in (("tls.crt", "server.pem"), ("tls.key", "server.key"), ("ca.crt", "server.pem"))}
        all_nodes = {"ca.pem": (pki / "ca.pem").read_bytes()}
        for node in nodes:
            must([RINGFORT, "ca", "node", "--dir", pki, "--name", node, "--host", f"{node}.{domain}"])
            pem, key = (pki / f"{node}.pem").read_bytes(), (pki / f"{node}.key").read_bytes()
            all_nodes |= {f"{node}.pem": pem, f"{node}.key": key}
            self.secrets.setdefault(f"{node}-cluster-tls", {"tls.crt": pem, "tls.key": key, "ca.crt": all_nodes["ca.pem"]})
        for name in ("public-tls", "devices-ca", "r-ringfort-client-tls"):
            self.secrets.setdefault(name, server)
        self.secrets.setdefault("cluster-pki", all_nodes)
        self.secrets["principals"] = {"lamp": b"a-long-random-text", "ann": b"another-long-text"}
        self.secrets["redis-url"] = {"address": b"redis://:secret@redis.example.org:6380/0"}

    def mount(self, pod, container, name):
        """Puts the volumes of a container where it expects them; returns the root that stands for `/`."""
        root = self.folder / name
        for mount in container["volumeMounts"]:
            at = root / mount["mountPath"].lstrip("/")
            at.mkdir(parents=True, exist_ok=True)
            volume = next((volume for volume in pod["volumes"] if volume["name"] == mount["name"]), {})
            sources = volume.get("projected", {}).get("sources") or [volume]
            for source in sources:
                if "configMap" in source:
                    files = of(self.things, "ConfigMap", source["configMap"]["name"])["data"]
                    files = {key: text.encode() for key, text in files.items()}
                elif "secret" in source:
                    secret = source["secret"]
                    data = self.secrets[secret.get("secretName") or secret["name"]]
                    items = secret.get("items") or [{"key": key, "path": key} for key in data]
                    files = {item["path"]: data[item["key"]] for item in items}
                else:
                    files = {}
                if mount.get("subPathExpr"):
                    files = {path.removeprefix(f"{name}/"): data for path, data in files.items() if path.startswith(f"{name}/")}
                for path, data in files.items():
                    (at / path).write_bytes(data)
        return root

    def environment(self, container, name):
        """The variables of a container."""
        known = {}
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            if "fieldRef" in source:
                assert source["fieldRef"]["fieldPath"] == "metadata.name"
                known[variable["name"]] = name
            elif "secretKeyRef" in source:
                known[variable["name"]] = self.secrets[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]].decode()
            else:
                known[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda found: known[found[1]], variable["value"])
        return known


def settings_are_taken(things, _values):
    """The JSON Schema and `ringfort check` accept the settings of every node, with the files and variables that its pod gets."""
    nodes = of(things, "StatefulSet")
    pod, name = nodes["spec"]["template"]["spec"], nodes["metadata"]["name"]
    container = pod["containers"][0]
    text = of(things, "ConfigMap", name)["data"]["ringfort.toml"]
    cluster_id = re.search(r'\[cluster\]\nid = "(.+)"', text)[1]
    names = [f"{name}-{ordinal}" for ordinal in range(nodes["spec"]["replicas"])]
    found = re.search(rf"{name}-0\.(\S+):7400", text)
    domain = found[1] if found else "nowhere"
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        disk = Disk(things, folder)
        disk.others(cluster_id, names, domain)
        for node in names:
            root = None
            for init in pod.get("initContainers", []):
                root = disk.mount(pod, init, node)
                expand = lambda word: word.replace("$(POD_NAME)", node)  # noqa: B023, E731
                words = [re.sub(r"=/", f"={root}/", expand(word)) for word in init["args"]]  # noqa: B023
                must([RINGFORT, *words])
                must([RINGFORT, *words])  # as when a pod starts again beside what is there
            root = disk.mount(pod, container, node)
            environment = disk.environment(container, node)
            rooted = {key: text.replace("/etc/ringfort", f"{root}/etc/ringfort") for key, text in environment.items()}
            file = root / "etc/ringfort/config/ringfort.toml"
            file.write_text(file.read_text().replace("/etc/ringfort", f"{root}/etc/ringfort"))
            jsonschema.validate(tomllib.loads(file.read_text()), SETTINGS)
            good, told = output([RINGFORT, "check", file], env={"PATH": "/usr/bin", **rooted})
            assert good and "no problems" in told, f"{node}: {told}\n{file.read_text()}"
            takes, grace = int(re.search(r"stops within (\d+) s", told)[1]), pod["terminationGracePeriodSeconds"]
            assert grace > takes, f"{node}: a drain takes {takes} s at most, and Kubernetes waits {grace} s"
            good, told = output([RINGFORT, "check", "--print", file], env={"PATH": "/usr/bin", **rooted})
            assert good and f'name = "{node}"' in told, told
            assert not any(secret in told for secret in ("a-long-random-text", "another-long-text", "redis://"))


# What is refused

WRONG = {
    "core.replicas=2": "core/replicas",
    "core.replicas=7": "core/replicas",
    'core.replicas="3"': "core/replicas",
    "core.replica=3": "replica",
    "core.terminationGracePeriodSeconds=25": "core.terminationGracePeriodSeconds",
    "config.drain.window_ms=120000": "core.terminationGracePeriodSeconds",
    'core.antiAffinity="none"': "core/antiAffinity",
    'image.digest="sha256:1"': "image/digest",
    'image.pullPolicy="Sometimes"': "image/pullPolicy",
    'persistence.size="big"': "persistence/size",
    "listeners=[]": "listeners",
    'listeners=[{"name":"wamp","port":80}]': "listeners/0/port",
    'listeners=[{"name":"wamp","port":7400}]': "listeners[0].port",
    'listeners=[{"name":"a","port":8080},{"name":"b","port":8080}]': "listeners[1].port",
    'listeners=[{"name":"a","port":8080,"settings":{"address":"1.2.3.4:5"}}]': "address",
    'tls.mode="none"': "listeners[0].tls",
    'tls.mode="secret"': "tls.existingSecret",
    'tls.mode="certManager"': "tls.issuerRef.name",
    'tls.clientCertificates="required"': "tls.clientCaSecret",
    'cluster.tls.mode="secret"': "cluster.tls.existingSecret",
    'cluster.tls.mode="none"': "cluster/tls/mode",
    "config.realm=[]": "config/realm",
    'config.realm=[{"name":"r","anonymous":false}]': "config/realm/0/anonymous",
    'config.realm=[{"name":"r","topics":[{"uri":"a","store":"redis"}]}]': "redis.enabled",
    'config.principal=[{"realm":"other","authid":"a","role":"b"}]': "config.principal[0].realm",
    'config.principal=[{"realm":"realm1","authid":"a","role":"b","ticket":"secret-text"}]': "ticket",
    'config.limits={"session_max":5}': "session_max",
    'config.limits={"sessions_max":"many"}': "config/limits/sessions_max",
    'config.node.name="n1"': "name",
    'config.cluster.peers=[]': "peers",
    'secretSettings=[{"setting":"principal[3].ticket","name":"a","key":"b"}]': "secretSettings[0].setting",
    'secretSettings=[{"setting":"Principal 3","name":"a","key":"b"}]': "secretSettings/0/setting",
    "redis.enabled=true": "redis.urlSecret.name",
    'service.type="ExternalName"': "service/type",
    'loadTest.plan={"scenario":"ddos"}': "loadTest/plan/scenario",
    "networkPolicy.enable=true": "enable",
    "edge.replicas=3": "edge",
    'listeners=[{"name":"wamp","port":7600}]': "listeners[0].port",
    'observability={"enabled":false,"serviceMonitor":{"enabled":true}}': "observability.serviceMonitor.enabled",
}


def refused(change, word):
    good, told = helm("template", "r", CHART, "-n", "ns", "--set-json", change)
    assert not good, f"{change} was taken"
    assert word in told, f"{change} was refused without naming {word}:\n{told}"


def older_kubernetes_is_refused():
    good, told = helm("template", "r", CHART, "-n", "ns", "--kube-version", "1.33")
    assert not good and "1.34" in told, told


# What an upgrade keeps


def with_owner(thing):
    """As the server has it after an installation by Helm."""
    thing = json.loads(json.dumps(thing))
    thing["metadata"].setdefault("annotations", {}).update({"meta.helm.sh/release-name": "r", "meta.helm.sh/release-namespace": "ns"})
    return thing


def upgraded(objects, *sets):
    """Renders as an upgrade does: beside the objects that the server has."""
    with ClusterApi([with_owner(thing) for thing in objects]) as url:
        return render(VALUES[0].parent / "default.yaml", sets=sets, extra=["--dry-run=server", "--disable-openapi-validation", "--is-upgrade", "--kube-apiserver", url])


def upgrade_keeps_what_was_made():
    first = [thing for thing in render(VALUES[0].parent / "default.yaml") if thing["kind"] == "Secret"]
    assert len(first) == 4
    second = upgraded(first)
    for secret in first:
        assert of(second, "Secret", secret["metadata"]["name"])["data"] == secret["data"], secret["metadata"]["name"]
    fresh = render(VALUES[0].parent / "default.yaml")
    assert of(fresh, "Secret", first[0]["metadata"]["name"])["data"] != first[0]["data"], "the comparison compares nothing"


def upgrade_signs_anew_for_new_names_and_in_time():
    first = [thing for thing in render(VALUES[0].parent / "default.yaml") if thing["kind"] == "Secret"]
    old = of(first, "Secret", "r-ringfort-client-tls")
    renamed = of(upgraded(first, 'tls.dnsNames=["new.example.org"]'), "Secret", "r-ringfort-client-tls")
    old["metadata"]["annotations"]["ringfort.io/renew-after"] = "1"
    late = of(upgraded(first), "Secret", "r-ringfort-client-tls")
    for fresh in (renamed, late):
        assert fresh["data"]["tls.crt"] != old["data"]["tls.crt"]
        assert fresh["data"]["ca.crt"] == old["data"]["ca.crt"], "clients would have to learn another authority"
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        for key, data in renamed["data"].items():
            (pathlib.Path(folder) / key).write_bytes(base64.b64decode(data))
        told = must(["openssl", "verify", "-CAfile", "ca.crt", "-verify_hostname", "new.example.org", "tls.crt"], cwd=folder)
        assert "OK" in told


def upgrade_keeps_the_number_of_nodes():
    nodes = of(render(VALUES[0].parent / "five.yaml"), "StatefulSet")
    upgraded([nodes], "core.replicas=5")
    for count, words in ((1, "quorum"), (3, "core.replicas")):
        try:
            upgraded([nodes], f"core.replicas={count}")
        except RuntimeError as error:
            assert words in str(error) and "core.replicas: StatefulSet r-ringfort-core runs 5 nodes" in str(error), error
        else:
            raise AssertionError(f"an upgrade from 5 nodes to {count} went through")


# The page of values, and what checkov finds


def leaves(values, path=()):
    """The paths of all values, as the README writes them."""
    for key, value in values.items():
        if isinstance(value, dict) and value and path + (key,) not in ((("config", "node")), ("config", "log"), ("loadTest", "plan")):
            yield from leaves(value, path + (key,))
        else:
            yield ".".join(path + (key,))


def readme_lists_every_value():
    text = (CHART / "README.md").read_text()
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+?) \|", text, re.M))
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    wanted = set(leaves(values))
    assert set(rows) == wanted, f"missing: {sorted(wanted - set(rows))}; not there: {sorted(set(rows) - wanted)}"
    for path, told in rows.items():
        value = values
        for key in path.split("."):
            value = value[key]
        shown = json.dumps(value)
        if len(shown) <= 40:
            assert told == f"`{shown}`", f"{path}: the page says {told}, the default is `{shown}`"


def rules_and_dashboard_are_those_of_the_tree():
    for copied, source in (("alerts.yaml", "prometheus/alerts.yaml"), ("dashboard.json", "grafana/ringfort.json")):
        same = (CHART / "files" / copied).read_bytes() == (ROOT / "deploy" / source).read_bytes()
        assert same, f"cp deploy/{source} helm/ringfort/files/{copied}"


def every_default_has_a_schema():
    file = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def walk(value, its, path):
        assert its.get("additionalProperties") is not True, path
        for key, inner in value.items():
            assert key in its["properties"], f"{path}.{key} is not in values.schema.json"
            if isinstance(inner, dict) and its["properties"][key].get("properties"):
                walk(inner, its["properties"][key], f"{path}.{key}")

    walk(values, file, "")


def checkov(tally):
    """No finding without a reasoned suppression, and no suppression without a finding."""
    # By a relative name: checkov passes over everything below a hidden folder, such as a cache.
    tool = TARGET / "deploy/bin/checkov"
    command = [tool, "-d", "rendered", "--framework", "kubernetes", "--skip-download", "--output", "json", "--compact", "--quiet"]
    _, told = output(command, cwd=WORK, env={**os.environ, "LOG_LEVEL": "ERROR"})
    report = json.loads(told[told.index("{"):])
    failed = report["results"]["failed_checks"]
    tally.check("checkov ran", report["summary"]["passed"] > 300, report["summary"])
    new = sorted({f"{one['check_id']} {one['check_name']}: {one['resource']}" for one in failed if one["check_id"] not in SUPPRESSED})
    tally.check("checkov finds nothing new", not new, "\n".join(new))
    for identity, reason in SUPPRESSED.items():
        tally.check(f"suppression {identity}", len(reason) > 40 and any(one["check_id"] == identity for one in failed), "found no longer")


def main():
    tally = Tally()
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "rendered").mkdir(parents=True)
    tally.check("values.schema.json is current", schema.is_current(), "python deploy/checks/schema.py --write")
    tally.run("readme", readme_lists_every_value)
    tally.run("schema", every_default_has_a_schema)
    tally.run("rules and dashboard", rules_and_dashboard_are_those_of_the_tree)
    good, told = helm("lint", "--strict", CHART, *[option for file in VALUES for option in ()])
    tally.check("helm lint --strict", good, told)
    good, told = helm("package", CHART, "-d", WORK)
    tally.check("helm package", good, told)
    tally.check("at least twelve sets of values", len(VALUES) >= 12, len(VALUES))
    for file in VALUES:
        values = yaml.safe_load(file.read_text())
        things = None
        for version in VERSIONS:
            try:
                things = render(file, version)
            except RuntimeError as error:
                tally.check(f"{file.stem} renders for {version}", False, error)
                continue
            tally.run(f"{file.stem} is valid for {version}", valid, things, version)
        if things:
            (WORK / "rendered" / file.name).write_text(yaml.safe_dump_all(things))
            for check in (restricted, core_is_sound, policies_fit, as_said, settings_are_taken):
                tally.run(f"{file.stem}: {check.__name__}", check, things, values) if check is not restricted else tally.run(f"{file.stem}: restricted", check, things)
    for change, word in WRONG.items():
        tally.run(f"refused: {change}", refused, change, word)
    for check in (older_kubernetes_is_refused, upgrade_keeps_what_was_made, upgrade_signs_anew_for_new_names_and_in_time, upgrade_keeps_the_number_of_nodes):
        tally.run(check.__name__, check)
    checkov(tally)
    tally.close()


if __name__ == "__main__":
    main()
