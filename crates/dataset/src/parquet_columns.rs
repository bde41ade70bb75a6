//! The few kinds of Parquet columns that the manifest needs, written and read without Arrow.
//!
//! A list column is the standard three-level `LIST`, whose entries are told apart by levels: a row of two labels has
//! repetition levels 0, 1 and definition levels 1, 1; a row without labels has one entry of definition level 0.

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::RowGroupReader;
use parquet::file::writer::SerializedRowGroupWriter;

/// Writes the columns of one row group in the order of the schema.
pub(crate) struct ColumnsWriter<'a, W: std::io::Write + Send> {
    pub(crate) group: SerializedRowGroupWriter<'a, W>,
}

impl<W: std::io::Write + Send> ColumnsWriter<'_, W> {
    fn write<T: DataType>(
        &mut self,
        values: &[T::T],
        definition: Option<&[i16]>,
        repetition: Option<&[i16]>,
    ) -> Result<()> {
        let mut column = self
            .group
            .next_column()?
            .ok_or_else(|| ParquetError::General("more columns than the schema has".into()))?;
        column.typed::<T>().write_batch(values, definition, repetition)?;
        column.close()
    }

    /// Takes the texts, as it does below: they are needed once.
    pub(crate) fn strings(&mut self, texts: Texts) -> Result<()> {
        self.write::<ByteArrayType>(&texts.into_values(), None, None)
    }

    pub(crate) fn repeated_strings<'s>(&mut self, values: impl Iterator<Item = &'s str>) -> Result<()> {
        let values: Vec<_> = values.map(ByteArray::from).collect();
        self.write::<ByteArrayType>(&values, None, None)
    }

    pub(crate) fn bools(&mut self, values: &[bool]) -> Result<()> {
        self.write::<BoolType>(values, None, None)
    }

    /// Lists of at most one entry.
    pub(crate) fn optional_strings(&mut self, texts: TextLists) -> Result<()> {
        let definition: Vec<i16> = texts.counts.iter().map(|&count| i16::from(count > 0)).collect();
        self.write::<ByteArrayType>(&texts.texts.into_values(), Some(&definition), None)
    }

    pub(crate) fn optional_doubles(&mut self, values: impl Iterator<Item = Option<f64>>) -> Result<()> {
        self.optional::<DoubleType>(values)
    }

    /// `u64` in the bits of Parquet's 64-bit integers, as its unsigned logical type prescribes.
    pub(crate) fn optional_integers(&mut self, values: impl Iterator<Item = Option<u64>>) -> Result<()> {
        self.optional::<Int64Type>(values.map(|value| value.map(u64::cast_signed)))
    }

    pub(crate) fn string_lists(&mut self, lists: TextLists) -> Result<()> {
        let (mut definition, mut repetition) = (Vec::new(), Vec::new());
        for &count in &lists.counts {
            definition.extend((0..count.max(1)).map(|_| i16::from(count > 0)));
            repetition.extend((0..count.max(1)).map(|position| i16::from(position > 0)));
        }
        self.write::<ByteArrayType>(&lists.texts.into_values(), Some(&definition), Some(&repetition))
    }

    fn optional<T: DataType>(&mut self, entries: impl Iterator<Item = Option<T::T>>) -> Result<()> {
        let (mut values, mut definition) = (Vec::new(), Vec::new());
        for entry in entries {
            definition.push(i16::from(entry.is_some()));
            values.extend(entry);
        }
        self.write::<T>(&values, Some(&definition), None)
    }
}

/// Texts one after the other, in a fraction of the memory of as many strings.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Texts {
    pub(crate) fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.ends.push(self.bytes.len() as u32);
    }

    fn into_values(self) -> Vec<ByteArray> {
        let bytes = ByteArray::from(self.bytes);
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| bytes.slice(start as usize, (end - start) as usize)).collect()
    }
}

/// Lists of texts, likewise.
#[derive(Debug, Default)]
pub(crate) struct TextLists {
    counts: Vec<u32>,
    texts: Texts,
}

impl TextLists {
    pub(crate) fn push<'s>(&mut self, list: impl IntoIterator<Item = &'s str>) {
        let len = self.texts.ends.len();
        list.into_iter().for_each(|text| self.texts.push(text));
        self.counts.push((self.texts.ends.len() - len) as u32);
    }
}

impl<'s, L: IntoIterator<Item = &'s str>> FromIterator<L> for TextLists {
    fn from_iter<I: IntoIterator<Item = L>>(lists: I) -> Self {
        let mut all = Self::default();
        lists.into_iter().for_each(|list| all.push(list));
        all
    }
}

/// Reads columns of one row group by name, some rows at a time: [`ColumnsReader::begin`] is called for these, then each
/// column is read once.
pub(crate) struct ColumnsReader {
    columns: Vec<Column>,
    /// The names of the columns that are read, all where there are none; others are empty in each row.
    wanted: Option<&'static [&'static str]>,
    num_rows_left: usize,
    num_rows: usize,
}

struct Column {
    path: String,
    /// The highest `[definition, repetition]` level.
    levels: [i16; 2],
    reader: ColumnReader,
}

