//! Families whose letters come in no order.

use md5::{Digest, Md5};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sha2::Sha256;

use super::{Seed, letter, minimal_standard, pick};

/// The first four letters of each name are computed from those of the name before; the rest stays.
pub(super) fn banjori(seed: &Seed, count: usize) -> Vec<String> {
    // A botnet's first name is two words and a few letters; which, only its owner knows.
    let mut rng = rng(seed, "banjori");
    let mut names = Vec::new();
    while names.len() < count {
        let mut first = String::new();
        while first.len() < 22 {
            first.push_str(pick(seed.words, rng.random()));
        }
        first.truncate(22);
        (0..4).for_each(|_| first.push(letter(rng.random(), 26)));
        names.extend(banjori_from(&first, 100.min(count - names.len())));
    }
    names.into_iter().map(|name| name + ".com").collect()
}

pub(super) fn banjori_from(first: &str, count: usize) -> Vec<String> {
    let wrapped = |sum: u32| b'a' + ((sum - u32::from(b'a')) % 26) as u8;
    let mut name = first.as_bytes().to_vec();
    let names = (0..count).map(|_| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| u32::from(name[at]));
        name[0] = wrapped(a + d);
        name[1] = wrapped(u32::from(name[0]) + 2 * b);
        name[2] = wrapped(u32::from(name[0]) + c - 1);
        name[3] = wrapped(u32::from(name[1]) + u32::from(name[2]) + d);
        String::from_utf8_lossy(&name).into_owned()
    });
    names.collect()
}

/// Sixteen letters and digits from a digest of the date.
pub(super) fn chinad(seed: &Seed, count: usize) -> Vec<String> {
    const SUFFIXES: [&str; 7] = ["com", "org", "net", "biz", "info", "ru", "cn"];
    let name = |index: u32| {
        let digest = sha(seed, index);
        let label: String = digest[..16]
            .iter()
            .map(|byte| base36(u32::from(*byte)))
            .collect();
        format!("{label}.{}", pick(&SUFFIXES, u32::from(digest[16])))
    };
    (0..count as u32).map(name).collect()
}

/// Letters from a congruential generator that starts with the date.
pub(super) fn conficker(seed: &Seed, count: usize) -> Vec<String> {
    const SUFFIXES: [&str; 8] = ["biz", "info", "org", "net", "com", "ws", "cn", "cc"];
    let mut state = (u64::from(seed.days()) << 32 | u64::from(seed.number)) ^ 0xB11D_2A95_3C9F_71E3;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let name = |_| {
        let length = 5 + next() % 7;
        let label: String = (0..length).map(|_| letter(next(), 26)).collect();
        format!("{label}.{}", pick(&SUFFIXES, next()))
    };
    (0..count).map(name).collect()
}

/// Year, month, day and a key are shifted and mixed for every letter.
pub(super) fn cryptolocker(seed: &Seed, count: usize) -> Vec<String> {
    const SUFFIXES: [&str; 7] = ["com", "net", "biz", "ru", "org", "co.uk", "info"];
    let name = |index: u32| {
        let key = seed
            .number
            .wrapping_mul(0x9E37)
            .wrapping_add(index)
            .wrapping_add(1);
        let year = seed.year().wrapping_add(key);
        let month = seed.month().wrapping_add(key << 3);
        let day = seed.day().wrapping_add(key << 5);
        let label = mixed_date(year, month, day, 12 + (key % 4) as usize);
        format!("{label}.{}", pick(&SUFFIXES, index))
    };
    (0..count as u32).map(name).collect()
}

/// The numbers grow beyond 32 bits on the way, and no further than 57.
pub(super) fn mixed_date(year: u32, month: u32, day: u32, length: usize) -> String {
    let [mut year, mut month, mut day] = [year, month, day].map(u64::from);
    let letters = (0..length).map(|_| {
        year = ((year ^ (year << 3)) >> 11) ^ ((year & 0xFFFF_FFF0) << 17);
        month = ((month ^ (month << 2)) >> 25) ^ ((month & 0xFFFF_FFF8) << 4);
        day = ((day ^ (day << 13)) >> 19) ^ ((day & 0xFFFF_FFFE) << 12);
        letter(((year ^ month ^ day) % 25) as u32, 25)
    });
    letters.collect()
}

