//! Archives of ended sagas: files of JSON lines, gzip, one line for each saga with its row and all its records.
//!
//! A file that is there under its name is whole and on the disk, and so is the folder's word that it is there; one that was not finished is called
//! `….part`, and nothing was purged for its sake. Blocks: called where blocking does no harm.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use baton_engine::Record;
use baton_messages::Timestamp;
use baton_store::SagaLog;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use uuid::Uuid;

use crate::api::SagaInList;

/// What a line is, for whoever reads it in years.
const FORMAT: &str = "baton-saga@1";
/// Only whoever runs the orchestrator reads it: inputs and outputs of sagas are in it.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// How a file is called until it is whole.
const PART: &str = ".part";

/// One saga.
#[derive(Serialize)]
struct Line<'a> {
    format: &'static str,
    partition: u8,
    archived_at: Timestamp,
    /// As a list of the API has it.
    saga: SagaInList,
    records: Vec<Numbered<'a>>,
}

/// A record as `/v1/sagas/{id}/records` shows it.
#[derive(Serialize)]
struct Numbered<'a> {
    number: u64,
    at: Timestamp,
    record: &'a Record,
}

/// A file that is being written.
pub(super) struct Archive {
    root: PathBuf,
    /// Below the root, and so what a purged saga's row says.
    name: String,
    partition: u8,
    at: Timestamp,
    out: GzEncoder<BufWriter<File>>,
    bytes: usize,
}

impl Archive {
    /// Begins a file that no other is called as.
    pub(super) fn begin(root: &Path, partition: u8, at: Timestamp) -> io::Result<Self> {
        let day = day(at)?;
        let (year, month) = (day.strftime("%Y"), day.strftime("%m"));
        let name = format!(
            "{year}/{month}/sagas-{}-p{partition:02}-{}.jsonl.gz",
            day.strftime("%Y-%m-%d"),
            Uuid::now_v7()
        );
        let part = root.join(format!("{name}{PART}"));
        if let Some(folder) = part.parent() {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(FOLDER_MODE).create(folder)?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&part)?;
        Ok(Self {
            root: root.to_path_buf(),
            name,
            partition,
            at,
            out: GzEncoder::new(BufWriter::new(file), Compression::default()),
            bytes: 0,
        })
    }

    /// Writes a saga.
    pub(super) fn add(&mut self, (row, log): &SagaLog) -> io::Result<()> {
        let records = log.iter().flat_map(|(_, entry)| {
            let record = |record| (entry.at, record);
            entry.records.iter().map(record)
        });
        let numbered = (1..).zip(records);
        let line = Line {
            format: FORMAT,
            partition: self.partition,
            archived_at: self.at,
            saga: SagaInList::from(row),
            records: numbered
                .map(|(number, (at, record))| Numbered { number, at, record })
                .collect(),
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        self.bytes += text.len();
        self.out.write_all(&text)
    }

    /// How much was written, before it was compressed.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts it on the disk and gives it its name, which it answers.
    pub(super) fn finish(self) -> io::Result<String> {
        let buffer = self.out.finish()?;
        let file = buffer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let whole = self.root.join(&self.name);
        let part = self.root.join(format!("{}{PART}", self.name));
        fs::rename(part, &whole)?;
        // the name, and the names of the folders on the way to it, which may be new
        for folder in whole.ancestors().skip(1).take(4) {
            if folder.as_os_str().is_empty() {
                break;
            }
            File::open(folder)?.sync_all()?;
        }
        Ok(self.name)
    }
}

/// Takes away what an earlier process of this partition's owner did not finish.
pub(super) fn clear(root: &Path, partition: u8) -> io::Result<()> {
    let mine = format!("-p{partition:02}-");
    for year in entries(root)? {
        for month in entries(&year)? {
            for file in entries(&month)? {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let unfinished = name.starts_with("sagas-") && name.ends_with(PART);
                if unfinished && name.contains(&mine) {
                    fs::remove_file(&file)?;
                }
            }
        }
    }
    Ok(())
}

/// What is in a folder; nothing where there is none.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(found) => found.map(|one| one.map(|one| one.path())).collect(),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn day(at: Timestamp) -> io::Result<jiff::civil::Date> {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(ms).map_err(io::Error::other)?;
    Ok(at.to_zoned(jiff::tz::TimeZone::UTC).date())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const AT: Timestamp = Timestamp(1_795_870_000_000);

    #[test]
    fn a_file_has_its_name_only_when_it_is_whole_and_half_ones_are_cleared() {
        let root = tempfile::tempdir().unwrap();
        let mut whole = Archive::begin(root.path(), 3, AT).unwrap();
        whole.out.write_all(b"{}\n").unwrap();
        let name = whole.finish().unwrap();
        assert!(name.starts_with("2026/11/sagas-2026-11-28-p03-"), "{name}");
        let file = File::open(root.path().join(&name)).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "{}\n");

        let half = Archive::begin(root.path(), 3, AT).unwrap();
        let other = Archive::begin(root.path(), 4, AT).unwrap();
        let named = |archive: &Archive| root.path().join(format!("{}{PART}", archive.name));
        assert!(named(&half).exists() && !root.path().join(&half.name).exists());
        clear(root.path(), 3).unwrap();
        assert!(!named(&half).exists());
        assert!(named(&other).exists(), "that of another partition stays");
        assert!(root.path().join(&name).exists());
        clear(&root.path().join("nothing"), 3).unwrap();
    }
}
