//! Tests which face of a picture with several is judged, and how many are counted: a ghost or a
//! blurred bystander in the judged place would enrol or refuse the wrong person.

use crate::support::client::{Client, verdict};
use crate::support::pictures;
use crate::support::terminal::{self, Terminal};
use doorward::face::Analyzer;
use doorward::picture::{self, Limits};
use image::imageops;
use serde_json::{Value, json};

/// Portraits in the background of which the detector sees a face with a score of 0.67 to 0.70.
#[test]
fn ghosts_beside_a_portrait_are_no_faces() {
    let Some(data) = terminal::data("portraits and groups with a number of faces") else { return };
    let folder = data.join("mixed_faces");
    let analyzer = Analyzer::load().unwrap();
    let mut rows = csv::Reader::from_path(folder.join("labels.csv")).unwrap();
    let (mut portraits, mut groups) = ((0, 0), (0, 0));
    for row in rows.records().map(|row| row.unwrap()) {
        let Ok(labelled) = row[2].parse::<usize>() else { continue };
        let counted = match &row[1] {
            "single" => &mut portraits,
            "multi" => &mut groups,
            _ => continue,
        };
        let file = std::fs::read(folder.join(&row[0])).unwrap();
        let picture = picture::decode(&file, &Limits::default()).unwrap();
        let nface = analyzer.detect(&picture).unwrap().faces.len();
        counted.0 += usize::from(nface == labelled);
        counted.1 += 1;
    }
    eprintln!("counted as labelled: portraits {portraits:?}, groups {groups:?}");
    assert_eq!(portraits, (78, 78));
    assert_eq!(groups, (8, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn sharp_person_is_judged_beside_a_larger_blurred_bystander() {
    let terminal = Terminal::start("");
    let mut client = Client::connect(&terminal).await;
    let (near, person) = (pictures::scaled("obama"), pictures::scaled("biden"));
    let person = imageops::resize(
        &person,
        person.width() * 3 / 4,
        person.height() * 3 / 4,
        imageops::FilterType::Triangle,
    );
    let beside = |bystander: &image::RgbImage| {
        let mut both = image::RgbImage::new(bystander.width() + person.width(), bystander.height());
        imageops::replace(&mut both, bystander, 0, 0);
        imageops::replace(&mut both, &person, bystander.width().into(), 0);
        pictures::base64(&pictures::jpeg(&both))
    };
    let left_x = |answer: &Value| -> f64 {
        answer["bounding_box"]["TopLeftX"].as_str().unwrap().parse().unwrap()
    };
    for (bystander, judged_is_right) in [(near.clone(), false), (imageops::blur(&near, 5.0), true)]
    {
        let body = json!({
            "image_1": pictures::face("biden"), "image_2": beside(&bystander),
        });
        let answer = client.ask("compare", &body).await;
        let code = if judged_is_right { "" } else { "FAIL_ON_16" };
        assert_eq!(verdict(&answer).1, code, "{answer}");
        assert_eq!(left_x(&answer) > f64::from(near.width()), judged_is_right, "{answer}");
        // Both are faces beyond doubt; the judged one is listed first.
        assert_eq!(answer["nface"], 2, "{answer}");
        let faces = answer["faces"].as_array().unwrap();
        assert_eq!(faces.len(), 2, "{answer}");
        assert_eq!(faces[0]["bounding_box"], answer["bounding_box"]);
        assert!(faces.iter().all(|face| face["score"].as_f64().unwrap() > 0.6), "{answer}");
    }
    let answer = client.ask("liveness", &json!({"image": pictures::face("obama")})).await;
    assert_eq!((&answer["nface"], &answer["faces"]), (&json!(1), &Value::Null));
}
