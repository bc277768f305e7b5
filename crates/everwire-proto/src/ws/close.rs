//! Close codes on the wire: RFC 6455 section 7.4.

/// Whether a peer may put this code into a close frame: 1000-1003, 1007-1014 (registered) and 3000-4999.
pub fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::is_sendable;

    #[test]
    fn reserved_codes_are_refused() {
        for bad in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, u16::MAX] {
            assert!(!is_sendable(bad), "{bad}");
        }
        for good in [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999] {
            assert!(is_sendable(good), "{good}");
        }
    }
}
