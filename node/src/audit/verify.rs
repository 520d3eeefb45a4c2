//! Is the chain whole? `ringfort audit verify` asks.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use super::{
    file::rotated,
    record::{Head, Link, hash},
};

/// A chain that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The number of the first record that is there. Above 1 where older files were rotated away.
    pub first: u64,
    /// The last record.
    pub last: Head,
    /// How many files there were.
    pub files: usize,
    /// Bytes behind the last record that are none: a node that runs may be writing, and a crash leaves them. The next start mends it.
    pub torn: u64,
}

/// The first record for which the chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where.
    pub file: PathBuf,
    /// The line in it, counted from 1.
    pub line: u64,
    /// Its number, if it can be read.
    pub seq: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}: ", self.file.display(), self.line)?;
        match self.seq {
            Some(seq) => write!(f, "record {seq} {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Longer lines are no records.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// A record whose hash the next one has to carry.
struct Seen {
    file: PathBuf,
    line: u64,
    head: Head,
}

/// Follows the chain through the logs at `paths`, and what was rotated of each.
///
/// # Errors
/// A file cannot be read.
pub fn verify(paths: &[PathBuf]) -> io::Result<Result<Whole, Broken>> {
    let mut numbered = Vec::new();
    for path in paths {
        numbered.extend(rotated(path)?);
        numbered.push((first_of(path)?, path.clone()));
    }
    numbered.sort();
    numbered.dedup();
    let mut chain = Chain {
        first: None,
        last: None,
        torn: 0,
    };
    let count = numbered.len();
    for (_, file) in numbered {
        if let Err(broken) = chain.follow(&file)? {
            return Ok(Err(broken));
        }
    }
    Ok(Ok(Whole {
        first: chain.first.unwrap_or(0),
        last: chain.last.map_or_else(Head::none, |seen| seen.head),
        files: count,
        torn: chain.torn,
    }))
}

struct Chain {
    first: Option<u64>,
    last: Option<Seen>,
    torn: u64,
}

impl Chain {
    fn follow(&mut self, file: &Path) -> io::Result<Result<(), Broken>> {
        let mut reader = BufReader::new(File::open(file)?);
        let mut number = 0;
        let broken = |line, seq, what: String| {
            Ok(Err(Broken {
                file: file.to_owned(),
                line,
                seq,
                what,
            }))
        };
        loop {
            let mut line = Vec::new();
            (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Ok(Ok(()));
            }
            number += 1;
            if self.torn > 0 {
                return broken(number, None, "records follow where a line is torn".to_owned());
            }
            if line.pop_if(|last| *last == b'\n').is_none() {
                self.torn = line.len() as u64;
                continue;
            }
            let link: Link = match serde_json::from_slice(&line) {
                Ok(link) => link,
                Err(error) => return broken(number, None, format!("not a record: {error}")),
            };
            if let Some(last) = &self.last {
                if link.seq != last.head.seq + 1 {
                    let what = format!("follows record {}: records are missing or out of order", last.head.seq);
                    return broken(number, Some(link.seq), what);
                }
                if link.prev != last.head.hash {
                    let what = format!("is not what record {} says it was: it was changed", link.seq);
                    return Ok(Err(Broken {
                        file: last.file.clone(),
                        line: last.line,
                        seq: Some(last.head.seq),
                        what,
                    }));
                }
            } else if link.seq == 1 && link.prev != Head::none().hash {
                return broken(number, Some(1), "is the first one and names one before it".to_owned());
            }
            self.first.get_or_insert(link.seq);
            self.last = Some(Seen {
                file: file.to_owned(),
                line: number,
                head: Head {
                    seq: link.seq,
                    hash: hash(&line),
                },
            });
        }
    }
}

fn first_of(file: &Path) -> io::Result<u64> {
    let mut line = Vec::new();
    BufReader::new(File::open(file)?)
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)?;
    // One that was begun and holds nothing yet comes last; so does what cannot be read, and is reported then.
    Ok(serde_json::from_slice::<Link>(&line).map_or(u64::MAX, |link| link.seq))
}
