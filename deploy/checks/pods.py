"""The rendered chart, run: three nodes out of the image, each in namespaces of its own with the address, files, variables, arguments
and probes that its pod would have, names from a small name server; then `helm test`, a rolling restart, a lost volume, and a load test.

What stands in for Kubernetes is this file: volumes are folders, the kubelet is `Pod`. Needs root, HELM, RINGFORT_BIN, and the images.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import yaml

import charts
from charts import Disk, containers, of
from image import Image, children, end, find, pack
from names import Names
from tally import TARGET, Tally, must, output

WORK = TARGET / "pods"
# Short, since a device's name has 15 bytes; a range of its own.
BRIDGE, NET = "rfpods", "10.213.77"
DOMAIN = "r-ringfort-nodes.ns.svc.cluster.local"
WORKERS = ("worker-0", "worker-1")
# Pods beside the nodes.
OWN = ("test", "coordinator", *WORKERS)
# Beside the values of default.yaml: a load test of two seconds, no load balancer that has to hear of pods that go, and the port of the Service as that of the pods, since no proxy
# stands between them here.
SETS = (
    "config.drain.load_balancer_delay_ms=500",
    'listeners=[{"name":"wamp","port":8443,"tls":true}]',
    'loadTest={"enabled":true,"workers":2,"plan":{"scenario":"rpc","callers":8,"callees":2,"secs":2}}',
)


class Network:
    """A bridge, and a network namespace with an address on it for each pod."""

    def __init__(self, names):
        self.pods = {name: (f"{BRIDGE}{index}", f"{NET}.{10 + index}") for index, name in enumerate(names)}

    def __enter__(self):
        self.remove()
        must(["ip", "link", "add", BRIDGE, "type", "bridge"])
        must(["ip", "addr", "add", f"{NET}.1/24", "dev", BRIDGE])
        must(["ip", "link", "set", BRIDGE, "up"])
        for index, (space, address) in enumerate(self.pods.values()):
            must(["ip", "netns", "add", space])
            must(["ip", "link", "add", f"{BRIDGE}v{index}", "type", "veth", "peer", "name", "eth0", "netns", space])
            must(["ip", "link", "set", f"{BRIDGE}v{index}", "master", BRIDGE, "up"])
            must(["ip", "-n", space, "addr", "add", f"{address}/24", "dev", "eth0"])
            for device in ("lo", "eth0"):
                must(["ip", "-n", space, "link", "set", device, "up"])
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        for space, _ in self.pods.values():
            output(["ip", "netns", "del", space])
        for index in range(len(self.pods)):
            # A namespace goes when the last process in it has ended; its device need not wait for that.
            output(["ip", "link", "del", f"{BRIDGE}v{index}"])
        output(["ip", "link", "del", BRIDGE])

    def names(self):
        """What the Services of the chart make of the addresses of the pods."""
        nodes = {name: address for name, (_, address) in self.pods.items() if name not in OWN}
        workers = [self.pods[name][1] for name in WORKERS]
        services = {"r-ringfort.ns.svc.cluster.local": list(nodes.values()), "r-ringfort-load-workers.ns.svc.cluster.local": workers}
        return {f"{name}.{DOMAIN}": [address] for name, address in nodes.items()} | services


class Pod:
    """One pod: its volumes live as long as it does, but for the claimed one."""

    def __init__(self, name, space, spec, disk, root, claim, program="/ringfort"):
        self.name, self.space, self.spec, self.disk, self.root, self.program = name, space, spec, disk, root, program
        self.volumes = {"data": claim}
        self.running = {}
        self.log = open(WORK / f"{name}.log", "ab")

    def folder(self, mount):
        """The folder that stands for a mounted volume."""
        name = mount["name"] + ("-own" if mount.get("subPathExpr") else "")
        if name not in self.volumes:
            self.volumes[name] = pathlib.Path(tempfile.mkdtemp(dir=WORK, prefix=f"{self.name}-{name}-"))
            made = self.disk.mount(self.spec, {"volumeMounts": [{**mount, "mountPath": "/files"}]}, self.name)
            for file in (made / "files").iterdir():
                shutil.move(file, self.volumes[name] / file.name)
                # As the kubelet has it: root's, readable by the group of the pod.
                os.chown(self.volumes[name] / file.name, 0, self.spec["securityContext"]["fsGroup"])
                (self.volumes[name] / file.name).chmod(0o440)
            shutil.rmtree(made)
            os.chown(self.volumes[name], 0, self.spec["securityContext"]["fsGroup"])
            self.volumes[name].chmod(0o770)
        return self.volumes[name]

    def command(self, container, words):
        """What runs `words` in a container of this pod."""
        script = [f"mount --bind {self.root} {self.root}", f"mount -t proc proc {self.root}/proc"]
        for mount in container.get("volumeMounts", []):
            at = f"{self.root}{mount['mountPath']}"
            script.append(f"mount --bind {self.folder(mount)} {at}")
            if mount.get("readOnly"):
                script.append(f"mount -o remount,bind,ro {at}")
        script.append(f"mount -o remount,bind,ro {self.root}")
        its = container["securityContext"]
        user = f"--userspec={its['runAsUser']}:{its['runAsGroup']} --groups={self.spec['securityContext']['fsGroup']}"
        script.append(f'exec setpriv --no-new-privs --inh-caps=-all chroot {user} {self.root} "$@"')
        fork = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork"]
        return ["ip", "netns", "exec", self.space, *fork, "sh", "-c", " && ".join(script), "sh", *map(str, words)]

    def environment(self, container):
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **self.disk.environment(container, self.name)}

    def words(self, container):
        known = self.environment(container)
        expand = lambda word: word.replace("$(POD_NAME)", known.get("POD_NAME", ""))  # noqa: E731
        return [self.program, *map(expand, container["args"])]

    def once(self, container):
        """Runs a container that ends by itself."""
        return output(self.command(container, self.words(container)), env=self.environment(container))

    def start(self, container):
        self.running[container["name"]] = subprocess.Popen(self.command(container, self.words(container)), env=self.environment(container), stdout=self.log, stderr=self.log)

    def up(self):
        """Runs the init containers, then starts the others."""
        for container in self.spec.get("initContainers", []):
            good, told = self.once(container)
            assert good, f"{self.name}/{container['name']}: {told}"
        for container in self.spec["containers"]:
            self.start(container)

    def probe(self, container, which):
        """Asks once, as the kubelet does."""
        probe = container[which]
        if "httpGet" in probe:
            port = next(port["containerPort"] for port in container["ports"] if port["name"] == probe["httpGet"]["port"])
            address = f"http://{NET}.{10 + int(self.space.removeprefix(BRIDGE))}:{port}{probe['httpGet']['path']}"
            return output(["curl", "--silent", "--fail", "--max-time", str(probe["timeoutSeconds"]), address])[0]
        return output(self.command(container, probe["exec"]["command"]), env=self.environment(container))[0]

    def wait(self, which, seconds=60):
        container = containers(self.spec)[-1] if which == "readinessProbe" else next(one for one in containers(self.spec) if which in one)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for name, process in self.running.items():
                assert process.poll() is None, f"{self.name}/{name} ended: {self.tail()}"
            if self.probe(container, which):
                return
            time.sleep(0.2)
        raise AssertionError(f"{self.name}: {which} fails for {seconds} s: {self.tail()}")

    def tail(self):
        self.log.flush()
        return (WORK / f"{self.name}.log").read_text()[-1500:]

    def down(self):
        """As the kubelet does it: the hook before the stop, then SIGTERM to the first process of each container. The exit codes."""
        for container in self.spec["containers"]:
            hook = container.get("lifecycle", {}).get("preStop")
            if hook and container["name"] in self.running:
                # It may be gone before the hook says so, and a node that never joined has nothing to say.
                _, told = output(self.command(container, hook["exec"]["command"]), env=self.environment(container))
                self.log.write(f"preStop: {told}\n".encode())
        codes = []
        for process in self.running.values():
            if process.poll() is None:
                for child in children(process):
                    os.kill(child, signal.SIGTERM)
            try:
                codes.append(process.wait(timeout=self.spec.get("terminationGracePeriodSeconds", 30)))
            finally:
                end(process)
        self.running = {}
        return codes

    def kill(self):
        for process in self.running.values():
            end(process)
        self.running = {}
        self.log.close()


class Cluster:
    """The nodes of a rendering, and the pod of `helm test`."""

    def __init__(self, things, network, disk, root, bench):
        self.nodes = []
        template = of(things, "StatefulSet")["spec"]["template"]["spec"]
        for name, (space, _) in network.pods.items():
            if name in OWN:
                continue
            claim = WORK / f"claim-{name}"
            claim.mkdir()
            os.chown(claim, 0, template["securityContext"]["fsGroup"])
            claim.chmod(0o770)
            self.nodes.append(Pod(name, space, template, disk, root, claim))
        self.test = lambda: Pod("test", network.pods["test"][0], of(things, "Pod")["spec"], disk, root, None)
        jobs = {thing["metadata"]["labels"]["app.kubernetes.io/component"]: thing["spec"]["template"]["spec"] for thing in things if thing["kind"] == "Job"}
        load = lambda name, job: Pod(name, network.pods[name][0], jobs[job], disk, bench, None, "/ringfort-bench")  # noqa: E731
        self.load = lambda: ([load(name, "load-worker") for name in WORKERS], load("coordinator", "load-coordinator"))

    def helm_test(self):
        """What `helm test` does: the sidecar, its startup probe, then the caller, which has to end well."""
        pod = self.test()
        (callee,) = pod.spec["initContainers"]
        (caller,) = pod.spec["containers"]
        try:
            pod.start(callee)
            pod.wait("startupProbe", 30)
            good, told = pod.once(caller)
            assert good and "there" in told, told
        finally:
            pod.kill()

    def load_test(self):
        """Two workers and the coordinator, which judges the whole."""
        workers, coordinator = self.load()
        try:
            for worker in workers:
                worker.up()
            good, told = coordinator.once(coordinator.spec["containers"][0])
            assert good, f"{told}\n{workers[0].tail()}"
        finally:
            for pod in (*workers, coordinator):
                pod.kill()


def scenario(tally, cluster):
    for node in cluster.nodes:
        node.up()
    for node in cluster.nodes:
        node.wait("startupProbe")
    for node in cluster.nodes:
        tally.run(f"{node.name} gets ready", node.wait, "readinessProbe")
    tally.run("helm test before", cluster.helm_test)
    # A rolling update, the last pod first; with pod 1 away, helm test goes from 0 to 2.
    for node in reversed(cluster.nodes):
        codes = node.down()
        tally.check(f"{node.name} ends in good order", codes == [0], f"{codes}: {node.tail()}")
        if node is cluster.nodes[1]:
            tally.run("helm test with a node away", cluster.helm_test)
        node.up()
        tally.run(f"{node.name} is back", node.wait, "readinessProbe")
    tally.run("helm test after a rolling restart", cluster.helm_test)
    # A node without its disk is a stranger: alive, never ready, and no harm to the others.
    lost = cluster.nodes[1]
    claim = lost.volumes["data"]
    lost.down()
    empty = WORK / "claim-empty"
    empty.mkdir()
    os.chown(empty, 0, 65532)
    empty.chmod(0o770)
    lost.volumes["data"] = empty
    lost.up()
    lost.wait("startupProbe")
    time.sleep(5)
    container = lost.spec["containers"][0]
    tally.check("without its volume a node lives and is not ready", lost.probe(container, "livenessProbe") and not lost.probe(container, "readinessProbe"), lost.tail())
    tally.run("helm test beside it", cluster.helm_test)
    lost.down()
    lost.volumes["data"] = claim
    lost.up()
    tally.run("with its volume it is itself again", lost.wait, "readinessProbe")
    tally.run("helm test at the end", cluster.helm_test)
    tally.run("load test", cluster.load_test)


def main():
    tally = Tally()
    if os.geteuid() != 0:
        tally.check("pods", False, "network namespaces need root")
        tally.close()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    charts.WORK.mkdir(parents=True, exist_ok=True)
    things = charts.render(pathlib.Path(__file__).parent / "values/default.yaml", sets=SETS)
    if not list((TARGET / "images").glob("ringfort-[0-9]*.tar")):
        pack()
    root = Image(find("ringfort")).unpack(WORK / "root")
    bench = Image(find("ringfort-bench")).unpack(WORK / "bench-root")
    shutil.copy(os.environ["RINGFORT_BIN"], root / "ringfort")
    names = [f"r-ringfort-core-{ordinal}" for ordinal in range(of(things, "StatefulSet")["spec"]["replicas"])]
    disk = Disk(things, WORK / "disk")
    nodes = of(things, "StatefulSet")["spec"]["template"]["spec"]
    # Places to mount at, which a runtime would make.
    for spec in (nodes, *(thing["spec"] if thing["kind"] == "Pod" else thing["spec"]["template"]["spec"] for thing in things if thing["kind"] in ("Pod", "Job"))):
        for container in containers(spec):
            for mount in container["volumeMounts"]:
                for each in (root, bench):
                    (each / mount["mountPath"].lstrip("/")).mkdir(parents=True, exist_ok=True)
    for each in (root, bench):
        (each / "etc/resolv.conf").write_text(f"nameserver {NET}.1\noptions timeout:1 attempts:3\n")
    with Network([*names, *OWN]) as network, Names(f"{NET}.1", network.names()):
        cluster = Cluster(things, network, disk, root, bench)
        try:
            tally.run("scenario", scenario, tally, cluster)
        finally:
            for node in cluster.nodes:
                node.kill()
    if tally.failed == 0:
        shutil.rmtree(WORK, ignore_errors=True)
    tally.close()


if __name__ == "__main__":
    main()
