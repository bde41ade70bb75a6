//! Large collections of single hospitals or countries: NIH, PadChest, BRAX, VinDr-CXR (as published, and Kaggle's edition).

use dataset::Split;

use super::super::collection::{Collection, Image, Labels, MainFacts, Official, Rows, View, free, keep_all, no_masks};
use super::super::labels::Words;
use super::super::rows::{Format, Join};
use super::super::{About, Access};

const fn list(files: &'static [&'static str], value: &'static str) -> Join {
    let format = Format::List("official list", value);
    Join { files, format, key: "", by: "Image Index", columns: &[], gives: "official test images" }
}

/// `Data_Entry_2017.csv` (its header ends in a comma) and its revision; the columns `OriginalImage[Width,Height]` count
/// as two. Images come in twelve archives (`images/`), from Kaggle in folders `images_001/images/` and on. The official
/// test set is a list of files, and by patient; what is not in it is split by nobody.
pub(super) static NIH_CHESTXRAY14: Collection = Collection {
    about: About {
        name: "nih-chestxray14",
        title: "NIH ChestX-ray14",
        download: "NIH Clinical Center (Box) or Kaggle: images_001.tar.gz to images_012.tar.gz, Data_Entry_2017_v2020.csv, \
                   train_val_list.txt, test_list.txt",
        size: "42 GB",
        access: Access::Open,
        licence: "no restrictions (NIH Clinical Center; link, citation and acknowledgement are asked for)",
        citation: "Wang et al., ChestX-ray8: hospital-scale chest X-ray database and benchmarks, CVPR 2017, \
                   arXiv:1705.02315",
        patients: "nih-chestxray14",
    },
    rows: Rows::Tables(&[MainFacts {
        files: &["Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv"],
        columns: &["Image Index", "Finding Labels", "Patient ID", "View Position"],
        is_needed: true,
        repeated: None,
    }]),
    joins: &[
        list(&["test_list.txt", "test_list_NIH.txt"], "test"),
        list(&["train_val_list.txt", "train_val_list_NIH.txt"], "train_val"),
    ],
    image: Image::Named(|row| vec![row.get("Image Index").to_owned()]),
    patient: |row| Some(row.get("Patient ID").to_owned()),
    view: View::Column("View Position"),
    labels: &[Labels::List { column: "Finding Labels", whose: Words::Nih, is_complete: true }],
    split: |row| match row.get("official list") {
        "test" => Official::In(Split::Test),
        "train_val" => Official::NotTest,
        _ => Official::Free,
    },
    masks: no_masks,
    licence: None,
    leave_out: keep_all,
    raw: None,
};

/// One table of 160 thousand rows whose first column has no name; images in the folders `0` to `54`, or in one.
pub(super) static PADCHEST: Collection = Collection {
    about: About {
        name: "padchest",
        title: "PadChest",
        download: "BIMCV, PadChest: the archives 0.zip to 54.zip unpacked, and \
                   PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv (.gz)",
        size: "1 TB",
        access: Access::Registration,
        licence: "PadChest Dataset Research Use Agreement (BIMCV)",
        citation: "Bustos, Pertusa, Salinas, de la Iglesia-Vayá, PadChest: a large chest x-ray image dataset with \
                   multi-label annotated reports, Medical Image Analysis 66:101797, 2020, arXiv:1901.07441",
        patients: "padchest",
    },
    rows: Rows::Tables(&[MainFacts {
        files: &["PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"],
        columns: &["ImageID", "ImageDir", "PatientID", "Projection", "Labels"],
        is_needed: true,
        repeated: None,
    }]),
    joins: &[],
    image: Image::Named(|row| vec![row.get("ImageID").to_owned()]),
    patient: |row| Some(row.get("PatientID").to_owned()),
    view: View::Column("Projection"),
    labels: &[Labels::List { column: "Labels", whose: Words::Padchest, is_complete: true }],
    split: free,
    masks: no_masks,
    licence: None,
    leave_out: |row| match row.get("Projection") {
        "COSTAL" => Some("rib views"),
        "EXCLUDE" => Some("excluded by the collection itself"),
        _ => None,
    },
    raw: None,
};

/// One table, whose revision of version 1.1.0 is called `_update`; the PNG and the DICOM edition share it. Its cells
/// are described in Scientific Data 9:487.
pub(super) static BRAX: Collection = Collection {
    about: About {
        name: "brax",
        title: "BRAX",
        download: "PhysioNet, BRAX 1.1.0: master_spreadsheet_update.csv and the folder images/ (PNG) or Anonymized_DICOMs/",
        size: "see its page",
        access: Access::Credentialed,
        licence: "PhysioNet Credentialed Health Data License 1.5.0",
        citation: "Reis et al., BRAX, Brazilian labeled chest x-ray dataset, Scientific Data 9:487, 2022; \
                   doi:10.13026/grwk-yh18",
        patients: "brax",
    },
    rows: Rows::Tables(&[MainFacts {
        files: &["master_spreadsheet_update.csv", "master_spreadsheet.csv"],
        columns: &["DicomPath", "PngPath", "PatientID", "No Finding", "ViewPosition"],
        is_needed: true,
        repeated: None,
    }]),
    joins: &[],
    image: Image::At(|row| vec![row.get("PngPath").to_owned(), row.get("DicomPath").to_owned()]),
    patient: |row| Some(row.get("PatientID").to_owned()),
    view: View::Column("ViewPosition"),
    labels: &[Labels::Columns(Words::Chexpert)],
    split: free,
    masks: no_masks,
    licence: None,
    leave_out: keep_all,
    raw: None,
};

