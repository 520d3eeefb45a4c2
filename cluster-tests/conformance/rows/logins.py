"""How a session proves who it is, and what its role may do."""
import asyncio, base64, hashlib, hmac, json, os
from argon2.low_level import Type, hash_secret_raw
from nacl.signing import SigningKey
from stage import ROLES, case
from wamplib import *

SEED = bytes([1]) * 32


def b64(data):
    return base64.b64encode(data).decode()


def sign(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


async def challenged(s, method, authid, extra=None):
    """a connection, and the extra of the CHALLENGE it was sent"""
    peer = await s.open(2)
    details = {"roles": ROLES, "authmethods": [method], **({"authid": authid} if authid else {}), **({"authextra": extra} if extra else {})}
    await peer.send([HELLO, REALM, details])
    challenge = await peer.recv()
    eq(challenge[:2], [CHALLENGE, method])
    return peer, challenge[2]


async def answered(peer, signature, method, authid, extra=None):
    """the details of the WELCOME that a signature is answered by; None if it is refused"""
    await peer.send([AUTHENTICATE, signature, extra or {}])
    answer = await peer.recv()
    if answer[0] == ABORT:
        eq(answer[2], "wamp.error.authentication_denied")
        return None
    eq([answer[2][key] for key in ("authid", "authrole", "authmethod", "authprovider")], [authid, "device", method, "static"])
    return answer[2]


@case("login-wampcra", "rule.auth.wampcra")
async def _(s):
    """the signature of the challenge lets in, with the secret as the key and with one derived from it; another does not"""
    for authid, secret, salted in (("cra-plain", b"cra-secret-1", False), ("cra-salted", b"cra-secret-2", True)):
        for right in (True, False):
            peer, said = await challenged(s, "wampcra", authid)
            eq("salt" in said, salted)
            told = json.loads(said["challenge"])
            eq([told[key] for key in ("authid", "authrole", "authmethod", "authprovider")], [authid, "device", "wampcra", "static"])
            key = secret if right else b"another"
            if salted:
                key = base64.b64encode(hashlib.pbkdf2_hmac("sha256", key, said["salt"].encode(), said["iterations"], said["keylen"]))
            welcome = await answered(peer, b64(sign(key, said["challenge"].encode())), "wampcra", authid)
            eq(welcome is not None, right)


@case("login-scram", "rule.auth.scram")
async def _(s):
    """a proof by SCRAM lets in, with PBKDF2 and with Argon2id, and the router proves that it knows the password too; a wrong one does not"""
    for authid, password, kdf in (("scram-pbkdf2", b"pencil-and-paper", "pbkdf2"), ("scram-argon2", b"brush-and-canvas", "argon2id13")):
        for right in (True, False):
            nonce = b64(os.urandom(16))
            peer, said = await challenged(s, "wamp-scram", authid, {"nonce": nonce, "channel_binding": None})
            eq(said["kdf"], kdf)
            assert said["nonce"].startswith(nonce) and len(said["nonce"]) > len(nonce) + 16, said
            salt, key = base64.b64decode(said["salt"]), password if right else b"another-password"
            if kdf == "pbkdf2":
                salted = hashlib.pbkdf2_hmac("sha256", key, salt, said["iterations"], 32)
            else:
                salted = hash_secret_raw(key, salt, said["iterations"], said["memory"], 1, 32, Type.ID, 0x13)
            message = ("n=%s,r=%s,r=%s,s=%s,i=%d,c=%s,r=%s" % (authid, nonce, said["nonce"], said["salt"], said["iterations"], b64(b"n,,"),
                                                             said["nonce"])).encode()
            client = sign(salted, b"Client Key")
            proof = bytes(a ^ b for a, b in zip(client, sign(hashlib.sha256(client).digest(), message)))
            extra = {"nonce": said["nonce"], "channel_binding": None, "cbind_data": None}
            welcome = await answered(peer, b64(proof), "wamp-scram", authid, extra)
            eq(welcome is not None, right)
            if right:
                eq(welcome["authextra"]["verifier"], b64(sign(sign(salted, b"Server Key"), message)))


@case("login-cryptosign", "rule.auth.cryptosign")
async def _(s):
    """the signature of the challenge by a known key lets in, with an authid or by the key alone; that of another key does not"""
    for key, authid in ((SigningKey(SEED), "signer"), (SigningKey(SEED), None), (SigningKey(bytes([2]) * 32), "signer")):
        peer, said = await challenged(s, "cryptosign", authid, {"pubkey": bytes(key.verify_key).hex()})
        eq(len(said["challenge"]), 64)
        signature = bytes(key.sign(bytes.fromhex(said["challenge"]))).hex()
        welcome = await answered(peer, signature, "cryptosign", "signer")
        eq(welcome is not None, bytes(key) == SEED)


@case("permissions", "rule.authz.rules")
async def _(s):
    """what no permission allows is refused, and of several that match the most specific one decides"""
    a, b = await asyncio.gather(s.join(0, realm="table.rules"), s.join(2, realm="table.rules"))
    # Allowed below table., denied below table.closed., all but publishing allowed again below table.closed.open.
    open_, closed, again, nowhere = ("%s.%s" % (prefix, s.uri()) for prefix in ("table.free", "table.closed", "table.closed.open", "other"))
    for uri in (open_, again):
        await a.register(uri)
        await a.subscribe(uri)
        request = await b.call_start(uri)
        await a.yield_(await a.inv())
        await b.call_end(request)
    await b.publish(open_, [1])
    eq(pl(await a.event())[0], [1])
    await raises(b.publish(again, [2]), "wamp.error.not_authorized")
    for uri in (closed, nowhere):
        await raises(a.register(uri), "wamp.error.not_authorized")
        await raises(a.subscribe(uri), "wamp.error.not_authorized")
        await raises(b.call(uri), "wamp.error.not_authorized")
        await raises(b.publish(uri, [3]), "wamp.error.not_authorized")
