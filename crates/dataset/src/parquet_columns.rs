//! The few kinds of Parquet columns that the manifest needs, written and read without Arrow.
//!
//! A list column is the standard three-level `LIST`, whose entries are told apart by levels: a row of two labels has
//! repetition levels 0, 1 and definition levels 1, 1; a row without labels has one entry of definition level 0.

use parquet::column::reader::get_typed_column_reader;
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

    pub(crate) fn strings<'s>(&mut self, values: impl Iterator<Item = &'s str>) -> Result<()> {
        let values: Vec<_> = values.map(ByteArray::from).collect();
        self.write::<ByteArrayType>(&values, None, None)
    }

    pub(crate) fn bools(&mut self, values: impl Iterator<Item = bool>) -> Result<()> {
        self.write::<BoolType>(&values.collect::<Vec<_>>(), None, None)
    }

    pub(crate) fn optional_strings<'s>(&mut self, values: impl Iterator<Item = Option<&'s str>>) -> Result<()> {
        self.optional::<ByteArrayType>(values.map(|value| value.map(ByteArray::from)))
    }

    pub(crate) fn optional_doubles(&mut self, values: impl Iterator<Item = Option<f64>>) -> Result<()> {
        self.optional::<DoubleType>(values)
    }

    /// `u64` in the bits of Parquet's 64-bit integers, as its unsigned logical type prescribes.
    pub(crate) fn optional_integers(&mut self, values: impl Iterator<Item = Option<u64>>) -> Result<()> {
        self.optional::<Int64Type>(values.map(|value| value.map(u64::cast_signed)))
    }

    pub(crate) fn string_lists<'s>(&mut self, lists: impl Iterator<Item = &'s [String]>) -> Result<()> {
        let (mut values, mut definition, mut repetition) = (Vec::new(), Vec::new(), Vec::new());
        for list in lists {
            if list.is_empty() {
                definition.push(0);
                repetition.push(0);
            }
            for (position, value) in list.iter().enumerate() {
                values.push(ByteArray::from(value.as_str()));
                definition.push(1);
                repetition.push(i16::from(position > 0));
            }
        }
        self.write::<ByteArrayType>(&values, Some(&definition), Some(&repetition))
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

/// Reads whole columns of one row group by name.
pub(crate) struct ColumnsReader<'a> {
    pub(crate) group: Box<dyn RowGroupReader + 'a>,
    pub(crate) num_rows: usize,
}

struct Column<T> {
    values: Vec<T>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl ColumnsReader<'_> {
    /// `path` is the dotted path of the leaf, `levels` its highest `[definition, repetition]` level.
    fn read<T: DataType>(&self, path: &str, levels: [i16; 2]) -> Result<Column<T::T>> {
        let columns = self.group.metadata().columns();
        let index = columns
            .iter()
            .position(|column| column.column_path().string() == path)
            .ok_or_else(|| ParquetError::General(format!("there is no column {path:?}")))?;
        let description = columns[index].column_descr();
        // `get_typed_column_reader` panics on another type, which a foreign file may well have.
        if description.physical_type() != T::get_physical_type()
            || [description.max_def_level(), description.max_rep_level()] != levels
        {
            return Err(ParquetError::General(format!("the column {path:?} is of another type")));
        }
        let mut reader = get_typed_column_reader::<T>(self.group.get_column_reader(index)?);
        let mut column = Column { values: Vec::new(), definition: Vec::new(), repetition: Vec::new() };
        let (rows, _, _) = reader.read_records(
            self.num_rows,
            Some(&mut column.definition),
            Some(&mut column.repetition),
            &mut column.values,
        )?;
        if rows == self.num_rows {
            Ok(column)
        } else {
            Err(ParquetError::General(format!("the column {path:?} has {rows} of {} rows", self.num_rows)))
        }
    }

    pub(crate) fn strings(&self, path: &str) -> Result<Vec<String>> {
        self.read::<ByteArrayType>(path, [0, 0])?.values.iter().map(text).collect()
    }

    pub(crate) fn bools(&self, path: &str) -> Result<Vec<bool>> {
        Ok(self.read::<BoolType>(path, [0, 0])?.values)
    }

    pub(crate) fn optional_strings(&self, path: &str) -> Result<Vec<Option<String>>> {
        self.optional::<ByteArrayType, _>(path, |value| text(&value))
    }

    pub(crate) fn optional_doubles(&self, path: &str) -> Result<Vec<Option<f64>>> {
        self.optional::<DoubleType, _>(path, Ok)
    }

    pub(crate) fn optional_integers(&self, path: &str) -> Result<Vec<Option<u64>>> {
        self.optional::<Int64Type, _>(path, |value| Ok(value.cast_unsigned()))
    }

    /// Whether there is a list column of that name.
    pub(crate) fn has_list(&self, name: &str) -> bool {
        self.has(&format!("{name}.list.element"))
    }

    /// Whether there is a leaf with that dotted path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.group.metadata().columns().iter().any(|column| column.column_path().string() == path)
    }

    pub(crate) fn string_lists(&self, name: &str) -> Result<Vec<Vec<String>>> {
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

    fn optional<T: DataType, V>(&self, path: &str, convert: impl Fn(T::T) -> Result<V>) -> Result<Vec<Option<V>>> {
        let column = self.read::<T>(path, [1, 0])?;
        let mut values = column.values.into_iter();
        column
            .definition
            .iter()
            .map(|&level| if level == 1 { values.next().map(&convert).transpose() } else { Ok(None) })
            .collect()
    }
}

fn text(bytes: &ByteArray) -> Result<String> {
    bytes.as_utf8().map(str::to_owned)
}
