//! The frozen model: a GGUF file decoded into main memory.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use pilotfish::arch::{ModelSpec, Rope, TensorIndex};
use pilotfish::chat::{ChatTemplate, Message};
use pilotfish::engine::{self, Opened};
use pilotfish::model::ByteSource;
use pilotfish::quant;
use pilotfish::tokenizer::{Bos, Encode, TokenId, Tokenizer};
use sha2::{Digest, Sha256};

use crate::error::{Result, TrainError};
use crate::ops::Matrix;

/// A model whose weights are decoded and stay as they are.
#[derive(Debug)]
pub struct Base {
    /// Its shape.
    pub spec: ModelSpec,
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// Messages to text.
    pub chat: ChatTemplate,
    /// `general.license`, if the file names one.
    pub license: Option<String>,
    /// Of the tensors' bytes in the file.
    pub(crate) sha256: [u8; 32],
    tensors: Vec<Arc<Vec<f32>>>,
    frequencies: Vec<(Rope, Vec<f32>)>,
}

impl Base {
    /// Reads and decodes the whole file: four bytes a weight, whatever its format.
    ///
    /// # Errors
    /// [`TrainError::File`] where it cannot be opened, [`TrainError::Engine`] where it is not a model that the engine knows.
    pub fn read(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|source| TrainError::File { path: path.to_owned(), source })?;
        pollster::block_on(Self::read_from(&mut file))
    }

    /// The same from any source of bytes.
    pub async fn read_from(source: &mut impl ByteSource) -> Result<Self> {
        let Opened { header, spec, tokenizer, chat } = engine::open(source).await?;
        if tokenizer.n_vocab() > spec.n_vocab {
            let (tokens, rows) = (tokenizer.n_vocab(), spec.n_vocab);
            return Err(pilotfish::Error::VocabularySize { tokens, rows }.into());
        }
        let mut tensors = Vec::with_capacity(spec.tensors.len());
        let mut hash = Sha256::new();
        for tensor in &spec.tensors {
            let mut bytes = vec![0; tensor.bytes as usize];
            source.read(tensor.offset, &mut bytes).await.map_err(pilotfish::Error::from)?;
            hash.update(&bytes);
            let mut values = vec![0.0; (tensor.row_len() * tensor.rows()) as usize];
            quant::dequantize(tensor.ty, &bytes, &mut values).map_err(pilotfish::Error::from)?;
            tensors.push(Arc::new(values));
        }
        let mut frequencies: Vec<(Rope, Vec<f32>)> = Vec::new();
        for layer in &spec.layers {
            if frequencies.iter().all(|(rope, _)| *rope != layer.rope) {
                let factors = layer.rope.factors.map(|tensor| &tensors[tensor][..]);
                frequencies.push((layer.rope, layer.rope.inverse_frequencies(factors)));
            }
        }
        let license = header.metadata.opt_string("general.license").ok().flatten().map(str::to_owned);
        Ok(Self { spec, tokenizer, chat, license, sha256: hash.finalize().into(), tensors, frequencies })
    }

    /// The ids of a conversation, up to where the assistant's next message begins.
    pub fn encode_chat(&self, messages: &[Message]) -> Result<Vec<TokenId>> {
        encode_chat(&self.tokenizer, &self.chat, messages)
    }

    /// Numbers in all tensors.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(|values| values.len() as u64).sum()
    }

    pub(crate) fn tensor(&self, tensor: TensorIndex) -> &Arc<Vec<f32>> {
        &self.tensors[tensor]
    }

    pub(crate) fn matrix(&self, tensor: TensorIndex) -> Matrix {
        let shape = &self.spec.tensors[tensor].shape;
        let (inputs, outputs) = (shape[0] as usize, shape[1] as usize);
        Matrix { inputs, outputs, values: Arc::clone(&self.tensors[tensor]) }
    }

    /// Radians a position for each pair.
    pub(crate) fn frequencies(&self, rope: &Rope) -> &[f32] {
        self.frequencies.iter().find(|(known, _)| known == rope).map_or(&[], |(_, values)| values)
    }
}

/// As [`Base::encode_chat`].
pub(crate) fn encode_chat(tokenizer: &Tokenizer, chat: &ChatTemplate, messages: &[Message]) -> Result<Vec<TokenId>> {
    let text = chat.render(messages, true).map_err(pilotfish::Error::from)?;
    // A template writes its own beginning-of-text token where it wants one.
    let bos = match tokenizer.bos().and_then(|bos| tokenizer.token_name(bos)) {
        Some(bos) if text.starts_with(bos) => Bos::Never,
        _ => Bos::Auto,
    };
    Ok(tokenizer.encode(&text, Encode { special: true, bos }).map_err(pilotfish::Error::from)?)
}
