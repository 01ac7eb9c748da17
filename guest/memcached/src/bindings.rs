//! What wit-bindgen generates from `wit/`.

wit_bindgen::generate!({ path: "wit", world: "memcached", generate_all });
