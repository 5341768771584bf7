//! The CPU time of the process to the nanosecond: the collector of `process_*` counts whole seconds, and what a quiet
//! server uses in a minute would look like nothing, and then like far too much.

use rustix::time::{ClockId, clock_gettime};

const LINE: &str = "\nprocess_cpu_seconds_total ";

/// Writes the time that was really used into its line of the page, where there is one.
pub(super) fn refine(page: String) -> String {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let lines = page.split_once(LINE);
    let lines = lines.and_then(|(before, from)| Some((before, from.split_once('\n')?.1)));
    match lines {
        Some((before, after)) => {
            let (seconds, nanoseconds) = (used.tv_sec, used.tv_nsec);
            format!("{before}{LINE}{seconds}.{nanoseconds:09}\n{after}")
        }
        None => page,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(page: &str) -> f64 {
        let line = page.lines().find(|line| line.starts_with("process_cpu"));
        line.unwrap().split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn what_takes_less_than_a_second_is_seen() {
        let page =
            "a 1\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 0\nz 2\n";
        let first = refine(page.to_owned());
        assert!(value(&first) > 0.0, "{first}");
        assert!(first.starts_with("a 1\n# TYPE process_cpu_seconds_total counter\n"));
        assert!(first.ends_with("\nz 2\n"));
        // More work than the clock's resolution, and it never goes back.
        let mut second = refine(page.to_owned());
        for _ in 0..1000 {
            second = refine(page.to_owned());
        }
        assert!(value(&second) > value(&first));
    }

    #[test]
    fn a_page_without_it_stays_as_it_is() {
        for page in ["", "a 1\n", "\nprocess_cpu_seconds_total 7"] {
            assert_eq!(refine(page.to_owned()), page);
        }
    }
}
