//! What a model prints: drained without end into files that never outgrow their share.
//!
//! Each stream has a file and a few older ones (`stdout`, `stdout.1`, …). The pipe is always read, even when the disk is
//! full: a model that blocks on its own output would be a silent failure. What is printed faster than anybody could read it
//! before it is written over is left out, so that a flood does not keep the disk busy; its end is kept.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::untrusted;

/// The most bytes of one file.
const FILE_BYTES: u64 = 2 * 1024 * 1024;

/// How many older files are kept of a stream.
const OLDER_FILES: usize = 3;

/// In so much time no more is written of a stream than its files hold.
const WINDOW: Duration = Duration::from_secs(10);
const WINDOW_BYTES: u64 = FILE_BYTES * (1 + OLDER_FILES as u64);

/// So much of the end of what is left out is kept: as much as is read of a log to tell how a model failed.
const KEPT_BYTES: usize = LAST_BYTES as usize;

/// So much of a file is read for its last lines.
const LAST_BYTES: u64 = 8 * 1024;

/// How long to wait before a file that could not be opened is tried again.
const REOPEN: Duration = Duration::from_secs(1);

/// One stream's files.
pub(super) struct RotatedFile {
    path: PathBuf,
    /// None while it can't be opened, say on a full disk.
    file: Option<File>,
    written: u64,
    opened: Instant,
}

impl RotatedFile {
    /// Writes behind what `path` holds already.
    #[must_use]
    pub(super) fn new(path: PathBuf) -> Self {
        let file = open(&path, OpenOptions::new().create(true).append(true));
        let written = file
            .as_ref()
            .and_then(|f| f.metadata().ok())
            .map_or(0, |m| m.len());
        Self {
            path,
            file,
            written,
            opened: Instant::now(),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.written >= FILE_BYTES {
            self.rotate();
        } else if self.file.is_none() && self.opened.elapsed() > REOPEN {
            *self = Self::new(std::mem::take(&mut self.path));
        }
        if let Some(file) = &mut self.file {
            // A full disk must not stop the model; what can't be written is lost. A part of it may have been written all
            // the same, and counts too.
            let _lost = file.write_all(bytes);
            self.written += bytes.len() as u64;
        }
    }

    fn rotate(&mut self) {
        let older = |n: usize| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        for n in (1..OLDER_FILES).rev() {
            let _an_older_one_need_not_be_there = fs::rename(older(n), older(n + 1));
        }
        let _or_it_is_written_over = fs::rename(&self.path, older(1));
        self.file = open(
            &self.path,
            OpenOptions::new().create(true).write(true).truncate(true),
        );
        self.written = 0;
        self.opened = Instant::now();
    }

    /// Drains `stream` until it ends.
    pub(super) fn drain(mut self, mut stream: impl Read) {
        let mut buffer = vec![0; 64 * 1024];
        let mut allowance = Allowance::new(Instant::now());
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    let written = allowance.take(&buffer[..read], Instant::now());
                    written.iter().for_each(|bytes| self.write(bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        allowance.end().iter().for_each(|bytes| self.write(bytes));
    }
}

/// What a stream may still write in a window of time. Pure: the clock is an argument.
struct Allowance {
    since: Instant,
    taken: u64,
    left_out: u64,
    /// The end of what was left out.
    kept: Vec<u8>,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            taken: 0,
            left_out: 0,
            kept: Vec::new(),
        }
    }

    /// What is to be written now that a model printed `bytes`.
    fn take<'b>(&mut self, bytes: &'b [u8], now: Instant) -> Vec<Cow<'b, [u8]>> {
        let mut written = Vec::new();
        if now.saturating_duration_since(self.since) >= WINDOW {
            written.extend(self.end().map(Cow::Owned));
            *self = Self::new(now);
        }
        if self.left_out == 0 && self.taken < WINDOW_BYTES {
            self.taken += bytes.len() as u64;
            written.push(Cow::Borrowed(bytes));
            return written;
        }
        if self.left_out == 0 {
            let note = format!(
                "\n[more than {WINDOW_BYTES} bytes within {} s: what follows is left out, but for its end]\n",
                WINDOW.as_secs()
            );
            written.push(Cow::Owned(note.into_bytes()));
        }
        self.left_out += bytes.len() as u64;
        self.kept.extend_from_slice(bytes);
        let surplus = self.kept.len().saturating_sub(KEPT_BYTES);
        self.kept.drain(..surplus);
        written
    }

    /// What is to be written when something was left out and nothing more will be.
    fn end(&mut self) -> Option<Vec<u8>> {
        let lost = self.left_out - self.kept.len() as u64;
        (self.left_out > 0).then(|| {
            let mut note = format!("[{lost} bytes left out]\n").into_bytes();
            note.append(&mut self.kept);
            note
        })
    }
}

/// Opens a log without following a link or waiting at a pipe that the model may have put there.
fn open(path: &Path, how: &mut OpenOptions) -> Option<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    how.custom_flags(i32::try_from(flags.bits()).ok()?)
        .open(path)
        .ok()
}

/// How far a file has been written, to tell what comes later from what was there before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    inode: u64,
    length: u64,
}

impl Mark {
    /// The end of `path` as it is now.
    pub(super) fn at_end_of(path: &Path) -> Self {
        let mark = |file: fs::Metadata| Self {
            inode: file.ino(),
            length: file.len(),
        };
        fs::symlink_metadata(path).map(mark).unwrap_or_default()
    }
}

/// The last lines of a file, at most `lines` and each cut to a readable length.
#[must_use]
pub fn last_lines(path: &Path, lines: usize) -> Vec<String> {
    last_lines_behind(Mark::default(), path, lines)
}

