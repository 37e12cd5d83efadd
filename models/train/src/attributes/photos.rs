//! The labelled photographs: the labels of each, and its person or source.
//!
//! A label is `None` where the sets have none: such a photograph is neither positive nor negative.

use super::AttributesError;
use doorward_face::Attributes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// One label per attribute, `None` if unknown, in the order of [`Attributes::NAMES`].
pub type Labels = [Option<bool>; Attributes::NAMES.len()];

const SUNGLASSES: usize = 0;
const MASK: usize = 1;
const VEIL: usize = 2;
const HAT: usize = 3;

/// One photograph.
pub struct Photo {
    /// Path below the data's folder.
    pub path: String,
    /// Its person or publication: never split between fitting and judging.
    pub group: String,
    /// The coverings in it.
    pub labels: Labels,
}

impl Photo {
    /// Returns the set it belongs to: the first part of the path.
    pub fn set(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }
}

/// Photographs of `attr_mask/images/without_mask` whose head is covered, checked by eye: not
/// negatives of hat and veil. 258 wears sunglasses.
const COVERED_WITHOUT_MASK: [&str; 9] =
    ["024", "049", "074", "144", "148", "203", "223", "272", "287"];
const SUNGLASSES_WITHOUT_MASK: &str = "258";
/// Photographs of `attr_mask/images/with_mask` with a hood, a surgeon's cap or a scarf: not
/// negatives of veil.
const COVERED_WITH_MASK: [&str; 9] =
    ["086", "100", "149", "154", "155", "166", "178", "185", "290"];
/// People in the `low_luma_but_lit` photographs of LFW who wear a covering, or perhaps do.
const COVERED_LOW_LUMA: [&str; 7] = [
    "Alek_Wek",
    "Brandon_Jones",
    "Desiree_McKenzie",
    "Esther_Macklin",
    "Osama_bin_Laden",
    "Serena_Williams",
    "Whoopi_Goldberg",
];
/// Live frames taken from each session of `liveness_nuaa`: they are very similar.
const FRAMES_A_SESSION: usize = 8;

#[derive(Deserialize)]
struct Worn {
    path: String,
    eyewear: String,
    headwear: String,
}

#[derive(Deserialize)]
struct Lit {
    path: String,
    quality: String,
}

#[derive(Deserialize)]
struct Masked {
    path: String,
    mask: u8,
}

#[derive(Deserialize)]
struct Selfie {
    path: String,
    repo_path: String,
}

#[derive(Deserialize)]
struct Veiled {
    path: String,
    class: String,
    repo: String,
}

#[derive(Deserialize)]
struct Dark {
    path: String,
}

#[derive(Deserialize)]
struct Frame {
    path: String,
    live: u8,
    subject: String,
    session: String,
}

#[derive(Deserialize)]
struct Person {
    path: String,
    identity: String,
}

/// Marks of a row without a usable label.
const LEFT_OUT: [&str; 2] = ["unchecked", "tinted"];

/// Returns every labelled photograph, in the order of the sets' files.
pub fn labelled(data: &Path) -> Result<Vec<Photo>, AttributesError> {
    let mut photos = Vec::new();
    let mut seen = HashSet::new();
    for row in rows::<Worn>(data, "lfw/attributes.csv")? {
        seen.insert(row.path.clone());
        // The label of such a row is uncertain, or it is neither.
        if [&row.eyewear, &row.headwear].iter().any(|mark| LEFT_OUT.contains(&mark.as_str())) {
            continue;
        }
        let mut labels: Labels = [None, Some(false), None, None];
        labels[SUNGLASSES] = match row.eyewear.as_str() {
            "sunglasses" => Some(true),
            "eyeglasses" | "none" => Some(false),
            _ => None,
        };
        labels[HAT] = match row.headwear.as_str() {
            "hat" => Some(true),
            "none" => Some(false),
            _ => None,
        };
        labels[VEIL] = labels[HAT].map(|_| false);
        // A cloth around the head may extend over the mouth.
        if row.headwear == "headcloth" {
            labels[MASK] = None;
        }
        photos.push(of_lfw(&row.path, labels));
    }
    for row in rows::<Lit>(data, "lfw/quality.csv")? {
        let person = person(&row.path);
        let covered = COVERED_LOW_LUMA.contains(&person);
        if row.quality.contains("low_luma_but_lit") && !covered && !seen.contains(&row.path) {
            photos.push(of_lfw(&row.path, [Some(false); 4]));
        }
    }
    for row in rows::<Masked>(data, "attr_mask/labels.csv")? {
        let number = file_stem(&row.path);
        let masked = row.mask != 0;
        let labels: Labels = if masked {
            let veil = (!COVERED_WITH_MASK.contains(&number)).then_some(false);
            [None, Some(true), veil, None]
        } else {
            let bare = (!COVERED_WITHOUT_MASK.contains(&number)).then_some(false);
            let sunglasses = Some(number == SUNGLASSES_WITHOUT_MASK);
            [sunglasses, Some(false), bare, bare]
        };
        let path = format!("attr_mask/{}", row.path);
        photos.push(Photo { group: path.clone(), path, labels });
    }
    for row in rows::<Selfie>(data, "attr_sunglasses_selfies/labels.csv")? {
        let folder = row.repo_path.rsplit_once('/').map_or("", |(folder, _)| folder);
        photos.push(Photo {
            path: format!("attr_sunglasses_selfies/{}", row.path),
            group: format!("attr_sunglasses_selfies/{folder}"),
            labels: [Some(true), Some(false), None, None],
        });
    }
    for row in rows::<Veiled>(data, "attr_veil/labels.csv")? {
        let labels: Labels = match row.class.as_str() {
            // Some of them wear sunglasses too, which the set does not label.
            "hijab_mask" => [None, Some(true), Some(true), Some(false)],
            "hijab" => [Some(false), Some(false), Some(true), Some(false)],
            // A niqab is a veil and not a mask, yet it covers mouth and nose like a mask. The
            // mask's head reads only that region, so it cannot tell them apart.
            "niqab_sunglasses" => [Some(true), None, Some(true), Some(false)],
            _ => [Some(false), None, Some(true), Some(false)],
        };
        photos.push(Photo {
            path: format!("attr_veil/{}", row.path),
            group: format!("attr_veil/{}", row.repo),
            labels,
        });
    }
    for row in rows::<Dark>(data, "quality_dark/labels.csv")? {
        let path = format!("quality_dark/{}", row.path);
        photos.push(Photo { path, group: "quality_dark".into(), labels: [Some(false); 4] });
    }
    let mut taken: BTreeMap<(String, String), usize> = BTreeMap::new();
    for row in rows::<Frame>(data, "liveness_nuaa/labels.csv")? {
        let taken = taken.entry((row.subject.clone(), row.session)).or_default();
        if row.live != 0 && *taken < FRAMES_A_SESSION {
            *taken += 1;
            photos.push(Photo {
                path: format!("liveness_nuaa/{}", row.path),
                group: format!("liveness_nuaa/{}", row.subject),
                labels: [Some(false); 4],
            });
        }
    }
    Ok(photos)
}

