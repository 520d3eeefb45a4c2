"""What ends a node, and so comes last."""
import asyncio, os, signal
import stage
from stage import case
from wamplib import *

WAITING = []


@case("system-shutdown", "uri.system_shutdown", last=True)
async def _(s):
    """a node that stops says GOODBYE with wamp.close.system_shutdown to its sessions, and the others hear that they left"""
    # The node that is stopped is the third one, whichever the variant.
    leaving = await s.join(2, url=s.nodes[2])
    near = await s.join(0)
    await near.subscribe("wamp.session.on_leave")
    WAITING.append(s)
    # Any variant that got this far will do; those that did not have failed by then.
    await asyncio.sleep(3)
    if WAITING and WAITING[0] is s and stage.STOP_PID:
        os.kill(stage.STOP_PID, signal.SIGTERM)
    eq(await leaving.ended(), ("goodbye", "wamp.close.system_shutdown"))
    await leaving.send([GOODBYE, {}, "wamp.close.goodbye_and_out"])
    await near.expect(lambda m: m[0] == EVENT and pl(m)[0][0] == leaving.session, 15)
