//! `inspect`: metadata, tensors by format, the model's shape, and the memory it will take. Only the header is read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use pilotfish::arch::ModelSpec;
use pilotfish::engine::read_header;
use pilotfish::gguf::{Header, Value};
use pilotfish::model::Sizes;
use serde::Serialize;
use serde_json::json;

use crate::args::Global;
use crate::error::{CliError, FAILED, Result};
use crate::host;
use crate::output::{self, Page, Table};
use crate::units::bytes;

/// Elements of a metadata array that are shown.
const SHOWN: usize = 8;

/// Tokens of a prefill batch on a hardware GPU: what activations are counted for.
const CHUNK: u32 = 256;

/// Flags of `inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A GGUF file.
    file: PathBuf,
    /// List every tensor (JSON always does).
    #[arg(long)]
    tensors: bool,
    /// Show arrays of the metadata whole.
    #[arg(long)]
    full: bool,
    /// Positions to count memory for; what the model was trained for, if left out.
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// Rows to count memory for: the base, and one or two for each guide on its weights.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    rows: u32,
}

/// Tensors of one format.
#[derive(Debug, Default, Serialize)]
struct Format {
    tensors: usize,
    parameters: u64,
    bytes: u64,
}

/// Memory in bytes, the GPU's or the CPU's.
#[derive(Debug, Serialize)]
struct MemoryReport {
    weights: u64,
    kv_per_position: u64,
    context_length: u32,
    rows: u32,
    kv: u64,
    activations: u64,
}

/// Prints what the file holds. A model that cannot be run is shown too, with the reason, and exits with 1.
pub(crate) async fn run(args: &InspectArgs, global: &Global) -> Result<ExitCode> {
    let mut file = host::open(&args.file)?;
    let header = read_header(&mut file).await?;
    let spec = ModelSpec::from_header(&header).map_err(CliError::from);
    let memory = spec.as_ref().ok().map(|spec| memory(args, spec));
    let mut formats: BTreeMap<&str, Format> = BTreeMap::new();
    for tensor in &header.tensors {
        let format = formats.entry(tensor.ty.name()).or_default();
        format.tensors += 1;
        format.parameters += tensor.shape.iter().product::<u64>();
        format.bytes += tensor.bytes;
    }
    if global.json {
        let metadata: serde_json::Map<_, _> =
            header.metadata.iter().map(|(key, value)| (key.to_owned(), short_json(value, args.full))).collect();
        let mut report = json!({
            "file": args.file,
            "version": header.version,
            "data_offset": header.data_offset,
            "metadata": metadata,
            "formats": formats,
            "tensors": header.tensors,
            "spec": spec.as_ref().ok().map(spec_json),
            "memory": memory,
        });
        if let Err(error) = &spec {
            report["error"] = error.to_json();
        }
        output::json(&report)?;
    } else {
        describe(args, &header, &formats, spec.as_ref().ok(), memory.as_ref()).print()?;
    }
    match spec {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            output::diagnostic(&format!("error[{}]: {}", error.code(), error.message()));
            Ok(ExitCode::from(FAILED))
        }
    }
}

fn memory(args: &InspectArgs, spec: &ModelSpec) -> MemoryReport {
    let memory = spec.memory();
    let context_length = args.context.unwrap_or(spec.context_length).min(spec.context_length);
    let slots = args.rows * context_length;
    let sizes = Sizes { rows: args.rows, context: context_length, chunk: CHUNK, slots };
    MemoryReport {
        weights: memory.weight_bytes,
        kv_per_position: memory.kv_bytes_per_position,
        context_length,
        rows: args.rows,
        kv: sizes.kv_bytes(spec),
        activations: sizes.activation_bytes(spec),
    }
}

/// The spec without its copy of the tensor list, which stands beside it: its indices are into that.
fn spec_json(spec: &ModelSpec) -> serde_json::Value {
    let mut value = json!(spec);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("tensors");
    }
    value
}

