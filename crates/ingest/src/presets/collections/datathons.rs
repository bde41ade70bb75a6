//! Two challenges on images of the NIH collection: RSNA pneumonia and SIIM-ACR pneumothorax.
//!
//! Their images are the NIH's, compressed again, so equal pixels do not show it. For RSNA a table tells which: with it,
//! a patient is the same patient in both collections. For SIIM-ACR no such table was published.

use dataset::Split;

use super::super::collection::{Collection, Image, Labels, MainFacts, Official, Rows, View, free, keep_all, no_masks};
use super::super::labels::NORMAL;
use super::super::labels::State::{Negative, Positive};
use super::super::rows::{Format, Join};
use super::super::{About, Access};

/// `class` of the detailed table and `Target` of the labels. The challenge calls an opacity that is suspicious for
/// pneumonia pneumonia.
const CLASS: Labels = Labels::Cases {
    column: "class",
    cases: &[
        ("Normal", &[(NORMAL, Positive), ("lung_opacity", Negative), ("pneumonia", Negative)]),
        ("No Lung Opacity / Not Normal", &[(NORMAL, Negative), ("lung_opacity", Negative), ("pneumonia", Negative)]),
        ("Lung Opacity", &[(NORMAL, Negative), ("lung_opacity", Positive), ("pneumonia", Positive)]),
    ],
};
const TARGET: Labels = Labels::Cases {
    column: "Target",
    cases: &[
        ("0", &[("lung_opacity", Negative), ("pneumonia", Negative)]),
        ("1", &[(NORMAL, Negative), ("lung_opacity", Positive), ("pneumonia", Positive)]),
    ],
};

/// A row for each box, so several for an image. The `patientId` is an image's: patients are in the table of the RSNA
/// that maps images to those of the NIH (`subset_img_id` to `img_id`, `00000001_000.png`).
pub(super) static RSNA_PNEUMONIA: Collection = Collection {
    about: About {
        name: "rsna-pneumonia",
        title: "RSNA Pneumonia Detection Challenge",
        download: "Kaggle, rsna-pneumonia-detection-challenge: stage_2_train_images/, stage_2_test_images/, \
                   stage_2_train_labels.csv, stage_2_detailed_class_info.csv, stage_2_sample_submission.csv; from the \
                   RSNA's page pneumonia-challenge-dataset-mappings_2018.json",
        size: "4 GB",
        access: Access::Registration,
        licence: "RSNA Pneumonia Detection Challenge terms of use (Kaggle; non-commercial and academic)",
        citation: "Shih et al., Augmenting the National Institutes of Health chest radiograph dataset with expert \
                   annotations of possible pneumonia, Radiology: Artificial Intelligence 1(1):e180041, 2019",
        patients: "nih-chestxray14",
    },
    rows: Rows::Tables(&[
        MainFacts {
            files: &["stage_2_train_labels.csv"],
            columns: &["patientId", "Target"],
            is_needed: true,
            repeated: Some("patientId"),
        },
        MainFacts {
            files: &["stage_2_sample_submission.csv"],
            columns: &["patientId"],
            is_needed: false,
            repeated: Some("patientId"),
        },
    ]),
    joins: &[
        Join {
            files: &["stage_2_detailed_class_info.csv"],
            format: Format::Csv,
            key: "patientId",
            by: "patientId",
            columns: &["class"],
            gives: "labels of what is neither normal nor an opacity",
        },
        Join {
            files: &["pneumonia-challenge-dataset-mappings_2018.json"],
            format: Format::JsonArray,
            key: "subset_img_id",
            by: "patientId",
            columns: &["img_id"],
            gives: "patients, and each image counts as one",
        },
    ],
    image: Image::At(|row| {
        let folder = if row.table.contains("submission") { "stage_2_test_images" } else { "stage_2_train_images" };
        ["dcm", "jpg", "png"].map(|end| format!("{folder}/{}.{end}", row.get("patientId"))).to_vec()
    }),
    patient: |row| {
        // The NIH's tables write the number without its leading zeros.
        let nih = row.get("img_id").split('_').next().and_then(|patient| patient.parse::<u64>().ok());
        Some(nih.map_or_else(|| format!("rsna-{}", row.get("patientId")), |patient| patient.to_string()))
    },
    view: View::Header,
    labels: &[CLASS, TARGET],
    split: |row| if row.table.contains("submission") { Official::In(Split::Test) } else { Official::NotTest },
    masks: no_masks,
    licence: None,
    leave_out: keep_all,
    raw: None,
};

const PNEUMOTHORAX: &[(&str, &[(&str, super::super::labels::State)])] =
    &[("-1", &[("pneumothorax", Negative)]), ("*", &[("pneumothorax", Positive)])];

/// The first stage's `train-rle.csv` has a blank before its second column's name; Kaggle's later edition is
/// `stage_2_train.csv`. Files lie in folders named by UIDs. Masks are of the pneumothorax, not of the lungs, and are
/// not read.
pub(super) static SIIM: Collection = Collection {
    about: About {
        name: "siim",
        title: "SIIM-ACR Pneumothorax Segmentation",
        download: "Kaggle, siim-acr-pneumothorax-segmentation: train-rle.csv and dicom-images-train/, or stage_2_train.csv \
                   and its images",
        size: "2 to 4 GB",
        access: Access::Registration,
        licence: "SIIM-ACR Pneumothorax Segmentation competition rules (Kaggle)",
        citation: "Zawacki et al., SIIM-ACR Pneumothorax Segmentation, Kaggle, 2019",
        patients: "siim",
    },
    rows: Rows::Tables(&[MainFacts {
        files: &["train-rle.csv", "stage_2_train.csv"],
        columns: &["ImageId", "EncodedPixels"],
        is_needed: true,
        repeated: Some("ImageId"),
    }]),
    joins: &[],
    image: Image::Named(|row| ["dcm", "png", "jpg"].map(|end| format!("{}.{end}", row.get("ImageId"))).to_vec()),
    patient: |_| None,
    view: View::Header,
    labels: &[Labels::Cases { column: "EncodedPixels", cases: PNEUMOTHORAX }],
    split: free,
    masks: no_masks,
    licence: None,
    leave_out: keep_all,
    raw: None,
};
