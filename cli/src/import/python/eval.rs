//! The value of an expression, if it can be known.

use super::lex::{self, Piece, Tok, Token};
use super::{Assumed, Known, Names};
use crate::import::rules::Value;

/// Brackets, calls and operators within each other.
const DEPTH_MAX: usize = 40;
/// Characters and items of one value.
const WEIGHT_MAX: usize = 20_000;

const UNREAD: &str = "It is an expression that is not read here.";

type Result<T> = std::result::Result<T, String>;

pub(super) struct Eval<'a> {
    names: &'a Names,
    tokens: &'a [Token],
    depth: usize,
    assumed: Vec<Assumed>,
}

fn unread<T>() -> Result<T> {
    Err(UNREAD.to_owned())
}

impl<'a> Eval<'a> {
    pub(super) fn new(names: &'a Names, tokens: &'a [Token]) -> Self {
        Eval { names, tokens, depth: 0, assumed: Vec::new() }
    }

    /// The value of all tokens.
    pub(super) fn whole(mut self) -> Known {
        let value = self.all()?;
        let mut assumed: Vec<Assumed> = Vec::new();
        for what in self.assumed {
            if !assumed.contains(&what) {
                assumed.push(what);
            }
        }
        Ok((value, assumed))
    }

    fn all(&mut self) -> Result<Value> {
        let mut value = self.expression()?;
        if self.peek(",") {
            let mut items = vec![value];
            while self.take(",") && !self.tokens.is_empty() {
                items.push(self.expression()?);
            }
            value = Value::List(items);
        }
        if !self.tokens.is_empty() {
            return unread();
        }
        sound(value)
    }

    fn peek(&self, text: &str) -> bool {
        self.tokens.first().is_some_and(|token| token.is(text))
    }

    fn take(&mut self, text: &str) -> bool {
        let is_there = self.peek(text);
        if is_there {
            self.tokens = &self.tokens[1..];
        }
        is_there
    }

    fn need(&mut self, text: &str) -> Result<()> {
        if self.take(text) { Ok(()) } else { unread() }
    }

