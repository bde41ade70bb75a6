//! DICOM files made in memory: explicit little endian, uncompressed, one channel.

/// What an image says of itself.
pub struct Dicom {
    pub rows: u16,
    pub columns: u16,
    pub bits_allocated: u16,
    pub bits_stored: u16,
    pub is_signed: bool,
    pub photometric: &'static str,
    /// More elements, from [`item`] and [`sequence`], in any order.
    pub elements: Vec<Vec<u8>>,
    pub pixels: Vec<u8>,
}

impl Default for Dicom {
    fn default() -> Self {
        Self {
            rows: 1,
            columns: 1,
            bits_allocated: 8,
            bits_stored: 8,
            is_signed: false,
            photometric: "MONOCHROME2",
            elements: Vec::new(),
            pixels: Vec::new(),
        }
    }
}

impl Dicom {
    #[allow(dead_code)]
    pub fn with_window(mut self, center: &str, width: &str) -> Self {
        self.elements.push(item([0x28, 0x1050], b"DS", center.as_bytes()));
        self.elements.push(item([0x28, 0x1051], b"DS", width.as_bytes()));
        self
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let number = |element, value: u16| item([0x28, element], b"US", &value.to_le_bytes());
        let mut elements = self.elements.clone();
        elements.extend([
            number(0x02, 1),
            item([0x28, 0x04], b"CS", self.photometric.as_bytes()),
            number(0x10, self.rows),
            number(0x11, self.columns),
            number(0x100, self.bits_allocated),
            number(0x101, self.bits_stored),
            number(0x102, self.bits_stored - 1),
            number(0x103, self.is_signed.into()),
        ]);
        let word = |element: &[u8], at: usize| u16::from_le_bytes([element[at], element[at + 1]]);
        elements.sort_by_key(|element| (word(element, 0), word(element, 2)));
        let mut file = [&[0; 128], &b"DICM"[..]].concat();
        file.extend(item([2, 0x10], b"UI", b"1.2.840.10008.1.2.1\0"));
        file.extend(elements.concat());
        file.extend(item([0x7fe0, 0x10], b"OW", &self.pixels));
        file
    }
}

/// An element: tag, representation, value, padded to an even length.
pub fn item([group, element]: [u16; 2], representation: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(if matches!(representation, b"DS" | b"CS" | b"IS") { b' ' } else { 0 });
    }
    let mut bytes = [group.to_le_bytes(), element.to_le_bytes(), *representation].concat();
    if matches!(representation, b"OW" | b"SQ") {
        bytes.extend([0, 0]);
        bytes.extend((value.len() as u32).to_le_bytes());
    } else {
        bytes.extend((value.len() as u16).to_le_bytes());
    }
    bytes.extend(value);
    bytes
}

/// A sequence with one item of these elements, or with none.
#[allow(dead_code)]
pub fn sequence(tag: [u16; 2], elements: Option<&[u8]>) -> Vec<u8> {
    let content = elements.map_or(Vec::new(), |elements| {
        [&[0xfe, 0xff, 0, 0xe0][..], &(elements.len() as u32).to_le_bytes(), elements].concat()
    });
    item(tag, b"SQ", &content)
}

/// Words with the low byte first.
#[allow(dead_code)]
pub fn words(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
