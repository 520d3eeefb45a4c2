#!/usr/bin/env python3
"""A client written from the WAMP text and RFC 5802, 7677, 8032 and 9266, for what no client at hand has: SCRAM as the text has it, the channel
binding `tls-exporter`, the router's own proof, cookies, and how long an answer takes. Speaks RawSocket with JSON, plain or over TLS.

    auth_text.py methods URLS ATTEMPTS          tcp://host:port, joined by commas; ATTEMPTS: see auth_common.py
    auth_text.py tls URLS CA [CERT KEY]  JSON   tls://host:port; JSON: {"attempts": [...], "router": hex of the router's key, "tls": authid or null}
    auth_text.py ghosts URL N KNOWN METHOD      N interleaved attempts with a wrong secret for KNOWN and for somebody unknown;
                                                prints the messages' forms and medians as JSON
    auth_text.py guess URL N AUTHID [SOURCES]   N wrong tickets for AUTHID, from as many loopback addresses as SOURCES;
                                                prints how often it was denied and refused unseen, and the longest wait, as JSON
    auth_text.py login URL AUTHID TICKET SOURCE one login with a ticket from that address; prints the reason or "welcome", and the wait
    auth_text.py cookie URL AUTHID TICKET       ws://host:port/path, joined by commas: a cookie is bound by a ticket, taken, and ended
                                                by a logout, each on another node where there are several
"""
import base64
import hashlib
import hmac
import json
import os
import socket
import statistics
import struct
import sys
import time
from urllib.parse import urlparse

from argon2.low_level import Type, hash_secret_raw
from nacl.signing import SigningKey, VerifyKey

HELLO, WELCOME, ABORT, CHALLENGE, AUTHENTICATE, GOODBYE = 1, 2, 3, 4, 5, 6
ROLES = {"caller": {}, "callee": {}, "publisher": {}, "subscriber": {}}
REALM = "realm1"


def b64(data):
    return base64.b64encode(data).decode()


class Raw:
    """A RawSocket connection; JSON."""

    def __init__(self, url, ca=None, identity=None, source=None):
        parts = urlparse(url)
        bound = (source, 0) if source else None
        sock = socket.create_connection((parts.hostname, parts.port), 20, bound)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.exporter = None
        self.io = sock
        if parts.scheme == "tls":
            self.io = self.tls(sock, ca, identity)
        self.write(b"\x7f\xf1\x00\x00")
        reply = self.read(4)
        assert reply[0] == 0x7F and reply[1] & 15 == 1, reply

    def tls(self, sock, ca, identity):
        from OpenSSL import SSL

        sock.setblocking(True)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.load_verify_locations(ca)
        context.set_verify(SSL.VERIFY_PEER, lambda *a: a[-1] == 1)
        if identity:
            context.use_certificate_chain_file(identity[0])
            context.use_privatekey_file(identity[1])
        connection = SSL.Connection(context, sock)
        connection.set_connect_state()
        connection.set_tlsext_host_name(b"localhost")
        connection.do_handshake()
        self.exporter = connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        return connection

    def write(self, data):
        self.io.sendall(data)

    def read(self, n):
        data = b""
        while len(data) < n:
            piece = self.io.recv(n - len(data))
            if not piece:
                raise EOFError("closed")
            data += piece
        return data

    def send(self, message):
        text = json.dumps(message).encode()
        self.write(struct.pack(">I", len(text)) + text)

    def receive(self):
        (length,) = struct.unpack(">I", self.read(4))
        return json.loads(self.read(length))

    def hello(self, method, authid, extra=None):
        details = {"roles": ROLES, "authmethods": [method]}
        if authid is not None:
            details["authid"] = authid
        if extra is not None:
            details["authextra"] = extra
        self.send([HELLO, REALM, details])
        return self.receive()

    def authenticate(self, signature, extra=None):
        self.send([AUTHENTICATE, signature, extra or {}])
        return self.receive()

    def close(self):
        try:
            self.io.close()
        except Exception:
            pass


class Denied(Exception):
    pass


def expect(message, kind):
    if message[0] == ABORT:
        raise Denied(message[2])
    assert message[0] == kind, message
    return message


