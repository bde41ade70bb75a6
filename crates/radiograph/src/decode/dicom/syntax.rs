//! Transfer syntaxes by their identifiers (PS3.6, table A-1): which are known, by which name, and whether pixels are
//! compressed.

use dicom_dictionary_std::uids;

use super::elements::Encoding;

/// Whether pixel data are as they are in memory, whatever the elements.
pub(super) fn is_uncompressed(uid: &str) -> bool {
    matches!(
        uid,
        uids::IMPLICIT_VR_LITTLE_ENDIAN
            | uids::EXPLICIT_VR_LITTLE_ENDIAN
            | EXPLICIT_BIG_ENDIAN
            | uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
            | uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN
            | PAPYRUS
    )
}

/// Whether pixels are JPEG of ITU-T T.81, of any process: .50 and .51, the retired .52 to .66, and .70.
pub(super) fn is_jpeg(uid: &str) -> bool {
    let number = uid.strip_prefix("1.2.840.10008.1.2.4.").and_then(|number| number.parse::<u8>().ok());
    number.is_some_and(|number| matches!(number, 50..=66 | 70))
}

/// Retired.
pub(super) const EXPLICIT_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// Papyrus 3, retired.
const PAPYRUS: &str = "1.2.840.10008.1.20";

/// How elements are written in a transfer syntax. All that compress are explicit.
pub(super) fn encoding(uid: &str) -> Encoding {
    match uid {
        uids::IMPLICIT_VR_LITTLE_ENDIAN | PAPYRUS => Encoding::IMPLICIT,
        EXPLICIT_BIG_ENDIAN => Encoding::BIG_ENDIAN,
        _ => Encoding::EXPLICIT,
    }
}

/// The name of a transfer syntax; `None` for one that the standard does not know.
pub(super) fn name(uid: &str) -> Option<&'static str> {
    if let Some(video) = uid.strip_prefix("1.2.840.10008.1.2.4.10") {
        return match video.strip_suffix(".1").unwrap_or(video) {
            "0" | "1" => Some("MPEG-2 video"),
            "2" | "3" | "4" | "5" | "6" => Some("MPEG-4 AVC/H.264 video"),
            "7" | "8" => Some("HEVC/H.265 video"),
            _ => None,
        };
    }
    Some(match uid {
        uids::IMPLICIT_VR_LITTLE_ENDIAN => "Implicit VR Little Endian",
        uids::EXPLICIT_VR_LITTLE_ENDIAN => "Explicit VR Little Endian",
        uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN => {
            "Encapsulated Uncompressed Explicit VR Little Endian"
        }
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => "Deflated Explicit VR Little Endian",
        EXPLICIT_BIG_ENDIAN => "Explicit VR Big Endian",
        PAPYRUS => "Papyrus 3 Implicit VR Little Endian",
        "1.2.840.10008.1.2.4.50" => "JPEG Baseline (Process 1)",
        "1.2.840.10008.1.2.4.51" => "JPEG Extended (Process 2 and 4)",
        "1.2.840.10008.1.2.4.52" => "JPEG Extended (Process 3 and 5)",
        "1.2.840.10008.1.2.4.53" | "1.2.840.10008.1.2.4.54" => "JPEG Spectral Selection, Non-Hierarchical",
        "1.2.840.10008.1.2.4.55" | "1.2.840.10008.1.2.4.56" => "JPEG Full Progression, Non-Hierarchical",
        "1.2.840.10008.1.2.4.57" | "1.2.840.10008.1.2.4.58" => "JPEG Lossless, Non-Hierarchical",
        "1.2.840.10008.1.2.4.59"
        | "1.2.840.10008.1.2.4.60"
        | "1.2.840.10008.1.2.4.61"
        | "1.2.840.10008.1.2.4.62"
        | "1.2.840.10008.1.2.4.63"
        | "1.2.840.10008.1.2.4.64"
        | "1.2.840.10008.1.2.4.65"
        | "1.2.840.10008.1.2.4.66" => "JPEG, Hierarchical",
        "1.2.840.10008.1.2.4.70" => "JPEG Lossless, Non-Hierarchical, First-Order Prediction",
        "1.2.840.10008.1.2.4.80" => "JPEG-LS Lossless",
        "1.2.840.10008.1.2.4.81" => "JPEG-LS Lossy (Near-Lossless)",
        "1.2.840.10008.1.2.4.90" => "JPEG 2000 (Lossless Only)",
        "1.2.840.10008.1.2.4.91" => "JPEG 2000",
        "1.2.840.10008.1.2.4.92" | "1.2.840.10008.1.2.4.93" => "JPEG 2000 Part 2 Multi-component",
        "1.2.840.10008.1.2.4.94" => "JPIP Referenced",
        "1.2.840.10008.1.2.4.95" => "JPIP Referenced Deflate",
        "1.2.840.10008.1.2.4.110" => "JPEG XL Lossless",
        "1.2.840.10008.1.2.4.111" => "JPEG XL JPEG Recompression",
        "1.2.840.10008.1.2.4.112" => "JPEG XL",
        "1.2.840.10008.1.2.4.201" => "High-Throughput JPEG 2000 (Lossless Only)",
        "1.2.840.10008.1.2.4.202" => "High-Throughput JPEG 2000 with RPCL Options (Lossless Only)",
        "1.2.840.10008.1.2.4.203" => "High-Throughput JPEG 2000",
        "1.2.840.10008.1.2.4.204" => "JPIP HTJ2K Referenced",
        "1.2.840.10008.1.2.4.205" => "JPIP HTJ2K Referenced Deflate",
        "1.2.840.10008.1.2.5" => "RLE Lossless",
        "1.2.840.10008.1.2.6.1" => "RFC 2557 MIME encapsulation",
        "1.2.840.10008.1.2.6.2" => "XML Encoding",
        "1.2.840.10008.1.2.7.1" | "1.2.840.10008.1.2.7.2" => "SMPTE ST 2110-20 video",
        "1.2.840.10008.1.2.7.3" => "SMPTE ST 2110-30 sound",
        "1.2.840.10008.1.2.8.1" => "Deflated Image Frame Compression",
        _ => return None,
    })
}

