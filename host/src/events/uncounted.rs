//! No metrics: the library was built without the feature.

use std::time::Duration;

use super::ends::{CallEnd, HoldEnd, Kind, Operation, WaitEnd};
use crate::clock::Clock;
use crate::kind::ErrorKind;

#[derive(Clone, Copy)]
pub(super) struct Meter;

impl Meter {
    pub(super) const IS_ON: bool = false;

    pub(super) fn new(_: &'static str, _: bool) -> Self {
        Meter
    }

    pub(super) fn called(&self, _: Operation, _: CallEnd, _: Duration, _: &dyn Clock) {}

    pub(super) fn wait_began(&self, _: Kind, _: &str) {}

    pub(super) fn waiters(&self, _: Kind, _: &str, _: f64) {}

    pub(super) fn wait_ended(&self, _: Kind, _: &str, _: WaitEnd, _: Duration) {}

    pub(super) fn held(&self, _: Kind, _: &str, _: f64) {}

    pub(super) fn hold_ended(&self, _: Kind, _: &str, _: HoldEnd, _: Duration) {}

    pub(super) fn lost(&self, _: Kind, _: &str) {}

    pub(super) fn renewed(&self, _: Kind, _: &str, _: Result<(), ErrorKind>) {}

    pub(super) fn conflict(&self, _: &str) {}
}
