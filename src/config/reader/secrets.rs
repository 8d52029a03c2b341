//! Secrets, in the configuration itself, with AWS or in other files.

use super::{Reader, Section, StringKind};
use crate::config::expand::expand_secret;
use crate::config::problem::shown;
use crate::config::secret::{Secret, SecretPart, SecretSource};
use crate::config::source::Source;
use crate::config::yaml::{Node, NodeValue};

impl Reader<'_> {
    /// A secret string: `${ssm:…}` too; never shown. An empty one is none.
    pub(in crate::config) fn secret(
        &mut self,
        section: &Section<'_>,
        key: &str,
    ) -> Option<SecretSource> {
        let (text, _, at) = self.scalar(section, key)?;
        self.secret_text(text, at, &section.path_of(key))
            .filter(|secret| !secret.is_empty())
    }

    fn secret_text(&mut self, text: &str, at: (usize, usize), path: &str) -> Option<SecretSource> {
        if !self.expands {
            return Some(SecretSource::Inline(vec![SecretPart::Text(Secret::new(
                text,
            ))]));
        }
        match expand_secret(text, self.env) {
            Ok(parts) => Some(SecretSource::Inline(parts)),
            Err(error) => {
                self.error(at, path, error.message, error.fix);
                None
            }
        }
    }

    /// A path beside the configuration, or an object in S3. An empty one is none.
    pub(in crate::config) fn file(
        &mut self,
        section: &Section<'_>,
        key: &str,
    ) -> Option<SecretSource> {
        let (text, _, at) = self.scalar(section, key)?;
        let path = section.path_of(key);
        let address = self.text(text, at, &path, StringKind::Plain)?;
        self.address(&address, at, &path)
    }

    fn address(&mut self, address: &str, at: (usize, usize), path: &str) -> Option<SecretSource> {
        if address.is_empty() {
            return None;
        }
        let found = match &self.configuration {
            Some(configuration) => configuration.beside(address),
            None => Source::parse(address),
        };
        match found {
            Ok(source) => Some(SecretSource::File(source)),
            Err(_) => {
                self.error(
                    at,
                    path,
                    format!(
                        "found {}, expected a path or an object in S3",
                        shown(address)
                    ),
                    "write s3://bucket/key",
                );
                None
            }
        }
    }

    /// A list of secret strings, or of files that hold them.
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

    /// As [`Reader::secrets`], of the value itself.
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
        for (node, path) in self.items(node, path, (node.line, node.column)) {
            let at = self.places.of(&path);
            let secret = match &node.value {
                NodeValue::Scalar { text, .. } if files => self
                    .text(text, at, &path, StringKind::Plain)
                    .and_then(|address| self.address(&address, at, &path)),
                NodeValue::Scalar { text, .. } => self.secret_text(text, at, &path),
                _ => {
                    self.error(
                        at,
                        path,
                        format!("found {}, expected a string", node.kind()),
                        "",
                    );
                    None
                }
            };
            secrets.extend(secret);
        }
        secrets
    }

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
}
