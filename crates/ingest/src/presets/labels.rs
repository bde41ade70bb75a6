//! One label vocabulary for all collections, and the four states that a label can have.
//!
//! [`VOCABULARY`] is the whole mapping: a row is one label of this program, its columns are the words that the
//! collections use for it. A collection's word that is in no row is left out and reported. Words keep the meaning that
//! their collection gave them: labels mined from reports (CheXpert, MIMIC-CXR, BRAX, NIH, PadChest) are not what a panel
//! of radiologists saw (VinDr-CXR, RSNA), even where they share a name.
//!
//! A label is positive, negative, uncertain or unknown ([`State`]). What a source does not mention is unknown, unless
//! the source's lists are complete by its own description (NIH, PadChest, VinDr-CXR): there it is negative. Two
//! deductions are made, both by the meaning of the word: where a source says `normal`, its other findings are negative
//! (support devices are no finding); where it names a finding, `normal` is negative.

/// What is known of a label of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The source says nothing.
    #[default]
    Unknown,
    /// The source says that it is absent.
    Negative,
    /// The source says that it may be there.
    Uncertain,
    /// The source says that it is there.
    Positive,
}

/// Whose words: a column of [`VOCABULARY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// The 14 observations of the CheXpert labeller: CheXpert, CheXpert Plus, MIMIC-CXR, BRAX.
    Chexpert,
    /// The 14 findings of NIH ChestX-ray14.
    Nih,
    /// PadChest's radiographic findings and differential diagnoses.
    Padchest,
    /// The 28 labels of VinDr-CXR.
    Vindr,
    /// The COVID-19 image data collection.
    Covid,
}

/// The label for "the source says that there is nothing to find".
pub const NORMAL: &str = "normal";

/// Not a finding, so a normal image may have it.
const DEVICES: &str = "support_devices";

/// A label and each collection's words for it.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// The name in manifests.
    pub name: &'static str,
    words: [&'static [&'static str]; 5],
}

impl Label {
    /// What a collection calls it; several words mean the same here.
    pub fn words(&self, whose: Words) -> &'static [&'static str] {
        self.words[whose as usize]
    }
}