/// A letter that counts, then the beginning of a digest in hexadecimal.
pub(super) fn dyre(seed: &Seed, count: usize) -> Vec<String> {
    const SUFFIXES: [&str; 8] = ["cc", "ws", "to", "in", "hk", "cn", "tk", "so"];
    let name = |index: u32| {
        let digest = sha(seed, index);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "{}{}.{}",
            letter(index, 26),
            &hex[..33],
            pick(&SUFFIXES, index)
        )
    };
    (0..count as u32).map(name).collect()
}

/// Each byte of an MD5 of the date gives up to two letters.
pub(super) fn murofet(seed: &Seed, count: usize) -> Vec<String> {
    const SUFFIXES: [&str; 6] = ["biz", "info", "org", "net", "com", "ru"];
    let name = |index: u32| {
        let digest = md5(seed, index);
        let mut label = String::new();
        for byte in digest {
            let (low, high) = (b'a' + (byte & 0x1f), b'a' + (byte >> 3));
            if low != high {
                label.extend(
                    [low, high]
                        .into_iter()
                        .filter(u8::is_ascii_lowercase)
                        .map(char::from),
                );
            }
        }
        format!("{label}.{}", pick(&SUFFIXES, index))
    };
    (0..count as u32).map(name).collect()
}

/// Modular multiplications of a magic number, the four-day period and the index.
pub(super) fn necurs(seed: &Seed, count: usize) -> Vec<String> {
    const SUFFIXES: [&str; 12] = [
        "tj", "in", "jp", "tw", "ac", "cm", "la", "mn", "so", "sh", "sc", "nu",
    ];
    let name = |index: u32| {
        let mut state = u64::from(seed.number ^ 0x9) << 32 | u64::from(index);
        for part in [seed.year(), seed.month(), seed.day() / 4 * 4, index] {
            state = scrambled(state.wrapping_add(u64::from(part) << 7));
        }
        let mut next = || {
            state = scrambled(state);
            (state >> 17) as u32
        };
        let length = 7 + next() % 15;
        let label: String = (0..length).map(|_| letter(next(), 25)).collect();
        format!("{label}.{}", pick(&SUFFIXES, next()))
    };
    (0..count as u32).map(name).collect()
}

fn scrambled(value: u64) -> u64 {
    let mixed = (value ^ value >> 31)
        .wrapping_mul(0x5DEE_CE66_D1CE_4E5B)
        .wrapping_add(0xD000_0BB1);
    mixed ^ mixed >> 29
}

/// The words of an MD5 of the date, each written to base 36 and reversed.
pub(super) fn newgoz(seed: &Seed, count: usize) -> Vec<String> {
    const SUFFIXES: [&str; 4] = ["com", "net", "org", "biz"];
    let name = |index: u32| {
        let digest = md5(seed, index);
        let mut label = String::new();
        for word in digest.chunks_exact(4) {
            let mut rest = word
                .iter()
                .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
            while rest > 0 {
                label.push(base36(rest));
                rest /= 36;
            }
        }
        // Four digits to base 36 are the least a word is expected to give.
        while label.len() < 20 {
            label.push('0');
        }
        format!("{label}.{}", pick(&SUFFIXES, index))
    };
    (0..count as u32).map(name).collect()
}

/// A third of a month, through a checksum, seeds a good generator.
pub(super) fn qakbot(seed: &Seed, count: usize) -> Vec<String> {
    const SUFFIXES: [&str; 5] = ["com", "net", "org", "info", "biz"];
    let third = (seed.day().saturating_sub(1) / 10).min(2);
    let period = format!(
        "{third}.{}.{}.{:08x}",
        seed.month(),
        seed.year(),
        seed.number
    );
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(crc32(period.as_bytes())));
    let name = |_| {
        let length = rng.random_range(8..=25);
        let label: String = (0..length).map(|_| letter(rng.random(), 26)).collect();
        format!("{label}.{}", pick(&SUFFIXES, rng.random()))
    };
    (0..count).map(name).collect()
}

