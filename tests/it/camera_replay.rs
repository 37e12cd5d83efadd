//! Tests the daemon's own camera, replayed from files made of the portraits: the answers of
//! `camera:` and `enroll_mode` with and without a camera, and that other requests do not wait for
//! the camera.

use crate::support::client::{Client, verdict};
use crate::support::terminal::Terminal;
use crate::support::{pictures, terminal};
use image::RgbImage;
use image::imageops::{self, FilterType};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Writes a folder of frames, in this order.
fn folder(frames: &[RgbImage]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (number, frame) in frames.iter().enumerate() {
        let file = dir.path().join(format!("{number:03}.jpg"));
        std::fs::write(file, pictures::jpeg(frame)).unwrap();
    }
    dir
}

/// Returns the configuration of a camera that replays a folder or a file in a loop.
fn playing(path: &Path) -> String {
    format!("[camera]\nsource = \"replay:{}\"\nfps = 10\n", path.display())
}

async fn start(frames: &[RgbImage], more: &str) -> (TempDir, Terminal, Client) {
    let dir = folder(frames);
    let terminal = Terminal::start(&format!("{more}{}", playing(dir.path())));
    let client = Client::connect(&terminal).await;
    (dir, terminal, client)
}

/// Returns a portrait with a face of about 150 pixels.
fn person(name: &str) -> RgbImage {
    let picture = image::open(terminal::portrait(name)).unwrap().to_rgb8();
    let height = if name == "obama3" { 1400 } else { 1000 };
    let width = picture.width() * height / picture.height();
    imageops::resize(&picture, width, height, FilterType::Triangle)
}

fn smaller(picture: &RgbImage, times: u32) -> RgbImage {
    let (width, height) = (picture.width() / times, picture.height() / times);
    imageops::resize(picture, width, height, FilterType::Triangle)
}

fn width(answer: &Value) -> f64 {
    answer["bounding_box"]["Width"].as_str().unwrap().parse().unwrap()
}