struct Entries<T> {
    values: Vec<T>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

/// A type of columns that the manifest has.
pub(crate) trait Readable: DataType + Sized {
    /// `None` where the column is of another type, which a foreign file may well have.
    fn reader(column: &mut ColumnReader) -> Option<&mut ColumnReaderImpl<Self>>;
}

macro_rules! readable {
    ($($kind:ty: $variant:ident),*) => {$(
        impl Readable for $kind {
            fn reader(column: &mut ColumnReader) -> Option<&mut ColumnReaderImpl<Self>> {
                if let ColumnReader::$variant(reader) = column { Some(reader) } else { None }
            }
        }
    )*};
}

readable!(
    BoolType: BoolColumnReader,
    ByteArrayType: ByteArrayColumnReader,
    DoubleType: DoubleColumnReader,
    Int64Type: Int64ColumnReader
);

impl ColumnsReader {
    /// `former_names` are those that files of earlier versions may have for columns, each with the name of today.
    pub(crate) fn open(
        group: &dyn RowGroupReader,
        wanted: Option<&'static [&'static str]>,
        former_names: &[(&str, &str)],
    ) -> Result<Self> {
        let mut columns = Vec::new();
        for (index, column) in group.metadata().columns().iter().enumerate() {
            let name = column.column_path().parts().first().map_or("", String::as_str);
            let renamed = former_names.iter().find(|(former, _)| *former == name).map(|(_, now)| *now);
            if is_wanted(wanted, renamed.unwrap_or(name)) {
                let description = column.column_descr();
                columns.push(Column {
                    path: renamed.map_or_else(|| column.column_path().string(), str::to_owned),
                    levels: [description.max_def_level(), description.max_rep_level()],
                    reader: group.get_column_reader(index)?,
                });
            }
        }
        let num_rows_left = group.metadata().num_rows().max(0) as usize;
        Ok(Self { columns, wanted, num_rows_left, num_rows: 0 })
    }

    /// Goes on to the next rows, at most `max`, and says how many they are.
    pub(crate) fn begin(&mut self, max: usize) -> usize {
        self.num_rows = max.min(self.num_rows_left);
        self.num_rows_left -= self.num_rows;
        self.num_rows
    }

    /// `path` is the dotted path of the leaf, `levels` its highest `[definition, repetition]` level.
    fn read<T: Readable>(&mut self, path: &str, levels: [i16; 2]) -> Result<Entries<T::T>> {
        let column = self
            .columns
            .iter_mut()
            .find(|column| column.path == path)
            .ok_or_else(|| ParquetError::General(format!("there is no column {path:?}")))?;
        let reader = T::reader(&mut column.reader).filter(|_| column.levels == levels);
        let reader = reader.ok_or_else(|| ParquetError::General(format!("the column {path:?} is of another type")))?;
        let mut entries = Entries { values: Vec::new(), definition: Vec::new(), repetition: Vec::new() };
        let (rows, _, _) = reader.read_records(
            self.num_rows,
            Some(&mut entries.definition),
            Some(&mut entries.repetition),
            &mut entries.values,
        )?;
        if rows == self.num_rows {
            Ok(entries)
        } else {
            Err(ParquetError::General(format!("the column {path:?} has {rows} more rows, not {}", self.num_rows)))
        }
    }

    fn is_wanted(&self, name: &str) -> bool {
        is_wanted(self.wanted, name)
    }

    pub(crate) fn strings(&mut self, path: &str) -> Result<Vec<String>> {
        if !self.is_wanted(path) {
            return Ok(vec![String::new(); self.num_rows]);
        }
        self.read::<ByteArrayType>(path, [0, 0])?.values.iter().map(text).collect()
    }

    pub(crate) fn bools(&mut self, path: &str) -> Result<Vec<bool>> {
        if !self.is_wanted(path) {
            return Ok(vec![false; self.num_rows]);
        }
        Ok(self.read::<BoolType>(path, [0, 0])?.values)
    }

    pub(crate) fn optional_strings(&mut self, path: &str) -> Result<Vec<Option<String>>> {
        self.optional::<ByteArrayType, _>(path, |value| text(&value))
    }

    pub(crate) fn optional_doubles(&mut self, path: &str) -> Result<Vec<Option<f64>>> {
        self.optional::<DoubleType, _>(path, Ok)
    }

    pub(crate) fn optional_integers(&mut self, path: &str) -> Result<Vec<Option<u64>>> {
        self.optional::<Int64Type, _>(path, |value| Ok(value.cast_unsigned()))
    }

    /// Whether there is a list column of that name.
    pub(crate) fn has_list(&self, name: &str) -> bool {
        self.has(&format!("{name}.list.element"))
    }

    /// Whether there is a leaf with that dotted path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.columns.iter().any(|column| column.path == path)
    }

    pub(crate) fn string_lists(&mut self, name: &str) -> Result<Vec<Vec<String>>> {
        if !self.is_wanted(name) {
            return Ok(vec![Vec::new(); self.num_rows]);
        }
        let column = self.read::<ByteArrayType>(&format!("{name}.list.element"), [1, 1])?;
        let mut values = column.values.iter();
        let mut lists: Vec<Vec<String>> = Vec::with_capacity(self.num_rows);
        for (definition, repetition) in column.definition.iter().zip(&column.repetition) {
            if *repetition == 0 {
                lists.push(Vec::new());
            }
            if *definition == 1
                && let (Some(list), Some(value)) = (lists.last_mut(), values.next())
            {
                list.push(text(value)?);
            }
        }
        Ok(lists)
    }

    fn optional<T: Readable, V>(&mut self, path: &str, convert: impl Fn(T::T) -> Result<V>) -> Result<Vec<Option<V>>> {
        if !self.is_wanted(path) {
            return Ok((0..self.num_rows).map(|_| None).collect());
        }
        let column = self.read::<T>(path, [1, 0])?;
        let mut values = column.values.into_iter();
        column
            .definition
            .iter()
            .map(|&level| if level == 1 { values.next().map(&convert).transpose() } else { Ok(None) })
            .collect()
    }
}

/// The split is read always: there is no row without.
fn is_wanted(wanted: Option<&[&str]>, name: &str) -> bool {
    name == "split" || wanted.is_none_or(|wanted| wanted.contains(&name))
}

fn text(bytes: &ByteArray) -> Result<String> {
    bytes.as_utf8().map(str::to_owned)
}
