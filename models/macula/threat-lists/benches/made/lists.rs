//! Ten million names that are made here, in four lists, for every bench that measures long ones.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

/// So many there are in all.
pub(crate) const ENTRIES: usize = 10_000_000;

/// The lists they are in.
pub(crate) const FILES: [&str; 4] = [
    "whitelist.txt",
    "blacklist.txt",
    "darklist.txt",
    "feeds/feed.txt",
];

/// The name with this number: the numbers are shuffled into letters, so that neighbours have nothing in common.
pub(crate) fn name(number: usize) -> String {
    let mut rest = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut name = String::with_capacity(20);
    for _ in 0..11 {
        name.push(char::from(b'a' + (rest % 26) as u8));
        rest /= 26;
    }
    name + [".com", ".net", ".org", ".info"][number % 4]
}

pub(crate) fn write_lists(folder: &Path) {
    fs::create_dir_all(folder.join("feeds")).unwrap();
    for (at, file) in FILES.iter().enumerate() {
        let mut file = BufWriter::new(File::create(folder.join(file)).unwrap());
        for number in (at..ENTRIES).step_by(FILES.len()) {
            writeln!(file, "{}", name(number)).unwrap();
        }
        file.flush().unwrap();
    }
}
