"""A lamp: registers lamp.set and lamp.get, publishes lamp.changed. Usage: lamp.py [URL] [REALM]"""

import os
import sys

from autobahn.asyncio.component import Component, run
from autobahn.wamp.exception import ApplicationError

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
REALM = sys.argv[2] if len(sys.argv) > 2 else "realm1"

authentication = {}
if "RINGFORT_TICKET" in os.environ:
    authentication["ticket"] = {"authid": os.environ["LAMP_AUTHID"], "ticket": os.environ["RINGFORT_TICKET"]}

lamp = Component(
    # max_retries -1: a device tries for ever.
    transports=[{"type": "websocket", "url": URL, "max_retries": -1, "initial_retry_delay": 0.5, "max_retry_delay": 10}],
    realm=REALM,
    authentication=authentication,
)
is_on = False


@lamp.on_join
async def joined(session, details):
    async def set_lamp(value=None, on=None):
        global is_on
        wanted = on if value is None else value
        if not isinstance(wanted, bool):
            raise ApplicationError("wamp.error.invalid_argument", "lamp.set takes true or false, or on=true or on=false")
        if wanted != is_on:
            is_on = wanted
            print("lamp", "on" if is_on else "off", flush=True)
            session.publish("lamp.changed", is_on)
        return is_on

    async def get_lamp():
        return is_on

    await session.register(set_lamp, "lamp.set")
    await session.register(get_lamp, "lamp.get")
    print("ready", flush=True)


if __name__ == "__main__":
    run([lamp], log_level="warn")
