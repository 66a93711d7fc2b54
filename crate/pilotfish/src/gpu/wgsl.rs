//! Puts a kernel's text together from `shaders/`: imports, slots and constants, and nothing more.
//!
//! A kernel is one WGSL file with three directives, each alone on a line:
//!
//! * `#import NAME` puts `shaders/shared/NAME.wgsl` in place, once. `NAME` may hold slots in braces:
//!   `#import format_{format}` with the slot `format = "q4_0"` imports `format_q4_0`.
//! * `#const NAME = 4` declares `const NAME: u32 = 4u;`, whose value a pipeline may override. It exists because WGSL's own
//!   `override` constants cannot size a function's arrays.
//! * `#unroll i NAME` .. `#end` repeats the lines between NAME times (a `#const` above, or a number), `$i` being 0, 1, ...
//!   It exists because software adapters keep an array that a loop indexes in memory: the same matrix-vector product took
//!   2.3 times as long on `SwiftShader` (2026-11-22) with arrays as with unrolled scalars.
//!
//! `enable` lines are moved to the top of the module, where WGSL wants them. The build script uses this same file to put
//! together and validate every combination, so a bad shader fails the build.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The directive that begins an import line.
pub(crate) const IMPORT: &str = "#import ";
/// The directive that begins a constant line.
pub(crate) const CONST: &str = "#const ";

/// The directives around repeated lines.
pub(crate) const UNROLL: &str = "#unroll ";
/// See [`UNROLL`].
pub(crate) const END: &str = "#end";

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
    let mut parts = Parts {
        source,
        slots,
        consts,
        values: BTreeMap::new(),
        enables: BTreeSet::new(),
        imported: BTreeSet::new(),
        body: String::new(),
    };
    parts.add(kernel)?;
    if let Some(line) = unset_variable(&parts.body) {
        return Err(AssembleError(format!("`{kernel}`: `{line}` has no value")));
    }
    let mut text = String::new();
    for line in &parts.enables {
        let _ = writeln!(text, "{line}");
    }
    text.push_str(&parts.body);
    Ok(text)
}

/// The first local variable of `text` that is declared without a value, if any.
///
/// WGSL makes such a variable zero whenever its declaration is reached, but in loops it kept the value of the round before:
/// in Chromium 156, and in Firefox (naga before gfx-rs/wgpu pull request 9592). So every one gets a value.
fn unset_variable(text: &str) -> Option<&str> {
    text.lines().map(str::trim).find(|line| line.starts_with("var ") && line.ends_with(';') && !line.contains('='))
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
    values: BTreeMap<String, u32>,
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
        let lines: Vec<&str> = text.lines().collect();
        self.lines(name, &lines)
    }

    fn lines(&mut self, name: &str, lines: &[&str]) -> Result<(), AssembleError> {
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            at += 1;
            if let Some(import) = line.strip_prefix(IMPORT) {
                let import = fill(import.trim(), self.slots);
                if import.contains('{') {
                    return Err(AssembleError(format!("`{name}` imports `{import}`: a slot is not filled")));
                }
                self.add(&import)?;
            } else if let Some(constant) = line.strip_prefix(CONST) {
                self.constant(constant)
                    .ok_or_else(|| AssembleError(format!("`{name}`: `{line}` is not `#const NAME = VALUE`")))?;
            } else if let Some(unroll) = line.trim_start().strip_prefix(UNROLL) {
                let failed = |what| AssembleError(format!("`{name}`: `{}`: {what}", line.trim()));
                let (variable, times) = self.times(unroll).ok_or_else(|| failed("is not `#unroll i NAME`"))?;
                let length = until_end(&lines[at..]).ok_or_else(|| failed("has no `#end`"))?;
                for i in 0..times {
                    let filled: Vec<String> =
                        lines[at..at + length].iter().map(|line| line.replace(&variable, &i.to_string())).collect();
                    self.lines(name, &filled.iter().map(String::as_str).collect::<Vec<_>>())?;
                }
                at += length + 1;
            } else if line.starts_with("enable ") {
                // Browsers demand `enable subgroups`; naga 30 has the functions but refuses the line (gfx-rs/wgpu issue 5555).
                if cfg!(target_arch = "wasm32") || *line != "enable subgroups;" {
                    self.enables.insert((*line).to_owned());
                }
            } else {
                self.body.push_str(line);
                self.body.push('\n');
            }
        }
        Ok(())
    }

    /// `NAME = DEFAULT`, or the value this pipeline sets.
    fn constant(&mut self, constant: &str) -> Option<()> {
        let (key, default) = constant.split_once('=')?;
        let (key, default) = (key.trim(), default.trim().parse().ok()?);
        let value = self.consts.iter().find(|(set, _)| *set == key).map_or(default, |(_, value)| *value);
        self.values.insert(key.to_owned(), value);
        let _ = writeln!(self.body, "const {key}: u32 = {value}u;");
        Some(())
    }

    /// `i NAME` or `i 4`: the text `$i` and the count.
    fn times(&self, unroll: &str) -> Option<(String, u32)> {
        let (variable, times) = unroll.trim().split_once(' ')?;
        let times = self.values.get(times).copied().or_else(|| times.parse().ok())?;
        Some((format!("${variable}"), times))
    }
}

/// Lines before the `#end` that closes an `#unroll` above `lines`.
fn until_end(lines: &[&str]) -> Option<usize> {
    let mut depth = 0;
    lines.iter().position(|line| {
        let line = line.trim_start();
        depth += u32::from(line.starts_with(UNROLL));
        if line.trim_end() != END {
            return false;
        }
        depth = depth.wrapping_sub(1);
        depth == u32::MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unrolled_lines_repeat_within_each_other_as_often_as_a_constant_says() {
        let text = "#const N = 1\n#unroll i N\n  #unroll t 2\nlet a_$i_$t = $tu;\n  #end\nb($i);\n#end\nc();";
        let source = |name: &str| (name == "k").then_some(text);
        let body = |i: u32| format!("let a_{i}_0 = 0u;\nlet a_{i}_1 = 1u;\nb({i});\n");
        let expected = format!("const N: u32 = 2u;\n{}{}c();\n", body(0), body(1));
        assert_eq!(assemble(&source, "k", &[], &[("N", 2)]), Ok(expected));
    }

    #[test]
    fn a_local_variable_without_a_value_is_refused() {
        let global = "var<workgroup> a: array<f32, 4>;\n@group(0) @binding(1) var<storage, read> b: array<f32>;\n";
        let assembled = |body: &str| {
            let text = format!("{global}for (var i = 0u; i < 4u; i++) {{\n  {body}\n}}");
            assemble(&|_: &str| Some(text.as_str()), "k", &[], &[]).map(|_| ())
        };
        assert_eq!(assembled("var c = 0.0;"), Ok(()));
        assert_eq!(assembled("var c: f32;"), Err(AssembleError("`k`: `var c: f32;` has no value".into())));
    }

    #[test]
    fn an_unroll_without_end_is_refused() {
        let source = |_: &str| Some("#unroll i 2\nlet a = $i;");
        assert!(assemble(&source, "k", &[], &[]).is_err());
    }
}
