//! The rows that a manifest's next row group will hold.

use std::io::Write;

use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;

use super::{ManifestRow, Provenance, Split};
use crate::parquet_columns::{ColumnsWriter, TextLists, Texts};

/// The rows of a group by columns: as rows they would take three times the memory.
#[derive(Debug, Default)]
pub(super) struct Pending {
    id: Texts,
    source_file: Texts,
    pixel_hash: Texts,
    patient: Texts,
    view: TextLists,
    split: Vec<Split>,
    labels: TextLists,
    mask: Vec<bool>,
    collection: TextLists,
    licence: TextLists,
    /// Large, and few datasets have it.
    provenance: Vec<Option<Box<Provenance>>>,
    labels_negative: TextLists,
    labels_uncertain: TextLists,
    perceptual_hash: Vec<Option<u64>>,
    pixel_spacing_mm: Vec<Option<[f64; 2]>>,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.split.len()
    }

    pub(super) fn push(&mut self, row: ManifestRow) {
        self.id.push(&row.id);
        self.source_file.push(&row.source_file);
        self.pixel_hash.push(&row.pixel_hash);
        self.patient.push(&row.patient);
        self.view.push(row.view.as_deref());
        self.split.push(row.split);
        self.labels.push(row.labels.iter().map(String::as_str));
        self.mask.push(row.mask);
        self.collection.push(row.collection.as_deref());
        self.licence.push(row.licence.as_deref());
        self.provenance.push(row.provenance.map(Box::new));
        self.labels_negative.push(row.labels_negative.iter().map(String::as_str));
        self.labels_uncertain.push(row.labels_uncertain.iter().map(String::as_str));
        self.perceptual_hash.push(row.perceptual_hash);
        self.pixel_spacing_mm.push(row.pixel_spacing_mm);
    }

    pub(super) fn write<W: Write + Send>(self, writer: &mut SerializedFileWriter<W>) -> Result<(), ParquetError> {
        let provenance = || self.provenance.iter().map(Option::as_deref);
        let texts = |text: fn(&Provenance) -> Option<&str>| provenance().map(|made| made.and_then(text)).collect();
        let mut columns = ColumnsWriter { group: writer.next_row_group()? };
        columns.strings(self.id)?;
        columns.strings(self.source_file)?;
        columns.strings(self.pixel_hash)?;
        columns.strings(self.patient)?;
        columns.optional_strings(self.view)?;
        columns.repeated_strings(self.split.iter().map(|split| split.name()))?;
        columns.string_lists(self.labels)?;
        columns.bools(&self.mask)?;
        columns.optional_strings(self.collection)?;
        columns.optional_strings(self.licence)?;
        columns.optional_strings(texts(|made| Some(&made.strategy)))?;
        let source_ids = provenance().map(|made| made.map_or(&[][..], |made| &made.source_ids));
        columns.string_lists(source_ids.map(|ids| ids.iter().map(String::as_str)).collect())?;
        columns.optional_doubles(provenance().map(|made| made?.fraction))?;
        columns.optional_integers(provenance().map(|made| made?.seed))?;
        columns.optional_doubles(provenance().map(|made| made?.guidance_scale))?;
        columns.optional_strings(texts(|made| made.model_fingerprint.as_deref()))?;
        columns.string_lists(self.labels_negative)?;
        columns.string_lists(self.labels_uncertain)?;
        columns.optional_integers(self.perceptual_hash.iter().copied())?;
        columns.optional_doubles(self.pixel_spacing_mm.iter().map(|spacing| Some((*spacing)?[0])))?;
        columns.optional_doubles(self.pixel_spacing_mm.iter().map(|spacing| Some((*spacing)?[1])))?;
        columns.group.close()?;
        Ok(())
    }
}
