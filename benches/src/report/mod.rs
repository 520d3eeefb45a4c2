//! Results as pages with plots.
pub fn single(_: &crate::outcome::Outcome) -> String {
    String::new()
}
pub fn comparison(_: &crate::compare::Results) -> String {
    String::new()
}
pub fn write(file: &std::path::Path, page: &str) -> anyhow::Result<()> {
    Ok(std::fs::write(file, page)?)
}
pub fn convert(_: &std::path::Path, _: &std::path::Path) -> anyhow::Result<()> {
    Ok(())
}