const fn label(name: &'static str, words: [&'static [&'static str]; 5]) -> Label {
    Label { name, words }
}

/// Words that say something about the study, not about findings. They are neither labels nor reported.
const IGNORED: [&str; 6] = ["exclude", "suboptimal study", "unchanged", "todo", "unknown", "nan"];

/// Every label with the words for it: CheXpert, NIH, PadChest, VinDr-CXR, COVID-19 collection.
///
/// PadChest's words are frequent ones of its term tree, joined where they name a kind or a place of the same finding;
/// torchxrayvision joins more (it counts `consolidation` and `alveolar pattern` as
/// infiltration, for example), here a word keeps its own meaning.
#[rustfmt::skip]
pub const VOCABULARY: &[Label] = &[
    label(NORMAL, [&["No Finding"], &["No Finding"], &["normal"], &["No finding"], &["No Finding"]]),
    label("atelectasis", [&["Atelectasis"], &["Atelectasis"], &["atelectasis", "laminar atelectasis", "lobar atelectasis", "segmental atelectasis", "round atelectasis", "total atelectasis", "atelectasis basal"], &["Atelectasis"], &[]]),
    label("cardiomegaly", [&["Cardiomegaly"], &["Cardiomegaly"], &["cardiomegaly"], &["Cardiomegaly"], &[]]),
    label("enlarged_cardiomediastinum", [&["Enlarged Cardiomediastinum"], &[], &["mediastinal enlargement", "superior mediastinal enlargement"], &[], &[]]),
    label("consolidation", [&["Consolidation"], &["Consolidation"], &["consolidation"], &["Consolidation"], &[]]),
    label("edema", [&["Edema"], &["Edema"], &["pulmonary edema"], &["Edema"], &[]]),
    label("effusion", [&["Pleural Effusion"], &["Effusion"], &["pleural effusion", "loculated pleural effusion", "loculated fissural effusion", "hydropneumothorax"], &["Pleural effusion"], &[]]),
    label("pleural_other", [&["Pleural Other"], &[], &[], &[], &[]]),
    label("pleural_thickening", [&[], &["Pleural_Thickening"], &["pleural thickening", "apical pleural thickening", "calcified pleural thickening", "fissure thickening", "minor fissure thickening", "major fissure thickening"], &["Pleural thickening"], &[]]),
    label("pneumothorax", [&["Pneumothorax"], &["Pneumothorax"], &["pneumothorax", "hydropneumothorax"], &["Pneumothorax"], &[]]),
    label("pneumonia", [&["Pneumonia"], &["Pneumonia"], &["pneumonia", "atypical pneumonia"], &["Pneumonia"], &["Pneumonia"]]),
    label("bacterial_pneumonia", [&[], &[], &[], &[], &["Bacterial"]]),
    label("viral_pneumonia", [&[], &[], &[], &[], &["Viral"]]),
    label("fungal_pneumonia", [&[], &[], &[], &[], &["Fungal"]]),
    label("lipoid_pneumonia", [&[], &[], &[], &[], &["Lipoid"]]),
    label("aspiration_pneumonia", [&[], &[], &[], &[], &["Aspiration"]]),
    label("covid_19", [&[], &[], &[], &[], &["COVID-19"]]),
    label("sars", [&[], &[], &[], &[], &["SARS"]]),
    label("mers", [&[], &[], &[], &[], &["MERS-CoV"]]),
    label("influenza", [&[], &[], &[], &[], &["Influenza", "H1N1"]]),
    label("pneumocystis", [&[], &[], &[], &[], &["Pneumocystis"]]),
    label("lung_opacity", [&["Lung Opacity"], &[], &[], &["Lung Opacity"], &[]]),
    label("lung_lesion", [&["Lung Lesion"], &[], &[], &[], &[]]),
    label("infiltration", [&[], &["Infiltration"], &["infiltrates"], &["Infiltration"], &[]]),
    label("interstitial_pattern", [&[], &[], &["interstitial pattern", "reticular interstitial pattern", "reticulonodular interstitial pattern"], &[], &[]]),
    label("alveolar_pattern", [&[], &[], &["alveolar pattern"], &[], &[]]),
    label("ground_glass_pattern", [&[], &[], &["ground glass pattern"], &[], &[]]),
    label("interstitial_lung_disease", [&[], &[], &[], &["ILD"], &[]]),
    label("nodule", [&[], &["Nodule"], &["nodule", "multiple nodules"], &[], &[]]),
    label("mass", [&[], &["Mass"], &["mass", "pulmonary mass"], &[], &[]]),
    label("nodule_or_mass", [&[], &[], &[], &["Nodule/Mass"], &[]]),
    label("pseudonodule", [&[], &[], &["pseudonodule"], &[], &[]]),
    label("granuloma", [&[], &[], &["granuloma", "calcified granuloma"], &[], &[]]),
    label("calcification", [&[], &[], &["calcified densities"], &["Calcification"], &[]]),
    label("emphysema", [&[], &["Emphysema"], &["emphysema"], &["Emphysema"], &[]]),
    label("subcutaneous_emphysema", [&[], &[], &["subcutaneous emphysema"], &[], &[]]),
    label("copd", [&[], &[], &["COPD signs"], &["COPD"], &[]]),
    label("air_trapping", [&[], &[], &["air trapping"], &[], &[]]),
    label("bullas", [&[], &[], &["bullas"], &[], &[]]),
    label("fibrosis", [&[], &["Fibrosis"], &["pulmonary fibrosis"], &["Pulmonary fibrosis"], &[]]),
    label("fibrotic_band", [&[], &[], &["fibrotic band"], &[], &[]]),
    label("bronchiectasis", [&[], &[], &["bronchiectasis"], &[], &[]]),
    label("volume_loss", [&[], &[], &["volume loss"], &[], &[]]),
    label("chronic_changes", [&[], &[], &["chronic changes"], &[], &[]]),
    label("cavity", [&[], &[], &["cavitation"], &["Lung cavity"], &[]]),
    label("cyst", [&[], &[], &[], &["Lung cyst"], &[]]),
    label("lung_tumour", [&[], &[], &[], &["Lung tumor"], &[]]),
    label("metastasis", [&[], &[], &["lung metastasis", "bone metastasis"], &[], &[]]),
    label("tuberculosis", [&[], &[], &["tuberculosis", "tuberculosis sequelae"], &["Tuberculosis"], &["Tuberculosis"]]),
    label("heart_insufficiency", [&[], &[], &["heart insufficiency"], &[], &[]]),
    label("hernia", [&[], &["Hernia"], &["hiatal hernia", "diaphragmatic hernia"], &[], &[]]),
    label("costophrenic_angle_blunting", [&[], &[], &["costophrenic angle blunting"], &[], &[]]),
    label("flattened_diaphragm", [&[], &[], &["flattened diaphragm"], &[], &[]]),
    label("hemidiaphragm_elevation", [&[], &[], &["hemidiaphragm elevation"], &[], &[]]),
    label("hilar_enlargement", [&[], &[], &["hilar enlargement", "vascular hilar enlargement"], &[], &[]]),
    label("hilar_congestion", [&[], &[], &["hilar congestion"], &[], &[]]),
    label("vascular_redistribution", [&[], &[], &["vascular redistribution"], &[], &[]]),
    label("pulmonary_artery_enlargement", [&[], &[], &["pulmonary artery enlargement"], &["Enlarged PA"], &[]]),
    label("aortic_enlargement", [&[], &[], &["aortic button enlargement"], &["Aortic enlargement"], &[]]),
    label("aortic_elongation", [&[], &[], &["aortic elongation", "supra aortic elongation", "descendent aortic elongation", "ascendent aortic elongation"], &[], &[]]),
    label("aortic_atheromatosis", [&[], &[], &["aortic atheromatosis"], &[], &[]]),
    label("mediastinal_shift", [&[], &[], &["mediastinal shift", "tracheal shift"], &["Mediastinal shift"], &[]]),
    label("fracture", [&["Fracture"], &[], &["fracture", "rib fracture", "callus rib fracture", "clavicle fracture", "humeral fracture", "vertebral fracture"], &[], &[]]),
    label("rib_fracture", [&[], &[], &["rib fracture", "callus rib fracture"], &["Rib fracture"], &[]]),
    label("clavicle_fracture", [&[], &[], &["clavicle fracture"], &["Clavicle fracture"], &[]]),
    label("scoliosis", [&[], &[], &["scoliosis"], &[], &[]]),
    label("kyphosis", [&[], &[], &["kyphosis"], &[], &[]]),
    label("vertebral_degenerative_changes", [&[], &[], &["vertebral degenerative changes"], &[], &[]]),
    label(DEVICES, [&["Support Devices"], &[], &["pacemaker", "dual chamber device", "single chamber device", "dai", "NSG tube", "endotracheal tube", "tracheostomy tube", "chest drain tube", "central venous catheter", "central venous catheter via jugular vein", "central venous catheter via subclavian vein", "reservoir central venous catheter", "electrical device", "artificial heart valve", "artificial mitral heart valve", "artificial aortic heart valve"], &[], &[]]),
    label("other_lesion", [&[], &[], &[], &["Other lesion"], &[]]),
    label("other_disease", [&[], &[], &[], &["Other diseases", "Other disease"], &[]]),
];

/// What a word of a collection means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// These labels, by number.
    Labels(Vec<usize>),
    /// Nothing about findings.
    Nothing,
    /// The word is in no row.
    NotKnown,
}

