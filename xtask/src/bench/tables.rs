//! Formats the report of a comparison as tables.

use super::BenchError;
use serde_json::Value;

/// Each workload's name in the report and in the table.
const WORKS: [(&str, &str); 5] = [
    ("yunet", "YuNet, 320×320"),
    ("sface", "SFace, 112×112"),
    ("minifasnet", "MiniFASNet, both, 80×80"),
    ("verify", "a whole verify, 640×480"),
    ("search", "1:N, 1,000,000 × 128"),
];
/// A ratio's key, its description, and its upper bound.
const BARS: [(&str, &str, &str); 13] = [
    ("yunet", "YuNet, as shipped", "0.60"),
    ("sface", "SFace, as shipped", "0.40"),
    ("minifasnet", "MiniFASNet, both, as shipped", "0.40"),
    ("yunet_f32", "YuNet, our own f32", "1.10"),
    ("sface_f32", "SFace, our own f32", "1.10"),
    ("minifasnet_f32", "MiniFASNet, both, our own f32", "1.10"),
    ("verify", "a whole verify", "0.45"),
    ("search_1m_128_vs_flat", "1:N, to faiss IndexFlatIP", "0.40"),
    ("search_1m_128_vs_sq8", "1:N, to faiss SQ8", "0.80"),
    ("search_1m_128_vs_usearch", "1:N, to usearch, exact", ""),
    ("yunet_vs_ncnn_bf16", "YuNet, as shipped, to ncnn in bf16", ""),
    ("sface_vs_ncnn_bf16", "SFace, as shipped, to ncnn in bf16", ""),
    ("minifasnet_vs_ncnn_bf16", "MiniFASNet, as shipped, to ncnn in bf16", ""),
];

/// Returns the tables by the names of their places in the document.
pub fn of(report: &Value) -> Result<[(&'static str, String); 3], BenchError> {
    Ok([
        ("peers-machine", machine(report)?),
        ("peers-ratios", ratios(report)?),
        ("peers", times(report)?),
    ])
}

/// Returns the value at a path through the report.
pub fn at<'a>(report: &'a Value, way: &[&str]) -> Result<&'a Value, BenchError> {
    way.iter()
        .try_fold(report, |value, name| value.get(name))
        .ok_or_else(|| BenchError::Report(way.join(".")))
}

fn number(report: &Value, way: &[&str]) -> Result<f64, BenchError> {
    at(report, way)?.as_f64().ok_or_else(|| BenchError::Report(way.join(".")))
}

fn names<'a>(report: &'a Value, way: &[&str]) -> Result<Vec<&'a str>, BenchError> {
    let object = at(report, way)?.as_object();
    let object = object.ok_or_else(|| BenchError::Report(way.join(".")))?;
    Ok(object.keys().map(String::as_str).collect())
}

