(config_file (body (block (identifier) @name (string_lit)* @name) @block))
