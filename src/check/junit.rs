//! The findings as JUnit XML: a test case for each trace, backend and measure.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::finding::{Finding, Verdict};
use super::frame::Frame;

/// The whole file. A finding that is inconclusive or not comparable is a skipped test, a measure
/// that could not be measured is an error.
pub fn junit(frame: &Frame, findings: &[Finding]) -> String {
    let mut suite = TestSuite::new("heaplay check");
    suite.set_time(seconds(frame.seconds));
    suite.add_test_cases(findings.iter().map(test_case));
    let mut report = Report::new("heaplay");
    report.add_test_suite(suite);
    // Writing to memory does not fail, and the crate removes what XML does not allow.
    report.to_string().unwrap_or_default()
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn test_case(finding: &Finding) -> TestCase {
    let backend = if finding.backend.is_empty() { "trace" } else { &finding.backend };
    let mut case = TestCase::new(finding.measure.clone(), status(finding));
    case.set_classname(format!("{}.{backend}", finding.trace.replace('.', "_")));
    let measured = finding.evidence.as_ref().map_or(0.0, |evidence| evidence.seconds);
    case.set_time(seconds(measured));
    if matches!(finding.verdict, Verdict::Warn | Verdict::Accepted) {
        case.set_system_out(format!("{}: {}", finding.verdict.name(), description(finding)));
    }
    case
}

fn status(finding: &Finding) -> TestCaseStatus {
    let non_success = |kind| {
        let mut status = TestCaseStatus::non_success(kind);
        status.set_message(finding.sentence()).set_description(description(finding));
        status
    };
    match finding.verdict {
        Verdict::Fail => non_success(NonSuccessKind::Failure),
        Verdict::Missing => non_success(NonSuccessKind::Error),
        Verdict::Inconclusive | Verdict::Skipped => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(format!("{}: {}", finding.verdict.name(), finding.sentence()));
            status
        }
        Verdict::Warn
        | Verdict::Accepted
        | Verdict::Better
        | Verdict::Pass
        | Verdict::Identical => TestCaseStatus::success(),
    }
}

/// The finding with the command that measures it again.
fn description(finding: &Finding) -> String {
    match finding.reproduce.as_str() {
        "" => finding.sentence(),
        command => format!("{}\nagain: {command}", finding.sentence()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_has_its_element() {
        let of = |verdict| Finding {
            reproduce: "heaplay check 'a b'".into(),
            ..Finding::bare("t.1", "so:<x>&\u{1}\"y\"", "time", verdict, "why\nnot")
        };
        let findings: Vec<Finding> = Verdict::ALL.into_iter().map(of).collect();
        let text = junit(&Frame { seconds: 1.5, ..Frame::default() }, &findings);
        for part in [
            "<testsuite name=\"heaplay check\" tests=\"9\" skipped=\"2\" errors=\"1\" failures=\"1\"",
            "time=\"1.500\"",
            "name=\"time\" classname=\"t_1.so:&lt;x&gt;&amp;&quot;y&quot;\"",
            "<failure message=\"time: why",
            "<error message=\"time: why",
            "<skipped message=\"inconclusive: time: why",
            "<skipped message=\"skipped: time: why",
            "<system-out>warn: time: why\nnot\nagain: heaplay check &apos;a b&apos;</system-out>",
            "<system-out>accepted: ",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1}') && text.trim_end().ends_with("</testsuites>"), "{text}");
    }
}
