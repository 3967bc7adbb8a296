//! Build script: turns this folder into what `net::http` serves. Knows nothing of HTTP.
//!
//! Every file but `index.html` gets a path with a hash of all of them in it, so that browsers may
//! keep it for ever; relative imports between the files stay as they are. `VERSION` in
//! `index.html` becomes that hash, and `RELEASE` the version of the package. Each file is embedded
//! compressed.

#![allow(clippy::print_stdout, reason = "a build script talks to cargo on stdout")]

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;

const FOLDER: &str = "src/webchat";
/// Served first, and under `/`.
const INDEX: &str = "index.html";

fn main() {
    println!("cargo::rerun-if-changed={FOLDER}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut names = Vec::new();
    collect(Path::new(FOLDER), &mut names);
    names.sort();
    let mut hasher = DefaultHasher::new();
    for name in &names {
        hasher.write(name.as_bytes());
        hasher.write(&read(name));
    }
    let version = format!("{:016x}", hasher.finish());
    let mut table = format!("const VERSION: &str = {version:?};\nconst FILES: &[File] = &[\n");
    for (number, name) in names.iter().enumerate() {
        let mut body = read(name);
        let mut path = format!("/webchat/{version}/{name}");
        if name == INDEX {
            let release = env::var("CARGO_PKG_VERSION").expect("cargo sets CARGO_PKG_VERSION");
            let text = String::from_utf8(body).expect("index.html is text");
            body = text.replace("VERSION", &version).replace("RELEASE", &release).into_bytes();
            "/".clone_into(&mut path);
        }
        write(&out.join(format!("{number}.gz")), &compress(&body));
        let kind = kind_of(name).expect("collected for its kind");
        let include = format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{number}.gz\"))");
        writeln!(table, "    File {{ path: {path:?}, kind: {kind:?}, gzip: {include} }},")
            .expect("memory takes it");
    }
    table.push_str("];\n");
    write(&out.join("pages.rs"), table.as_bytes());
}

/// What a browser is told the file is; `None` for files that are not for browsers.
fn kind_of(name: &str) -> Option<&'static str> {
    match Path::new(name).extension()?.to_str()? {
        "html" => Some("text/html; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

/// Names of the files to serve, relative to the folder.
fn collect(folder: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            collect(&path, names);
        } else if let Some(name) = path.strip_prefix(FOLDER).ok().and_then(Path::to_str) {
            if kind_of(name).is_some() {
                names.push(name.to_owned());
            }
        }
    }
}

fn compress(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(FOLDER).join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, body: &[u8]) {
    fs::write(path, body).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
