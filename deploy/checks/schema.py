"""The part of helm/ringfort/values.schema.json that stands for the settings of a node, made from the structs of node/src/config.

`python schema.py` tells whether the file is as it should be, `python schema.py --write` makes it so. The rest of the file is
written by hand and left alone. Settings that the chart itself owns (addresses, files, names) and secrets are left out, so that
giving them is refused by name. A new setting, or section, of ringfort is a value of the chart as soon as this has run.
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/ringfort"
FILE = CHART / "values.schema.json"

# Settings that the chart sets itself, or that are secrets and belong into secretSettings.
OWNED = {
    "Node": {"name", "cryptosign_key"},
    "Listener": {"address", "tls"},
    "Cluster": {"kind", "address", "advertise", "peers", "join", "data_dir", "tls"},
    "Definition": {"file"},
    "Principal": {"ticket", "wampcra", "scram", "verifiers"},
    "Store": {"redis"},
    "StoreRedis": {"url"},
}
# Sections that are not in `config` of the values: listeners have values of their own, the chart sets the others.
NOT_IN_CONFIG = {"listener", "admin", "observability"}


def source():
    """The structs and enums of the settings, by name."""
    structs, enums = {}, {}
    for file in sorted((ROOT / "node/src/config").glob("*.rs")):
        text = file.read_text().split("#[cfg(test)]\nmod ")[0]
        for head, name, body in re.findall(r"((?:#\[[^\n]*\]\n)+)pub struct (\w+) \{\n(.*?)\n\}", text, re.S):
            if "Deserialize" in head:
                fields = re.findall(r"((?:    (?:///[^\n]*|#\[[^\n]*\])\n)*)    pub (\S+): (.+),", body)
                structs[name] = {renamed(notes, field): kind for notes, field, kind in fields}
        for head, name, body in re.findall(r"((?:#\[[^\n]*\]\n)+)pub enum (\w+) \{\n(.*?)\n\}", text, re.S):
            variants = re.findall(r"((?:    (?:///[^\n]*|#\[[^\n]*\])\n)*)    (\w+),", body)
            rule = re.search(r'rename_all = "(\w+)"', head)
            if "Deserialize" in head and variants and "(" not in re.sub(r"#\[.*\]|//.*", "", body):
                enums[name] = [renamed(notes, cased(variant, rule[1] if rule else "")) for notes, variant in variants]
    return structs, enums


def renamed(notes, name):
    found = re.search(r'rename = "([^"]+)"', notes)
    return found[1] if found else name.removeprefix("r#")


def cased(name, rule):
    if rule == "snake_case":
        return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()
    return name.lower() if rule == "lowercase" else name


def schema_of(kind, structs, enums):
    """The JSON Schema of a Rust type."""
    if outer := re.fullmatch(r"(Option|Vec|Box)<(.+)>", kind):
        inner = schema_of(outer[2], structs, enums)
        return {"type": "array", "items": inner} if outer[1] == "Vec" else inner
    if pair := re.fullmatch(r"BTreeMap<String, (.+)>", kind):
        return {"type": "object", "additionalProperties": schema_of(pair[1], structs, enums)}
    if re.fullmatch(r"(Non[zZ]ero)?[Uu](8|16|32|64|size)", kind):
        return {"type": "integer", "minimum": 0}
    if kind == "bool":
        return {"type": "boolean"}
    if kind in enums:
        return {"enum": enums[kind]}
    if kind in structs:
        owned = OWNED.get(kind, set())
        unknown = owned - set(structs[kind])
        if unknown:
            sys.exit(f"schema.py: OWNED names {sorted(unknown)}, which {kind} has not")
        fields = {key: schema_of(inner, structs, enums) for key, inner in structs[kind].items() if key not in owned}
        return {"type": "object", "additionalProperties": False, "properties": fields}
    return {"type": "string"}


def made():
    """The whole file as it should be."""
    structs, enums = source()
    config = {"type": "object", "additionalProperties": False, "required": ["realm"], "properties": {}}
    for key, kind in structs["Config"].items():
        if key not in NOT_IN_CONFIG:
            config["properties"][key] = schema_of(kind, structs, enums)
    realm = config["properties"]["realm"]
    realm["minItems"] = 1
    realm["items"]["required"] = ["name"]
    config["properties"]["principal"]["items"]["required"] = ["realm", "authid", "role"]
    file = json.loads(FILE.read_text())
    file["properties"]["config"] = config
    file["properties"]["listeners"]["items"]["properties"]["settings"] = schema_of("Listener", structs, enums)
    file["properties"]["redis"]["properties"]["settings"] = schema_of("StoreRedis", structs, enums)
    return json.dumps(file, indent=2) + "\n"


def is_current():
    return FILE.read_text() == made()


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(made())
    elif not is_current():
        sys.exit(f"{FILE} differs from the settings: python deploy/checks/schema.py --write")