/// An array longer than a few elements as `{"type", "length", "first"}`.
fn short_json(value: &Value, full: bool) -> serde_json::Value {
    let short =
        |ty: &str, length: usize, first: serde_json::Value| json!({ "type": ty, "length": length, "first": first });
    match value {
        Value::Array(array) if !full && array.len() > SHOWN => {
            short(array.ty().name(), array.len(), json!(array.iter().take(SHOWN).collect::<Vec<_>>()))
        }
        Value::Strings(strings) if !full && strings.len() > SHOWN => {
            short("string", strings.len(), json!(strings.iter().take(SHOWN).collect::<Vec<_>>()))
        }
        value => json!(value),
    }
}

/// The same for people.
fn describe(
    args: &InspectArgs,
    header: &Header,
    formats: &BTreeMap<&str, Format>,
    spec: Option<&ModelSpec>,
    memory: Option<&MemoryReport>,
) -> Page {
    let mut page = Page::default();
    page.line(format_args!("{}: GGUF version {}", args.file.display(), header.version));
    let mut metadata = Table::new(&["metadata", "value"]).left(1);
    for (key, value) in header.metadata.iter() {
        metadata.row([key.to_owned(), short_text(value, args.full)]);
    }
    page.table(&metadata);
    let mut table = Table::new(&["format", "tensors", "parameters", "bytes"]);
    for (name, format) in formats {
        table.row([(*name).to_owned(), format.tensors.to_string(), format.parameters.to_string(), bytes(format.bytes)]);
    }
    page.table(&table);
    if args.tensors {
        let mut table = Table::new(&["tensor", "format", "shape", "bytes", "offset"]).left(1).left(2);
        for tensor in &header.tensors {
            let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
            let offset = tensor.offset.to_string();
            table.row([
                tensor.name.clone(),
                tensor.ty.name().to_owned(),
                shape.join(" x "),
                bytes(tensor.bytes),
                offset,
            ]);
        }
        page.table(&table);
    }
    if let Some(spec) = spec {
        page.table(&describe_spec(spec));
    }
    if let Some(memory) = memory {
        page.line(format_args!(
            "\nmemory: weights {}, keys and values {} ({} a position, {} positions, {} row{}), activations {}",
            bytes(memory.weights),
            bytes(memory.kv),
            bytes(memory.kv_per_position),
            memory.context_length,
            memory.rows,
            if memory.rows == 1 { "" } else { "s" },
            bytes(memory.activations),
        ));
    }
    page
}

fn describe_spec(spec: &ModelSpec) -> Table {
    let windows = spec.layers.iter().filter(|layer| layer.window.is_some()).count();
    let traits: Vec<&str> = [
        (spec.tied, "output tied to the embedding"),
        (spec.qk_norm, "normed queries and keys"),
        (spec.post_norms, "norms after blocks"),
        (spec.qkv_bias, "biases on q, k, v"),
    ]
    .into_iter()
    .filter_map(|(holds, name)| holds.then_some(name))
    .collect();
    let mut table = Table::new(&["model", spec.family]).left(1);
    for (name, value) in [
        ("vocabulary", spec.n_vocab.to_string()),
        ("context", spec.context_length.to_string()),
        ("width", spec.hidden.to_string()),
        ("layers", format!("{} ({windows} with a sliding window)", spec.layers.len())),
        ("heads", format!("{} of {}, {} for keys and values", spec.n_heads, spec.head_dim, spec.n_kv_heads)),
        ("feed forward", spec.ffn.to_string()),
        ("also", traits.join(", ")),
    ] {
        table.row([name.to_owned(), value]);
    }
    table
}

/// One line of a metadata value.
fn short_text(value: &Value, full: bool) -> String {
    let most = if full { usize::MAX } else { 80 };
    let whole = match value {
        Value::String(text) => output::shown(text),
        Value::Array(array) if !full && array.len() > SHOWN => format!("{} x {}", array.len(), array.ty().name()),
        Value::Strings(strings) if !full && strings.len() > SHOWN => format!("{} x string", strings.len()),
        value => serde_json::to_string(value).unwrap_or_default(),
    };
    match whole.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &whole[..end]),
        None => whole,
    }
}
