//! What a model prints: drained without end into files that never outgrow their share.
//!
//! Each stream has a file and a few older ones (`stdout`, `stdout.1`, …). The pipe is always read, even when the disk is
//! full: a model that blocks on its own output would be a silent failure. What comes faster than the disk is to be loaded
//! with is dropped, but for its end, and a line tells how much that was.

mod allowance;
mod log;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::redaction::{LEFT_OUT, harmless};
use crate::untrusted;
use allowance::Allowance;
pub use log::RunnerLog;

/// The most bytes of one file.
const FILE_BYTES: u64 = 2 * 1024 * 1024;

/// How many older files are kept of a stream.
const OLDER_FILES: usize = 3;

/// How long to wait before a file that could not be opened is tried again.
const REOPEN: Duration = Duration::from_secs(1);

/// How much of what was dropped is kept for the case that nothing comes behind it: a model's last words tell most.
const LAST_WORDS: usize = 8 * 1024;

/// One stream's files.
pub(super) struct RotatedFile {
    path: PathBuf,
    /// None before anything is written, and while it can't be opened, say on a full disk.
    file: Option<File>,
    written: u64,
    /// When it was opened last, or could not be.
    tried: Option<Instant>,
    allowance: Allowance,
    dropped: Dropped,
}

/// What came too fast to be written since something was.
#[derive(Default)]
struct Dropped {
    bytes: u64,
    /// The last of them.
    end: VecDeque<u8>,
}

impl Dropped {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let new = &bytes[bytes.len().saturating_sub(LAST_WORDS)..];
        let kept = LAST_WORDS - new.len();
        self.end.drain(..self.end.len().saturating_sub(kept));
        self.end.extend(new);
    }

    /// What is to be written instead: how much is missing, and what came last.
    fn into_text(self) -> Vec<u8> {
        let end: Vec<u8> = self.end.into();
        let missing = self.bytes - end.len() as u64;
        if missing == 0 {
            return end;
        }
        let note = format!(
            "\n[maas: {missing} bytes are missing here: the model printed more than {} bytes a second]\n",
            allowance::RATE
        );
        [note.into_bytes(), end].concat()
    }
}

impl RotatedFile {
    /// Writes behind what `path` holds already. The file is made with the first thing in it.
    #[must_use]
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            written: 0,
            tried: None,
            allowance: Allowance::new(Instant::now()),
            dropped: Dropped::default(),
        }
    }

    /// Writes what was printed, or drops it where it comes too fast.
    fn print(&mut self, bytes: &[u8], now: Instant) {
        if !self.allowance.take(bytes.len() as u64, now) {
            return self.dropped.add(bytes);
        }
        self.tell_dropped();
        self.write(bytes);
    }

    fn tell_dropped(&mut self) {
        if self.dropped.bytes > 0 {
            let text = std::mem::take(&mut self.dropped).into_text();
            self.write(&text);
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.written >= FILE_BYTES {
            self.rotate();
        } else if self.file.is_none() && self.tried.is_none_or(|tried| tried.elapsed() > REOPEN) {
            self.open();
        }
        if let Some(file) = &mut self.file {
            // A full disk must not stop the model; what can't be written is lost. A part of it may have been written all
            // the same, and counts too.
            let _lost = file.write_all(bytes);
            self.written += bytes.len() as u64;
        }
    }

    fn open(&mut self) {
        self.file = open(&self.path, OpenOptions::new().create(true).append(true));
        let metadata = self.file.as_ref().and_then(|file| file.metadata().ok());
        self.written = metadata.map_or(0, |metadata| metadata.len());
        self.tried = Some(Instant::now());
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
        self.tried = Some(Instant::now());
    }

    /// Drains `stream` until it ends.
    pub(super) fn drain(mut self, mut stream: impl Read + AsFd) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            // The end of a flood is not to wait for what the model prints next.
            if self.dropped.bytes > 0 && falls_silent(&stream) {
                self.tell_dropped();
            }
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => self.print(&buffer[..read], Instant::now()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.tell_dropped();
    }
}

/// Whether nothing comes for a while.
fn falls_silent(stream: &impl AsFd) -> bool {
    const WHILE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 200_000_000,
    };
    matches!(
        poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&WHILE)),
        Ok(0)
    )
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

/// The last lines of a file, at most `lines`, each without what may be secret and cut to a readable length.
#[must_use]
pub fn last_lines(path: &Path, lines: usize) -> Vec<String> {
    last_lines_behind(Mark::default(), path, lines)
}

