//! Where the entries of a key stand: some thirteen bytes for each entry, however long it is.
//!
//! The index is an array of cache lines of eight slots. A key's hash chooses a line; entries that find it full go into the next
//! one, so that whoever looks goes on as long as lines are full. A slot holds 24 further bits of the hash, and where the entry's
//! record is. Those bits are right by chance once in many millions; that the record is the right one is seen by looking at it.

use std::io;

use crate::key::Key;
use crate::records::{OFFSET_BITS, Offset, Reach, Records};

const PER_LINE: usize = 8;

/// So many of a line's slots are used on average. With more, many are full and the next has to be looked at too.
const USED: usize = 5;

/// Finds entries by their keys.
#[derive(Debug, Default)]
pub(crate) struct Index {
    lines: Box<[Line]>,
}

/// One cache line. Slots are filled from the front; an empty one is zero.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line([u64; PER_LINE]);

/// Collects what goes into an index.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    /// The hash of each entry's key, and where it stands.
    entries: Vec<(u64, Offset)>,
}

impl IndexBuilder {
    pub(crate) fn add(&mut self, key: Key<'_>, at: Offset) {
        self.entries.push((key.hash(), at));
    }

    /// The index of all entries that count: where two speak of the same, the later one.
    pub(crate) fn finish(mut self, records: &Records) -> io::Result<Index> {
        let entries = &mut self.entries;
        entries.sort_unstable_by(|(a, at_a), (b, at_b)| a.cmp(b).then(at_b.cmp(at_a)));
        drop_overruled(entries, records)?;
        let count = entries.len().div_ceil(USED).max(1);
        let mut index = Index {
            lines: vec![Line::default(); count].into(),
        };
        for (hash, at) in &*entries {
            // An empty slot is zero, hence the one.
            index.put(*hash, tag(*hash) << OFFSET_BITS | (at + 1));
        }
        Ok(index)
    }
}

impl Index {
    /// There is always room: fewer slots are used than there are.
    fn put(&mut self, hash: u64, slot: u64) {
        let mut line = self.line(hash);
        loop {
            if let Some(empty) = self.lines[line].0.iter_mut().find(|slot| **slot == 0) {
                *empty = slot;
                return;
            }
            line = (line + 1) % self.lines.len();
        }
    }

    /// Looks at the entries that may have the key with this hash, the later ones first, until `look` finds what it is after.
    pub(crate) fn find<R>(
        &self,
        hash: u64,
        mut look: impl FnMut(Offset) -> Option<R>,
    ) -> Option<R> {
        let tag = tag(hash);
        let mut line = self.line(hash);
        // It ends, for fewer slots are used than there are.
        loop {
            for &slot in &self.lines[line].0 {
                if slot == 0 {
                    return None;
                }
                if slot >> OFFSET_BITS == tag
                    && let Some(found) = look((slot & ((1 << OFFSET_BITS) - 1)) - 1)
                {
                    return Some(found);
                }
            }
            line = if line + 1 == self.lines.len() {
                0
            } else {
                line + 1
            };
        }
    }

    /// Brings the line of a hash near, and the one behind it, for one line in eight is full. What is touched before it is needed is
    /// waited for at once with all else that was.
    pub(crate) fn touch(&self, hash: u64) -> u64 {
        let line = self.line(hash);
        let next = self.lines.get(line + 1).map_or(0, |next| next.0[0]);
        self.lines[line].0[0] ^ next
    }

    /// How many bytes of memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// The line that a hash chooses, by its upper bits; [`tag`] is the lower ones.
    fn line(&self, hash: u64) -> usize {
        let scaled = (u128::from(hash) * self.lines.len() as u128) >> u64::BITS;
        usize::try_from(scaled).unwrap_or_default()
    }
}

fn tag(hash: u64) -> u64 {
    hash & ((1 << (u64::BITS - OFFSET_BITS)) - 1)
}

/// Drops the entries of which later ones say everything. Most keys have one entry only, and their records are not looked at.
fn drop_overruled(entries: &mut Vec<(u64, Offset)>, records: &Records) -> io::Result<()> {
    let (mut kept, mut from) = (0, 0);
    while from < entries.len() {
        let hash = entries[from].0;
        let same = entries[from..].iter().take_while(|entry| entry.0 == hash);
        let to = from + same.count();
        let mut said = Said::default();
        for at in from..to {
            let adds = to - from == 1
                || records.with(entries[at].1, |record| said.adds(record.key, record.reach))?;
            if adds {
                entries[kept] = entries[at];
                kept += 1;
            }
        }
        from = to;
    }
    entries.truncate(kept);
    Ok(())
}

/// What the later entries of one hash have said already.
#[derive(Default)]
struct Said(Vec<(Vec<u8>, Reach)>);

impl Said {
    /// Whether an entry says something new.
    fn adds(&mut self, key: Key<'_>, reach: Reach) -> bool {
        let Some((_, said)) = self.0.iter_mut().find(|(bytes, _)| bytes == key.bytes()) else {
            self.0.push((key.bytes().to_vec(), reach));
            return true;
        };
        let adds = reach.itself && !said.itself || reach.below && !said.below;
        said.itself |= reach.itself;
        said.below |= reach.below;
        adds
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::line::Entry;
    use crate::records::RecordWriter;

    proptest! {
        /// Against a map that is told the same.
        #[test]
        fn every_key_leads_to_its_latest_entry_and_no_other(
            names in prop::collection::vec(("[a-f]{1,3}", any::<bool>()), 0..300),
        ) {
            let mut writer = RecordWriter::new(&std::env::temp_dir());
            let (mut builder, mut latest) = (IndexBuilder::default(), HashMap::new());
            for (line, (name, below)) in (0..).zip(&names) {
                let entry = Entry { line, ..Entry::new(name) };
                let reach = Reach { itself: !below, below: *below };
                let at = writer.write(Key::name(name), reach, &entry).expect("it is written");
                builder.add(Key::name(name), at);
                latest.insert((name.clone(), *below), line);
            }
            let records = writer.finish().expect("it is written");
            let index = builder.finish(&records).expect("it is built");
            let slots = index.lines.iter().flat_map(|line| line.0);
            prop_assert_eq!(slots.filter(|slot| *slot != 0).count(), latest.len());
            for length in 1..=3 {
                for below in [false, true] {
                    let name = "abc"[..length].to_owned();
                    let found = index.find(Key::name(&name).hash(), |at| {
                        let look = |record: &crate::records::Record<'_>| {
                            let fits = record.key == Key::name(&name) && record.reach.below == below;
                            fits.then(|| record.entry().line)
                        };
                        records.with(at, look).expect("it is read")
                    });
                    prop_assert_eq!(found, latest.get(&(name, below)).copied());
                }
            }
        }
    }
}
