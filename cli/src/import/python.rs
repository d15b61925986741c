//! The assignments of a Python file: read, and never run.
//!
//! What people write into a configuration file is understood: literals, names assigned before, simple
//! arithmetic, f-strings, `os.environ.get` (its default counts) and `cpu_count()`.  Of everything else
//! it is known which names it assigns, and that their values are known to Python only.

mod eval;
mod lex;

use std::collections::HashMap;

use super::rules::Value;
use eval::Eval;
use lex::{Tok, Token};

/// Something that the file says, in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Binding {
    pub(super) line: usize,
    /// The name; of a statement, its first words.
    pub(super) name: String,
    pub(super) what: Bound,
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bound {
    /// Its value, and what was assumed to know it.
    Value(Value, Vec<Assumed>),
    /// It is set, and why its value is not known.
    Unread(String),
    /// It may be set, under this keyword (`if`, `for`, `try` ...).
    Perhaps(String),
    /// No name: a statement that does something.
    Statement(String),
}

/// What was assumed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Assumed {
    /// A variable of the environment is not set.
    Environment(String),
    /// There are as many CPUs as here.
    Cpus,
}

/// What a name stands for while the file is read.
pub(super) type Known = Result<(Value, Vec<Assumed>), String>;

/// Names with their values, and names of modules and functions that were imported.
#[derive(Debug, Default)]
pub(super) struct Names {
    values: HashMap<String, Known>,
    imported: HashMap<String, String>,
    cpus: usize,
}

/// What the lines in a block are.
#[derive(Clone, Debug)]
enum Block {
    /// They may be executed.
    Perhaps(String),
    /// A function or a class: names of their own.
    Own,
}

const PERHAPS: [&str; 11] =
    ["if", "elif", "else", "for", "while", "try", "except", "finally", "with", "match", "case"];

/// All that a file says, in its order.  `cpus`: what `cpu_count()` is.
pub(super) fn read(text: &str, cpus: usize) -> Vec<Binding> {
    let mut reader = Reader { names: Names { cpus, ..Names::default() }, bindings: Vec::new() };
    let mut blocks: Vec<(usize, Block)> = Vec::new();
    for logical in lex::lines(text) {
        while blocks.last().is_some_and(|(indent, _)| *indent >= logical.indent) {
            blocks.pop();
        }
        if blocks.iter().any(|(_, block)| matches!(block, Block::Own)) {
            continue;
        }
        let under = blocks.iter().rev().find_map(|(_, block)| match block {
            Block::Perhaps(keyword) => Some(keyword.clone()),
            Block::Own => None,
        });
        if let Some(block) = reader.line(&logical.tokens, under.as_deref()) {
            blocks.push((logical.indent, block));
        }
    }
    reader.bindings
}

struct Reader {
    names: Names,
    bindings: Vec<Binding>,
}

impl Reader {
    /// A logical line; a block that it opens.
    fn line(&mut self, tokens: &[Token], under: Option<&str>) -> Option<Block> {
        let (first, line) = match tokens.first() {
            Some(Token { tok: Tok::Name(name), line }) => (name.as_str(), *line),
            Some(_) => ("", 0),
            None => return None,
        };
        let is_def = |tokens: &[Token]| tokens.first().is_some_and(|t| t.is("def"));
        if first == "def" || first == "class" || first == "async" && is_def(&tokens[1..]) {
            let name = tokens.iter().skip(1).find_map(|token| match &token.tok {
                Tok::Name(name) if name != "def" => Some(name.clone()),
                _ => None,
            });
            let what = match under {
                None => Bound::Value(Value::Function, Vec::new()),
                Some(keyword) => Bound::Perhaps(keyword.to_owned()),
            };
            self.bind(line, &name.unwrap_or_default(), what);
            return Some(Block::Own);
        }
        let is_soft = matches!(first, "match" | "case");
        let ends_in_colon = tokens.last().is_some_and(|token| token.is(":"));
        if PERHAPS.contains(&first) && (!is_soft || ends_in_colon) {
            let rest = match split(tokens, ":").next() {
                Some(head) => &tokens[(head.len() + 1).min(tokens.len())..],
                None => &[],
            };
            for statement in split(rest, ";") {
                self.statement(statement, Some(first));
            }
            return Some(Block::Perhaps(first.to_owned()));
        }
        if first == "async" {
            return Some(Block::Perhaps("async".to_owned()));
        }
        for statement in split(tokens, ";") {
            self.statement(statement, under);
        }
        None
    }

