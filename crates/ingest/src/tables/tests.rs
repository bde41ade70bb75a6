use std::io::Cursor;

use encoding_rs::WINDOWS_1252;

use super::*;
use crate::presets::State;

/// How a table is written.
#[derive(Clone, Copy, Debug)]
struct Style {
    encoding: Coding,
    separator: char,
    end: &'static str,
    names_separator: bool,
    quotes_all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Coding {
    Utf8,
    Utf8WithMark,
    Utf16Le,
    Utf16Be,
    Utf16LeWithoutMark,
    Utf16BeWithoutMark,
    Windows1252,
}

const CODINGS: [Coding; 7] = [
    Coding::Utf8,
    Coding::Utf8WithMark,
    Coding::Utf16Le,
    Coding::Utf16Be,
    Coding::Utf16LeWithoutMark,
    Coding::Utf16BeWithoutMark,
    Coding::Windows1252,
];
const ENDS: [&str; 3] = ["\n", "\r\n", "\r"];

fn styles() -> impl Iterator<Item = Style> {
    CODINGS.into_iter().flat_map(|encoding| {
        [',', ';', '\t', '|'].into_iter().flat_map(move |separator| {
            ENDS.into_iter().flat_map(move |end| {
                [(false, false), (false, true), (true, false), (true, true)].into_iter().map(
                    move |(names_separator, quotes_all)| Style {
                        encoding,
                        separator,
                        end,
                        names_separator,
                        quotes_all,
                    },
                )
            })
        })
    })
}

/// Writes a table as the style says.
fn written(rows: &[Vec<String>], style: Style) -> Vec<u8> {
    let mut text = String::new();
    if style.names_separator {
        text += &format!("sep={}{}", style.separator, style.end);
    }
    for row in rows {
        for (number, cell) in row.iter().enumerate() {
            if number > 0 {
                text.push(style.separator);
            }
            let is_special = |sign: char| sign == style.separator || matches!(sign, '"' | '\n' | '\r');
            if style.quotes_all || cell.contains(is_special) {
                text += &format!("\"{}\"", cell.replace('"', "\"\""));
            } else {
                text += cell;
            }
        }
        text += style.end;
    }
    let wide = |mark: &[u16], bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        mark.iter().copied().chain(text.encode_utf16()).flat_map(bytes).collect()
    };
    match style.encoding {
        Coding::Utf8 => text.into_bytes(),
        Coding::Utf8WithMark => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        Coding::Utf16Le => wide(&[0xfeff], u16::to_le_bytes),
        Coding::Utf16Be => wide(&[0xfeff], u16::to_be_bytes),
        Coding::Utf16LeWithoutMark => wide(&[], u16::to_le_bytes),
        Coding::Utf16BeWithoutMark => wide(&[], u16::to_be_bytes),
        Coding::Windows1252 => {
            let (bytes, _, is_lossy) = WINDOWS_1252.encode(&text);
            assert!(!is_lossy);
            bytes.into_owned()
        }
    }
}

/// Hands out a byte at a time, as a slow pipe may.
struct Slow(Cursor<Vec<u8>>);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let end = buffer.len().min(1);
        self.0.read(&mut buffer[..end])
    }
}

fn opened(bytes: Vec<u8>, notes: &Notes) -> TableReader {
    TableReader::new(as_utf8(Box::new(Cursor::new(bytes))).unwrap(), "t.csv", notes).unwrap()
}

fn read(bytes: Vec<u8>, notes: &Notes) -> Vec<Vec<String>> {
    let mut table = opened(bytes, notes);
    let header = table.header().to_vec();
    let rows = table.by_ref().map(|row| row.unwrap().cells.iter().map(str::to_owned).collect());
    std::iter::once(header).chain(rows).collect()
}

fn rows(all: &[&[&str]]) -> Vec<Vec<String>> {
    all.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
}

#[test]
fn a_table_is_the_same_however_it_is_written() {
    let table = rows(&[
        &["path", "patient", "Größe", "note"],
        &["a/é.png", "12", "1,5;2", "says \"no\""],
        &["", "", "", ""],
        &["b|c.png", "Müller", "€ 5", "two\nlines\tand a tab"],
    ]);
    for style in styles() {
        let notes = Notes::default();
        assert_eq!(read(written(&table, style), &notes), table, "{style:?}");
        let is_said = notes.sentences().iter().any(|sentence| sentence.contains("Windows-1252"));
        assert_eq!(is_said, style.encoding == Coding::Windows1252, "{style:?}");
    }
}

