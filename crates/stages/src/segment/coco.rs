//! Masks as run lengths and annotations in the format of COCO, which annotation tools read.
//!
//! Tools look for the images that annotations name, from the folder of the annotations on. The dataset keeps its images
//! in shards, so each is written there once more as PNG.

use serde::{Deserialize, Serialize};

/// A mask as COCO writes it: runs down the columns, first outside, then inside, in its printable coding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLengths {
    /// Rows and columns.
    pub size: [usize; 2],
    /// The runs.
    pub counts: String,
}

impl RunLengths {
    /// Codes a mask, non-zero inside.
    ///
    /// # Shapes
    /// - mask: `[height * width]`
    pub fn of(mask: &[u8], height: usize, width: usize) -> Self {
        let mut runs: Vec<i64> = vec![0];
        let mut inside = false;
        for column in 0..width {
            for row in 0..height {
                if (mask[row * width + column] != 0) != inside {
                    inside = !inside;
                    runs.push(0);
                }
                if let Some(run) = runs.last_mut() {
                    *run += 1;
                }
            }
        }
        let mut counts = String::new();
        for (index, run) in runs.iter().enumerate() {
            // From the fourth run on, the difference to the run of the same kind before.
            let value = if index > 2 { run - runs[index - 2] } else { *run };
            push_number(&mut counts, value);
        }
        Self { size: [height, width], counts }
    }
}

/// Five bits a character from the lowest on, the sixth says that more follow, 48 is added. The last character's highest
/// value bit is the sign.
fn push_number(text: &mut String, mut value: i64) {
    loop {
        let mut bits = (value & 0x1f) as u8;
        value >>= 5;
        let done = if bits & 0x10 != 0 { value == -1 } else { value == 0 };
        if !done {
            bits |= 0x20;
        }
        text.push(char::from(bits + 48));
        if done {
            return;
        }
    }
}

/// A file of annotations.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Annotations {
    images: Vec<ImageEntry>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Debug, Serialize)]
struct ImageEntry {
    id: usize,
    /// From the folder of the annotations on.
    file_name: String,
    height: usize,
    width: usize,
}

#[derive(Debug, Serialize)]
struct Annotation {
    id: usize,
    image_id: usize,
    category_id: usize,
    segmentation: RunLengths,
    area: usize,
    /// `[left, top, width, height]`
    bbox: [usize; 4],
    iscrowd: u8,
}

#[derive(Debug, Serialize)]
struct Category {
    id: usize,
    name: &'static str,
}

/// A mask that goes into a file of annotations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CodedMask {
    pub segmentation: RunLengths,
    pub area: usize,
    pub bbox: [usize; 4],
}

impl CodedMask {
    /// `None` for an empty mask.
    pub(crate) fn of(mask: &[u8], size: usize) -> Option<Self> {
        let inside = || mask.iter().enumerate().filter(|(_, value)| **value != 0).map(|(at, _)| [at % size, at / size]);
        let low = inside().reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1])])?;
        let high = inside().reduce(|a, b| [a[0].max(b[0]), a[1].max(b[1])])?;
        let bbox = [low[0], low[1], high[0] - low[0] + 1, high[1] - low[1] + 1];
        Some(Self { segmentation: RunLengths::of(mask, size, size), area: inside().count(), bbox })
    }
}

impl Annotations {
    pub(crate) fn new(categories: &[&'static str]) -> Self {
        let categories = (1..).zip(categories).map(|(id, name)| Category { id, name }).collect();
        Self { categories, ..Self::default() }
    }

    /// Adds an image with one mask for each category that it has.
    pub(crate) fn add(&mut self, file_name: String, size: usize, masks: &[Option<CodedMask>]) {
        let image_id = self.images.len() + 1;
        self.images.push(ImageEntry { id: image_id, file_name, height: size, width: size });
        for (category_id, mask) in (1..).zip(masks) {
            if let Some(CodedMask { segmentation, area, bbox }) = mask.clone() {
                let id = self.annotations.len() + 1;
                self.annotations.push(Annotation { id, image_id, category_id, segmentation, area, bbox, iscrowd: 0 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strings from `pycocotools.mask.encode` of the same masks.
    #[test]
    fn codes_agree_with_pycocotools() {
        let checker: Vec<u8> = (0..12).map(|at| u8::from((at / 4 + at % 4) % 2 == 1)).collect();
        let rectangle: Vec<u8> =
            (0..100 * 90).map(|at| u8::from((20..70).contains(&(at / 90)) && (10..83).contains(&(at % 90)))).collect();
        let coded = |mask: &[u8], height, width| RunLengths::of(mask, height, width).counts;
        assert_eq!(coded(&checker, 3, 4), "111000000000");
        assert_eq!(coded(&rectangle, 100, 90), format!("lo0b1b1{}Xe0", "0".repeat(143)));
        assert_eq!((coded(&[0; 12], 3, 4), coded(&[1; 12], 3, 4)), ("<".into(), "0<".into()));
    }

    #[test]
    fn boxes_hold_their_masks() {
        let mut mask = vec![0; 100];
        for at in [23, 24, 35] {
            mask[at] = 1;
        }
        let coded = CodedMask::of(&mask, 10).unwrap();
        assert_eq!((coded.area, coded.bbox), (3, [3, 2, 3, 2]));
        assert_eq!(CodedMask::of(&[0; 100], 10), None);
    }
}
