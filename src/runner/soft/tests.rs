use super::*;

fn look(status: u16, content_type: &str, text: &str) -> (Option<Signature>, Option<Signature>) {
    look_at(status, content_type, text, "https://shop.example/account", "https://shop.example/account")
}

fn look_at(status: u16, kind: &str, text: &str, asked: &str, url: &str) -> (Option<Signature>, Option<Signature>) {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, kind.parse().unwrap());
    let (asked, url) = (Url::parse(asked).unwrap(), Url::parse(url).unwrap());
    let page = Page {
        status,
        headers: &headers,
        text,
        head: Head::of(text),
        asked: &asked,
        url: &url,
        redirected: asked != url,
    };
    (challenge(&page), soft_error(&page, false))
}

const HTML: &str = "text/html; charset=utf-8";

#[test]
fn error_maintenance_and_missing_pages_are_recognised_by_title_heading_or_short_text() {
    let nav = "<nav>".to_owned() + &"<a href='/x'>Department</a> ".repeat(60) + "</nav>";
    let branded = format!("<title>Something is off | Shop</title>{nav}<h1>Internal Server Error</h1>");
    let cloudflare = format!(
        "<title>shop.example | 522: Connection timed out</title><h1><span>Connection timed out</span></h1><p>{}",
        "The initial connection timed out. ".repeat(28)
    );
    for (kind, text) in [
        (
            "error_page",
            "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body></html>",
        ),
        ("error_page", "<title>Server Error (500)</title><h1>Server Error (500)</h1>"),
        ("error_page", "<title>Shop | 503 Service Temporarily Unavailable</title>"),
        (
            "error_page",
            "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>",
        ),
        ("error_page", "<title>We're sorry, but something went wrong (500)</title>"),
        ("error_page", "<h1>Whitelabel Error Page</h1><p>This application has no explicit mapping for /error</p>"),
        ("error_page", "<title>HTTP Status 500 – Internal Server Error</title>"),
        ("error_page", "<title>Oops! An Error Occurred</title>"),
        ("error_page", &branded),
        ("error_page", "<title>Error 500</title>"),
        ("error_page", "upstream connect error or disconnect/reset before headers. reset reason: overflow"),
        ("maintenance_page", "<title>Maintenance</title><p>We are working on it."),
        ("maintenance_page", "<title>Shop</title><h1>We’ll be back soon!</h1>"),
        ("maintenance_page", "Briefly unavailable for scheduled maintenance. Check back in a minute."),
        (
            "error_page",
            "<title>WordPress &rsaquo; Error</title><div class=\"wp-die-message\"><p>There has been a critical error on this website.</p></div>",
        ),
        ("error_page", &cloudflare),
        ("error_page", "<title>OperationalError at /cart</title><h1>OperationalError at /cart</h1>"),
        ("error_page", "<title>Action Controller: Exception caught</title>"),
        ("not_found_page", "<title>Object not found!</title><h1>Object not found!</h1>"),
        ("not_found_page", "<title>Page not found - Shop</title><p>Nothing here."),
        ("not_found_page", "<title>Shop</title><h1>404</h1>"),
        ("php_error", "<h1>Cart</h1><br />\n<b>Fatal error</b>:  Uncaught TypeError in /srv/cart.php:12"),
        ("blank_page", "  \n"),
        ("blank_page", "<html><head></head><body></body></html>"),
        ("error_page", "<h1>Oops! Something went wrong</h1><p>Try again later."),
    ] {
        let found = look(200, HTML, text).1;
        assert_eq!(found.map(|s| s.kind), Some(kind), "{text}");
    }
    let found = look(200, HTML, "<title>502 Bad Gateway | Shop</title>").1.unwrap();
    assert_eq!(found.sign, "title \"502 Bad Gateway | Shop\"");
}

#[test]
fn real_pages_that_mention_the_same_words_are_left_alone() {
    let prose = "The server answers, and the reader reads on about what happens then. ".repeat(80);
    for text in [
        format!("<title>500 Internal Server Error - HTTP | Docs</title><h1>500 Internal Server Error</h1><p>{prose}"),
        format!("<title>How to fix a 502 Bad Gateway</title><h1>How to fix a 502 Bad Gateway</h1><p>{prose}"),
        format!("<title>Maintenance | Car parts</title><h1>Maintenance</h1><p>{prose}"),
        "<title>Status</title><h1>All systems operational</h1><p>Scheduled maintenance: Sunday. 503 Service Unavailable may occur.</p>".to_owned(),
        "<title>T-shirt \"404 not found\" - 19 €</title><h1>T-shirt \"404 not found\"</h1>".to_owned(),
        "<title>Fiat 500 | Cars</title><h1>Fiat 500</h1>".to_owned(),
        format!("<title>Internal Server Error · Issue #1234 · org/app</title><p>{}", &prose[..1500]),
        format!("<title>Search: server error | Books</title>{}", "<li>A book about servers and their errors, 12 €".repeat(40)),
        format!("<title>Maintenance | 会社</title><h1>Maintenance</h1><p>{}", "機械の保守について説明します。".repeat(110)),
        "<title>Heating</title><h1>Maintenance</h1><p>Book a visit.<form><input name=date></form>".to_owned(),
        "<title>Error 404: what it means</title><p>A short note about a page that is not there.".to_owned(),
        "<html><head><script src=/app.js></script></head><body><div id=app></div></body></html>".to_owned(),
        "<title>Blog</title><h1>Why we show \"Something went wrong\"</h1>".to_owned(),
        "<title>Help</title><h1>Help</h1><p>Internal Server Error: call us. Bad Gateway: call us.</p>".to_owned(),
        format!("<title>Something Went Wrong (2024) | Films</title><h1>Something Went Wrong</h1><p>{prose}"),
        "<title>Docs</title><h1>PHP errors</h1><pre>&lt;b&gt;Fatal error&lt;/b&gt;: Uncaught</pre>".to_owned(),
        "<title>Service</title><h1>Service</h1><p>Unavailable on Sundays.".to_owned(),
        "<title>Cart</title><h1>Your cart</h1><p class=error hidden>An error occurred</p>".to_owned(),
        "<titlebar>502 Bad Gateway</titlebar><title>Shop</title>".to_owned(),
        "Welcome back".to_owned(),
    ] {
        assert_eq!(look(200, HTML, &text), (None, None), "{}", &text[..text.len().min(200)]);
    }
    // Other media are not pages.
    assert_eq!(look(200, "text/css", "/* Internal Server Error */").1, None);
    assert_eq!(look(200, "image/svg+xml", "<title>500</title>").1, None);
}