/// The transfer syntax of a compressed frame, by its first bytes.
pub(super) fn of_frame(frame: &[u8]) -> Option<&'static str> {
    match frame {
        [0xff, 0xd8, 0xff, ..] => Some(of_jpeg(frame)),
        [0xff, 0x4f, 0xff, 0x51, ..] => Some(uids::JPEG2000),
        _ if frame.starts_with(b"\0\0\0\x0cjP  ") => Some(uids::JPEG2000),
        _ => is_rle(frame).then_some(uids::RLE_LOSSLESS),
    }
}

/// By the marker that begins the frame (T.81, table B.1; T.87 for JPEG-LS).
fn of_jpeg(frame: &[u8]) -> &'static str {
    let mut rest = &frame[2..];
    while let &[0xff, marker, high, low, ..] = rest {
        match marker {
            0xc1 => return uids::JPEG_EXTENDED12_BIT,
            0xc2 => return "1.2.840.10008.1.2.4.55",
            0xc3 => return uids::JPEG_LOSSLESS,
            0xf7 => return uids::JPEGLS_LOSSLESS,
            0xc0 | 0xda => break,
            // Bytes that fill up.
            0xff => rest = &rest[1..],
            _ => rest = rest.get(2 + usize::from(u16::from_be_bytes([high, low]))..).unwrap_or_default(),
        }
    }
    uids::JPEG_BASELINE8_BIT
}

/// A header of 64 bytes: the number of segments, their offsets, and zeros (PS3.5, G.5).
fn is_rle(frame: &[u8]) -> bool {
    let Some(header) = frame.first_chunk::<64>() else { return false };
    let words: Vec<u32> = header.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word)).collect();
    let segments = words[0] as usize;
    (1..=15).contains(&segments) && words[1] == 64 && words[1 + segments..].iter().all(|&word| word == 0)
}
