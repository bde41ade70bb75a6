//! Gzip, read from the middle: while all of a file is unpacked once to list what is in it, copies of the decompressor are
//! kept on the way, and any byte can be reached later from the copy before it.
//!
//! A copy takes 43 KiB (the last 32 KiB of output, and tables). There are never more than [`MAX_POINTS`] of them for an
//! archive: when there are, every second one is dropped and the distance doubled. Members that are asked for in the order
//! of the archive go on where the last one ended, and nothing is unpacked twice.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use flate2::Crc;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

/// The least distance between two copies, in unpacked bytes.
const FIRST_SPACING: u64 = 4 << 20;

/// Copies for an archive: 11 MiB.
const MAX_POINTS: usize = 256;

/// Images hardly compress, so what grows beyond this many times its size (and the amount below) is no collection of them:
/// deflate can make a thousand bytes of one.
const MAX_RATIO: u64 = 100;
const MAX_UNPACKED_ANYWAY: u64 = 1 << 30;

/// A place in a gzip file that unpacking can go on from.
#[derive(Clone)]
struct Point {
    /// Bytes of the file that the decompressor has taken.
    consumed: u64,
    /// Bytes that it has given.
    produced: u64,
    stage: Stage,
    state: Box<InflateState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Header,
    Body,
    Trailer,
    End,
}

impl Point {
    fn start() -> Self {
        let state = InflateState::new_boxed(DataFormat::Raw);
        Self { consumed: 0, produced: 0, stage: Stage::Header, state }
    }
}

/// A gzip file being unpacked; several gzip streams in one file count as one.
struct Unpacker {
    file: BufReader<File>,
    at: Point,
    /// Of the stream that is being unpacked, unless it was entered in its middle.
    checksum: Option<Crc>,
    is_wrong: bool,
}

impl Unpacker {
    fn open(path: &Path, at: Point) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
        file.seek(SeekFrom::Start(at.consumed))?;
        Ok(Self { file, at, checksum: None, is_wrong: false })
    }

    /// Bytes that must be there.
    fn take_bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.at.consumed += N as u64;
        Ok(bytes)
    }

    /// The header of a stream (RFC 1952). What follows the last stream and is none is ignored, as `gzip` does.
    fn read_header(&mut self) -> io::Result<Stage> {
        let is_first = self.at.produced == 0 && self.at.consumed == 0;
        let follows = self.file.fill_buf()?;
        if !is_first && !follows.starts_with(&[0x1f]) {
            return Ok(Stage::End);
        }
        let [first, second, method, flags, ..] = self.take_bytes::<10>()?;
        if [first, second, method] != [0x1f, 0x8b, 8] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there is no gzip header"));
        }
        if flags & 4 != 0 {
            for _ in 0..u16::from_le_bytes(self.take_bytes()?) {
                self.take_bytes::<1>()?;
            }
        }
        // The name and the comment end with a zero.
        for _ in 0..(flags >> 3 & 1) + (flags >> 4 & 1) {
            while self.take_bytes::<1>()? != [0] {}
        }
        if flags & 2 != 0 {
            self.take_bytes::<2>()?;
        }
        self.at.state.reset(DataFormat::Raw);
        self.checksum = Some(Crc::new());
        Ok(Stage::Body)
    }

    fn read_trailer(&mut self) -> io::Result<Stage> {
        let words = self.take_bytes::<8>()?;
        if let Some(checksum) = self.checksum.take() {
            let found = [checksum.sum().to_le_bytes(), checksum.amount().to_le_bytes()].concat();
            if found != words {
                self.is_wrong = true;
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum is another"));
            }
        }
        Ok(Stage::Header)
    }
}

impl Read for Unpacker {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.at.stage {
                Stage::Header => self.at.stage = self.read_header()?,
                Stage::Trailer => self.at.stage = self.read_trailer()?,
                Stage::End => return Ok(0),
                Stage::Body => {
                    let input = self.file.fill_buf()?;
                    let done = inflate(&mut self.at.state, input, buffer, MZFlush::None);
                    self.file.consume(done.bytes_consumed);
                    self.at.consumed += done.bytes_consumed as u64;
                    self.at.produced += done.bytes_written as u64;
                    if let Some(checksum) = &mut self.checksum {
                        checksum.update(&buffer[..done.bytes_written]);
                    }
                    match done.status {
                        Ok(MZStatus::StreamEnd) => self.at.stage = Stage::Trailer,
                        Ok(_) | Err(MZError::Buf) => {}
                        Err(_) => {
                            return Err(io::Error::new(io::ErrorKind::InvalidData, "its compressed data are damaged"));
                        }
                    }
                    if done.bytes_written > 0 {
                        return Ok(done.bytes_written);
                    }
                    // Nothing in and nothing out: there is no more.
                    if done.bytes_consumed == 0 && self.at.stage == Stage::Body {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }
}

/// Unpacks all of a file and keeps the points.
pub(super) struct Indexer {
    unpacker: Unpacker,
    points: Vec<Point>,
    spacing: u64,
    /// The most that may come out.
    limit: u64,
}

impl Indexer {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let size = std::fs::metadata(path)?.len();
        let limit = size.saturating_mul(MAX_RATIO).saturating_add(MAX_UNPACKED_ANYWAY);
        let unpacker = Unpacker::open(path, Point::start())?;
        Ok(Self { unpacker, points: Vec::new(), spacing: FIRST_SPACING, limit })
    }

