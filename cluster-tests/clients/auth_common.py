"""What the scripts of authentication share: the attempts they are given.

The last argument of each script is a JSON list of attempts, each `{"method", "authid", "secret", "role"}`; `method` is one of `ticket`,
`wampcra`, `scram`, `wamp-scram`, `cryptosign` (secret: the seed of the key, in hex) and `anonymous`. Every attempt is made with its secret,
which must succeed as that authid in that role, and, where it has one, with a wrong secret, which must be refused.
"""
import json
import sys


def attempts():
    return json.loads(sys.argv[-1])


def wrong(attempt):
    """the same attempt with another secret of the same form"""
    secret = attempt["secret"]
    changed = secret[:-1] + ("1" if secret[-1] != "1" else "2")
    return dict(attempt, secret=changed)
