//! A loaded model: what its file says, its tokenizer and chat template, and its weights where its sessions run.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Engine;
use super::choose;
use crate::arch::ModelSpec;
use crate::chat::{ChatTemplate, Message};
use crate::gguf::{GgufError, Header};
use crate::model::{ByteSource, LoadProgress, Weights};
use crate::tokenizer::{Bos, Encode, TokenId, Tokenizer};
use crate::{Error, Result};

/// The least read of a file's beginning.
const FIRST_READ: u64 = 64 << 10;

/// The weights of a model, where its sessions run.
#[derive(Debug)]
pub enum LoadedWeights {
    /// In the GPU's memory.
    Gpu(Weights),
    /// In the CPU's.
    #[cfg(feature = "cpu")]
    Cpu(Box<crate::cpu::Weights>),
}

impl LoadedWeights {
    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Gpu(weights) => weights.bytes,
            #[cfg(feature = "cpu")]
            Self::Cpu(weights) => weights.bytes(),
        }
    }
}

/// A loaded model.
#[derive(Debug)]
pub struct Model {
    /// The file's header.
    pub header: Header,
    /// The model's shape.
    pub spec: ModelSpec,
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// Messages to text.
    pub chat: ChatTemplate,
    /// The weights.
    pub weights: LoadedWeights,
}

/// What a page or a terminal shows of a model.
#[derive(Debug, Clone, Serialize)]
pub struct ModelInfo {
    /// `general.name`, or empty.
    pub name: String,
    /// The family.
    pub architecture: String,
    /// Tokens in the vocabulary.
    pub n_vocab: u32,
    /// Positions the model was trained for.
    pub context_length: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Layers.
    pub n_layers: u32,
    /// Query heads.
    pub n_heads: u32,
    /// Key-value heads.
    pub n_kv_heads: u32,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// Bytes in memory, the GPU's or the CPU's.
    pub weight_bytes: u64,
    /// Tensors by format.
    pub tensor_types: BTreeMap<&'static str, usize>,
    /// `general.license`, if given.
    pub license: Option<String>,
    /// The file brings a chat template.
    pub has_chat_template: bool,
}

/// A header and what it means: everything that can be known before a tensor is read.
#[derive(Debug)]
pub struct Opened {
    /// The file's header.
    pub header: Header,
    /// The model's shape.
    pub spec: ModelSpec,
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// Messages to text.
    pub chat: ChatTemplate,
}

impl Opened {
    /// The model, with its weights.
    pub(super) fn with(self, weights: LoadedWeights) -> Model {
        let Self { header, spec, tokenizer, chat } = self;
        Model { header, spec, tokenizer, chat, weights }
    }
}

/// Reads only as much of the file's beginning as its header takes.
pub async fn read_header(source: &mut impl ByteSource) -> Result<Header> {
    let size = source.size();
    let mut prefix = Vec::new();
    let mut want = FIRST_READ.min(size);
    loop {
        let have = prefix.len();
        prefix.resize(want as usize, 0);
        source.read(have as u64, &mut prefix[have..]).await?;
        match Header::parse(&prefix, size) {
            // Doubling keeps the number of tries small; the reader bounds how large a header may be.
            Err(GgufError::NeedMore { at_least }) if want < size => want = at_least.max(want * 2).min(size),
            parsed => return Ok(parsed?),
        }
    }
}

/// Reads the header and everything it says.
pub async fn open(source: &mut impl ByteSource) -> Result<Opened> {
    let header = read_header(source).await?;
    let spec = ModelSpec::from_header(&header)?;
    let tokenizer = Tokenizer::from_gguf(&header.metadata)?;
    let chat = ChatTemplate::from_gguf(&header.metadata, &tokenizer)?;
    Ok(Opened { header, spec, tokenizer, chat })
}

impl Model {
    /// Loads a GGUF file. `progress` answers `false` to abort; then nothing is kept.
    pub async fn load(
        engine: &Engine,
        source: &mut impl ByteSource,
        progress: impl FnMut(LoadProgress) -> bool,
    ) -> Result<Self> {
        let Opened { header, spec, tokenizer, chat } = open(source).await?;
        if tokenizer.n_vocab() > spec.n_vocab {
            return Err(Error::VocabularySize { tokens: tokenizer.n_vocab(), rows: spec.n_vocab });
        }
        choose::load(engine, Opened { header, spec, tokenizer, chat }, source, progress).await
    }

    /// Refuses a classifier where a language model is needed.
    pub(super) fn check_language(&self, row: &str) -> Result<()> {
        match self.spec.model.classes {
            None => Ok(()),
            Some(classes) => Err(Error::Classifier { row: row.to_owned(), classes }),
        }
    }

    /// Ids that are tokens. The embedding may have more rows: some files pad it.
    pub fn vocab(&self) -> u32 {
        self.tokenizer.n_vocab().min(self.spec.n_vocab)
    }

    /// Facts to show.
    pub fn info(&self) -> ModelInfo {
        let text = |key: &str| self.header.metadata.opt_string(key).ok().flatten().map(str::to_owned);
        let mut tensor_types = BTreeMap::new();
        for tensor in &self.header.tensors {
            *tensor_types.entry(tensor.ty.name()).or_insert(0) += 1;
        }
        ModelInfo {
            name: text("general.name").unwrap_or_default(),
            architecture: text("general.architecture").unwrap_or_default(),
            n_vocab: self.vocab(),
            context_length: self.spec.context_length,
            hidden: self.spec.hidden,
            n_layers: self.spec.layers.len() as u32,
            n_heads: self.spec.n_heads,
            n_kv_heads: self.spec.n_kv_heads,
            parameters: self.header.tensors.iter().map(|tensor| tensor.shape.iter().product::<u64>()).sum(),
            weight_bytes: self.weights.bytes(),
            tensor_types,
            license: text("general.license"),
            has_chat_template: self.header.metadata.get("tokenizer.chat_template").is_some(),
        }
    }

    /// How a rendered conversation begins: a template writes its own beginning-of-text token where it wants one.
    pub(super) fn bos_before(&self, text: &str) -> Bos {
        match self.tokenizer.bos().and_then(|bos| self.tokenizer.token_name(bos)) {
            Some(bos) if text.starts_with(bos) => Bos::Never,
            _ => Bos::Auto,
        }
    }

    /// The ids of `prompt`.
    pub fn encode(&self, prompt: &Prompt) -> Result<Vec<TokenId>> {
        Ok(match prompt {
            Prompt::Ids(ids) => ids.clone(),
            Prompt::Text(text) => self.tokenizer.encode(text, Encode { special: false, bos: Bos::Auto })?,
            Prompt::Chat(messages) => {
                let text = self.chat.render(messages, true)?;
                self.tokenizer.encode(&text, Encode { special: true, bos: self.bos_before(&text) })?
            }
        })
    }
}

/// What a row is asked to continue.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Plain text; special tokens in it are text.
    Text(String),
    /// A conversation, through the model's chat template.
    Chat(Vec<Message>),
    /// Token ids as they are.
    Ids(Vec<TokenId>),
}
