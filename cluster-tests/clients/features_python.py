#!/usr/bin/env python3
"""autobahn-python against a router: what it offers beyond calls_python.py, autobahn_pubsub.py, registrations.py and meta.py.

    features_python.py NEAR_URL FAR_URL      callees and subscribers sit near, callers and publishers far

URLs as for autobahn_python.py. The realm allows `force_reregister`, and keeps a history of the topics below `test.features.history.`.
Last line: `N passed, M failed`.
"""
import asyncio
from urllib.parse import urlparse

from autobahn import wamp
from autobahn.asyncio.component import Component
from autobahn.asyncio.websocket import WampWebSocketClientFactory
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.serializer import JsonSerializer
from autobahn.wamp.types import CallOptions, CallResult, ComponentConfig, PublishOptions, RegisterOptions, SubscribeOptions
from autobahn.websocket.compress import PerMessageDeflateOffer

from autobahn_python import PATIENCE, REALM, SERIALIZERS, Session, join, leave, on_each, run_script

DETAILS = "details"


async def next_of(queue):
    return await asyncio.wait_for(queue.get(), PATIENCE)


async def eventually(attempt):
    """what `attempt` gives once it gives anything: copies between nodes are under way after PUBLISHED"""
    for _ in range(100):
        found = await attempt()
        if found:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{attempt.__name__}: nothing")


async def retained(near, far, tag):
    """PublishOptions.retain, SubscribeOptions.get_retained, EventDetails.retained"""
    await far.publish(f"{tag}.state", "old", options=PublishOptions(acknowledge=True, retain=True))
    await far.publish(f"{tag}.state", "on", options=PublishOptions(acknowledge=True, retain=True))
    await far.publish(f"{tag}.state", "not kept", options=PublishOptions(acknowledge=True))

    async def newest():
        heard = asyncio.Queue()
        options = SubscribeOptions(get_retained=True, details_arg=DETAILS)
        subscription = await near.subscribe(lambda arg, details: heard.put_nowait((arg, details.retained)), f"{tag}.state", options)
        try:
            return await asyncio.wait_for(heard.get(), 0.3) == ("on", True)
        except asyncio.TimeoutError:
            return False
        finally:
            await subscription.unsubscribe()

    await eventually(newest)


async def history(near, far, tag):
    """wamp.subscription.get_events of what was published anywhere"""
    pattern = "test.features.history."
    topic = f"{pattern}{tag.replace('.', '_')}"
    subscription = await near.subscribe(lambda *args, **kwargs: None, pattern, SubscribeOptions(match="prefix"))
    for n in range(5):
        await far.publish(topic, n, word=f"w{n}", options=PublishOptions(acknowledge=True))

    async def all_five():
        result = await far.call("wamp.subscription.get_events", subscription.id, topic=topic, limit=3, reverse=True)
        events = list(result.results) if isinstance(result, CallResult) else result
        events = events if isinstance(events, list) else [events]
        return [(event["args"], event["kwargs"]["word"]) for event in events] == [([n], f"w{n}") for n in (4, 3, 2)]

    await eventually(all_five)
    await subscription.unsubscribe()


async def forced(near, far, tag):
    """RegisterOptions.force_reregister, and what the former callee hears"""
    await near.register(lambda: "near", f"{tag}.forced")
    taken = await far.register(lambda: "far", f"{tag}.forced", RegisterOptions(force_reregister=True))
    assert await near.call(f"{tag}.forced") == "far", "the former callee lives on"
    await taken.unregister()
    removed = await near.register(lambda: "near", f"{tag}.removed")

    async def taken_back():
        # The far node may not have heard of the registration yet.
        try:
            await far.call("wamp.registration.remove_callee", removed.id, near.joined.result().session)
            return True
        except ApplicationError as e:
            assert e.error == "wamp.error.no_such_registration", e
            return False

    await eventually(taken_back)
    try:
        await near.call(f"{tag}.removed")
        raise AssertionError("a removed callee was called")
    except ApplicationError as e:
        assert e.error == "wamp.error.no_such_procedure", e


@wamp.error("test.error.typed")
class Typed(Exception):
    """An exception that both ends know."""


async def typed(near, far, tag):
    """session.define: exceptions that have a URI"""
    near.define(Typed)
    far.define(Typed)

    def fail(word):
        raise Typed(word, "second")

    await near.register(fail, f"{tag}.typed")
    try:
        await far.call(f"{tag}.typed", "first")
        raise AssertionError("no error")
    except Typed as e:
        assert e.args == ("first", "second"), e
    refused = PublishOptions(acknowledge=True)
    for publish, uri in ((lambda: far.publish("wamp.topic", options=refused), "wamp.error.invalid_uri"),):
        try:
            await publish()
            raise AssertionError("a reserved topic was taken")
        except ApplicationError as e:
            assert e.error == uri, e


