//! The shop's pages.

use crate::demo::faults::{Faults, ROUTES};

pub struct Product {
    pub sku: &'static str,
    pub name: &'static str,
    pub cents: u64,
}

pub const PRODUCTS: [Product; 4] = [
    Product { sku: "mug-01", name: "Big Blue Mug", cents: 1250 },
    Product { sku: "mug-02", name: "Small Red Mug", cents: 950 },
    Product { sku: "tee-01", name: "Plain Tee", cents: 1900 },
    Product { sku: "cap-01", name: "Green Cap", cents: 1500 },
];

pub fn price(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// A whole page; `user` is who is signed in.
pub fn page(title: &str, user: Option<&str>, body: &str) -> String {
    let account = match user {
        Some(user) => format!("<a class=\"user\" href=\"/account\">{}</a>", escape(user)),
        None => "<a href=\"/login\">Sign in</a>".to_owned(),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · Demo shop</title>\
         <link rel=\"stylesheet\" href=\"/static/shop.css\"></head>\n<body><nav><a href=\"/\">Demo shop</a> \
         <a href=\"/search?q=mug\">Mugs</a> <a href=\"/cart\">Cart</a> {account} <a href=\"/faults\">Faults</a> \
         <a href=\"/chat\">Chat</a></nav>\n\
         <main>{body}</main></body></html>\n",
        title = escape(title),
    )
}

pub fn home() -> String {
    "<h1>Demo shop</h1><form action=\"/search\"><input name=\"q\" placeholder=\"Search\"><button>Search</button></form>\
     <p>A target for journeyd. <a href=\"/faults\">Break something</a>.</p>"
        .to_owned()
}

pub fn login(token: &str, error: Option<&str>) -> String {
    let error = error.map(|e| format!("<p class=\"error\">{}</p>", escape(e))).unwrap_or_default();
    format!(
        "<h1>Sign in</h1>{error}<form method=\"post\" action=\"/login\" id=\"login\">\
         <input type=\"hidden\" name=\"csrf_token\" value=\"{token}\">\
         <label>User <input name=\"user\" autocomplete=\"username\"></label>\
         <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\"></label>\
         <button>Sign in</button></form><h2>Or buy as a guest</h2><form method=\"post\" action=\"/guest\" id=\"guest\">\
         <input type=\"hidden\" name=\"csrf_token\" value=\"{token}\"><label>E-mail <input name=\"email\" type=\"email\"></label>\
         <button>Go on as a guest</button></form>"
    )
}

pub fn results(query: &str, member: bool) -> String {
    let wanted = query.to_lowercase();
    let items: String = PRODUCTS
        .iter()
        .filter(|p| !wanted.is_empty() && p.name.to_lowercase().contains(&wanted))
        .map(|p| {
            let badge = if member { "<span class=\"member-price\">member price</span>" } else { "" };
            format!(
                "<li><a href=\"/products/{}\">{}</a> <span class=\"price\">{} €</span>{badge}</li>",
                p.sku,
                p.name,
                price(p.cents)
            )
        })
        .collect();
    format!("<h1>Results for “{}”</h1><ul class=\"results\">{items}</ul>", escape(query))
}

pub fn product(product: &Product) -> String {
    format!(
        "<h1>{}</h1><p class=\"price\">{} €</p><form method=\"post\" action=\"/cart\">\
         <input type=\"hidden\" name=\"sku\" value=\"{}\"><button>Add to cart</button></form>",
        product.name,
        price(product.cents),
        product.sku
    )
}

pub fn cart(lines: &[(&Product, u64)]) -> String {
    let rows: String = lines
        .iter()
        .map(|(p, n)| {
            format!("<tr><td>{}</td><td class=\"quantity\">{n}</td><td>{} €</td></tr>", p.name, price(p.cents * n))
        })
        .collect();
    let total: u64 = lines.iter().map(|(p, n)| p.cents * n).sum();
    format!(
        "<h1>Cart</h1><table class=\"cart\">{rows}</table><p>Total <span class=\"total\">{}</span> €</p>",
        price(total)
    )
}

/// The fault panel: one form, works without scripts.
pub fn faults(faults: &Faults, host: &str) -> String {
    let host = escape(host);
    let on = faults.describe();
    let state = if on.is_empty() { "Everything works.".to_owned() } else { format!("On: {}.", on.join(", ")) };
    let routes: String = ROUTES
        .iter()
        .map(|route| {
            let selected = if faults.exception.as_deref() == Some(route) { " selected" } else { "" };
            format!("<option{selected}>{route}</option>")
        })
        .collect();
    let check = |name: &str, on: bool, text: &str| {
        let checked = if on { " checked" } else { "" };
        format!("<p><label><input type=\"checkbox\" name=\"{name}\" value=\"true\"{checked}> {text}</label></p>")
    };
    format!(
        "<h1>Faults</h1><p id=\"state\"><b>{state}</b></p><form method=\"post\" action=\"/faults\">\
         <p><label>Unhandled exception on <select name=\"exception\"><option value=\"\">no route</option>{routes}</select></label></p>\
         {}{}{}{}{}\
         <p><label>Slow by <input name=\"slow_ms\" type=\"number\" min=\"0\" max=\"60000\" value=\"{}\"> ms</label></p>\
         <p><label>One request in <input name=\"one_in\" type=\"number\" min=\"0\" value=\"{}\"> fails (0: none)</label></p>\
         <p><button>Set</button></p></form><form method=\"post\" action=\"/faults/clear\"><button>Mend everything</button></form>\
         <h2>From a terminal</h2><pre>curl -X PUT -H 'Content-Type: application/json' -d '{{\"exception\": \"/search\"}}' http://{host}/api/faults\n\
         curl -X DELETE http://{host}/api/faults</pre>\
         <p>Switches: exception, database_down, slow_ms, overload, connection_reset, error_page_200, sessions_lost, one_in.</p>",
        check("database_down", faults.database_down, "Database down (every dynamic route fails, static files work)"),
        check("overload", faults.overload, "Overload (503 with Retry-After)"),
        check("connection_reset", faults.connection_reset, "Connection reset"),
        check("error_page_200", faults.error_page_200, "A 200 that is really an error page"),
        check("sessions_lost", faults.sessions_lost, "Sessions lost (nobody stays signed in)"),
        faults.slow_ms,
        faults.one_in,
    )
}

pub const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:44rem;padding:0 1rem}nav a{margin-right:1rem}\
label{display:block;margin:.3rem 0}.error{color:#b00020}.member-price{color:#0a7a3a;margin-left:.5rem}pre{background:#f4f4f4;padding:.7rem;overflow:auto}\n";
