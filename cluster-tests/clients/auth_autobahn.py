#!/usr/bin/env python3
"""autobahn-python proves itself by each method it has, with its own authenticators.

    auth_autobahn.py URLS ATTEMPTS      URLS: ws://host:port/path, joined by commas; ATTEMPTS: see auth_common.py
"""
import asyncio
import logging
import sys
from urllib.parse import urlparse

import txaio

txaio.use_asyncio()

from all_of import all_of
from auth_common import attempts, wrong
from autobahn.asyncio.wamp import ApplicationSession
from autobahn.asyncio.websocket import WampWebSocketClientFactory
from autobahn.wamp.auth import create_authenticator
from autobahn.wamp.types import ComponentConfig

REALM = "realm1"
PATIENCE = 20


def authenticator(attempt):
    method, authid, secret = attempt["method"], attempt["authid"], attempt.get("secret")
    return {
        "anonymous": lambda: create_authenticator("anonymous"),
        "ticket": lambda: create_authenticator("ticket", authid=authid, ticket=secret),
        "wampcra": lambda: create_authenticator("wampcra", authid=authid, secret=secret),
        "scram": lambda: create_authenticator("scram", authid=authid, password=secret),
        "cryptosign": lambda: create_authenticator("cryptosign", authid=authid, privkey=secret),
    }[method]()


class Session(ApplicationSession):
    """Joins with one authenticator and tells what came of it."""

    def __init__(self, attempt):
        super().__init__(ComponentConfig(REALM, {}))
        self.attempt, self.authenticator = attempt, authenticator(attempt)
        loop = asyncio.get_running_loop()
        self.joined, self.gone, self.answered = loop.create_future(), loop.create_future(), False

    def onConnect(self):
        self.join(
            REALM,
            authmethods=[self.attempt["method"]],
            authid=self.attempt["authid"],
            authextra=self.authenticator.authextra,
        )

    def onChallenge(self, challenge):
        signature = self.authenticator.on_challenge(self, challenge)
        return signature.decode() if isinstance(signature, bytes) else signature

    def onWelcome(self, welcome):
        complaint = self.authenticator.on_welcome(self, welcome.authextra)
        # Only SCRAM proves the router to the client.
        self.answered = self.attempt["method"] == "scram" and complaint is None
        return complaint

    def onJoin(self, details):
        self.joined.set_result(details)

    def onLeave(self, details):
        if not self.joined.done():
            self.joined.set_exception(PermissionError(details.reason))
        self.disconnect()

    def onDisconnect(self):
        if not self.joined.done():
            self.joined.set_exception(RuntimeError("closed before the session began"))
        if not self.gone.done():
            self.gone.set_result(None)


async def join(url, attempt):
    made = []

    def create():
        made.append(Session(attempt))
        return made[0]

    factory = WampWebSocketClientFactory(create, url=url)
    parts = urlparse(url)
    await asyncio.get_running_loop().create_connection(factory, parts.hostname, parts.port)
    for _ in range(1000):
        if made:
            break
        await asyncio.sleep(0.01)
    details = await asyncio.wait_for(made[0].joined, PATIENCE)
    return made[0], details


async def succeeds(url, attempt):
    session, details = await join(url, attempt)
    got = (details.authrole, details.authmethod)
    assert got == (attempt["role"], attempt["method"]), got
    if attempt["method"] != "anonymous":
        assert details.authid == attempt["authid"], details.authid
    assert session.answered == (attempt["method"] == "scram"), "the router's own proof"
    assert await session.call("wamp.session.count") >= 1
    session.leave()
    await asyncio.wait_for(session.gone, PATIENCE)


async def is_refused(url, attempt):
    try:
        await join(url, attempt)
    except PermissionError as refusal:
        assert str(refusal) == "wamp.error.authentication_denied", refusal
    else:
        raise AssertionError("let in with a wrong secret")


def named(urls):
    for url in urls.split(","):
        for attempt in attempts():
            name = f"{attempt['method']} {attempt['authid']} {url}"
            yield name, succeeds(url, attempt)
            if attempt.get("secret"):
                yield name + " wrong", is_refused(url, wrong(attempt))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    logging.disable(logging.CRITICAL)
    sys.exit(asyncio.run(all_of(named(sys.argv[1]))))
