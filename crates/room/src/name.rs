//! Names of people and rooms.

use core::fmt;

/// The longest nickname, in bytes.
pub const MAX_NICK: usize = 32;

/// The longest name of a room, `#` included, in bytes.
pub const MAX_ROOM: usize = 48;

/// A nickname: 1 to [`MAX_NICK`] bytes, no spaces, quotes, colons, commas or control characters, and no `#` in front.
/// Two that differ in case only are the same.
#[derive(Debug, Clone)]
pub struct Nick {
    shown: String,
    folded: String,
}

impl Nick {
    /// The nickname, or none where it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let wrong = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '"' | ':' | ',');
        if text.is_empty() || text.len() > MAX_NICK || text.starts_with('#') || text.contains(wrong) {
            return None;
        }
        Some(Self { shown: text.to_owned(), folded: text.to_lowercase() })
    }

    /// As its owner writes it.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// What is the same for nicknames that are the same.
    pub fn key(&self) -> &str {
        &self.folded
    }
}

impl PartialEq for Nick {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for Nick {}

impl PartialOrd for Nick {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Nick {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.folded.cmp(&other.folded)
    }
}

impl fmt::Display for Nick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The name of a room: `#` and then lower case, no spaces, colons, commas or control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoomName(String);

impl RoomName {
    /// The room of that name; the `#` may be left out and the case does not matter.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('#').unwrap_or(text);
        let wrong = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '"' | ':' | ',' | '#');
        if bare.is_empty() || bare.contains(wrong) {
            return None;
        }
        let name = format!("#{}", bare.to_lowercase());
        (name.len() <= MAX_ROOM).then_some(Self(name))
    }

    /// With the `#`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nicknames_are_the_same_in_any_case() {
        assert_eq!(Nick::parse("Ana"), Nick::parse("aNA"));
        assert_eq!(Nick::parse("Ana").unwrap().as_str(), "Ana");
    }

    #[test]
    fn what_would_break_a_line_is_no_name() {
        for text in ["", "a b", "a\"b", "a:b", "a,b", "#a", "a\r", "a\u{2028}", &"a".repeat(33)] {
            assert_eq!(Nick::parse(text), None, "{text:?}");
        }
        for text in ["", "#", "a b", "##a", "a:b", "a\0", &"a".repeat(48)] {
            assert_eq!(RoomName::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn rooms_are_lower_case_and_begin_with_a_hash() {
        assert_eq!(RoomName::parse("TurboRoom").unwrap().as_str(), "#turboroom");
        assert_eq!(RoomName::parse("#Lobby"), RoomName::parse("lobby"));
    }
}
