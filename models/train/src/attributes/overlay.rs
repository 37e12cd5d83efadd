//! Draws coverings onto photographed faces: positives of every shape and colour, on people without
//! such photographs.
//!
//! A covering is a few *shapes* in the coordinates of the embedder's template (112×112, eyes at
//! height 51.6, mouth at 92.3), so that it rotates and scales with the face. A shape is a signed
//! distance, below 0 inside, and a colour; edges are as soft as the photograph is coarse.

use super::chance::Chance;
use doorward_picture::Picture;
use std::f32::consts::{PI, TAU};

/// Middle of the template's face, and the height of its eyes.
const MIDDLE: f32 = 55.9;
const EYE_HEIGHT: f32 = 51.6;
/// Distance of an eye from the middle.
const EYE_ASIDE: f32 = 17.6;

/// The coverings that are drawn, in the order of the heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    Sunglasses,
    Mask,
    Veil,
    Hat,
}

impl Thing {
    pub const ALL: [Self; 4] = [Self::Sunglasses, Self::Mask, Self::Veil, Self::Hat];
}

/// Signed distance in template pixels at a point of the template, below 0 inside.
type Shape = Box<dyn Fn(f32, f32) -> f32>;
/// Red, green, blue, 0–255, at a point of the template.
type Paint = Box<dyn Fn(f32, f32) -> [f32; 3]>;

/// One painted shape.
struct Layer {
    shape: Shape,
    paint: Paint,
    opacity: f32,
    /// How much of the photograph's light and shade shows on it, 0–1.
    shaded: f32,
}

/// Returns the picture with a covering on the face; `matrix` maps template to picture.
pub fn worn(picture: &Picture, matrix: &[f32; 6], thing: Thing, chance: &mut Chance) -> Picture {
    let layers = match thing {
        Thing::Sunglasses => sunglasses(chance),
        Thing::Mask => mask(chance),
        Thing::Veil => veil(chance),
        Thing::Hat => hat(chance),
    };
    let tilt = chance.between(-0.06, 0.06);
    draw(picture, matrix, tilt, &layers)
}

fn draw(picture: &Picture, matrix: &[f32; 6], tilt: f32, layers: &[Layer]) -> Picture {
    let [a, b, c, d, e, f] = *matrix;
    let determinant = a * e - b * d;
    // Picture pixels per template pixel: an edge is one picture pixel wide, but never sharper than
    // the template.
    let softness = (1.0 / determinant.abs().sqrt()).max(1.0);
    let (width, height) = (picture.width(), picture.height());
    let mut rgb = picture.rgb().to_vec();
    let (sin, cos) = tilt.sin_cos();
    for (index, pixel) in rgb.chunks_exact_mut(3).enumerate() {
        let (x, y) = ((index as u32 % width) as f32 - c, (index as u32 / width) as f32 - f);
        let (u, v) = ((e * x - b * y) / determinant, (a * y - d * x) / determinant);
        let (du, dv) = (u - MIDDLE, v - EYE_HEIGHT);
        let (u, v) = (MIDDLE + cos * du + sin * dv, EYE_HEIGHT - sin * du + cos * dv);
        for layer in layers {
            let cover = (0.5 - (layer.shape)(u, v) / softness).clamp(0.0, 1.0) * layer.opacity;
            if cover > 0.0 {
                let luma = pixel.iter().map(|&value| f32::from(value)).sum::<f32>() / 3.0;
                let light = 1.0 - layer.shaded + layer.shaded * (luma / 128.0).min(1.4);
                for (value, colour) in pixel.iter_mut().zip((layer.paint)(u, v)) {
                    *value = (f32::from(*value) * (1.0 - cover) + colour * light * cover) as u8;
                }
            }
        }
    }
    Picture::new(width, height, rgb).unwrap_or_else(|| picture.clone())
}

