//! The photographs: their labels, and the networks' margins for them.

use std::fs;
use std::path::Path;

use doorward_face::Analyzer;
use doorward_picture::{self as picture, Limits};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::LivenessError;

/// People in front of a webcam, and their printed photographs.
pub const PRINTS: &str = "liveness_nuaa";
/// People and screens, some prints and paper masks.
pub const SCREENS: &str = "liveness_replay";
/// Press photographs: all are live, none is used for fitting.
const PRESS: &str = "lfw";
/// Every tenth press photograph is used.
const PRESS_STEP: usize = 10;

/// One labelled photograph.
pub struct Face {
    pub set: &'static str,
    /// The person or the source.
    pub group: String,
    /// By the label's name.
    pub species: String,
    pub live: bool,
    /// Margins near and far; `None` if no face was found.
    pub features: Option<[f32; 2]>,
}

#[derive(Deserialize)]
struct Labelled {
    path: String,
    live: u8,
    attack_type: String,
    #[serde(alias = "subject", alias = "source_group")]
    group: String,
}

#[derive(Deserialize)]
struct Press {
    path: String,
    identity: String,
}

/// Returns both sets, in the order of their labels.
pub fn labelled(data: &Path) -> Result<Vec<Face>, LivenessError> {
    let analyzer = Analyzer::load()?;
    let mut faces = Vec::new();
    for set in [PRINTS, SCREENS] {
        for row in rows::<Labelled>(data, set)? {
            faces.push(Face {
                set,
                features: features(&analyzer, &data.join(set).join(&row.path))?,
                group: row.group,
                species: row.attack_type,
                live: row.live == 1,
            });
        }
        println!("{set}: seen");
    }
    Ok(faces)
}

/// Returns photographs of live people that no model was fitted on, by set.
pub fn genuine(data: &Path) -> Result<Vec<(&'static str, Vec<Face>)>, LivenessError> {
    let analyzer = Analyzer::load()?;
    let mut faces = Vec::new();
    for row in rows::<Press>(data, PRESS)?.into_iter().step_by(PRESS_STEP) {
        faces.push(Face {
            set: PRESS,
            features: features(&analyzer, &data.join(PRESS).join(&row.path))?,
            group: row.identity,
            species: "live".to_owned(),
            live: true,
        });
    }
    println!("{PRESS}: seen");
    Ok(vec![(PRESS, faces)])
}

fn rows<Row: DeserializeOwned>(data: &Path, set: &str) -> Result<Vec<Row>, LivenessError> {
    let path = data.join(set).join("labels.csv");
    let rows = csv::Reader::from_path(&path)
        .and_then(|reader| reader.into_deserialize().collect::<Result<Vec<Row>, _>>());
    rows.map_err(|error| LivenessError::Data(path, error.to_string()))
}

/// Returns the features as in a request: of the largest face of the upright picture.
fn features(analyzer: &Analyzer, path: &Path) -> Result<Option<[f32; 2]>, LivenessError> {
    let unreadable = |reason: String| LivenessError::Data(path.to_owned(), reason);
    let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let picture = picture::decode(&bytes, &Limits::default())
        .map_err(|error| unreadable(error.to_string()))?;
    let found = analyzer.detect(&picture)?;
    let Some(largest) = found.faces.first() else { return Ok(None) };
    let upright = found.turned.as_ref().unwrap_or(&picture);
    let liveness = analyzer.portrait(upright, largest)?.liveness()?;
    Ok(Some([liveness.near, liveness.far]))
}
