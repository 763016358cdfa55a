//! The runner's own log, in rotated files like what the model prints: a runner lives as long as its copy, which may be years.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{FILE_BYTES, RotatedFile};

/// The log, which is standard error as well: what a panic prints lies with the rest.
pub struct RunnerLog(RotatedFile);

impl RunnerLog {
    /// Writes behind what `path` holds already.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(RotatedFile::new(path))
    }
}

impl Write for RunnerLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Self(log) = self;
        // The model may have written into it, too; and standard error has.
        let length = log.file.as_ref().and_then(|file| file.metadata().ok());
        log.written = length.map_or(log.written, |metadata| metadata.len());
        let is_another = log.file.is_none() || log.written >= FILE_BYTES;
        log.write(line);
        if is_another && let Some(file) = &log.file {
            let _else_it_stays_what_it_was = rustix::stdio::dup2_stderr(file);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
