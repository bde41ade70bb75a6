//! Chest X-rays of children aged one to five (Kermany, Zhang, Goldbaum: Mendeley Data rscbjbr9sj, version 2, CC BY 4.0),
//! as distributed: `[train|val|test]/NORMAL|PNEUMONIA/FILE`, at whatever depth.
//!
//! The patient is in the file's name: `person1000_bacteria_2931.jpeg`, `IM-0115-0001.jpeg`,
//! `NORMAL2-IM-0383-0001.jpeg`. Numbers begin anew in the official test set, so its patients are others. The folder
//! `val` of the common redistribution was cut out of `train` without regard to patients; the two are joined here and
//! split by patient. The official test set stays one.

use std::path::Path;

use anyhow::Result;
use dataset::Split;

use super::labels::NORMAL;
use super::{About, Access, Items, Preset, SourceItem, files};
use crate::archive::Archives;

/// What is to be known about the collection.
pub(super) static ABOUT: About = About {
    name: "kermany",
    title: "Paediatric pneumonia (Kermany et al.)",
    download: "Mendeley Data rscbjbr9sj version 2, ChestXRay2017.zip, or Kaggle chest-xray-pneumonia (folder chest_xray)",
    size: "1.2 GB",
    access: Access::Open,
    licence: "CC BY 4.0",
    citation: "Kermany et al., Identifying medical diagnoses and treatable diseases by image-based deep learning, Cell \
               172:1122-1131, 2018; doi:10.17632/rscbjbr9sj.2",
    patients: "kermany",
};

/// An image has one of these, the most specific that its name tells.
const PNEUMONIAS: [&str; 3] = ["pneumonia", "bacterial_pneumonia", "viral_pneumonia"];

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kermany;

impl Preset for Kermany {
    fn items<'a>(&'a self, source: &'a Path, archives: &'a Archives) -> Result<Items<'a>> {
        files::walk(source, archives, |parts, item| describe(source, parts, item))
    }
}

fn describe(source: &Path, parts: &[&str], item: &mut SourceItem) {
    // The source may be given at any level, `.../test/NORMAL` included, so its own last two names count as folders;
    // not more, because somewhere further up everybody has a folder named test.
    let own_names: Vec<_> = source.iter().rev().take(2).map(|name| name.to_string_lossy()).collect();
    let folders = || own_names.iter().map(|name| &**name).chain(parts[..parts.len() - 1].iter().copied());
    let is_test = folders().any(|folder| folder.eq_ignore_ascii_case("test"));
    let stem = parts[parts.len() - 1].split('.').next().unwrap_or_default();
    let (patient, label) = patient_and_label(stem);
    let label = label.or_else(|| {
        folders().find_map(|folder| match folder.to_ascii_uppercase().as_str() {
            "NORMAL" => Some(NORMAL),
            "PNEUMONIA" => Some("pneumonia"),
            _ => None,
        })
    });
    let official = if is_test { "test" } else { "train" };
    item.patient = patient.map(|patient| format!("kermany-{official}-{patient}"));
    item.view = Some("AP".into());
    item.labels.extend(label.map(str::to_owned));
    item.labels_negative = match label {
        Some(NORMAL) => PNEUMONIAS.map(str::to_owned).to_vec(),
        Some(_) => vec![NORMAL.to_owned()],
        None => Vec::new(),
    };
    item.split = is_test.then_some(Split::Test);
    item.collection = Some(ABOUT.name.into());
    item.licence = Some(ABOUT.licence.into());
}

fn patient_and_label(stem: &str) -> (Option<String>, Option<&'static str>) {
    if stem.starts_with("person") {
        let mut parts = stem.split('_');
        let patient = parts.next().map(str::to_owned);
        let label = match parts.next() {
            Some("bacteria") => Some("bacterial_pneumonia"),
            Some("virus") => Some("viral_pneumonia"),
            _ => None,
        };
        return (patient, label);
    }
    // `IM` and the number that follows it, with whatever comes before.
    let parts: Vec<&str> = stem.split('-').collect();
    let patient = parts.iter().position(|&part| part == "IM").and_then(|at| parts.get(..at + 2));
    (patient.map(|parts| parts.join("-")), patient.map(|_| NORMAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(source: &str, parts: &[&str]) -> (Option<String>, Vec<String>, Option<Split>) {
        let mut item = SourceItem::default();
        describe(Path::new(source), parts, &mut item);
        (item.patient, item.labels, item.split)
    }

    #[test]
    fn names_of_files_tell_the_patient() {
        for (name, patient, label) in [
            ("person1000_bacteria_2931.jpeg", "person1000", "bacterial_pneumonia"),
            ("person447_virus_921_1.jpeg", "person447", "viral_pneumonia"),
            ("IM-0115-0001.jpeg", "IM-0115", "normal"),
            ("IM-0429-0001-0002.jpeg", "IM-0429", "normal"),
            ("NORMAL2-IM-0395-0001-0001.jpeg", "NORMAL2-IM-0395", "normal"),
        ] {
            let expected = (Some(format!("kermany-train-{patient}")), vec![label.to_owned()], None);
            assert_eq!(described("chest_xray", &["train", "X", name]), expected);
            assert_eq!(described("chest_xray", &["val", "X", name]), expected);
        }
    }

    #[test]
    fn the_official_test_set_is_other_patients() {
        let expected = (Some("kermany-test-IM-0001".to_owned()), vec!["normal".to_owned()], Some(Split::Test));
        assert_eq!(described("chest_xray", &["test", "NORMAL", "IM-0001-0001.jpeg"]), expected);
        assert_eq!(described("chest_xray/test/NORMAL", &["IM-0001-0001.jpeg"]), expected);
        assert_ne!(described("test/chest_xray/train", &["NORMAL", "IM-0001-0001.jpeg"]), expected);
    }

    #[test]
    fn other_names_have_the_label_of_their_folder_and_no_patient() {
        assert_eq!(described("x", &["PNEUMONIA", "scan.png"]), (None, vec!["pneumonia".into()], None));
        assert_eq!(described("x", &["scan.png"]), (None, vec![], None));
        assert_eq!(described("x", &["IM.png"]), (None, vec![], None));
    }
}
