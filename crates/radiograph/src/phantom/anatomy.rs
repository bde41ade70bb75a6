//! The parameters of a phantom chest and the outlines that follow from them.
//!
//! Coordinates: `y` runs down the picture from 0 to 1; `u` is the distance from the patient's midline outwards, in the
//! same unit, so that both sides share one set of formulas.

use super::{Findings, Side};
use random::Stream;

/// Shapes, exposure and noise of a phantom. Lengths are in units of the image side.
#[derive(Clone, Debug, PartialEq)]
pub struct Anatomy {
    /// Column of the midline at mid-height, about 0.5.
    pub midline: f32,
    /// How far the midline leans over the height of the picture, -0.04..=0.04.
    pub lean: f32,
    /// Half of the greatest inner width of the chest, 0.34..=0.41.
    pub chest_half_width: f32,
    /// Row of the lungs' apex, 0.07..=0.13.
    pub apex: f32,
    /// Row of the top of the right dome of the diaphragm, 0.68..=0.8: deep breath or shallow.
    pub diaphragm: f32,
    /// How much lower the left dome stands, 0.01..=0.035.
    pub left_dome_drop: f32,
    /// Depth of the angle between diaphragm and chest wall below the dome, 0.07..=0.12.
    pub costophrenic_depth: f32,
    /// Greatest width of the heart over greatest inner width of the chest: above 0.5 is enlarged.
    pub cardiothoracic_ratio: f32,
    /// Half of the height of the heart, 0.15..=0.2.
    pub heart_half_height: f32,
    /// Radius of the aortic knob, 0.03..=0.05.
    pub aortic_knob: f32,
    /// Half of the width of the mediastinum above the heart, 0.05..=0.075.
    pub mediastinum: f32,
    /// Half of the width of the vertebral bodies, 0.03..=0.042.
    pub spine: f32,
    /// Distance between neighbouring ribs, 0.062..=0.078.
    pub rib_spacing: f32,
    /// How far a rib descends from the spine to its front end, 0.16..=0.26.
    pub rib_drop: f32,
    /// Contrast of bone, 0.6..=1.2.
    pub bone: f32,
    /// Thickness of the chest wall, 0.03..=0.07.
    pub chest_wall: f32,
    /// Brightness added everywhere, -0.05..=0.05: over- and underexposure.
    pub exposure: f32,
    /// Factor on contrast, 0.88..=1.1.
    pub contrast: f32,
    /// Change of brightness from left to right and top to bottom, -0.08..=0.08 each (heel effect, rotation).
    pub gradient: [f32; 2],
    /// Standard deviation of the noise at 256 pixels per side, 0.006..=0.02; finer pixels catch fewer quanta.
    pub noise: f32,
}

impl Anatomy {
    /// Draws a plausible chest for the findings.
    pub(super) fn draw(draw: &mut Stream, findings: &Findings) -> Self {
        let normal_heart = draw.between(0.4, 0.48);
        let enlarged_heart = draw.between(0.54, 0.64);
        Self {
            midline: draw.between(0.475, 0.515),
            lean: draw.between(-0.025, 0.025),
            chest_half_width: draw.between(0.35, 0.41),
            apex: draw.between(0.06, 0.12),
            diaphragm: draw.between(0.68, 0.78),
            left_dome_drop: draw.between(0.01, 0.03),
            costophrenic_depth: draw.between(0.08, 0.12),
            cardiothoracic_ratio: if findings.enlarged_heart { enlarged_heart } else { normal_heart },
            heart_half_height: draw.between(0.16, 0.19),
            aortic_knob: draw.between(0.03, 0.045),
            mediastinum: draw.between(0.05, 0.065),
            spine: draw.between(0.032, 0.04),
            rib_spacing: draw.between(0.064, 0.076),
            rib_drop: draw.between(0.17, 0.25),
            bone: draw.between(0.7, 1.15),
            chest_wall: draw.between(0.03, 0.065),
            exposure: draw.between(-0.04, 0.04),
            contrast: draw.between(0.9, 1.08),
            gradient: [draw.between(-0.06, 0.06), draw.between(-0.05, 0.05)],
            noise: draw.between(0.006, 0.018),
        }
    }

    /// The column of the midline at row `y`.
    pub(super) fn midline_at(&self, y: f32) -> f32 {
        self.midline + self.lean * (y - 0.5)
    }

    /// Row of the lowest point of a lung, at the chest wall.
    pub(super) fn base(&self, side: Side) -> f32 {
        self.dome_top(side) + self.costophrenic_depth
    }

    /// Row of the top of a dome of the diaphragm.
    pub(super) fn dome_top(&self, side: Side) -> f32 {
        match side {
            Side::Right => self.diaphragm,
            Side::Left => self.diaphragm + self.left_dome_drop,
        }
    }