    fn statement(&mut self, tokens: &[Token], under: Option<&str>) {
        let Some(first) = tokens.first() else { return };
        let line = first.line;
        if let Some(Token { tok: Tok::Bad(why), line }) =
            tokens.iter().find(|token| matches!(token.tok, Tok::Bad(_)))
        {
            if let (Tok::Name(name), true) = (&first.tok, tokens.get(1).is_some_and(|t| t.is("=")))
            {
                self.bind(*line, name, Bound::Unread((*why).to_owned()));
                return;
            }
            self.does(*line, tokens, why);
            return;
        }
        match &first.tok {
            Tok::Op(op) if op == "@" => return,
            Tok::Text(_) if tokens.iter().all(|token| matches!(token.tok, Tok::Text(_))) => return,
            Tok::Name(name) => match name.as_str() {
                "pass" | "global" | "break" | "continue"
                    if tokens.len() < 2 || name == "global" =>
                {
                    return;
                }
                "import" => return self.import(&tokens[1..]),
                "from" => return self.import_from(line, tokens),
                "del" | "assert" | "raise" | "return" | "await" | "print" => {
                    return self.does(line, tokens, "Python runs this; nothing here does.");
                }
                _ => {}
            },
            _ => {}
        }
        let parts: Vec<_> = split(tokens, "=").collect();
        if let [target, value] = &parts[..]
            && let Some(op) = target.last().and_then(|token| token.augmented())
        {
            return self.augmented(line, &target[..target.len() - 1], op, value, under);
        }
        if parts.len() < 2 {
            // An annotation alone assigns nothing.
            if tokens.get(1).is_none_or(|token| !token.is(":")) {
                self.does(line, tokens, "Python runs this; nothing here does.");
            }
            return;
        }
        let (value, targets) = parts.split_last().expect("there are two");
        let known = Eval::new(&self.names, value).whole();
        for target in targets {
            self.assign(line, target, &known, under);
        }
    }

    fn assign(&mut self, line: usize, target: &[Token], known: &Known, under: Option<&str>) {
        let name = match target {
            [Token { tok: Tok::Name(name), .. }] => name,
            [Token { tok: Tok::Name(name), .. }, colon, ..] if colon.is(":") => name,
            _ => {
                let why =
                    "It is assigned together with others, or in part: Python knows its value.";
                let names: Vec<_> = target
                    .iter()
                    .filter_map(|token| match &token.tok {
                        Tok::Name(name) => Some(name.clone()),
                        _ => None,
                    })
                    .collect();
                for name in names {
                    self.bind(line, &name, Bound::Unread(why.to_owned()));
                }
                return;
            }
        };
        let what = match (known, under) {
            (_, Some(keyword)) => Bound::Perhaps(keyword.to_owned()),
            (Ok((value, assumed)), None) => Bound::Value(value.clone(), assumed.clone()),
            (Err(why), None) => Bound::Unread(why.clone()),
        };
        self.bind(line, name, what);
    }

    /// `name += value`
    fn augmented(
        &mut self,
        line: usize,
        target: &[Token],
        op: &str,
        value: &[Token],
        under: Option<&str>,
    ) {
        let at = |tok| Token { tok, line };
        let mut sum = target.to_vec();
        sum.extend([at(Tok::Op(op.to_owned())), at(Tok::Op("(".to_owned()))]);
        sum.extend_from_slice(value);
        sum.push(at(Tok::Op(")".to_owned())));
        let known = Eval::new(&self.names, &sum).whole();
        self.assign(line, target, &known, under);
    }

