//! Plain text: one entry per line, as [`line`] describes it.

use std::io::{self, BufRead, Read};

use crate::line::{self, Line, MAX_LINE};
use crate::list::ListBuilder;

pub(super) fn read(list: &mut ListBuilder, content: &mut impl BufRead) -> io::Result<()> {
    each_line(content, |number, bytes| take(list, number, bytes))
}

/// Calls `take` with each line and its number. Of one far too long to be an entry it gets a little more than may be.
pub(super) fn each_line(
    content: &mut impl BufRead,
    mut take: impl FnMut(u32, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if content
            .by_ref()
            .take(MAX_LINE as u64 + 1)
            .read_until(b'\n', &mut bytes)?
            == 0
        {
            break;
        }
        if bytes.len() > MAX_LINE && bytes.last() != Some(&b'\n') {
            content.skip_until(b'\n')?;
        }
        take(number, &bytes)?;
    }
    Ok(())
}

/// Takes one line in.
pub(super) fn take(list: &mut ListBuilder, number: u32, bytes: &[u8]) -> io::Result<()> {
    match line::parse(list.kind(), number, bytes) {
        Ok(Line::Nothing) => {}
        Ok(Line::Version(version)) => list.version = Some(version),
        Ok(Line::Weight(weight)) => list.weight = Some(weight),
        Ok(Line::Class(class)) => list.class = class,
        Ok(Line::Entry(pattern, entry)) => list.add(&pattern, &entry)?,
        Err(reason) => list.set_aside(number, reason),
    }
    Ok(())
}