async def decorated(near, far, tag):
    """@wamp.register and @wamp.subscribe, with patterns"""
    heard = asyncio.Queue()

    class Things:
        @wamp.register(f"{tag}.things.add")
        def add(self, a, b):
            return a + b

        @wamp.register(f"{tag}.things.", options=RegisterOptions(match="prefix", details_arg=DETAILS))
        def any(self, details=None):
            return details.procedure

        @wamp.subscribe(f"{tag}..news", options=SubscribeOptions(match="wildcard", details_arg=DETAILS))
        def news(self, word, details=None):
            heard.put_nowait((word, details.topic))

    things = Things()
    assert len(await near.register(things)) == 2 and len(await near.subscribe(things)) == 1
    assert await far.call(f"{tag}.things.add", 2, 3) == 5
    assert await far.call(f"{tag}.things.other") == f"{tag}.things.other"
    await far.publish(f"{tag}.door.news", "open", options=PublishOptions(acknowledge=True))
    assert await next_of(heard) == ("open", f"{tag}.door.news")


async def handed_on(near, far, tag):
    """transaction_hash reaches the other end; forward_for, which is for links between routers, does no harm"""
    heard = asyncio.Queue()

    def who(details=None):
        return details.transaction_hash

    await near.register(who, f"{tag}.hash", RegisterOptions(details_arg=DETAILS))
    await near.subscribe(lambda details: heard.put_nowait(details.transaction_hash), f"{tag}.hash", SubscribeOptions(details_arg=DETAILS))
    assert await far.call(f"{tag}.hash", options=CallOptions(transaction_hash="0xcafe")) == "0xcafe"
    await far.publish(f"{tag}.hash", options=PublishOptions(acknowledge=True, transaction_hash="0xbeef"))
    assert await next_of(heard) == "0xbeef"
    link = [{"session": 4711, "authid": "other", "authrole": "router"}]
    assert await far.call(f"{tag}.hash", options=CallOptions(forward_for=link)) is None
    await far.publish(f"{tag}.hash", options=PublishOptions(acknowledge=True, forward_for=link))
    assert await next_of(heard) is None
    result = await far.call(f"{tag}.hash", options=CallOptions(details=True))
    assert isinstance(result, CallResult) and result.results == (None,), result


async def components(near_url, far_url, serializer, tag):
    """the Component API: a callee and subscriber that is declared, and ends by itself"""

    def transport(url):
        parts = urlparse(url)
        if parts.scheme == "tcp":
            return {"type": "rawsocket", "url": f"rs://{parts.hostname}:{parts.port}", "serializer": serializer, "max_retries": 0}
        return {"type": "websocket", "url": url, "serializers": [serializer]}

    async def ended(component):
        """Over RawSocket, autobahn takes the end of its own session for a lost connection and would begin anew."""
        try:
            await asyncio.wait_for(component, PATIENCE)
        except RuntimeError:
            assert urlparse(near_url).scheme == "tcp"

    loop = asyncio.get_running_loop()
    ready, worked, heard = loop.create_future(), loop.create_future(), asyncio.Queue()
    server = Component(transports=[transport(near_url)], realm=REALM)
    client = Component(transports=[transport(far_url)], realm=REALM)

    @server.register(f"{tag}.component.add")
    def add(a, b):
        return a + b

    @server.subscribe(f"{tag}.component.news")
    def news(word):
        heard.put_nowait(word)

    @server.on_ready
    async def on_ready(session):
        ready.set_result(session)

    @client.on_join
    async def on_join(session, details):
        assert await session.call(f"{tag}.component.add", 2, 3) == 5
        await session.publish(f"{tag}.component.news", "declared", options=PublishOptions(acknowledge=True))
        worked.set_result(True)
        session.leave("wamp.close.logout", "that was all")

    serving = server.start(loop=loop)
    session = await asyncio.wait_for(ready, PATIENCE)
    await ended(client.start(loop=loop))
    assert worked.done() and await next_of(heard) == "declared"
    session.leave()
    await ended(serving)


async def offers(url):
    """a batched serializer, compression and a serializer more are offered: the first is agreed on, and no compression"""
    made = Session(ComponentConfig(REALM, {}))
    factory = WampWebSocketClientFactory(lambda: made, url=url, serializers=[JsonSerializer(batched=True), JsonSerializer()])
    factory.setProtocolOptions(perMessageCompressionOffers=[PerMessageDeflateOffer()])
    parts = urlparse(url)
    _, protocol = await asyncio.get_running_loop().create_connection(factory, parts.hostname, parts.port)
    await asyncio.wait_for(made.joined, PATIENCE)
    assert protocol.websocket_protocol_in_use == "wamp.2.json.batched", protocol.websocket_protocol_in_use
    assert not protocol.websocket_extensions_in_use, protocol.websocket_extensions_in_use
    assert await made.call("wamp.session.count") > 0
    await leave(made)


async def run(near_url, far_url, serializer):
    near, far = await join(near_url, serializer), await join(far_url, serializer)
    tag = f"test.features.{serializer}.{urlparse(near_url).scheme}.{urlparse(near_url).port}.{urlparse(far_url).port}"
    for step in (retained, history, forced, typed, decorated, handed_on):
        await step(near, far, tag)
    await leave(near)
    await leave(far)
    await components(near_url, far_url, serializer, tag)
    if urlparse(near_url).scheme == "ws":
        await offers(near_url)


if __name__ == "__main__":
    assert set(SERIALIZERS) == {"json", "msgpack", "cbor"}
    run_script(__doc__, lambda near, far: on_each(near, far, run))
