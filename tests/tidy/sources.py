"""Rules over the project's own files. Knows nothing of packages."""

import json
import os
import re
import subprocess

FILE_LINES_MAX = 500
RUST_LINES_TARGET = 8_000
TOP_LEVEL = {
    "Cargo.toml", "Cargo.lock", "src", "schemas", "tests", "scripts",
    "README.md", "CHANGELOG.md", "LICENSE",
}  # and dot files
CODE = {".rs", ".mjs", ".js", ".ts", ".sh", ".py"}
# Broken up, so that the rules do not find themselves.
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b|\b(?:to" r"do|unim" r"plemented)!|#\[ig" r"nore")
UNSAFE = re.compile(r"\buns" r"afe\s*(?:\{|fn\b|impl\b|extern\b|trait\b|\()|allow\(uns" r"afe_code")
PLACES = re.compile(r"(?<![\w.*])/(?:wo" r"rk|ro" r"ot|ho" r"me)/|/tm" r"p/w/|\.\./sha" r"red")
# The agent writes what it likes into its own folder: one module reaches it, by descriptors.
AGENT_FOLDER = "src/store/agent_folder.rs"
AGENT_FOLDER_NAMED = re.compile(r'\bagent_sessions\b|\bjoin\("agent"\)|folder\("agent"|"agent/')
PATH_CALL = re.compile(
    r"(?<![\w:])(?:std::)?fs::\w+\s*\(|\bFile::(?:open|create|options)|\bOpenOptions\b|\bDirBuilder\b"
    r"|\.(?:exists|try_exists|is_file|is_dir|metadata|symlink_metadata|read_dir|read_link|canonicalize)\(\)"
)
# What it hands out is for an agent's command line. The one who goes there by path is bubblewrap: a descriptor
# would have to be left open through the guard, and not every version takes one. Only a process without
# walls can put something else there meanwhile, and that needs no trick.
AGENT_FOLDER_PATH = re.compile(r"\bagent_folder::path\b|\bsession\.own\b|\bfile\.folder\b")
RESOLVED = re.compile(PATH_CALL.pattern + r"|\b(?:real|may_exist|given|canonicalize|metadata|try_exists)\s*\(")
# What letting somebody in means has to be said in words, wherever a reader may be told how to do it.
LET_IN_SAID = "Whoever you let in"
LET_IN_SECTIONS = ["Telegram", "WhatsApp", "Security"]
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


