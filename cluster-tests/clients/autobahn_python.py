#!/usr/bin/env python3
"""autobahn-python against a router: every step of the basic profile, and payloads equal between every pair of serializers.

    autobahn_python.py steps CALLEE_URL CALLER_URL      each serializer on each transport, batched too: register, call, error, subscribe, publish, ...
    autobahn_python.py pairs CALLEE_URL CALLER_URL      nine pairs of serializers, args and kwargs of every JSON type plus binary

URLs are ws://host:port/path or tcp://host:port (RawSocket); several, joined by commas, are taken one after the other. The callee
and the subscriber sit on the first URL, the caller and the publisher on the second. Last line: `N passed, M failed`.
"""
import asyncio
import logging
import math
import sys
from urllib.parse import urlparse

import txaio

txaio.use_asyncio()

from autobahn.asyncio.rawsocket import WampRawSocketClientFactory
from autobahn.asyncio.wamp import ApplicationSession
from autobahn.asyncio.websocket import WampWebSocketClientFactory
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.serializer import CBORSerializer, JsonSerializer, MsgPackSerializer
from autobahn.wamp.types import CallResult, ComponentConfig, PublishOptions

from all_of import all_of

REALM = "realm1"
PATIENCE = 10
SERIALIZERS = {"json": JsonSerializer, "msgpack": MsgPackSerializer, "cbor": CBORSerializer}
# Several messages in a WebSocket frame; autobahn-python offers these before the others.
BATCHED = [f"{name}.batched" for name in SERIALIZERS]

# Every JSON type in its odd shapes, and binary, also inside of other things. Keys of kwargs are Python names for the callee's sake.
ARGS = [
    None, True, False, 0, 1, -1, 127, 128, 255, 256, -129, 65535, 65536, 2**31, 2**32, -2**31, 2**53, -2**53, 2**63 - 1, -2**63, 2**64 - 1,
    0.0, 1.5, -1.5, 0.1, 1e300, -1e-300, math.pi, 3.0,
    "", "plain", "grüße, 世界, 🏰", "quote \" backslash \\ slash / \b\f\n\r\t\x01\x1f\x7f", "a" * 70_000,
    [], [[]], [1, [2, [3, [4]]]], {}, {"": 0, "a b": 1, "ü": [None, {"x": False}]},
    b"", b"\x00", bytes(range(256)), [b"\x01\x02", {"blob": b"\xff" * 1000}],
]
KWARGS = {
    "nothing": None, "yes": True, "no": False, "integer": -42, "big": 2**53, "real": 2.25, "text": "☃", "blob": b"\xde\xad\xbe\xef",
    "items": [1, "two", 3.5, None, True, b"6"], "table": {"k": {"deep": [{"deeper": b"\x00\x01"}]}}, "empty_list": [], "empty_table": {},
}


def same(a, b):
    """equality that does not take 1 for 1.0 or True"""
    if type(a) is not type(b) and not (isinstance(a, (list, tuple)) and isinstance(b, (list, tuple))):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def difference(a, b, path="payload"):
    """the first place where two payloads differ, for the failure's text"""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b)):
            if not same(x, y):
                return difference(x, y, f"{path}[{i}]")
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        for k in a:
            if not same(a[k], b[k]):
                return difference(a[k], b[k], f"{path}[{k!r}]")
    return f"{path}: sent {a!r:.200}, got {b!r:.200}"


class Session(ApplicationSession):
    """Tells when it has joined and when its transport is gone."""

    def __init__(self, config):
        super().__init__(config)
        loop = asyncio.get_running_loop()
        self.joined, self.gone = loop.create_future(), loop.create_future()

    def onJoin(self, details):
        if not self.joined.done():
            self.joined.set_result(details)

    def onLeave(self, details):
        self.left = details
        if not self.joined.done():
            self.joined.set_exception(RuntimeError(f"refused: {details}"))
        self.disconnect()

    def onDisconnect(self):
        if not self.joined.done():
            self.joined.set_exception(RuntimeError("closed before the session began"))
        if not self.gone.done():
            self.gone.set_result(None)


async def join(url, serializer, realm=REALM, kind=Session):
    made = []

    def create():
        made.append(kind(ComponentConfig(realm, {})))
        return made[0]

    parts = urlparse(url)
    if parts.scheme == "tcp":
        factory = WampRawSocketClientFactory(create, serializer=SERIALIZERS[serializer]())
    else:
        name, _, batched = serializer.partition(".")
        made_with = SERIALIZERS[name](batched=bool(batched))
        assert made_with.SERIALIZER_ID == serializer, made_with.SERIALIZER_ID
        factory = WampWebSocketClientFactory(create, url=url, serializers=[made_with])
    await asyncio.get_running_loop().create_connection(factory, parts.hostname, parts.port)
    for _ in range(1000):
        if made:
            break
        await asyncio.sleep(0.01)
    await asyncio.wait_for(made[0].joined, PATIENCE)
    return made[0]


async def leave(session):
    session.leave()
    await asyncio.wait_for(session.gone, PATIENCE)


