//! A bridge's decisions: what becomes of one record of a source. Pure: it knows no source and no log, and
//! reads no clock.
//!
//! A route maps each record alike whenever it is asked: a bridge that goes back makes the same events.

mod document;
mod fields;
mod filter;
mod pointer;
mod route;
mod selector;
mod template;

pub use document::Document;
pub use fields::Fields;
pub use filter::{Condition, ConditionError, Filter};
pub use pointer::{Pointer, PointerError};
pub use route::{Kind, Made, Mapped, Poison, Route};
pub use selector::{Selected, Selector, SelectorError};
pub use template::{Template, TemplateError};
