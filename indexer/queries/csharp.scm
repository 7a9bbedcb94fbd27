(namespace_declaration name: (_) @name) @scope
(class_declaration name: (identifier) @name (base_list)? @bases) @class
(struct_declaration name: (identifier) @name) @class
(interface_declaration name: (identifier) @name) @class
(record_declaration name: (identifier) @name) @class
(enum_declaration name: (identifier) @name) @class
(method_declaration name: (identifier) @name) @function
(constructor_declaration name: (identifier) @name) @function
(local_function_statement name: (identifier) @name) @function
(property_declaration name: (identifier) @name) @function
(invocation_expression function: (identifier) @callee arguments: (_) @arguments) @call
(invocation_expression function: (member_access_expression expression: (_) @receiver name: (_) @callee) arguments: (_) @arguments) @call
(object_creation_expression type: (_) @callee arguments: (_)? @arguments) @call
(using_directive) @import
(throw_statement) @raise
(throw_expression) @raise
