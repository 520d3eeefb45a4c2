"""WebSocket, batched too, RawSocket and long-poll themselves."""
import asyncio, struct
import websockets
from urllib.parse import urlparse
from stage import ROLES, case
from wamplib import *


async def dial(s, first):
    """a TCP connection on which four octets were sent, and what came back"""
    url = urlparse(s.raw_url(2))
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(first)
    try:
        return reader, writer, await asyncio.wait_for(reader.readexactly(4), T)
    except asyncio.IncompleteReadError as e:
        return reader, writer, e.partial


def frame(kind, payload, extra=0):
    return struct.pack(">I", extra | kind << 24 | len(payload)) + payload


async def read_frame(reader):
    head = struct.unpack(">I", await asyncio.wait_for(reader.readexactly(4), T))[0]
    return head >> 24, await asyncio.wait_for(reader.readexactly(head & 0xFFFFFF), T)


async def closed(reader):
    """the peer ends the connection; what it still had to say is thrown away"""
    try:
        while await asyncio.wait_for(reader.read(65536), T):
            pass
    except ConnectionError:
        pass


def number(s):
    return SER[s.ser].rsid


def data(s, message):
    dumped = SER[s.ser].dumps(message)
    return dumped.encode() if isinstance(dumped, str) else dumped


@case("rawsocket-handshake", "rule.rawsocket.handshake")
async def _(s):
    """four octets are answered by four that repeat the serializer and tell the router's limit; then messages go both ways"""
    for limit in (0xF, 0x7):
        reader, writer, reply = await dial(s, bytes([0x7F, limit << 4 | number(s), 0, 0]))
        eq((reply[0], reply[1] & 15, reply[2:]), (0x7F, number(s), b"\0\0"))
        assert reply[1] >> 4 >= 7, reply
        writer.write(frame(0, data(s, [HELLO, REALM, {"roles": ROLES}])))
        kind, payload = await read_frame(reader)
        eq((kind, SER[s.ser].loads(payload)[0]), (0, WELCOME))
        writer.close()


@case("rawsocket-handshake-errors", "rule.rawsocket.errors")
async def _(s):
    """an unknown serializer and used reserved bits are answered by an error code, then the connection ends"""
    for first, code in ((bytes([0x7F, 0xF0 | 9, 0, 0]), 1), (bytes([0x7F, 0xF0, 0, 0]), 1), (bytes([0x7F, 0xF0 | number(s), 0, 1]), 3)):
        reader, writer, reply = await dial(s, first)
        eq(reply, bytes([0x7F, code << 4, 0, 0]), repr(first))
        await closed(reader)
        writer.close()


