//! Python's tokens, in logical lines (the language reference, chapter 2).

/// A token, and the line that it begins on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) tok: Tok,
    pub(super) line: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tok {
    /// A name or a keyword.
    Name(String),
    Int(i64),
    Float(f64),
    Text(Vec<Piece>),
    Op(String),
    /// Nothing that is understood, and why.
    Bad(&'static str),
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Literal(String),
    /// What an f-string has in braces.
    Expression(String),
}

impl Token {
    /// Whether it is this name or operator.
    pub(super) fn is(&self, text: &str) -> bool {
        matches!(&self.tok, Tok::Name(it) | Tok::Op(it) if it == text)
    }

    pub(super) fn opens(&self) -> bool {
        matches!(&self.tok, Tok::Op(op) if matches!(op.as_str(), "(" | "[" | "{"))
    }

    pub(super) fn closes(&self) -> bool {
        matches!(&self.tok, Tok::Op(op) if matches!(op.as_str(), ")" | "]" | "}"))
    }

    /// The operator of `+=`, which is two tokens here: `+:` would not be Python, so `+` before `=` is
    /// that.
    pub(super) fn augmented(&self) -> Option<&'static str> {
        let known = ["+", "-", "*", "/", "//", "%", "**"];
        known.into_iter().find(|op| matches!(&self.tok, Tok::Op(it) if it == op))
    }
}

/// A logical line.
#[derive(Debug)]
pub(super) struct Logical {
    pub(super) indent: usize,
    pub(super) tokens: Vec<Token>,
}

/// Longest first.
const OPERATORS: [&str; 14] =
    ["...", "**", "//", "<<", ">>", "<=", ">=", "==", "!=", "->", ":=", "(", "[", "{"];

/// All logical lines that have tokens.
pub(super) fn lines(text: &str) -> Vec<Logical> {
    let mut lexer = Lexer { rest: text.trim_start_matches('\u{feff}'), line: 1 };
    let (mut lines, mut tokens, mut depth) = (Vec::new(), Vec::new(), 0_usize);
    let mut indent = lexer.indent();
    loop {
        let c = lexer.rest.chars().next();
        match c {
            None => break,
            Some('\n') => {
                lexer.newline();
                if depth == 0 {
                    if !tokens.is_empty() {
                        lines.push(Logical { indent, tokens: std::mem::take(&mut tokens) });
                    }
                    indent = lexer.indent();
                }
            }
            Some('\\') if lexer.rest[1..].trim_start_matches('\r').starts_with('\n') => {
                lexer.rest = lexer.rest[1..].trim_start_matches('\r');
                lexer.newline();
            }
            Some(c) if c.is_whitespace() => lexer.skip(c.len_utf8()),
            Some('#') => {
                let end = lexer.rest.find('\n').unwrap_or(lexer.rest.len());
                lexer.skip(end);
            }
            Some(c) => {
                let token = Token { line: lexer.line, tok: lexer.token(c) };
                if token.opens() {
                    depth += 1;
                } else if token.closes() {
                    depth = depth.saturating_sub(1);
                }
                tokens.push(token);
            }
        }
    }
    if !tokens.is_empty() {
        lines.push(Logical { indent, tokens });
    }
    lines
}

