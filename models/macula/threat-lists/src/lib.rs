//! The lists: what is known to be good, bad or suspicious, and by whom.
//!
//! A [`Library`] reads the lists of a folder or an object store and follows their changes; [`Lists`] is what they say at one
//! moment, and never changes. The name of a file says what it is: `whitelist*`, `blacklist*`, `darklist*`, and one file for each
//! feed in `feeds/`; its extension says in which form: `.txt` (one entry per line), `.csv` (with a header) or `.json` (a MISP
//! warninglist or a STIX 2.1 bundle). What can't be used of a file is set aside and reported with its place, and its neighbours
//! count; a file of which nothing is usable, or which nobody can place, stops the start, because a scorer without its blacklist
//! looks healthy and is wrong.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use threat_lists::{Library, Settings};
//!
//! let library = Library::open("lists", Settings::default()).await?;
//! let indicator = "hxxp://evil[.]test/a".parse()?;
//! for hit in library.current().find(&indicator, |_| true) {
//!     println!("{} line {}: {}", hit.list.title(), hit.entry.line, hit.entry.text);
//! }
//! # Ok(())
//! # }
//! ```

mod checksums;
mod format;
mod index;
mod key;
mod kinds;
mod library;
mod line;
mod list;
mod lists;
mod patterns;
mod question;
mod records;
mod schedule;
mod source;

pub use checksums::Checksums;
pub use library::{Library, Limits, ListStatus, Outcome, Reload, Selection, Settings};
pub use line::{BadLine, Entry};
pub use list::{Class, Hit, List, ListKind, Match, Scope};
pub use lists::Lists;
pub use schedule::{Group, Schedule, ScheduleError};
pub use source::ListsError;
