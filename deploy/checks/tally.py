"""Counts checks and prints what `cargo xtask test` reads: a line a failure, and `test result:` at the end."""

import os
import pathlib
import subprocess
import sys
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").absolute()


class Tally:
    """What passed and failed."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, name, good, why=""):
        """Counts one check; `why` is told if it is not good."""
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(f"test {name} ... FAILED", flush=True)
            print("  " + str(why).strip()[:4000].replace("\n", "\n  "), flush=True)
        return good

    def run(self, name, function, *arguments):
        """Counts a function as one check, unless it returns how many it has counted itself: it fails if it raises."""
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it was, the run goes on and tells it
            place = "".join(traceback.format_tb(error.__traceback__)[-1:])
            self.check(name, False, f"{error}\n{place}")
        else:
            self.check(name, True)

    def close(self):
        """Prints the sum and ends the process."""
        good = self.failed == 0 and self.passed > 0
        word = "ok" if good else "FAILED"
        print(f"test result: {word}. {self.passed} passed; {self.failed} failed; 0 ignored")
        sys.exit(0 if good else 1)


def output(command, **options):
    """Runs a command; its output and error text together, and whether it ended well."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False, **options)
    return done.returncode == 0, done.stdout


def must(command, **options):
    """Runs a command that has to end well; its standard output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
