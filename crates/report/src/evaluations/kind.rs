//! The kinds of evaluations: how their files are told apart, what their figures say, and which pictures lie beside them.

use serde_json::Value;

/// Which evaluation a file is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Fidelity,
    Memorisation,
    Conditioning,
    Encoder,
    Autoencoder,
    Segmentation,
    Augmentation,
    /// Of a kind that this page does not know.
    Other,
}

impl Kind {
    pub(super) const KNOWN: [Self; 7] = [
        Self::Fidelity,
        Self::Memorisation,
        Self::Conditioning,
        Self::Encoder,
        Self::Autoencoder,
        Self::Segmentation,
        Self::Augmentation,
    ];

    /// By what the file says of itself, and where it says nothing by entries that no other evaluation has.
    pub(super) fn of(file: &Value) -> Self {
        if let Some(name) = file.get("kind").and_then(Value::as_str) {
            return Self::KNOWN.into_iter().find(|kind| kind.word() == name).unwrap_or(Self::Other);
        }
        let known = Self::KNOWN.into_iter().find(|kind| kind.marks().iter().all(|mark| file.get(mark).is_some()));
        known.unwrap_or(Self::Other)
    }

    /// Its name in files and on the command line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Fidelity => "fidelity",
            Self::Memorisation => "memorisation",
            Self::Conditioning => "conditioning",
            Self::Encoder => "encoder",
            Self::Autoencoder => "autoencoder",
            Self::Segmentation => "segmentation",
            Self::Augmentation => "augmentation",
            Self::Other => "results",
        }
    }

    fn marks(self) -> &'static [&'static str] {
        match self {
            Self::Fidelity => &["synthetic", "held_out", "num_reference"],
            Self::Memorisation => &["embeddings", "pixels", "num_train"],
            Self::Conditioning => &["top_1", "chance"],
            Self::Encoder => &["negative", "num_val", "features"],
            Self::Autoencoder => &["quality", "latent_shape"],
            Self::Segmentation => &["search", "report", "results"],
            Self::Augmentation => &["groups", "num_finished", "num_test"],
            Self::Other => &[],
        }
    }

    /// What the figures say, in front of them.
    pub(super) fn explanation(self) -> &'static str {
        match self {
            Self::Fidelity => {
                "How far synthetic images are from real ones in the features of a network. The floor is the same figure of \
                 as many real images that no network was trained on: what cannot be told from it is as good as real."
            }
            Self::Memorisation => {
                "Whether synthetic images are copies of training images, beside real images that no network has seen: \
                 these may lie as near as they do. The image that one was drawn from is its seed and does not count."
            }
            Self::Conditioning => {
                "How often the real image that a synthetic one was drawn from is the nearest of all real images of its \
                 split and collection. Controls are a network with random weights and images drawn without a condition."
            }
            Self::Encoder => {
                "How well two groups of images are told apart by an encoder's embeddings: area under the receiver \
                 operating characteristic, beside features that need no training of an encoder."
            }
            Self::Autoencoder => "What the round trip through an autoencoder keeps of images.",
            Self::Segmentation => {
                "How well lungs are found without labels: settings were chosen on some patients, and the figures are of \
                 others. The oracle knows the true mask and is an upper bound; methods on random weights, by place alone, \
                 by Otsu's threshold and by the encoder's patches alone are controls."
            }
            Self::Augmentation => {
                "What synthetic images are worth to classifiers that learn from few or many real images, beside real \
                 images alone and classical variants of them. Boxes are over folds and repeats; an asterisk marks what \
                 is more than chance."
            }
            Self::Other => "",
        }
    }

    /// Pictures that it leaves beside its file, and what they show.
    pub(super) fn pictures(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Memorisation => &[(
                "closest-pairs.png",
                "The nearest pairs of a synthetic image and a training image other than its seed (framed), with their \
                 distance in embeddings",
            )],
            Self::Autoencoder => {
                &[("reconstructions.png", "Originals, what comes back, and the difference four times as large")]
            }
            Self::Segmentation => &[(
                "gallery.png",
                "The unsupervised rule on images of the report: best, median and worst, and three kinds of failure; \
                 green: the drawn mask",
            )],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_are_told_by_what_they_say_and_else_by_what_they_hold() {
        let old = json!({"top_1": 1.0, "chance": 0.1});
        assert_eq!(Kind::of(&old), Kind::Conditioning);
        assert_eq!(Kind::of(&json!({"kind": "encoder", "top_1": 1.0, "chance": 0.1})), Kind::Encoder);
        assert_eq!(Kind::of(&json!({"kind": "augmentation", "top_1": 1.0, "chance": 0.1})), Kind::Augmentation);
        assert_eq!(Kind::of(&json!({"kind": "elsewhere", "top_1": 1.0, "chance": 0.1})), Kind::Other);
        assert_eq!(Kind::of(&json!({"psnr": 31.25})), Kind::Other);
    }
}
