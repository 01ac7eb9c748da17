//! Puts a relay between the component's exports and the functions that implement them: a module that exports what it
//! imports, and nothing else.
//!
//! wasmtime 48 makes the reference to a function that a module defines anew at each call from outside, which is a
//! twentieth of what an acquire costs (`Instance::initialize_and_return_funcref`). That to a function which a module
//! imports it has at hand, and the code that runs is the same.

use std::error::Error;

use wasm_encoder::reencode::{Reencode, ReencodeComponent, RoundtripReencoder};
use wasm_encoder::{
    Alias, Component, ComponentAliasSection, EntityType, ExportKind, ExportSection, ImportSection, InstanceSection,
    Module, ModuleArg, ModuleSection, RawSection, TypeSection,
};
use wasmparser::types::{EntityType as Type, TypesRef};
use wasmparser::{ComponentAlias, Parser, Payload, SectionLimited, Validator};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The component with a relay in it. Its interface is the same.
pub(crate) fn relayed(component: &[u8]) -> Result<Vec<u8>> {
    let types = Validator::new().validate_all(component)?;
    let types = types.as_ref();
    // Behind the last core instance, so that all others keep their numbers.
    let (module, instance) = (types.module_count(), types.core_instance_count());
    let exports = |instance| types[types.core_instance_at(instance)].exports(types);
    let implements = |instance: &u32| exports(*instance).keys().any(|name| is_called(name));
    let implementing = (0..instance).find(implements).ok_or("no core instance implements what is exported")?;
    let (mut relayed, mut depth, mut instances) = (Component::new(), 0, 0);
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        match &payload {
            _ if depth > 0 => {}
            Payload::ComponentAliasSection(section) => {
                relayed.section(&aliases_to(instance, section.clone())?);
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    relayed.section(&RawSection { id, data: &component[range] });
                }
            }
        }
        match payload {
            Payload::InstanceSection(section) if depth == 0 => {
                instances += section.count();
                if instances == instance {
                    relayed.section(&ModuleSection(&relay(types, exports(implementing))?));
                    relayed
                        .section(InstanceSection::new().instantiate(module, [("", ModuleArg::Instance(implementing))]));
                }
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            _ => {}
        }
    }
    Ok(relayed.finish())
}

/// The aliases, with what is called from outside taken from this instance.
fn aliases_to(instance: u32, aliases: SectionLimited<'_, ComponentAlias<'_>>) -> Result<ComponentAliasSection> {
    let mut section = ComponentAliasSection::new();
    for alias in aliases {
        section.alias(match alias? {
            ComponentAlias::CoreInstanceExport { kind, name, .. } if is_called(name) => {
                Alias::CoreInstanceExport { instance, kind: kind.into(), name }
            }
            other => RoundtripReencoder.component_alias(other)?,
        });
    }
    Ok(section)
}

/// Whether a core function implements an exported one, by the naming that `wit-component` reads: the interface, a `#`
/// and the function. Destructors and what is called after a function's return are found by wasmtime only once.
fn is_called(name: &str) -> bool {
    name.contains('#') && !name.contains("#[dtor]") && !name.starts_with("cabi_")
}

fn relay<'e>(types: TypesRef<'_>, implementations: impl IntoIterator<Item = (&'e String, &'e Type)>) -> Result<Module> {
    let (mut signatures, mut imports, mut exports) = (TypeSection::new(), ImportSection::new(), ExportSection::new());
    for (name, export) in implementations {
        let Type::Func(signature) = export else { continue };
        if is_called(name) {
            let number = signatures.len();
            signatures.ty().func_type(&RoundtripReencoder.func_type(types[*signature].unwrap_func().clone())?);
            imports.import("", name, EntityType::Function(number));
            exports.export(name, ExportKind::Func, number);
        }
    }
    let mut relay = Module::new();
    relay.section(&signatures).section(&imports).section(&exports);
    Ok(relay)
}
