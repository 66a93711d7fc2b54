//! Chat templates (Jinja) from the file, or a sane default.
