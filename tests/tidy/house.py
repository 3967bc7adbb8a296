"""Rules over the house as its map draws it: the floors, the files that it names, and what doc comments say."""

import re

import sources

MAP = "src/lib.rs"
# A row of the map's table: the floor, the modules on it.
FLOOR = re.compile(r"^//! \| (\d+) \| ([^|]*) \|", re.MULTILINE)
NAMED = re.compile(r"\bcrate::(\w+)")
DOC = re.compile(r"\s*(//[/!])(?!/)(.*)")
DOC_WORDS_MIN = 3
# The doc line of a metric is its help text for whoever scrapes it.
METRIC = re.compile(r'\s*\w+: "(?:counter|gauge)"')


def check(tree):
    """Every violation, as text."""
    if MAP not in tree.paths:
        return []
    found = climbing(tree) + lost(tree)
    for path in tree.paths:
        if path.startswith(("src/", "tests/")) and path.endswith(".rs"):
            found += terse(path, tree.text(path).splitlines())
    return found


def floors(tree):
    """Each module of the map with its floor, as many as the table has."""
    rows = FLOOR.findall(tree.text(MAP))
    return {name: int(floor) for floor, names in rows for name in re.findall(r"`(\w+)/?`", names)}


def climbing(tree):
    """A module names only modules of lower floors, so that no two can need each other."""
    floor = floors(tree)
    found = []
    for path in tree.paths:
        if not (path.startswith("src/") and path.endswith(".rs")) or path == MAP or "/webchat/" in path:
            continue
        own = path.split("/")[1].removesuffix(".rs")
        if own not in floor:
            found.append(f"{MAP}:1: the map has no floor for `{own}`; add it to the table")
            continue
        if sources.is_test(path):
            continue
        for number, line in enumerate(sources.without_tests(tree.text(path), blanks=True), 1):
            if line.lstrip().startswith("//"):
                continue
            for name in NAMED.findall(line):
                if name != own and floor.get(name, -1) >= floor[own]:
                    found.append(
                        f"{path}:{number}: `{own}` (floor {floor[own]}) names `{name}` (floor {floor[name]}); "
                        "move what both need to a floor below"
                    )
    return sorted(set(found))


def lost(tree):
    """Files that the map names are there."""
    found = []
    for number, line in enumerate(tree.text(MAP).splitlines(), 1):
        for name in re.findall(r"`([\w/]+\.rs)`", line) if line.startswith("//!") else []:
            if not any(path == name or path.endswith(f"/{name}") for path in tree.paths):
                found.append(f"{MAP}:{number}: `{name}` is no file; the map has to follow the house")
    return found


def terse(path, lines):
    """A doc comment of one or two words leaves its reader with what the name says already."""
    found = []
    number = 0
    while number < len(lines):
        begin = number
        words = 0
        while number < len(lines) and (match := DOC.match(lines[number])):
            words += len(re.findall(r"[\w`]+", match[2]))
            number += 1
        if number == begin:
            number += 1
        elif words < DOC_WORDS_MIN and not (number < len(lines) and METRIC.match(lines[number])):
            found.append(f"{path}:{begin + 1}: a doc comment of {words} words; name the thing in a sentence, or delete it")
    return found
