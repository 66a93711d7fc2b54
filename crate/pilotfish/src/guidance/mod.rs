//! Guides, the mix and sampler settings, and the presets of the field.
