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
use baton_settings::instance;
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
/// Letters of a host's name in the name of a file.
const HOST_CHARS_MAX: usize = 40;
/// Letters before the partition in the name of a file: `sagas-2026-11-28`.
const BEFORE_PARTITION: usize = 16;
/// How a file is called until it is whole.
const PART: &str = ".part";

/// One saga.
#[derive(Serialize)]
struct Line<'a> {
    format: &'static str,
    partition: u8,
    archived_at: Timestamp,
    /// On whose disk it was written.
    host: &'a str,
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
    host: String,
    out: GzEncoder<BufWriter<File>>,
    bytes: usize,
}

impl Archive {
    /// Begins a file that no other is called as. Its name says on which host it lies: each member of a cluster writes on its own.
    pub(super) fn begin(root: &Path, partition: u8, at: Timestamp) -> io::Result<Self> {
        let day = day(at)?;
        let (year, month) = (day.strftime("%Y"), day.strftime("%m"));
        let host = instance::host().unwrap_or_else(|| "unnamed".to_owned());
        let name = format!(
            "{year}/{month}/sagas-{}-p{partition:02}-{}-{}.jsonl.gz",
            day.strftime("%Y-%m-%d"),
            in_name(&host),
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
            host,
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
            host: &self.host,
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
                // the name of a host may look like a partition
                let place = name.get(BEFORE_PARTITION..).unwrap_or_default();
                if unfinished && place.starts_with(&mine) {
                    fs::remove_file(&file)?;
                }
            }
        }
    }
    Ok(())
}

/// A host's name as a part of a file's: a dot goes with what follows it, other letters that are none in every file system become a dash.
fn in_name(host: &str) -> String {
    let short = host.split('.').next().unwrap_or_default();
    let letters = short.chars().take(HOST_CHARS_MAX);
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() { c } else { '-' }
    };
    letters.map(plain).collect()
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
        let host = in_name(&instance::host().unwrap());
        assert!(name.contains(&format!("-p03-{host}-")), "{name}");
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

    #[test]
    fn a_host_is_named_without_its_domain_and_may_look_like_a_partition() {
        assert_eq!(in_name("db-1.example.com"), "db-1");
        assert_eq!(in_name("a/b c"), "a-b-c");
        assert_eq!(in_name(&"x".repeat(99)).len(), HOST_CHARS_MAX);
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("2026/11");
        fs::create_dir_all(&folder).unwrap();
        let other = folder.join("sagas-2026-11-28-p04-web-p03-1-id.jsonl.gz.part");
        fs::write(&other, "").unwrap();
        clear(root.path(), 3).unwrap();
        assert!(other.exists());
        clear(root.path(), 4).unwrap();
        assert!(!other.exists());
    }
}
