//! Small collections: JSRT, Montgomery County, Shenzhen, and the COVID-19 image data collection. In the first three the
//! names of files tell everything.

use super::super::collection::{Collection, Image, Labels, MainFacts, Rows, View, free, keep_all, no_masks};
use super::super::labels::State::{Negative, Positive};
use super::super::labels::{NORMAL, Words};
use super::super::rows::Row;
use super::super::{About, Access, RawPixels};

/// `JPCLN001` to `154` have a nodule, `JPCNN001` to `093` have none. Images are headerless: 2048 x 2048 big-endian
/// 16-bit values of 12 bits, dark where the body absorbs; a later distribution has DICOM files. Lung masks are the SCR
/// database's, which must be converted from GIF to PNG first.
pub(super) static JSRT: Collection = Collection {
    about: About {
        name: "jsrt",
        title: "JSRT",
        download: "Japanese Society of Radiological Technology, Standard Digital Image Database: All247images.zip, or \
                   Nodule154images.zip and NonNodule93images.zip; lung masks: SCR database (scratch.zip), converted to PNG",
        size: "2 GB",
        access: Access::Registration,
        licence: "JSRT database terms (research and education; citation required)",
        citation: "Shiraishi et al., Development of a digital image database for chest radiographs with and without a lung \
                   nodule, AJR 174:71-74, 2000; masks: van Ginneken, Stegmann, Loog, Medical Image Analysis 10:19-40, 2006",
        patients: "jsrt",
    },
    rows: Rows::Files {
        marker: &[
            "All247images/JPCLN001.IMG",
            "Nodule154images/JPCLN001.IMG",
            "Nodule154images/JPCLN001.dcm",
            "JPCLN001.IMG",
            "JPCLN001.dcm",
        ],
        columns: &["stem", "class"],
        describe: |file| {
            let (stem, end) = stem_and_end(file)?;
            let class = stem.strip_prefix("JPC")?.get(..2)?;
            let is_image = matches!(end.to_lowercase().as_str(), "img" | "dcm") && matches!(class, "LN" | "NN");
            is_image.then(|| vec![stem.to_owned(), class.to_owned()])
        },
    },
    joins: &[],
    image: Image::At(|row| vec![row.get("file").to_owned()]),
    patient: |row| Some(row.get("stem").to_owned()),
    view: View::Always("PA"),
    labels: &[Labels::Cases {
        column: "class",
        cases: &[("LN", &[("nodule", Positive), (NORMAL, Negative)]), ("NN", &[("nodule", Negative)])],
    }],
    split: free,
    masks: |row| {
        let folders = ["scratch/fold1", "scratch/fold2", "fold1", "fold2"];
        let lung = |folder: &str, side| format!("{folder}/masks/{side} lung/{}.png", row.get("stem"));
        folders.into_iter().map(|folder| vec![lung(folder, "left"), lung(folder, "right")]).collect()
    },
    licence: None,
    leave_out: keep_all,
    raw: Some((".img", RawPixels { height: 2048, width: 2048, bits: 12, is_inverted: true })),
};

/// `MCUCXR_0001_0.png`, 1 for manifestations of tuberculosis; left and right lung as two masks.
pub(super) static MONTGOMERY: Collection = Collection {
    about: About {
        name: "montgomery",
        title: "Montgomery County",
        download: "National Library of Medicine, NLM-MontgomeryCXRSet.zip (folders CXR_png, ManualMask)",
        size: "0.6 GB",
        access: Access::Open,
        licence: "public (National Library of Medicine; citation is asked for)",
        citation: TUBERCULOSIS,
        patients: "montgomery",
    },
    rows: Rows::Files {
        marker: &["CXR_png/MCUCXR_0001_0.png"],
        columns: &["stem", "number", "class"],
        describe: |file| tuberculosis_name(file, "MCUCXR"),
    },
    joins: &[],
    image: Image::At(|row| vec![row.get("file").to_owned()]),
    patient: |row| Some(row.get("number").to_owned()),
    view: View::Always("PA"),
    labels: &[TUBERCULOSIS_CLASS],
    split: free,
    masks: |row| {
        let stem = row.get("stem");
        let lungs = ["left", "right"].map(|side| format!("ManualMask/{side}Mask/{stem}.png"));
        vec![lungs.to_vec(), vec![format!("masks/{stem}.png")]]
    },
    licence: None,
    leave_out: keep_all,
    raw: None,
};

