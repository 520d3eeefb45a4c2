//! From a file, standard input or nothing, and the environment, to a checked [`Config`].

use std::{
    fmt,
    io::{self, BufRead, Read},
    path::{Path, PathBuf},
};

use super::{Config, Problem, Report, schema, tree::Entry, validate};

/// Where the settings come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// No file: one node on loopback, see [`Config::default`].
    BuiltIn,
    /// A TOML file.
    File(PathBuf),
    /// TOML on standard input, up to its end or a line that reads `# end of config`; what follows is left unread.
    StandardInput,
}

/// What a node runs when it is given no file; the same as [`Config::default`].
const BUILT_IN: &str = "[[listener]]\n[[realm]]\nname = \"realm1\"\nanonymous = \"loopback\"\n[[realm.roles]]\nname = \"anonymous\"\n\
     permissions = [{ uri = \"\", match = \"prefix\", allow = [\"all\"] }]\n";
const END_OF_CONFIG: &str = "# end of config";
/// A configuration is read whole; more than this is some other file.
const BYTES_MAX: u64 = 1024 * 1024;
/// Environment variables with this prefix override settings.
const PREFIX: &str = "RINGFORT__";

impl Source {
    /// The source that a command line names: a path, `-` for standard input, or nothing.
    pub fn from_argument(argument: Option<&Path>) -> Self {
        match argument {
            None => Source::BuiltIn,
            Some(path) if path == Path::new("-") => Source::StandardInput,
            Some(path) => Source::File(path.to_owned()),
        }
    }

    fn read(&self) -> io::Result<String> {
        let mut text = String::new();
        match self {
            Source::BuiltIn => text.push_str(BUILT_IN),
            Source::File(path) => {
                std::fs::File::open(path)?.take(BYTES_MAX + 1).read_to_string(&mut text)?;
            }
            Source::StandardInput => {
                let mut input = io::stdin().lock();
                while text.len() as u64 <= BYTES_MAX {
                    let start = text.len();
                    let count = Read::by_ref(&mut input).take(BYTES_MAX + 1).read_line(&mut text)?;
                    if count == 0 || text[start..].trim_end() == END_OF_CONFIG {
                        break;
                    }
                }
            }
        }
        if text.len() as u64 > BYTES_MAX {
            return Err(io::Error::other("larger than 1 MiB, which no configuration is"));
        }
        Ok(text)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::BuiltIn => f.write_str("built-in settings"),
            Source::File(path) => path.display().fmt(f),
            Source::StandardInput => f.write_str("standard input"),
        }
    }
}

impl Config {
    /// Reads the settings, lets the variables `RINGFORT__SECTION__KEY` among `environment` override them, and checks them.
    ///
    /// A variable names the path of a setting in capitals, lists by index: `RINGFORT__LISTENER__0__ADDRESS`. Its value is read as
    /// TOML, and as plain text if it is none.
    ///
    /// # Errors
    /// Everything that is wrong, in one report. Nothing was started or written.
    pub fn load(source: &Source, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Report> {
        let report = |problems| Report {
            source_name: source.to_string(),
            problems,
        };
        let text = source.read().map_err(|error| {
            let remedy = "name a readable TOML file with --config, or leave it out for a single node on loopback";
            report(vec![Problem::new("", format!("cannot be read: {error}"), remedy)])
        })?;
        Self::from_text(&text, *source == Source::BuiltIn, environment).map_err(report)
    }

    /// As [`Config::load`], from the text of a file.
    pub(super) fn from_text(
        text: &str,
        built_in: bool,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Problem>> {
        let mut tree = Entry::parse(text, built_in)?;
        let mut problems = override_from(&mut tree, environment);
        problems.extend(schema::check(&mut tree));
        if !problems.is_empty() {
            return Err(problems);
        }
        let config: Config = tree.to_value().try_into().map_err(|error: toml::de::Error| {
            vec![Problem::new("", error.message().to_owned(), "compare with docs/config.md")]
        })?;
        let problems = validate::validate(&config);
        if problems.is_empty() {
            return Ok(config);
        }
        Err(problems
            .into_iter()
            .map(|problem| {
                let origin = tree.origin_of(&problem.path);
                problem.at(origin)
            })
            .collect())
    }
}

fn override_from(tree: &mut Entry, environment: impl IntoIterator<Item = (String, String)>) -> Vec<Problem> {
    let mut variables: Vec<(Vec<String>, String, String)> = environment
        .into_iter()
        .filter_map(|(name, value)| {
            let path = name.strip_prefix(PREFIX)?.to_lowercase();
            Some((path.split("__").map(str::to_owned).collect(), name, value))
        })
        .collect();
    // Sections before what is inside them, and the items of a list in their order, so that 10 follows 9.
    variables.sort_by_cached_key(|(path, ..)| {
        path.iter()
            .map(|key| (key.parse::<usize>().ok(), key.clone()))
            .collect::<Vec<_>>()
    });
    let mut problems = Vec::new();
    for (path, name, value) in variables {
        let what = match path.iter().any(String::is_empty) {
            true => Some("the name has an empty part".to_owned()),
            false => tree.set(&path, &name, &value).err(),
        };
        if let Some(what) = what {
            let remedy = "write RINGFORT__SECTION__KEY, and RINGFORT__LISTENER__0__ADDRESS for the first of a list";
            problems.push(Problem::new(format!("environment {name}"), what, remedy));
        }
    }
    problems
}
