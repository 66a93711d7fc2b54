//! `pilotfish-bindgen IN.wasm OUT_DIR` writes `pilotfish.js`, `pilotfish.d.ts` and `pilotfish_bg.wasm`.
//!
//! The same library as wasm-bindgen's command line, pinned by `Cargo.lock` to the version the wasm was compiled with: the two
//! must match exactly, and installing the command line compiles three hundred crates that are not needed here.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [input, out_dir] = arguments.as_slice() else {
        eprintln!("usage: pilotfish-bindgen IN.wasm OUT_DIR");
        return ExitCode::from(2);
    };
    let written = wasm_bindgen_cli_support::Bindgen::new().input_path(input).out_name("pilotfish").web(true).and_then(
        |bindgen| {
            bindgen.typescript(true).omit_default_module_path(false).remove_producers_section(true).generate(out_dir)
        },
    );
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pilotfish-bindgen: {}: {error:#}", input.display());
            ExitCode::FAILURE
        }
    }
}
