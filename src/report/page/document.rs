//! The HTML file around a page: its policy, its style, its script and its data, all within it.

use super::markup::escape;
use super::model::PageModel;
use super::script::{STYLE, content_policy, data};

/// A page of a header and a main part, both as markup.
pub fn document(title: &str, script: &str, header: &str, main: &str, model: &PageModel) -> String {
    let mut page =
        String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n";
    page += &format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n",
        content_policy(script)
    );
    page += &format!("<title>{}</title>\n", escape(title));
    page += &format!("<style>\n{STYLE}</style>\n</head>\n<body>\n");
    page += "<a class=\"skip\" href=\"#main\">Skip to the report</a>\n<header>\n";
    page += header;
    page += "</header>\n<div id=\"controls\"></div>\n<main id=\"main\">\n";
    page += main;
    page += "</main>\n";
    page += &format!("<script type=\"application/json\" id=\"model\">{}</script>\n", data(model));
    page + &format!("<script>{script}</script>\n</body>\n</html>\n")
}
