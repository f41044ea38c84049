//! A moment as people write it, in UTC.

/// Year, month and day of a count of seconds since 1970, after Hinnant's `civil_from_days`
/// (howardhinnant.github.io/date_algorithms.html). Moments after the year 200,000 are taken for its
/// last day.
pub fn civil_date(unix_seconds: u64) -> (i64, i64, i64) {
    let days = i64::try_from(unix_seconds / 86_400).unwrap_or(i64::MAX).min(72_000_000) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::civil_date;

    #[test]
    fn dates() {
        // `date -u -d @0 +%F` and the like.
        assert_eq!(civil_date(0), (1970, 1, 1));
        assert_eq!(civil_date(11_016 * 86_400), (2000, 2, 29));
        assert_eq!(civil_date(20_779 * 86_400 + 86_399), (2026, 11, 22));
        assert!((1..=12).contains(&civil_date(u64::MAX).1), "no panic");
    }
}
