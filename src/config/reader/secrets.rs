//! Secrets: in the configuration itself, in AWS, or in other files.

use super::{Reader, Scalar, Section, StringKind};
use crate::config::expand::expand_secret;
use crate::config::problem::{Position, shown};
use crate::config::secret::{Secret, SecretPart, SecretSource};
use crate::config::source::Source;
use crate::config::yaml::{Node, NodeValue};

impl Reader<'_> {
    /// Reads a secret string, which may hold `${ssm:…}`, too. Messages never show it. An empty one
    /// counts as missing.
    pub(in crate::config) fn secret(
        &mut self,
        section: &Section<'_>,
        key: &str,
    ) -> Option<SecretSource> {
        let Scalar { text, position, .. } = self.scalar(section, key)?;
        self.secret_text(text, position, &section.path_of(key))
            .filter(|secret| !secret.is_empty())
    }

    fn secret_text(&mut self, text: &str, position: Position, path: &str) -> Option<SecretSource> {
        if !self.expands {
            let secret = SecretPart::Text(Secret::new(text));
            return Some(SecretSource::Inline(vec![secret]));
        }
        match expand_secret(text, self.env) {
            Ok(parts) => Some(SecretSource::Inline(parts)),
            Err(error) => {
                self.error(position, path, error.message, error.fix);
                None
            }
        }
    }

    /// Reads the path of a file in the configuration's folder, or the address of an object in S3.
    /// An empty one counts as missing.
    pub(in crate::config) fn file(
        &mut self,
        section: &Section<'_>,
        key: &str,
    ) -> Option<SecretSource> {
        let Scalar { text, position, .. } = self.scalar(section, key)?;
        let path = section.path_of(key);
        let address = self.text(text, position, &path, StringKind::Plain)?;
        self.address(&address, position, &path)
    }

    fn address(&mut self, address: &str, position: Position, path: &str) -> Option<SecretSource> {
        if address.is_empty() {
            return None;
        }
        let found = match &self.configuration {
            Some(configuration) => configuration.beside(address),
            None => Source::parse(address),
        };
        let Ok(source) = found else {
            let message = format!(
                "found {}, expected a path or an object in S3",
                shown(address)
            );
            self.error(position, path, message, "write s3://bucket/key");
            return None;
        };
        Some(SecretSource::File(source))
    }

    /// Reads a secret that is either in `key` or in the file that the key `file` names. `both` is
    /// the message when both keys are there.
    pub(in crate::config) fn secret_or_file(
        &mut self,
        section: &Section<'_>,
        key: &str,
        file: &str,
        both: &str,
    ) -> Option<SecretSource> {
        let inline = self.secret(section, key);
        self.or_file(section, inline, file, both)
    }

    /// Does what [`Reader::secret_or_file`] does, for a value that was read before.
    pub(in crate::config) fn or_file(
        &mut self,
        section: &Section<'_>,
        inline: Option<SecretSource>,
        file: &str,
        both: &str,
    ) -> Option<SecretSource> {
        let in_file = self.file(section, file);
        if inline.is_some() && in_file.is_some() {
            self.error_at(&section.path_of(file), both, "remove one");
        }
        inline.or(in_file)
    }

    /// Reads a list of secret strings, or of files that hold them.
    pub(in crate::config) fn secrets(
        &mut self,
        section: &Section<'_>,
        key: &str,
        files: bool,
    ) -> Vec<SecretSource> {
        match self.entry(section, key) {
            Some(entry) => self.secret_items(&entry.value, &section.path_of(key), files),
            None => Vec::new(),
        }
    }

    /// Does what [`Reader::secrets`] does, for the list itself.
    pub(in crate::config) fn secret_items(
        &mut self,
        node: &Node,
        path: &str,
        files: bool,
    ) -> Vec<SecretSource> {
        if node.is_null() {
            return Vec::new();
        }
        let mut secrets = Vec::new();
        for (node, path) in self.items(node, path, node.position) {
            let position = self.positions.of(&path);
            let secret = match &node.value {
                NodeValue::Scalar { text, .. } if files => self
                    .text(text, position, &path, StringKind::Plain)
                    .and_then(|address| self.address(&address, position, &path)),
                NodeValue::Scalar { text, .. } => self.secret_text(text, position, &path),
                _ => {
                    let message = format!("found {}, expected a string", node.kind());
                    self.error(position, path, message, "");
                    None
                }
            };
            secrets.extend(secret);
        }
        secrets
    }
}