def scram(connection, attempt, binding):
    """WAMP-SCRAM; the router proves that it knows the password too"""
    channel, data = (binding, connection.exporter) if binding else (None, None)
    client_nonce = b64(os.urandom(16))
    hello = connection.hello("wamp-scram", attempt["authid"], {"nonce": client_nonce, "channel_binding": channel})
    _, method, said = expect(hello, CHALLENGE)
    assert method == "wamp-scram" and said["nonce"].startswith(client_nonce) and len(said["nonce"]) > len(client_nonce) + 16
    salt, iterations, password = base64.b64decode(said["salt"]), said["iterations"], attempt["secret"].encode()
    if said["kdf"] == "argon2id13":
        salted = hash_secret_raw(password, salt, iterations, said["memory"], 1, 32, Type.ID, 0x13)
    else:
        assert said["kdf"] == "pbkdf2" and said["memory"] is None
        salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations, 32)
    name = attempt["authid"].replace("=", "=3D").replace(",", "=2C")
    flag = f"p={channel},,".encode() + data if channel else b"n,,"
    message = (
        f"n={name},r={client_nonce},r={said['nonce']},s={said['salt']},i={iterations},c={b64(flag)},r={said['nonce']}".encode()
    )
    sign = lambda key, text: hmac.new(key, text, hashlib.sha256).digest()
    client_key = sign(salted, b"Client Key")
    signature = sign(hashlib.sha256(client_key).digest(), message)
    proof = bytes(a ^ b for a, b in zip(client_key, signature))
    answer = {"nonce": said["nonce"], "channel_binding": channel, "cbind_data": b64(data) if data else None}
    welcome = expect(connection.authenticate(b64(proof), answer), WELCOME)
    assert welcome[2]["authextra"]["verifier"] == b64(sign(sign(salted, b"Server Key"), message)), "the router's own proof"
    return welcome


def cryptosign(connection, attempt, binding, router=None, authid=True):
    key = SigningKey(bytes.fromhex(attempt["secret"]))
    own = os.urandom(32)
    extra = {"pubkey": bytes(key.verify_key).hex(), "challenge": own.hex()}
    if binding:
        extra["channel_binding"] = binding
    hello = connection.hello("cryptosign", attempt["authid"] if authid else None, extra)
    _, method, said = expect(hello, CHALLENGE)
    assert method == "cryptosign"
    assert said.get("channel_binding") == binding, said
    mixed = lambda data: bytes(a ^ b for a, b in zip(data, connection.exporter)) if binding else data
    if router:
        assert said["pubkey"] == router, "the router's key"
        signed = bytes.fromhex(said["signature"])
        assert VerifyKey(bytes.fromhex(router)).verify(mixed(own), signed[:64]) and signed[64:] == mixed(own)
    message = mixed(bytes.fromhex(said["challenge"]))
    return expect(connection.authenticate(bytes(key.sign(message)).hex()), WELCOME)


def ticket(connection, attempt, *_):
    expect(connection.hello("ticket", attempt["authid"]), CHALLENGE)
    return expect(connection.authenticate(attempt["secret"]), WELCOME)


def wampcra(connection, attempt, *_):
    _, _, said = expect(connection.hello("wampcra", attempt["authid"]), CHALLENGE)
    challenge = json.loads(said["challenge"])
    assert challenge["authid"] == attempt["authid"] and challenge["authmethod"] == "wampcra", challenge
    key = attempt["secret"].encode()
    if "salt" in said:
        key = base64.b64encode(hashlib.pbkdf2_hmac("sha256", key, said["salt"].encode(), said["iterations"], said["keylen"]))
    signature = b64(hmac.new(key, said["challenge"].encode(), hashlib.sha256).digest())
    welcome = expect(connection.authenticate(signature), WELCOME)
    assert challenge["session"] == welcome[1], "the session that was promised"
    return welcome


METHODS = {"wamp-scram": scram, "cryptosign": cryptosign, "ticket": ticket, "wampcra": wampcra}


def wrong(attempt):
    secret = attempt["secret"]
    return dict(attempt, secret=secret[:-1] + ("1" if secret[-1] != "1" else "2"))


def check(welcome, attempt):
    details = welcome[2]
    got = (details["authid"], details["authrole"], details["authmethod"], details["authprovider"])
    assert got == (attempt["authid"], attempt["role"], attempt["method"], "static"), got


def refused(run):
    try:
        run()
    except Denied as denied:
        return str(denied)
    raise AssertionError("let in")


class Steps:
    def __init__(self):
        self.passed = self.failed = 0

    def step(self, name, run):
        try:
            run()
            self.passed += 1
            print(f"ok    {name}", flush=True)
        except Exception as e:
            self.failed += 1
            print(f"FAIL  {name}: {type(e).__name__}: {e}", flush=True)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed or not self.passed else 0)


DENIED = "wamp.error.authentication_denied"


