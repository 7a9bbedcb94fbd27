(function_definition name: (identifier) @name) @function
(class_definition name: (identifier) @name extend: (_)? @bases) @class
(object_definition name: (identifier) @name extend: (_)? @bases) @class
(trait_definition name: (identifier) @name) @class
(call_expression function: (identifier) @callee arguments: (_) @arguments) @call
(call_expression function: (field_expression value: (_) @receiver field: (identifier) @callee) arguments: (_) @arguments) @call
(instance_expression (type_identifier) @callee (arguments)? @arguments) @call
(import_declaration) @import
(throw_expression) @raise
