//! Support for the tests: servers to start and to mistreat.
