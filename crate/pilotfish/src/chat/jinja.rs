//! Jinja as Hugging Face's chat templates expect it: its white space rules, Python's methods, and three functions.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use serde::Serialize;

use super::{ChatError, Date};

/// Instructions that a rendering may take: ten times what the longest templates need for a thousand messages.
pub(super) const STEPS: u64 = 2_000_000;

const NAME: &str = "chat";

/// A template's own refusal, told from other failures by its type.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// An environment with one template.
pub(super) fn environment(source: &str) -> Result<Environment<'static>, ChatError> {
    let mut environment = Environment::new();
    let syntax =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|error| failed(&error))?;
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(STEPS));
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
    });
    set_date(&mut environment, Date::default());
    environment
        .add_template_owned(NAME, without_generation_marks(source))
        .map_err(|error| ChatError::Syntax { message: describe(&error) })?;
    Ok(environment)
}

/// What `strftime_now` says from now on.
pub(super) fn set_date(environment: &mut Environment<'static>, date: Date) {
    environment.add_function("strftime_now", move |format: &str| date.format(format));
}

pub(super) fn render(environment: &Environment<'static>, context: impl Serialize) -> Result<String, ChatError> {
    let template = environment.get_template(NAME).map_err(|error| failed(&error))?;
    template.render(Serde(context)).map_err(|error| failed(&error))
}

fn failed(error: &Error) -> ChatError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref() {
            return ChatError::Refused { message: message.clone() };
        }
        source = cause.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => ChatError::TooManySteps { steps: STEPS },
        _ => ChatError::Failed { message: describe(error) },
    }
}

fn describe(error: &Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{what} (line {line})"),
        None => what,
    }
}

/// Drops `{% generation %}` and `{% endgeneration %}`, which mark what to train on and print nothing.
fn without_generation_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        rest = after;
        let Some((inner, _)) = after.split_once("%}") else { break };
        let word = inner.trim_matches(['-', '+']).trim();
        let instead = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => continue,
        };
        // The signs at both ends say which white space goes.
        out.push_str(&inner.replace(word, instead));
        rest = &after[inner.len()..];
    }
    out + rest
}

/// Python's `json.dumps`: `, ` and `: ` between things, or the indentation asked for; nothing escaped for HTML.
#[expect(clippy::needless_pass_by_value, reason = "the form of a minijinja filter")]
fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    for ignored in ["ensure_ascii", "separators", "sort_keys"] {
        let _: Option<Value> = options.get(ignored)?;
    }
    options.assert_all_used()?;
    let mut out = Vec::new();
    let written = match indent {
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, OneLine)),
        Some(width) => {
            let indent = " ".repeat(width.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))
        }
    };
    written.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    String::from_utf8(out).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// JSON on one line as Python spaces it.
struct OneLine;

impl serde_json::ser::Formatter for OneLine {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}