    /// Row of the diaphragm at `u`: a dome, steeper towards the chest wall.
    pub(super) fn dome(&self, side: Side, u: f32) -> f32 {
        let width = self.chest_half_width;
        let from_top = (u - 0.48 * width) / (0.52 * width);
        let depth = if from_top > 0.0 { self.costophrenic_depth } else { 0.35 * self.costophrenic_depth };
        let square = from_top * from_top;
        // The fourth power keeps the dome flat and drops it near the wall.
        self.dome_top(side) + depth * (0.45 * square + 0.55 * square * square)
    }

    /// Inner edge of the ribs at row `y`: `u` of the lung's outer border, and below the lungs of the abdomen's.
    pub(super) fn outer_edge(&self, y: f32) -> f32 {
        let width = self.chest_half_width;
        let apex_u = 0.4 * width;
        // The widest place lies at 70 % of the way from apex to base.
        let widest = self.apex + 0.7 * (self.diaphragm + self.costophrenic_depth - self.apex);
        if y <= self.apex {
            return apex_u;
        }
        let t = ((y - self.apex) / (widest - self.apex)).min(1.0);
        let rest = 1.0 - t;
        // Between an ellipse (round apex) and a parabola (slanted upper chest).
        let ellipse = (1.0 - rest * rest).sqrt();
        let growth = 0.72 * ellipse + 0.28 * t * (2.0 - t);
        let below = (y - widest).max(0.0);
        apex_u + (width - apex_u) * growth - 0.25 * below * below
    }

    /// Edge of the mediastinum and heart at row `y`: `u` of the lung's inner border.
    pub(super) fn inner_edge(&self, side: Side, y: f32) -> f32 {
        let t = ((y - self.apex) / 0.14).clamp(0.0, 1.0);
        let rest = 1.0 - t;
        let apex_u = 0.4 * self.chest_half_width;
        // At the apex both borders meet; below, the inner one swings in to the mediastinum.
        let swing = (1.0 - rest * rest).sqrt();
        // It widens where the vessels leave for the lung.
        let hilum = (y - self.hilum(side)) / 0.11;
        let widened = self.mediastinum + 0.016 * (1.0 - hilum * hilum).max(0.0);
        let mediastinum = apex_u + (widened - apex_u) * swing;
        smooth_max(mediastinum, self.heart_edge(side, y), 0.03).max(self.knob_edge(side, y))
    }

    /// Row of the hilum, where vessels and airways enter the lung; the left one lies higher.
    pub(super) fn hilum(&self, side: Side) -> f32 {
        self.apex + if side == Side::Left { 0.28 } else { 0.3 }
    }

    /// Row of the centre of the heart.
    pub(super) fn heart_center(&self) -> f32 {
        self.diaphragm + 0.03 - 0.62 * self.heart_half_height
    }

    /// How far the heart reaches to a side at its widest. A third of the heart lies right of the midline; together
    /// they make the cardiothoracic ratio.
    pub(super) fn heart_reach(&self, side: Side) -> f32 {
        let width = 2.0 * self.chest_half_width * self.cardiothoracic_ratio;
        width * if side == Side::Left { 0.68 } else { 0.32 }
    }

    /// Border of the heart at row `y`, 0 above and below it. The left border bulges lower than the right one.
    pub(super) fn heart_edge(&self, side: Side, y: f32) -> f32 {
        let shift = if side == Side::Left { 0.035 } else { -0.01 };
        let distance = (y - self.heart_center() - shift) / self.heart_half_height;
        // The left border rises in a straighter line to the hilum.
        let stretch = if side == Side::Left && distance < 0.0 { 0.78 } else { 0.95 };
        let scaled = distance * stretch;
        let inside = 1.0 - scaled * scaled;
        if inside <= 0.0 { 0.0 } else { self.heart_reach(side) * inside.sqrt() }
    }

    /// Border of the aortic knob (left side only) at row `y`, else 0.
    fn knob_edge(&self, side: Side, y: f32) -> f32 {
        if side == Side::Right {
            return 0.0;
        }
        let distance = (y - self.apex - 0.19) / (1.25 * self.aortic_knob);
        let inside = 1.0 - distance * distance;
        if inside <= 0.0 { 0.0 } else { self.mediastinum - 0.4 * self.aortic_knob + self.aortic_knob * inside.sqrt() }
    }

    /// Half-width of the body at row `y`: the trunk, widening to the shoulders.
    pub(super) fn body_edge(&self, y: f32) -> f32 {
        let trunk = self.chest_half_width + self.chest_wall + 0.02;
        let shoulder = ((0.42 - y) / 0.42).clamp(0.0, 1.0);
        trunk + 0.3 * shoulder * shoulder * (3.0 - 2.0 * shoulder)
    }

    /// Row of the skin above the shoulder at `u`; above it is air (and the neck near the midline).
    pub(super) fn shoulder_line(&self, u: f32) -> f32 {
        let out = (u - 0.14).max(0.0);
        -0.03 + 0.28 * out + 0.5 * out * out
    }
}

/// The greater of two numbers, rounded off where they differ by less than `width`: a border without a kink.
fn smooth_max(a: f32, b: f32, width: f32) -> f32 {
    let overlap = (width - (a - b).abs()).max(0.0) / width;
    a.max(b) + 0.25 * width * overlap * overlap
}
