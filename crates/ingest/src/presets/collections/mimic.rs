//! MIMIC-CXR as JPEG and as DICOM. The columns of the tables are those that the data descriptor lists and that public
//! loaders read (torchxrayvision's `MIMIC_Dataset`); tables come gzipped.

use dataset::Split;

use super::super::collection::{Collection, Image, Labels, MainFacts, Official, Rows, View, keep_all, no_masks};
use super::super::labels::Words;
use super::super::rows::{Format, Join, Row};
use super::super::{About, Access};

const LICENCE: &str = "PhysioNet Credentialed Health Data License 1.5.0";

/// One row for each study; CheXpert's words for columns.
const LABELS: Join = Join {
    files: &["mimic-cxr-2.0.0-chexpert.csv", "mimic-cxr-2.0.0-negbio.csv"],
    format: Format::Csv,
    key: "study_id",
    by: "study_id",
    columns: &[
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Edema",
        "Enlarged Cardiomediastinum",
        "Fracture",
        "Lung Lesion",
        "Lung Opacity",
        "No Finding",
        "Pleural Effusion",
        "Pleural Other",
        "Pneumonia",
        "Pneumothorax",
        "Support Devices",
    ],
    gives: "labels",
};

const SPLITS: Join = Join {
    files: &["mimic-cxr-2.0.0-split.csv"],
    format: Format::Csv,
    key: "dicom_id",
    by: "dicom_id",
    columns: &["split"],
    gives: "official splits",
};

const VIEWS: Join = Join {
    files: &["mimic-cxr-2.0.0-metadata.csv"],
    format: Format::Csv,
    key: "dicom_id",
    by: "dicom_id",
    columns: &["ViewPosition"],
    gives: "views but those of the DICOM headers",
};

pub(super) static MIMIC_CXR_JPG: Collection = Collection {
    about: About {
        name: "mimic-cxr-jpg",
        title: "MIMIC-CXR-JPG",
        download: "PhysioNet, MIMIC-CXR-JPG 2.0.0 or 2.1.0: the folder files/ and mimic-cxr-2.0.0-metadata.csv.gz, \
                   -split.csv.gz and -chexpert.csv.gz",
        size: "570 GB",
        access: Access::Credentialed,
        licence: LICENCE,
        citation: "Johnson et al., MIMIC-CXR-JPG, a large publicly available database of labeled chest radiographs, \
                   arXiv:1901.07042, 2019; doi:10.13026/jsn5-t979",
        patients: "mimic-cxr",
    },
    rows: Rows::Tables(&[MainFacts {
        files: &["mimic-cxr-2.0.0-metadata.csv"],
        columns: &["dicom_id", "subject_id", "study_id", "ViewPosition"],
        is_needed: true,
        repeated: None,
    }]),
    joins: &[SPLITS, LABELS],
    image: Image::At(|row| {
        let [subject, study, image] = ["subject_id", "study_id", "dicom_id"].map(|column| row.get(column));
        let path = format!("p{}/p{subject}/s{study}/{image}.jpg", subject.get(..2).unwrap_or(subject));
        vec![format!("files/{path}"), path]
    }),
    patient,
    view: View::Column("ViewPosition"),
    labels: &[Labels::Columns(Words::Chexpert)],
    split,
    masks: no_masks,
    licence: None,
    leave_out: keep_all,
    raw: None,
};

pub(super) static MIMIC_CXR: Collection = Collection {
    about: About {
        name: "mimic-cxr",
        title: "MIMIC-CXR (DICOM)",
        download: "PhysioNet, MIMIC-CXR Database 2.0.0 or 2.1.0: the folder files/ and cxr-record-list.csv.gz; for labels \
                   and official splits also the tables of MIMIC-CXR-JPG, put beside it",
        size: "4.7 TB",
        access: Access::Credentialed,
        licence: LICENCE,
        citation: "Johnson et al., MIMIC-CXR, a de-identified publicly available database of chest radiographs with \
                   free-text reports, Scientific Data 6:317, 2019; doi:10.13026/4jqj-jw95",
        patients: "mimic-cxr",
    },
    rows: Rows::Tables(&[MainFacts {
        files: &["cxr-record-list.csv"],
        columns: &["subject_id", "study_id", "dicom_id", "path"],
        is_needed: true,
        repeated: None,
    }]),
    joins: &[SPLITS, LABELS, VIEWS],
    image: Image::At(|row| {
        let path = row.get("path");
        vec![path.to_owned(), path.trim_start_matches("files/").to_owned()]
    }),
    patient,
    view: View::Column("ViewPosition"),
    labels: &[Labels::Columns(Words::Chexpert)],
    split,
    masks: no_masks,
    licence: None,
    leave_out: keep_all,
    raw: None,
};

/// Both editions number the same people alike.
fn patient(row: &Row) -> Option<String> {
    Some(row.get("subject_id").to_owned())
}

/// `train`, `validate` or `test`.
fn split(row: &Row) -> Official {
    row.get("split").parse::<Split>().map_or(Official::Free, Official::In)
}
