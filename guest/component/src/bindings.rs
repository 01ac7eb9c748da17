//! What wit-bindgen generates from `wit/`.

wit_bindgen::generate!({ path: "../../wit", world: "kvlock", generate_all });
