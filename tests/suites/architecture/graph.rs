//! Which file of a crate uses which other: read from its source, by the paths that it names.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

/// The files of a crate, and the arrows between them. A file is named by its path below the crate's source folder, as
/// words: `store/local/mod.rs` is `store`, `local`, `mod`.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) files: BTreeSet<File>,
    /// From the file that names something to the file that defines it.
    pub(crate) arrows: BTreeSet<(File, File)>,
    /// The crates from outside that each file names.
    pub(crate) crates: BTreeMap<File, BTreeSet<String>>,
}

pub(crate) type File = Vec<String>;

impl Graph {
    /// Reads the crate whose root is `lib.rs` or `main.rs` in this folder. Tests in its files are left out.
    pub(crate) fn read(folder: &Path) -> Graph {
        let mut modules = Modules::default();
        let root = ["lib.rs", "main.rs"].map(|name| folder.join(name)).into_iter().find(|path| path.is_file());
        let root = root.unwrap_or_else(|| panic!("{} has no crate root", folder.display()));
        modules.read(&root, folder, folder, None);
        let mut graph = Graph::default();
        for (at, items) in std::mem::take(&mut modules.bodies).into_iter().enumerate() {
            let mut uses = Uses { modules: &modules, at, graph: &mut graph };
            items.iter().for_each(|item| uses.visit_item(item));
        }
        graph.files.extend(modules.all.into_iter().map(|module| module.file));
        graph
    }

    /// The circles: in each folder, between its files and the folders in it, each taken as one.
    pub(crate) fn circles(&self) -> Vec<String> {
        let depths = self.files.iter().flat_map(|file| (0..file.len()).map(|depth| file[..depth].to_vec()));
        let folders: BTreeSet<File> = depths.collect();
        folders.iter().flat_map(|folder| self.circles_in(folder)).collect()
    }

    fn circles_in(&self, folder: &[String]) -> Vec<String> {
        let child = |file: &File| file.strip_prefix(folder).and_then(|rest| rest.first().cloned());
        let mut reached: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in &self.arrows {
            if let (Some(from), Some(to)) = (child(from), child(to))
                && from != to
            {
                reached.entry(from).or_default().insert(to);
            }
        }
        loop {
            let before: usize = reached.values().map(BTreeSet::len).sum();
            for from in reached.keys().cloned().collect::<Vec<_>>() {
                let further = reached[&from].iter().filter_map(|to| reached.get(to)).flatten().cloned();
                let further: Vec<_> = further.collect();
                reached.entry(from).or_default().extend(further);
            }
            if before == reached.values().map(BTreeSet::len).sum::<usize>() {
                break;
            }
        }
        let circle = |name: &String| {
            reached.get(name).filter(|others| others.contains(name)).map(|others| {
                let back = |other: &&String| reached.get(*other).is_some_and(|others| others.contains(name));
                let names: Vec<_> = others.iter().filter(back).cloned().collect();
                let folder: String = folder.iter().map(|name| format!("{name}/")).collect();
                format!("{folder}: {}", names.join(" <-> "))
            })
        };
        reached.keys().filter_map(circle).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// A module: a file, or a part of one.
#[derive(Debug)]
struct Module {
    file: File,
    parent: Option<usize>,
    children: HashMap<String, usize>,
    /// What it imports, by the name that it has here.
    imports: HashMap<String, Vec<String>>,
    /// What it defines.
    items: HashSet<String>,
}

#[derive(Default)]
struct Modules {
    all: Vec<Module>,
    /// The items of each, beside its modules.
    bodies: Vec<Vec<Item>>,
}

impl Modules {
    /// Reads a file and its modules, whose files lie in `below`.
    fn read(&mut self, path: &Path, below: &Path, root: &Path, parent: Option<usize>) -> usize {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let items = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())).items;
        self.add(name(path, root), items, below, root, parent)
    }

    fn add(&mut self, file: File, items: Vec<Item>, below: &Path, root: &Path, parent: Option<usize>) -> usize {
        let at = self.all.len();
        let module = Module {
            file: file.clone(),
            parent,
            children: HashMap::new(),
            imports: HashMap::new(),
            items: HashSet::new(),
        };
        self.all.push(module);
        self.bodies.push(Vec::new());
        for item in items {
            if is_test(attributes(&item)) {
                continue;
            }
            match item {
                Item::Mod(module) => {
                    let name = module.ident.to_string();
                    let folder = below.join(&name);
                    let child = match module.content {
                        Some((_, items)) => self.add(file.clone(), items, &folder, root, Some(at)),
                        // From another crate's folder: a part of this file.
                        None if module.attrs.iter().any(|attribute| attribute.path().is_ident("path")) => {
                            self.add(file.clone(), Vec::new(), &folder, root, Some(at))
                        }
                        None => {
                            let files = [below.join(format!("{name}.rs")), folder.join("mod.rs")];
                            let file = files.iter().find(|path| path.is_file());
                            let file = file.unwrap_or_else(|| panic!("no file of the module {}", folder.display()));
                            self.read(file, &folder, root, Some(at))
                        }
                    };
                    self.all[at].children.insert(name, child);
                    continue;
                }
                Item::Use(ref item) => self.all[at].imports.extend(imports(&item.tree)),
                ref other => self.all[at].items.extend(defined(other)),
            }
            self.bodies[at].push(item);
        }
        at
    }