def same(got, want):
    assert got == want, f"{got!r} instead of {want!r}"


def methods(urls, attempts):
    steps = Steps()
    for url in urls.split(","):
        for attempt in json.loads(attempts):
            run = METHODS[attempt["method"]]
            name = f"{attempt['method']} {attempt['authid']} {url}"
            steps.step(name, lambda: check(run(Raw(url), attempt, None), attempt))
            steps.step(f"{name} wrong", lambda: same(refused(lambda: run(Raw(url), wrong(attempt), None)), DENIED))
            if attempt["method"] == "cryptosign":
                steps.step(f"{name} by key", lambda: check(cryptosign(Raw(url), attempt, None, authid=False), attempt))
        unbound = lambda: refused(lambda: scram(Raw(url), dict(attempt, exporter=None), "tls-exporter"))
        if any(one["method"] == "wamp-scram" for one in json.loads(attempts)):
            attempt = next(one for one in json.loads(attempts) if one["method"] == "wamp-scram")
            steps.step(f"binding without TLS {url}", lambda: same(unbound(), "wamp.error.no_matching_auth_method"))
        offered = ["persona", "cookie"]
        steps.step(f"unknown methods {url}", lambda: same(first(url, offered), "wamp.error.no_matching_auth_method"))
    steps.end()


def first(url, offered):
    connection = Raw(url)
    connection.send([HELLO, REALM, {"roles": ROLES, "authmethods": offered, "authid": "ticket"}])
    return connection.receive()[2]


def over_tls(urls, ca, *rest):
    identity, plan = (rest[:-1] or None), json.loads(rest[-1])
    steps = Steps()
    for url in urls.split(","):
        connect = lambda: Raw(url, ca, identity)
        for attempt in plan["attempts"]:
            run = METHODS[attempt["method"]]
            extra = (plan["router"],) if attempt["method"] == "cryptosign" else ()
            for binding in (None, "tls-exporter"):
                name = f"{attempt['method']} {binding} {url}"
                steps.step(name, lambda: check(run(connect(), attempt, binding, *extra), attempt))

            def stolen():
                # What somebody in between has: an exchange over a connection of its own.
                connection = connect()
                connection.exporter = bytes(32)
                return run(connection, attempt, "tls-exporter")

            steps.step(f"{attempt['method']} bound to another connection {url}", lambda: same(refused(stolen), DENIED))
        if plan.get("tls"):
            known = {"authid": plan["tls"], "role": "device", "method": "tls"}
            steps.step(f"tls {url}", lambda: check(expect(connect().hello("tls", None), WELCOME), known))
            steps.step(f"tls as itself {url}", lambda: check(expect(connect().hello("tls", plan["tls"]), WELCOME), known))
            other = lambda: refused(lambda: expect(connect().hello("tls", "ticket"), WELCOME))
            steps.step(f"tls as another {url}", lambda: same(other(), "wamp.error.no_matching_auth_method"))
            bare = lambda: refused(lambda: expect(Raw(url, ca).hello("tls", None), WELCOME))
            steps.step(f"tls without a certificate {url}", lambda: same(bare(), "wamp.error.no_matching_auth_method"))
    steps.end()


def attempt_once(url, method, authid):
    """the forms of what is heard, and the times to CHALLENGE and to ABORT"""
    connection = Raw(url)
    extra = {"nonce": b64(os.urandom(16)), "pubkey": "11" * 32}
    begun = time.perf_counter()
    hello = connection.hello(method, authid, extra)
    challenged = time.perf_counter()
    form = [hello[0], hello[1] if hello[0] == CHALLENGE else hello[2]]
    said = hello[2] if hello[0] == CHALLENGE else {}
    form += [sorted(said), said.get("iterations"), said.get("kdf"), said.get("keylen"), len(said.get("salt", ""))]
    signature = {"wamp-scram": b64(bytes(32)), "wampcra": b64(bytes(32)), "cryptosign": "00" * 96}.get(method, "wrong-secret")
    sent = time.perf_counter()
    answer = connection.authenticate(signature)
    ended = time.perf_counter()
    connection.close()
    return form + [answer], said.get("salt"), challenged - begun, ended - sent