/// The last lines of a file that were written after `mark` was made.
pub(super) fn last_lines_behind(mark: Mark, path: &Path, lines: usize) -> Vec<String> {
    const READ: u64 = 8 * 1024;
    const LINE: usize = 300;
    let read = || -> io::Result<(Vec<u8>, bool)> {
        let mut file = untrusted::open(path)?;
        let now = file.metadata()?;
        // A file that was begun since, by rotation, is new from its first byte.
        let old = if now.ino() == mark.inode {
            mark.length
        } else {
            0
        };
        let start = now.len().saturating_sub(READ).max(old);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(READ).read_to_end(&mut bytes)?;
        Ok((bytes, start > old))
    };
    let (bytes, is_cut_off) = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut all: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    // Of half a line it can't be told whether it is the end of a secret.
    match &mut all[..] {
        [only] if is_cut_off => *only = LEFT_OUT,
        [_, _, ..] if is_cut_off => drop(all.remove(0)),
        _ => {}
    }
    let cut = |line: &&str| {
        let line = harmless(line);
        match line.char_indices().nth(LINE) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    };
    all[all.len().saturating_sub(lines)..]
        .iter()
        .map(cut)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe into which `write` writes, as a model does.
    fn pipe(write: impl FnOnce(&mut io::PipeWriter) + Send + 'static) -> io::PipeReader {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        std::thread::spawn(move || write(&mut writer));
        reader
    }

    #[test]
    fn endless_output_fills_a_bounded_number_of_bounded_files() {
        let folder = test_support::TempDir::new().expect("a folder");
        let path = folder.path().join("stdout");
        let mut log = RotatedFile::new(path.clone());
        // So slowly that all of it may be written.
        for second in 0..40 {
            let now = Instant::now() + Duration::from_secs(second);
            for _ in 0..16 {
                log.print(&[b'x'; 64 * 1024], now);
            }
        }
        assert_eq!(log.dropped.bytes, 0);
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
    fn a_full_disk_neither_stops_the_model_nor_the_log_for_good() {
        let folder = test_support::TempDir::new().expect("a folder");
        let path = folder.path().join("stdout");
        let full = RotatedFile {
            file: Some(File::create("/dev/full").expect("every Linux has it")),
            ..RotatedFile::new(path.clone())
        };
        let (taken, all_taken) = std::sync::mpsc::channel();
        full.drain(pipe(move |pipe| {
            let _or_it_blocks = pipe.write_all(&vec![b'x'; 3 * 1024 * 1024]);
            taken.send(()).expect("the test waits");
        }));
        all_taken.recv().expect("all of it was taken");

        // What stands in the way of the file is gone after a while.
        fs::remove_file(&path).expect("rotated");
        fs::create_dir(&path).expect("in its place");
        let mut log = RotatedFile::new(path.clone());
        log.write(b"lost");
        fs::remove_dir(&path).expect("empty");
        log.tried = log.tried.map(|tried| tried - REOPEN);
        log.write(b"kept");
        assert_eq!(fs::read(&path).expect("there again"), b"kept");
    }

    #[test]
    fn of_a_flood_its_beginning_and_its_end_are_written_and_how_much_is_missing_between() {
        let folder = test_support::TempDir::new().expect("a folder");
        let path = folder.path().join("stdout");
        let mut log = RotatedFile::new(path.clone());
        let now = Instant::now();
        for _ in 0..1600 {
            log.print(&[b'x'; 64 * 1024], now);
        }
        let dropped = log.dropped.bytes;
        assert!(dropped > 90 << 20, "{dropped}");
        log.print(b"\nthe last words\n", now);
        assert!(log.written <= FILE_BYTES + 64 * 1024);
        log.tell_dropped();
        assert_eq!(last_lines(&path, 2), ["the last words"]);
        let text = fs::read_to_string(&path).expect("text");
        assert!(text.ends_with("xxx\nthe last words\n"));
        let missing = dropped + 16 - LAST_WORDS as u64;
        assert!(text.contains(&format!("[maas: {missing} bytes are missing here")));
    }

    #[test]
    fn the_end_of_a_flood_is_written_while_the_model_is_silent() {
        let folder = test_support::TempDir::new().expect("a folder");
        let path = folder.path().join("stdout");
        let (log, seen) = (path.clone(), path.clone());
        RotatedFile::new(log).drain(pipe(move |pipe| {
            pipe.write_all(&vec![b'x'; 20 << 20]).expect("drained");
            pipe.write_all(b"\nthe last words\n").expect("drained");
            // It says no more, and lives on.
            let deadline = Instant::now() + Duration::from_secs(60);
            while last_lines(&seen, 1) != ["the last words"] {
                assert!(Instant::now() < deadline, "the end of the flood is missing");
                std::thread::yield_now();
            }
        }));
        assert_eq!(last_lines(&path, 1), ["the last words"]);
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

    #[test]
    fn of_the_last_lines_no_secret_is_shown_not_even_half_a_one() {
        let folder = test_support::TempDir::new().expect("a folder");
        let path = folder.path().join("stderr");
        let long = format!("token={} {}", "S3CRET".repeat(1500), "a".repeat(400));
        fs::write(&path, format!("{long}\npassword=S3CRET and more\n")).expect("written");
        assert_eq!(last_lines(&path, 5), ["password=… and more"]);
        fs::write(&path, format!("token={}", "S3CRET".repeat(1500))).expect("written");
        assert_eq!(last_lines(&path, 5), ["…"]);
        let url = format!("{}http://joe:S3CRET@db", "x".repeat(285));
        fs::write(&path, &url).expect("written");
        let [shown] = &last_lines(&path, 5)[..] else {
            panic!("one line")
        };
        assert!(
            shown.ends_with("http://joe:…@db") && !shown.contains('S'),
            "{shown}"
        );
    }
}
