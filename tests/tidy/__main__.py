"""House rules that a tool can hold. One line per violation: place, what is wrong, what to do.

    python3 tests/tidy              check everything
    python3 tests/tidy --counts     the project's size as JSON (for the benchmark)
    python3 tests/tidy --self-test  show that every rule can fail
"""

import json
import sys
import unittest
from pathlib import Path

import house
import packages
import sources


def main(arguments):
    root = Path(__file__).resolve().parents[2]
    if arguments == ["--self-test"]:
        suite = unittest.defaultTestLoader.discover(Path(__file__).parent, "test_*.py")
        return 0 if unittest.TextTestRunner(verbosity=0).run(suite).wasSuccessful() else 1
    tree = sources.Tree(root)
    graph = packages.Graph.of(root)
    if arguments == ["--counts"]:
        counts = {"rustLines": sources.rust_lines(tree), **graph.counts()}
        print(json.dumps(counts))
        return 0
    violations = sources.check(tree) + house.check(tree) + packages.check(graph)
    for violation in violations:
        print(f"tidy: {violation}", file=sys.stderr)
    counts = graph.counts()
    print(
        f"tidy: {sources.rust_lines(tree)} lines of Rust without tests and comments (target {sources.RUST_LINES_TARGET}), "
        f"{counts['crates']} crates in the binary (at most {packages.CRATES_MAX}), "
        f"{counts['buildCrates']} more that only build it, {len(violations)} violations"
    )
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
