//! NumPy archives (`.npz`): arrays by name, as `numpy.savez` and `numpy.savez_compressed` write them and `numpy.load`
//! reads them. A zip archive holds one `.npy` file for each array (NEP 1).
//!
//! Own code for the array's header, some 60 lines, on the crate that reads zip archives already: `ndarray-npy`, which is
//! well kept, would bring `ndarray` and a second version of that crate for two arrays.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Write as _};
use std::path::Path;

use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, ZipArchive};

use crate::{Error, Result};
use files::write_file;

/// Begins every `.npy` file.
const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// The data begin at a multiple of this, so that they can be mapped.
const ALIGNMENT: usize = 64;
/// No sound header is longer: a type, an order and a shape.
const MAX_HEADER_BYTES: usize = 1 << 16;
/// No array that this program has a use for has more values: 2 GiB in f64.
const MAX_VALUES: usize = 1 << 28;
/// The remedy for what cannot be read.
const REMEDY: &str = "write the file again by numpy.savez, with arrays of float64 or float32";

/// An array of numbers, row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct NumpyArray {
    /// Its length along each axis; none for a single number.
    pub shape: Vec<usize>,
    /// As many as the shape says, the last axis varying fastest.
    pub values: Vec<f64>,
}

/// Writes arrays under their names, uncompressed, in f64 and little endian, in one go.
///
/// # Errors
/// [`Error::Size`] for values that do not fill their shape, [`Error::File`].
pub fn write_npz(path: impl AsRef<Path>, arrays: &[(&str, &NumpyArray)]) -> Result<()> {
    let path = path.as_ref();
    let failed = |error: zip::result::ZipError| Error::io("write the file", path)(std::io::Error::other(error));
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    // No time of day: what is equal inside is equal outside.
    let options = SimpleFileOptions::DEFAULT.compression_method(CompressionMethod::Stored).large_file(true);
    for (name, array) in arrays {
        let expected: usize = array.shape.iter().product();
        if expected != array.values.len() {
            let what = format!("array `{name}` of shape {:?}", array.shape);
            return Err(Error::Size { what, expected, found: array.values.len() });
        }
        archive.start_file(format!("{name}.npy"), options).map_err(failed)?;
        let mut bytes = header(&array.shape);
        bytes.extend(array.values.iter().flat_map(|value| value.to_le_bytes()));
        archive.write_all(&bytes).map_err(Error::io("write the file", path))?;
    }
    Ok(write_file(path, archive.finish().map_err(failed)?.get_ref())?)
}

/// What stands before the values of an array in f64: version 1.0 of the format.
fn header(shape: &[usize]) -> Vec<u8> {
    let lengths: String = match shape {
        [length] => format!("{length},"),
        _ => shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut text = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({lengths}), }}");
    let prefix = MAGIC.len() + 4;
    let end = (prefix + text.len() + 1).next_multiple_of(ALIGNMENT);
    text.push_str(&" ".repeat(end - prefix - text.len() - 1));
    text.push('\n');
    [MAGIC.as_slice(), &[1, 0], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
}

/// Reads the arrays of these names, in their order: stored or deflated, of f64 or f32 in either byte order, in C's or
/// Fortran's order. Others in the archive are left alone.
///
/// # Errors
/// [`Error::File`]; [`Error::Damaged`] for a file that is no such archive, lacks a name, fails its checksum or holds
/// something else than numbers.
pub fn read_npz<const N: usize>(path: impl AsRef<Path>, names: [&str; N]) -> Result<[NumpyArray; N]> {
    let path = path.as_ref();
    let damaged = |detail: String| Error::damaged("NumPy archive", REMEDY, path, detail);
    let file = File::open(path).map_err(Error::io("read the file", path))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| damaged(error.to_string()))?;
    let mut arrays = Vec::with_capacity(N);
    for name in names {
        let held: Vec<String> =
            archive.file_names().flatten().map(|name| name.trim_end_matches(".npy").to_owned()).collect();
        let entry = archive.by_name(&format!("{name}.npy")).map_err(|error| match error {
            zip::result::ZipError::FileNotFound => damaged(format!("no array `{name}` among {held:?}")),
            error => damaged(format!("`{name}`: {error}")),
        })?;
        arrays.push(read_array(entry).map_err(|detail| damaged(format!("`{name}`: {detail}")))?);
    }
    arrays.try_into().map_err(|_| damaged("not one array for each name".to_owned()))
}