/// The tokens of an expression that stands somewhere in a text.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    lines(text.trim()).into_iter().flat_map(|line| line.tokens).collect()
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl Lexer<'_> {
    fn skip(&mut self, octets: usize) {
        self.rest = &self.rest[octets..];
    }

    fn newline(&mut self) {
        self.skip(1);
        self.line += 1;
    }

    fn indent(&mut self) -> usize {
        let mut columns = 0;
        while let Some(c @ (' ' | '\t' | '\x0c')) = self.rest.chars().next() {
            columns = if c == '\t' { columns / 8 * 8 + 8 } else { columns + 1 };
            self.skip(1);
        }
        columns
    }

    fn token(&mut self, c: char) -> Tok {
        if let Some((prefix, quote)) = self.text_begins() {
            return self.text(&prefix, quote);
        }
        let follows_digit = self.rest[c.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
        if c.is_ascii_digit() || c == '.' && follows_digit {
            return self.number();
        }
        if c.is_alphabetic() || c == '_' {
            let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let name = self.rest[..end.unwrap_or(self.rest.len())].to_owned();
            self.skip(name.len());
            return Tok::Name(name);
        }
        let op = OPERATORS.iter().find(|op| self.rest.starts_with(**op));
        let op = op.map_or_else(|| c.to_string(), |op| (*op).to_owned());
        self.skip(op.len());
        Tok::Op(op)
    }

    fn number(&mut self) -> Tok {
        let mut end = 0;
        let octets = self.rest.as_bytes();
        while let Some(octet) = octets.get(end) {
            let is_exponent = end > 0
                && matches!(octets[end - 1], b'e' | b'E')
                && !self.rest.starts_with("0x")
                && matches!(octet, b'+' | b'-');
            if !octet.is_ascii_alphanumeric() && !matches!(octet, b'_' | b'.') && !is_exponent {
                break;
            }
            end += 1;
        }
        let text = self.rest[..end].replace('_', "").to_ascii_lowercase();
        self.skip(end);
        let radix = [("0x", 16), ("0o", 8), ("0b", 2)]
            .into_iter()
            .find_map(|(prefix, radix)| Some((text.strip_prefix(prefix)?, radix)));
        let int = match radix {
            Some((digits, radix)) => i64::from_str_radix(digits, radix).ok(),
            None => text.parse().ok(),
        };
        match (int, text.parse::<f64>()) {
            (Some(n), _) => Tok::Int(n),
            (None, Ok(n)) if radix.is_none() && text.contains(['.', 'e']) => Tok::Float(n),
            _ => Tok::Bad("It has a number that is not read here."),
        }
    }

    /// The prefix and quotes of a text, if there is one.
    fn text_begins(&self) -> Option<(String, &'static str)> {
        let at = self.rest.bytes().take(3).position(|octet| matches!(octet, b'"' | b'\''))?;
        let prefix = self.rest[..at].to_ascii_lowercase();
        let is_prefix = prefix.chars().all(|c| "rbfu".contains(c));
        let quote = ["\"\"\"", "'''", "\"", "'"];
        let quote = quote.into_iter().find(|quote| self.rest[at..].starts_with(quote))?;
        is_prefix.then_some((prefix, quote))
    }

    fn text(&mut self, prefix: &str, quote: &'static str) -> Tok {
        self.skip(prefix.len() + quote.len());
        let (is_raw, is_f) = (prefix.contains('r'), prefix.contains('f'));
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut bad = prefix.contains('b').then_some("It has bytes, and no text.");
        loop {
            if let Some(rest) = self.rest.strip_prefix(quote) {
                self.rest = rest;
                break;
            }
            let Some(c) = self.rest.chars().next() else {
                bad = Some("It has a text that does not end.");
                break;
            };
            if c == '\n' {
                if quote.len() == 1 {
                    bad = Some("It has a text that does not end on its line.");
                    break;
                }
                self.line += 1;
            }
            self.skip(c.len_utf8());
            match c {
                '\\' => match self.escape(is_raw) {
                    Ok(text) => literal.push_str(&text),
                    Err(why) => bad = Some(why),
                },
                '{' | '}' if is_f && self.rest.starts_with(c) => {
                    self.skip(1);
                    literal.push(c);
                }
                '{' if is_f => match self.braces() {
                    Some(expression) => {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                        pieces.push(Piece::Expression(expression));
                    }
                    None => bad = Some("It has an f-string that is not read here."),
                },
                c => literal.push(c),
            }
        }
        pieces.push(Piece::Literal(literal));
        bad.map_or(Tok::Text(pieces), Tok::Bad)
    }

    /// What follows a backslash.
    fn escape(&mut self, is_raw: bool) -> Result<String, &'static str> {
        let Some(c) = self.rest.chars().next() else { return Ok("\\".to_owned()) };
        if c == '\n' {
            self.newline();
            return Ok(if is_raw { "\\\n" } else { "" }.to_owned());
        }
        self.skip(c.len_utf8());
        if is_raw {
            return Ok(format!("\\{c}"));
        }
        let wrong = "It has a text with an escape that is not read here.";
        let mut code = |digits: usize| -> Result<String, &'static str> {
            let text = self.rest.get(..digits).ok_or(wrong)?;
            let code = u32::from_str_radix(text, 16).ok().and_then(char::from_u32).ok_or(wrong)?;
            self.rest = &self.rest[digits..];
            Ok(code.to_string())
        };
        Ok(match c {
            'n' => "\n".to_owned(),
            't' => "\t".to_owned(),
            'r' => "\r".to_owned(),
            'a' | 'b' | 'f' | 'v' | 'N' => return Err(wrong),
            'x' => code(2)?,
            'u' => code(4)?,
            'U' => code(8)?,
            '0'..='7' => {
                let more =
                    self.rest.bytes().take(2).take_while(|o| matches!(o, b'0'..=b'7')).count();
                let text = format!("{c}{}", &self.rest[..more]);
                self.skip(more);
                let code = u32::from_str_radix(&text, 8).ok().and_then(char::from_u32);
                code.ok_or(wrong)?.to_string()
            }
            '\\' | '\'' | '"' => c.to_string(),
            other => format!("\\{other}"),
        })
    }

    /// An expression in braces, of which the first has gone; nothing if it has a conversion or format.
    fn braces(&mut self) -> Option<String> {
        let (mut depth, mut quote) = (0_usize, None);
        for (at, c) in self.rest.char_indices() {
            match (quote, c) {
                (_, '\n') => return None,
                (Some(open), c) if open == c => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(c),
                (None, '(' | '[' | '{') => depth += 1,
                (None, '}') if depth == 0 => {
                    let expression = self.rest[..at].to_owned();
                    self.skip(at + 1);
                    return Some(expression);
                }
                (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
                (None, ':' | '!') if depth == 0 => return None,
                _ => {}
            }
        }
        None
    }
}
