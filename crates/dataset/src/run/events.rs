//! TensorBoard event files: scalars and PNG images.
//!
//! The format is a sequence of records (length, its masked CRC-32C, a protobuf `Event`, its masked CRC-32C), see
//! `tensorflow/core/util/event.proto` and `tensorflow/core/lib/io/record_writer.h`. Six message types with a few fields
//! each do not justify a protobuf compiler.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Error, Result};

const PREFIX: &str = "events.out.tfevents.";

/// The kind of a PNG image, by TensorBoard's number of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    /// One channel.
    Grey = 1,
    /// Three channels.
    Rgb = 3,
}

/// Writes one events file; every record is handed to the operating system at once.
#[derive(Debug)]
pub struct EventsWriter {
    file: File,
    /// Bytes of whole records.
    len: u64,
    path: PathBuf,
}

impl EventsWriter {
    /// Begins a new events file in the folder `dir`. With a `resumed_step` above 0 TensorBoard is told that the run
    /// was restarted after it, and forgets what former files say about later steps.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn create(dir: impl AsRef<Path>, resumed_step: u64) -> Result<Self> {
        let dir = dir.as_ref();
        // TensorBoard reads the files of a folder in the order of their names: the time comes first, and never goes back.
        let seconds = now().as_secs().max(newest(dir) + 1);
        let (path, file) = (0..)
            .find_map(|count| {
                let path = dir.join(format!("{PREFIX}{seconds:010}.dino-diffusion.{count:03}"));
                match OpenOptions::new().append(true).create_new(true).open(&path) {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
                    result => Some(result.map_err(Error::io("write the file", &path)).map(|file| (path, file))),
                }
            })
            .transpose()?
            .ok_or_else(|| Error::io("write the file", dir)(ErrorKind::AlreadyExists.into()))?;
        let mut writer = Self { file, len: 0, path };
        writer.event(0, |event| event.bytes(FILE_VERSION, b"brain.Event:2"))?;
        if resumed_step > 0 {
            let mut start = Message::default();
            start.varint(SESSION_LOG_STATUS, SESSION_LOG_START);
            writer.event(resumed_step + 1, |event| event.bytes(SESSION_LOG, &start.0))?;
        }
        Ok(writer)
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a number to a curve.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<()> {
        self.value(tag, step, |message| message.float(VALUE_SIMPLE, value as f32))
    }

    /// Adds a PNG image of `height * width` pixels.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn image(
        &mut self,
        tag: &str,
        step: u64,
        png: &[u8],
        height: usize,
        width: usize,
        kind: ImageKind,
    ) -> Result<()> {
        let mut image = Message::default();
        image.varint(IMAGE_HEIGHT, height as u64);
        image.varint(IMAGE_WIDTH, width as u64);
        image.varint(IMAGE_COLOURSPACE, kind as u64);
        image.bytes(IMAGE_ENCODED, png);
        self.value(tag, step, |message| message.bytes(VALUE_IMAGE, &image.0))
    }

    /// Flushes to the disk; after a kill, though not after a power cut, everything is there anyway.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn flush(&mut self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("write the file", &self.path))
    }

    fn value(&mut self, tag: &str, step: u64, fill: impl FnOnce(&mut Message)) -> Result<()> {
        let mut value = Message::default();
        value.bytes(VALUE_TAG, tag.as_bytes());
        fill(&mut value);
        let mut summary = Message::default();
        summary.bytes(SUMMARY_VALUE, &value.0);
        self.event(step, |event| event.bytes(SUMMARY, &summary.0))
    }

    fn event(&mut self, step: u64, fill: impl FnOnce(&mut Message)) -> Result<()> {
        let mut event = Message::default();
        event.double(WALL_TIME, now().as_secs_f64());
        event.varint(STEP, step);
        fill(&mut event);
        let record = record(&event.0);
        let written = self.file.write_all(&record);
        if written.is_ok() {
            self.len += record.len() as u64;
        } else {
            // TensorBoard would show nothing behind half a record; a kill leaves one at the end at most.
            let _ = self.file.set_len(self.len);
        }
        written.map_err(Error::io("write the file", &self.path))
    }
}

/// The latest time in the names of a folder's events files, in seconds, 0 where there is none.
fn newest(dir: &Path) -> u64 {
    let names = fs::read_dir(dir).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok()).max().unwrap_or(0)
}

// Field numbers of `Event`, `SessionLog`, `Summary`, `Summary.Value` and `Summary.Image`.
const WALL_TIME: u64 = 1;
const STEP: u64 = 2;
const FILE_VERSION: u64 = 3;
const SUMMARY: u64 = 5;
const SESSION_LOG: u64 = 7;
const SESSION_LOG_STATUS: u64 = 1;
const SESSION_LOG_START: u64 = 1;
const SUMMARY_VALUE: u64 = 1;
const VALUE_TAG: u64 = 1;
const VALUE_SIMPLE: u64 = 2;
const VALUE_IMAGE: u64 = 4;
const IMAGE_HEIGHT: u64 = 1;
const IMAGE_WIDTH: u64 = 2;
const IMAGE_COLOURSPACE: u64 = 3;
const IMAGE_ENCODED: u64 = 4;

