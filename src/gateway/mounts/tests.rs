use super::*;

fn mounts<'a>(places: &[&'a str]) -> Mounts<&'a str> {
    Mounts::new(places.iter().map(|text| (MountPoint::parse(text).unwrap(), *text)).collect())
}

/// Where a request goes, and what is left of its path.
fn goes<'a>(mounts: &Mounts<&'a str>, host: &str, path: &str) -> Option<(&'a str, String)> {
    let found = mounts.find(|| host.as_bytes(), path.as_bytes())?;
    Some((*mounts.get(found).unwrap(), path[found.len..].to_owned()))
}

#[test]
fn the_longest_prefix_wins_at_whole_segments() {
    let all = mounts(&["/", "/a", "/a/b", "/ab/", "/a%20b", "/caf%c3%a9"]);
    for (path, expected, rest) in [
        ("/", "/", "/"),
        ("", "/", ""),
        ("*", "/", "*"),
        ("/a", "/a", ""),
        ("/a/", "/a", "/"),
        ("/a//", "/a", "//"),
        ("/a/x", "/a", "/x"),
        ("/a/b", "/a/b", ""),
        ("/a/b/", "/a/b", "/"),
        ("/a/b/c/d", "/a/b", "/c/d"),
        ("/a/bc", "/a", "/bc"),
        ("/ab", "/ab/", ""),
        ("/ab/c", "/ab/", "/c"),
        ("/abc", "/", "/abc"),
        ("/A", "/", "/A"),
        ("//a", "/", "//a"),
        ("/a b/c", "/a%20b", "/c"),
        ("/a%20b", "/", "/a%20b"),
        ("/café/x", "/caf%c3%a9", "/x"),
        ("/a/../b", "/a", "/../b"),
        ("a", "/", "a"),
    ] {
        assert_eq!(goes(&all, "h", path), Some((expected, rest.to_owned())), "{path}");
    }
    let some = mounts(&["/a", "/b/c"]);
    for path in ["", "*", "/", "/b", "/b/", "/b/cc", "/ab", "a"] {
        assert_eq!(goes(&some, "h", path), None, "{path}");
    }
    assert!(some.get(some.find(|| panic!("no host matters"), b"/a").unwrap()).is_some());
}

#[test]
fn a_host_counts_before_a_path() {
    let all = mounts(&[
        "/",
        "/api",
        "example.org/",
        "Example.ORG/api/v1",
        "*.example.org/",
        "*.deep.example.org/x",
        "shop.example.org/cart",
        "[::1]/",
        "127.0.0.1/",
    ]);
    for (host, path, expected) in [
        ("", "/", "/"),
        ("", "/api/v1", "/api"),
        ("other.org", "/api/x", "/api"),
        ("example.org", "/", "example.org/"),
        ("EXAMPLE.org:8080", "/api", "example.org/"),
        ("example.org.", "/api/v1/x", "Example.ORG/api/v1"),
        ("example.org.:80", "/", "example.org/"),
        ("www.example.org", "/api", "*.example.org/"),
        ("a.b.Example.Org:1", "/", "*.example.org/"),
        ("a.deep.example.org", "/x", "*.deep.example.org/x"),
        ("a.deep.example.org", "/y", "*.example.org/"),
        ("shop.example.org", "/cart/1", "shop.example.org/cart"),
        ("shop.example.org", "/", "*.example.org/"),
        ("notexample.org", "/", "/"),
        (".example.org", "/", "/"),
        ("example.org.evil.net", "/", "/"),
        ("[::1]:8000", "/", "[::1]/"),
        ("[::1]", "/", "[::1]/"),
        ("[::1", "/", "/"),
        ("127.0.0.1:80", "/", "127.0.0.1/"),
        (":80", "/api", "/api"),
        (".", "/", "/"),
    ] {
        let found = goes(&all, host, path).map(|(at, _)| at);
        assert_eq!(found, Some(expected), "{host} {path}");
    }
    // Where a host has nothing, that of all hosts is asked; and not that of another.
    let some = mounts(&["example.org/shop", "/about"]);
    assert_eq!(goes(&some, "example.org", "/about").map(|(at, _)| at), Some("/about"));
    assert_eq!(goes(&some, "example.org", "/"), None);
    assert_eq!(goes(&some, "other.org", "/shop"), None);
}

#[test]
fn the_order_of_mounting_means_nothing() {
    let places = ["/a/b", "h/", "/", "*.h/a", "/a"];
    for turn in 0..places.len() {
        let mut turned = places;
        turned.rotate_left(turn);
        let all = mounts(&turned);
        for (host, path, expected) in
            [("x", "/a/b", "/a/b"), ("x", "/a", "/a"), ("h", "/a/b", "h/"), ("g.h", "/a", "*.h/a")]
        {
            assert_eq!(goes(&all, host, path).map(|(at, _)| at), Some(expected), "{turned:?}");
        }
    }
}

#[test]
fn places_are_written_in_one_way() {
    for (text, shown) in [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a"),
        ("/a b/%63", "/a%20b/c"),
        ("/100%25/", "/100%25"),
        ("Example.org/", "example.org/"),
        ("example.org./x/", "example.org/x"),
        ("*.Example.org/x", "*.example.org/x"),
        ("[2001:DB8::1]/", "[2001:db8::1]/"),
        ("x_1/", "x_1/"),
    ] {
        let point = MountPoint::parse(text).unwrap();
        assert_eq!(point.to_string(), shown, "{text}");
        assert_eq!(MountPoint::parse(shown).unwrap(), point, "{text}");
        assert_eq!(point.is_root(), shown == "/", "{text}");
    }
}

#[test]
fn what_is_no_place_is_said() {
    for (text, why) in [
        ("", "no slash"),
        ("api", "a path begins with one (\"/api\")"),
        ("http://example.org/", "leave out the scheme"),
        ("example.org:80/", "no port"),
        ("[::1]:80/", "no port"),
        ("[::1/", "no port"),
        ("[::g]/", "no IPv6 address"),
        ("*/", "its first labels"),
        ("*.*.org/", "its first labels"),
        ("www.*.org/", "its first labels"),
        (".org/", "this is no host"),
        ("a..b/", "this is no host"),
        ("*./", "its first labels"),
        ("./", "this is no host"),
        ("caf\u{e9}.org/", "xn--"),
        ("a b/", "this is no host"),
        ("//", "an empty segment"),
        ("/a//b", "an empty segment"),
        ("/a/./b", "take \".\" and \"..\" out"),
        ("/a/%2e%2e", "take \".\" and \"..\" out"),
        ("/a?b", "without a query"),
        ("/a#b", "without a query"),
        ("/%", "two hexadecimal digits"),
        ("/%4", "two hexadecimal digits"),
        ("/%zz", "two hexadecimal digits"),
        ("/a\n", "control character"),
        ("/%00", "control character"),
    ] {
        let error = MountPoint::parse(text).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        let expected = format!("mount point {}: ", Quoted(text));
        assert!(error.message().starts_with(&expected), "{text}: {error}");
        assert!(error.message().contains(why), "{text}: {error}");
    }
}
