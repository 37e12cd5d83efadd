//! Formats figures as Markdown tables, each with the commands that made it.

use super::report::Report;
use super::{AccuracyError, Measured};

type Table = Result<String, AccuracyError>;

/// Formats rows below a header.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let rule = format!("|{}\n", "---|".repeat(header.len()));
    let rows: String = rows.iter().map(|row| line(row)).collect();
    line(&header) + &rule + &rows
}

fn with_commands<'a>(table: String, measured: impl IntoIterator<Item = &'a Measured>) -> String {
    let commands: Vec<&str> =
        measured.into_iter().map(|measured| measured.command.as_str()).collect();
    format!("{table}\n```sh\n{}\n```\n", commands.join("\n"))
}

/// Formats `3 of 320, 0.9 % (0.3–2.7)`; the interval as printed, or Wilson's for 95 %.
pub fn of(k: u64, n: u64, interval: Option<[f64; 2]>) -> String {
    if n == 0 {
        return "–".into();
    }
    let [low, high] = interval.unwrap_or_else(|| {
        let (z, n, share) = (1.959_964f64, n as f64, k as f64 / n as f64);
        let spread = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
        [-spread, spread]
            .map(|d| ((share + z * z / (2.0 * n) + d) / (1.0 + z * z / n)).clamp(0.0, 1.0))
    });
    let share = 100.0 * k as f64 / n as f64;
    format!("{k} of {n}, {share:.1} % ({:.1}–{:.1})", 100.0 * low, 100.0 * high)
}

/// Formats a count from a result, with the interval of this name.
fn counted(
    of_set: &Measured,
    way: &[&str],
    k: &str,
    n: &str,
    interval: &str,
) -> Result<String, AccuracyError> {
    let at = |name| [way, &[name]].concat();
    let bounds = of_set.at(&at(interval))?.as_array().and_then(|bounds| match bounds.as_slice() {
        [low, high] => Some([low.as_f64()?, high.as_f64()?]),
        _ => None,
    });
    Ok(of(of_set.count(&at(k))?, of_set.count(&at(n))?, bounds))
}

fn shown(number: Option<f64>) -> String {
    number.map_or("–".into(), |number| format!("{number:.4}"))
}

/// Returns the set's name, marked when the weights were fitted on it.
fn named(of_set: &Measured, report: Option<&Report>) -> String {
    match report.is_some_and(|report| report.knows(&of_set.set)) {
        true => format!("{} (fitted on it)", of_set.set),
        false => of_set.set.clone(),
    }
}

/// Faces found, per set.
pub fn detection(sets: &[Measured]) -> Table {
    let mut rows = Vec::new();
    for set in sets {
        rows.push(vec![
            set.set.clone(),
            format!("{} of {}", set.count(&["found"])?, set.count(&["faces"])?),
            set.count(&["false"])?.to_string(),
            counted(set, &[], "nface_right", "images", "nface_right_95")?,
        ]);
    }
    let header = ["set", "faces found", "false", "photographs with the right number"];
    Ok(with_commands(table(&header, &rows), sets))
}

/// Presence of properties, per set.
pub fn properties(sets: &[Measured], report: Option<&Report>) -> Table {
    let mut rows = Vec::new();
    for set in sets {
        for name in set.names(&[])? {
            if set.at(&[name])?.get("positives").is_none() {
                continue;
            }
            rows.push(vec![
                named(set, report),
                name.to_owned(),
                counted(set, &[name], "hits", "positives", "tpr_95")?,
                counted(set, &[name], "false_alarms", "negatives", "fpr_95")?,
                shown(set.maybe(&[name, "auc"])?),
                set.count(&[name, "no_face"])?.to_string(),
            ]);
        }
    }
    let header = [
        "set",
        "property",
        "said where it is (TPR)",
        "said where it is not (FPR)",
        "AUC",
        "no face",
    ];
    Ok(with_commands(table(&header, &rows), sets))
}

/// Results for the photographs of each label.
pub fn quality_labels(set: &Measured) -> Table {
    let mut rows = Vec::new();
    for name in set.names(&["labels"])? {
        let mut row = vec![format!("`{name}`")];
        for count in ["n", "blur", "dark", "grayscale", "no_face"] {
            row.push(set.count(&["labels", name, count])?.to_string());
        }
        rows.push(row);
    }
    let header = ["label in LFW", "photographs", "said blurred", "dark", "grayscale", "no face"];
    Ok(with_commands(table(&header, &rows), [set]))
}

const BPCER: &str = "live refused (BPCER)";
const APCER: &str = "spoofs let in (APCER)";

