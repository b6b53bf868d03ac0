"""Runs some of CPython's tests inside a container, and writes a line for each: its result and its name.

    python3 unittest_results.py FILE SECONDS NAME...

Each line is written as the test ends, so that the file of a run that crashes tells how far it came.
"""

import faulthandler
import sys
import unittest

from test import support


class Lines(unittest.TestResult):
    """Writes each result to a file; a test counts as failed where one of its parts does."""

    def __init__(self, file):
        super().__init__()
        self.file = file
        self.last = None

    def startTest(self, test):
        super().startTest(test)
        self.last = "ok"

    def stopTest(self, test):
        super().stopTest(test)
        self.file.write(f"{self.last} {test.id()}\n")

    def _failed(self, test, error):
        self.last = "failed"
        sys.stderr.write(f"failed: {test.id()}\n{self._exc_info_to_string(error, test)}\n")
        if not isinstance(test, unittest.TestCase):  # the preparation of a class or a module
            self.file.write(f"failed {test.id()}\n")

    def addError(self, test, err):
        self._failed(test, err)

    def addFailure(self, test, err):
        self._failed(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self._failed(test, err)

    def addUnexpectedSuccess(self, test):
        self.last = "failed"

    def addSkip(self, test, reason):
        self.last = "skipped"
        if not isinstance(test, unittest.TestCase):
            self.file.write(f"skipped {test.id()}\n")


def main(path, seconds, *names):
    support.use_resources = []  # nothing that needs a network, a sound card or a quarter of an hour
    faulthandler.dump_traceback_later(float(seconds), exit=True)
    with open(path, "w", buffering=1, encoding="utf-8") as file:
        tests = unittest.defaultTestLoader.loadTestsFromNames(names)
        result = Lines(file)
        tests.run(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