    /// `import a.b, c as d`
    fn import(&mut self, tokens: &[Token]) {
        for module in split(tokens, ",") {
            if let [
                path @ ..,
                Token { tok: Tok::Name(as_), .. },
                Token { tok: Tok::Name(name), .. },
            ] = module
                && as_ == "as"
            {
                self.names.imported.insert(name.clone(), dotted(path));
            }
        }
    }

    /// `from a.b import c, d as e`
    fn import_from(&mut self, line: usize, tokens: &[Token]) {
        let Some(at) = tokens.iter().position(|token| token.is("import")) else { return };
        let module = dotted(&tokens[1..at.max(1)]);
        let names = &tokens[at + 1..];
        if names.first().is_some_and(|token| token.is("*")) {
            let why = format!("What `{module}` has is known to Python only: import it here, too.");
            let what = Bound::Statement(why);
            return self.bindings.push(Binding { line, name: format!("from {module}"), what });
        }
        let names: Vec<_> =
            names.iter().filter(|token| !token.is("(") && !token.is(")")).cloned().collect();
        for name in split(&names, ",") {
            if let [Token { tok: Tok::Name(whole), .. }, rest @ ..] = name {
                let known = match rest {
                    [_, Token { tok: Tok::Name(alias), .. }] => alias,
                    _ => whole,
                };
                let why = format!("It comes from `{module}`, which is not read.");
                self.bind(line, known, Bound::Unread(why));
                self.names.values.remove(known);
                self.names.imported.insert(known.clone(), format!("{module}.{whole}"));
            }
        }
    }

    fn does(&mut self, line: usize, tokens: &[Token], why: &str) {
        let name = tokens.iter().map_while(|token| match &token.tok {
            Tok::Name(name) => Some(name.as_str()),
            Tok::Op(op) if op == "." => Some("."),
            _ => None,
        });
        let name: String = name.take(8).collect();
        let what = Bound::Statement(why.to_owned());
        self.bindings.push(Binding { line, name, what });
    }

    fn bind(&mut self, line: usize, name: &str, what: Bound) {
        let known = match &what {
            Bound::Value(value, assumed) => Ok((value.clone(), assumed.clone())),
            Bound::Unread(why) => Err(why.clone()),
            _ => Err(format!("It uses `{name}`, which line {line} sets only perhaps.")),
        };
        if !matches!(what, Bound::Perhaps(_)) {
            let is_old =
                |old: &Binding| old.name == name && !matches!(old.what, Bound::Statement(_));
            self.bindings.retain(|old| !is_old(old));
        }
        self.names.imported.remove(name);
        self.names.values.insert(name.to_owned(), known);
        self.bindings.push(Binding { line, name: name.to_owned(), what });
    }
}

/// The parts between separators that stand in no brackets.
fn split<'t>(tokens: &'t [Token], separator: &'t str) -> impl Iterator<Item = &'t [Token]> {
    let mut rest = Some(tokens);
    std::iter::from_fn(move || {
        let all = rest?;
        let mut depth = 0_usize;
        let end = all.iter().position(|token| {
            if token.opens() {
                depth += 1;
            } else if token.closes() {
                depth = depth.saturating_sub(1);
            }
            depth == 0 && token.is(separator)
        });
        rest = end.map(|end| &all[end + 1..]);
        Some(&all[..end.unwrap_or(all.len())])
    })
}

/// `a.b.c`
fn dotted(tokens: &[Token]) -> String {
    let parts = tokens.iter().filter_map(|token| match &token.tok {
        Tok::Name(name) => Some(name.as_str()),
        Tok::Op(op) if op == "." => Some("."),
        _ => None,
    });
    parts.collect()
}

#[cfg(test)]
mod tests;