#[test]
fn bytes_may_come_in_any_portions() {
    let table = rows(&[&["path", "x"], &["ä.png", "\u{1f600}"], &["b.png", "2"]]);
    for style in styles().filter(|style| style.encoding != Coding::Windows1252) {
        let text = as_utf8(Box::new(Slow(Cursor::new(written(&table, style))))).unwrap();
        let reader = TableReader::new(text, "t", &Notes::default()).unwrap();
        let found: Vec<Vec<String>> =
            reader.map(|row| row.unwrap().cells.iter().map(str::to_owned).collect()).collect();
        assert_eq!(found, table[1..], "{style:?}");
    }
}

/// A generator of random numbers, the same ones each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

#[test]
fn random_tables_are_read_back_in_every_style() {
    const SIGNS: [&str; 16] = ["a", "7", " ", ",", ";", "\t", "|", "\"", "\n", "\r\n", "\r", "é", "ü", "'", "=", "\\"];
    let mut numbers = Numbers(17);
    let all: Vec<Style> = styles().collect();
    for case in 0..3000 {
        let style = all[case % all.len()];
        let (width, height) = (2 + numbers.below(4), numbers.below(30));
        let mut table: Vec<Vec<String>> = vec![(0..width).map(|column| format!("column {column}")).collect()];
        for _ in 0..height {
            let mut cell = || -> String {
                let signs: Vec<&str> = (0..numbers.below(6)).map(|_| SIGNS[numbers.below(SIGNS.len())]).collect();
                // Between letters that are not ASCII: in Windows-1252, two of these may happen to be UTF-8.
                signs.join(if signs.iter().any(|sign| !sign.is_ascii()) { "x" } else { "" })
            };
            // A last cell that is empty could be one too many.
            table.push((0..width).map(|_| cell()).collect());
        }
        assert_eq!(read(written(&table, style), &Notes::default()), table, "{style:?}");
    }
}

#[test]
fn tables_longer_than_their_beginning_are_read_to_the_end() {
    let table: Vec<Vec<String>> = (0..20_000).map(|row| vec![format!("é {row}"), "x".repeat(row % 9)]).collect();
    for encoding in CODINGS {
        let style = Style { encoding, separator: ';', end: "\r\n", names_separator: true, quotes_all: false };
        assert_eq!(read(written(&table, style), &Notes::default()), table, "{encoding:?}");
    }
}

#[test]
fn lines_are_counted_as_an_editor_does() {
    for (before, line) in [("", 3), ("sep=,\n", 4), ("\u{feff}", 3)] {
        for end in ENDS {
            let text = format!("{before}a,b\n1,2\n3,4\n").replace('\n', end);
            let found: Vec<u64> =
                opened(text.clone().into_bytes(), &Notes::default()).map(|row| row.unwrap().line).collect();
            assert_eq!(found, [line - 1, line], "{text:?}");
        }
    }
}

#[test]
fn the_separator_is_the_one_that_rows_agree_on() {
    for (text, header) in [
        // Commas in a name, of which the header has more than of anything else.
        ("path;Size (h,w,d)\na.png;1\nb.png;2\n", &["path", "Size (h,w,d)"][..]),
        ("path,labels\na.png,x|y|z\nb.png,x|y|z\n", &["path", "labels"]),
        ("path,note\na.png,x;y\nb.png,\"1;2\"\n", &["path", "note"]),
        ("path\na.png\n", &["path"]),
        ("path\tnote\na.png\tone, two, three\n", &["path", "note"]),
        ("\"path\",\"a;b;c\"\nx,y\n", &["path", "a;b;c"]),
        ("path;x\n", &["path", "x"]),
        ("SEP=|\npath|x,y,z\na.png|1\n", &["path", "x,y,z"]),
        ("\"sep=;\"\r\npath;x\r\n", &["path", "x"]),
        ("sep=;;;\r\npath;x;y\r\n", &["path", "x", "y"]),
        // Rows end in more separators than the header.
        ("path,x\na.png,1,,\nb.png,2,,\n", &["path", "x"]),
    ] {
        let table = opened(text.as_bytes().to_vec(), &Notes::default());
        assert_eq!(table.header(), header, "{text:?}");
        let lengths: Vec<usize> = table.map(|row| row.unwrap().cells.len()).collect();
        assert!(lengths.iter().all(|&length| length == header.len()), "{text:?}: {lengths:?}");
    }
    // Not the line of a spreadsheet, but a column.
    let table = opened(b"sep=9,path\n1,a.png\n".to_vec(), &Notes::default());
    assert_eq!(table.header(), ["sep=9", "path"]);
}