class Tree:
    """The files that belong to the project: tracked or about to be."""

    def __init__(self, root, paths=None):
        self.root = root
        self.paths = sorted(paths if paths is not None else self._listed())

    def _listed(self):
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=self.root, check=True, stdout=subprocess.PIPE,
        ).stdout.decode()
        return [path for path in listing.split("\0") if path and (self.root / path).is_file()]

    def text(self, path):
        """The file's text, or None if it is not text."""
        try:
            return (self.root / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return None

    def code(self):
        """Paths of files that people read as code."""
        return [path for path in self.paths if is_code(self.root, path)]


def is_code(root, path):
    if "/vendor/" in path or ".min." in path:
        return False
    if os.path.splitext(path)[1] in CODE:
        return True
    # Our scripts have no suffix.
    return path.startswith(("scripts/", ".ci/")) and (root / path).read_bytes().startswith(b"#!")


def check(tree):
    """Every violation, as text."""
    found = top_level(tree) + executables(tree) + sizes(tree) + lock_files(tree) + agent_folder(tree) + let_in(tree)
    for path in tree.paths:
        text = tree.text(path)
        if text is not None:
            found += in_text(path, text, is_code(tree.root, path))
    return found


def top_level(tree):
    names = {path.split("/")[0] for path in tree.paths}
    return [
        f"{name}: not one of the project's top-level entries; move it into one of them"
        for name in sorted(names - TOP_LEVEL)
        if not name.startswith(".")
    ]


def executables(tree):
    found = []
    for path in tree.paths:
        script = (tree.root / path).read_bytes()[:2] == b"#!"
        runnable = os.access(tree.root / path, os.X_OK)
        if script and not runnable:
            found.append(f"{path}:1: has a #! line but is not executable; chmod +x it")
        if path.startswith("scripts/") and path.count("/") == 1 and not runnable:
            found.append(f"{path}:1: every file directly in scripts/ is run by people; chmod +x it or move it")
    return found


def sizes(tree):
    found = []
    for path in tree.code():
        lines = len((tree.text(path) or "").splitlines())
        if lines > FILE_LINES_MAX:
            found.append(f"{path}:{FILE_LINES_MAX + 1}: {lines} lines, at most {FILE_LINES_MAX}; split it by what it does")
    return found


def is_test(path):
    """Whether a Rust file under src/ holds nothing but tests."""
    return path.endswith(("/tests.rs", "_tests.rs")) or "/tests/" in path


def rust_lines(tree):
    """Lines of code under src/: no blank lines, no comments, no test modules. A target, not a rule."""
    return sum(
        sum(1 for line in without_tests(tree.text(path)) if line.strip() and not line.lstrip().startswith("//"))
        for path in tree.paths
        if path.startswith("src/") and path.endswith(".rs") and not is_test(path)
    )


def without_tests(text, blanks=False):
    """Lines of a Rust file without its `#[cfg(test)]` items, which rustfmt ends at column 0 or at `;`; with
    `blanks` an empty line stands for each of theirs."""
    kept, inside, pending = [], False, False
    for line in text.splitlines():
        if inside:
            inside = not line.startswith("}")
        elif line.startswith("#[cfg(test)]"):
            pending = True
        elif pending:
            pending = line.startswith("#[")
            inside = not pending and line.endswith("{")
        else:
            kept.append(line)
            continue
        if blanks:
            kept.append("")
    return kept


def in_text(path, text, code):
    """Rules that look at single lines."""
    found = []
    if path.endswith(".rs") and not text.startswith(("//!", "#!")):
        found.append(f"{path}:1: does not begin with `//!`; say what the module is for and what it must not know")
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{path}:{number}:"
        if code and (match := UNFINISHED.search(line)):
            found.append(f"{place} `{match[0]}` marks something unfinished; finish it or leave it out")
        if path.endswith(".rs") and UNSAFE.search(line):
            found.append(f"{place} unsafe code; use rustix or std")
        if match := PLACES.search(line):
            found.append(f"{place} `{match[0]}` is a place on somebody's machine; make it relative or configurable")
    return found


def agent_folder(tree):
    """Only one module touches the agent's folder, and it never by a path."""
    found = []
    for path in tree.paths:
        if not (path.startswith("src/") and path.endswith(".rs")) or "tests" in path:
            continue
        for number, line in enumerate(without_tests(tree.text(path), blanks=True), 1):
            if line.lstrip().startswith("//"):
                continue
            place = f"{path}:{number}:"
            if path != AGENT_FOLDER and (match := AGENT_FOLDER_NAMED.search(line)):
                found.append(f"{place} `{match[0]}` reaches for the agent's folder; what is done there is for {AGENT_FOLDER}")
            if path != AGENT_FOLDER and AGENT_FOLDER_PATH.search(line) and (match := RESOLVED.search(line)):
                found.append(f"{place} `{match[0]}` resolves a path into the agent's folder; hand it on as it is")
            if path == AGENT_FOLDER and (match := PATH_CALL.search(line)):
                found.append(f"{place} `{match[0]}` follows what the agent has planted; go through a FolderHandle")
    return found


def let_in(tree):
    """The README says what letting somebody in means, in each part that tells how."""
    if "README.md" not in tree.paths:
        return []
    sections = {}
    title = None
    for line in tree.text("README.md").splitlines():
        if line.startswith("## "):
            title = line[3:].strip()
        sections[title] = f"{sections.get(title, '')} {line.strip()}"
    return [
        f"README.md:1: no `{LET_IN_SAID}` in its part `## {title}`; say there in a plain sentence what letting somebody in means"
        for title in LET_IN_SECTIONS
        if LET_IN_SAID not in sections.get(title, "")
    ]


def lock_files(tree):
    """Lock files work with any mirror only if they name none."""
    found = []
    for path in tree.paths:
        if path == "Cargo.lock":
            for number, line in enumerate(tree.text(path).splitlines(), 1):
                if line.startswith("source = ") and line != f'source = "{CRATES_IO}"':
                    found.append(f"{path}:{number}: {line}; use packages of crates.io only")
        if path.endswith("package-lock.json"):
            packages = json.loads(tree.text(path)).get("packages", {})
            named = [name for name, package in packages.items() if "resolved" in package]
            if named:
                found.append(
                    f"{path}:1: names the registry of {len(named)} packages; "
                    "make it with npm install --package-lock-only --omit-lockfile-registry-resolved"
                )
    return found
