(function_definition name: (name) @name) @function
(method_declaration name: (name) @name) @function
(class_declaration name: (name) @name (base_clause)? @bases) @class
(interface_declaration name: (name) @name) @class
(trait_declaration name: (name) @name) @class
(enum_declaration name: (name) @name) @class
(function_call_expression function: (_) @callee arguments: (_) @arguments) @call
(member_call_expression object: (_) @receiver name: (_) @callee arguments: (_) @arguments) @call
(nullsafe_member_call_expression object: (_) @receiver name: (_) @callee arguments: (_) @arguments) @call
(scoped_call_expression scope: (_) @receiver name: (_) @callee arguments: (_) @arguments) @call
(object_creation_expression [(name) (qualified_name)] @callee (arguments)? @arguments) @call
(namespace_use_declaration) @import
(throw_expression) @raise
(echo_statement) @echo
