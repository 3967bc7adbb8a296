"""Every rule, shown to fail on a violation and to pass without one."""

import tempfile
import unittest
from pathlib import Path

import house
import packages
import sources


README = "# A\n" + "".join(f"\n## {title}\n\n**{sources.LET_IN_SAID} may.**\n" for title in sources.LET_IN_SECTIONS)


def tree(files):
    """A folder with these files."""
    folder = tempfile.TemporaryDirectory()
    root = Path(folder.name)
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    made = sources.Tree(root, list(files))
    made.folder = folder  # removed with the tree
    return made


class House(unittest.TestCase):
    MAP = "//! | 2 | `top`, `beside` | all |\n//! | 1 | `base/` | see `base/mod.rs` |\n"

    def found(self, files):
        return house.check(tree({"src/lib.rs": self.MAP, "src/base/mod.rs": "//! The ground of it.\n", **files}))

    def test_a_house_in_order_passes(self):
        top = "//! The top of it.\nuse crate::base::A;\n// crate::beside is only talked about\n"
        tested = "#[cfg(test)]\nmod tests {\n    use crate::beside::B;\n}\n"
        self.assertEqual(self.found({"src/top.rs": top + tested, "src/beside.rs": "//! Stands beside it.\n"}), [])

    def test_climbing(self):
        for name in ["base/a.rs", "beside.rs"]:
            found = self.found({f"src/{name}": "//! A small thing.\nfn a() { crate::top::b() }\n"})
            self.assertEqual([line.split(": ")[0] for line in found], [f"src/{name}:2"])

    def test_no_floor(self):
        self.assertTrue(self.found({"src/new.rs": "//! A new thing.\n"})[0].startswith("src/lib.rs:1: the map has no floor"))

    def test_a_map_of_what_is_gone(self):
        found = house.check(tree({"src/lib.rs": self.MAP}))
        self.assertTrue(found[0].startswith("src/lib.rs:2: `base/mod.rs`"), found)

    def test_terse_doc_comments(self):
        for doc in ["/// Which.", "/// Who asks.", "//! Tests."]:
            self.assertEqual(len(house.terse("src/a.rs", ["//! A file of it.", "", doc, "fn a() {}"])), 1)
        for lines in [["/// Two words", "/// and more.", "fn a() {}"], ["/// Runs waiting.", 'runs: "gauge" = "x";'], ["// Short."]]:
            self.assertEqual(house.terse("src/a.rs", lines), [])