fn machine(report: &Value) -> Result<String, BenchError> {
    let text = |name| {
        let value = at(report, &["machine", name])?;
        Ok::<_, BenchError>(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let packages = names(report, &["machine", "packages"])?;
    let packages = packages.into_iter().map(|name| {
        let version = at(report, &["machine", "packages", name])?;
        Ok::<_, BenchError>(format!("{name} {}", version.as_str().unwrap_or_default()))
    });
    Ok(format!(
        "{}, {} cores, all of them bound to one; doorward on `{}`; {}.\n",
        text("processor")?,
        text("cores")?,
        text("level")?,
        packages.collect::<Result<Vec<_>, _>>()?.join(", ")
    ))
}

fn ratios(report: &Value) -> Result<String, BenchError> {
    let mut table = String::from(
        "| our time to the best peer's | medians | fastest passes | bar |\n|---|---|---|---|\n",
    );
    for (key, what, bar) in BARS {
        let shown = |way: &[&str]| {
            let ratio = at(report, way)?.as_f64();
            Ok::<_, BenchError>(ratio.map_or("no peer".to_owned(), |ratio| format!("{ratio:.2}")))
        };
        let medians = shown(&["ratios", key])?;
        let fastest = shown(&["ratios", "by_fastest_pass", key])?;
        let bar = if bar.is_empty() { String::new() } else { format!("≤ {bar}") };
        table += &format!("| {what} | **{medians}** | {fastest} | {bar} |\n");
    }
    let recall = number(report, &["ratios", "recall_at_10"])?;
    table += &format!("| 1:N, recall@10 | **{recall:.4}** | | ≥ 0.999 |\n");
    Ok(table)
}

fn times(report: &Value) -> Result<String, BenchError> {
    let mut table = String::from(
        "| work | who | ms, median | fastest pass | turns | doorward by it | doorward in f32 by it | agreement |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for (work, title) in WORKS {
        let way = ["works", work];
        let ours = |name: &str| number(report, &[way[0], way[1], name, "median_ms"]).ok();
        let ours = [ours("doorward"), ours("doorward-f32")];
        for (index, name) in names(report, &way)?.into_iter().enumerate() {
            let row = at(report, &[way[0], way[1], name])?;
            let title = if index == 0 { title } else { "" };
            table += &format!("| {title} | {name} | {} |\n", cells(row, name, ours)?.join(" | "));
        }
    }
    Ok(table)
}

fn cells(row: &Value, name: &str, ours: [Option<f64>; 2]) -> Result<[String; 6], BenchError> {
    if let Some(why) = row.get("left_out") {
        let why = why.as_str().unwrap_or_default().replace('|', "/");
        let [a, b, c, d, e] = Default::default();
        return Ok([a, b, c, d, e, why]);
    }
    let median = number(row, &["median_ms"])?;
    let turns = [number(row, &["fastest_turn_ms"])?, number(row, &["slowest_turn_ms"])?];
    let by = |ours: Option<f64>| match ours {
        Some(ours) if !name.starts_with("doorward") => format!("{:.2}", ours / median),
        _ => String::new(),
    };
    let unit = at(row, &["unit"])?.as_str().unwrap_or_default();
    let agrees = at(row, &["agrees"])? == &Value::Bool(true);
    Ok([
        format!("{median:.2}"),
        format!("{:.2}", number(row, &["fastest_ms"])?),
        format!("{:.2}–{:.2}", turns[0], turns[1]),
        by(ours[0]),
        by(ours[1]),
        format!(
            "{:.4} {unit}{}",
            number(row, &["figure"])?,
            if agrees { "" } else { ": too far off, counts for no ratio" }
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn losses_and_failed_peers_stay_in_the_table() {
        let ours = [Some(3.0), None];
        let row = json!({
            "median_ms": 2.0, "fastest_ms": 1.25, "fastest_turn_ms": 1.5, "slowest_turn_ms": 2.5,
            "figure": 0.25, "unit": "px", "agrees": true,
        });
        let shown = cells(&row, "onnxruntime", ours).unwrap();
        assert_eq!(shown, ["2.00", "1.25", "1.50–2.50", "1.50", "", "0.2500 px"]);
        assert_eq!(cells(&row, "doorward", ours).unwrap()[3], "");
        let shown = cells(&json!({"left_out": "a | b"}), "ncnn", ours).unwrap();
        assert_eq!(shown[5], "a / b");
        assert!(cells(&json!({}), "ncnn", ours).is_err());
    }

    #[test]
    fn an_inaccurate_peer_is_marked() {
        let row = json!({
            "median_ms": 2.0, "fastest_ms": 1.25, "fastest_turn_ms": 1.5, "slowest_turn_ms": 2.5,
            "figure": 9.0, "unit": "px", "agrees": false,
        });
        let shown = cells(&row, "onnxruntime-int8", [Some(3.0), Some(2.0)]).unwrap();
        assert!(shown[5].contains("no ratio"), "{}", shown[5]);
    }
}