/// Draws two lenses, a bridge and temples: dark, tinted or mirrored.
fn sunglasses(chance: &mut Chance) -> Vec<Layer> {
    let (wide, high) = (chance.between(12.5, 18.0), chance.between(8.5, 15.0));
    let (aside, lower) = (EYE_ASIDE + chance.between(0.0, 2.5), chance.between(-1.0, 4.0));
    let power = chance.between(1.8, 4.5);
    let rim = chance.between(0.6, 2.5);
    let middle = EYE_HEIGHT + lower;
    let brightest = if chance.happens(0.7) { 70.0 } else { 230.0 };
    let frame = colour(chance, 10.0, brightest);
    let dark = colour(chance, 3.0, 60.0);
    let below = if chance.happens(0.3) { chance.between(10.0, 110.0) } else { 0.0 };
    let mirror = if chance.happens(0.25) { chance.between(30.0, 120.0) } else { 6.0 };
    let (wave, phase) = (chance.between(0.05, 0.25), chance.between(0.0, TAU));
    let lens = move |u: f32, v: f32, more: f32| {
        rounded((u - MIDDLE).abs() - aside, v - middle, wide + more, high + more, power)
    };
    let paint: Paint = Box::new(move |u, v| {
        let sheen = mirror * (0.5 + 0.5 * (wave * (u + 0.6 * v) + phase).sin()).powi(2);
        let fade = below * ((v - middle) / high).clamp(0.0, 1.0);
        dark.map(|value| value + sheen + fade)
    });
    let bridge_high = chance.between(0.8, 2.5);
    let temple_high = chance.between(0.8, 3.0);
    let bars: Shape = Box::new(move |u, v| {
        let from_middle = (u - MIDDLE).abs();
        let bridge = rectangle(from_middle, v - middle + 3.0, aside - wide + 1.0, bridge_high);
        let temple =
            rectangle(from_middle - 45.0, v - middle + 4.0, 46.0 - aside - wide, temple_high);
        bridge.min(temple)
    });
    vec![
        Layer { shape: bars, paint: flat(frame), opacity: 0.95, shaded: 0.3 },
        Layer {
            shape: Box::new(move |u, v| lens(u, v, rim)),
            paint: flat(frame),
            opacity: 0.95,
            shaded: 0.3,
        },
        Layer {
            shape: Box::new(move |u, v| lens(u, v, 0.0)),
            paint,
            opacity: chance.between(0.82, 1.0),
            shaded: 0.15,
        },
    ]
}

/// Draws a cloth from the nose to under the chin, with its straps.
fn mask(chance: &mut Chance) -> Vec<Layer> {
    let (top, bow) = (chance.between(61.0, 72.0), chance.between(0.002, 0.011));
    let (wide, bottom) = (chance.between(33.0, 42.0), chance.between(112.0, 124.0));
    let power = chance.between(2.2, 4.0);
    let colour = match chance.index(4) {
        0 => [200.0, 215.0, 225.0],
        1 => [130.0, 180.0, 205.0],
        2 => colour(chance, 15.0, 60.0),
        _ => colour(chance, 10.0, 250.0),
    };
    let (pleats, depth) = (chance.between(0.25, 0.9), chance.between(0.0, 0.12));
    let strap_to = chance.between(48.0, 66.0);
    let cloth: Shape = Box::new(move |u, v| {
        let middle = (top + bottom) / 2.0;
        let body = rounded(u - MIDDLE, v - middle, wide, bottom - middle + 3.0, power);
        body.max(top + bow * (u - MIDDLE).powi(2) - v)
    });
    let straps: Shape = Box::new(move |u, v| {
        let aside = (u - MIDDLE).abs();
        let upper = v - (top + 12.0 - (aside - wide) * (top + 12.0 - strap_to) / 16.0);
        let lower = v - (bottom - 16.0 - (aside - wide) * 1.4);
        upper.abs().min(lower.abs()).max(wide - 3.0 - aside).max(aside - wide - 16.0) - 0.9
    });
    let paint = folded(chance, colour, move |u, v| {
        1.0 - 0.28 * ((u - MIDDLE) / wide).powi(2) + depth * (pleats * v).sin()
    });
    vec![
        Layer { shape: straps, paint: flat(colour), opacity: 0.9, shaded: 0.4 },
        Layer { shape: cloth, paint, opacity: 1.0, shaded: chance.between(0.1, 0.4) },
    ]
}

