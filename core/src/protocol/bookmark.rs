//! Bookmarks: the cursors of all of a session's channels in one short text, the `id` of an event stream.
//! A bookmark names its channels by tags only: whoever resumes says which channels it means.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::{BufMut as _, BytesMut};
use sha2::{Digest as _, Sha256};

use super::frame::{put_varint, varint};
use crate::vocabulary::{Channel, Cursor, Epoch, LogName, Partition, Position};

/// No bookmark's text is longer.
pub const MAX_BOOKMARK_BYTES: usize = 4096;

/// The cursors of so many channels fit for sure, whatever their offsets, in up to five epochs of logs.
pub const BOOKMARK_CHANNELS: usize = 128;

const VERSION: char = '1';
const TAG_BYTES: usize = 6;

/// What stands for a channel: the first bytes of its name's SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag([u8; TAG_BYTES]);

/// Where a session stands in each of its channels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bookmark {
    places: BTreeMap<Tag, Cursor>,
    /// Two of the channels have one tag.
    ambiguous: bool,
}

/// The text is not a bookmark of a version that this code knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a bookmark")]
pub struct BookmarkError;

impl Tag {
    /// The channel's.
    pub fn of(channel: &Channel) -> Self {
        let digest = Sha256::digest(channel.as_str().as_bytes());
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&digest[..TAG_BYTES]);
        Self(tag)
    }
}

impl Bookmark {
    /// Notes where the session stands in a channel.
    pub fn insert(&mut self, tag: Tag, cursor: Cursor) {
        match self.places.entry(tag) {
            Entry::Vacant(vacant) => drop(vacant.insert(cursor)),
            Entry::Occupied(_) => self.ambiguous = true,
        }
    }

    /// Where it stood in the channel; `None`: it had no such channel.
    pub fn cursor(&self, channel: &Channel) -> Option<&Cursor> {
        self.places.get(&Tag::of(channel))
    }

    /// The text; `None` where it would be too long, or would not say which channel is meant. A client
    /// without it resumes from the one before: it gets events again and misses none.
    pub fn to_text(&self) -> Option<String> {
        if self.ambiguous {
            return None;
        }
        let mut places: Vec<(&Tag, &Cursor)> = self.places.iter().collect();
        let group = |cursor: &Cursor| (cursor.log.clone(), cursor.position.epoch);
        places.sort_by_key(|(tag, cursor)| (group(cursor), **tag));
        let mut out = BytesMut::with_capacity(40 + places.len() * 12);
        for places in places.chunk_by(|(_, one), (_, other)| group(one) == group(other)) {
            let (log, epoch) = group(places[0].1);
            out.put_u8(log.as_str().len() as u8);
            out.put_slice(log.as_str().as_bytes());
            put_varint(&mut out, u64::from(epoch.0));
            put_varint(&mut out, places.len() as u64);
            for (tag, cursor) in places {
                out.put_slice(&tag.0);
                put_varint(&mut out, u64::from(cursor.partition.0));
                put_varint(&mut out, cursor.position.next_offset().0);
            }
        }
        let text = format!("{VERSION}{}", BASE64.encode(&out));
        (text.len() <= MAX_BOOKMARK_BYTES).then_some(text)
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Self, BookmarkError> {
        if text.len() > MAX_BOOKMARK_BYTES {
            return Err(BookmarkError);
        }
        let encoded = text.strip_prefix(VERSION).ok_or(BookmarkError)?;
        let bytes = BASE64.decode(encoded).map_err(|_| BookmarkError)?;
        let mut rest = Rest(&bytes);
        let mut bookmark = Self::default();
        while !rest.0.is_empty() {
            let len = rest.take(1)?[0];
            let log = std::str::from_utf8(rest.take(usize::from(len))?).ok();
            let log = log.and_then(|log| LogName::parse(log).ok()).ok_or(BookmarkError)?;
            let epoch = Epoch(rest.number()?);
            let count: u32 = rest.number()?;
            if epoch.0 == 0 {
                return Err(BookmarkError);
            }
            for _ in 0..count {
                let mut tag = [0; TAG_BYTES];
                tag.copy_from_slice(rest.take(TAG_BYTES)?);
                let partition = Partition(rest.number()?);
                let next: u64 = rest.number()?;
                if next > 1 << 53 {
                    return Err(BookmarkError);
                }
                let position = Position { epoch, passed: next as i64 - 1 };
                bookmark.insert(Tag(tag), Cursor { log: log.clone(), partition, position });
            }
        }
        if bookmark.ambiguous { Err(BookmarkError) } else { Ok(bookmark) }
    }
}

/// What is left to read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], BookmarkError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(BookmarkError)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<T: TryFrom<u64>>(&mut self) -> Result<T, BookmarkError> {
        let (value, len) = varint(self.0).ok_or(BookmarkError)?;
        self.0 = &self.0[len..];
        T::try_from(value).map_err(|_| BookmarkError)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn channel(name: &str) -> Channel {
        Channel::parse(name).unwrap()
    }

