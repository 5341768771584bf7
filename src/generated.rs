//! Pages of documentation of which a part is made from tables of the program.

const END: &str = "<!-- end of the generated part -->\n";

/// Expects the part of a page that is generated from `source` to be `part`. With UPDATE_DOCS in the environment
/// it is written instead; `test` is what to run for that.
pub(crate) fn expect_part(page: &str, source: &str, test: &str, part: &str) {
    let path = format!("{}/docs/{page}", env!("CARGO_MANIFEST_DIR"));
    let how = format!("UPDATE_DOCS=1 cargo test -p mcpd {test}");
    let begin = format!("<!-- generated from {source}; {how} rewrites it -->\n");
    let text = std::fs::read_to_string(&path).unwrap();
    let (intro, rest) = text.split_once(&begin).expect("the begin marker");
    let (_, outro) = rest.split_once(END).expect("the end marker");
    let fresh = format!("{intro}{begin}{part}\n{END}{outro}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, fresh).unwrap();
    } else {
        assert!(
            text == fresh,
            "docs/{page} differs from {source}; run `{how}` and commit the result"
        );
    }
}
