"""Checks of the images that `cargo xtask image` makes: what is in them, and that they run as pods would run them.

Needs RINGFORT_XTASK (the runner), RINGFORT_BIN and RINGFORT_BENCH_BIN (release programs side by side), and root, for namespaces.
"""

import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import tarfile
import time

from tally import ROOT, TARGET, Tally, must, output

IMAGES = TARGET / "images"
WORK = TARGET / "image-check"
PROGRAMS = pathlib.Path(os.environ["RINGFORT_BIN"]).parent
# checkov's rules for a Dockerfile that do not hold here, with the reason.
SUPPRESSED = {
    "CKV_DOCKER_2": "ringfort-bench ends by itself and has no health",
    "CKV_DOCKER_7": "the tag of a base image is chosen with --build-arg BASE, by whoever builds",
}


class Image:
    """An image layout in a tar file, every digest and size of which is checked as it is read."""

    def __init__(self, file):
        self.file = file
        self.tar = tarfile.open(fileobj=io.BytesIO(file.read_bytes()))
        assert self.json("oci-layout") == {"imageLayoutVersion": "1.0.0"}
        (head,) = self.json("index.json")["manifests"]
        self.manifest = json.loads(self.blob(head))
        self.config = json.loads(self.blob(self.manifest["config"]))
        self.layers = [gzip.decompress(self.blob(layer)) for layer in self.manifest["layers"]]
        assert [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in self.layers] == self.config["rootfs"]["diff_ids"]

    def json(self, name):
        return json.loads(self.tar.extractfile(name).read())

    def blob(self, described):
        kind, digest = described["digest"].split(":")
        data = self.tar.extractfile(f"blobs/{kind}/{digest}").read()
        assert hashlib.sha256(data).hexdigest() == digest and len(data) == described["size"], digest
        return data

    def members(self):
        return [member for layer in self.layers for member in tarfile.open(fileobj=io.BytesIO(layer))]

    def unpack(self, folder):
        """Writes the layers as a container runtime would, one over the other."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        for layer in self.layers:
            tarfile.open(fileobj=io.BytesIO(layer)).extractall(folder, numeric_owner=True, filter="fully_trusted")
        return folder


def find(name):
    (file,) = IMAGES.glob(f"{name}-[0-9]*.tar")
    return file


def pack():
    must([os.environ["RINGFORT_XTASK"], "image", "--from", PROGRAMS], cwd=ROOT)


def sound(name):
    """Small, without a shell, of nobody in particular."""
    image = Image(find(name))
    members = image.members()
    files = {member.name: member for member in members if member.isfile()}
    size = sum(member.size for member in files.values())
    assert size <= 40_000_000, f"{size} bytes"
    config = image.config["config"]
    user, group = config["User"].split(":")
    assert user.isdigit() and group.isdigit() and int(user) >= 1000, config["User"]
    assert config["Entrypoint"] == [f"/{name}"] and "Env" not in config
    programs = {path for path, member in files.items() if member.mode & 0o111}
    libraries = {path for path in programs if re.search(r"\.so(\.|$)", path)}
    assert programs - libraries == {name}, f"programs beside it: {sorted(programs - libraries - {name})}"
    for member in members:
        assert not member.mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH), f"{member.name}: mode {member.mode:o}"
        assert member.mtime == 0 and member.uname == "", member.name
        assert member.uid == 0 or member.name == "var/lib/ringfort", f"{member.name} belongs to {member.uid}"
    assert f"usr/share/doc/{name}/LICENSE" in files and "etc/nsswitch.conf" in files


def bill_is_true(name):
    """Every crate of the bill is in Cargo.lock, with its sum; every library is in the image, with its sum."""
    image = Image(find(name))
    folder = image.unpack(WORK / f"bill-{name}")
    bill = json.loads((folder / f"usr/share/sbom/{name}.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX" and bill["specVersion"] == "1.5"
    lock = (ROOT / "Cargo.lock").read_text()
    crates = [part for part in bill["components"] if part.get("purl", "").startswith("pkg:cargo/")]
    assert len(crates) > 50
    names = {part["name"] for part in crates}
    assert {"tokio", "rustls"} <= names and not {"proptest", "tempfile"} <= names
    for part in crates:
        entry = f'name = "{part["name"]}"\nversion = "{part["version"]}"\n'
        assert entry in lock, entry
        for digest in part.get("hashes", []):
            assert digest["content"] in lock
        assert part.get("licenses") or part["name"].startswith("ringfort"), part
    libraries = [part for part in bill["components"] if part["type"] == "file"]
    assert any("libc.so" in part["name"] for part in libraries)
    for part in libraries:
        data = (folder / part["name"].lstrip("/")).read_bytes()
        assert hashlib.sha256(data).hexdigest() == part["hashes"][0]["content"], part["name"]


def the_same_again():
    before = {name: find(name).read_bytes() for name in ("ringfort", "ringfort-bench")}
    time.sleep(1.1)
    pack()
    for name, data in before.items():
        assert find(name).read_bytes() == data, f"{name}: other bytes from the same programs"


# Running


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def inside(folder, words, data=None):
    """The command that runs `words` in the image as a pod would: namespaces of its own, read-only root, no rights, no way to any."""
    mounts = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && mount -t proc proc {folder}/proc"
    if data:
        mounts += f" && mount --bind {data} {folder}/var/lib/ringfort"
    user = "setpriv --no-new-privs --inh-caps=-all chroot --userspec=65532:65532 --groups=65532"
    script = f'{mounts} && exec {user} {folder} "$@"'
    return ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "sh", "-c", script, "sh", *map(str, words)]


def children(process):
    """The first processes inside of the namespaces that `unshare` has made."""
    try:
        return [int(pid) for pid in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def end(process):
    """Kills what `unshare` runs, and with it everything in its namespace. Its own --kill-child is lost where the child changes its user."""
    if process.poll() is None:
        for child in children(process):
            os.kill(child, signal.SIGKILL)
        process.kill()
    process.wait(timeout=10)


CONFIG = """
[node]
name = "pod-0"
drain_secs = 1
[[listener]]
address = "127.0.0.1:{port}"
[admin]
address = "127.0.0.1:{admin}"
[[realm]]
name = "realm1"
anonymous = "loopback"
[[realm.roles]]
name = "anonymous"
permissions = [{{ uri = "", match = "prefix", allow = ["all"] }}]
[cluster]
data_dir = "/var/lib/ringfort"
"""


class Pod:
    """The image, running."""

    def __init__(self, folder, data, port, admin):
        self.folder, self.admin = folder, admin
        self.log = open(WORK / "pod.log", "ab")
        self.outer = subprocess.Popen(inside(folder, ["/ringfort", "serve", "--config", "/etc/ringfort/ringfort.toml"], data), stdout=self.log, stderr=self.log)
        self.port = port

    def health(self, path):
        return output(inside(self.folder, ["/ringfort", "healthcheck", f"--url=http://127.0.0.1:{self.admin}/{path}"]))

    def wait_ready(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.outer.poll() is not None:
                raise AssertionError(f"it ended: {(WORK / 'pod.log').read_text()[-2000:]}")
            if self.health("readyz")[0]:
                return
            time.sleep(0.2)
        raise AssertionError(f"not ready within 30 s: {(WORK / 'pod.log').read_text()[-2000:]}")

    def pid(self):
        """The router, which is the first process of its namespace."""
        return children(self.outer)[0]

    def stop(self):
        if self.outer.poll() is None:
            os.kill(self.pid(), signal.SIGTERM)
        try:
            return self.outer.wait(timeout=30)
        finally:
            end(self.outer)


def runs_as_pods_do(tally):
    folder = Image(find("ringfort")).unpack(WORK / "root")
    bench = Image(find("ringfort-bench")).unpack(WORK / "bench-root")
    data = WORK / "volume"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    os.chown(data, 65532, 65532)
    # What stands above the tree must let the user pass, as the folders of a container runtime do.
    port, admin = free_port(), free_port()
    (folder / "etc/ringfort/ringfort.toml").write_text(CONFIG.format(port=port, admin=admin))
    url = f"--url=ws://127.0.0.1:{port}/ws"
    good, told = output(inside(folder, ["/ringfort", "check", "/etc/ringfort/ringfort.toml"]))
    tally.check("the image checks settings", good and "no problems" in told, told)
    good, told = output(inside(folder, ["/bin/sh", "-c", "true"]))
    tally.check("there is no shell", not good and "No such file" in told, told)
    for round_ in (1, 2):
        pod = Pod(folder, data, port, admin)
        callee = None
        try:
            pod.wait_ready()
            status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pod.pid()}/status").read_text().splitlines())
            rights = {key: status[key].split() for key in ("Uid", "Gid", "CapEff", "CapPrm", "NoNewPrivs", "NSpid")}
            fine = set(rights["Uid"]) == {"65532"} and int(rights["CapEff"][0], 16) == 0 == int(rights["CapPrm"][0], 16) and rights["NoNewPrivs"] == ["1"]
            tally.check(f"nobody in particular, without rights ({round_})", fine and rights["NSpid"][-1] == "1", rights)
            mounts = pathlib.Path(f"/proc/{pod.pid()}/mountinfo").read_text().splitlines()
            over_root = [line for line in mounts if line.split()[4] in ("/", str(folder))]
            tally.check(f"the root is read-only ({round_})", over_root and "ro" in over_root[-1].split()[5].split(","), over_root)
            tally.check(f"alive ({round_})", pod.health("healthz")[0])
            callee = subprocess.Popen(inside(folder, ["/ringfort", "register", "image.echo", "--echo", url]), stdout=pod.log, stderr=pod.log)
            deadline = time.monotonic() + 20
            good, told = False, ""
            while not good and time.monotonic() < deadline:
                good, told = output(inside(folder, ["/ringfort", "call", "image.echo", f'"round {round_}"', url]))
            tally.check(f"a call through the image ({round_})", good and f"round {round_}" in told, told)
            good, told = output(inside(bench, ["/ringfort-bench", "rpc", url, "--secs", "1", "--callers", "4"]))
            tally.check(f"a load from the other image ({round_})", good, told)
        finally:
            if callee:
                end(callee)
            code = pod.stop()
            pod.log.close()
        tally.check(f"SIGTERM ends it in good order ({round_})", code == 0, f"exit code {code}: {(WORK / 'pod.log').read_text()[-1500:]}")
    kept = sorted(path.name for path in data.iterdir())
    tally.check("the volume holds its data, for the next start", kept, kept)
    (data / "probe").unlink(missing_ok=True)
    without = Pod(folder, None, port, admin)
    code = without.outer.wait(timeout=30)
    without.log.close()
    tally.check("without its volume it refuses to start on a read-only root", code == 6, f"exit code {code}")


def dockerfile(tally):
    text = (ROOT / "Dockerfile").read_text()
    stages = re.split(r"^FROM ", text, flags=re.M)[1:]
    tally.check("bases are arguments", all(stage.startswith("${") for stage in stages), stages)
    for stage in stages[1:]:
        lines = [line for line in stage.splitlines() if line]
        tally.check(f"{lines[0]}: a numbered user", any(re.fullmatch(r"USER \d+:\d+", line) for line in lines), stage)
        shells = [line for line in lines if re.match(r"RUN|(CMD|ENTRYPOINT|HEALTHCHECK .*CMD) [^\[]", line)]
        tally.check(f"{lines[0]}: needs no shell", not shells, shells)
    version = re.search(r'rust-version = "(.+)"', (ROOT / "Cargo.toml").read_text())[1]
    tally.check("the builder has the Rust that is needed", f"rust:{version}-" in text, version)
    tool = TARGET / "deploy/bin/checkov"
    command = [tool, "-f", ROOT / "Dockerfile", "--framework", "dockerfile", "--skip-download", "--output", "json", "--compact", "--quiet"]
    _, told = output(command, env={**os.environ, "LOG_LEVEL": "ERROR"})
    report = json.loads(told[told.index("{"):])
    new = [f"{one['check_id']} {one['check_name']}" for one in report["results"]["failed_checks"] if one["check_id"] not in SUPPRESSED]
    tally.check("checkov finds nothing new in the Dockerfile", report["summary"]["passed"] > 10 and not new, new or report["summary"])


def main():
    tally = Tally()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    shutil.rmtree(IMAGES, ignore_errors=True)
    pack()
    for name in ("ringfort", "ringfort-bench"):
        tally.run(f"{name}: contents", sound, name)
        tally.run(f"{name}: bill of materials", bill_is_true, name)
    tally.run("the same programs give the same images", the_same_again)
    dockerfile(tally)
    if os.geteuid() == 0:
        tally.run("running", runs_as_pods_do, tally)
    else:
        tally.check("running", False, "namespaces and the number of a user need root")
    shutil.rmtree(WORK, ignore_errors=True)
    tally.close()


if __name__ == "__main__":
    main()
