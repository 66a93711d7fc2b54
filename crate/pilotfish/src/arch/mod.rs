//! What a file means: one file per model family, each turning metadata into one `ModelSpec` of pure data.
