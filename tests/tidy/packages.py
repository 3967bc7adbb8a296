"""Rules over the packages that we build on. Knows nothing of our own files."""

import json
import re
import subprocess

CRATES_MAX = 110
MSRV = (1, 85)


class Graph:
    """The package graph as cargo resolved it."""

    def __init__(self, metadata):
        self.packages = {package["id"]: package for package in metadata["packages"]}
        self.nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
        self.root = metadata["resolve"]["root"]

    @classmethod
    def of(cls, root):
        host = re.search(r"host: (\S+)", output(["rustc", "-vV"], root))[1]
        metadata = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host]
        return cls(json.loads(output(metadata, root)))

    def is_macro(self, package):
        return any("proc-macro" in target["kind"] for target in self.packages[package]["targets"])

    def reach(self, start, kinds):
        """Every package reached from `start` over dependencies of these kinds."""
        seen, todo = set(), [start]
        while todo:
            package = todo.pop()
            if package in seen:
                continue
            seen.add(package)
            for dependency in self.nodes[package]["deps"]:
                if any(kind["kind"] in kinds for kind in dependency["dep_kinds"]):
                    todo.append(dependency["pkg"])
        return seen

    def linked(self):
        """What ends up in the binaries: macros and what only they use runs at build time instead."""
        seen, todo = set(), [self.root]
        while todo:
            package = todo.pop()
            if package in seen or self.is_macro(package):
                continue
            seen.add(package)
            for dependency in self.nodes[package]["deps"]:
                if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                    todo.append(dependency["pkg"])
        return seen - {self.root}

    def counts(self):
        linked = self.linked()
        everything = self.reach(self.root, {None, "build"}) - {self.root}
        return {"crates": len(linked), "buildCrates": len(everything - linked)}


def output(command, folder):
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def check(graph):
    """Every violation, as text."""
    found = []
    crates = graph.counts()["crates"]
    if crates > CRATES_MAX:
        found.append(f"Cargo.toml:1: {crates} crates in the binary, at most {CRATES_MAX}; drop one or its features")
    # Dev-dependencies too: whoever builds with the oldest compiler also wants to test with it.
    for package in sorted(graph.reach(graph.root, {None, "build", "dev"})):
        needs = graph.packages[package]["rust_version"]
        if needs and version(needs) > MSRV:
            name = f"{graph.packages[package]['name']} {graph.packages[package]['version']}"
            found.append(
                f"Cargo.lock:1: {name} needs Rust {needs}, we promise {MSRV[0]}.{MSRV[1]}; "
                "pin an older one with cargo update -p NAME --precise VERSION"
            )
    return found


def version(text):
    """`1.85.0` as (1, 85)."""
    return tuple(int(part) for part in text.split(".")[:2])