    /// The file that defines what a path names, seen from a module; none for what is not of this crate.
    fn defines(&self, mut at: usize, path: &[String], hops: usize) -> Option<&File> {
        let mut path = path.iter();
        let mut is_first = true;
        while let Some(name) = path.next() {
            let module = &self.all[at];
            at = match name.as_str() {
                "crate" if is_first => 0,
                "self" => at,
                "super" => module.parent?,
                _ => match (module.children.get(name), module.imports.get(name)) {
                    (Some(child), _) => *child,
                    (None, Some(import)) if hops > 0 => {
                        let path: Vec<_> = import.iter().chain(path).cloned().collect();
                        return self.defines(at, &path, hops - 1).or((!is_first).then_some(&self.all[at].file));
                    }
                    _ if is_first && !module.items.contains(name) => return None,
                    _ => return Some(&module.file),
                },
            };
            is_first = false;
        }
        Some(&self.all[at].file)
    }
}

/// Collects what the items of a module name.
struct Uses<'m> {
    modules: &'m Modules,
    at: usize,
    graph: &'m mut Graph,
}

impl Uses<'_> {
    fn names(&mut self, path: &[String]) {
        let file = &self.modules.all[self.at].file;
        match self.modules.defines(self.at, path, 20) {
            Some(defines) if defines != file => _ = self.graph.arrows.insert((file.clone(), defines.clone())),
            Some(_) => {}
            None if self.is_known(&path[0]) => {}
            None => _ = self.graph.crates.entry(file.clone()).or_default().insert(path[0].clone()),
        }
    }

    /// The paths in what a macro is given.
    fn tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut colons) = (Vec::new(), 0);
        for token in
            tokens.into_iter().chain([TokenTree::from(proc_macro2::Punct::new(';', proc_macro2::Spacing::Alone))])
        {
            match &token {
                TokenTree::Ident(name) if path.is_empty() || colons == 2 => {
                    path.push(name.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(colon) if colon.as_char() == ':' && !path.is_empty() && colons < 2 => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => {}
            }
            if path.len() > 1 {
                self.names(&path);
            }
            (path, colons) = (Vec::new(), 0);
            if let TokenTree::Ident(name) = token {
                path.push(name.to_string());
            }
        }
    }
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for (_, path) in imports(&item.tree) {
            let names_a_child = |name: &String| self.modules.all[self.at].children.contains_key(name);
            // A signpost to what lies below, as `mod` is.
            let is_signpost = !matches!(item.vis, Visibility::Inherited)
                && path.iter().find(|name| *name != "self").is_some_and(names_a_child);
            if !is_signpost {
                self.names(&path);
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // A name alone may be a variable's, and never is a module's.
        if names.len() > 1 || !self.modules.all[self.at].children.contains_key(&names[0]) && self.is_known(&names[0]) {
            self.names(&names);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}

impl Uses<'_> {
    fn is_known(&self, name: &str) -> bool {
        self.modules.all[self.at].imports.contains_key(name)
    }
}

/// `store/local/mod.rs` as words; `line.rs` beside a folder `line` is `line/mod.rs`.
fn name(path: &Path, root: &Path) -> File {
    let mut path = path.strip_prefix(root).expect("a file of the crate").with_extension("");
    if root.join(&path).is_dir() {
        path.push("mod");
    }
    path.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// What a `use` brings in: the name here, and the path of it. What stands for all of a module is named `*`.
fn imports(tree: &UseTree) -> Vec<(String, Vec<String>)> {
    let below = |name: &syn::Ident, tree: &UseTree| {
        let named = imports(tree).into_iter();
        let named = named.map(|(here, path)| (here, [vec![name.to_string()], path].concat()));
        named.map(|(here, path)| if here == "self" { (name.to_string(), path) } else { (here, path) }).collect()
    };
    match tree {
        UseTree::Path(path) => below(&path.ident, &path.tree),
        UseTree::Name(name) => vec![(name.ident.to_string(), vec![name.ident.to_string()])],
        UseTree::Rename(rename) => vec![(rename.rename.to_string(), vec![rename.ident.to_string()])],
        UseTree::Glob(_) => vec![("*".to_string(), vec!["self".to_string()])],
        UseTree::Group(group) => group.items.iter().flat_map(imports).collect(),
    }
}

fn defined(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    let test = |attribute: &Attribute| {
        let tokens = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
        attribute.path().is_ident("cfg") && ["test", "doctest"].contains(&tokens.as_str())
    };
    attributes.iter().any(test)
}