/// Three radiologists read each training image, a row for each of them; the test rows are the consensus of five. The
/// tables name no patients, and the headers none that can be relied on: each image is a patient of its own. All are PA.
pub(super) static VINDR_CXR: Collection = Collection {
    about: About {
        name: "vindr-cxr",
        title: "VinDr-CXR",
        download: "PhysioNet, VinDr-CXR 1.0.0: the folders train/ and test/ and annotations/image_labels_train.csv and \
                   image_labels_test.csv",
        size: "200 GB",
        access: Access::Credentialed,
        licence: "PhysioNet Credentialed Health Data License 1.5.0",
        citation: "Nguyen et al., VinDr-CXR: an open dataset of chest X-rays with radiologist's annotations, Scientific \
                   Data 9:429, 2022, arXiv:2012.15029; doi:10.13026/3akn-b287",
        patients: "vindr-cxr",
    },
    rows: Rows::Tables(&[
        MainFacts {
            files: &["annotations/image_labels_train.csv", "image_labels_train.csv"],
            columns: &["image_id", "rad_id", "No finding"],
            is_needed: true,
            repeated: Some("image_id"),
        },
        MainFacts {
            files: &["annotations/image_labels_test.csv", "image_labels_test.csv"],
            columns: &["image_id", "No finding"],
            is_needed: false,
            repeated: Some("image_id"),
        },
    ]),
    joins: &[],
    image: Image::At(|row| {
        let folder = if row.table.contains("test") { "test" } else { "train" };
        ["dicom", "dcm", "png", "jpg"].map(|end| format!("{folder}/{}.{end}", row.get("image_id"))).to_vec()
    }),
    patient: |row| Some(row.get("image_id").to_owned()),
    view: View::Always("PA"),
    labels: &[Labels::Votes(Words::Vindr)],
    split: |row| if row.table.contains("test") { Official::In(Split::Test) } else { Official::NotTest },
    masks: no_masks,
    licence: None,
    leave_out: keep_all,
    raw: None,
};

/// Kaggle's edition of VinDr-CXR: `train.csv` has a row for each box that a radiologist drew, or one with `No finding`;
/// three radiologists read each image. They could choose from fourteen findings. What is known of the test images is
/// their names, in `sample_submission.csv`. Images are called as in the collection itself, so that they are the same
/// patients.
pub(super) static VINDR_CXR_KAGGLE: Collection = Collection {
    about: About {
        name: "vindr-cxr-kaggle",
        title: "VinBigData Chest X-ray Abnormalities Detection (VinDr-CXR)",
        download: "Kaggle, vinbigdata-chest-xray-abnormalities-detection: the folders train/ and test/, train.csv and \
                   sample_submission.csv",
        size: "206 GB",
        access: Access::Registration,
        licence: "VinBigData Chest X-ray Abnormalities Detection competition rules (Kaggle)",
        citation: "Nguyen et al., VinDr-CXR: an open dataset of chest X-rays with radiologist's annotations, Scientific \
                   Data 9:429, 2022, arXiv:2012.15029",
        patients: "vindr-cxr",
    },
    rows: Rows::Tables(&[
        MainFacts {
            files: &["train.csv"],
            columns: &["image_id", "class_name", "class_id", "rad_id"],
            is_needed: true,
            repeated: Some("image_id"),
        },
        MainFacts {
            files: &["sample_submission.csv"],
            columns: &["image_id"],
            is_needed: false,
            repeated: Some("image_id"),
        },
    ]),
    joins: &[],
    image: Image::At(|row| {
        let folder = if row.table.contains("submission") { "test" } else { "train" };
        ["dicom", "dcm", "png", "jpg"].map(|end| format!("{folder}/{}.{end}", row.get("image_id"))).to_vec()
    }),
    patient: |row| Some(row.get("image_id").to_owned()),
    view: View::Always("PA"),
    labels: &[Labels::VotesByRow {
        column: "class_name",
        reader: "rad_id",
        whose: Words::Vindr,
        words: &[
            "Aortic enlargement",
            "Atelectasis",
            "Calcification",
            "Cardiomegaly",
            "Consolidation",
            "ILD",
            "Infiltration",
            "Lung Opacity",
            "Nodule/Mass",
            "Other lesion",
            "Pleural effusion",
            "Pleural thickening",
            "Pneumothorax",
            "Pulmonary fibrosis",
            "No finding",
        ],
    }],
    split: |row| if row.table.contains("submission") { Official::In(Split::Test) } else { Official::NotTest },
    masks: no_masks,
    licence: None,
    leave_out: keep_all,
    raw: None,
};
