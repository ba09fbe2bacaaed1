//! `POST /api/markdown`: a reply's markdown as HTML that is safe to show.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use brisk_api::{
    ErrorBody,
    markdown::{MarkdownReply, MarkdownRequest},
};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html::push_html};
use tokio::task::spawn_blocking;

use crate::{
    app::App,
    body,
    error::{ApiError, HttpError},
};

/// Render markdown as safe HTML: no scripts, no images, no markup of the text's own, and only
/// `http`, `https` and `mailto` links.
#[utoipa::path(
    post,
    operation_id = "renderMarkdown",
    path = "/api/markdown",
    tag = "Web page",
    request_body = MarkdownRequest,
    responses(
        (status = 200, description = "The HTML.", body = MarkdownReply),
        (status = 400, description = "The body is wrong.", body = ErrorBody),
        (status = 401, description = "A key is required.", body = ErrorBody),
        (status = 413, description = "The text is too large.", body = ErrorBody),
    )
)]
pub(crate) async fn render(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<MarkdownReply>, ApiError> {
    let MarkdownRequest { text } = body::read_json(&app, request, MarkdownRequest::read).await?;
    let (num_bytes, max_bytes) = (text.len(), app.config.max_markdown_bytes);
    if num_bytes > max_bytes {
        return Err(HttpError::TextTooLarge { num_bytes, max_bytes }.into());
    }
    let html = spawn_blocking(move || to_html(&text)).await.map_err(|_| HttpError::Panicked)?;
    Ok(Json(MarkdownReply { html }))
}

fn to_html(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut html = String::with_capacity(markdown.len() * 2);
    let mut open_links = Vec::new();
    let events =
        Parser::new_ext(markdown, options).filter_map(|event| safe(event, &mut open_links));
    push_html(&mut html, events);
    html
}

/// The event with everything taken out that could do more than show text. `open_links` remembers
/// which of the open links and images were written as links.
fn safe<'a>(event: Event<'a>, open_links: &mut Vec<bool>) -> Option<Event<'a>> {
    match event {
        // The writer escapes text and leaves HTML alone: so all HTML becomes text.
        Event::Html(text) | Event::InlineHtml(text) => Some(Event::Text(text)),
        // An image would make the page fetch from elsewhere; its text may stay, as a link.
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            let is_safe = is_safe_url(&dest_url);
            open_links.push(is_safe);
            let href = escape(&dest_url);
            let tag = format!("<a href=\"{href}\" rel=\"noopener nofollow\" target=\"_blank\">");
            is_safe.then(|| Event::InlineHtml(tag.into()))
        }
        Event::End(TagEnd::Link | TagEnd::Image) => {
            let is_safe = open_links.pop().unwrap_or(false);
            is_safe.then(|| Event::InlineHtml("</a>".into()))
        }
        Event::Start(Tag::HtmlBlock) => Some(Event::Start(Tag::Paragraph)),
        Event::End(TagEnd::HtmlBlock) => Some(Event::End(TagEnd::Paragraph)),
        other => Some(other),
    }
}

fn is_safe_url(url: &str) -> bool {
    let scheme = url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https" | "mailto"))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(markdown: &str, expected: &str) {
        assert_eq!(to_html(markdown), expected, "{markdown}");
    }

    #[test]
    fn markdown_becomes_html() {
        check(
            "# T\n\n*a* **b** ~~c~~ `<d>`",
            "<h1>T</h1>\n<p><em>a</em> <strong>b</strong> <del>c</del> <code>&lt;d&gt;</code></p>\n",
        );
        check(
            "```rust\nlet x = 1 < 2;\n```",
            "<pre><code class=\"language-rust\">let x = 1 &lt; 2;\n</code></pre>\n",
        );
        check("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n");
    }

    #[test]
    fn links_lead_out_without_telling_where_from() {
        check(
            "[a](https://x.org/?q=1&r=\"2\")",
            "<p><a href=\"https://x.org/?q=1&amp;r=&quot;2&quot;\" rel=\"noopener nofollow\" target=\"_blank\">a</a></p>\n",
        );
        check(
            "<mailto:a@b.c>",
            "<p><a href=\"mailto:a@b.c\" rel=\"noopener nofollow\" target=\"_blank\">mailto:a@b.c</a></p>\n",
        );
        check(
            "![alt](https://x.org/i.png)",
            "<p><a href=\"https://x.org/i.png\" rel=\"noopener nofollow\" target=\"_blank\">alt</a></p>\n",
        );
    }

    #[test]
    fn nothing_dangerous_survives() {
        check("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n");
        check(
            "a <img src=x onerror=alert(1)> b",
            "<p>a &lt;img src=x onerror=alert(1)&gt; b</p>\n",
        );
        check("[a](javascript:alert(1)) b", "<p>a b</p>\n");
        check("[a](JaVaScRiPt:alert(1))", "<p>a</p>\n");
        check("[a](data:text/html,x)", "<p>a</p>\n");
        check("[a](/relative) [b](//x.org)", "<p>a b</p>\n");
        check("![a](javascript:x)", "<p>a</p>\n");
        check(
            "[a ![b](x:y) c](https://x.org)",
            "<p><a href=\"https://x.org\" rel=\"noopener nofollow\" target=\"_blank\">a b c</a></p>\n",
        );
        check(
            "```\"onmouseover=alert(1)\nx\n```",
            "<pre><code class=\"language-&quot;onmouseover=alert(1)\">x\n</code></pre>\n",
        );
    }

    #[test]
    fn hostile_text_gives_bounded_html() {
        let references =
            format!("[a]: https://x.org/{}\n\n{}", "y".repeat(50_000), "[a] ".repeat(30_000));
        for text in [
            references,
            ">".repeat(100_000),
            "[".repeat(100_000),
            "*a_".repeat(50_000),
            "![".repeat(50_000),
            "`".repeat(100_000),
            "<".repeat(100_000),
        ] {
            assert!(to_html(&text).len() < 8 << 20);
        }
    }
}
