//! Durations for people.

/// `4.2 s`, `42 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(secs: f64) -> String {
    let whole = secs as u64;
    match whole {
        0..10 => format!("{secs:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_units_that_people_use() {
        let written = [4.2, 42.9, 200.0, 7500.0].map(duration);
        assert_eq!(written, ["4.2 s", "42 s", "3 min 20 s", "2 h 5 min"]);
    }
}