/// The meaning of a word, in any case.
pub(super) fn meaning(word: &str, whose: Words) -> Meaning {
    let same = |known: &&str| known.eq_ignore_ascii_case(word);
    let labels: Vec<usize> = (0..VOCABULARY.len()).filter(|&at| VOCABULARY[at].words(whose).iter().any(same)).collect();
    match labels.is_empty() {
        false => Meaning::Labels(labels),
        true if IGNORED.iter().any(same) => Meaning::Nothing,
        true => Meaning::NotKnown,
    }
}

/// The states of all labels of one image.
#[derive(Clone, Debug)]
pub(super) struct States([State; VOCABULARY.len()]);

impl Default for States {
    fn default() -> Self {
        Self([State::Unknown; VOCABULARY.len()])
    }
}

impl States {
    /// Sets a label by number; of two statements the stronger stays (positive, uncertain, negative, unknown).
    pub(super) fn set(&mut self, label: usize, state: State) {
        if state as u8 > self.0[label] as u8 {
            self.0[label] = state;
        }
    }

    /// Sets a label by its name in the vocabulary; other names have no state.
    pub(super) fn set_named(&mut self, name: &str, state: State) {
        if let Some(label) = position(name) {
            self.set(label, state);
        }
    }

    /// Makes what a collection's list does not name negative.
    pub(super) fn complete(&mut self, whose: Words) {
        for (state, label) in self.0.iter_mut().zip(VOCABULARY) {
            if !label.words(whose).is_empty() && *state == State::Unknown {
                *state = State::Negative;
            }
        }
    }

