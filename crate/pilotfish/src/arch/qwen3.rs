//! `qwen3`: as Qwen 2, with norms on the heads of q and k in place of biases.

use super::reader::{Groups, Has, Reader};
use super::{ArchError, ModelSpec, qwen2};

const GROUPS: Groups = Groups { qkv_bias: Has::Never, qk_norm: Has::Always, post_norms: Has::Never };

pub(super) fn read(file: &mut Reader<'_>) -> Result<ModelSpec, ArchError> {
    qwen2::read_with(file, GROUPS)
}
