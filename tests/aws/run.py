"""Runs the tests of this directory; the last line is the one that scripts/check counts."""

import sys
import unittest


def main():
    loader = unittest.defaultTestLoader
    names = sys.argv[1:]
    tests = loader.loadTestsFromNames(names) if names else loader.discover(".")
    result = unittest.TextTestRunner(verbosity=2).run(tests)
    broken = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print(f"{result.testsRun - broken} passed, {broken} failed")
    return 0 if broken == 0 and result.testsRun > 0 else 1


sys.exit(main())