    /// Draws the two conclusions of the module's documentation among a collection's labels.
    pub(super) fn conclude(&mut self, whose: Words) {
        let findings = || {
            let is_finding = |label: &Label| label.name != NORMAL && label.name != DEVICES;
            (0..VOCABULARY.len())
                .filter(move |&at| is_finding(&VOCABULARY[at]) && !VOCABULARY[at].words(whose).is_empty())
        };
        let Some(normal) = position(NORMAL) else { return };
        if findings().any(|at| self.0[at] == State::Positive) {
            self.set(normal, State::Negative);
        } else if self.0[normal] == State::Positive {
            findings().for_each(|at| self.set(at, State::Negative));
        }
    }

    /// The names of the labels in a state, in the order of the vocabulary.
    pub(super) fn names(&self, wanted: State) -> Vec<String> {
        let in_state = self.0.iter().zip(VOCABULARY).filter(|(state, _)| **state == wanted);
        in_state.map(|(_, label)| label.name.to_owned()).collect()
    }
}

fn position(name: &str) -> Option<usize> {
    VOCABULARY.iter().position(|label| label.name == name)
}

/// The vocabulary as a Markdown table, for the documentation.
pub fn vocabulary_as_markdown() -> String {
    let mut text = String::from(
        "| label | CheXpert, MIMIC-CXR, BRAX | NIH | PadChest | VinDr-CXR | COVID-19 collection |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for label in VOCABULARY {
        let cells = label.words.map(|words| words.join(", "));
        text.push_str(&format!("| `{}` | {} |\n", label.name, cells.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_written_alike() {
        let names: HashSet<_> = VOCABULARY.iter().map(|label| label.name).collect();
        assert_eq!(names.len(), VOCABULARY.len());
        for name in names {
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
        }
    }

    #[test]
    fn every_collection_has_all_of_its_own_labels() {
        let count = |whose: Words| VOCABULARY.iter().map(|label| label.words(whose).len()).sum::<usize>();
        // 14 observations; 14 findings and `No Finding`; 28 labels, one of which has two spellings.
        assert_eq!([count(Words::Chexpert), count(Words::Nih), count(Words::Vindr)], [14, 15, 29]);
    }

    #[test]
    fn words_are_found_in_any_case_and_may_mean_two_labels() {
        let named = |word: &str, whose| match meaning(word, whose) {
            Meaning::Labels(labels) => labels.into_iter().map(|at| VOCABULARY[at].name).collect(),
            other => panic!("{word}: {other:?}"),
        };
        let names: Vec<&str> = named("pleural effusion", Words::Chexpert);
        assert_eq!(names, ["effusion"]);
        assert_eq!(named("rib fracture", Words::Padchest), ["fracture", "rib_fracture"]);
        assert_eq!(meaning("Unchanged", Words::Padchest), Meaning::Nothing);
        assert_eq!(meaning("Effusion", Words::Vindr), Meaning::NotKnown);
    }

    #[test]
    fn normal_and_findings_exclude_one_another() {
        let mut states = States::default();
        states.set_named(NORMAL, State::Positive);
        states.conclude(Words::Chexpert);
        let negative = states.names(State::Negative);
        assert_eq!(negative.len(), 12, "14 less `normal` and the devices: {negative:?}");
        assert!(!negative.iter().any(|name| name == DEVICES));

        let mut states = States::default();
        states.set_named("edema", State::Positive);
        states.conclude(Words::Chexpert);
        assert_eq!(states.names(State::Negative), [NORMAL]);

        let mut states = States::default();
        states.set_named("edema", State::Uncertain);
        states.set_named(DEVICES, State::Positive);
        states.conclude(Words::Chexpert);
        assert_eq!(states.names(State::Negative), [""; 0], "neither a doubt nor a device says that something is found");
    }

    #[test]
    fn the_stronger_of_two_statements_stays() {
        let mut states = States::default();
        for state in [State::Negative, State::Positive, State::Uncertain, State::Negative] {
            states.set_named("mass", state);
        }
        assert_eq!(states.names(State::Positive), ["mass"]);
    }

    #[test]
    fn the_documentation_shows_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ingest.md");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(&vocabulary_as_markdown()), "docs/ingest.md should hold:\n{}", vocabulary_as_markdown());
    }
}
