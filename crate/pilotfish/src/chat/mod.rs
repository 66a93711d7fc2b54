//! stub
#![allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum ChatError { #[error("x")] X }
impl ChatError { pub fn code(&self) -> &'static str { "chat" } }
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role { System, User, Assistant }
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Message { pub role: Role, pub content: String }
#[derive(Debug)]
pub struct ChatTemplate;
impl ChatTemplate {
  pub fn from_gguf(_: &crate::gguf::Metadata, _: &crate::tokenizer::Tokenizer) -> Result<Self, ChatError> { Ok(Self) }
  pub fn render(&self, m: &[Message], _: bool) -> Result<String, ChatError> { Ok(m.iter().map(|m| m.content.clone()).collect()) }
}
