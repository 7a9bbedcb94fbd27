(function_declaration name: (identifier) @name) @function
(generator_function_declaration name: (identifier) @name) @function
(class_declaration name: (type_identifier) @name (class_heritage)? @bases) @class
(method_definition name: (_) @name) @function
(public_field_definition name: (_) @name value: [(arrow_function) (function_expression)]) @function
(variable_declarator name: (identifier) @name value: [(arrow_function) (function_expression)]) @function
(assignment_expression left: (member_expression property: (property_identifier) @name) right: [(arrow_function) (function_expression)]) @function
(pair key: (property_identifier) @name value: [(arrow_function) (function_expression)]) @function
(call_expression function: (identifier) @callee arguments: (_) @arguments) @call
(call_expression function: (member_expression object: (_) @receiver property: (_) @callee) arguments: (_) @arguments) @call
(new_expression constructor: (identifier) @callee arguments: (_)? @arguments) @call
(new_expression constructor: (member_expression object: (_) @receiver property: (_) @callee) arguments: (_)? @arguments) @call
(import_statement) @import
(export_statement source: (_)) @import
(variable_declarator value: (call_expression function: (identifier) @_require (#eq? @_require "require"))) @import
(throw_statement) @raise
(abstract_class_declaration name: (type_identifier) @name (class_heritage)? @bases) @class
(interface_declaration name: (type_identifier) @name) @class
(enum_declaration name: (identifier) @name) @class
(type_alias_declaration name: (type_identifier) @name) @class
(internal_module name: (_) @name) @scope
