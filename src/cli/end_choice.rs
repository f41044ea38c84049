//! The option `--at`: which moment counts as the end of a trace.

use std::path::Path;
use std::str::FromStr;

use anyhow::bail;

use crate::results::{EndKind, EndPoint};
use crate::spec::did_you_mean;
use crate::trace::{EndCause, Header, Plateau, ProcessRecord};

/// Before the name of a mark.
const MARK: &str = "mark:";

/// Which moment counts as the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EndChoice {
    /// Where the process begins to end, if the trace knows; else after the last call.
    #[default]
    Process,
    /// After the last call.
    LastCall,
    /// At the live peak.
    Peak,
    /// At the end of the longest plateau of live bytes.
    Plateau,
    /// At the program's first mark of that name, or at a later one (`burst#3`).
    Mark(String),
}

impl FromStr for EndChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<EndChoice, String> {
        match text {
            "end" => Ok(EndChoice::Process),
            "last-call" => Ok(EndChoice::LastCall),
            "peak" => Ok(EndChoice::Peak),
            "plateau" => Ok(EndChoice::Plateau),
            _ => match text.strip_prefix(MARK).filter(|name| !name.is_empty()) {
                Some(name) => Ok(EndChoice::Mark(name.to_owned())),
                None => Err(format!(
                    "expected end, last-call, peak, plateau or mark:NAME{}; `heaplay inspect TRACE` lists \
                     the marks",
                    did_you_mean(text, ["end", "last-call", "peak", "plateau"])
                )),
            },
        }
    }
}

/// The option.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct EndArgs {
    /// The moment that counts as the end: `end` is where the program begins to end, before the
    /// interpreter finalises itself or the process exits, if the trace knows that, and else the last
    /// call; `plateau` is the end of the longest part in which live bytes stay within 10 %;
    /// `last-call`, `peak` and `mark:NAME` are other moments. Of several marks of a name `mark:NAME` is
    /// the first and `mark:NAME#2` the second
    #[arg(long, value_name = "MOMENT", default_value = "end")]
    pub at: EndChoice,
}

impl EndChoice {
    /// The moment in a trace of so many calls, whose live peak is at `live_peak_event`; `None` for the
    /// last call. `plateau` is called if it is wanted.
    ///
    /// # Errors
    /// A mark that the trace does not have, or has before its first call. No plateau.
    pub fn end_point(
        &self,
        path: &Path,
        header: &Header,
        process: &ProcessRecord,
        (calls, live_peak_event): (u64, u64),
        plateau: impl FnOnce() -> Option<Plateau>,
    ) -> anyhow::Result<Option<EndPoint>> {
        let found = match self {
            EndChoice::LastCall => None,
            EndChoice::Process => process.end.map(|end| EndPoint {
                event: end.event,
                kind: match end.cause {
                    EndCause::Finalisation => EndKind::Finalisation,
                    EndCause::Exit => EndKind::Exit,
                },
            }),
            EndChoice::Peak => Some(EndPoint { event: live_peak_event + 1, kind: EndKind::Peak }),
            EndChoice::Plateau => {
                let Some(plateau) = plateau() else {
                    bail!(
                        "{}: no plateau: live bytes stay within 10 % in no tenth of the calls; \
                         expected another moment for --at: peak, last-call or mark:NAME",
                        path.display()
                    );
                };
                let kind = EndKind::Plateau { from_event: plateau.from_event };
                Some(EndPoint { event: plateau.until_event, kind })
            }
            EndChoice::Mark(name) => {
                let marks = header.marks();
                let Some(event) = mark_event(name, &marks) else {
                    bail!("{}: {}", path.display(), no_mark(name, &marks));
                };
                if event == 0 {
                    bail!(
                        "{}: the mark `{name}` is before the first call; choose a later one",
                        path.display()
                    );
                }
                Some(EndPoint { event, kind: EndKind::Mark { name: name.clone() } })
            }
        };
        Ok(found.filter(|end| end.event > 0 && end.event < calls))
    }
}