/// Draws a cloth over hair, neck and shoulders that leaves the face free, or only the eyes.
fn veil(chance: &mut Chance) -> Vec<Layer> {
    let (wide, crown) = (chance.between(46.0, 66.0), chance.between(66.0, 88.0));
    let spread = chance.between(0.1, 0.9);
    let (aside, down) = (chance.between(-3.0, 3.0), chance.between(-3.0, 3.0));
    let eyes_alone = chance.happens(0.4);
    let (open_wide, open_high) = if eyes_alone {
        (chance.between(28.0, 40.0), chance.between(7.0, 14.0))
    } else {
        (chance.between(33.0, 42.0), chance.between(44.0, 54.0))
    };
    let (open_at, power) = if eyes_alone {
        (EYE_HEIGHT + 0.5 * down, chance.between(2.5, 5.0))
    } else {
        (69.0 + down, chance.between(1.9, 2.5))
    };
    let colour =
        if chance.happens(0.35) { colour(chance, 8.0, 50.0) } else { colour(chance, 30.0, 245.0) };
    let shape: Shape = Box::new(move |u, v| {
        let head = if v < EYE_HEIGHT {
            rounded(u - MIDDLE, v - EYE_HEIGHT, wide, crown, 2.1)
        } else {
            (u - MIDDLE).abs() - wide - spread * (v - 90.0).max(0.0)
        };
        head.max(-rounded(u - MIDDLE - aside, v - open_at, open_wide, open_high, power))
    });
    let (folds, depth) = (chance.between(6.0, 22.0), chance.between(0.05, 0.25));
    let paint = folded(chance, colour, move |u, v| {
        let angle = (v - open_at).atan2(u - MIDDLE);
        let edge = rounded(u - MIDDLE, v - open_at, open_wide, open_high, 2.0);
        // Darker next to the face, where the cloth is in the head's shade.
        (1.0 - 0.25 * (-edge / 12.0).exp()) * (1.0 + depth * (folds * angle + 0.06 * edge).sin())
    });
    vec![Layer { shape, paint, opacity: 1.0, shaded: chance.between(0.0, 0.25) }]
}

/// Draws a crown above the brows: a woollen hat, a cap with its visor, a hat with a brim.
fn hat(chance: &mut Chance) -> Vec<Layer> {
    let rim = chance.between(8.0, 30.0);
    let (wide, high) = (chance.between(44.0, 58.0), chance.between(42.0, 78.0));
    let power = chance.between(1.9, 3.4);
    let bow = chance.between(-0.004, 0.004);
    let colour =
        if chance.happens(0.4) { colour(chance, 8.0, 60.0) } else { colour(chance, 30.0, 245.0) };
    let aside = chance.between(-3.0, 3.0);
    let crown: Shape = Box::new(move |u, v| {
        let dome = rounded(u - MIDDLE - aside, v - rim, wide, high, power);
        dome.max(v - rim - bow * (u - MIDDLE).powi(2))
    });
    let knit = chance.between(0.0, 0.12);
    let stitch = chance.between(0.3, 1.2);
    let paint = folded(chance, colour, move |u, v| {
        let round = 1.0 - 0.3 * ((u - MIDDLE) / wide).powi(2);
        round * (1.0 + knit * (stitch * u).sin()) + 0.1 * ((rim - v) / high - 0.5)
    });
    let mut layers = vec![Layer { shape: crown, paint, opacity: 1.0, shaded: 0.1 }];
    let kind = chance.index(3);
    if kind > 0 {
        let (half, thick) = if kind == 1 {
            (chance.between(30.0, 48.0), chance.between(5.0, 12.0))
        } else {
            (chance.between(64.0, 98.0), chance.between(5.0, 13.0))
        };
        let brim: Shape = Box::new(move |u, v| {
            rounded(u - MIDDLE - 2.0 * aside, v - rim - 0.5, half, thick, 2.0)
        });
        let darker = chance.between(0.45, 0.9);
        let same = if chance.happens(0.8) { colour } else { self::colour(chance, 10.0, 240.0) };
        let paint = folded(chance, same, move |_, v| darker * (1.0 - 0.02 * (v - rim)));
        layers.push(Layer { shape: brim, paint, opacity: 1.0, shaded: 0.1 });
        // Its shade on the forehead.
        let shade: Shape = Box::new(move |u, v| {
            rounded(u - MIDDLE, v - rim - thick, 0.8 * half.min(44.0), thick, 2.0)
        });
        layers
            .insert(0, Layer { shape: shade, paint: flat([25.0; 3]), opacity: 0.45, shaded: 0.3 });
    }
    layers
}

/// Returns the distance to a superellipse, below 0 inside; exact at its half axes.
fn rounded(x: f32, y: f32, wide: f32, high: f32, power: f32) -> f32 {
    let radius = ((x / wide).abs().powf(power) + (y / high).abs().powf(power)).powf(1.0 / power);
    (radius - 1.0) * wide.min(high)
}

