//! CheXpert and CheXpert Plus. Both number the same people alike.

use dataset::Split;

use super::super::collection::{Collection, Image, Labels, MainFacts, Official, Rows, View, keep_all, no_masks};
use super::super::labels::Words;
use super::super::rows::{Format, Join};
use super::super::{About, Access};

const LICENCE: &str = "Stanford University Dataset Research Use Agreement";

const COLUMNS: &[&str] = &["Path", "Frontal/Lateral", "AP/PA", "No Finding", "Support Devices"];

/// The tables `train.csv` and `valid.csv`, as in torchxrayvision's `CheX_Dataset`. The full-size edition comes in four
/// archives whose folders are not united (`CheXpert-v1.0 batch 1 (validate & csv)` to `batch 4 (train 3)`), the small
/// one in a single one.
pub(super) static CHEXPERT: Collection = Collection {
    about: About {
        name: "chexpert",
        title: "CheXpert",
        download: "Stanford AIMI, CheXpert-v1.0-small.zip, or CheXpert-v1.0 as its four batches unpacked beside each other",
        size: "11 GB small, 440 GB full",
        access: Access::Registration,
        licence: LICENCE,
        citation: "Irvin, Rajpurkar et al., CheXpert: a large chest radiograph dataset with uncertainty labels and expert \
                   comparison, AAAI 2019, arXiv:1901.07031",
        patients: "chexpert",
    },
    rows: Rows::Tables(&[
        MainFacts { files: &["train.csv"], columns: COLUMNS, is_needed: true, repeated: None },
        MainFacts { files: &["valid.csv"], columns: COLUMNS, is_needed: false, repeated: None },
    ]),
    joins: &[],
    image: Image::At(|row| {
        // `CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg`
        let path = row.get("Path");
        let (_, path) = path.split_once('/').unwrap_or(("", path));
        let inside = path.split_once('/').map_or(path, |(_, inside)| inside);
        let batches = ["batch 2 (train 1)", "batch 3 (train 2)", "batch 4 (train 3)"];
        let batches = batches.into_iter().flat_map(|batch| {
            // With the folder `train` of the path, or without it.
            [format!("../CheXpert-v1.0 {batch}/{inside}"), format!("../CheXpert-v1.0 {batch}/{path}")]
        });
        std::iter::once(path.to_owned()).chain(batches).collect()
    }),
    patient: |row| patient_folder(row.get("Path")),
    view: View::Of(|row| match row.get("Frontal/Lateral") {
        "Lateral" => "LATERAL".to_owned(),
        _ => row.get("AP/PA").to_owned(),
    }),
    labels: &[Labels::Columns(Words::Chexpert)],
    split: |row| Official::In(if row.table == "valid.csv" { Split::Val } else { Split::Train }),
    masks: no_masks,
    licence: None,
    leave_out: keep_all,
    raw: None,
};

/// The CheXpert labeller's output on the impressions, a JSON object for each image; as its users report, the file for
/// the findings section is not usable, and the one for whole reports counts what is only history.
const PLUS_LABELS: Join = Join {
    files: &[
        "chexbert_labels/impression_fixed.json",
        "impression_fixed.json",
        "chexbert_labels/report_fixed.json",
        "report_fixed.json",
    ],
    format: Format::JsonLines,
    key: "path_to_image",
    by: "path_to_image",
    columns: &[
        "Enlarged Cardiomediastinum",
        "Cardiomegaly",
        "Lung Opacity",
        "Lung Lesion",
        "Edema",
        "Consolidation",
        "Pneumonia",
        "Atelectasis",
        "Pneumothorax",
        "Pleural Effusion",
        "Pleural Other",
        "Fracture",
        "Support Devices",
        "No Finding",
    ],
    gives: "labels",
};

/// As described by its loaders: `path_to_image` ends in `.jpg` while the images are distributed as PNG; folders are
/// nested twice where archives are unpacked into a folder of their name.
pub(super) static CHEXPERT_PLUS: Collection = Collection {
    about: About {
        name: "chexpert-plus",
        title: "CheXpert Plus",
        download: "Stanford AIMI, CheXpert Plus: df_chexpert_plus_240401.csv, the folder PNG/ or DICOM/, and chexbert_labels/",
        size: "several TB as DICOM, about 1 TB as PNG",
        access: Access::Registration,
        licence: LICENCE,
        citation: "Chambon et al., CheXpert Plus: augmenting a large chest X-ray dataset with text radiology reports, \
                   patient demographics and additional image formats, arXiv:2405.19538, 2024",
        patients: "chexpert",
    },
    rows: Rows::Tables(&[MainFacts {
        files: &["df_chexpert_plus_240401.csv"],
        columns: &["path_to_image", "path_to_dcm", "frontal_lateral", "ap_pa", "deid_patient_id"],
        is_needed: true,
        repeated: None,
    }]),
    joins: &[PLUS_LABELS],
    image: Image::At(|row| {
        let (image, dicom) = (row.get("path_to_image"), row.get("path_to_dcm"));
        let png = format!("{}.png", image.trim_end_matches(".jpg").trim_end_matches(".png"));
        let png = ["PNG/", "PNG/PNG/", "PNGs/", ""].map(|folder| format!("{folder}{png}"));
        let dicom = ["DICOM/", "DICOM/Uncompressed/", "DICOM/DICOM/", ""].map(|folder| format!("{folder}{dicom}"));
        png.into_iter().chain(dicom).chain([image.to_owned()]).collect()
    }),
    patient: |row| {
        Some(row.get("deid_patient_id").to_owned())
            .filter(|id| !id.is_empty())
            .or_else(|| patient_folder(row.get("path_to_image")))
    },
    view: View::Of(|row| match row.get("frontal_lateral") {
        "Lateral" => "LATERAL".to_owned(),
        _ => row.get("ap_pa").to_owned(),
    }),
    labels: &[Labels::Columns(Words::Chexpert)],
    split: |row| match row.get("path_to_image").split('/').next() {
        Some("valid") => Official::In(Split::Val),
        Some("train") => Official::In(Split::Train),
        _ => Official::Free,
    },
    masks: no_masks,
    licence: None,
    leave_out: keep_all,
    raw: None,
};

/// `patient00001` of a path.
fn patient_folder(path: &str) -> Option<String> {
    path.split('/').find(|part| part.starts_with("patient")).map(str::to_owned)
}
