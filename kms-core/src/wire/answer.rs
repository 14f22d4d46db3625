//! The JSON of an answer.

use std::fmt::Display;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

use crate::model::Timestamp;

/// Room that most answers do not outgrow.
const FIRST_ROOM: usize = 1024;

/// A JSON object under construction. Wiped when dropped, because some answers hold plaintexts.
#[derive(Debug)]
pub(super) struct Answer {
    json: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(super) fn new() -> Self {
        let mut answer = Self { json: Zeroizing::new(Vec::with_capacity(FIRST_ROOM)) };
        answer.push(b"{");
        answer
    }

    /// The whole object; nothing at all if it has no members.
    pub(super) fn finish_or_nothing(self) -> Zeroizing<Vec<u8>> {
        if self.json.len() == 1 { Zeroizing::new(Vec::new()) } else { self.finish() }
    }

    /// The whole object.
    pub(super) fn finish(mut self) -> Zeroizing<Vec<u8>> {
        self.push(b"}");
        self.json
    }

    /// A text.
    pub(super) fn text(mut self, name: &str, value: impl Display) -> Self {
        self.name(name);
        self.quote(&value.to_string());
        self
    }

    /// A text, if there is one.
    pub(super) fn text_if(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// Bytes, secret or not.
    pub(super) fn blob(mut self, name: &str, bytes: &[u8]) -> Self {
        self.name(name);
        let mut text = Zeroizing::new(vec![0; bytes.len().div_ceil(3) * 4]);
        // The slice has exactly the length of padded base64, so this cannot fail.
        let len = STANDARD.encode_slice(bytes, &mut text).unwrap_or(0);
        self.push(b"\"");
        self.push(&text[..len]);
        self.push(b"\"");
        self
    }

    /// A number.
    pub(super) fn number(mut self, name: &str, value: impl Into<i64>) -> Self {
        self.name(name);
        self.push(value.into().to_string().as_bytes());
        self
    }

    /// A number, if there is one.
    pub(super) fn number_if(self, name: &str, value: Option<impl Into<i64>>) -> Self {
        match value {
            Some(value) => self.number(name, value),
            None => self,
        }
    }

    /// A flag.
    pub(super) fn flag(mut self, name: &str, value: bool) -> Self {
        self.name(name);
        self.push(if value { b"true" } else { b"false" });
        self
    }

    /// A time, as seconds since the epoch with their fraction.
    pub(super) fn time(mut self, name: &str, value: Timestamp) -> Self {
        self.name(name);
        let millis = value.as_millis();
        let (secs, fraction) = (millis.div_euclid(1000), millis.rem_euclid(1000));
        self.push(format!("{secs}.{fraction:03}").as_bytes());
        self
    }

    /// A time, if there is one.
    pub(super) fn time_if(self, name: &str, value: Option<Timestamp>) -> Self {
        match value {
            Some(value) => self.time(name, value),
            None => self,
        }
    }

    /// Texts.
    pub(super) fn texts<T: Display>(mut self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        self.name(name);
        self.push(b"[");
        for value in values {
            self.separate();
            self.quote(&value.to_string());
        }
        self.push(b"]");
        self
    }

    /// Texts, if there are any.
    pub(super) fn texts_if<T: Display>(self, name: &str, values: &[T]) -> Self {
        if values.is_empty() { self } else { self.texts(name, values) }
    }

    /// A structure.
    pub(super) fn object(mut self, name: &str, value: Self) -> Self {
        self.name(name);
        self.push(&value.finish());
        self
    }

    /// A structure, if there is one.
    pub(super) fn object_if(self, name: &str, value: Option<Self>) -> Self {
        match value {
            Some(value) => self.object(name, value),
            None => self,
        }
    }

    /// Structures.
    pub(super) fn objects(mut self, name: &str, values: impl IntoIterator<Item = Self>) -> Self {
        self.name(name);
        self.push(b"[");
        for value in values {
            self.separate();
            self.push(&value.finish());
        }
        self.push(b"]");
        self
    }

    /// How a list ends: whether there is more, and how to ask for it.
    pub(super) fn next_page(self, next_marker: Option<&String>) -> Self {
        self.flag("Truncated", next_marker.is_some()).text_if("NextMarker", next_marker)
    }

    fn name(&mut self, name: &str) {
        self.separate();
        self.quote(name);
        self.push(b":");
    }

    /// A comma, except before the first of a structure or list.
    fn separate(&mut self) {
        if !matches!(self.json.last(), Some(b'{' | b'[')) {
            self.push(b",");
        }
    }

    fn quote(&mut self, text: &str) {
        // Writing a text into memory has no way to fail.
        let quoted = Zeroizing::new(serde_json::to_vec(text).unwrap_or_default());
        self.push(&quoted);
    }

    /// Appends, and wipes the old buffer if a larger one is needed.
    fn push(&mut self, bytes: &[u8]) {
        if self.json.capacity() - self.json.len() < bytes.len() {
            let mut larger = Vec::with_capacity((self.json.len() + bytes.len()) * 2);
            larger.extend_from_slice(&self.json);
            std::mem::replace(&mut *self.json, larger).zeroize();
        }
        self.json.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_become_json() {
        let inner = |text: &str| Answer::new().text("T", text);
        let answer = Answer::new()
            .text("Text", "a\"\n")
            .text_if("None", None::<&str>)
            .blob("Blob", b"\x00\x01\x02\x03")
            .number("Number", -1)
            .flag("Flag", true)
            .time("Time", Timestamp::from_millis(1_800_000_000_007))
            .texts("Texts", ["a", "b"])
            .texts("Empty", Vec::<&str>::new())
            .objects("Objects", [inner("x"), inner("y")])
            .object("Object", inner(&"z".repeat(3000)))
            .next_page(Some(&"m".to_owned()));
        let json = String::from_utf8(answer.finish().to_vec()).expect("text");
        let expected = format!(
            "{{\"Text\":\"a\\\"\\n\",\"Blob\":\"AAECAw==\",\"Number\":-1,\"Flag\":true,\"Time\":1800000000.007,\
             \"Texts\":[\"a\",\"b\"],\"Empty\":[],\"Objects\":[{{\"T\":\"x\"}},{{\"T\":\"y\"}}],\
             \"Object\":{{\"T\":\"{}\"}},\"Truncated\":true,\"NextMarker\":\"m\"}}",
            "z".repeat(3000)
        );
        assert_eq!(json, expected);
        assert_eq!(Answer::new().finish().as_slice(), b"{}");
        assert_eq!(Answer::new().finish_or_nothing().as_slice(), b"");
    }
}
