//! Puts a kernel's text together from `shaders/`: imports, slots and constants, and nothing more.
//!
//! A kernel is one WGSL file with two directives, each alone on a line:
//!
//! * `#import NAME` puts `shaders/shared/NAME.wgsl` in place, once. `NAME` may hold slots in braces:
//!   `#import format_{format}` with the slot `format = "q4_0"` imports `format_q4_0`.
//! * `#const NAME = 4` declares `const NAME: u32 = 4u;`, whose value a pipeline may override. It exists because WGSL's own
//!   `override` constants cannot size a function's arrays.
//!
//! `enable` lines are moved to the top of the module, where WGSL wants them. The build script uses this same file to put
//! together and validate every combination, so a bad shader fails the build.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The directive that begins an import line.
pub(crate) const IMPORT: &str = "#import ";
/// The directive that begins a constant line.
pub(crate) const CONST: &str = "#const ";

/// Why a kernel could not be put together. Only a mistake in this repository can cause it, and the build script finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AssembleError(pub(crate) String);

impl std::fmt::Display for AssembleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the WGSL of `kernel` with its slots filled and constants set. `source` maps a file's stem to its text.
pub(crate) fn assemble<'a>(
    source: &impl Fn(&str) -> Option<&'a str>,
    kernel: &str,
    slots: &[(&str, &str)],
    consts: &[(&str, u32)],
) -> Result<String, AssembleError> {
    let mut parts =
        Parts { source, slots, consts, enables: BTreeSet::new(), imported: BTreeSet::new(), body: String::new() };
    parts.add(kernel)?;
    let mut text = String::new();
    for line in &parts.enables {
        let _ = writeln!(text, "{line}");
    }
    text.push_str(&parts.body);
    Ok(text)
}

/// Fills `{slot}`s in an import's name.
pub(crate) fn fill(name: &str, slots: &[(&str, &str)]) -> String {
    let mut filled = name.to_owned();
    for (slot, value) in slots {
        filled = filled.replace(&format!("{{{slot}}}"), value);
    }
    filled
}

struct Parts<'s, F> {
    source: &'s F,
    slots: &'s [(&'s str, &'s str)],
    consts: &'s [(&'s str, u32)],
    enables: BTreeSet<String>,
    imported: BTreeSet<String>,
    body: String,
}

impl<'a, F: Fn(&str) -> Option<&'a str>> Parts<'_, F> {
    fn add(&mut self, name: &str) -> Result<(), AssembleError> {
        if !self.imported.insert(name.to_owned()) {
            return Ok(());
        }
        let text = (self.source)(name).ok_or_else(|| AssembleError(format!("no shader file `{name}.wgsl`")))?;
        for line in text.lines() {
            if let Some(import) = line.strip_prefix(IMPORT) {
                let import = fill(import.trim(), self.slots);
                if import.contains('{') {
                    return Err(AssembleError(format!("`{name}` imports `{import}`: a slot is not filled")));
                }
                self.add(&import)?;
            } else if let Some(constant) = line.strip_prefix(CONST) {
                let (key, default) = constant
                    .split_once('=')
                    .map(|(key, value)| (key.trim(), value.trim()))
                    .ok_or_else(|| AssembleError(format!("`{name}`: `{line}` is not `#const NAME = VALUE`")))?;
                match self.consts.iter().find(|(set, _)| *set == key) {
                    Some((_, value)) => {
                        let _ = writeln!(self.body, "const {key}: u32 = {value}u;");
                    }
                    None => {
                        let _ = writeln!(self.body, "const {key}: u32 = {default}u;");
                    }
                }
            } else if line.starts_with("enable ") {
                // Browsers demand `enable subgroups`; naga 30 has the functions but refuses the line (gfx-rs/wgpu issue 5555).
                if cfg!(target_arch = "wasm32") || line != "enable subgroups;" {
                    self.enables.insert(line.to_owned());
                }
            } else {
                self.body.push_str(line);
                self.body.push('\n');
            }
        }
        Ok(())
    }
}