    /// Bytes that came out so far.
    pub(super) fn position(&self) -> u64 {
        self.unpacker.at.produced
    }

    /// Whether all is there and the checksum is another.
    pub(super) fn is_wrong(&self) -> bool {
        self.unpacker.is_wrong
    }

    /// The index; `last` is where the last member begins.
    pub(super) fn finish(self, last: u64) -> Index {
        Index { points: self.points, last, cursor: Mutex::new(None) }
    }

    fn keep_point(&mut self) {
        let at = &self.unpacker.at;
        let next = self.points.last().map_or(0, |point| point.produced) + self.spacing;
        if at.stage != Stage::Body || at.produced < next {
            return;
        }
        self.points.push(at.clone());
        if self.points.len() > MAX_POINTS {
            let mut number = 0;
            self.points.retain(|_| {
                number += 1;
                number % 2 == 0
            });
            self.spacing *= 2;
        }
    }
}

impl Read for Indexer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position() > self.limit {
            let reason = format!("it unpacks to more than {} bytes, {MAX_RATIO} times its size", self.limit);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        self.keep_point();
        self.unpacker.read(buffer)
    }
}

/// Where unpacking can begin.
pub(super) struct Index {
    points: Vec<Point>,
    last: u64,
    /// Where the last reader stopped.
    cursor: Mutex<Option<Point>>,
}

impl Index {
    /// Hands what comes from the unpacked byte `place` on to `read`. One reader at a time.
    pub(super) fn read<T>(&self, path: &Path, place: u64, read: impl FnOnce(&mut dyn Read) -> T) -> io::Result<T> {
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.points.partition_point(|point| point.produced <= place);
        let nearest = before.checked_sub(1).map(|number| &self.points[number]);
        let start = match cursor.take() {
            Some(point) if point.produced <= place && nearest.is_none_or(|near| near.produced <= point.produced) => {
                point
            }
            _ => nearest.cloned().unwrap_or_else(Point::start),
        };
        let mut unpacker = Unpacker::open(path, start)?;
        let gap = place - unpacker.at.produced;
        if io::copy(&mut (&mut unpacker).take(gap), &mut io::sink())? < gap {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let result = read(&mut unpacker);
        // Nothing comes after the last member, and many archives may be open.
        if place < self.last {
            *cursor = Some(unpacker.at);
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Bytes that hardly compress.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let builder = flate2::GzBuilder::new().filename("a").comment("b").extra([1, 2, 3]);
        let mut encoder = builder.write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(path: &Path) -> (io::Result<Vec<u8>>, Indexer) {
        let mut indexer = Indexer::open(path).unwrap();
        let mut bytes = Vec::new();
        (indexer.read_to_end(&mut bytes).map(|_| bytes), indexer)
    }

    #[test]
    fn any_byte_is_reached_in_any_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gz");
        let bytes = noise(3 * FIRST_SPACING as usize + 12_345);
        // Two streams in one file, and zeros at its end.
        let (first, second) = bytes.split_at(FIRST_SPACING as usize + 777);
        std::fs::write(&path, [packed(first), packed(second), vec![0; 100]].concat()).unwrap();
        let (found, indexer) = unpacked(&path);
        assert!(found.unwrap() == bytes && !indexer.is_wrong());
        assert!(indexer.points.len() >= 2, "{}", indexer.points.len());
        let index = indexer.finish(u64::MAX);
        for place in [0, 5_000_000, 5_000_100, 4_000_000, 12_590_000, 100, 4_194_304 + 776, 9_000_000] {
            let mut part = [0; 50];
            index.read(&path, place as u64, |reader| reader.read_exact(&mut part)).unwrap().unwrap();
            assert_eq!(part, bytes[place..place + 50], "{place}");
        }
        assert!(index.read(&path, bytes.len() as u64 + 1, |_| ()).is_err());
    }

    #[test]
    fn points_stay_few() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gz");
        std::fs::write(&path, packed(&vec![7; 1 << 20])).unwrap();
        let mut indexer = Indexer::open(&path).unwrap();
        indexer.spacing = 1;
        let mut buffer = [0; 1000];
        while indexer.read(&mut buffer).unwrap() > 0 {
            assert!(indexer.points.len() <= MAX_POINTS);
        }
        assert!(indexer.spacing > 1 && indexer.points.len() > MAX_POINTS / 4);
        assert!(indexer.points.is_sorted_by_key(|point| point.produced));
    }

    #[test]
    fn damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gz");
        let good = packed(&noise(10_000));
        for length in [5, 20, 5_000, good.len() - 1] {
            std::fs::write(&path, &good[..length]).unwrap();
            let (found, indexer) = unpacked(&path);
            assert!(found.is_err() && !indexer.is_wrong(), "{length}");
        }
        let mut bad = good.clone();
        let end = bad.len() - 6;
        bad[end] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let (found, indexer) = unpacked(&path);
        assert!(found.unwrap_err().to_string().contains("checksum") && indexer.is_wrong());
    }

    #[test]
    fn a_bomb_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gz");
        std::fs::write(&path, packed(&vec![0; 1 << 20])).unwrap();
        let mut indexer = Indexer::open(&path).unwrap();
        indexer.limit = 100_000;
        let error = io::copy(&mut indexer, &mut io::sink()).unwrap_err().to_string();
        assert!(error.contains("more than 100000 bytes"), "{error}");
    }
}
