// element_f32 - four weights of a tile as they are.
alias TileWord = vec4<f32>;