def ghosts(url, count, known, method):
    told, salts, times = {}, {}, {"known": ([], []), "unknown": ([], [])}
    for n in range(20):
        # What is only slow the first time is no matter of names.
        attempt_once(url, method, f"warm-{n}")
    for n in range(int(count)):
        pair = [("known", known), ("unknown", "nobody-" + known)]
        for kind, authid in pair if n % 2 else reversed(pair):
            form, salt, to_challenge, to_abort = attempt_once(url, method, authid)
            told.setdefault(kind, set()).add(json.dumps(form))
            salts.setdefault(kind, set()).add(salt)
            times[kind][0].append(to_challenge)
            times[kind][1].append(to_abort)
    print(json.dumps({
        "same_messages": told["known"] == told["unknown"] and len(told["known"]) == 1,
        "salts": [len(salts["known"]), len(salts["unknown"])],
        "known": [statistics.median(one) * 1e6 for one in times["known"]],
        "unknown": [statistics.median(one) * 1e6 for one in times["unknown"]],
    }))


def guess(url, count, authid, sources="1"):
    from concurrent.futures import ThreadPoolExecutor

    def one(n):
        source = f"127.77.{n % int(sources) // 250}.{n % int(sources) % 250 + 1}"
        begun = time.monotonic()
        connection = Raw(url, source=source)
        answer = connection.hello("ticket", authid)
        unseen = answer[0] == ABORT
        if not unseen:
            answer = connection.authenticate(f"guess-{n}")
        connection.close()
        assert answer[0] == ABORT and answer[2] == DENIED, answer
        return unseen or "too many" in answer[1]["message"], time.monotonic() - begun

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(one, range(int(count))))
    refusals = sum(unseen for unseen, _ in results)
    print(json.dumps({"denied": len(results) - refusals, "refused": refusals, "longest": max(wait for _, wait in results)}))


def login(url, authid, secret, source):
    begun = time.monotonic()
    try:
        ticket(Raw(url, source=source), {"authid": authid, "secret": secret})
        result = "welcome"
    except Denied as denied:
        result = str(denied)
    print(json.dumps({"result": result, "wait": time.monotonic() - begun}))


def cookie(urls, authid, secret):
    import asyncio
    import itertools
    import websockets

    nodes = itertools.cycle(urls.split(","))

    async def join(jar, methods, answer=None, leave="wamp.close.close_realm"):
        # What a node has just said is on its way to the others.
        await asyncio.sleep(0.3)
        url = next(nodes)
        headers = {"Cookie": f"theme=dark; {jar}"} if jar else {}
        async with websockets.connect(url, subprotocols=["wamp.2.json"], additional_headers=headers) as ws:
            given = ws.response.headers.get("Set-Cookie")
            await ws.send(json.dumps([HELLO, REALM, {"roles": ROLES, "authmethods": methods, "authid": authid}]))
            message = json.loads(await ws.recv())
            if message[0] == CHALLENGE:
                await ws.send(json.dumps([AUTHENTICATE, answer, {}]))
                message = json.loads(await ws.recv())
            if message[0] == WELCOME:
                await ws.send(json.dumps([GOODBYE, {}, leave]))
                assert json.loads(await ws.recv())[0] == GOODBYE
            return given, message

    async def run():
        given, message = await join(None, ["cookie"])
        assert message[0] == ABORT and message[2] == "wamp.error.no_matching_auth_method", message
        attributes = {part.strip().split("=")[0] for part in given.split(";")[1:]}
        assert {"HttpOnly", "SameSite", "Path", "Max-Age"} <= attributes, given
        jar = given.split(";")[0]
        again, message = await join(jar, ["cookie", "ticket"], "wrong-secret")
        assert again is not None and again.split(";")[0] != jar, "one that stands for nobody may be anybody's"
        assert message[0] == ABORT, message
        planted = jar
        given, message = await join(planted, ["cookie", "ticket"], secret)
        assert message[2]["authmethod"] == "ticket", message
        _, message = await join(planted, ["cookie"])
        assert message[0] == ABORT, "who has planted a cookie is let in by it"
        jar = given.split(";")[0]
        given, message = await join(jar, ["cookie", "ticket"])
        assert (message[2]["authmethod"], message[2]["authid"]) == ("cookie", authid), message
        assert given is None, "one who has a cookie that is good gets no other"
        _, other = await join(None, ["cookie"])
        assert other[0] == ABORT, "another browser"
        await join(jar, ["cookie"], leave="wamp.close.logout")
        for _ in urls.split(","):
            _, message = await join(jar, ["cookie"])
            assert message[0] == ABORT, "after the logout"
        print("cookie ok")

    asyncio.run(run())


MODES = {"methods": methods, "tls": over_tls, "ghosts": ghosts, "guess": guess, "login": login, "cookie": cookie}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in MODES:
        sys.exit(__doc__)
    MODES[sys.argv[1]](*sys.argv[2:])