class Sources(unittest.TestCase):
    def assert_one(self, files, place):
        found = sources.check(tree(files))
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(place), found)

    def test_a_clean_tree_passes(self):
        self.assertEqual(sources.check(tree({"src/lib.rs": "//! A.\n", "README.md": README, ".gitignore": "x\n"})), [])

    def test_top_level(self):
        self.assert_one({"notes.txt": ""}, "notes.txt:")

    def test_executables(self):
        self.assert_one({"tests/a.py": "#!/usr/bin/env python3\n"}, "tests/a.py:1:")

    def test_long_file(self):
        self.assert_one({"tests/a.py": "a\n" * 501}, "tests/a.py:501:")

    def test_only_code_counts_as_rust(self):
        files = {"src/a.rs": "//! A.\n\nfn a() {}\n// why\n", "src/a/tests.rs": "//! T.\nfn t() {}\n",
                 "src/a/tests/b.rs": "//! T.\nfn t() {}\n", "tests/it/b.rs": "fn b() {}\n"}
        self.assertEqual(sources.rust_lines(tree(files)), 1)

    def test_module_without_purpose(self):
        self.assert_one({"src/a.rs": "use b;\n"}, "src/a.rs:1:")

    def test_unfinished(self):
        for word in ["// TO" + "DO later", "to" + "do!()", "#[ig" + "nore]", "# X" + "XX"]:
            self.assert_one({"src/a.rs": f"//! A.\n{word}\n"}, "src/a.rs:2:")

    def test_unsafe(self):
        self.assert_one({"src/a.rs": "//! A.\nuns" + "afe { a() }\n"}, "src/a.rs:2:")

    def test_places(self):
        for place in ["/wo" + "rk/a", "../sha" + "red/a", "'/ro" + "ot/.cargo'"]:
            self.assert_one({"README.md": f"see {place}\n{README}"}, "README.md:1:")

    def test_the_readme_says_what_letting_somebody_in_means(self):
        for title in sources.LET_IN_SECTIONS:
            heading = f"\n## {title}\n\n**"
            for text in [
                README.replace(f"{heading}{sources.LET_IN_SAID}", f"{heading}Everybody"),
                # Of another part it says nothing.
                README.replace(f"{heading}", f"{heading}Nobody.\n\n## Another\n\n"),
                README.replace(f"## {title}", "## Another"),
            ]:
                self.assert_one({"README.md": text}, "README.md:1:")
                self.assertIn(f"`## {title}`", sources.check(tree({"README.md": text}))[0])
        # Where its lines break, and under which smaller heading it stands, is its own affair.
        text = README.replace("Whoever you", "Whoever\n  you").replace("\n\n**", "\n\n### A\n\n**")
        self.assertEqual(sources.check(tree({"README.md": text})), [])

    def test_the_agents_folder_is_for_one_module(self):
        for line in ['layout.agent_sessions()', 'root.join("agent")', 'root.make_folder("agent".as_ref())', 'open("agent/x")']:
            files = {"src/store/quota.rs": f"//! A.\n// {line}\nfn a() {{ {line} }}\n"}
            self.assert_one(files, "src/store/quota.rs:3:")
            self.assertEqual(sources.check(tree({"src/store/agent_folder.rs": files["src/store/quota.rs"]})), [])
        test = "//! A.\n#[cfg(test)]\nmod tests {\n    fn a() { root.join(\"agent\") }\n}\n"
        self.assertEqual(sources.check(tree({"src/store/quota.rs": test})), [])

    def test_the_agents_folder_is_reached_by_descriptors(self):
        for call in ["fs::read(path)", "std::fs::remove_dir_all(path)", "File::open(path)", "OpenOptions::new()", "path.is_dir()",
                     "path.metadata()", "path.try_exists()", "path.canonicalize()"]:
            text = f"//! A.\nuse std::fs;\n\nfn a() {{\n    {call};\n}}\n"
            self.assert_one({"src/store/agent_folder.rs": text}, "src/store/agent_folder.rs:5:")
            self.assertEqual(sources.check(tree({"src/store/quota.rs": text})), [])

    def test_the_agents_folder_is_handed_on_unresolved(self):
        for call in ["real(session.own)", "agent_folder::path(layout).canonicalize()", "file.folder.metadata()"]:
            text = f"//! A.\nfn a() {{\n    {call};\n}}\n"
            self.assert_one({"src/agent/sandbox/mod.rs": text}, "src/agent/sandbox/mod.rs:3:")
        handed = "//! A.\nfn a() {\n    walls(session.own.to_owned(), agent_folder::path(layout));\n}\n"
        self.assertEqual(sources.check(tree({"src/agent/sandbox/mod.rs": handed})), [])

    def test_lock_files(self):
        self.assert_one({"Cargo.lock": 'source = "registry+https://mirror.invalid"\n'}, "Cargo.lock:1:")
        lock = '{"packages": {"node_modules/a": {"version": "1.0.0", "resolved": "https://mirror.invalid/a"}}}'
        self.assert_one({"tests/pi/package-lock.json": lock}, "tests/pi/package-lock.json:1:")

    def test_test_modules_are_not_counted(self):
        text = "//! A.\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}\n"
        self.assertEqual(sources.without_tests(text), ["//! A.", "fn a() {}", "", "fn c() {}", "fn e() {}"])


class Packages(unittest.TestCase):
    def graph(self, edges, macros=(), versions=()):
        names = {name for edge in edges for name in edge[:2]}
        return packages.Graph({
            "packages": [
                {
                    "id": name, "name": name, "version": "1.0.0", "rust_version": dict(versions).get(name),
                    "targets": [{"kind": ["proc-macro" if name in macros else "lib"]}],
                }
                for name in names
            ],
            "resolve": {
                "root": "us",
                "nodes": [
                    {"id": name, "deps": [{"pkg": to, "dep_kinds": [{"kind": kind}]} for of, to, kind in edges if of == name]}
                    for name in names
                ],
            },
        })

    def test_macros_and_what_they_need_are_build_tools(self):
        edges = [("us", "a", None), ("us", "m", None), ("m", "syn", None), ("a", "b", "build"), ("us", "t", "dev")]
        self.assertEqual(self.graph(edges, macros=["m"]).counts(), {"crates": 1, "buildCrates": 3})

    def test_too_many(self):
        edges = [("us", f"a{n}", None) for n in range(111)]
        self.assertEqual(len(packages.check(self.graph(edges))), 1)
        self.assertEqual(packages.check(self.graph(edges[1:])), [])

    def test_too_new(self):
        edges = [("us", "a", None), ("a", "b", "build")]
        self.assertEqual(len(packages.check(self.graph(edges, versions={"b": "1.86"}))), 1)
        self.assertEqual(packages.check(self.graph(edges, versions={"b": "1.85.1", "a": "1.9"})), [])
