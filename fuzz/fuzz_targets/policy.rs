//! Arbitrary text as a policy gives an error that names a line, or margins that are percentages.
#![no_main]

use heaplay::check::{MEASURES, Policy};
use heaplay::results::Metric;

libfuzzer_sys::fuzz_target!(|text: &str| match Policy::read(text) {
    Err(error) => {
        assert!(error.line >= 1 && error.line <= text.matches('\n').count() + 1, "{error}");
        assert!(!error.reason.is_empty());
    }
    Ok(policy) => {
        let named = MEASURES.iter().map(|measure| measure.name);
        for measure in named.chain([Metric::ResidentEndBytes.name()]) {
            let margin = policy.margin(measure);
            assert!(margin.fail.is_finite() && margin.fail >= 0.0 && margin.pass.is_finite());
        }
        assert!(policy.error_budget() > 0.0 && policy.error_budget() < 0.5);
        policy.accept(&mut [], 0);
    }
});