fn code(answer: &Value) -> (u64, &str) {
    let (status, code, _) = verdict(answer);
    (status, code)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_accepts_the_camera_as_image() {
    let frames = [pictures::flat(), person("obama"), person("obama2")];
    let (_dir, terminal, mut client) = start(&frames, "").await;
    let body = json!({"image": "camera:", "subject_id": "anna"});
    let enrolled = client.ask("enroll", &body).await;
    assert_eq!((code(&enrolled), &enrolled["subject_id"]), ((200, ""), &json!("anna")));
    assert!(enrolled["meta"]["timings_ms"]["capture"].is_number(), "{enrolled}");
    let verified = client.ask("verify", &body).await;
    assert_eq!((code(&verified), &verified["similarity_status"]), ((200, ""), &json!(true)));
    let found = client.ask("search", &json!({"image": " camera:\n"})).await;
    assert_eq!(found["matches"][0]["subject_id"], "anna", "{found}");
    let live = client.ask("liveness", &json!({"image": "camera:"})).await;
    assert!(live["liveness"]["status"].is_boolean(), "{live}");
    let both = json!({"image_1": pictures::face("biden"), "image_2": "camera:"});
    let compared = client.ask("compare", &both).await;
    assert_eq!(code(&compared), (200, "FAIL_ON_16"), "{compared}");
    let both = json!({"image_1": "camera:", "image_2": "camera:"});
    let compared = client.ask("compare", &both).await;
    assert_eq!(compared["similarity_status"], true, "{compared}");

    for operation in ["health", "stats"] {
        let camera = &client.ask(operation, &json!({})).await["camera"];
        assert_eq!((&camera["state"], &camera["format"]), (&json!("streaming"), &json!("file")));
        assert!(camera["frames"].as_u64().unwrap() > 0 && camera["age_ms"].is_u64(), "{camera}");
        assert_eq!((&camera["short"], &camera["reopened"]), (&json!(0), &json!(0)));
    }
    drop(terminal);
}

#[tokio::test(flavor = "multi_thread")]
async fn best_frame_is_used() {
    let good = person("obama");
    let frames = [
        smaller(&good, 4),
        pictures::flat(),
        pictures::blurred(&good),
        smaller(&good, 3),
        pictures::darkened(&good),
        good.clone(),
    ];
    let (_dir, _terminal, mut client) = start(&frames, "").await;
    let sent = json!({"image": pictures::base64(&pictures::jpeg(&good))});
    let sent = width(&client.ask("liveness", &sent).await);
    for _ in 0..3 {
        let answer = client.ask("liveness", &json!({"image": "camera:"})).await;
        assert!((width(&answer) - sent).abs() < 10.0, "{sent}: {answer}");
        assert_eq!(
            answer["image_quality"],
            json!({"blur": false, "dark": false, "grayscale": false})
        );
    }
    // Without a better frame, the best of the bad ones; at the end of the timeout.
    let (_dir, _terminal, mut client) = start(&[pictures::blurred(&good)], "").await;
    let asked = Instant::now();
    let body = json!({"image": "camera:", "capture_timeout_ms": 1000});
    let answer = client.ask("liveness", &body).await;
    assert_eq!((code(&answer), &answer["image_quality"]["blur"]), ((200, ""), &json!(true)));
    assert!(asked.elapsed() >= Duration::from_millis(900), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn camera_without_face_times_out_and_blocks_no_others() {
    let (_dir, _terminal, mut client) = start(&[pictures::flat()], "").await;
    let before = client.gallery().await;
    let asked = Instant::now();
    let body = json!({"image": "camera:", "capture_timeout_ms": 3000}).to_string();
    let waiting = client.send("enroll", body.as_bytes(), Some("application/json"), &[]).await;
    // Other requests are served meanwhile, although there is one thread.
    let served = client.ask("search", &json!({"image": pictures::face("obama")})).await;
    assert_eq!(code(&served), (200, ""));
    let served_after = asked.elapsed();
    let answer = client.answer(&waiting).await;
    let answered_after = asked.elapsed();
    assert_eq!(verdict(&answer), (400, "FACE_NOT_DETECTED", "image"));
    assert!(answered_after >= Duration::from_millis(2900), "{answered_after:?}");
    assert!(answered_after < Duration::from_secs(9), "{answered_after:?}");
    assert!(served_after < answered_after, "a request with a picture waited for the camera");
    let answer = client.ask("enroll_mode", &json!({"timeout_ms": 1000})).await;
    assert_eq!(verdict(&answer), (400, "FACE_NOT_DETECTED", ""));
    assert_eq!(client.gallery().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_camera_and_camera_without_frames_are_unavailable() {
    let terminal = Terminal::start("");
    let mut client = Client::connect(&terminal).await;
    let answer = client.ask("enroll_mode", &json!({})).await;
    assert_eq!(verdict(&answer), (503, "CAMERA_UNAVAILABLE", ""));
    let health = client.ask("health", &json!({})).await;
    assert_eq!(health["camera"], "not configured");
    drop(client);

    let nowhere = terminal.file("not-there");
    let lost = Terminal::start(&playing(&nowhere));
    let mut client = Client::connect(&lost).await;
    let answer = client.ask("search", &json!({"image": "camera:"})).await;
    assert_eq!(verdict(&answer), (503, "CAMERA_UNAVAILABLE", "image"));
    let why = answer["data"]["message"].as_str().unwrap();
    assert!(why.contains("cannot be replayed"), "{why}");
    let health = client.ask("health", &json!({})).await;
    assert_eq!(health["camera"]["state"], "lost");
    // Once the file exists, it is found without a restart.
    std::fs::create_dir(&nowhere).unwrap();
    std::fs::write(nowhere.join("a.jpg"), pictures::jpeg(&person("obama"))).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.ask("search", &json!({"image": "camera:"})).await;
        if answer["status"] == 200 {
            break;
        }
        assert_eq!(code(&answer), (503, "CAMERA_UNAVAILABLE"));
        assert!(Instant::now() < until, "{answer}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_replay_is_camera_unavailable() {
    let dir = folder(&[person("obama")]);
    let once = format!("{}replay_loop = false\n", playing(dir.path()));
    let terminal = Terminal::start(&once);
    let mut client = Client::connect(&terminal).await;
    let until = Instant::now() + Duration::from_secs(20);
    while client.ask("health", &json!({})).await["camera"]["state"] != "ended" {
        assert!(Instant::now() < until, "the replay does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let answer = client.ask("search", &json!({"image": "camera:"})).await;
    assert_eq!(code(&answer), (503, "CAMERA_UNAVAILABLE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn enroll_mode_stores_several_poses_of_one_person() {
    let frames = [
        pictures::flat(),
        person("obama"),
        pictures::blurred(&person("obama2")),
        person("obama2"),
        person("obama3"),
    ];
    let (_dir, terminal, mut client) = start(&frames, "").await;
    let body = json!({"subject_id": "anna", "timeout_ms": 5000});
    let answer = client.ask("enroll_mode", &body).await;
    assert_eq!((code(&answer), &answer["subject_id"]), ((200, ""), &json!("anna")), "{answer}");
    let templates = answer["templates"].as_u64().unwrap();
    assert!((2..=3).contains(&templates), "{answer}");
    let subject = client.ask("subject/get", &json!({"subject_id": "anna"})).await;
    assert_eq!(subject["templates"], templates);
    // A second run replaces the templates; it does not add to them.
    let answer = client.ask("enroll_mode", &body).await;
    let again = answer["templates"].as_u64().unwrap();
    let stats = client.ask("stats", &json!({})).await;
    assert_eq!(stats["gallery"]["templates"], again, "{stats}");
    // Without an id a new one is created; the duplicate is reported.
    let answer = client.ask("enroll_mode", &json!({"timeout_ms": 1500})).await;
    assert_eq!(answer["meta"]["advice"], json!(["already_enrolled"]), "{answer}");
    assert_eq!(answer["meta"]["duplicate_of"]["subject_id"], "anna");
    assert_ne!(answer["subject_id"], "anna");

    // A subject with a group gets no new face from a client without `admin`.
    terminal.json(&["gallery", "update", "anna", "--groups", "staff"]);
    let before = client.gallery().await;
    let asked = Instant::now();
    let answer = client.ask("enroll_mode", &body).await;
    assert_eq!(code(&answer), (403, "PERMISSION_DENIED"));
    assert!(asked.elapsed() < Duration::from_secs(4), "refused only after the poses were taken");
    assert_eq!(client.gallery().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn enroll_mode_fails_on_two_people() {
    let frames = [person("obama"), person("biden")];
    let (_dir, _terminal, mut client) = start(&frames, "").await;
    let before = client.gallery().await;
    let answer = client.ask("enroll_mode", &json!({"timeout_ms": 10_000})).await;
    assert_eq!(code(&answer), (200, "FAIL_ON_8"), "{answer}");
    let (_dir, _terminal, mut two) = start(&[pictures::two_people()], "").await;
    let answer = two.ask("enroll_mode", &json!({"timeout_ms": 1000})).await;
    assert_eq!(code(&answer), (200, "FAIL_ON_8"), "{answer}");
    assert_eq!(client.gallery().await, before);
}

/// `replayed.jpg` is a portrait on the screen of a telephone.
#[tokio::test(flavor = "multi_thread")]
async fn enroll_mode_refuses_a_replayed_portrait() {
    let screen = image::open(terminal::portrait("replayed")).unwrap().to_rgb8();
    let (_dir, _terminal, mut client) = start(&[screen], "").await;
    let body = json!({"timeout_ms": 1500, "is_liveness": true, "validate_liveness": true});
    let answer = client.ask("enroll_mode", &body).await;
    assert_eq!(code(&answer), (200, "FAIL_ON_1"), "{answer}");
    let stats = client.ask("stats", &json!({})).await;
    assert_eq!(stats["gallery"]["subjects"], 0);
    // Without `validate_liveness` the status is reported and does not fail the request.
    let answer = client.ask("enroll_mode", &json!({"timeout_ms": 1500, "is_liveness": true})).await;
    assert_eq!((code(&answer), &answer["liveness"]["status"]), ((200, ""), &json!(false)));
}

/// A client that may not search learns nothing about other subjects by enrolling.
#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_reported_only_with_search_or_admin() {
    for (permissions, shown) in [
        (r#"["enroll", "search"]"#, true),
        (r#"["enroll", "admin"]"#, true),
        (r#"["enroll", "verify"]"#, false),
    ] {
        let more = format!("permissions = {permissions}\n");
        let (_dir, _terminal, mut client) = start(&[person("obama2")], &more).await;
        let face = pictures::face("obama");
        let anna = client.ask("enroll", &json!({"image": face, "subject_id": "anna"})).await;
        assert_eq!((code(&anna), anna["meta"].get("duplicate_of")), ((200, ""), None));
        // The subject's own face is not a duplicate.
        let anna = client.ask("enroll", &json!({"image": face, "subject_id": "anna"})).await;
        assert_eq!(anna["meta"].get("duplicate_of"), None);
        for (operation, body) in [
            ("enroll", json!({"image": "camera:", "subject_id": "bob"})),
            ("enroll_mode", json!({"timeout_ms": 1000, "subject_id": "carl"})),
        ] {
            let answer = client.ask(operation, &body).await;
            assert_eq!(code(&answer), (200, ""), "{answer}");
            let advice = answer["meta"]["advice"].as_array().unwrap();
            assert_eq!(
                advice.contains(&json!("already_enrolled")),
                shown,
                "{permissions} {answer}"
            );
            let duplicate = &answer["meta"]["duplicate_of"];
            assert_eq!(duplicate.is_object(), shown);
            assert_eq!(duplicate["similarity"].as_f64().is_some_and(|value| value >= 82.0), shown);
        }
    }
    let (_dir, _terminal, mut client) =
        start(&[person("obama")], "permissions = [\"search\"]\n").await;
    let answer = client.ask("enroll_mode", &json!({})).await;
    assert_eq!(code(&answer), (403, "PERMISSION_DENIED"));
}

#[test]
fn command_line_captures_from_the_camera() {
    let dir = folder(&[person("obama")]);
    let terminal = Terminal::prepare(&format!("{}rotate = 90\n", playing(dir.path())));
    let probed = terminal.json(&["camera", "probe"]);
    assert_eq!(probed["status"]["state"], "streaming", "{probed}");
    let size = probed["picture"].as_str().unwrap().to_owned();
    let fps = probed["status"]["fps"].as_f64().unwrap();
    assert!((5.0..=12.0).contains(&fps), "{probed}");
    let file = terminal.file("shot.jpg");
    let taken = terminal.json(&["camera", "snapshot", file.to_str().unwrap()]);
    let (width, height) = image::image_dimensions(&file).unwrap();
    assert_eq!(format!("{width}x{height}"), size);
    assert_eq!(taken["size"], size.as_str());
    assert!(width > height, "the portrait was not turned");
    assert!(terminal.json(&["camera", "list"])["devices"].is_array());

    // Enrolment from the camera works without a daemon.
    let upright = Terminal::prepare(&playing(dir.path()));
    let answer = upright.json(&["enroll", "camera:", "--subject-id", "anna"]);
    assert_eq!(answer["status"], 200, "{answer}");

    let exit = |terminal: &Terminal, arguments: &[&str]| {
        let output = terminal.cli(arguments);
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (status, said) = exit(&Terminal::prepare(""), &["camera", "snapshot", "a.jpg"]);
    assert!(status == Some(2) && said.contains("camera.source"), "{status:?} {said}");
    let missing = ["camera", "snapshot", "a.jpg", "--source", "/dev/video-not-there"];
    let (status, said) = exit(&terminal, &missing);
    assert!(status == Some(4) && said.contains("camera list"), "{status:?} {said}");
}

/// Replays clips of real people, as AVI and as concatenated JPEGs.
#[tokio::test(flavor = "multi_thread")]
async fn clips_of_real_people_are_enrolled_and_verified() {
    let Some(data) = terminal::data("clips_of_real_people_are_enrolled_and_verified") else {
        return;
    };
    for (clip, file) in [("wolf_b.mp4", "door.avi"), ("lestari_real.mp4", "door.mjpeg")] {
        let dir = tempfile::tempdir().unwrap();
        let video = dir.path().join(file);
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(data.join("clips").join(clip))
            .args(["-an", "-c:v", "mjpeg", "-q:v", "3", "-vf", "scale=-2:480"])
            .arg(&video)
            .status();
        assert!(made.is_ok_and(|status| status.success()), "ffmpeg (Debian: apt install ffmpeg)");
        let terminal = Terminal::start(&playing(&video));
        let mut client = Client::connect(&terminal).await;
        let body = json!({"subject_id": "anna", "timeout_ms": 10_000, "is_liveness": true});
        let answer = client.ask("enroll_mode", &body).await;
        assert_eq!(code(&answer), (200, ""), "{clip}: {answer}");
        println!(
            "{clip}: {} templates in {} ms, liveness of the worst {}",
            answer["templates"],
            answer["meta"]["timings_ms"]["total"],
            answer["liveness"]["probability"]
        );
        let verified =
            client.ask("verify", &json!({"image": "camera:", "subject_id": "anna"})).await;
        assert_eq!(verified["similarity_status"], true, "{clip}: {verified}");
        let camera = &client.ask("health", &json!({})).await["camera"];
        assert_eq!(
            (&camera["state"], &camera["short"]),
            (&json!("streaming"), &json!(0)),
            "{clip}"
        );
    }
}
