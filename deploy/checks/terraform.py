"""Checks of the Terraform modules: format, validity against the schemas of the real providers, tests with mocks, and checkov.

The AWS provider is the real one, from a plugin folder of this machine or from the registry. For helm and kubernetes a provider that
serves nothing but their schema stands in (stub_provider.py). Where `terraform` is missing, this fails.
"""

import json
import os
import pathlib
import platform
import re
import shutil
import sys

from stub_provider import encode
from tally import ROOT, TARGET, Tally, output

import fetch

SOURCES = ROOT / "terraform"
WORK = TARGET / "terraform-check"
AWS = "5.100.0"
# Where machines that work offline keep providers.
PLUGINS = [pathlib.Path(path) for path in (os.environ.get("TF_PLUGIN_DIR", ""), "/opt/tf-plugins", "/usr/share/terraform/plugins", "/usr/local/share/terraform/plugins", str(pathlib.Path.home() / ".terraform.d/plugins")) if path]
# checkov's findings that stand, each with the reason.
SUPPRESSED = {
    "CKV_AWS_18": "access to the backup bucket is in CloudTrail's data events, where the account keeps them; a bucket of logs for it would need the same again",
    "CKV_AWS_144": "copies in another region are a decision about money and law; aws_s3_bucket_replication_configuration goes beside the module",
    "CKV2_AWS_62": "nobody has to be told when a backup is written",
    "CKV_AWS_91": "access logs of a network load balancer tell of TLS only, which ends at the nodes",
    "CKV2_AWS_11": "flow logs are the account's business, and the VPC is part of the example, not of a module",
    "CKV2_AWS_15": "EKS owns the group of machines and replaces what it finds unhealthy; a machine without a node of Ringfort fails the load balancer's check by design",
    "CKV_AWS_394": "the example takes the first three zones; if AWS changed their order, the plan would show subnets replaced before anything is",
    "CKV_AWS_109": "the key policy gives the account its own key, as AWS has it by default",
    "CKV_AWS_111": "the same: a key policy is about this key alone, whatever its resource says",
    "CKV_AWS_356": "the same",
}