/// The minimal standard generator for length and letters; two of its numbers multiplied seed the next name.
pub(super) fn ramnit(seed: &Seed, count: usize) -> Vec<String> {
    let mut state = seed.number ^ seed.days().wrapping_mul(0x0101_0101) | 1;
    let name = |_| {
        let first = minimal_standard(state);
        let length = first % 12 + 8;
        let mut at = first;
        let label: String = (0..length)
            .map(|_| {
                at = minimal_standard(at);
                letter(at, 25)
            })
            .collect();
        state = (u64::from(first) * u64::from(at) % 0x7fff_fff1) as u32 | 1;
        format!("{label}.com")
    };
    (0..count).map(name).collect()
}

/// Fourteen letters from shifts and differences of a seed and the date.
pub(super) fn ranbyus(seed: &Seed, count: usize) -> Vec<String> {
    const SUFFIXES: [&str; 8] = ["in", "me", "cc", "su", "tw", "net", "com", "pw"];
    let (mut day, mut month, mut year) = (seed.day(), seed.month(), seed.year());
    let mut mixed = seed.number | 1;
    let name = |index| {
        let letters = (0..14).map(|_| {
            day =
                (day >> 15) ^ (16_u32.wrapping_mul(day & 0x1FFF ^ 4_u32.wrapping_mul(mixed ^ day)));
            year = ((year & 0xFFFF_FFF0) << 17) ^ ((year ^ year.wrapping_mul(7)) >> 11);
            month =
                14_u32.wrapping_mul(month & 0xFFFF_FFFE) ^ ((month ^ month.wrapping_mul(4)) >> 8);
            mixed = (mixed >> 6) ^ ((day.wrapping_add(mixed.wrapping_mul(8)) << 8) & 0x03FF_FF00);
            letter(day ^ month ^ year, 25)
        });
        format!("{}.{}", letters.collect::<String>(), pick(&SUFFIXES, index))
    };
    (0..count as u32).map(name).collect()
}

/// A running sum over the bytes of the last name and a key.
pub(super) fn tinba(seed: &Seed, count: usize) -> Vec<String> {
    const SUFFIXES: [&str; 5] = ["com", "net", "in", "ru", "pw"];
    let mut last: Vec<u8> = b"goodnamesarehard".to_vec();
    let mut state = seed.number ^ seed.days() << 8;
    let name = |index: u32| {
        let letters = (0..12).map(|at| {
            let with =
                u32::from(last[at % last.len()]) + u32::from(last[(at * 7 + 3) % last.len()]);
            state = state
                .wrapping_mul(0x19)
                .wrapping_add(with << 3)
                .wrapping_add(index)
                .wrapping_add(0x5F3)
                ^ state >> 11;
            letter(state >> 5, 25)
        });
        let label: String = letters.collect();
        last = label.as_bytes().to_vec();
        format!("{label}.{}", pick(&SUFFIXES, index))
    };
    (0..count as u32).map(name).collect()
}

fn rng(seed: &Seed, family: &str) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(
        u64::from(seed.number) << 32 | u64::from(seed.days()) ^ u64::from(crc32(family.as_bytes())),
    )
}

fn base36(number: u32) -> char {
    char::from_digit(number % 36, 36).expect("a remainder by 36 is a digit to base 36")
}

fn input(seed: &Seed, index: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (place, number) in bytes.chunks_exact_mut(4).zip([
        seed.number,
        seed.year(),
        seed.month() << 8 | seed.day(),
        index,
    ]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn md5(seed: &Seed, index: u32) -> Vec<u8> {
    Md5::digest(input(seed, index)).to_vec()
}

fn sha(seed: &Seed, index: u32) -> Vec<u8> {
    Sha256::digest(input(seed, index)).to_vec()
}

/// The checksum of Ethernet and zip.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| {
        if crc & 1 == 1 {
            crc >> 1 ^ 0xEDB8_8320
        } else {
            crc >> 1
        }
    };
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    })
}
