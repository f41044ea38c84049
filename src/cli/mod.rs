//! Room `cli`: the verbs, one file each. Verbs reach every room but `recorder`.

pub mod backends;
