"""What a case of the conformance table runs on: sessions of one serializer, on one node or spread over three."""
import asyncio, contextlib, inspect, itertools, os, random
from urllib.parse import urlparse
import wamplib as w
from wamplib import Peer

SERIALIZERS = ("json", "msgpack", "cbor")
PLACES = ("one", "three")

# What a client announces that can do everything.
ROLES = {
    "publisher": w.feats("subscriber_blackwhite_listing", "publisher_exclusion", "publisher_identification", "sharded_subscription",
                         "payload_passthru_mode"),
    "subscriber": w.feats("publisher_identification", "publication_trustlevels", "pattern_based_subscription", "sharded_subscription",
                          "subscription_revocation", "payload_passthru_mode"),
    "caller": w.feats("progressive_call_results", "progressive_call_invocations", "call_timeout", "call_canceling",
                      "caller_identification", "sharded_registration", "payload_passthru_mode"),
    "callee": w.feats("progressive_call_results", "progressive_call_invocations", "call_timeout", "call_canceling", "call_reroute",
                      "caller_identification", "call_trustlevels", "pattern_based_registration", "shared_registration",
                      "sharded_registration", "registration_revocation", "payload_passthru_mode"),
}


def without(role, *names):
    """ROLES, one role of which lacks some features"""
    roles = {r: {"features": dict(of["features"])} for r, of in ROLES.items()}
    for name in names:
        del roles[role]["features"][name]
    return roles


class Skip(Exception):
    """The router does not announce what the case needs."""


class Case:
    def __init__(self, name, rows, fn, needs, alone, last):
        self.name, self.rows, self.fn, self.needs, self.alone, self.last = name, rows, fn, needs, alone, last
        self.doc = " ".join((inspect.getdoc(fn) or "").split())
        self.file = os.path.relpath(inspect.getsourcefile(fn), os.path.dirname(os.path.abspath(__file__)))


CASES = []


def case(name, rows, needs=None, alone=None, last=False):
    """Registers a case under a name and says which rows of rows.toml it shows.

    needs: (role, feature) that must be announced, else the case is skipped. alone: cases with the same word do not run at the same time.
    last: runs after all others, all its variants at once.
    """
    def deco(fn):
        CASES.append(Case(name, rows.split(), fn, needs, alone, last))
        return fn
    return deco


_count = itertools.count()


class Stage:
    """One run of a case: a serializer, and the nodes its sessions sit on."""

    def __init__(self, nodes, raw, place, serializer):
        self.nodes, self.raw, self.place, self.ser = nodes, raw, place, serializer
        self.peers, self.tasks = [], []
        self.variant = "%s-%s" % (place, serializer)

    def url(self, node):
        """of the node with that index, or of the only one"""
        return self.nodes[node if self.place == "three" else 0]

    def raw_url(self, node):
        return self.raw[node if self.place == "three" else 0]

    def longpoll_url(self, node):
        return "http://%s/lp" % urlparse(self.url(node)).netloc

    def uri(self, name="x"):
        """a URI of this run alone"""
        return "table.%s.%s%x%d.%s" % (self.place, self.ser, random.getrandbits(32), next(_count), name)

    async def open(self, node=0, url=None, ser=None, **kw):
        """a connection without a session"""
        peer = await Peer.open(url or self.url(node), ser or self.ser, **kw)
        self.peers.append(peer)
        return peer

    async def join(self, node=0, realm=None, details=None, roles=None, ticket=None, url=None, **kw):
        """a session on a node; ticket: (authid, secret)"""
        peer = await self.open(node, url, **kw)
        if ticket is None:
            await peer.hello(realm, details, roles or ROLES)
            return peer
        details = dict(details or {}, authmethods=["ticket"], authid=ticket[0])
        await peer.send([w.HELLO, realm or w.REALM, {"roles": roles or ROLES, **details}])
        challenge = await peer.recv()
        w.eq(challenge[:2], [w.CHALLENGE, "ticket"])
        await peer.send([w.AUTHENTICATE, ticket[1], {}])
        welcome = await peer.recv()
        if welcome[0] != w.WELCOME:
            raise w.WampError(welcome)
        peer.session, peer.welcome = welcome[1], welcome[2]
        return peer

    async def both(self, **kw):
        """(a session on the first node, one on the last): callee and caller, or subscriber and publisher"""
        return await asyncio.gather(self.join(0, **kw), self.join(2))

    async def trio(self, **kw):
        """a session on each node"""
        return await asyncio.gather(*[self.join(node, **kw) for node in range(3)])

    def serve(self, peer, fn=None):
        """has the peer answer invocations from now on, with fn(invocation) or what it was given"""
        task = asyncio.create_task(peer.serve(fn))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        self.tasks.append(task)

    async def close(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for peer in self.peers:
            with contextlib.suppress(Exception):
                peer.drop()


async def settled(peer):
    """Waits until the node of the peer has dealt with everything the peer has sent so far."""
    await w.raises(peer.call("table.nowhere"), "wamp.error.no_such_procedure")


async def until(peer, topic_end):
    """The EVENTs of a peer up to the one whose first argument is `topic_end`, without it."""
    events = []
    while True:
        event = await peer.event()
        if w.pl(event)[0][:1] == [topic_end]:
            return events
        events.append(event)


def firsts(events):
    """the first argument of each"""
    return [w.pl(event)[0][0] for event in events]


def buffered(peer, kind):
    """what has come of that type and was not asked for"""
    return [m for m in peer.buf if m[0] == kind]
