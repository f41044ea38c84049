//! Whole numbers as options take them. A refusal says what was expected, with an example.

use std::ops::RangeInclusive;

/// Reads a whole number in a range, which is a number of `what`.
pub fn whole<T: TryFrom<u64>>(
    what: &'static str,
    range: RangeInclusive<u64>,
    example: u64,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let number = text.trim().parse::<u64>().ok().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            let bounds = match *high {
                u64::MAX => format!("of {low} or more"),
                _ => format!("from {low} to {high}"),
            };
            format!("expected {what} {bounds}, such as {example}")
        })
    }
}

/// Reads the seed of random choices.
pub fn seed(text: &str) -> Result<u64, String> {
    whole("a whole number", 0..=u64::MAX, 7)(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_out_of_range_is_refused_with_an_example() {
        let pairs = whole::<u16>("a number of pairs", 5..=300, 30);
        assert_eq!((pairs("5"), pairs("300")), (Ok(5), Ok(300)));
        let refusal = Err("expected a number of pairs from 5 to 300, such as 30".to_owned());
        for text in ["", "x", "-1", "4", "301", "1e2", "99999999999999999999"] {
            assert_eq!(pairs(text), refusal, "{text}");
        }
        assert_eq!(seed("0"), Ok(0));
        assert!(seed("-1").unwrap_err().contains("of 0 or more, such as 7"));
        // A range beyond the type is no reason to cut the number.
        assert!(whole::<u8>("a number", 0..=1000, 1)("256").is_err());
    }
}