fn rectangle(x: f32, y: f32, half_wide: f32, half_high: f32) -> f32 {
    (x.abs() - half_wide).max(y.abs() - half_high)
}

fn flat(colour: [f32; 3]) -> Paint {
    Box::new(move |_, _| colour)
}

/// Returns a colour under a given light, sometimes with a soft pattern.
fn folded(
    chance: &mut Chance,
    colour: [f32; 3],
    light: impl Fn(f32, f32) -> f32 + 'static,
) -> Paint {
    let strength = if chance.happens(0.3) { chance.between(0.1, 0.6) } else { 0.0 };
    let other = self::colour(chance, 10.0, 245.0);
    let waves: [f32; 4] = std::array::from_fn(|_| chance.between(0.08, 0.5));
    let phase = chance.between(0.0, 2.0 * PI);
    Box::new(move |u, v| {
        let print =
            (waves[0] * u + waves[1] * v + phase).sin() * (waves[2] * u - waves[3] * v).sin();
        let share = strength * (4.0 * print).clamp(0.0, 1.0);
        std::array::from_fn(|i| {
            ((1.0 - share) * colour[i] + share * other[i]) * light(u, v).clamp(0.0, 1.5)
        })
    })
}

/// Returns a colour of medium saturation whose brightness is between the two.
fn colour(chance: &mut Chance, dark: f32, light: f32) -> [f32; 3] {
    let brightness = chance.between(dark, light);
    let tint = if chance.happens(0.4) { 0.1 } else { 0.6 };
    std::array::from_fn(|_| (brightness * (1.0 + chance.between(-tint, tint))).clamp(0.0, 255.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grey picture of 160×200 in which the template's pixel (u, v) lies at (u + 24, v + 60).
    fn drawn(thing: Thing, seed: &str) -> Picture {
        let grey = Picture::new(160, 200, vec![128; 160 * 200 * 3]).unwrap();
        worn(&grey, &[1.0, 0.0, 24.0, 0.0, 1.0, 60.0], thing, &mut Chance::of(seed))
    }

    fn changed(picture: &Picture, u: f32, v: f32) -> bool {
        let at = ((v + 60.0) as usize * 160 + (u + 24.0) as usize) * 3;
        picture.rgb()[at..at + 3].iter().any(|value| value.abs_diff(128) > 6)
    }

    /// Returns in how many of forty drawings the place is covered.
    fn covered(thing: Thing, u: f32, v: f32) -> usize {
        (0..40).filter(|i| changed(&drawn(thing, &format!("face {i}")), u, v)).count()
    }

    #[test]
    fn each_thing_covers_only_its_part_of_the_face() {
        // Places of the template: an eye, the mouth, the crown, beside the chin, the far corner.
        let (eye, mouth, crown, neck) = ([38.3, 51.7], [56.0, 92.0], [56.0, -8.0], [14.0, 116.0]);
        for (thing, on, off) in [
            (Thing::Sunglasses, vec![eye], vec![mouth, crown, neck]),
            (Thing::Mask, vec![mouth], vec![eye, crown]),
            (Thing::Veil, vec![crown, neck], vec![eye]),
            (Thing::Hat, vec![crown], vec![mouth, neck]),
        ] {
            for [u, v] in on {
                assert!(covered(thing, u, v) >= 34, "{thing:?} does not reach ({u}, {v})");
            }
            for [u, v] in off {
                assert!(covered(thing, u, v) <= 6, "{thing:?} lies at ({u}, {v})");
            }
        }
    }

    #[test]
    fn drawings_are_reproducible_and_differ_between_faces() {
        for thing in Thing::ALL {
            assert_eq!(drawn(thing, "a"), drawn(thing, "a"));
            assert_ne!(drawn(thing, "a"), drawn(thing, "b"));
        }
    }

    #[test]
    fn the_thing_rotates_with_the_face() {
        let grey = Picture::new(200, 200, vec![128; 200 * 200 * 3]).unwrap();
        // The face lies on its side: template (u, v) at (150 − v, u + 40).
        let lying =
            worn(&grey, &[0.0, -1.0, 150.0, 1.0, 0.0, 40.0], Thing::Mask, &mut Chance::of("a"));
        let at = |u: f32, v: f32| {
            let at = ((u + 40.0) as usize * 200 + (150.0 - v) as usize) * 3;
            lying.rgb()[at] != 128
        };
        assert!(at(56.0, 92.0) && !at(38.0, 45.0));
    }
}
