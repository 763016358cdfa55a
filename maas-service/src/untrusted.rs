//! Reading files that a model can have put there.
//!
//! A link may lead anywhere, a pipe may keep its reader waiting for ever, a file may be larger than the memory. So nothing is
//! followed, nothing waits, and nothing is read beyond a limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

/// Opens a regular file for reading.
///
/// # Errors
/// As the system says; [`io::ErrorKind::InvalidData`] for whatever is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let not_regular = |what: &str| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("is {what}, not a regular file"),
        )
    };
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::LOOP) => return Err(not_regular("a symbolic link")),
        Err(rustix::io::Errno::NXIO) => return Err(not_regular("a socket")),
        Err(error) => return Err(error.into()),
    };
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(File::from(file)),
        FileType::Directory => Err(not_regular("a folder")),
        FileType::Fifo => Err(not_regular("a pipe")),
        FileType::Symlink
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => Err(not_regular("a special file")),
    }
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open`]; [`io::ErrorKind::FileTooLarge`] for a larger one.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let too_large = |bytes: u64| {
        io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("has {bytes} bytes; at most {limit} are read"),
        )
    };
    let size = file.metadata()?.len();
    if size > limit {
        return Err(too_large(size));
    }
    let mut bytes = Vec::new();
    // It may have grown since its size was asked.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}
