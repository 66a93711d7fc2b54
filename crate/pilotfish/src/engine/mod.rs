//! Load, session, generate: the public way in.
