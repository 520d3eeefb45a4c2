"""What the scripts of authentication share: the attempts they are given, and how they tell what came of them.

The last argument of each script is a JSON list of attempts, each `{"method", "authid", "secret", "role"}`; `method` is one of `ticket`,
`wampcra`, `scram`, `wamp-scram`, `cryptosign` (secret: the seed of the key, in hex) and `anonymous`. Every attempt is made with its secret,
which must succeed as that authid in that role, and, where it has one, with a wrong secret, which must be refused.
"""
import asyncio
import json
import sys


def attempts():
    return json.loads(sys.argv[-1])


def wrong(attempt):
    """the same attempt with another secret of the same form"""
    secret = attempt["secret"]
    changed = secret[:-1] + ("1" if secret[-1] != "1" else "2")
    return dict(attempt, secret=changed)


async def all_of(named):
    """makes (name, coroutine) one after the other and prints how each went; the exit code of the script"""
    passed = failed = 0
    for name, attempt in named:
        try:
            await asyncio.wait_for(attempt, 60)
            passed += 1
            print(f"ok    {name}", flush=True)
        except Exception as e:
            failed += 1
            print(f"FAIL  {name}: {type(e).__name__}: {e}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0
