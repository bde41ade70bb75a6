//! The public collections, one table of facts for each.
//!
//! Names of files and columns are those of the distributions; where they were read is said beside them. None of the
//! collections itself was at hand: the tests read miniatures that are made of these names. Sizes are rounded.

mod datathons;
mod mimic;
mod national;
mod small;
mod stanford;

use super::collection::Collection;

/// All of them, in the order in which they are listed.
pub(super) static COLLECTIONS: [&Collection; 15] = [
    &mimic::MIMIC_CXR_JPG,
    &mimic::MIMIC_CXR,
    &stanford::CHEXPERT,
    &stanford::CHEXPERT_PLUS,
    &national::NIH_CHESTXRAY14,
    &national::PADCHEST,
    &national::BRAX,
    &national::VINDR_CXR,
    &national::VINDR_CXR_KAGGLE,
    &datathons::RSNA_PNEUMONIA,
    &datathons::SIIM,
    &small::JSRT,
    &small::MONTGOMERY,
    &small::SHENZHEN,
    &small::COVID_CHESTXRAY,
];

#[cfg(test)]
mod tests;