#[test]
fn what_stands_for_nothing_is_nothing() {
    for cell in [
        "", " ", "\u{a0}", "nan", "NaN", "NAN", " nan ", "-nan", "None", "none", "NULL", "null", "N/A", "n/a", "NA",
        "na", "<NA>", "#N/A", "#N/A N/A", "NaT", "#VALUE!", "#REF!", "#DIV/0!", "1.#QNAN",
    ] {
        assert_eq!(filled(cell), None, "{cell:?}");
        assert_eq!(identifier(cell, false), None, "{cell:?}");
        assert_eq!(value(cell, false), Value::Missing, "{cell:?}");
    }
    for cell in ["0", "Na", "No finding", "nano", "-", "nil", "Nonet", "unknown", "nan1"] {
        assert_eq!(filled(cell), Some(cell));
    }
}

#[test]
fn numbers_of_pandas_and_of_spreadsheets_are_what_they_stand_for() {
    for (cell, has_decimal_commas, expected) in [
        ("12", false, "12"),
        ("12.0", false, "12"),
        ("12.00", true, "12"),
        (" 12 ", false, "12"),
        ("12,0", true, "12"),
        ("12,0", false, "12,0"),
        ("12,5", true, "12,5"),
        ("0012", false, "0012"),
        ("0012.0", false, "0012"),
        ("1.2.0", false, "1.2.0"),
        ("p12.0", false, "p12.0"),
        ("1.2E1", false, "1.2E1"),
    ] {
        assert_eq!(identifier(cell, has_decimal_commas).as_deref(), Some(expected), "{cell}");
    }
    for (cell, expected) in [
        ("1", Value::State(State::Positive)),
        ("1.0", Value::State(State::Positive)),
        ("1,0", Value::State(State::Positive)),
        ("+1", Value::State(State::Positive)),
        ("TRUE", Value::State(State::Positive)),
        ("yes", Value::State(State::Positive)),
        ("0", Value::State(State::Negative)),
        ("0.00", Value::State(State::Negative)),
        ("-0.0", Value::State(State::Negative)),
        ("False", Value::State(State::Negative)),
        ("-1", Value::State(State::Uncertain)),
        ("-1.0", Value::State(State::Uncertain)),
        ("2", Value::Integer),
        ("3.0", Value::Integer),
        ("0.7", Value::Fraction),
        ("inf", Value::Word),
        ("1e0", Value::Word),
        ("mass", Value::Word),
        ("1|0", Value::Word),
        ("-", Value::Word),
    ] {
        assert_eq!(value(cell, true), expected, "{cell}");
    }
    assert_eq!(value("1,0", false), Value::Word, "two words where commas separate cells");
    for (text, is) in
        [("1.23E+11", true), ("1,2e5", true), ("1E5", false), ("E", false), ("12", false), ("a1.2E3", false)]
    {
        assert_eq!(is_scientific(text), is, "{text}");
    }
}

#[test]
fn damaged_text_is_read_or_an_error_and_ends() {
    // Half a character, a gzip file that was cut.
    let table = opened(b"\xff\xfea\0,\0b\0\n\x001\0,\0\x00\xd8\n\0x".to_vec(), &Notes::default());
    assert_eq!(table.count(), 2, "the half becomes a replacement character");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv.gz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut encoder, "a,b\n1,2\n".repeat(50_000).as_bytes()).unwrap();
    let bytes = encoder.finish().unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let rows: Vec<_> = TableReader::open(&path, &Notes::default()).unwrap().collect();
    assert_eq!(rows.iter().filter(|row| row.is_err()).count(), 1);
}
