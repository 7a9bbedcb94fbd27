(function_definition declarator: (_) @name) @function
(struct_specifier name: (type_identifier) @name body: (_)) @class
(union_specifier name: (type_identifier) @name body: (_)) @class
(enum_specifier name: (type_identifier) @name body: (_)) @class
(call_expression function: (identifier) @callee arguments: (_) @arguments) @call
(call_expression function: (field_expression argument: (_) @receiver field: (_) @callee) arguments: (_) @arguments) @call
(preproc_include) @import
