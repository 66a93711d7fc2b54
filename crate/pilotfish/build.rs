//! Embeds `shaders/` and validates every combination of kernel and slots with naga: a bad shader fails the build, not the page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "src/gpu/wgsl.rs"]
mod wgsl;

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../shaders");
    println!("cargo::rerun-if-changed={}", root.display());
    println!("cargo::rerun-if-changed=src/gpu/wgsl.rs");
    let kernels = read(&root);
    let shared = read(&root.join("shared"));
    let find = |name: &str| kernels.get(name).or_else(|| shared.get(name)).map(String::as_str);
    for (name, text) in &kernels {
        for slots in combinations(text, &shared) {
            let slots: Vec<(&str, &str)> = slots.iter().map(|(slot, value)| (slot.as_str(), value.as_str())).collect();
            validate(name, &slots, &find);
        }
    }
    let mut out = String::from(
        "/// Every file of `shaders/`, comments removed, by stem.\npub(crate) const SOURCES: &[(&str, &str)] = &[\n",
    );
    for (name, text) in kernels.iter().chain(&shared) {
        let _ = writeln!(out, "    ({name:?}, {text:?}),");
    }
    out.push_str("];\n");
    let path = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("shaders.rs");
    fs::write(path, out).expect("OUT_DIR is writable");
}

/// Reads a folder's `.wgsl` files by stem, without comments, indentation and blank lines: a page downloads them.
fn read(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let Ok(entries) = fs::read_dir(folder) else { return files };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "wgsl") {
            let stem = path.file_stem().expect("it has an extension").to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("a shader file is UTF-8");
            let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
            files.insert(
                stem,
                lines.filter(|line| !line.is_empty()).fold(String::new(), |text, line| text + line + "\n"),
            );
        }
    }
    files
}

/// Every way to fill the slots of `text`: a slot's values are the shared files whose names match the import.
fn combinations(text: &str, shared: &BTreeMap<String, String>) -> Vec<Vec<(String, String)>> {
    let mut all = vec![Vec::new()];
    for import in text.lines().filter_map(|line| line.strip_prefix(wgsl::IMPORT)) {
        let Some((prefix, slot)) = import.trim().split_once('{') else { continue };
        let slot = slot.trim_end_matches('}');
        let values: Vec<&str> = shared.keys().filter_map(|name| name.strip_prefix(prefix)).collect();
        assert!(!values.is_empty(), "`{import}` matches no file in shaders/shared");
        all = all
            .into_iter()
            .flat_map(|slots: Vec<(String, String)>| {
                values.iter().map(move |value| {
                    let mut slots = slots.clone();
                    slots.push((slot.to_owned(), (*value).to_owned()));
                    slots
                })
            })
            .collect();
    }
    all
}

fn validate<'a>(name: &str, slots: &[(&str, &str)], find: &impl Fn(&str) -> Option<&'a str>) {
    let text =
        wgsl::assemble(find, name, slots, &[]).unwrap_or_else(|error| panic!("shaders/{name}.wgsl {slots:?}: {error}"));
    let all = naga::valid::Capabilities::all();
    let checked = naga::front::wgsl::parse_str(&text).map_err(|error| error.emit_to_string(&text)).and_then(|module| {
        let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), all);
        validator.validate(&module).map_err(|error| error.emit_to_string(&text))
    });
    if let Err(message) = checked {
        let mut numbered = String::new();
        for (at, line) in text.lines().enumerate() {
            let _ = writeln!(numbered, "{:4} {line}", at + 1);
        }
        panic!("shaders/{name}.wgsl {slots:?}:\n{message}\n{numbered}");
    }
}