    /// Run `part` one level deeper.
    fn deeper(&mut self, part: fn(&mut Self) -> Result<Value>) -> Result<Value> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("It is an expression of too many levels.".to_owned());
        }
        let value = part(self);
        self.depth -= 1;
        value
    }

    /// `a if b else c`, or a lambda.
    fn expression(&mut self) -> Result<Value> {
        self.deeper(|it| {
            if it.take("lambda") {
                it.tokens = &[];
                return Ok(Value::Function);
            }
            let value = it.either()?;
            if !it.take("if") {
                return Ok(value);
            }
            let condition = it.either()?;
            it.need("else")?;
            let other = it.expression()?;
            Ok(if truth(&condition)? { value } else { other })
        })
    }

    /// `a or b`
    fn either(&mut self) -> Result<Value> {
        let mut value = self.both()?;
        while self.take("or") {
            let other = self.both()?;
            value = if truth(&value)? { value } else { other };
        }
        Ok(value)
    }

    /// `a and b`
    fn both(&mut self) -> Result<Value> {
        let mut value = self.not()?;
        while self.take("and") {
            let other = self.not()?;
            value = if truth(&value)? { other } else { value };
        }
        Ok(value)
    }

    fn not(&mut self) -> Result<Value> {
        if self.take("not") {
            return Ok(Value::Bool(!truth(&self.deeper(Self::not)?)?));
        }
        let left = self.sum()?;
        let is_equal = self.peek("==");
        if is_equal || self.peek("!=") {
            self.tokens = &self.tokens[1..];
            let right = self.sum()?;
            return Ok(Value::Bool((left == right) == is_equal));
        }
        Ok(left)
    }

    fn operator(&mut self, known: &[&'static str]) -> Option<&'static str> {
        known.iter().copied().find(|op| self.take(op))
    }

    fn sum(&mut self) -> Result<Value> {
        let mut value = self.product()?;
        while let Some(op) = self.operator(&["+", "-"]) {
            value = combine(op, value, self.product()?)?;
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<Value> {
        let mut value = self.sign()?;
        while let Some(op) = self.operator(&["*", "//", "/", "%"]) {
            value = combine(op, value, self.sign()?)?;
        }
        Ok(value)
    }

    fn sign(&mut self) -> Result<Value> {
        if self.take("+") {
            return self.deeper(Self::sign);
        }
        if self.take("-") {
            let value = self.deeper(Self::sign)?;
            return combine("-", Value::Int(0), value);
        }
        let value = self.postfix()?;
        if self.take("**") {
            let exponent = self.deeper(Self::sign)?;
            return combine("**", value, exponent);
        }
        Ok(value)
    }

    /// A literal, a name, a call.
    fn postfix(&mut self) -> Result<Value> {
        let Some((first, rest)) = self.tokens.split_first() else { return unread() };
        self.tokens = rest;
        let mut value = match &first.tok {
            Tok::Int(n) => Value::Int(*n),
            Tok::Float(n) => Value::Float(*n),
            Tok::Text(pieces) => self.text(pieces)?,
            Tok::Bad(why) => return Err((*why).to_owned()),
            Tok::Op(op) => match op.as_str() {
                "(" => self.parentheses()?,
                "[" => Value::List(self.items("]")?),
                "{" => self.braces()?,
                _ => return unread(),
            },
            Tok::Name(name) => match name.as_str() {
                "True" => Value::Bool(true),
                "False" => Value::Bool(false),
                "None" => Value::None,
                name => self.name(name)?,
            },
        };
        while self.peek(".") {
            value = self.method(&value)?;
        }
        if self.peek("[") || self.peek("(") {
            return unread();
        }
        Ok(value)
    }

    fn parentheses(&mut self) -> Result<Value> {
        if self.take(")") {
            return Ok(Value::List(Vec::new()));
        }
        let first = self.expression()?;
        if self.take(")") {
            return Ok(first);
        }
        self.need(",")?;
        let mut items = vec![first];
        items.append(&mut self.items(")")?);
        Ok(Value::List(items))
    }

    /// Up to the bracket that closes.
    fn items(&mut self, end: &str) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        while !self.take(end) {
            items.push(self.expression()?);
            if !self.take(",") {
                self.need(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn braces(&mut self) -> Result<Value> {
        let mut pairs = Vec::new();
        while !self.take("}") {
            let key = self.expression()?;
            self.need(":")?;
            pairs.push((key, self.expression()?));
            if !self.take(",") {
                self.need("}")?;
                break;
            }
        }
        Ok(Value::Dict(pairs))
    }

    /// Texts that follow each other are one.
    fn text(&mut self, first: &[Piece]) -> Result<Value> {
        let mut text = String::new();
        let mut pieces = first;
        loop {
            for piece in pieces {
                match piece {
                    Piece::Literal(literal) => text.push_str(literal),
                    Piece::Expression(expression) => {
                        let tokens = lex::tokens(expression);
                        let mut inner = Eval::new(self.names, &tokens);
                        inner.depth = self.depth + 1;
                        if inner.depth > DEPTH_MAX {
                            return unread();
                        }
                        let value = inner.all()?;
                        self.assumed.append(&mut inner.assumed);
                        text.push_str(&value.shown().ok_or(UNREAD)?);
                    }
                }
            }
            let Some((Token { tok: Tok::Text(more), .. }, rest)) = self.tokens.split_first() else {
                return sound(Value::Text(text));
            };
            (pieces, self.tokens) = (more, rest);
        }
    }

    /// A name, or `a.b.c(...)`.
    fn name(&mut self, first: &str) -> Result<Value> {
        if let Some(known) = self.names.values.get(first)
            && !self.names.imported.contains_key(first)
        {
            let (value, assumed) = known.clone()?;
            self.assumed.extend(assumed);
            return Ok(value);
        }
        let mut path =
            self.names.imported.get(first).map_or(first, |path| path.as_str()).to_owned();
        while let [dot, Token { tok: Tok::Name(name), .. }, rest @ ..] = self.tokens
            && dot.is(".")
        {
            path = format!("{path}.{name}");
            self.tokens = rest;
        }
        if self.take("[") {
            if path == "os.environ"
                && let Some(Token { tok: Tok::Text(_), .. }) = self.tokens.first()
                && let [Value::Text(name)] = &self.items("]")?[..]
            {
                return Err(format!(
                    "The environment has it, as {name}, and there is no default: write its value."
                ));
            }
            return unread();
        }
        if !self.take("(") {
            return Err(format!("`{path}` is known to Python only."));
        }
        let arguments = self.items(")")?;
        self.call(&path, &arguments)
    }

    fn call(&mut self, path: &str, arguments: &[Value]) -> Result<Value> {
        match (path, arguments) {
            ("os.environ.get" | "os.getenv", [Value::Text(name), default @ ..])
                if default.len() < 2 =>
            {
                self.assumed.push(Assumed::Environment(name.clone()));
                Ok(default.first().cloned().unwrap_or(Value::None))
            }
            ("multiprocessing.cpu_count" | "os.cpu_count" | "os.process_cpu_count", []) => {
                self.assumed.push(Assumed::Cpus);
                Ok(Value::Int(i64::try_from(self.names.cpus).unwrap_or(1)))
            }
            ("int", [Value::Text(text)]) => {
                text.trim().replace('_', "").parse().map(Value::Int).or_else(|_| unread())
            }
            ("int", [Value::Int(n)]) => Ok(Value::Int(*n)),
            ("int", [Value::Bool(on)]) => Ok(Value::Int(i64::from(*on))),
            ("int" | "round", [Value::Float(n)]) if n.abs() < 1e15 => {
                let n = if path == "int" { n.trunc() } else { n.round_ties_even() };
                Ok(Value::Int(n as i64))
            }
            ("str", [value]) => value.shown().map(Value::Text).ok_or(UNREAD.to_owned()),
            ("bool", [value]) => Ok(Value::Bool(truth(value)?)),
            ("float", [Value::Int(n)]) => Ok(Value::Float(*n as f64)),
            ("float", [Value::Text(text)]) => {
                text.trim().parse().map(Value::Float).or_else(|_| unread())
            }
            ("max" | "min", [_, _, ..]) => {
                let ints: Option<Vec<i64>> = arguments
                    .iter()
                    .map(|value| match value {
                        Value::Int(n) => Some(*n),
                        _ => None,
                    })
                    .collect();
                let ints = ints.ok_or(UNREAD)?;
                let found = if path == "max" { ints.iter().max() } else { ints.iter().min() };
                found.copied().map(Value::Int).ok_or(UNREAD.to_owned())
            }
            ("os.path.join", [_, ..]) => {
                let mut path = String::new();
                for part in arguments {
                    let Value::Text(part) = part else { return unread() };
                    if part.starts_with('/') {
                        path.clear();
                    } else if !path.is_empty() && !path.ends_with('/') {
                        path.push('/');
                    }
                    path.push_str(part);
                }
                sound(Value::Text(path))
            }
            _ => Err(format!("`{path}()` is a call: only Python knows what it returns.")),
        }
    }

    /// `"...".format(...)` and a few others.
    fn method(&mut self, value: &Value) -> Result<Value> {
        let (Value::Text(text), [_, Token { tok: Tok::Name(name), .. }, open, rest @ ..]) =
            (value, self.tokens)
        else {
            return unread();
        };
        if !open.is("(") {
            return unread();
        }
        self.tokens = rest;
        let arguments = self.items(")")?;
        match (name.as_str(), &arguments[..]) {
            ("lower", []) => Ok(Value::Text(text.to_lowercase())),
            ("upper", []) => Ok(Value::Text(text.to_uppercase())),
            ("strip", []) => Ok(Value::text(text.trim())),
            ("split", [Value::Text(separator)]) if !separator.is_empty() => {
                let parts = text.split(separator.as_str()).map(Value::text);
                sound(Value::List(parts.collect()))
            }
            ("format", arguments) => fill(text, "{}", arguments, |text| text.contains(['{', '}'])),
            _ => unread(),
        }
    }
}

/// Python's truth.
fn truth(value: &Value) -> Result<bool> {
    Ok(match value {
        Value::None => false,
        Value::Bool(on) => *on,
        Value::Int(n) => *n != 0,
        Value::Float(n) => *n != 0.0,
        Value::Text(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Dict(pairs) => !pairs.is_empty(),
        Value::Function => true,
    })
}

fn combine(op: &str, left: Value, right: Value) -> Result<Value> {
    let as_float = |value: &Value| match value {
        Value::Int(n) => Some(*n as f64),
        Value::Float(n) => Some(*n),
        _ => None,
    };
    match (op, left, right) {
        ("+", Value::Text(left), Value::Text(right)) => sound(Value::Text(left + &right)),
        ("+", Value::List(mut left), Value::List(mut right)) => {
            left.append(&mut right);
            sound(Value::List(left))
        }
        ("%", Value::Text(format), Value::List(values)) => percent(&format, &values),
        ("%", Value::Text(format), value) => percent(&format, &[value]),
        (op, Value::Int(left), Value::Int(right)) if op != "/" => {
            let exponent = || u32::try_from(right).ok();
            let floor = |left: i64, right: i64| {
                let (quotient, rest) = (left.checked_div(right)?, left.checked_rem(right)?);
                let is_below = rest != 0 && (rest < 0) != (right < 0);
                Some((quotient - i64::from(is_below), rest + if is_below { right } else { 0 }))
            };
            let result = match op {
                "+" => left.checked_add(right),
                "-" => left.checked_sub(right),
                "*" => left.checked_mul(right),
                "//" => floor(left, right).map(|both| both.0),
                "%" => floor(left, right).map(|both| both.1),
                "**" => exponent().and_then(|exponent| left.checked_pow(exponent)),
                _ => None,
            };
            result.map(Value::Int).ok_or(UNREAD.to_owned())
        }
        (op, left, right) => {
            let (Some(left), Some(right)) = (as_float(&left), as_float(&right)) else {
                return unread();
            };
            let result = match op {
                "+" => left + right,
                "-" => left - right,
                "*" => left * right,
                "/" => left / right,
                "//" => (left / right).floor(),
                _ => return unread(),
            };
            if result.is_finite() { Ok(Value::Float(result)) } else { unread() }
        }
    }
}

/// `"%s:%d" % (...)`
fn percent(format: &str, values: &[Value]) -> Result<Value> {
    let format = format.replace("%d", "%s");
    fill(&format, "%s", values, |text| text.contains('%'))
}

/// The values in the places of `mark`; nothing that is `odd` may be left.
fn fill(format: &str, mark: &str, values: &[Value], odd: fn(&str) -> bool) -> Result<Value> {
    let parts: Vec<&str> = format.split(mark).collect();
    if parts.len() != values.len() + 1 || parts.iter().any(|part| odd(part)) {
        return unread();
    }
    let mut text = parts[0].to_owned();
    for (value, part) in values.iter().zip(&parts[1..]) {
        text.push_str(&value.shown().ok_or(UNREAD)?);
        text.push_str(part);
    }
    sound(Value::Text(text))
}

/// A value that is neither too large nor too deep.
fn sound(value: Value) -> Result<Value> {
    fn weight(value: &Value, depth: usize) -> usize {
        if depth > DEPTH_MAX {
            return WEIGHT_MAX + 1;
        }
        let sum = |parts: &mut dyn Iterator<Item = &Value>| {
            parts.fold(1_usize, |sum, part| sum.saturating_add(weight(part, depth + 1)))
        };
        match value {
            Value::Text(text) => text.len() + 1,
            Value::List(items) => sum(&mut items.iter()),
            Value::Dict(pairs) => sum(&mut pairs.iter().flat_map(|(key, value)| [key, value])),
            _ => 1,
        }
    }
    if weight(&value, 0) > WEIGHT_MAX {
        return Err("Its value is too long to be one of a setting.".to_owned());
    }
    Ok(value)
}
