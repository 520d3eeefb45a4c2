#!/usr/bin/env python3
"""Runs the cases of the conformance table: each in three serializers, with its sessions on one node and spread over three.

    table.py --json FILE [--only PATTERN] [--variant PATTERN] [--jobs N] [--stop-pid PID]

Nodes as for run.py: WAMP_URLS and RAWSOCKET_URLS, three each, of a cluster with the settings in tests/wamp_table.rs. `--stop-pid` is the
process of the third node, which the last cases end. FILE gets, for each case, the rows it shows and how each variant went. Exit
status 1 on a failure; last line `N passed, M failed, K skipped`.
"""
import argparse, asyncio, fnmatch, importlib, json, logging, os, sys, time, traceback
os.environ.setdefault("SETTLE", "0")
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import stage, wamplib as w
from stage import PLACES, SERIALIZERS, Skip, Stage

MODULES = ["announced", "calls", "cancels", "parts", "callees", "events", "kept", "meta", "sessions", "logins", "transports", "passthru", "reflection",
           "closing"]
CASE_SECONDS = 40


def load():
    for name in MODULES:
        importlib.import_module("rows." + name)
    names = [case.name for case in stage.CASES]
    assert len(set(names)) == len(names), "double names: %s" % sorted(n for n in names if names.count(n) > 1)
    return stage.CASES


async def announced(nodes):
    """what each role of the router announces"""
    peer = await w.Peer.join(nodes[0])
    roles = {role: of.get("features") or {} for role, of in peer.welcome["roles"].items()}
    await peer.close()
    return roles


async def run(case, s, roles):
    """(passed, failed or skipped; why)"""
    begun = time.monotonic()
    try:
        if case.needs and not roles.get(case.needs[0], {}).get(case.needs[1]):
            raise Skip("%s does not announce %s" % case.needs)
        await asyncio.wait_for(case.fn(s), CASE_SECONDS)
        return "passed", ""
    except Skip as e:
        return "skipped", str(e)
    except (asyncio.TimeoutError, TimeoutError):
        return "failed", "no end within %.0f s" % (time.monotonic() - begun)
    except (w.WampError, w.Quiet, w.Closed) as e:
        return "failed", "%s: %s, at line %s" % (type(e).__name__, str(e)[:260], line_of(e, case))
    except Exception as e:
        return "failed", "%s: %s, at line %s" % (type(e).__name__, str(e)[:260], line_of(e, case))
    finally:
        await s.close()


def line_of(error, case):
    """the innermost line of the case's own file"""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(case.file)]
    return lines[-1] if lines else "?"


async def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--json", default="")
    ap.add_argument("--only", default="*")
    ap.add_argument("--variant", default="*")
    ap.add_argument("--jobs", type=int, default=12)
    ap.add_argument("--stop-pid", type=int, default=0)
    ap.add_argument("--slow", type=int, default=0, help="print the slowest runs")
    a = ap.parse_args()
    stage.STOP_PID = a.stop_pid
    # What ends a node needs one to end.
    cases = [case for case in load() if fnmatch.fnmatch(case.name, a.only) and (a.stop_pid or not case.last)]
    nodes, raw = (w.URLS * 3)[:3], (w.RAW * 3)[:3]
    roles = await announced(nodes)
    jobs, words = asyncio.Semaphore(a.jobs), {case.alone: asyncio.Lock() for case in cases if case.alone}
    results = {case.name: {} for case in cases}
    times = []

    async def one(case, place, serializer):
        s = Stage(nodes, raw, place, serializer)
        if not fnmatch.fnmatch(s.variant, a.variant):
            return
        if case.last:
            outcome = await run(case, s, roles)
        else:
            async with words.get(case.alone) or asyncio.Semaphore(1), jobs:
                begun = time.monotonic()
                outcome = await run(case, s, roles)
                times.append((time.monotonic() - begun, case.name, s.variant))
        results[case.name][s.variant] = outcome

    begun = time.monotonic()
    for last in (False, True):
        # Those that have to wait for each other first: they must not be what is left at the end.
        chosen = sorted((case for case in cases if case.last == last), key=lambda case: not case.alone)
        await asyncio.gather(*[one(case, place, ser) for case in chosen for place in PLACES for ser in SERIALIZERS])
    outcomes = [outcome for variants in results.values() for outcome, _ in variants.values()]
    for case in cases:
        for variant, (outcome, why) in results[case.name].items():
            if outcome != "passed":
                print("%-7s %-34s %-14s %s" % (outcome, case.name, variant, why))
    for seconds, name, variant in sorted(times, reverse=True)[:a.slow]:
        print("%6.2f s %-34s %s" % (seconds, name, variant))
    if a.json:
        told = {case.name: {"file": case.file, "about": case.doc, "rows": case.rows, "variants": {v: {"outcome": o, "why": y} for v, (o, y) in results[case.name].items()}}
                for case in cases}
        with open(a.json, "w") as file:
            json.dump({"cases": told}, file, indent=1)
    count = {word: outcomes.count(word) for word in ("passed", "failed", "skipped")}
    print("%d cases in %.0f s" % (len(cases), time.monotonic() - begun))
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % count)
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    sys.exit(asyncio.run(main()))