/// Returns photographs to draw on: one each of people without any label, in an order independent of
/// them. They are assumed to wear neither mask nor veil: in LFW almost no one does.
pub fn bare(data: &Path, labelled: &[Photo]) -> Result<Vec<Photo>, AttributesError> {
    let mut known: HashSet<String> = labelled.iter().map(|photo| photo.group.clone()).collect();
    let mut photos = Vec::new();
    for row in rows::<Person>(data, "lfw/labels.csv")? {
        let photo = of_lfw(&row.path, [None, Some(false), Some(false), None]);
        debug_assert_eq!(person(&row.path), row.identity);
        if known.insert(photo.group.clone()) {
            photos.push(photo);
        }
    }
    photos.sort_by_cached_key(|photo| crate::folds::fold(&photo.path, u64::MAX));
    Ok(photos)
}

/// Joins groups that show the same person by the cosine of their embeddings, so that no look-alike
/// is both fitted on and judged.
pub fn join_look_alikes(
    photos: &mut [Photo],
    cosine: impl Fn(usize, usize) -> Option<f32>,
    from: f32,
) {
    let mut names: HashMap<String, String> = HashMap::new();
    for a in 0..photos.len() {
        for b in a + 1..photos.len() {
            if cosine(a, b).is_some_and(|cosine| cosine >= from) {
                let (first, second) =
                    (root(&names, &photos[a].group), root(&names, &photos[b].group));
                if first != second {
                    names.insert(first.clone().max(second.clone()), first.min(second));
                }
            }
        }
    }
    for photo in photos {
        photo.group = root(&names, &photo.group);
    }
}

fn root(names: &HashMap<String, String>, group: &str) -> String {
    let mut group = group;
    while let Some(name) = names.get(group) {
        group = name;
    }
    group.to_owned()
}

fn of_lfw(path: &str, labels: Labels) -> Photo {
    Photo { path: format!("lfw/{path}"), group: format!("lfw/{}", person(path)), labels }
}

/// Returns the folder of an LFW photograph.
fn person(path: &str) -> &str {
    path.rsplit('/').nth(1).unwrap_or(path)
}

fn file_stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split('.').next().unwrap_or(name)
}

fn rows<Row: DeserializeOwned>(data: &Path, name: &str) -> Result<Vec<Row>, AttributesError> {
    let path = data.join(name);
    let labels = |reason| AttributesError::Labels { path: path.clone(), reason };
    csv::Reader::from_path(&path)
        .map_err(labels)?
        .into_deserialize()
        .collect::<Result<_, _>>()
        .map_err(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_share_a_group_transitively() {
        let photo = |name: &str| Photo { path: name.into(), group: name.into(), labels: [None; 4] };
        let mut photos = ["a", "b", "c", "d"].map(photo);
        let alike = [(0, 2), (1, 2)];
        join_look_alikes(
            &mut photos,
            |a, b| Some(if alike.contains(&(a, b)) { 0.9 } else { 0.1 }),
            0.6,
        );
        let groups = photos.map(|photo| photo.group);
        assert_eq!(groups, ["a", "a", "a", "d"]);
    }
}
