//! Reads a flattened device tree (*Devicetree Specification* v0.4, chapter 5).
//!
//! For tests and inspection: it borrows everything from the bytes and refuses what is malformed,
//! but checks none of the rules about what nodes should say.

/// The magic number a tree starts with.
const MAGIC: u32 = 0xd00d_feed;
/// Nodes within nodes that are followed.
const MAX_DEPTH: usize = 64;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// A node with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Node<'a> {
    /// Name with unit address; empty for the root.
    pub name: &'a str,
    /// Properties in order.
    pub properties: Vec<(&'a str, &'a [u8])>,
    /// Child nodes in order.
    pub children: Vec<Self>,
}

/// Bytes that are no device tree, and what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a device tree: {0}")]
pub struct Malformed(&'static str);

/// Reads a tree; its root.
///
/// # Errors
/// When the bytes are not a whole, well-formed tree.
pub fn parse(bytes: &[u8]) -> Result<Node<'_>, Malformed> {
    let header = |index: usize| {
        let at = bytes.get(index * 4..).and_then(|rest| rest.first_chunk());
        at.map(|&word| u32::from_be_bytes(word))
            .ok_or(Malformed("header cut off"))
    };
    let offset = |index| Ok(usize::try_from(header(index)?).unwrap_or(usize::MAX));
    if header(0)? != MAGIC {
        return Err(Malformed("wrong magic number"));
    }
    let total: usize = offset(1)?;
    let bytes = bytes.get(..total).ok_or(Malformed("cut off"))?;
    let structure = bytes
        .get(offset(2)?..)
        .ok_or(Malformed("structure block outside"))?;
    let strings = bytes
        .get(offset(3)?..)
        .ok_or(Malformed("strings block outside"))?;
    let mut cursor = Cursor {
        rest: structure,
        strings,
    };
    if cursor.token()? != BEGIN_NODE {
        return Err(Malformed("no root node"));
    }
    let root = cursor.node(0)?;
    if cursor.token()? != END {
        return Err(Malformed("no end"));
    }
    Ok(root)
}

struct Cursor<'a> {
    rest: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn word(&mut self) -> Result<u32, Malformed> {
        let (word, rest) = self.rest.split_first_chunk().ok_or(Malformed("cut off"))?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*word))
    }

    fn token(&mut self) -> Result<u32, Malformed> {
        loop {
            match self.word()? {
                NOP => {}
                token => return Ok(token),
            }
        }
    }

    /// Some bytes, and the padding after them.
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let padded = len
            .checked_next_multiple_of(4)
            .ok_or(Malformed("cut off"))?;
        let (bytes, rest) = self
            .rest
            .split_at_checked(padded)
            .ok_or(Malformed("cut off"))?;
        self.rest = rest;
        bytes.get(..len).ok_or(Malformed("cut off"))
    }

    fn node(&mut self, depth: usize) -> Result<Node<'a>, Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed("nodes nested too deep"));
        }
        let name = string(self.rest)?;
        self.bytes(name.len() + 1)?;
        let mut node = Node {
            name,
            ..Node::default()
        };
        loop {
            match self.token()? {
                BEGIN_NODE => node.children.push(self.node(depth + 1)?),
                PROP => {
                    let len = usize::try_from(self.word()?).unwrap_or(usize::MAX);
                    let name = usize::try_from(self.word()?).unwrap_or(usize::MAX);
                    let name = self.strings.get(name..).ok_or(Malformed("name outside"))?;
                    node.properties.push((string(name)?, self.bytes(len)?));
                }
                END_NODE => return Ok(node),
                _ => return Err(Malformed("unknown token")),
            }
        }
    }
}

/// A string up to its NUL.
fn string(bytes: &[u8]) -> Result<&str, Malformed> {
    let end = bytes
        .iter()
        .position(|&b| b == 0)
        .ok_or(Malformed("string without end"))?;
    std::str::from_utf8(&bytes[..end]).map_err(|_| Malformed("string is no text"))
}

impl<'a> Node<'a> {
    /// The node at a path such as `/cpus/cpu@0`; the empty path is this node.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Self> {
        path.split('/')
            .filter(|part| !part.is_empty())
            .try_fold(self, |node, part| {
                node.children.iter().find(|child| child.name == part)
            })
    }

    /// A property's bytes.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'a [u8]> {
        self.properties
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| *value)
    }

    /// A property of 32-bit cells.
    #[must_use]
    pub fn cells(&self, name: &str) -> Option<Vec<u32>> {
        let (words, rest) = self.property(name)?.as_chunks();
        rest.is_empty()
            .then(|| words.iter().map(|&w| u32::from_be_bytes(w)).collect())
    }

    /// A property of strings.
    #[must_use]
    pub fn strings(&self, name: &str) -> Option<Vec<&'a str>> {
        let text = std::str::from_utf8(self.property(name)?).ok()?;
        Some(text.strip_suffix('\0')?.split('\0').collect())
    }
}
