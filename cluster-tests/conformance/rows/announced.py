"""What the router announces in WELCOME."""
import os, tomllib
from stage import case
from wamplib import eq

LIST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "rows.toml")


def feature_rows():
    with open(LIST, "rb") as file:
        sections = tomllib.load(file)["section"]
    return [row for section in sections if section["id"] == "feature" for row in section["rows"]]


ROWS = feature_rows()


@case("features-announced", " ".join(row["id"] for row in ROWS if "exception" not in row))
async def _(s):
    """WELCOME announces every feature of the list, in each role of the router that the list names, and none with another value than true"""
    roles = (await s.join(2)).welcome["roles"]
    eq(sorted(roles), ["broker", "dealer"])
    for row in ROWS:
        for role in row["roles"]:
            if "exception" not in row:
                eq(roles[role]["features"].get(row["id"].split(".")[1]), True, "%s in %s" % (row["id"], role))
    for role, of in roles.items():
        known = {row["id"].split(".")[1] for row in ROWS if role in row["roles"]}
        for name, value in of["features"].items():
            eq(value, True, name)
            # What is of a client and not of the text says so.
            assert name in known or name.startswith("x_"), "%s announces %s, which the list does not know" % (role, name)
