//! What a long generation on the CPU keeps. In a process of its own: the system tells the memory of all its threads together.

mod common;

use common::{cpu_with, load, wait};
use pilotfish::engine::{Models, Precision, Prompt, Session, SessionOptions, WhenFull};

/// Resident memory of this process in bytes, where the system says.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[test]
fn a_thousand_tokens_take_no_more_memory_than_a_hundred() {
    let engine = cpu_with(Precision::Fast);
    let model = load(&engine, "tiny-llama-q4_1.gguf");
    let mut options = SessionOptions::new(Prompt::Text("The sea was calm".into()));
    options.sampling.ignore_eos = true;
    options.when_full = WhenFull::Shift { keep: None };
    options.max_tokens = 1100;
    let mut session = wait(Session::new(&engine, Models::only(&model), &options, |_| true)).expect("it starts");
    let mut before = None;
    for step in 0..1100 {
        assert!(wait(session.next()).expect("a step").is_some(), "step {step}");
        if step == 100 {
            before = resident();
        }
    }
    if let Some((before, after)) = before.zip(resident()) {
        let grown = after.saturating_sub(before);
        assert!(grown < 4 << 20, "it grew by {grown} bytes");
    }
}
