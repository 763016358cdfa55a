//! Where the entries of a key stand: eight bytes for each entry and a little for the way there, whatever its length.
//!
//! The first bits of a key's hash choose one of the buckets, which lie in one array one behind the other. In its bucket an entry
//! is known by 24 further bits of the hash, and beside them stands where its record is. Those bits are right by chance once in
//! many millions; that the record is the right one is seen by looking at it.

use std::io;

use crate::key::Key;
use crate::records::{OFFSET_BITS, Offset, Reach, Records};

/// How many entries a bucket has on average: they fill a cache line.
const PER_BUCKET: usize = 8;

/// Finds entries by their keys.
#[derive(Debug)]
pub(crate) struct Index {
    /// How many bits of the hash choose the bucket.
    bits: u32,
    /// Where each bucket begins; the next one's beginning is its end.
    starts: Box<[u32]>,
    /// Tag and offset of each entry; of equal tags the later entry comes first.
    slots: Box<[u64]>,
}

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
        if u32::try_from(entries.len()).is_err() {
            return Err(io::Error::other("a list may not have 4 billion entries"));
        }
        let buckets = (entries.len() / PER_BUCKET).next_power_of_two();
        let bits = buckets.trailing_zeros();
        let mut starts = Vec::with_capacity(buckets + 1);
        let mut slots = Vec::with_capacity(entries.len());
        for (hash, at) in &*entries {
            let end = u32::try_from(slots.len()).map_err(io::Error::other)?;
            starts.resize(bucket(*hash, bits) + 1, end);
            slots.push(tag(*hash, bits) << OFFSET_BITS | at);
        }
        let end = u32::try_from(slots.len()).map_err(io::Error::other)?;
        starts.resize(buckets + 1, end);
        Ok(Index {
            bits,
            starts: starts.into(),
            slots: slots.into(),
        })
    }
}

impl Index {
    /// Where entries stand that may have the key with this hash, the later ones first.
    pub(crate) fn candidates(&self, hash: u64) -> impl Iterator<Item = Offset> {
        let bucket = bucket(hash, self.bits);
        let [start, end] = [self.starts[bucket], self.starts[bucket + 1]];
        let tag = tag(hash, self.bits);
        self.slots[start as usize..end as usize]
            .iter()
            .filter(move |slot| *slot >> OFFSET_BITS == tag)
            .map(|slot| slot & ((1 << OFFSET_BITS) - 1))
    }

    /// How many bytes of memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.starts) + size_of_val(&*self.slots)
    }
}

fn bucket(hash: u64, bits: u32) -> usize {
    // A shift by all 64 bits is none in the processor's eyes.
    usize::try_from(hash.checked_shr(u64::BITS - bits).unwrap_or(0)).unwrap_or(usize::MAX)
}

fn tag(hash: u64, bits: u32) -> u64 {
    hash << bits >> OFFSET_BITS
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
            prop_assert_eq!(index.slots.len(), latest.len());
            for length in 1..=3 {
                for below in [false, true] {
                    let name = "abc"[..length].to_owned();
                    let found = index.candidates(Key::name(&name).hash()).find_map(|at| {
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
