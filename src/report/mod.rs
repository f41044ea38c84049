//! Room `report`: pictures and tables drawn from a run record alone. `chart.rs` is the contract, each chart is a file, this is the list.
