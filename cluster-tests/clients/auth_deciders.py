#!/usr/bin/env python3
"""autobahn-python where others decide than the configuration: issuers of tokens, an authenticator, an authorizer.

    auth_deciders.py keys DIR               makes keys and the JWK set DIR/keys.json
    auth_deciders.py jwt URLS DIR           tokens as tickets: good and bad ones, expiry, refresh, a rotated key
    auth_deciders.py authenticator URLS     a procedure says who clients are
    auth_deciders.py authorizer URLS        a procedure says what they may do

URLS: ws://host:port/path of two nodes, joined by commas; each thing is done on both. Last line: `N passed, M failed`.
"""
import asyncio
import base64
import hashlib
import hmac
import json
import logging
import os
import sys
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from all_of import all_of
from auth_autobahn import PATIENCE, join
from autobahn.wamp.exception import ApplicationError

ISSUER, AUDIENCE = "https://issuer.example", "ringfort"
DENIED = "wamp.error.authentication_denied"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Key:
    """a key of the issuer"""

    def __init__(self, kid, alg, private):
        self.kid, self.alg, self.private = kid, alg, private

    @classmethod
    def load(cls, directory, kid, alg):
        with open(os.path.join(directory, kid + ".pem"), "rb") as file:
            return cls(kid, alg, serialization.load_pem_private_key(file.read(), None))

    def save(self, directory):
        pem = self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with open(os.path.join(directory, self.kid + ".pem"), "wb") as file:
            file.write(pem)

    def jwk(self):
        public, common = self.private.public_key(), {"kid": self.kid, "use": "sig", "alg": self.alg}
        if self.alg == "EdDSA":
            raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            return common | {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
        numbers = public.public_numbers()
        if self.alg == "ES256":
            x, y = (b64(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
            return common | {"kty": "EC", "crv": "P-256", "x": x, "y": y}
        return common | {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}

    def sign(self, message):
        if self.alg == "EdDSA":
            return self.private.sign(message)
        if self.alg == "ES256":
            r, s = utils.decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return self.private.sign(message, padding.PKCS1v15(), hashes.SHA256())

    def token(self, header=None, sign=None, **claims):
        now = int(time.time())
        known = {"iss": ISSUER, "aud": AUDIENCE, "sub": "joe", "role": "device", "iat": now, "exp": now + 60}
        header = {"alg": self.alg, "kid": self.kid, "typ": "JWT"} | (header or {})
        message = ".".join(b64(json.dumps(part).encode()) for part in (header, known | claims))
        return message + "." + b64((sign or self.sign)(message.encode()))


def make_keys(directory):
    keys = [
        Key("ed", "EdDSA", ed25519.Ed25519PrivateKey.generate()),
        Key("ec", "ES256", ec.generate_private_key(ec.SECP256R1())),
        Key("rsa", "RS256", rsa.generate_private_key(65537, 2048)),
    ]
    for key in keys:
        key.save(directory)
    write_keys(directory, keys)


def write_keys(directory, keys):
    """in one step, as whoever rotates keys should"""
    path = os.path.join(directory, "keys.json")
    with open(path + ".new", "w") as file:
        json.dump({"keys": [key.jwk() for key in keys]}, file)
    os.replace(path + ".new", path)


async def enter(url, method, authid, secret):
    return await join(url, {"method": method, "authid": authid, "secret": secret})


async def refused(url, method, authid, secret, reason=DENIED):
    try:
        await enter(url, method, authid, secret)
    except PermissionError as refusal:
        assert str(refusal) == reason, refusal
        return
    raise AssertionError("let in")


async def leave(*sessions):
    for session in sessions:
        session.leave()
        await asyncio.wait_for(session.gone, PATIENCE)


async def fails(call, uri):
    try:
        await call
    except ApplicationError as e:
        assert e.error == uri, e
        return
    raise AssertionError(f"no {uri}")


# Tokens


async def welcomed(url, key):
    session, details = await enter(url, "ticket", "joe", key.token())
    got = (details.authid, details.authrole, details.authmethod, details.authprovider)
    assert got == ("joe", "device", "ticket", "jwt"), got
    await leave(session)


async def bad_tokens(url, keys):
    ed, now = keys[0], int(time.time())
    public = ed.private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    stranger = Key("ed", "EdDSA", ed25519.Ed25519PrivateKey.generate())
    bad = {
        "expired": ed.token(exp=now - 1),
        "not yet": ed.token(nbf=now + 60),
        "other audience": ed.token(aud="other"),
        "other issuer": ed.token(iss="https://other.example"),
        "unknown key": Key("new", "EdDSA", ed.private).token(),
        "wrong key": stranger.token(),
        "none": ed.token(header={"alg": "none"}, sign=lambda _: b""),
        "shared": ed.token(header={"alg": "HS256"}, sign=lambda m: hmac.new(public, m, hashlib.sha256).digest()),
        "role": ed.token(role="anonymous"),
        "subject": ed.token(sub="jane"),
        "principal": None,
    }
    for name, token in bad.items():
        try:
            if name == "principal":
                # The realm has a principal of that name, who proves itself by what the realm knows.
                await refused(url, "ticket", "ticket", ed.token(sub="ticket"))
            else:
                await refused(url, "ticket", "joe", token)
        except AssertionError as e:
            raise AssertionError(f"{name}: {e}")


async def expires(url, key):
    ends = int(time.time()) + 3
    session, _ = await enter(url, "ticket", "joe", key.token(exp=ends))
    reason = asyncio.get_running_loop().create_future()
    session.onLeave = lambda details: (reason.done() or reason.set_result(details.reason), session.disconnect())
    assert await asyncio.wait_for(reason, 10) == "ringfort.close.expired"
    late = time.time() - ends
    assert -0.1 < late < 1.5, late


async def refreshed(url, key):
    ends = int(time.time()) + 3
    session, _ = await enter(url, "ticket", "joe", key.token(exp=ends))
    await fails(session.call("ringfort.session.refresh", key.token(exp=ends - 1)), "wamp.error.authentication_failed")
    await fails(session.call("ringfort.session.refresh", key.token(sub="jane")), "wamp.error.authentication_failed")
    assert 20 <= await session.call("ringfort.session.refresh", key.token(exp=ends + 27)) <= 30
    await asyncio.sleep(ends + 1.5 - time.time())
    assert await session.call("wamp.session.count") >= 1, "it goes on"
    await leave(session)


async def rotated(urls, keys, directory):
    newer = Key("newer", "EdDSA", ed25519.Ed25519PrivateKey.generate())
    write_keys(directory, [newer, *keys[1:]])
    for url in urls:
        for _ in range(100):
            try:
                await welcomed(url, newer)
                break
            except PermissionError:
                await asyncio.sleep(0.2)
        else:
            raise AssertionError("the newer key is not taken")
        await refused(url, "ticket", "joe", keys[0].token())


def tokens(urls, directory):
    urls = urls.split(",")
    keys = [Key.load(directory, kid, alg) for kid, alg in (("ed", "EdDSA"), ("ec", "ES256"), ("rsa", "RS256"))]
    for url in urls:
        for key in keys:
            yield f"{key.alg} {url}", welcomed(url, key)
        yield f"bad tokens {url}", bad_tokens(url, keys)
        yield f"expiry {url}", expires(url, keys[0])
        yield f"refresh {url}", refreshed(url, keys[0])
    yield "a principal's own ticket", own_ticket(urls[0])
    yield "rotated", rotated(urls, keys, directory)


async def own_ticket(url):
    session, details = await enter(url, "ticket", "ticket", "ticket-secret-1")
    assert details.authprovider == "static", details
    await fails(session.call("ringfort.session.refresh", "eyJ.eyJ.x"), "wamp.error.no_such_principal")
    await leave(session)


# An authenticator

SEED = "02" * 32


def public_of(seed):
    private = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    return private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()


async def authenticators(urls):
    near, far = urls.split(",")
    server, _ = await enter(near, "ticket", "ticket", "ticket-secret-1")
    asked = []

    async def authenticate(realm, authid, details):
        assert realm == "realm1", realm
        asked.append((authid, details["authmethod"]))
        method = details["authmethod"]
        if authid == "slow":
            await asyncio.sleep(30)
        if method == "ticket" and authid == "dyn" and details["ticket"] == "dynamic-ticket-1":
            return {"role": "device", "extra": {"floor": 3}}
        if method == "ticket" and authid == "plain" and details["ticket"] == "dynamic-ticket-2":
            return "device"
        if method == "wampcra" and authid == "dyn":
            return {"role": "device", "secret": "dynamic-secret"}
        if method == "cryptosign" and authid == "dyn":
            return {"role": "device", "pubkey": public_of(SEED)}
        raise ApplicationError("com.example.unknown", "nobody of that name")

    registration = await server.register(authenticate, "com.example.authenticate")
    good = [
        ("ticket", "dyn", "dynamic-ticket-1"), ("ticket", "plain", "dynamic-ticket-2"), ("wampcra", "dyn", "dynamic-secret"),
        ("cryptosign", "dyn", SEED),
    ]
    for url in (near, far):
        for method, authid, secret in good:
            session, details = await enter(url, method, authid, secret)
            got = (details.authid, details.authrole, details.authmethod, details.authprovider)
            assert got == (authid, "device", method, "dynamic"), got
            assert authid != "dyn" or method != "ticket" or details.authextra["floor"] == 3, details.authextra
            assert await session.call("wamp.session.count") >= 2
            await leave(session)
            other = secret[:-1] + "3"
            await refused(url, method, authid, other)
            await refused(url, method, "ghost", secret)
        # Principals of the realm are asked about nowhere.
        before = len(asked)
        await leave((await enter(url, "ticket", "ticket", "ticket-secret-1"))[0])
        await refused(url, "ticket", "ticket", "ticket-secret-2")
        assert len(asked) == before, asked[before:]
        begun = time.monotonic()
        await refused(url, "ticket", "slow", "whatever")
        assert 1 < time.monotonic() - begun < 10, "the time of the answer is bounded"
    await registration.unregister()
    for url in (near, far):
        begun = time.monotonic()
        await refused(url, "ticket", "dyn", "dynamic-ticket-1")
        assert time.monotonic() - begun >= 0.2, "a refusal takes its time"
        await refused(url, "wampcra", "dyn", "dynamic-secret")
    await leave(server)


# An authorizer


async def authorizers(urls):
    near, far = urls.split(",")
    judge, _ = await enter(near, "ticket", "ticket", "ticket-secret-1")
    asked, forbidden, slow = [], set(), set()

    async def authorize(session, uri, action, options):
        asked.append((session["authid"], action, uri))
        if uri in slow:
            await asyncio.sleep(30)
        if uri.endswith(".once"):
            return {"allow": True, "cache": False}
        return uri not in forbidden and not uri.startswith("com.bad")

    async def add(a, b):
        return a + b

    registration = await judge.register(authorize, "com.example.authorize")
    for procedure in ("com.add", "com.add.once", "com.bad.add", "com.locked", "com.granted", "com.slow"):
        await judge.register(add, procedure)
    guests = [(await enter(url, "ticket", "guest", "guest-secret-1"))[0] for url in (near, far)]
    slow.add("com.slow")
    for guest in guests:
        before = len(asked)
        assert await asyncio.gather(*(guest.call("com.add", 2, n) for n in range(5))) == [2, 3, 4, 5, 6]
        assert asked[before:] == [("guest", "call", "com.add")], "asked once"
        for _ in range(3):
            assert await guest.call("com.add.once", 2, 3) == 5
        assert len(asked) == before + 4, "asked each time"
        await fails(guest.call("com.bad.add", 1, 2), "wamp.error.not_authorized")
        before = len(asked)
        await fails(guest.call("com.locked", 1, 2), "wamp.error.not_authorized")
        assert await guest.call("com.granted", 1, 2) == 3
        assert len(asked) == before, "what permissions decide is asked of nobody"
        begun = time.monotonic()
        await fails(guest.call("com.slow", 1, 2), "wamp.error.authorization_failed")
        assert 1 < time.monotonic() - begun < 10
    # Events by a decision, until it is taken back.
    heard = [[], []]
    for events, guest in zip(heard, guests):
        await guest.subscribe(events.append, "com.news")
        await fails(guest.subscribe(events.append, "com.bad.news"), "wamp.error.not_authorized")
    judge.publish("com.news", 1)
    await asyncio.sleep(0.5)
    assert heard == [[1], [1]], heard
    forbidden.update(("com.news", "com.add"))
    assert await guests[0].call("com.add", 1, 1) == 2, "remembered"
    await fails(guests[0].call("ringfort.authorizer.invalidate"), "wamp.error.not_authorized")
    assert await judge.call("ringfort.authorizer.invalidate", "guest") == 2
    for guest in guests:
        await fails(guest.call("com.add", 1, 1), "wamp.error.not_authorized")
    await asyncio.sleep(0.5)
    judge.publish("com.news", 2)
    await asyncio.sleep(0.5)
    assert heard == [[1], [1]], heard
    # Nobody there to ask.
    await registration.unregister()
    for guest in guests:
        await fails(guest.call("com.other", 1, 2), "wamp.error.authorization_failed")
        assert await guest.call("com.granted", 1, 2) == 3
    await leave(judge, *guests)


MODES = {
    "jwt": tokens,
    "authenticator": lambda urls: [("authenticator", authenticators(urls))],
    "authorizer": lambda urls: [("authorizer", authorizers(urls))],
}

if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    if sys.argv[1] == "keys":
        make_keys(sys.argv[2])
    else:
        logging.disable(logging.CRITICAL)
        sys.exit(asyncio.run(all_of(MODES[sys.argv[1]](*sys.argv[2:]))))
