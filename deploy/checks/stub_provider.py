"""A Terraform provider that knows nothing but its schema: enough for `terraform validate`, and for `terraform test` with mocks.

`encode(file, provider)` makes the schema out of the assembly that the makers of the provider publish for CDK: what it takes, by
name, type and whether it must be given. What that does not tell is guessed wide: an argument that may be left out may also be
computed, and a block that stands alone may stand once. Run with a file of such bytes, it serves them: protocol 6 without TLS.
"""

import json
import re
import sys
import threading
from concurrent import futures

# Protocol buffers, as much as is needed. The numbers are those of Terraform's plugin protocol, version 6.


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    if isinstance(value, (bool, int)):
        return varint(number << 3) + varint(int(value)) if value else b""
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


SINGLE, LIST = 1, 2


def attribute(name, kind=None, nested=None, required=False, computed=False):
    said = field(2, json.dumps(kind)) if nested is None else field(10, nested)
    optional = not required and computed is not True
    return field(1, name) + said + field(4, required) + field(5, optional) + field(6, not required)


def nested_block(name, block, alone):
    return field(3, field(1, name) + field(2, block) + field(3, LIST) + field(5, 1 if alone else 0))


class Assembly:
    """The types of an assembly."""

    def __init__(self, text):
        self.types = json.loads(text)["types"]

    def members(self, name):
        """Arguments of a struct: their Terraform names, whether they must be given, types and notes."""
        for member in self.types[name].get("properties", []):
            docs = member.get("docs", {})
            # What has no description has the address as its summary.
            anchor = re.search(r"#(\w+) ", docs.get("remarks", "") + docs.get("summary", ""))
            if anchor:
                yield anchor[1], not member.get("optional"), member["type"], docs.get("summary", "")

    def kind(self, its):
        """A type of Terraform's, or the name of a struct; and whether there may be many."""
        if "union" in its:
            others = [one for one in its["union"]["types"] if one.get("fqn") != "cdktf.IResolvable"]
            return self.kind(others[0])
        if "primitive" in its:
            return {"string": "string", "number": "number", "boolean": "bool"}.get(its["primitive"], "dynamic"), None, False
        if "collection" in its:
            inner, struct, _ = self.kind(its["collection"]["elementtype"])
            many = its["collection"]["kind"] == "array"
            return (["list" if many else "map", inner], struct, many)
        return "dynamic", its["fqn"] if its["fqn"] in self.types else None, False

    def block(self, name, more=b""):
        """The bytes of a block: its attributes and the blocks in it."""
        out = more
        for member, required, its, summary in self.members(name):
            kind, struct, many = self.kind(its)
            if struct and (summary.endswith(" block.") or member == "timeouts"):
                out += nested_block(member, self.block(struct), not many)
            elif struct:
                inside = b"".join(field(1, one) for one in self.attributes(struct))
                out += field(2, attribute(member, nested=inside + field(3, LIST if many else SINGLE), required=required))
            else:
                out += field(2, attribute(member, kind, required=required))
        return out

    def attributes(self, name):
        """The attributes of a nested attribute."""
        for member, required, its, _ in self.members(name):
            yield attribute(member, self.kind(its)[0], required=required)


def encode(file, provider):
    """The answer to GetProviderSchema."""
    assembly = Assembly(file.read_text())
    configured = next(name for name in assembly.types if name.endswith("ProviderConfig"))
    out = field(1, field(2, assembly.block(configured)))
    for name, its in assembly.types.items():
        if not name.endswith("Config") or name == configured:
            continue
        where = {anchor[1]: anchor[2] for member in its.get("properties", []) if (anchor := re.search(r"/docs/(resources|data-sources)/(\w+)#", str(member.get("docs", {}))))}
        for kind, path in where.items():
            names = {member for member, *_ in assembly.members(name)}
            out_of = assembly.types.get(name.removesuffix("Config"), {}).get("properties", [])
            # Members of the resource that nobody gives: computed.
            found = {re.sub(r"(?<!^)([A-Z])", r"_\1", member["name"]).lower() for member in out_of if member.get("immutable") and not member.get("static") and "primitive" in member["type"] and not member["name"].endswith("Input")}
            more = b"".join(field(2, attribute(member, "string", computed=True)) for member in sorted(found - names - {"tf_resource_type"}))
            schema = field(2, assembly.block(name, more))
            out += field(2 if kind == "resources" else 3, field(1, f"{provider}_{path}") + field(2, schema))
    return out


def serve(schema):
    import grpc

    done = threading.Event()
    answers = {
        "tfplugin6.Provider": ["GetProviderSchema", "ValidateProviderConfig", "ValidateResourceConfig", "ValidateDataResourceConfig", "ConfigureProvider", "GetFunctions", "StopProvider"],
        "plugin.GRPCController": ["Shutdown"],
    }

    def answer(method):
        def handler(_request, _context):
            if method == "Shutdown":
                done.set()
            return schema if method == "GetProviderSchema" else b""

        return grpc.unary_unary_rpc_method_handler(handler)

    room = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(4), options=room)
    for service, methods in answers.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: answer(method) for method in methods}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"1|6|tcp|127.0.0.1:{port}|grpc", flush=True)
    # Terraform shuts its providers down; one that is forgotten ends by itself.
    done.wait(600)
    server.stop(1).wait()


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as schema_file:
        serve(schema_file.read())