@case("rawsocket-first-octet", "rule.rawsocket.first_octet")
async def _(s):
    """a first octet other than 7F is not RawSocket: the same port speaks HTTP"""
    reader, writer, reply = await dial(s, b"GET /table HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    eq(reply, b"HTTP")
    writer.close()


@case("rawsocket-ping", "rule.rawsocket.ping")
async def _(s):
    """PING is answered at once by a PONG with its payload"""
    reader, writer, _ = await dial(s, bytes([0x7F, 0xF0 | number(s), 0, 0]))
    writer.write(frame(0, data(s, [HELLO, REALM, {"roles": ROLES}])))
    await read_frame(reader)
    for payload in (b"", b"table", bytes(range(256)) * 4):
        writer.write(frame(1, payload))
        eq(await read_frame(reader), (2, payload))
    writer.close()


@case("rawsocket-bad-frames", "rule.rawsocket.reserved rule.rawsocket.limit")
async def _(s):
    """reserved bits, reserved types and a length beyond what the router announced end the connection"""
    for head in (struct.pack(">I", 3 << 24 | 1), struct.pack(">I", 7 << 24 | 1), struct.pack(">I", 1 << 31 | 1), struct.pack(">I", 1 << 28 | 1),
                 struct.pack(">I", 1 << 27 | 1)):
        reader, writer, _ = await dial(s, bytes([0x7F, 0xF0 | number(s), 0, 0]))
        writer.write(frame(0, data(s, [HELLO, REALM, {"roles": ROLES}])))
        await read_frame(reader)
        writer.write(head)
        await closed(reader)
        writer.close()


@case("rawsocket-longest", "rule.rawsocket.longest")
async def _(s):
    """a message of exactly 2^24 octets, whose length needs the 25th bit"""
    reader, writer, reply = await dial(s, bytes([0x7F, 0xF0 | number(s), 0, 0]))
    eq(reply[1] >> 4, 15)
    writer.write(frame(0, data(s, [HELLO, REALM, {"roles": ROLES}])))
    await read_frame(reader)

    def publish(size):
        return data(s, [PUBLISH, 1, {"acknowledge": True}, "table.longest", ["x" * size]])
    longest = publish(2 ** 24 - (len(publish(2 ** 20)) - 2 ** 20))
    eq(len(longest), 2 ** 24)
    writer.write(struct.pack(">I", 1 << 27) + longest)
    kind, payload = await read_frame(reader)
    eq((kind, SER[s.ser].loads(payload)[:2]), (0, [PUBLISHED, 1]))
    writer.close()


@case("rawsocket-session", "rule.rawsocket.session")
async def _(s):
    """calls and events between RawSocket and WebSocket"""
    a, b = await asyncio.gather(s.join(0, url=s.raw_url(0)), s.join(2))
    uri = s.uri()
    await a.register(uri)
    await a.subscribe(uri)
    request = await b.call_start(uri, [1])
    await a.yield_(await a.inv(), [2])
    eq(pl(await b.call_end(request))[0], [2])
    await b.publish(uri, [3])
    eq(pl(await a.event())[0], [3])


@case("websocket-subprotocol", "rule.websocket.subprotocol")
async def _(s):
    """exactly one of the offered subprotocols is chosen, and none without a known one"""
    peer = await s.open(2, subprotocols=["wamp.2.flurry", "wamp.2." + s.ser])
    eq(peer.t.ws.subprotocol, "wamp.2." + s.ser)
    await peer.hello(None, None, ROLES)
    try:
        other = await s.open(2, subprotocols=["wamp.2.flurry"])
    except (websockets.exceptions.WebSocketException, ConnectionError):
        return
    eq(other.t.ws.subprotocol, None)
    await closed_ws(other)


async def closed_ws(peer):
    try:
        while True:
            await peer.recv()
    except Closed:
        pass


@case("websocket-frame-type", "rule.websocket.frame_type")
async def _(s):
    """JSON comes as text and the others as binary; a frame of the other kind ends the connection"""
    # The client checks the router's frames in every case; here it sends wrong ones itself.
    peer = await s.join(2)
    message = data(s, [SUBSCRIBE, 1, {}, s.uri()])
    await peer.send_raw(message if s.ser == "json" else message.decode("latin-1"))
    try:
        message = await peer.recv()
        eq(message[0], ABORT, "a frame of the wrong kind was taken: %r" % (message,))
    except Closed:
        pass


@case("websocket-one-message-a-frame", "rule.websocket.one_message")
async def _(s):
    """one frame holds one message: a second one behind it is no part of it"""
    peer = await s.join(2)
    two = data(s, [SUBSCRIBE, 1, {}, s.uri()]) + data(s, [SUBSCRIBE, 2, {}, s.uri()])
    await peer.send_raw(two.decode() if s.ser == "json" else two)
    eq(await peer.ended(), ("abort", "wamp.error.protocol_violation"))


@case("websocket-ping", "rule.websocket.ping")
async def _(s):
    """a WebSocket ping is answered by a pong"""
    peer = await s.join(2)
    pong = await peer.t.ws.ping(b"table")
    reading = asyncio.ensure_future(peer.t.recv())
    await asyncio.wait_for(pong, T)
    reading.cancel()


@case("websocket-batched", "rule.websocket.batched")
async def _(s):
    """calls and events between a session whose frames hold several messages and one whose frames hold one"""
    a = await s.join(0, subprotocols=["wamp.2.%s.batched" % s.ser, "wamp.2." + s.ser])
    eq(a.t.ws.subprotocol, "wamp.2.%s.batched" % s.ser)
    b = await s.join(2, subprotocols=["wamp.2." + s.ser])
    uri = s.uri()
    await a.register(uri)
    await a.subscribe(uri)
    request = await b.call_start(uri, [1], {"x": "y"})
    invocation = await a.inv()
    eq(pl(invocation), ([1], {"x": "y"}))
    await a.yield_(invocation, [2])
    eq(pl(await b.call_end(request))[0], [2])
    await b.publish(uri, [3])
    eq(pl(await a.event())[0], [3])
    # Twenty in one frame, answered in their order.
    first = a.rid + 1
    messages = [a.ser.dumps([PUBLISH, a.nid(), {"acknowledge": True, "exclude_me": False}, uri, [n]]) for n in range(20)]
    await a.t.ws.send(batch(messages))
    published, events = [], []
    while len(published) + len(events) < 40:
        message = await a.recv()
        (published if message[0] == PUBLISHED else events).append(message)
    eq([m[1] for m in published], list(range(first, first + 20)))
    eq([pl(m)[0][0] for m in events], list(range(20)))


@case("websocket-bad-batches", "rule.websocket.batched")
async def _(s):
    """an empty batch and one that ends within a message end the connection"""
    whole = data(s, [SUBSCRIBE, 1, {}, s.uri()])
    broken = whole if s.ser == "json" else struct.pack(">I", len(whole) + 1) + whole
    for bad in (b"", broken):
        peer = await s.join(2, subprotocols=["wamp.2.%s.batched" % s.ser])
        await peer.t.ws.send(bad.decode() if s.ser == "json" else bad)
        await closed_ws(peer)


@case("longpoll-session", "rule.longpoll")
async def _(s):
    """open, send, receive and close: calls and events with a session on a WebSocket, one message an answer"""
    a, b = await asyncio.gather(s.join(0, url=s.longpoll_url(0)), s.join(2))
    uri = s.uri()
    await a.register(uri)
    await a.subscribe(uri)
    request = await b.call_start(uri, [1], {"x": "y"})
    invocation = await a.inv()
    eq(pl(invocation), ([1], {"x": "y"}))
    await a.yield_(invocation, [2])
    eq(pl(await b.call_end(request))[0], [2])
    for n in range(5):
        await b.publish(uri, [n])
    eq([pl(await a.event())[0][0] for _ in range(5)], list(range(5)))
    await a.t.close()
    eq((await a.t.post(a.t.base + "/receive"))[0], 404)
    # Its registration went with it.
    await raises(b.call(uri), "wamp.error.no_such_procedure", "wamp.error.canceled")


@case("longpoll-batched", "rule.longpoll")
async def _(s):
    """the batched protocols: all that is there in one answer"""
    a, b = await asyncio.gather(s.join(0, url=s.longpoll_url(0), batched=True), s.join(2))
    uri = s.uri()
    await a.subscribe(uri)
    for n in range(5):
        await b.publish(uri, [n])
    eq([pl(await a.event())[0][0] for _ in range(5)], list(range(5)))


@case("longpoll-unpolled", "rule.longpoll")
async def _(s):
    """a session whose messages nobody asks for ends after a while"""
    a, b = await asyncio.gather(s.join(0, url=s.longpoll_url(0)), s.join(2))
    await b.subscribe("wamp.session.on_leave")
    while pl(await b.event())[0][0] != a.session:
        pass
    eq((await a.t.post(a.t.base + "/receive"))[0], 404)