    fn bookmark(places: &[(&str, &str)]) -> Bookmark {
        let mut bookmark = Bookmark::default();
        for (name, cursor) in places {
            bookmark.insert(Tag::of(&channel(name)), Cursor::parse(cursor).unwrap());
        }
        bookmark
    }

    #[test]
    fn all_cursors_come_back() {
        let places = [
            ("a:b", "1.global.1.3.8340"),
            ("a:c", "1.global.2.0.-1"),
            ("a:d", "1.global.2.63.9007199254740991"),
            ("b:c", "1.eu.1.4294967295.0"),
        ];
        let text = bookmark(&places).to_text().unwrap();
        let read = Bookmark::parse(&text).unwrap();
        for (name, cursor) in places {
            assert_eq!(read.cursor(&channel(name)).unwrap().to_string(), cursor);
        }
        assert_eq!(read.cursor(&channel("a:e")), None);
        assert_eq!(read.to_text().unwrap(), text);
    }

    /// Clients keep bookmarks: this text must be read for as long as its version lives.
    #[test]
    fn the_text_is_as_it_was() {
        let places = [("flights:SFO", "1.global.1.3.8340"), ("flights:LAX", "1.global.1.0.-1")];
        let text = "1Bmdsb2JhbAECS0nA7_LhAABy5E3Q6F0DYJU";
        assert_eq!(bookmark(&places).to_text().as_deref(), Some(text));
        assert_eq!(Bookmark::default().to_text().as_deref(), Some("1"));
        assert_eq!(Bookmark::parse("1"), Ok(Bookmark::default()));
    }

    #[test]
    fn as_many_channels_as_promised_fit() {
        let mut full = Bookmark::default();
        for n in 0..BOOKMARK_CHANNELS {
            let log = format!("l{}{}", n % 5, "x".repeat(29));
            let cursor = format!("1.{log}.4294967295.4294967295.9007199254740991");
            full.insert(Tag::of(&channel(&format!("a:{n}"))), Cursor::parse(&cursor).unwrap());
        }
        let text = full.to_text().expect("it fits");
        assert_eq!(Bookmark::parse(&text).unwrap(), full);
        for n in 0..BOOKMARK_CHANNELS {
            let cursor = Cursor::parse("1.global.1.1.9007199254740991").unwrap();
            full.insert(Tag::of(&channel(&format!("b:{n}"))), cursor);
        }
        assert_eq!(full.to_text(), None);
    }

    #[test]
    fn two_channels_of_one_tag_have_no_text() {
        let mut twice = bookmark(&[("a:b", "1.global.1.3.1")]);
        twice.insert(Tag::of(&channel("a:b")), Cursor::parse("1.global.1.3.2").unwrap());
        assert_eq!(twice.to_text(), None);
    }

    #[test]
    fn what_is_no_bookmark_is_refused() {
        let good = bookmark(&[("a:b", "1.global.1.3.8340")]).to_text().unwrap();
        for end in 1..good.len() {
            let _ = Bookmark::parse(&good[..end]);
        }
        for bad in ["", "2", "0", "1=", "1 ", "1BB", &good[1..], &format!("{good}AAAA")] {
            assert_eq!(Bookmark::parse(bad), Err(BookmarkError), "{bad:?}");
        }
        let long = format!("1{}", "A".repeat(MAX_BOOKMARK_BYTES));
        assert_eq!(Bookmark::parse(&long), Err(BookmarkError));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = format!("1{}", BASE64.encode(&bytes));
            if let Ok(read) = Bookmark::parse(&text) {
                let again = Bookmark::parse(&read.to_text().unwrap());
                prop_assert_eq!(again, Ok(read));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,100}") {
            let _ = Bookmark::parse(&text);
        }
    }
}
