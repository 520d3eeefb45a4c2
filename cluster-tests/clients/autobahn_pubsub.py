#!/usr/bin/env python3
"""autobahn-python and the advanced profile of publish and subscribe: patterns, lists of receivers, identification, shards, receipts.

    autobahn_pubsub.py SUBSCRIBER_URL PUBLISHER_URL      each serializer on each transport

URLs as for autobahn_python.py. Subscribers sit on the first URL, and one of them on the second; the publisher on the second. Last
line: `N passed, M failed`.
"""
import asyncio
import contextlib
from urllib.parse import urlparse

from autobahn_python import PATIENCE, join, leave, on_each, run_script

from autobahn.wamp import message
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import PublishOptions, SubscribeOptions

# Options that autobahn does not know, for the messages that are sent while this is set.
extra = {}


def with_extra(kind):
    """lets messages of a kind carry what is in `extra`"""
    plain = kind.marshal

    def marshal(self):
        raw = plain(self)
        raw[2].update(extra)
        return raw

    kind.marshal = marshal


with_extra(message.Publish)
with_extra(message.Subscribe)


@contextlib.contextmanager
def options(**more):
    extra.update(more)
    yield
    extra.clear()


def publish(session, topic, *args, lists=None, **more):
    """publishes, with `lists` as autobahn knows them and `more` as it does not"""
    with options(**more):
        return session.publish(topic, *args, options=PublishOptions(acknowledge=True, **(lists or {})))


class Heard:
    """What one subscription was sent: (first argument, details)."""

    def __init__(self):
        self.queue = asyncio.Queue()

    @classmethod
    async def on(cls, session, topic, match=None, **more):
        heard = cls()
        with options(**more):
            subscribed = session.subscribe(
                lambda arg, details=None: heard.queue.put_nowait((arg, details)), topic, SubscribeOptions(match=match, details_arg="details")
            )
        heard.subscription = await subscribed
        return heard

    async def next(self):
        return await asyncio.wait_for(self.queue.get(), PATIENCE)

    async def until(self, last):
        """all first arguments up to `last`"""
        heard = []
        while not heard or heard[-1] != last:
            heard.append((await self.next())[0])
        return heard


async def patterns(base, near, elsewhere, publisher):
    """one event per matching subscription, the topic told, the order kept"""
    exact = await Heard.on(near, f"{base}.a.b")
    prefix = await Heard.on(near, f"{base}.a", "prefix")
    wildcard = await Heard.on(near, f"{base}..b", "wildcard")
    far = await Heard.on(elsewhere, f"{base}.", "prefix")
    other = await Heard.on(elsewhere, f"{base}..c", "wildcard")
    for n in range(50):
        await publish(publisher, f"{base}.{'ax'[n % 2]}.b", n)
    await publish(publisher, f"{base}.a-b", 50)
    assert await exact.until(48) == list(range(0, 50, 2))
    assert await prefix.until(50) == list(range(0, 50, 2)) + [50]
    assert await far.until(50) == list(range(51))
    for n in range(50):
        arg, details = await wildcard.next()
        assert (arg, details.topic) == (n, f"{base}.{'ax'[n % 2]}.b"), details
    assert other.queue.empty()
    try:
        await Heard.on(near, f"{base}..x", "prefix")
        raise AssertionError("a prefix with an empty component was taken")
    except ApplicationError as e:
        assert e.error == "wamp.error.invalid_uri", e
    await prefix.subscription.unsubscribe()
    await publish(publisher, f"{base}.a.b", 51)
    assert await exact.until(51) == [51]
    assert prefix.queue.empty()


async def lists(base, near, elsewhere, publisher):
    """each list on its own, judged at the subscriber's node"""
    first, second = await Heard.on(near, base), await Heard.on(elsewhere, base)
    details = [(await session.joined) for session in (near, elsewhere)]
    ids, authids = [d.session for d in details], [d.authid for d in details]
    role = details[0].authrole
    assert authids[0] != authids[1] and details[1].authrole == role
    cases = [
        ({"exclude": [ids[0]]}, [False, True]),
        ({"eligible": [ids[0]]}, [True, False]),
        ({"exclude_authid": [authids[1]]}, [True, False]),
        ({"eligible_authid": [authids[1]]}, [False, True]),
        ({"exclude_authrole": [role]}, [False, False]),
        ({"eligible_authrole": [role]}, [True, True]),
        ({"eligible": ids, "exclude_authid": [authids[0]]}, [False, True]),
        ({"eligible_authrole": ["nobody"]}, [False, False]),
    ]
    for n, (lists, _) in enumerate(cases):
        await publish(publisher, base, n, lists=lists)
    await publish(publisher, base, "end")
    for at, heard in enumerate((first, second)):
        expected = [n for n, (_, gets) in enumerate(cases) if gets[at]] + ["end"]
        assert (got := await heard.until("end")) == expected, (at, got, expected)


async def identification(base, near, elsewhere, publisher):
    """the publisher is told where it asks for it"""
    heard = [await Heard.on(near, base), await Heard.on(elsewhere, base)]
    me = await publisher.joined
    await publish(publisher, base, 1)
    await publish(publisher, base, 2, disclose_me=True)
    for one in heard:
        _, details = await one.next()
        assert (details.publisher, details.publisher_authid) == (None, None), details
        _, details = await one.next()
        told = (details.publisher, details.publisher_authid, details.publisher_authrole)
        assert told == (me.session, me.authid, me.authrole), details


async def shards(base, near, elsewhere, publisher):
    """an event with a resource key goes to one node key, always the same"""
    heard = [await Heard.on(near, base, nkey="n1"), await Heard.on(elsewhere, base, nkey="n2")]
    for n in range(60):
        await publish(publisher, base, n, rkey=f"r{n % 30}")
    await publish(publisher, base, "end")
    got = [(await one.until("end"))[:-1] for one in heard]
    assert sorted(got[0] + got[1]) == list(range(60)), got
    assert all(got), f"one of two shards got nothing: {got}"
    for events in got:
        assert all((n + 30) % 60 in events for n in events), "a resource key moved"


async def receipts(base, near, elsewhere, publisher):
    """PUBLISHED waits for the subscribers' answers where the publisher wants it"""
    handled = []

    async def handle(arg):
        await asyncio.sleep(0.2)
        handled.append(arg)

    for session in (near, elsewhere):
        await session.subscribe(handle, base)
    await publish(publisher, base, 1, _acknowledge_delivery=True)
    assert handled == [1, 1], handled


async def run(near_url, far_url, serializer):
    near, elsewhere, publisher = [await join(url, serializer) for url in (near_url, far_url, far_url)]
    tag = f"{serializer}.{urlparse(near_url).scheme}.{urlparse(far_url).scheme}"
    for step in (patterns, lists, identification, shards, receipts):
        await step(f"test.pubsub.{tag}.{step.__name__}", near, elsewhere, publisher)
    for session in (near, elsewhere, publisher):
        await leave(session)


if __name__ == "__main__":
    run_script(__doc__, lambda near, far: on_each(near, far, run))