#[test]
fn json_that_says_error_with_200_is_one_unless_it_also_gives_data() {
    for (text, found) in [
        (r#"{"error": "insufficient stock"}"#, true),
        (r#"{"error": {"code": "E12", "message": "no"}}"#, true),
        (r#"{"error": true}"#, true),
        (r#"{"error": null, "data": {}}"#, false),
        (r#"{"error": "", "items": []}"#, false),
        (r#"{"error": {"code": 0, "message": "ok"}}"#, false),
        (r#"{"error": "partial", "data": {"a": 1}}"#, false),
        (r#"{"errors": ["x"]}"#, false),
        (r#"{"id": 5, "state": "failed", "error": "card declined"}"#, false),
        (r#"{"latency": {"p50": 3}, "error": {"rate": 0.0}}"#, false),
        (r#"{"error": {"rate": 0.1}}"#, false),
        (r#"["error"]"#, false),
        (r#"{"status": "error"}"#, false),
    ] {
        assert_eq!(look(200, "application/json", text).1.is_some(), found, "{text}");
    }
}

#[test]
fn a_login_form_is_a_failure_only_where_a_redirect_led_to_it_unasked() {
    let form = "<title>Sign in</title><form><input name=user><input type=\"password\" name=p></form>";
    let (account, login) = ("https://shop.example/account", "https://shop.example/login?next=/account");
    let found = |asked, url| look_at(200, HTML, form, asked, url).1.map(|s| s.kind);
    assert_eq!(found(account, login), Some("login_page"));
    assert_eq!(found(login, login), None, "asked for");
    assert_eq!(found("https://shop.example/auth/start", login), None, "a way to it");
    assert_eq!(found(account, account), None, "a page with a form of its own");
    assert_eq!(found("https://shop.example/accessories", login), Some("login_page"), "`sso` is no word of it");
    assert_eq!(found("https://shop.example/authors", login), Some("login_page"));
    let modal = format!("<title>Shop</title><div hidden>{form}</div>{}", "<p>A mug like no other.".repeat(200));
    let home = look_at(200, HTML, &modal, "https://shop.example/", "https://shop.example/home").1;
    assert_eq!(home, None, "a page with a sign-in form in its header");
    for (selector, speaks) in
        [("form#login", true), ("input[type=password]", true), ("input[name=csrf_token]", false), ("h1", false)]
    {
        assert_eq!(speaks_of_login(selector), speaks, "{selector}");
    }
}

#[test]
fn challenges_are_recognised_and_pages_about_them_are_not() {
    for (kind, status, text) in [
        (
            "cloudflare",
            403,
            "<title>Just a moment...</title><script src=\"/cdn-cgi/challenge-platform/h/b/orchestrate\"></script>",
        ),
        ("cloudflare", 403, "<title>Attention Required! | Cloudflare</title>"),
        (
            "imperva",
            200,
            "<html><head><script src=\"/_Incapsula_Resource?SWJIYLWA=719\"></script></head><body></body></html>",
        ),
        (
            "akamai",
            403,
            "<title>Access Denied</title><h1>Access Denied</h1>You don't have permission.<p>Reference #18.abc",
        ),
        ("datadome", 403, "<script src=\"https://ct.captcha-delivery.com/c.js\"></script>"),
        ("human", 403, "<title>Access to this page has been denied</title><div id=\"px-captcha\"></div>"),
        (
            "f5",
            200,
            "<html><body>The requested URL was rejected. Please consult with your administrator.<br>Your support ID is: 12</body></html>",
        ),
        ("challenge", 429, "<title>Vercel Security Checkpoint</title>"),
    ] {
        assert_eq!(look(status, HTML, text).0.map(|s| s.kind), Some(kind), "{text}");
    }
    let japanese = format!(
        "<title>会社</title><script src=\"/_Incapsula_Resource?a=1\"></script><p>{}",
        "製品の一覧です。".repeat(120)
    );
    assert_eq!(look(200, HTML, &japanese).0, None, "a page full of text");
    let prose = "A captcha-delivery.com script and /_Incapsula_Resource are signs of bot walls. ".repeat(30);
    for text in [
        format!("<title>Bot walls explained</title><p>{prose}"),
        "<title>Just a moment...</title><p>Loading your cart.".to_owned(),
        "<title>Access denied</title><h1>Access denied</h1><p>Ask your administrator for the role.".to_owned(),
    ] {
        assert_eq!(look(200, HTML, &text).0, None, "{text}");
    }
    let mut headers = HeaderMap::new();
    headers.insert("cf-mitigated", "challenge".parse().unwrap());
    let url = Url::parse("https://a.example/").unwrap();
    let page = Page {
        status: 403,
        headers: &headers,
        text: "",
        head: Head::of(""),
        asked: &url,
        url: &url,
        redirected: false,
    };
    assert_eq!(challenge(&page).unwrap().kind, "cloudflare");
}
