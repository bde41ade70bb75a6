//! What the components of a colour JPEG are: label of the DICOM file, headers of JFIF and Adobe, resolution and process,
//! on streams of one grey image, of which every right reader makes the same.

mod support;

use radiograph::{DecodeOptions, Fit, decode_bytes};
use support::{Wrapped, golden, stream};

/// A header that says what components are, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    None,
    Jfif,
    Adobe(u8),
}

/// A stream with another header than it has, and with names of components that say nothing.
fn marked(stream: &[u8], mark: Mark) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8];
    match mark {
        Mark::None => {}
        Mark::Jfif => bytes.extend(b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
        Mark::Adobe(transform) => bytes.extend([&b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"[..], &[transform]].concat()),
    }
    let mut at = 2;
    while at < stream.len() {
        let length = usize::from(u16::from_be_bytes([stream[at + 2], stream[at + 3]])) + 2;
        let segment = &mut stream[at..at + length].to_vec();
        match segment[1] {
            0xe0 | 0xee => {}
            0xda => {
                rename(segment, 5, 2);
                bytes.extend_from_slice(segment);
                // Progressive streams have more scans.
                let data = &stream[at + length..];
                let end = data.windows(2).position(|pair| pair[0] == 0xff && pair[1] != 0).unwrap();
                bytes.extend(&data[..end]);
                at += end;
            }
            0xc0 | 0xc2 => {
                rename(segment, 10, 3);
                bytes.extend_from_slice(segment);
            }
            _ => bytes.extend_from_slice(segment),
        }
        at += length;
        if stream[at..] == [0xff, 0xd9] {
            break;
        }
    }
    bytes.extend([0xff, 0xd9]);
    bytes
}

/// Names of components from a place on, at a distance: "R", "G", "B" become 1, 2, 3.
fn rename(segment: &mut [u8], from: usize, distance: usize) {
    let count = usize::from(segment[from - 1]);
    for name in segment[from..].iter_mut().step_by(distance).take(count) {
        *name = match *name {
            b'R' => 1,
            b'G' => 2,
            b'B' => 3,
            other => other,
        };
    }
}

fn decoded(bytes: &[u8], reduce_for: Option<(usize, Fit)>) -> Vec<f32> {
    decode_bytes(bytes, &DecodeOptions { reduce_for, ..Default::default() }).unwrap().pixels
}

fn wrapped(frame: &[u8], transfer_syntax: &str, photometric: &str, [height, width]: [usize; 2]) -> Vec<u8> {
    let [bits_stored, window] = [8, 256];
    let window = [window / 2, window].map(i32::from);
    Wrapped { transfer_syntax, photometric, height, width, bits_stored, is_signed: false, window, frame }.to_bytes()
}

#[test]
fn label_mark_resolution_and_process() {
    let image = golden().into_iter().find(|image| image.names.contains(&"grey_grey_baseline".into())).unwrap();
    let size = [image.height, image.width];
    // Sequential streams may call themselves extended.
    let processes = [("baseline", 0xc0, "50"), ("baseline", 0xc1, "51"), ("progressive", 0xc2, "55")];
    let mut num = 0;
    for reduce_for in [None, Some((9, Fit::Pad))] {
        let grey = stream("grey_grey_baseline");
        let expected = decoded(&wrapped(&grey, "1.2.840.10008.1.2.4.50", "MONOCHROME2", size), reduce_for);
        if reduce_for.is_none() {
            let samples: Vec<u16> = expected.iter().map(|pixel| (pixel * 255.0).round() as u16).collect();
            assert_eq!(samples, image.samples);
        }
        for (process, frame, syntax) in processes {
            for label in ["RGB", "YBR_FULL", "YBR_FULL_422"] {
                for mark in [Mark::None, Mark::Jfif, Mark::Adobe(0), Mark::Adobe(1)] {
                    for resolution in ["444", "422", "420"] {
                        let is_rgb =
                            resolution == "444" && (mark == Mark::Adobe(0) || mark == Mark::None && label == "RGB");
                        let content = if is_rgb { "rgb" } else { resolution };
                        let mut bytes = marked(&stream(&format!("grey_{content}_{process}")), mark);
                        let at =
                            bytes.windows(2).position(|pair| pair == [0xff, 0xc0] || pair == [0xff, 0xc2]).unwrap();
                        bytes[at + 1] = frame;
                        let file = wrapped(&bytes, &format!("1.2.840.10008.1.2.4.{syntax}"), label, size);
                        let found = decoded(&file, reduce_for);
                        assert!(found == expected, "{process} {frame:x} {label} {mark:?} {resolution}");
                        // Without a label, what is unmarked is YCbCr.
                        if !(is_rgb && mark == Mark::None) {
                            assert!(decoded(&bytes, reduce_for) == expected, "{process} {mark:?} {resolution}");
                        }
                        num += 1;
                    }
                }
            }
        }
    }
    assert_eq!(num, 2 * 3 * 3 * 4 * 3);
}

/// Pillow names components so, and libjpeg goes by it, whatever the label.
#[test]
fn components_called_red_green_and_blue_are_rgb() {
    let size = [29, 37];
    for process in ["baseline", "progressive"] {
        let mut bytes = stream(&format!("grey_rgb_{process}"));
        let expected = decoded(&bytes, None);
        let at = bytes.windows(2).position(|pair| pair == [0xff, 0xee]).unwrap();
        bytes.drain(at..at + 16);
        assert_eq!(decoded(&bytes, None), expected);
        for label in ["RGB", "YBR_FULL"] {
            assert_eq!(decoded(&wrapped(&bytes, "1.2.840.10008.1.2.4.50", label, size), None), expected);
        }
    }
}

/// The number of components decides before anything is decoded.
#[test]
fn components_and_samples_per_pixel_agree() {
    for (name, photometric, expected) in [
        ("grey_grey_baseline", "RGB", "a JPEG of 1 component(s) for 3 sample(s) per pixel"),
        ("grey_444_progressive", "MONOCHROME2", "a JPEG of 3 component(s) for 1 sample(s) per pixel"),
    ] {
        let file = wrapped(&stream(name), "1.2.840.10008.1.2.4.50", photometric, [29, 37]);
        let error = decode_bytes(&file, &DecodeOptions::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// The stream says what it is, whatever the transfer syntax.
#[test]
fn the_stream_decides_its_process() {
    let syntaxes = [50, 51, 53, 55, 57, 70].map(|number| format!("1.2.840.10008.1.2.4.{number}"));
    for image in golden() {
        for name in image.names.iter().filter(|name| !name.contains("u12") && !name.contains("u16")) {
            let photometric = if name.starts_with("grey_rgb") || name.starts_with("lossless_rgb") {
                "RGB"
            } else if name.starts_with("grey_4") {
                "YBR_FULL"
            } else {
                "MONOCHROME2"
            };
            let size = [image.height, image.width];
            let found = syntaxes.each_ref().map(|uid| decoded(&wrapped(&stream(name), uid, photometric, size), None));
            assert!(found.iter().all(|pixels| *pixels == found[0]), "{name}");
        }
    }
}

#[test]
fn processes_that_are_not_read_are_named() {
    for (marker, expected) in [
        (0xc5, "a hierarchical JPEG"),
        (0xc9, "a JPEG with arithmetic coding"),
        (0xca, "a JPEG with arithmetic coding"),
        (0xcb, "a JPEG with arithmetic coding"),
        (0xf7, "JPEG-LS under the name of another JPEG"),
    ] {
        let mut bytes = stream("grey_grey_baseline");
        let at = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        bytes[at + 1] = marker;
        for file in [wrapped(&bytes, "1.2.840.10008.1.2.4.52", "MONOCHROME2", [29, 37]), bytes] {
            let error = decode_bytes(&file, &DecodeOptions::default()).unwrap_err().to_string();
            assert!(error.contains("is not supported") && error.contains(expected), "{error}");
            assert!(error.contains("decompress it"), "{error}");
        }
    }
}