def arch():
    return {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def plugins():
    """A plugin folder with the stand-ins, and the real AWS provider if this machine has it."""
    folder = WORK / "plugins"
    for provider, (_, version) in fetch.SCHEMAS.items():
        schema = TARGET / "deploy-tools" / f"{provider}-{version}.schema"
        source = TARGET / "deploy-tools" / f"{provider}-{version}.jsii"
        code = pathlib.Path(__file__).with_name("stub_provider.py")
        if not schema.exists() or schema.stat().st_mtime < max(source.stat().st_mtime, code.stat().st_mtime):
            schema.write_bytes(encode(source, provider))
        at = folder / f"registry.terraform.io/hashicorp/{provider}/{version}/linux_{arch()}"
        at.mkdir(parents=True)
        program = at / f"terraform-provider-{provider}_v{version}_x5"
        program.write_text(f"#!/bin/sh\nexec {sys.executable} -B {code} {schema}\n")
        program.chmod(0o755)
    for place in PLUGINS:
        found = place / f"registry.terraform.io/hashicorp/aws/{AWS}/linux_{arch()}"
        if found.is_dir():
            (folder / "registry.terraform.io/hashicorp/aws" / AWS).mkdir(parents=True)
            (folder / f"registry.terraform.io/hashicorp/aws/{AWS}/linux_{arch()}").symlink_to(found)
            return folder
    # Nobody keeps it here: from the registry, once.
    keep = TARGET / "deploy-tools/terraform-aws"
    only = WORK / "aws-only"
    only.mkdir()
    (only / "main.tf").write_text(f'terraform {{\n  required_providers {{\n    aws = {{ source = "hashicorp/aws", version = "{AWS}" }}\n  }}\n}}\n')
    if not (keep / "registry.terraform.io").is_dir():
        good, told = output(["terraform", "providers", "mirror", keep], cwd=only, env=environment())
        if not good:
            raise SystemExit(f"no AWS provider {AWS} in {PLUGINS}, and none to be had:\n{told}")
    good, told = output(["terraform", "init", f"-plugin-dir={keep}"], cwd=only, env=environment())
    if not good:
        raise SystemExit(told)
    found = next((only / ".terraform/providers").glob(f"registry.terraform.io/hashicorp/aws/{AWS}/*"))
    (folder / "registry.terraform.io/hashicorp/aws" / AWS).mkdir(parents=True)
    (folder / f"registry.terraform.io/hashicorp/aws/{AWS}/linux_{arch()}").symlink_to(found)
    return folder


def environment():
    return {**os.environ, "TF_CLI_CONFIG_FILE": "/dev/null", "TF_DISABLE_PLUGIN_TLS": "1", "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "AWS_EC2_METADATA_DISABLED": "true"}


def runs(told):
    """How many runs of `terraform test` passed and failed."""
    found = re.search(r"(\d+) passed, (\d+) failed", told)
    return (int(found[1]), int(found[2])) if found else (0, 1)


def every_output_and_variable_is_described(folder):
    for file in folder.glob("*.tf"):
        for kind, name, body in re.findall(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', file.read_text(), re.M | re.S):
            assert re.search(r"^  description = ", body, re.M) or re.search(r"^  description +=", body, re.M), f"{kind} {name}"
            assert kind == "output" or re.search(r"^  type +=", body, re.M), f"{name} has no type"


def checkov(tally):
    tool = TARGET / "deploy/bin/checkov"
    command = [tool, "-d", SOURCES, "--framework", "terraform", "--skip-download", "--output", "json", "--compact", "--quiet"]
    _, told = output(command, env={**os.environ, "LOG_LEVEL": "ERROR"})
    report = json.loads(told[told.index("{"):])
    failed = report["results"]["failed_checks"]
    tally.check("checkov ran", report["summary"]["passed"] > 50, report["summary"])
    new = sorted({f"{one['check_id']} {one['check_name']}: {one['resource']}" for one in failed if one["check_id"] not in SUPPRESSED})
    tally.check("checkov finds nothing new", not new, "\n".join(new))
    for identity, reason in SUPPRESSED.items():
        found = any(one["check_id"] == identity for one in failed)
        tally.check(f"suppression {identity}", found and reason, "found no longer")


def main():
    tally = Tally()
    if shutil.which("terraform") is None:
        tally.check("terraform", False, "not found: install terraform 1.9 or newer; without it the modules are not checked")
        tally.close()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    good, told = output(["terraform", "fmt", "-check", "-recursive", "-diff", SOURCES], env=environment())
    tally.check("terraform fmt", good, told)
    folder = plugins()
    # Copies: what init leaves behind must not lie in the sources.
    copy = WORK / "tree/terraform"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns(".terraform*"))
    shutil.copytree(ROOT / "helm", WORK / "tree/helm")
    modules = sorted({file.parent for file in copy.rglob("main.tf")})
    tally.check("modules are found", len(modules) >= 3, modules)
    for module in modules:
        name = str(module.relative_to(copy))
        tally.run(f"{name}: described", every_output_and_variable_is_described, module)
        good, told = output(["terraform", "init", f"-plugin-dir={folder}", "-no-color"], cwd=module, env=environment())
        if not tally.check(f"{name}: init", good, told):
            continue
        good, told = output(["terraform", "validate", "-no-color"], cwd=module, env=environment())
        tally.check(f"{name}: validate", good, told)
        good, told = output(["terraform", "test", "-no-color"], cwd=module, env=environment())
        passed, failed = runs(told)
        for _ in range(passed):
            tally.check(f"{name}: run", True)
        tally.check(f"{name}: test", good and passed > 0 and failed == 0, told)
    # The schemas are looked at: a word that no provider knows is refused, of the real one and of the stand-ins.
    for module, old, new in (("modules/ringfort", "chart     = var.chart", "chrt      = var.chart"), ("modules/ringfort", "  data = merge(", "  dta = merge("), ("modules/eks", "role_arn ", "rle_arn ")):
        file = copy / module / "main.tf"
        text = file.read_text()
        assert old in text, (module, old)
        file.write_text(text.replace(old, new, 1))
        good, told = output(["terraform", "validate", "-no-color"], cwd=copy / module, env=environment())
        file.write_text(text)
        tally.check(f"{module}: {new.split()[0]} is refused", not good and new.split()[0] in told, told)
    checkov(tally)
    tally.close()


if __name__ == "__main__":
    main()
