//! The frame of a page: head, colours for light and dark, tiles, tables.

use std::fmt::Write as _;

/// Text for HTML or SVG, in content or in a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Control characters are not allowed in a page at all.
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A page that grows from top to bottom. Everything given as text is escaped; what is given as markup is not.
pub(super) struct Page {
    title: String,
    body: String,
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Failed,
}

impl Page {
    pub(super) fn new(title: &str, verdict: Verdict, subtitle: &str) -> Self {
        let (class, word) = match verdict {
            Verdict::Passed => ("good", "passed"),
            Verdict::Failed => ("bad", "failed"),
        };
        let (title, subtitle) = (escape(title), escape(subtitle));
        let body = format!("<header><h1>{title} <span class=\"badge {class}\">{word}</span></h1><p>{subtitle}</p></header>\n");
        Self { title, body }
    }

    /// A row of large figures: what it is, how much, and a remark.
    pub(super) fn tiles(&mut self, tiles: &[(&str, String, String)]) {
        self.body.push_str("<section class=\"tiles\">");
        for (name, value, remark) in tiles {
            let (name, value, remark) = (escape(name), escape(value), escape(remark));
            self.put(format_args!(
                "<div class=\"tile\"><span>{name}</span><b>{value}</b><small>{remark}</small></div>"
            ));
        }
        self.body.push_str("</section>\n");
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.put(format_args!("<h2>{}</h2>\n", escape(text)));
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.put(format_args!("<p>{}</p>\n", escape(text)));
    }

    /// Plots side by side where there is room. `plots` are markup.
    pub(super) fn plots(&mut self, plots: &[String]) {
        self.body.push_str("<section class=\"plots\">");
        plots.iter().for_each(|plot| self.body.push_str(plot));
        self.body.push_str("</section>\n");
    }

    /// A table; the first column is text, the others are figures.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
            cells.fold(String::new(), |mut row, cell| {
                // Writing to a string cannot fail.
                write!(row, "<{tag}>{}</{tag}>", escape(cell)).ok();
                row
            })
        };
        let head = cells("th", &mut head.iter().copied());
        self.put(format_args!(
            "<div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>"
        ));
        for row in rows {
            let row = cells("td", &mut row.iter().map(String::as_str));
            self.put(format_args!("<tr>{row}</tr>"));
        }
        self.body.push_str("</tbody></table></div>\n");
    }

    /// A list of remarks; nothing if there are none.
    pub(super) fn list(&mut self, items: &[String]) {
        if items.is_empty() {
            return;
        }
        self.body.push_str("<ul>");
        for item in items {
            self.put(format_args!("<li>{}</li>", escape(item)));
        }
        self.body.push_str("</ul>\n");
    }

    pub(super) fn finish(self) -> String {
        let Self { title, body } = self;
        let version = env!("CARGO_PKG_VERSION");
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{title} · ringfort-bench</title>\n\
             <style>{STYLE}</style></head>\n<body>\n{body}<footer>ringfort-bench {version}</footer>\n</body></html>\n"
        )
    }

    fn put(&mut self, markup: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        self.body.write_fmt(markup).ok();
    }
}

/// Colours of series are told apart by people who do not see red and green as different, too.
const STYLE: &str = "
:root{--bg:#f6f7f9;--card:#fff;--ink:#1b2330;--soft:#667085;--line:#e3e7ed;--grid:#eceff3;--good:#067647;--good-bg:#dcfae6;
--bad:#b42318;--bad-bg:#fee4e2;--s0:#2563eb;--s1:#d97706;--s2:#0f9b8e;--s3:#9333ea;--s4:#64748b;--mark:#b42318}
@media(prefers-color-scheme:dark){:root{--bg:#0f141b;--card:#171e28;--ink:#e6eaf0;--soft:#93a0b4;--line:#263140;--grid:#212b38;
--good:#75e0a7;--good-bg:#0f3a26;--bad:#fda29b;--bad-bg:#4a1511;--s0:#6ea8fe;--s1:#f5b04c;--s2:#4fd1c5;--s3:#c59bff;--s4:#93a0b4;
--mark:#fda29b}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.25rem;max-width:76rem;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2rem 0 .6rem}
header p,footer{color:var(--soft);margin:.25rem 0 1.25rem;overflow-wrap:anywhere}footer{margin:2.5rem 0 0;font-size:.85rem}
.badge{font-size:.8rem;font-weight:600;padding:.15rem .6rem;border-radius:1rem;vertical-align:middle}
.good{color:var(--good);background:var(--good-bg)}.bad{color:var(--bad);background:var(--bad-bg)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem}
.tile,figure,.wide{background:var(--card);border:1px solid var(--line);border-radius:.6rem}
.tile{padding:.7rem .9rem}.tile span,.tile small{display:block;color:var(--soft);font-size:.8rem}
.tile b{font-size:1.35rem;font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,27rem),1fr));gap:.75rem;margin-top:.75rem}
figure{margin:0;padding:.7rem .8rem .4rem;min-width:0}
figcaption{font-weight:600;font-size:.92rem;display:flex;flex-wrap:wrap;gap:.1rem 1rem;align-items:baseline}
.key{font-weight:400;font-size:.8rem;color:var(--soft);white-space:nowrap}
.key i{display:inline-block;width:.7rem;height:.7rem;border-radius:.2rem;margin-right:.35rem;vertical-align:-.05rem}
svg{display:block;width:100%;height:auto;margin-top:.3rem}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}svg .name{fill:var(--ink);font-size:12px}
svg .value{paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
.grid{stroke:var(--grid)}.axis{stroke:var(--line)}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.dash{stroke-dasharray:6 4}
.area{stroke:none;opacity:.1}.mark{stroke:var(--mark);stroke-dasharray:3 3}svg .marked{fill:var(--mark)}.hit{fill:transparent}
.whisker{stroke:var(--ink);stroke-width:1.3;opacity:.75}.one{stroke:var(--mark);stroke-dasharray:4 3}
.wide{overflow-x:auto;margin-top:.75rem}.plots+h2,.wide+h2{margin-top:2.2rem}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.88rem}
th,td{padding:.4rem .75rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:500}th:first-child,td:first-child{text-align:left;white-space:normal}
tr:last-child td{border-bottom:0}ul{margin:.4rem 0;padding-left:1.2rem}li{overflow-wrap:anywhere}
@media print{body{background:#fff}figure,.tile{break-inside:avoid}}
";
