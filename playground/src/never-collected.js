// Stands where jco asks for a `FinalizationRegistry`: garbage is never collected, as far as the component can tell.

export class NeverCollected {
  register() {}
  unregister() {}
}
