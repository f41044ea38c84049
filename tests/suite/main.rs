//! All integration tests, in one program. A module's name says what it proves.

mod allocators_behave_as_documented;
mod backends_keep_the_allocator_contract;
mod check_finds_injected_regressions;
mod code_holds_its_rules;
mod footprint_adds_up;
mod freelist_matches_cpython;
mod freelist_matches_reference;
mod imported_logs_are_exact;
mod inspect_matches_python_count;
mod pymalloc_is_as_fast_as_cpython;
mod pymalloc_matches_cpython;
mod pymalloc_state_is_no_larger;
mod raw_logs_decode;
mod recorder_sees_every_call;
mod reference_pages_match_code;
mod runs_are_complete_and_resumable;
mod slow_calls_are_named;
mod snapshots_match_tracemalloc;
mod statistics_match_scipy;
mod support;
mod trace_formats_round_trip;
mod verify_matches_cpython;