/// One `.npy` file, from its first byte to its last.
fn read_array(mut reader: impl Read) -> Result<NumpyArray, String> {
    let mut start = [0; 8];
    let mut exactly = |bytes: &mut [u8]| reader.read_exact(bytes).map_err(|error| format!("its header: {error}"));
    exactly(&mut start)?;
    if !start.starts_with(MAGIC) {
        return Err("no array of NumPy".to_owned());
    }
    let length = match start[6] {
        1 => {
            let mut length = [0; 2];
            exactly(&mut length)?;
            usize::from(u16::from_le_bytes(length))
        }
        2 | 3 => {
            let mut length = [0; 4];
            exactly(&mut length)?;
            u32::from_le_bytes(length) as usize
        }
        version => return Err(format!("version {version} of the format, 1 to 3 are read")),
    };
    if length > MAX_HEADER_BYTES {
        return Err(format!("a header of {length} bytes"));
    }
    let mut text = vec![0; length];
    exactly(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let Layout { kind, fortran_order, shape } = Layout::parse(&text)?;
    let count = shape.iter().try_fold(1_usize, |count, length| count.checked_mul(*length));
    let count = count.filter(|count| *count <= MAX_VALUES).ok_or_else(|| format!("a shape of {shape:?}"))?;
    // Memory grows with what is there, not with what the header says. Reading on to the end checks the sum as well.
    let mut bytes = Vec::new();
    let expected = count * kind.width();
    reader.take(expected as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() != expected {
        let found = if bytes.len() > expected { "more".to_owned() } else { bytes.len().to_string() };
        return Err(format!("{found} bytes of values, a shape of {shape:?} takes {expected}"));
    }
    let values = kind.values(&bytes);
    Ok(NumpyArray { values: if fortran_order { by_rows(&values, &shape) } else { values }, shape })
}

/// The values in C's order of an array that is stored with its first axis varying fastest.
fn by_rows(values: &[f64], shape: &[usize]) -> Vec<f64> {
    let mut index = vec![0; shape.len()];
    let mut found = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        let place = index.iter().zip(shape).rfold(0, |place, (at, length)| place * length + at);
        found.push(values[place]);
        for (at, length) in index.iter_mut().zip(shape).rev() {
            *at += 1;
            if *at < *length {
                break;
            }
            *at = 0;
        }
    }
    found
}

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    F32 { big_endian: bool },
    F64 { big_endian: bool },
}

impl Kind {
    fn width(self) -> usize {
        match self {
            Self::F32 { .. } => 4,
            Self::F64 { .. } => 8,
        }
    }

    fn values(self, bytes: &[u8]) -> Vec<f64> {
        let four = |read: fn([u8; 4]) -> f32| bytes.as_chunks().0.iter().map(|four| f64::from(read(*four))).collect();
        let eight = |read: fn([u8; 8]) -> f64| bytes.as_chunks().0.iter().map(|eight| read(*eight)).collect();
        match self {
            Self::F32 { big_endian: false } => four(f32::from_le_bytes),
            Self::F32 { big_endian: true } => four(f32::from_be_bytes),
            Self::F64 { big_endian: false } => eight(f64::from_le_bytes),
            Self::F64 { big_endian: true } => eight(f64::from_be_bytes),
        }
    }
}

/// What the header of an array says.
#[derive(Debug, PartialEq)]
struct Layout {
    kind: Kind,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Layout {
    /// From the dictionary that NumPy writes, `{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }`, in whatever
    /// order and with either kind of quotes.
    fn parse(text: &str) -> Result<Self, String> {
        let odd = || format!("a header that is not understood: {}", text.trim().chars().take(200).collect::<String>());
        let value_of = |key: &str| {
            let behind = ['\'', '"'].iter().find_map(|quote| text.split_once(&format!("{quote}{key}{quote}")));
            behind.and_then(|(_, rest)| rest.trim_start().strip_prefix(':')).map(str::trim_start).ok_or_else(odd)
        };
        let descr = value_of("descr")?;
        let descr = descr.strip_prefix(['\'', '"']).and_then(|rest| rest.split(['\'', '"']).next()).ok_or_else(odd)?;
        let kind = match descr {
            "<f8" => Kind::F64 { big_endian: false },
            ">f8" => Kind::F64 { big_endian: true },
            "<f4" => Kind::F32 { big_endian: false },
            ">f4" => Kind::F32 { big_endian: true },
            other => return Err(format!("values of type `{other}`")),
        };
        let order = value_of("fortran_order")?;
        let fortran_order = match (order.starts_with("True"), order.starts_with("False")) {
            (true, _) => true,
            (_, true) => false,
            _ => return Err(odd()),
        };
        let shape = value_of("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(odd)?.0;
        let lengths = shape.split(',').map(str::trim).filter(|length| !length.is_empty());
        let shape = lengths.map(|length| length.parse().map_err(|_| odd())).collect::<Result<_, _>>()?;
        Ok(Self { kind, fortran_order, shape })
    }
}
