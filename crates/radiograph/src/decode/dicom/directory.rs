//! DICOMDIR: the directory of a medium, as hospitals burn it on discs. It names the files of the medium and, beside them,
//! patients and dates, of which nothing is kept.

use dicom_dictionary_std::tags;

use super::elements::{Event, Open, Reader};
use super::file::File;
use super::{syntax, unsupported};
use crate::{DecodeError, DecodeOptions};

/// The files that a DICOMDIR names, in its order, relative to its folder with `/` between folders; `None` for a DICOM
/// file of another kind.
///
/// # Errors
/// A file that is damaged, cut short or no DICOM.
pub fn dicom_directory(bytes: &[u8]) -> Result<Option<Vec<String>>, DecodeError> {
    let file = File::open(bytes, &DecodeOptions::default())?;
    let uid = &file.transfer_syntax;
    if !syntax::is_uncompressed(uid) || matches!(file.body, std::borrow::Cow::Owned(_)) {
        return Err(unsupported(format!("a directory in transfer syntax {uid}; export the files anew")));
    }
    let mut reader = Reader::new(&file.body, file.encoding);
    let mut files: Option<Vec<String>> = None;
    while let Some(event) = reader.next()? {
        match event {
            Event::Sequence(_) => {
                if let [Open { tag: tags::DIRECTORY_RECORD_SEQUENCE, .. }] = reader.path() {
                    files.get_or_insert_default();
                }
            }
            Event::Value(element) if element.tag == tags::DIRECTORY_RECORD_SEQUENCE && reader.path().is_empty() => {
                files.get_or_insert_default();
                reader.enter(&element)?;
            }
            Event::Value(element) => {
                let is_record = matches!(reader.path(), [Open { tag: tags::DIRECTORY_RECORD_SEQUENCE, .. }]);
                if is_record && element.tag == tags::REFERENCED_FILE_ID {
                    files.get_or_insert_default().push(path(element.value));
                }
            }
        }
    }
    Ok(files)
}

/// A file ID: names of folders and of the file as values of their own, padded to an even length.
fn path(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let parts = text.split('\\').map(|part| part.trim_matches(|c: char| c.is_whitespace() || c == '\0'));
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DecodeOptions, decode_bytes};

    /// An element of explicit little endian with a short length.
    fn element(group: u16, element: u16, kind: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut bytes = [group.to_le_bytes(), element.to_le_bytes(), *kind].concat();
        let is_long = matches!(kind, b"SQ" | b"OB");
        let length = value.len() as u32;
        let length = if is_long {
            [[0; 2].to_vec(), length.to_le_bytes().to_vec()].concat()
        } else {
            length.to_le_bytes()[..2].to_vec()
        };
        bytes.extend(length);
        bytes.extend(value);
        bytes
    }

    fn item(value: &[u8]) -> Vec<u8> {
        [&[0xfe, 0xff, 0x00, 0xe0][..], &(value.len() as u32).to_le_bytes(), value].concat()
    }

    /// A directory with a patient and two images, one of which refers to a third file in a nested sequence.
    fn directory() -> Vec<u8> {
        let patient = [element(4, 0x1430, b"CS", b"PATIENT "), element(0x10, 0x10, b"PN", b"Doe^Jane")].concat();
        let nested = element(8, 0x1115, b"SQ", &item(&element(4, 0x1500, b"CS", b"NOT\\THIS")));
        let image = |id: &[u8], more: &[u8]| {
            item(&[element(4, 0x1430, b"CS", b"IMAGE "), element(4, 0x1500, b"CS", id), more.to_vec()].concat())
        };
        let records = [item(&patient), image(b"DICOM\\IM000001", &nested), image(b"DICOM\\IM2 ", &[])].concat();
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM");
        bytes.extend(element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0"));
        bytes.extend(element(4, 0x1130, b"CS", b"DISC"));
        bytes.extend(element(4, 0x1220, b"SQ", &records));
        bytes
    }

    #[test]
    fn the_files_of_a_medium_are_listed() {
        let bytes = directory();
        let files = dicom_directory(&bytes).unwrap();
        assert_eq!(files, Some(vec!["DICOM/IM000001".to_owned(), "DICOM/IM2".to_owned()]));
        let message = decode_bytes(&bytes, &DecodeOptions::default()).unwrap_err().to_string();
        assert!(message.contains("DICOMDIR") && !message.contains("Doe"), "{message}");
        for length in 0..bytes.len() {
            if let Err(error) = dicom_directory(&bytes[..length]) {
                assert!(error.to_string().len() > 20);
            }
        }
    }

    #[test]
    fn other_dicom_files_are_no_directories() {
        let image = include_bytes!("../../../tests/golden/dicom/u12_window.dcm");
        assert_eq!(dicom_directory(image).unwrap(), None);
        let deflated = include_bytes!("../../../tests/golden/dicom/deflated.dcm");
        assert!(dicom_directory(deflated).unwrap_err().to_string().contains("transfer syntax"));
    }
}