/// Why a mark is not there, and which are.
/// The event of the first mark of a name; of `NAME#3`, that of the third one of that name.
fn mark_event(name: &str, marks: &[(u64, String)]) -> Option<u64> {
    let nth = |name: &str, at: usize| {
        marks.iter().filter(|(_, known)| known == name).nth(at).map(|(event, _)| *event)
    };
    nth(name, 0).or_else(|| {
        let (name, number) = name.rsplit_once('#')?;
        nth(name, number.parse::<usize>().ok()?.checked_sub(1)?)
    })
}

/// That there is no such mark, and which there are.
pub fn no_mark(name: &str, marks: &[(u64, String)]) -> String {
    const LISTED_MAX: usize = 8;
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for (_, other) in marks {
        match counts.iter_mut().find(|(known, _)| known == other) {
            Some((_, count)) => *count += 1,
            None => counts.push((other, 1)),
        }
    }
    let known = counts.iter().take(LISTED_MAX).map(|(name, count)| match count {
        1 => (*name).to_owned(),
        _ => format!("{name} ({count} times: {name}#2 is the second)"),
    });
    let known: Vec<String> = known.collect();
    if known.is_empty() {
        return format!("no mark `{name}`: the trace has no marks; `heaplay.mark(NAME)` sets them");
    }
    format!("no mark `{name}`; it has {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::EndMoment;

    fn header(marks: &str) -> Header {
        let mut header = Header::default();
        header.facts.insert("marks".into(), marks.into());
        header
    }

    fn point(choice: &str, process: &ProcessRecord) -> anyhow::Result<Option<EndPoint>> {
        let header = header(r#"[[0,"begin"],[40,"loaded"],[70,"loaded"]]"#);
        let choice: EndChoice = choice.parse().map_err(anyhow::Error::msg)?;
        let plateau = || Some(Plateau { from_event: 20, until_event: 80 });
        choice.end_point(Path::new("a.trace"), &header, process, (100, 59), plateau)
    }

    #[test]
    fn the_end_is_the_process_s_own_or_the_chosen_one() {
        let end = Some(EndMoment { event: 90, cause: EndCause::Finalisation });
        let known = ProcessRecord { end, ..ProcessRecord::NONE };
        let nothing = ProcessRecord::NONE;
        let at = |choice, process| point(choice, process).unwrap().map(|end| end.event);
        assert_eq!(at("end", &known), Some(90));
        assert_eq!(at("end", &nothing), None);
        assert_eq!(at("last-call", &known), None);
        assert_eq!(at("peak", &known), Some(60), "after the call that reaches the peak");
        assert_eq!(at("plateau", &known), Some(80), "at its end");
        assert_eq!(at("mark:loaded", &known), Some(40), "the first of that name");
        assert_eq!(at("mark:loaded#2", &known), Some(70), "the second");
        let end = Some(EndMoment { event: 100, cause: EndCause::Exit });
        assert_eq!(
            at("end", &ProcessRecord { end, ..ProcessRecord::NONE }),
            None,
            "nothing follows"
        );
    }

    #[test]
    fn a_mark_that_is_not_there_is_refused_with_those_that_are() {
        let nothing = ProcessRecord::NONE;
        let reason = |choice| point(choice, &nothing).unwrap_err().to_string();
        let known = "begin, loaded (2 times: loaded#2 is the second)";
        assert_eq!(reason("mark:load"), format!("a.trace: no mark `load`; it has {known}"));
        assert!(reason("mark:loaded#3").contains(known) && reason("mark:loaded#0").contains(known));
        assert!(reason("mark:begin").contains("before the first call"));
        const EXPECTED: &str = "expected end, last-call, peak, plateau or mark:NAME";
        const STEP: &str = "; `heaplay inspect TRACE` lists the marks";
        assert_eq!(reason("mark:"), format!("{EXPECTED}{STEP}"));
        assert_eq!(reason("peek"), format!("{EXPECTED} (did you mean `peak`?){STEP}"));
    }
}