/// Errors of the shipped weights, per set.
pub fn liveness(sets: &[Measured], report: &Report) -> Table {
    let mut rows = Vec::new();
    for set in sets {
        rows.push(vec![
            named(set, Some(report)),
            counted(set, &[], "refused", "live", "bpcer_95")?,
            counted(set, &[], "accepted", "spoof", "apcer_95")?,
            shown(set.maybe(&["eer"])?),
            set.count(&["no_face"])?.to_string(),
        ]);
    }
    Ok(with_commands(table(&["set", BPCER, APCER, "EER", "no face"], &rows), sets))
}

/// Accepted spoofs, per species.
pub fn species(sets: &[Measured], report: &Report) -> Table {
    let mut rows = Vec::new();
    for set in sets {
        for name in set.names(&["species"])? {
            let counted = counted(set, &["species", name], "accepted", "n", "apcer_95")?;
            rows.push(vec![named(set, Some(report)), name.to_owned(), counted]);
        }
    }
    Ok(table(&["set", "species", APCER], &rows))
}

/// Errors per person or source.
pub fn groups(sets: &[Measured], report: &Report) -> Table {
    let mut rows = Vec::new();
    for set in sets {
        for name in set.names(&["groups"])? {
            let way = ["groups", name];
            rows.push(vec![
                named(set, Some(report)),
                name.to_owned(),
                counted(set, &way, "refused", "live", "bpcer_95")?,
                counted(set, &way, "accepted", "spoof", "apcer_95")?,
            ]);
        }
    }
    Ok(table(&["set", "person or source", BPCER, APCER], &rows))
}

/// 1:1, with the face in the middle and with the largest face.
pub fn verification(columns: &[Measured; 2]) -> Table {
    let [middle, _] = columns;
    let first = format!(
        "accuracy on {} pairs at cosine {:.4} (`basic`)",
        middle.count(&["pairs"])?,
        middle.number(&["threshold_cosine"])?
    );
    let mut rows = vec![row(columns, first, &["accuracy"])?];
    for rate in middle.names(&["tar"])? {
        rows.push(row(columns, format!("TAR at FMR {rate}, all pairs"), &["tar", rate])?);
    }
    rows.push(counts(columns, &["no_face"])?);
    Ok(with_commands(table(&["1:1", "face in the middle", "largest face"], &rows), columns))
}

/// 1:N, with the face in the middle and with the largest face.
pub fn search(columns: &[Measured; 2]) -> Table {
    let [middle, _] = columns;
    let first = format!(
        "rank 1, {} mated probes against {} people",
        middle.count(&["mated"])?,
        middle.count(&["gallery"])?
    );
    let mut rows = vec![row(columns, first, &["rank1"])?];
    for rate in middle.names(&["fnir"])? {
        let what = format!("FNIR at FPIR {rate}, {} strangers", middle.count(&["non_mated"])?);
        rows.push(row(columns, what, &["fnir", rate])?);
    }
    rows.push(counts(columns, &["no_face"])?);
    Ok(with_commands(table(&["1:N", "face in the middle", "largest face"], &rows), columns))
}

fn row(columns: &[Measured; 2], what: String, way: &[&str]) -> Result<Vec<String>, AccuracyError> {
    let [middle, largest] = columns;
    Ok(vec![what, shown(middle.maybe(way)?), shown(largest.maybe(way)?)])
}

fn counts(columns: &[Measured; 2], way: &[&str]) -> Result<Vec<String>, AccuracyError> {
    let [middle, largest] = columns;
    let numbers = [middle.count(way)?, largest.count(way)?].map(|count| count.to_string());
    Ok([vec!["photographs without a face".to_owned()], numbers.to_vec()].concat())
}

/// The cosines of the similarity scale.
pub fn anchors(measured: &Measured) -> Table {
    let mut rows = Vec::new();
    for rate in measured.names(&["cosine_at_fmr"])? {
        rows.push(vec![rate.to_owned(), shown(measured.maybe(&["cosine_at_fmr", rate])?)]);
    }
    Ok(with_commands(table(&["FMR", "cosine"], &rows), [measured]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_printed_with_their_interval() {
        assert_eq!(of(0, 10, None), "0 of 10, 0.0 % (0.0–27.8)");
        assert_eq!(of(10, 100, Some([0.05, 0.2])), "10 of 100, 10.0 % (5.0–20.0)");
        assert_eq!(of(0, 0, None), "–");
        let expected = "| a | b |\n|---|---|\n| 1 | 2 |\n";
        assert_eq!(table(&["a", "b"], &[vec!["1".into(), "2".into()]]), expected);
    }
}
