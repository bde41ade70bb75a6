//! Look-up tables of modality, window of interest and palette (PS3.3, C.11.1, C.11.2.1.1 and C.7.6.3.1.5), and what is
//! made of those whose descriptor and data disagree.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::dataset::{Dataset, LookupTable};
use crate::remark::note;
use crate::{DecodeError, Remark};

/// The modality table. An empty one is passed over: what the file says of rescaling counts.
///
/// # Errors
/// A table that is damaged: without it, the window would act on other values than those that it is made for.
pub(super) fn modality(dataset: &Dataset, remarks: &mut Vec<Remark>) -> Result<Option<LookupTable>, DecodeError> {
    if is_passed_over(dataset, tags::MODALITY_LUT_SEQUENCE, remarks) {
        return Ok(None);
    }
    dataset.lookup_table(tags::MODALITY_LUT_SEQUENCE)
}

/// The table of the window of interest; one that is empty or damaged is passed over, as a window that makes no sense is.
pub(super) fn of_interest(dataset: &Dataset, remarks: &mut Vec<Remark>) -> Option<LookupTable> {
    if is_passed_over(dataset, tags::VOILUT_SEQUENCE, remarks) {
        return None;
    }
    dataset.lookup_table(tags::VOILUT_SEQUENCE).unwrap_or_else(|_| {
        note(remarks, Remark::TableUnusable);
        None
    })
}

fn is_passed_over(dataset: &Dataset, sequence: Tag, remarks: &mut Vec<Remark>) -> bool {
    let is_empty = dataset.has_empty_table(sequence);
    if is_empty {
        note(remarks, Remark::TableUnusable);
    }
    is_empty
}

/// The value that is white: the greatest one of the bits that the descriptor claims. Where the entries need more, or two
/// bits less or fewer, their greatest decides about the bits instead: by the letter such a table is cut off or nearly
/// black, and no viewer shows it so.
pub(super) fn white(tables: &[LookupTable], remarks: &mut Vec<Remark>) -> u16 {
    let claimed = tables.first().map_or(16, |table| u32::from(table.descriptor[2]).clamp(1, 16));
    let greatest = tables.iter().flat_map(|table| &table.entries).copied().max().unwrap_or(0);
    let needed = u16::BITS - greatest.leading_zeros();
    let bits = if greatest > 0 && (needed > claimed || needed + 2 <= claimed) {
        note(remarks, Remark::TableBits);
        needed
    } else {
        claimed
    };
    u16::MAX >> (u16::BITS - bits)
}

/// Whether the first input of a table is a signed number, where inputs lie between `least` and `most`: where any of them
/// is negative (PS3.3, C.11.2.1.1). Only a number that is no input if signed, and one if not, is taken without its sign.
pub(super) fn is_signed(table: &LookupTable, [least, most]: [f64; 2]) -> bool {
    let first = table.descriptor[1];
    let is_input = |value: f64| (least..=most).contains(&value);
    least < 0.0 && (is_input(f64::from(first as i16)) || !is_input(f64::from(first)))
}

impl LookupTable {
    /// The entry for an input; inputs before the first and after the last take those entries.
    pub(super) fn lookup(&self, input: f64, signed: bool) -> u16 {
        let first = if signed { f64::from(self.descriptor[1] as i16) } else { f64::from(self.descriptor[1]) };
        let index = (input - first).max(0.0) as usize;
        self.entries[index.min(self.entries.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(first: u16, bits: u16, entries: Vec<u16>) -> LookupTable {
        LookupTable { descriptor: [entries.len() as u16, first, bits], entries }
    }

    #[test]
    fn tables_hold_their_ends() {
        let table = table(0xfffe, 8, vec![10, 20, 30]);
        assert_eq!([-9.0, -2.0, -1.0, 0.0, 7.0].map(|v| table.lookup(v, true)), [10, 10, 20, 30, 30]);
        assert_eq!(table.lookup(65_535.0, false), 20);
    }

    #[test]
    fn white_is_what_the_entries_need_where_they_contradict_the_descriptor() {
        for claimed in 1..=16_u32 {
            for greatest in [0, 1, 2, 3, 100, 127, 128, 255, 256, 1000, 1023, 4095, 4096, 16_383, 32_768, 65_535_u16] {
                let mut remarks = Vec::new();
                let found = white(&[table(0, claimed as u16, vec![0, greatest, 0])], &mut remarks);
                let above = u64::from(greatest + u16::from(greatest < u16::MAX)).next_power_of_two().max(2);
                let above = if greatest == u16::MAX { 65_536 } else { above };
                let said = 1_u64 << claimed;
                let contradicts = greatest > 0 && (above > said || above * 4 <= said);
                let expected = if contradicts { above } else { said };
                assert_eq!(u64::from(found) + 1, expected, "{greatest} in {claimed} bits");
                assert_eq!(remarks, [Remark::TableBits][..usize::from(contradicts)], "{greatest} in {claimed} bits");
            }
        }
    }

    #[test]
    fn first_inputs_are_signed_where_inputs_can_be() {
        let signed = |first, least, most| is_signed(&table(first, 16, vec![0]), [least, most]);
        assert!(signed(0xfc00, -1024.0, 3071.0));
        assert!(!signed(0xfc00, 0.0, 65_535.0));
        assert!(!signed(0x8000, 0.0, 65_535.0));
        assert!(signed(0x8000, -32_768.0, 32_767.0));
        // A table may begin before the first input.
        assert!(signed(0xf800, -1024.0, 3071.0));
        // 65,535 inputs from -1024 on: this one is above, not far below.
        assert!(!signed(0x9000, -1024.0, 64_511.0));
        assert!(signed(0xfc00, -1024.0, 64_511.0));
    }
}