/// `CHNCXR_0001_0.png`, 1 for manifestations of tuberculosis. Masks are a later publication for 566 of the 662 images.
pub(super) static SHENZHEN: Collection = Collection {
    about: About {
        name: "shenzhen",
        title: "Shenzhen Hospital",
        download: "National Library of Medicine, ChinaSet_AllFiles.zip (folder CXR_png); lung masks: Kaggle, \
                   shcxr-lung-mask (folder mask)",
        size: "3.6 GB",
        access: Access::Open,
        licence: "public (National Library of Medicine; citation is asked for)",
        citation: "Jaeger et al., Two public chest X-ray datasets for computer-aided screening of pulmonary diseases, \
                   Quantitative Imaging in Medicine and Surgery 4:475-477, 2014; masks: Stirenko et al., arXiv:1803.01199",
        patients: "shenzhen",
    },
    rows: Rows::Files {
        marker: &["CXR_png/CHNCXR_0001_0.png"],
        columns: &["stem", "number", "class"],
        describe: |file| tuberculosis_name(file, "CHNCXR"),
    },
    joins: &[],
    image: Image::At(|row| vec![row.get("file").to_owned()]),
    patient: |row| Some(row.get("number").to_owned()),
    view: View::Always("PA"),
    labels: &[TUBERCULOSIS_CLASS],
    split: free,
    masks: |row| {
        let mask = format!("{}_mask.png", row.get("stem"));
        ["mask/", "mask/mask/", "masks/"].map(|folder| vec![format!("{folder}{mask}")]).to_vec()
    },
    licence: None,
    leave_out: keep_all,
    raw: None,
};

const TUBERCULOSIS: &str = "Jaeger et al., Two public chest X-ray datasets for computer-aided screening of pulmonary \
                            diseases, Quantitative Imaging in Medicine and Surgery 4:475-477, 2014";

const TUBERCULOSIS_CLASS: Labels = Labels::Cases {
    column: "class",
    cases: &[
        ("0", &[(NORMAL, Positive), ("tuberculosis", Negative)]),
        ("1", &[(NORMAL, Negative), ("tuberculosis", Positive)]),
    ],
};

/// `metadata.csv` has CT slices too, and a licence for each image. A finding is a path in a tree of causes,
/// `Pneumonia/Viral/COVID-19`. Masks are of a network (lungVAE), for some images.
pub(super) static COVID_CHESTXRAY: Collection = Collection {
    about: About {
        name: "covid-chestxray",
        title: "COVID-19 image data collection",
        download: "GitHub, ieee8023/covid-chestxray-dataset: metadata.csv, images/, annotations/lungVAE-masks/",
        size: "under 1 GB",
        access: Access::Open,
        licence: "not stated for this image (the collection states licences image by image)",
        citation: "Cohen et al., COVID-19 image data collection: prospective predictions are the future, \
                   arXiv:2006.11988, 2020; masks: Selvan et al., arXiv:2005.10052",
        patients: "covid-chestxray",
    },
    rows: Rows::Tables(&[MainFacts {
        files: &["metadata.csv"],
        columns: &["patientid", "finding", "view", "modality", "folder", "filename", "license"],
        is_needed: true,
        repeated: None,
    }]),
    joins: &[],
    image: Image::At(|row| {
        let file = row.get("filename");
        vec![format!("{}/{file}", row.get("folder")), format!("images/{file}")]
    }),
    patient: |row| Some(row.get("patientid").to_owned()),
    view: View::Column("view"),
    labels: &[Labels::List { column: "finding", whose: Words::Covid, is_complete: false }],
    split: free,
    masks: covid_masks,
    licence: Some("license"),
    leave_out: |row| match row.get("modality") {
        "CT" => Some("CT slices"),
        _ => None,
    },
    raw: None,
};

fn covid_masks(row: &Row) -> Vec<Vec<String>> {
    match stem_and_end(row.get("filename")) {
        Some((stem, _)) => vec![vec![format!("annotations/lungVAE-masks/{stem}_mask.png")]],
        None => no_masks(row),
    }
}

/// Stem, number and class of `CXR_png/MCUCXR_0001_0.png`; none for other files, masks among them.
fn tuberculosis_name(file: &str, prefix: &str) -> Option<Vec<String>> {
    if !file.contains("CXR_png/") {
        return None;
    }
    let (stem, end) = stem_and_end(file)?;
    let parts: Vec<&str> = stem.split('_').collect();
    let [first, number, class @ ("0" | "1")] = parts[..] else { return None };
    (first == prefix && end == "png").then(|| [stem, number, class].map(str::to_owned).to_vec())
}

/// The name of a path's file before and after its last point.
fn stem_and_end(path: &str) -> Option<(&str, &str)> {
    path.rsplit('/').next()?.rsplit_once('.')
}