async def steps(near, far, serializer):
    """what an ordinary program does with the basic profile, without a pause between a confirmation and what relies on it"""
    callee, caller = await join(near, serializer), await join(far, serializer)
    tag = f"{serializer}.{urlparse(near).scheme}.{urlparse(far).scheme}"
    procedure, topic = f"test.python.{tag}.add", f"test.python.{tag}.news"

    async def add(a, b, *, scale=1):
        if b == "bad":
            raise ApplicationError("test.error.bad", "first", number=7)
        return (a + b) * scale

    registration = await callee.register(add, procedure)
    assert await caller.call(procedure, 2, 3) == 5
    assert await caller.call(procedure, 2, 3, scale=10) == 50
    try:
        await caller.call(procedure, 1, "bad")
        raise AssertionError("an ERROR of the callee did not reach the caller")
    except ApplicationError as e:
        assert (e.error, list(e.args), e.kwargs.get("number")) == ("test.error.bad", ["first"], 7), e
    try:
        await caller.register(add, procedure)
        raise AssertionError("a second registration was taken")
    except ApplicationError as e:
        assert e.error == "wamp.error.procedure_already_exists", e
    try:
        await caller.call(procedure + ".missing")
        raise AssertionError("a call of nothing returned")
    except ApplicationError as e:
        assert e.error == "wamp.error.no_such_procedure", e

    arrived = asyncio.Queue()
    subscription = await callee.subscribe(lambda *args, **kwargs: arrived.put_nowait((args, kwargs)), topic)
    publication = await caller.publish(topic, 1, "two", three=3, options=PublishOptions(acknowledge=True))
    assert publication.id > 0
    assert await asyncio.wait_for(arrived.get(), PATIENCE) == ((1, "two"), {"three": 3})
    for number in range(100):
        caller.publish(topic, number)
    assert [(await asyncio.wait_for(arrived.get(), PATIENCE))[0][0] for _ in range(100)] == list(range(100))
    # A publisher does not hear itself unless it asks for it.
    await callee.publish(topic, "own", options=PublishOptions(acknowledge=True))
    await callee.publish(topic, "asked", options=PublishOptions(acknowledge=True, exclude_me=False))
    assert (await asyncio.wait_for(arrived.get(), PATIENCE))[0] == ("asked",)

    await subscription.unsubscribe()
    await caller.publish(topic, "late", options=PublishOptions(acknowledge=True))
    await registration.unregister()
    try:
        await caller.call(procedure, 1, 2)
        raise AssertionError("an unregistered procedure was called")
    except ApplicationError as e:
        assert e.error == "wamp.error.no_such_procedure", e
    assert arrived.empty(), f"event after UNSUBSCRIBED: {arrived.get_nowait()}"
    await leave(callee)
    await leave(caller)


async def pair(near, far, callee_serializer, caller_serializer):
    """one payload there and back, as call, as error and as event, equal at both ends"""
    callee, caller = await join(near, callee_serializer), await join(far, caller_serializer)
    tag = f"{callee_serializer}.{caller_serializer}.{urlparse(near).scheme}.{urlparse(far).scheme}"
    seen = []

    def echo(*args, **kwargs):
        seen.append((list(args), kwargs))
        return CallResult(*args, **kwargs)

    def refuse(*args, **kwargs):
        raise ApplicationError("test.error.refused", *args, **kwargs)

    await callee.register(echo, f"test.pair.{tag}.echo")
    await callee.register(refuse, f"test.pair.{tag}.refuse")
    result = await caller.call(f"test.pair.{tag}.echo", *ARGS, **KWARGS)
    assert same(seen[0][0], ARGS), "callee: " + difference(ARGS, seen[0][0])
    assert same(seen[0][1], KWARGS), "callee: " + difference(KWARGS, seen[0][1])
    assert same(list(result.results), ARGS), "caller: " + difference(ARGS, list(result.results))
    assert same(result.kwresults, KWARGS), "caller: " + difference(KWARGS, result.kwresults)
    try:
        await caller.call(f"test.pair.{tag}.refuse", *ARGS, **KWARGS)
        raise AssertionError("no error")
    except ApplicationError as e:
        assert e.error == "test.error.refused", e
        assert same(list(e.args), ARGS), "error: " + difference(ARGS, list(e.args))
        assert same(e.kwargs, KWARGS), "error: " + difference(KWARGS, e.kwargs)

    arrived = asyncio.Queue()
    await callee.subscribe(lambda *args, **kwargs: arrived.put_nowait((list(args), kwargs)), f"test.pair.{tag}.topic")
    await caller.publish(f"test.pair.{tag}.topic", *ARGS, options=PublishOptions(acknowledge=True), **KWARGS)
    args, kwargs = await asyncio.wait_for(arrived.get(), PATIENCE)
    assert same(args, ARGS), "event: " + difference(ARGS, args)
    assert same(kwargs, KWARGS), "event: " + difference(KWARGS, kwargs)
    await leave(callee)
    await leave(caller)


def on_each(near_urls, far_urls, attempt):
    """an attempt on each transport in each serializer, for `all_of`"""
    for near, far in zip(near_urls.split(","), far_urls.split(",")):
        for serializer in SERIALIZERS:
            yield f"{near} {far} {serializer}", attempt(near, far, serializer)


def run_script(doc, attempts):
    """a script whose arguments are two URLs"""
    if len(sys.argv) != 3:
        sys.exit(doc)
    logging.disable(logging.CRITICAL)
    sys.exit(asyncio.run(all_of(attempts(*sys.argv[1:]))))


def attempts_of(mode, near_urls, far_urls):
    for near, far in zip(near_urls.split(","), far_urls.split(",")):
        batched = BATCHED if mode == "steps" and urlparse(near).scheme == "ws" else []
        for a in [*SERIALIZERS, *batched]:
            for b in SERIALIZERS if mode == "pairs" else [a]:
                attempt = pair(near, far, a, b) if mode == "pairs" else steps(near, far, a)
                yield f"{mode} {near} {far} callee {a} caller {b}", attempt


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("steps", "pairs"):
        sys.exit(__doc__)
    logging.disable(logging.CRITICAL)
    sys.exit(asyncio.run(all_of(attempts_of(*sys.argv[1:]))))
