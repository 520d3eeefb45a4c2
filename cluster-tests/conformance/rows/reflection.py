"""Reflection: what topics, procedures and errors there are and what they mean."""
from stage import case
from wamplib import *
from rows.meta import Watch, ask

BROKER, DEALER = ("broker", "reflection"), ("dealer", "reflection")