/// The last lines of a file that were written after `mark` was made.
pub(super) fn last_lines_behind(mark: Mark, path: &Path, lines: usize) -> Vec<String> {
    const LINE: usize = 300;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = untrusted::open(path)?;
        let now = file.metadata()?;
        // A file that was begun since, by rotation, is new from its first byte.
        let old = if now.ino() == mark.inode {
            mark.length
        } else {
            0
        };
        file.seek(SeekFrom::Start(
            now.len().saturating_sub(LAST_BYTES).max(old),
        ))?;
        let mut bytes = Vec::new();
        file.take(LAST_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let all: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let cut = |line: &&str| match line.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => (*line).to_owned(),
    };
    all[all.len().saturating_sub(lines)..]
        .iter()
        .map(cut)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_output_fills_a_bounded_number_of_bounded_files() {
        let folder = test_support::TempDir::new().expect("a folder");
        let path = folder.path().join("stdout");
        let mut log = RotatedFile::new(path);
        for _ in 0..20 * FILE_BYTES / 4096 {
            log.write(&[b'x'; 4096]);
        }
        let sizes: Vec<u64> = fs::read_dir(&folder)
            .expect("it")
            .map(|e| e.expect("an entry").metadata().expect("its size").len())
            .collect();
        assert_eq!(sizes.len(), 1 + OLDER_FILES);
        assert!(
            sizes.iter().all(|&size| size <= FILE_BYTES + 64 * 1024),
            "{sizes:?}"
        );
    }

    #[test]
    fn a_flood_is_left_out_but_for_its_beginning_and_its_end() {
        let folder = test_support::TempDir::new().expect("a folder");
        let path = folder.path().join("stdout");
        let flood = io::repeat(b'x').take(100 * FILE_BYTES);
        RotatedFile::new(path.clone()).drain(flood.chain(b"\nthe last line\n".as_slice()));
        let written: u64 = fs::read_dir(&folder)
            .expect("it")
            .map(|e| e.expect("an entry").metadata().expect("its size").len())
            .sum();
        assert!(written <= WINDOW_BYTES + 128 * 1024, "{written}");
        assert_eq!(last_lines(&path, 1), ["the last line"]);
        let end = fs::read_to_string(&path).expect("text");
        assert!(end.contains("within 10 s") && end.contains(" bytes left out]"));
    }

    #[test]
    fn after_a_flood_everything_is_written_again() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let chunk = vec![b'x'; 64 * 1024];
        let mut take = |bytes: &[u8], after: Duration| -> Vec<u8> {
            allowance.take(bytes, start + after).concat()
        };
        let mut passed = 0;
        while passed < WINDOW_BYTES {
            assert_eq!(take(&chunk, Duration::ZERO), chunk);
            passed += chunk.len() as u64;
        }
        let told = take(b"first", Duration::from_secs(1));
        assert!(told.starts_with(b"\n[more than ") && !told.ends_with(b"first"));
        assert!(take(&chunk, Duration::from_secs(2)).is_empty(), "told once");
        assert!(take(b"last", WINDOW - Duration::from_millis(1)).is_empty());
        let again = String::from_utf8(take(b"new", WINDOW)).expect("text");
        let lost = 5 + chunk.len() + 4 - KEPT_BYTES;
        assert!(
            again.starts_with(&format!("[{lost} bytes left out]\nxxx")),
            "{again}"
        );
        assert!(again.ends_with("xlastnew"), "{again}");
        assert_eq!(take(b"more", WINDOW), b"more");
    }

    #[test]
    fn a_full_disk_neither_stops_the_model_nor_the_log_for_good() {
        let folder = test_support::TempDir::new().expect("a folder");
        let path = folder.path().join("stdout");
        let full = RotatedFile {
            file: Some(File::create("/dev/full").expect("every Linux has it")),
            ..RotatedFile::new(path.clone())
        };
        let mut drained = io::repeat(b'x').take(3 * FILE_BYTES);
        full.drain(&mut drained);
        assert_eq!(drained.limit(), 0, "all of it was taken");

        // What stands in the way of the file is gone after a while.
        fs::remove_file(&path).expect("rotated");
        fs::create_dir(&path).expect("in its place");
        let mut log = RotatedFile::new(path.clone());
        log.write(b"lost");
        fs::remove_dir(&path).expect("empty");
        log.opened -= REOPEN;
        log.write(b"kept");
        assert_eq!(fs::read(&path).expect("there again"), b"kept");
    }

    #[test]
    fn what_was_printed_before_a_mark_is_left_out() {
        let folder = test_support::TempDir::new().expect("a folder");
        let path = folder.path().join("stderr");
        let before = Mark::at_end_of(&path);
        fs::write(&path, "first\n").expect("written");
        let between = Mark::at_end_of(&path);
        assert_eq!(last_lines_behind(before, &path, 5), ["first"]);
        assert!(last_lines_behind(between, &path, 5).is_empty());
        fs::write(&path, "first\nsecond\n").expect("written");
        assert_eq!(last_lines_behind(between, &path, 5), ["second"]);
        fs::rename(&path, folder.path().join("stderr.1")).expect("rotated");
        fs::write(&path, "third\n").expect("written");
        assert_eq!(last_lines_behind(between, &path, 5), ["third"]);
    }

    #[test]
    fn the_last_lines_are_found_in_what_is_no_text_too() {
        let folder = test_support::TempDir::new().expect("a folder");
        let path = folder.path().join("stderr");
        fs::write(
            &path,
            [b"first\n\nsecond\n".as_slice(), b"\xff\xfe third"].concat(),
        )
        .expect("written");
        assert_eq!(last_lines(&path, 2), ["second", "\u{fffd}\u{fffd} third"]);
        assert!(last_lines(&folder.path().join("missing"), 2).is_empty());
    }
}