/// A protobuf message under construction. A field is a key, `number << 3 | wire type`, and its value.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// Wire type 0.
    fn varint(&mut self, field: u64, value: u64) {
        self.raw_varint(field << 3);
        self.raw_varint(value);
    }

    /// Wire type 1.
    fn double(&mut self, field: u64, value: f64) {
        self.raw_varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    /// Wire type 2: strings and messages too.
    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.raw_varint(field << 3 | 2);
        self.raw_varint(value.len() as u64);
        self.0.extend(value);
    }

    /// Wire type 5.
    fn float(&mut self, field: u64, value: f32) {
        self.raw_varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

fn record(data: &[u8]) -> Vec<u8> {
    let len = (data.len() as u64).to_le_bytes();
    [&len[..], &masked_crc(&len).to_le_bytes(), data, &masked_crc(data).to_le_bytes()].concat()
}

/// CRC-32C, rotated and shifted because a checksum of data that hold checksums is weak.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The events of a file, after checking lengths and checksums, and what is left where the last one was cut short: as
    /// TensorBoard reads, which gives up at the first record that is not whole.
    fn records_and_rest(bytes: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
        let mut rest = bytes;
        let mut records = Vec::new();
        while let Some(len) = rest.first_chunk::<8>() {
            let len = u64::from_le_bytes(*len) as usize;
            let Some(record) = rest.get(..16 + len) else { break };
            assert_eq!(record[8..12], masked_crc(&record[..8]).to_le_bytes());
            let data = &record[12..12 + len];
            assert_eq!(record[12 + len..], masked_crc(data).to_le_bytes());
            records.push(data.to_vec());
            rest = &rest[16 + len..];
        }
        (records, rest)
    }

    /// The events of a file that is whole.
    fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
        let (records, rest) = records_and_rest(bytes);
        assert!(rest.is_empty(), "{} bytes are left", rest.len());
        records
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        // By hand: ((crc >> 15 | crc << 17) + 0xa282ead8) modulo 2^32.
        assert_eq!(masked_crc(&[0; 32]), 0x0fd7_fffa);
    }

    #[test]
    fn a_scalar_is_the_message_that_the_proto_files_describe() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = EventsWriter::create(dir.path(), 0).unwrap();
        events.scalar("loss", 300, 1.5).unwrap();
        let records = records(&fs::read(events.path()).unwrap());
        assert_eq!(records.len(), 2);
        assert!(records[0].ends_with(b"\x1a\x0dbrain.Event:2"));
        // wall_time is 9 bytes; then step = 300, summary { value { tag: "loss" simple_value: 1.5 } }.
        let expected = b"\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\xc0\x3f";
        assert_eq!(records[1][9..], expected[..]);
    }

    /// TensorBoard shows nothing that stands behind a torn record, so nothing may ever be written there: wherever a kill
    /// cuts the last record, the resumed run leaves the file alone and begins another, all of which is readable.
    #[test]
    fn a_record_that_a_kill_tore_is_the_last_of_its_file_forever() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = EventsWriter::create(dir.path(), 0).unwrap();
        events.scalar("loss", 10, 1.5).unwrap();
        let before = fs::read(events.path()).unwrap().len();
        events.image("samples", 20, b"a PNG image", 2, 3, ImageKind::Grey).unwrap();
        let torn = events.path().to_path_buf();
        let whole = fs::read(&torn).unwrap();
        drop(events);
        for cut in before..whole.len() {
            fs::write(&torn, &whole[..cut]).unwrap();
            let mut resumed = EventsWriter::create(dir.path(), 10).unwrap();
            assert!(resumed.path() > torn.as_path(), "TensorBoard reads files in the order of their names");
            resumed.scalar("loss", 20, 1.25).unwrap();
            resumed.flush().unwrap();
            let left = fs::read(&torn).unwrap();
            assert_eq!(left, whole[..cut], "nobody writes behind the tear");
            let (readable, rest) = records_and_rest(&left);
            assert_eq!((readable.len(), rest.len()), (2, cut - before));
            let new = records(&fs::read(resumed.path()).unwrap());
            assert_eq!(new.len(), 3, "version, restart and number");
            fs::remove_file(resumed.path()).unwrap();
        }
    }

    #[test]
    fn a_clock_that_was_set_back_puts_no_file_before_another() {
        let dir = tempfile::tempdir().unwrap();
        let later = format!("{PREFIX}{:010}.dino-diffusion.007", now().as_secs() + 1000);
        fs::write(dir.path().join(&later), "").unwrap();
        let events = EventsWriter::create(dir.path(), 5).unwrap();
        let name = events.path().file_name().unwrap().to_str().unwrap();
        assert!(name > &*later, "{name} is before {later}");
    }

    #[test]
    fn a_resumed_run_begins_another_file_with_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        EventsWriter::create(dir.path(), 0).unwrap();
        let resumed = EventsWriter::create(dir.path(), 5).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        let records = records(&fs::read(resumed.path()).unwrap());
        // step = 6, session_log { status: START }.
        assert_eq!(records[1][9..], b"\x10\x06\x3a\x02\x08\x01"[..]);
    }
}
