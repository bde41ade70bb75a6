//! What several tests of JPEG need: DICOM files around a stream, and the golden streams with their samples.

use std::path::{Path, PathBuf};

/// A DICOM image in explicit little endian with one compressed frame.
pub struct Wrapped<'a> {
    pub transfer_syntax: &'a str,
    pub photometric: &'a str,
    pub height: usize,
    pub width: usize,
    pub bits_stored: u16,
    pub is_signed: bool,
    /// Centre and width in stored values, so that brightness is known.
    pub window: [i32; 2],
    pub frame: &'a [u8],
}

impl Wrapped<'_> {
    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let samples: u16 = if self.photometric.starts_with("MONOCHROME") { 1 } else { 3 };
        let allocated = if self.bits_stored > 8 { 16 } else { 8 };
        let window = self.window.map(|value| value.to_string());
        let mut bytes = [&[0; 128][..], b"DICM"].concat();
        let mut put = |group: u16, element: u16, kind: &[u8; 2], value: &[u8]| {
            let mut value = value.to_vec();
            if value.len() % 2 == 1 {
                value.push(if kind == b"UI" { 0 } else { b' ' });
            }
            bytes.extend([group.to_le_bytes(), element.to_le_bytes()].concat());
            bytes.extend(kind);
            bytes.extend((value.len() as u16).to_le_bytes());
            bytes.extend(value);
        };
        let uid = self.transfer_syntax.as_bytes();
        let padded = (uid.len() + uid.len() % 2) as u32;
        put(2, 0, b"UL", &(8 + padded).to_le_bytes());
        put(2, 0x10, b"UI", uid);
        put(0x28, 2, b"US", &samples.to_le_bytes());
        put(0x28, 4, b"CS", self.photometric.as_bytes());
        if samples == 3 {
            put(0x28, 6, b"US", &[0, 0]);
        }
        put(0x28, 0x10, b"US", &(self.height as u16).to_le_bytes());
        put(0x28, 0x11, b"US", &(self.width as u16).to_le_bytes());
        put(0x28, 0x100, b"US", &u16::to_le_bytes(allocated));
        put(0x28, 0x101, b"US", &self.bits_stored.to_le_bytes());
        put(0x28, 0x102, b"US", &(self.bits_stored - 1).to_le_bytes());
        put(0x28, 0x103, b"US", &u16::from(self.is_signed).to_le_bytes());
        put(0x28, 0x1050, b"DS", window[0].as_bytes());
        put(0x28, 0x1051, b"DS", window[1].as_bytes());
        // Pixel data of undefined length: an empty offset table, the frame, the end.
        let length = (self.frame.len() + self.frame.len() % 2) as u32;
        bytes.extend(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0");
        bytes.extend(length.to_le_bytes());
        bytes.extend(self.frame);
        bytes.resize(bytes.len() + self.frame.len() % 2, 0);
        bytes.extend(b"\xfe\xff\xdd\xe0\0\0\0\0");
        bytes
    }
}

/// Samples that other programs decoded; red, green and blue of a pixel one after the other.
pub struct Golden {
    pub height: usize,
    pub width: usize,
    pub names: Vec<String>,
    pub samples: Vec<u16>,
}

/// The folder of the golden streams.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/jpeg")
}

/// A golden stream.
pub fn stream(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.jpg"))).unwrap()
}

/// All golden images.
pub fn golden() -> Vec<Golden> {
    let text = std::fs::read_to_string(folder().join("expected.txt")).unwrap();
    let mut lines = text.lines();
    let mut all = Vec::new();
    while let Some(head) = lines.next() {
        let mut parts = head.split(' ');
        let [height, width] = [(); 2].map(|()| parts.next().unwrap().parse().unwrap());
        let rows = lines.by_ref().take(height);
        let samples = rows.flat_map(|row| row.split([' ', ',']).map(|value| value.parse().unwrap())).collect();
        all.push(Golden { height, width, names: parts.map(String::from).collect(), samples });
    }
    all
}
