//! All backends with their settings as plain data: the source of the generated reference. Nothing
//! is opened, and no child is started.

use serde::Serialize;

use super::list::{BACKENDS, is_optional};
use super::optional::OPTIONAL;
use super::setting::Setting;

/// One backend of the reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendReference {
    /// The name in a spec.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// The default layer below; `None` for a backend without a layer below.
    pub below: Option<&'static str>,
    /// Whether a build may leave it out: it needs the feature of its name.
    pub is_optional: bool,
    /// Where the allocator reads its settings; `None` where heaplay applies them itself, and without
    /// settings.
    pub settings_read_from: Option<&'static str>,
    /// The settings, in the order of `heaplay backends NAME`.
    pub settings: Vec<SettingReference>,
}

/// One setting of the reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingReference {
    /// The key.
    pub name: &'static str,
    /// The values that it takes, with their unit.
    pub values: &'static str,
    /// The value that the allocator uses without the setting.
    pub default: &'static str,
    /// The effect, in a line.
    pub meaning: &'static str,
}

/// Every backend, by name. The list is the same in every build: it also has the backends that this
/// build has left out.
pub fn reference() -> Vec<BackendReference> {
    let compiled_in = BACKENDS.iter().map(|member| BackendReference {
        name: member.name,
        summary: member.summary,
        below: member.below,
        is_optional: is_optional(member.name),
        settings_read_from: member.settings_read_from,
        settings: settings(member.settings),
    });
    let optional = OPTIONAL.iter().map(|optional| BackendReference {
        name: optional.name,
        summary: optional.summary,
        below: None,
        is_optional: true,
        settings_read_from: optional.settings_read_from,
        settings: settings(optional.settings),
    });
    let mut all: Vec<BackendReference> = compiled_in.chain(optional).collect();
    all.sort_by_key(|backend| backend.name);
    all.dedup_by_key(|backend| backend.name);
    all
}

fn settings(settings: &[Setting]) -> Vec<SettingReference> {
    settings
        .iter()
        .map(|setting| SettingReference {
            name: setting.name,
            values: setting.values,
            default: setting.default,
            meaning: setting.meaning,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_is_there_once_with_its_settings() {
        let all = reference();
        let names: Vec<&str> = all.iter().map(|backend| backend.name).collect();
        for name in BACKENDS.iter().map(|member| member.name).chain(["scudo", "tcmalloc"]) {
            assert_eq!(names.iter().filter(|other| **other == name).count(), 1, "{name}");
        }
        for backend in &all {
            let has_settings = !backend.settings.is_empty();
            assert!(has_settings || backend.settings_read_from.is_none(), "{}", backend.name);
            assert!(backend.settings.iter().all(|setting| !setting.values.is_empty()));
        }
    }
}
